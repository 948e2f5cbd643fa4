"""Evidence that could not be had is collected when it can be had; an empty log is not sealed without a word."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows.engine import evidence
from integrations.gateways.captures import CaptureLogs
from integrations.systems.contextforge.driver import ContextForge
from playbooks.action import World
from playbooks.errors import Misconfigured
from playbooks.record.incident import Status
from tests.lab import scenes
from tests.lab.exhibits import Gathered, gathered
from tests.lab.fixtures import Lab
from tests.lab.gateway import READ
from tests.lab.house import alert

LOGS = {"audit_trails": [{"action": "update"}], "security_events": []}


async def test_what_our_account_had_no_right_to_read_is_collected_once_it_has(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = False

    async def logs(_self: ContextForge, limit: int = 1000) -> dict[str, Any]:
        del limit
        if not allowed:
            raise Misconfigured("GET /api/logs/audit-trails answered 403")
        return LOGS

    monkeypatch.setattr(ContextForge, "logs", logs)
    monkeypatch.setattr(evidence, "COLLECT_AGAIN", (0.2,))
    await scenes.turn(lab, None)
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id

        async def tried_again() -> bool:
            return any(entry.kind == "uncollected" for entry in await scenes.entries(home, name))

        await home.until(tried_again, "it is tried again while we may not")
        (missing,) = (await home.incident(name)).missing
        assert "403" in missing["reason"]
        first = (await home.settled(name)).sealed
        allowed = True

        async def sealed() -> bool:
            incident = await home.incident(name)
            kinds = {item["kind"] for item in incident.exhibits}
            return "gateway_logs" in kinds and incident.sealed_of == (len(incident.exhibits), 1)

        await home.until(sealed, "it is collected, and the bundle is made anew")
        incident = await home.incident(name)
        # What its logs are empty of is missing all the same.
        assert [item for item in incident.missing if item in incident.unavailable] == []
        assert incident.sealed != first
        assert len(incident.unavailable) == 1, "that it was not to be had at first stays on record, once"


async def test_empty_logs_are_not_sealed_as_if_nothing_had_happened() -> None:
    found: dict[str, list[Any]] = {"audit_trails": [], "security_events": []}

    async def logs() -> dict[str, Any]:
        return found

    forge = ContextForge("main", READ.gateways["main"], "")
    forge.logs = logs  # type: ignore[method-assign,assignment]  # what it would ask for
    world = cast("World", SimpleNamespace(inventory=READ, reach=lambda *_: forge))
    capture = CaptureLogs(server="weather")
    with pytest.raises(Misconfigured, match="AUDIT_TRAIL_ENABLED") as caught:
        await gathered(capture, world)
    # What tells which of the two it is: doctor, which only reads, sees no more than that they are empty.
    assert "`mcp-soar inventory import main --make-canary` tries out which" in str(caught.value)
    found["security_events"] = [{"event": "refused"}]
    sink = Gathered()
    await capture.collect(world, sink)
    assert sink.lacking == ("audit trails: nothing: switched off there, or nothing happened yet that it records",)
    files = await gathered(capture, world)
    assert set(files) == {"audit-trails.json", "security-events.json", "audit-trails-empty.txt"}
    assert b"off there" in files["audit-trails-empty.txt"]
    assert b"Never in an audit trail: tool calls" in files["audit-trails-empty.txt"], "an empty one need not be off"
