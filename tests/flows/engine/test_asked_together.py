"""A tool's and its server's cut asked together: what is left of the one when the other is done was agreed to."""

from pathlib import Path

import pytest

from playbooks.gate.plan import Change
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.step import Progress
from tests.flows.cli import world
from tests.lab import flags, gateway, scenes
from tests.lab.gateway import Gateway, Place, held
from tests.lab.house import House

TOOL = "cut-tool@weather/forecast"
SERVER = "cut-server@weather"
BOOK = flags.playbook(gateway.CUT_TOOL, gateway.CUT_SERVER)


def place() -> Place:
    tools = (held("forecast"), held("add"), held("spare", enabled=False))
    return Place(Gateway(*tools), approved=("forecast", "add", "spare"), imported=())


async def asked(home: House) -> str:
    """Have ann name a tool and its server, wait until people are asked about both, and return the incident."""
    entities = [{"kind": "tool", "name": "forecast", "server": "weather"}, {"kind": "server", "name": "weather"}]
    params = {"title": "by hand", "class": "tool_poisoning", "exact": True, "entities": entities}
    await home.ask("ann", Verb.RESPOND, "new", reason="both", params=params)
    name = (await home.reaches(Status.AWAITING_APPROVAL)).id
    for instance in (TOOL, SERVER):
        await scenes.proposed(home, name, instance)
    return name


async def questions(home: House, name: str, instance: str) -> int:
    found = await scenes.entries(home, name)
    return len([entry for entry in found if entry.kind == "proposed" and entry.body["instance"] == instance])


@pytest.mark.parametrize(("first", "second"), [(TOOL, SERVER), (SERVER, TOOL)])
async def test_each_is_asked_about_once_and_all_comes_back_as_it_was(tmp_path: Path, first: str, second: str) -> None:
    site = place()
    async with gateway.installation(tmp_path, site, playbooks=BOOK) as home, home.responding():
        name = await asked(home)
        shown = {instance: await scenes.proposed(home, name, instance) for instance in (first, second)}
        await scenes.approve(home, "bob", name, shown[first])
        await scenes.established(home, name, first)
        await scenes.approve(home, "bob", name, shown[second])
        incident = await home.reaches(Status.CONTAINED, name)
        assert await questions(home, name, second) == 1, "what bob saw covers what was left to do"
        plan, saw = incident.steps[second].plan, shown[second].plan
        assert plan is not None
        assert saw is not None
        assert [change.grip for change in plan.changes] == [change.grip for change in saw.changes]
        assert len(plan.pending) < len(saw.pending), "what is recorded is what was left, as it was found"
        assert any(f"left to do of the plan {saw.digest[7:19]}" in reason for reason in incident.steps[second].reasons)
        await home.ask("ann", Verb.RELEASE, name, reason="over")
        await scenes.all_back(home, name)
        assert [one.name for one in site.gateway.tools if site.gateway.usable(one.name)] == ["forecast", "add"]


@pytest.mark.parametrize(("name_", "enabled"), [("spare", True), ("add", False)])
async def test_what_is_not_what_was_shown_is_asked_about_anew(tmp_path: Path, name_: str, *, enabled: bool) -> None:
    site = place()
    async with gateway.installation(tmp_path, site, playbooks=BOOK) as home, home.responding():
        name = await asked(home)
        server = await scenes.proposed(home, name, SERVER)
        await scenes.approve(home, "bob", name, await scenes.proposed(home, name, TOOL))
        await scenes.established(home, name, TOOL)
        # What was shown as disabled already nobody agreed to take away; what an operator takes away meanwhile would not
        # be given back, as was shown.
        site.gateway.change(name_, enabled=enabled)
        await scenes.approve(home, "bob", name, server)

        async def anew() -> bool:
            return await questions(home, name, SERVER) == 2

        await home.until(anew, "people are asked again")
        step = await scenes.proposed(home, name, SERVER)
        assert step.progress is Progress.PROPOSED
        assert step.approved_by == ()
        assert site.gateway.on


def change(name: str, *, before: bool = True) -> Change:
    target = world.TARGET.model_copy(update={"id": name, "name": name})
    return Change(target=target, field="enabled", before=before, after=False)


SHOWN = world.plan(changes=(change("a"), change("b"), change("c", before=False)))


@pytest.mark.parametrize(
    "changes",
    [
        (change("a"), change("b"), change("c", before=False)),
        (change("a", before=False), change("b"), change("c", before=False)),
        (change("a"), change("c", before=False)),
        (change("b"),),
    ],
)
def test_less_of_the_same_is_covered(changes: tuple[Change, ...]) -> None:
    assert SHOWN.covers(world.plan("Less of it.", changes=changes))


@pytest.mark.parametrize(
    "more",
    [
        {"changes": (*SHOWN.changes, change("d"))},
        {"changes": (change("a"), change("b"), change("c"))},
        {"changes": (change("b"), change("a"), change("c", before=False))},
        {"changes": (change("a").model_copy(update={"field": "visible"}),)},
        {"changes": (change("a").model_copy(update={"after": "gone"}),)},
        {"changes": (change("a").model_copy(update={"before": "half"}),)},
        {"params": {"server": "weather", "tool": "add"}, "changes": SHOWN.changes},
        {"action": "gateway.disable_server", "changes": SHOWN.changes},
        {"destroys": ("memory",), "changes": SHOWN.changes},
        {"breaks": "All of it.", "changes": SHOWN.changes},
    ],
)
def test_more_or_otherwise_is_not_covered(more: dict[str, object]) -> None:
    assert not SHOWN.covers(world.plan(**more))  # type: ignore[arg-type]  # fields of a plan
