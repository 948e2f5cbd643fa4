"""What can be read anew while a responder runs is, what cannot is said, and nothing that is open is dropped."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.cli.work.doctor_running import read_by_whom
from flows.engine import schedule
from flows.engine.parts import Parts
from flows.service import running
from flows.service.assembly import assembled, reloading
from integrations import registry
from integrations.registry import SYSTEMS
from integrations.system import Connection, System, Systems, Works
from playbooks.estate.inventory import Inventory
from playbooks.estate.places import Places
from playbooks.gate.plan import Answer, Verdict, Widening
from playbooks.playbook import Playbook, shipped
from playbooks.record.incident import Phase
from playbooks.strict import now, parse_yaml
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.flows.cli.world import Installation
from tests.lab.connected import connected
from tests.playbooks.test_state import incident

POISONING = IncidentClass.TOOL_POISONING
SHARED = """\
version: 1
id: gateway-records
title: Ours
steps:
  - {id: ours, capture: gateway.capture_logs, why: test}
"""
SHIPPED = Path(__file__).parents[3] / "playbooks" / "catalog" / "tool_poisoning.yaml"


@asynccontextmanager
async def reload(site: Installation) -> AsyncIterator[Any]:
    """Yield what a responder asks whether something changed."""
    async with assembled(site.config) as parts:
        yield reloading(parts, site.config)


def write(site: Installation, name: str, text: str) -> None:
    path = site.folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    # Two writes in one tick of the file system's clock are two writes all the same.
    at = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(at, at))


def now_uses(changed: Any) -> Parts:  # noqa: ANN401  # what `reloading` returns
    parts = changed()
    assert isinstance(parts, Parts)
    return parts


async def test_policy_sources_playbooks_and_messages_are_read_anew(site: Installation) -> None:
    async with reload(site) as changed:
        assert changed() is None
        write(site, "policy.yaml", "version: 1\napproval: {expires: 7m}\n")
        assert now_uses(changed).policy.approval.expires == 420
        write(site, "sources.yaml", "version: 1\nsources: {}\n")
        assert now_uses(changed).sources.sources == {}
        own = SHIPPED.read_text().replace("id: answers-clean", "id: asked-past-the-gateway")
        write(site, "playbooks/mine.yaml", own)
        steps = [step.id for _, step in now_uses(changed).playbooks[POISONING].steps()]
        assert "asked-past-the-gateway" in steps
        write(site, "playbooks/mine.yaml", SHIPPED.read_text())
        assert "answers-clean" in [step.id for _, step in now_uses(changed).playbooks[POISONING].steps()]
        write(site, "playbooks/shared/gateway-records.yaml", SHARED)
        assert "ours" in [step.id for _, step in now_uses(changed).playbooks[POISONING].steps()]
        write(site, "messages/en/words.j2", "nothing")
        assert now_uses(changed).templates == {"en/words.j2": "nothing"}
        assert changed() is None


async def test_a_file_that_became_invalid_holds_up_no_other_and_is_said_once(
    site: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="mcp_soar.responder")
    async with reload(site) as changed:
        write(site, "policy.yaml", "version: 1\napproval: {expires: 7m}\n")
        before = now_uses(changed).policy
        write(site, "policy.yaml", "version: one\n")
        assert changed() is None
        write(site, "sources.yaml", "version: 1\nsources: {}\n")
        parts = now_uses(changed)
        assert parts.policy == before
        assert parts.sources.sources == {}
        said = [record.message for record in caplog.records if "policy.yaml" in record.message]
        assert len([text for text in said if "what was read before is what counts" in text]) == 1
        (line,) = [line for line in read_by_whom(site.folder) if line.level == "warn"]
        assert "policy.yaml" in line.message
        write(site, "policy.yaml", "version: 1\n")
        now_uses(changed)
        assert {line.level for line in read_by_whom(site.folder)} == {"ok"}


async def test_a_change_while_the_responder_starts_is_not_missed(site: Installation) -> None:
    before = running.digests(site.folder)
    async with assembled(site.config) as parts:
        write(site, "policy.yaml", "version: 1\napproval: {expires: 7m}\n")
        changed = reloading(parts, site.config, before)
        assert now_uses(changed).policy.approval.expires == 420
        assert changed() is None


@pytest.mark.parametrize(
    ("old", "new"),
    [("gateway.disable_tool", "gateway.no_such_action"), ("for: tool\n      lease", "at: shed\n      lease")],
    ids=["a step", "a kind of system"],
)
async def test_a_playbook_with_what_nobody_has_is_not_used(site: Installation, old: str, new: str) -> None:
    async with reload(site) as changed:
        assert old in SHIPPED.read_text()
        write(site, "playbooks/mine.yaml", SHIPPED.read_text().replace(old, new))
        assert changed() is None


async def test_what_is_read_at_the_start_only_is_named_by_doctor(site: Installation) -> None:
    async with reload(site) as changed:
        running.note(site.folder, "receiver", running.digests(site.folder))
        assert {line.level for line in read_by_whom(site.folder)} == {"ok"}
        settings = site.folder / "mcp-soar.yaml"
        write(site, "mcp-soar.yaml", settings.read_text() + "\n# another word\n")
        write(site, "sources.yaml", "version: 1\nsources: {}\n")
        now_uses(changed)
        said = {line.check.split()[0]: line for line in read_by_whom(site.folder)}
        assert "mcp-soar.yaml" in said["responder"].message
        assert "sources.yaml" not in said["responder"].message
        assert "mcp-soar.yaml and sources.yaml" in said["receiver"].message
        assert "restart" in said["receiver"].remedy


class Endpoint:
    """A connection that counts how often it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_every_reading_shares_what_is_open_and_all_of_it_is_closed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Endpoint] = []

    def build(_inventory: Inventory, _name: str) -> Endpoint:
        made.append(Endpoint())
        return made[-1]

    works = Works(steps=(), connections={Endpoint: Connection(build, lambda known, name: known.gateways.get(name))})
    fake = System(kind="test", works=lambda: works, words=dict)
    monkeypatch.setattr(registry, "SYSTEMS", Systems((*registry.SYSTEMS.all, fake)))
    first = connected(parse_yaml(Inventory, world.INVENTORY, file="x", context=SYSTEMS.context))
    readings = [first]
    opened = first.reach(Endpoint, "main")
    for port in (10, 11, 12):
        changed = parse_yaml(
            Inventory, world.INVENTORY.replace("127.0.0.1:9", f"127.0.0.1:{port}"), file="x", context=SYSTEMS.context
        )
        readings.append(readings[-1].with_inventory(changed))
        assert readings[-1].reach(Endpoint, "main") is not opened, "the gateway stands elsewhere now"
        assert first.reach(Endpoint, "main") is opened, "a case that began with it goes on with it"
    same = readings[-1].with_inventory(readings[-1].inventory)
    assert same.reach(Endpoint, "main") is readings[-1].reach(Endpoint, "main")
    assert len(made) == 4
    await first.aclose()
    await readings[-1].aclose()
    assert [endpoint.closed for endpoint in made] == [1, 1, 1, 1]


def test_a_widening_of_what_belongs_to_no_server_stops_nothing() -> None:
    widen = Widening(
        action="gateway.revoke_token", params={"principal": "agent", "token": "laptop"}, because="it leaks"
    )
    verdict = Verdict(answer=Answer.NOT_ESTABLISHED, findings=(), widen=(widen,))
    body = {"instance": world.INSTANCE, "epoch": 1, "verdict": verdict.model_dump(mode="json")}
    verified = world.verified(Answer.NOT_ESTABLISHED, "it was called")
    leak = verified._replace(body={**verified.body, **body})
    state = incident(world.opened(), world.alert(), world.intended(), world.wrote(), leak)
    assert state.widenings
    playbook: Playbook = shipped()[POISONING]
    todos = list(
        schedule.ready(
            state, playbook, places=Places(Inventory(version=1)), until=Phase.CUT, now=now(), stopped=False, retries=()
        )
    )
    (todo,) = [todo for todo in todos if todo.name == "gateway.revoke_token"]
    assert todo.entity == ""
