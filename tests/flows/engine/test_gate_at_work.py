"""The gate over all incidents at once, under the shipped policy: what passes, what waits, what never happens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from typing_extensions import override

from flows.demo.mcp_server import mcp_server
from flows.demo.site import build
from integrations.gateways.actions import DisableTool
from integrations.registry import SYSTEMS
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.mcp.captures import CaptureDefinitions
from integrations.vault.local import LocalVault
from playbooks.action import Sink, World
from playbooks.errors import Transient
from playbooks.estate.gateway import GatewayAccount
from playbooks.estate.inventory import Principal, ToolNotes
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Plan
from playbooks.gate.policy import Policy, Spacing
from playbooks.people.request import Verb
from playbooks.playbook import Playbook, parse, shipped
from playbooks.record.incident import Phase, Status
from playbooks.record.journal import Parsed
from playbooks.record.step import Progress
from playbooks.taxonomy import IncidentClass
from tests.lab import scenes
from tests.lab.connected import connected
from tests.lab.fixtures import Lab, unique_name
from tests.lab.house import ROOMY, House, alert

SHIPPED = Policy(version=1)


async def settled(home: House, number: int) -> None:
    """Wait until that many incidents are open, and each is contained or waits for people."""

    async def so() -> bool:
        found = await home.incidents()
        rest = {Status.CONTAINED, Status.AWAITING_APPROVAL}
        return len(found) == number and all(incident.status in rest for incident in found)

    await home.until(so, f"{number} incidents are contained or waiting")


def states(lab: Lab) -> list[str]:
    return [path for _, path in lab.proxy.writes if path.endswith("/state")]


@asynccontextmanager
async def bigger(lab: Lab, folder: Path, tools: int) -> AsyncIterator[tuple[Lab, tuple[str, ...]]]:
    """Put a server with that many poisoned tools behind the lab's gateway."""
    with mcp_server(folder / "bigger", tools=tools) as server:
        site = (await build(lab.gateway, server, folder / "bigger-site", name=unique_name("big"))).through(
            lab.proxy.url
        )
        names = tuple(pin.name for pin in site.inventory.pins.of(site.server_id, PinKind.TOOL))
        server.poison(*names)
        world = connected(site.inventory)
        try:
            lab.proxy.forget()
            yield replace(lab, site=site, world=world, victim=server), names
        finally:
            await world.aclose()


async def test_a_storm_never_exceeds_the_shipped_caps(lab: Lab, tmp_path: Path) -> None:
    async with (
        bigger(lab, tmp_path, 12) as (big, names),
        scenes.installation(big, tmp_path, policy=SHIPPED, watch_every=30.0) as home,
        home.responding(),
    ):
        for name in names:
            await home.receive(alert(big.site.server_id, name))
        await settled(home, len(names))
        # 12 tools, a prompt, a resource, an agent, its token, the server: a fifth of 17, rounded up.
        incidents = await home.incidents()
        contained = [incident for incident in incidents if incident.status is Status.CONTAINED]
        assert len(contained) == 4
        assert len(states(big)) == 4
        waiting = [step for incident in incidents for step in incident.proposals]
        assert len(waiting) == len(names) - 4
        assert all(any("the policy allows 4" in reason for reason in step.reasons) for step in waiting)
        assert len(await home.journal.reserved()) == 4
        async with scenes.operator(big) as forge:
            tools = await forge.held(PinKind.TOOL, scenes.entry(big))
        assert sum(not tool.enabled for tool in tools) == 4
        # A person may go on where the machine stops.
        first = next(incident for incident in incidents if incident.proposals)
        await scenes.approve(home, "bob", first.id, first.proposals[0])
        await home.reaches(Status.CONTAINED, first.id)


async def test_one_alert_about_everything_is_held_to_the_same_caps(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison("get_weather", "get_forecast", "add")
    async with scenes.installation(lab, tmp_path, policy=SHIPPED) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather", "get_forecast", "add"))
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id

        async def decided() -> bool:
            cuts = (await home.incident(name)).cuts
            return len(cuts) == 3 and {cut.progress for cut in cuts} == {Progress.ESTABLISHED, Progress.PROPOSED}

        await home.until(decided, "each of the three is cut or asked about")
        progress = [step.progress for step in (await home.incident(name)).cuts]
        # Three tools, a prompt, a resource, the agent, its token, the server: a fifth of eight, rounded up.
        assert sorted(progress) == [Progress.ESTABLISHED, Progress.ESTABLISHED, Progress.PROPOSED]
        assert len(states(lab)) == 2


async def test_what_was_not_so_when_anybody_said_it_is_asked_again_when_a_source_that_counts_does(
    lab: Lab, tmp_path: Path
) -> None:
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        # The tool is still as approved, so nothing confirms what anybody can send.
        await home.receive(alert(lab.site.server_id, "get_weather"), source="unsigned")
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        lab.victim.poison()
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.reaches(Status.CONTAINED, name)
        assert len(states(lab)) == 1
        assert (len(incident.confirmed_by), incident.proposals) == (1, [])


async def test_effects_are_spaced(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison("get_weather", "get_forecast", "add")
    policy = ROOMY.model_copy(update={"spacing": Spacing(at_most=2, within=3600.0)})
    async with scenes.installation(lab, tmp_path, policy=policy) as home, home.responding():
        for tool in ("get_weather", "get_forecast", "add"):
            await home.receive(alert(lab.site.server_id, tool))
        await settled(home, 3)
        (waiting,) = [incident for incident in await home.incidents() if incident.proposals]
        assert any("2 automatic effects in the last 3600 s" in reason for reason in waiting.proposals[0].reasons)
        assert len(states(lab)) == 2


async def test_protected_and_physical_things_wait_for_a_person(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    notes = {"get_weather": ToolNotes(physical_effects=True, safe_arguments={"city": "Seoul"})}
    inventory = scenes.served(lab, protected=True, tools=notes)
    async with scenes.installation(lab, tmp_path, inventory=inventory) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.reaches(Status.AWAITING_APPROVAL)
        (step,) = incident.proposals
        assert f"{lab.site.server_id} is protected" in step.reasons
        assert any("has physical effects" in reason for reason in step.reasons), "every reason is given"
        assert lab.proxy.writes == []


async def test_an_unsigned_source_reads_and_never_writes(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather", severity="critical"), source="unsigned")
        incident = await home.reaches(Status.AWAITING_APPROVAL)
        incident = await home.settled(incident.id)
        kinds = {exhibit["kind"] for exhibit in incident.exhibits}
        assert kinds == {"raw-alert", "definitions", "server_answer", "gateway_state", "gateway_logs"}
        assert incident.confirmed_by, "our own check agrees, and still"
        assert any("no alert of it came from an authenticated source" in r for r in incident.proposals[0].reasons)
        assert lab.proxy.writes == []
        assert incident.leases == {}


async def test_an_alert_that_nothing_confirms_does_nothing_until_a_second_source_agrees(
    lab: Lab, tmp_path: Path
) -> None:
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.reaches(Status.AWAITING_APPROVAL)
        assert any("nothing of our own confirms it" in reason for reason in incident.proposals[0].reasons)
        for state in ("updated", "resolved"):
            await home.receive(alert(lab.site.server_id, "get_weather", state=state), source="second")
        await home.receive(alert(lab.site.server_id, "get_weather"), source="unsigned")
        await home.receive(alert(lab.site.server_id, "get_weather"))
        await scenes.taken_in(home)

        async def all_joined() -> bool:
            return len((await home.incident(incident.id)).alerts) == 5

        await home.until(all_joined, "four more alerts joined")
        await home.settled(incident.id)
        assert lab.proxy.writes == [], "neither the end of an alert, nor an unsigned one, nor the same source again"
        await home.receive(alert(lab.site.server_id, "get_weather"), source="second")
        await home.reaches(Status.CONTAINED, incident.id)
        assert len(states(lab)) == 1
        assert len(await home.incidents()) == 1


async def test_an_unsigned_alert_borrows_no_trust_for_another_tool(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison("get_forecast", "get_weather")
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_forecast"))
        name = (await home.reaches(Status.CONTAINED)).id
        await home.receive(alert(lab.site.server_id, "get_forecast", "get_weather"), source="unsigned")
        step = await scenes.proposed(home, name, scenes.cut_of(lab, "get_weather"))
        assert any("no alert of it came from an authenticated source" in reason for reason in step.reasons)
        assert await scenes.enabled(lab, "get_weather")
        assert len(states(lab)) == 1


MISUSE = """
version: 1
id: misuse
class: tool_misuse
title: A test of what is never a target
summary: Cuts off whoever is named.
goals: {first_effect: 1s, verified: 60s}
phases:
  freeze: []
  cut:
    - {id: cut-user, action: gateway.deactivate_user, for: principal, with: {principal: {from: entity.id}}, why: test}
    - id: cut-token
      action: gateway.revoke_token
      for: token
      with: {principal: {from: entity.principal}, token: {from: entity.id}}
      why: test
  capture: []
  isolate: []
  preserve: []
  eradicate: []
  recover: []
  review: []
notify: [opened, awaiting_approval, contained, not_established]
"""


def playbooks(text: str) -> dict[IncidentClass, Playbook]:
    made = parse(text, file="test.yaml")
    return {**shipped(), made.class_: made}


async def test_our_own_canary_and_credential_are_never_a_target(lab: Lab, tmp_path: Path) -> None:
    place = lab.world.inventory.gateways[scenes.GATEWAY]
    ours = Principal(
        title="Our own canary, as an attacker would have it listed",
        places={
            scenes.GATEWAY: GatewayAccount(user=place.canary.principal, tokens={"canary": place.credential_ids[0]})
        },
    )
    inventory = lab.world.inventory
    inventory = inventory.model_copy(update={"principals": {**inventory.principals, "innocent": ours}})
    # model_copy keeps what was computed from the old ones.
    inventory = type(inventory).model_validate(inventory.model_dump(), context=SYSTEMS.context)
    world = {"inventory": inventory, "policy": scenes.BOTH_AUTOMATIC, "playbooks": playbooks(MISUSE)}
    async with scenes.installation(lab, tmp_path, **world) as home, home.responding():  # type: ignore[arg-type]
        for kind, name in (("principal", "innocent"), ("token", "canary")):
            manual = {"class": "tool_misuse", "title": "cut it", "entities": [{"kind": kind, "name": name}]}
            await home.ask("ann", Verb.RESPOND, "new", reason="seen", params=manual)

        async def over() -> bool:
            return len(await home.system("set_aside")) == 2

        await home.until(over, "neither is taken up")
        assert await home.incidents() == []
        told = [str(entry.body["reason"]) for entry in await home.system("set_aside")]
        assert all("refused" in reason and "never a target" in reason for reason in told), told
        assert lab.proxy.writes == []
        await home.receive(alert(lab.site.server_id, "get_weather"))
        await home.reaches(Status.AWAITING_APPROVAL)


# Evidence


async def test_a_full_vault_says_so_and_holds_up_no_containment(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    (tmp_path / "full").mkdir(mode=0o700)
    full = LocalVault(tmp_path / "full", reserve=2**60)
    async with scenes.installation(lab, tmp_path, vault=full) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.reaches(Status.CONTAINED)

        async def all_said() -> bool:
            return len((await home.incident(incident.id)).unavailable) == 5

        await home.until(all_said, "every exhibit is recorded as unavailable")
        incident = await home.incident(incident.id)
        assert incident.exhibits == []
        assert all("the vault is full" in missing["reason"] for missing in incident.unavailable)
        assert incident.status is Status.CONTAINED
        assert not await scenes.usable(lab, "get_weather", city="Seoul")


class WipeTool(DisableTool):
    """Disables a tool and, so it says, destroys its definitions."""

    name: ClassVar[str] = "test.wipe_tool"
    destroys: ClassVar[tuple[str, ...]] = ("definitions",)

    @override
    async def plan(self, world: World) -> Plan:
        return (await super().plan(world)).model_copy(update={"destroys": self.destroys})


@pytest.fixture
def wipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the gateway know the step, as what disables a tool."""
    rights = {**ContextForge.rights, WipeTool.name: ContextForge.rights[DisableTool.name]}
    monkeypatch.setattr(ContextForge, "rights", rights)


TOOL = "{server: {from: entity.server}, tool: {from: entity.id}}"
WIPE = f"    - {{id: wipe, action: test.wipe_tool, for: tool, with: {TOOL}, why: test}}"
CAPTURE = (
    "    - {id: keep, capture: mcp.capture_definitions, for: server, with: {server: {from: entity.server}}, why: test}"
)
CONFIRM = """
confirm:
  - id: confirm-definition
    check: mcp.definition_differs
    for: tool
    with: {server: {from: entity.server}, tool: {from: entity.id}}
    why: test
"""


def wiping(*, phase: str, contain_first: str = "") -> dict[IncidentClass, Playbook]:
    cut, eradicate = ("\n" + WIPE, " []") if phase == "cut" else (" []", "\n" + WIPE)
    return playbooks(f"""
version: 1
id: tool_poisoning
class: tool_poisoning
title: A test of evidence that a step destroys
summary: Destroys what it should keep first.
goals: {{first_effect: 1s, verified: 60s}}
{contain_first}{CONFIRM}
phases:
  freeze: []
  cut:{cut}
  capture:
{CAPTURE}
  isolate: []
  preserve: []
  eradicate:{eradicate}
  recover: []
  review: []
notify: [opened, awaiting_approval]
""")


WITH_WIPE = {**SYSTEMS.steps, WipeTool.name: WipeTool}


@pytest.mark.usefixtures("wipes")
async def test_what_destroys_evidence_is_refused_before_it_is_sealed_and_runs_once_it_is(
    lab: Lab, tmp_path: Path
) -> None:
    lab.victim.poison()
    parts = {"steps": WITH_WIPE, "playbooks": wiping(phase="cut")}
    async with scenes.installation(lab, tmp_path, **parts) as home, home.responding():  # type: ignore[arg-type]
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.opened()).id
        await scenes.established(home, name, f"wipe@{lab.site.server_id}/get_weather")
        entries = await scenes.entries(home, name)
        course = [entry for entry in entries if entry.kind in {"skipped", "intended"} or _definitions(entry)]
        assert [entry.kind for entry in course] == ["skipped", "exhibit", "intended"]
        assert "would destroy evidence that is not sealed yet: definitions" in course[0].body["reason"]
        assert course[0].body["awaits"] == [f"keep@{lab.site.server_id}"], "that of this server, not any of its kind"
        assert len(lab.proxy.writes) == 1
        await home.reaches(Status.CONTAINED)


class KeepAtLast(CaptureDefinitions):
    """Cannot be had the first time."""

    name: ClassVar[str] = "test.keep_at_last"
    tried: ClassVar[list[str]] = []

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        self.tried.append(self.server)
        if len(self.tried) == 1:
            raise Transient("the gateway answered 502")
        await super().collect(world, sink)


@pytest.mark.usefixtures("wipes")
async def test_what_is_kept_beside_a_cut_is_tried_again_for_it_and_is_no_cut_itself(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    KeepAtLast.tried.clear()
    whole = wiping(phase="cut")[IncidentClass.TOOL_POISONING]
    phases = {**whole.phases, Phase.CAPTURE: ()}
    (keep,) = whole.phases[Phase.CAPTURE]
    phases[Phase.CUT] = (keep.model_copy(update={"capture": KeepAtLast.name}), *whole.phases[Phase.CUT])
    beside = whole.model_copy(update={"phases": phases})
    steps = {**WITH_WIPE, KeepAtLast.name: KeepAtLast}
    parts = {"steps": steps, "playbooks": {beside.class_: beside}, "timing": scenes.FAST}
    async with scenes.installation(lab, tmp_path, **parts) as home, home.responding():  # type: ignore[arg-type]
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        entries = await scenes.entries(home, name)
        course = [entry.kind for entry in entries if entry.kind in {"failed", "intended"} or _definitions(entry)]
        assert course == ["failed", "exhibit", "intended"]


def _definitions(entry: Parsed) -> bool:
    return bool(entry.kind == "exhibit" and entry.body["exhibit"]["kind"] == "definitions")


@pytest.mark.usefixtures("wipes")
async def test_it_runs_once_the_evidence_is_sealed(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    parts = {"steps": WITH_WIPE, "playbooks": wiping(phase="eradicate")}
    async with scenes.installation(lab, tmp_path, **parts) as home, home.responding():  # type: ignore[arg-type]
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.opened()).id
        await scenes.established(home, name, f"wipe@{lab.site.server_id}/get_weather")
        kinds = [(e.kind, (e.body.get("exhibit") or {}).get("kind")) for e in await scenes.entries(home, name)]
        assert kinds.index(("exhibit", "definitions")) < kinds.index(("intended", None))


@pytest.mark.usefixtures("wipes")
async def test_evidence_that_cannot_be_had_leaves_its_destruction_to_a_person(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    (tmp_path / "full").mkdir(mode=0o700)
    full = LocalVault(tmp_path / "full", reserve=2**60)
    parts = {"steps": WITH_WIPE, "playbooks": wiping(phase="eradicate"), "vault": full}
    async with scenes.installation(lab, tmp_path, **parts) as home, home.responding():  # type: ignore[arg-type]
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        wipe = f"wipe@{lab.site.server_id}/get_weather"
        step = await scenes.proposed(home, name, wipe)
        missing = f"definitions (keep@{lab.site.server_id})"
        assert step.reasons == (f"it would destroy evidence that could not be collected: {missing}",)
        assert lab.proxy.writes == []
        await scenes.approve(home, "bob", name, step)
        await scenes.established(home, name, wipe)
