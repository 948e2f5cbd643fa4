"""Who may insert a row is not yet who may speak for a sender: only what a receiver stamped is believed."""

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.engine.intake import intake
from integrations.journal.stamp import Stamp
from integrations.journal.store import Journal
from integrations.siem.source import Sources
from playbooks.errors import Misconfigured, Refused
from playbooks.record.incident import Confidence, Status
from playbooks.record.journal import SYSTEM
from tests.flows.cli import world
from tests.flows.engine.test_intake import finding
from tests.lab import scenes
from tests.lab.connected import connected
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert, house, source

INVENTORY = world.READ


async def forge(home: House, body: bytes, *, stamp: Stamp | None = None) -> str:
    """Put an alert in as somebody who may insert and has no receiver's key."""
    url = f"sqlite:///{home.folder}/journal.db"
    async with await Journal.open(url, signer=None, name="forger", stamp=stamp) as forger:
        return (await forger.put(kind="alert", source="siem", nonce=uuid.uuid4().hex, body=body, headers={})).id


async def test_a_forged_alert_cuts_nothing_and_a_person_sees_it(lab: Lab, tmp_path: Path) -> None:
    # All that an automatic cut needs: the tool really differs, and the source is one of high confidence.
    lab.victim.poison("get_weather")
    async with scenes.installation(lab, tmp_path) as home:
        receipt = await forge(home, alert(lab.site.server_id, "get_weather"), stamp=Stamp(b"x" * 32))
        async with home.responding():
            incident = await home.reaches(Status.AWAITING_APPROVAL)
        (seen,) = incident.alerts
        assert (seen.authenticated, seen.confidence) == (False, Confidence.LOW)
        assert await scenes.usable(lab, "get_weather", city="Seoul")
        (aside,) = await home.system("set_aside")
        assert aside.body["receipt"] == receipt
        assert "stamp" in aside.body["reason"]


@pytest.mark.parametrize("what", ["source", "body", "stamp"])
async def test_a_stamp_is_good_for_the_row_that_it_was_made_for(what: str, tmp_path: Path) -> None:
    async with house(tmp_path, connected(INVENTORY)) as home:
        await home.receive(alert("weather", "forecast"))
        (item,) = await home.journal.waiting(9)
        assert home.journal.genuine(item)
        others = {
            "source": item._replace(source="second"),
            "body": item._replace(body=item.body + b" "),
            "stamp": item._replace(stamp=None),
        }
        assert not home.journal.genuine(others[what])


async def test_a_hundred_ends_of_nothing_are_one_entry(tmp_path: Path) -> None:
    async with house(tmp_path, connected(INVENTORY)) as home:
        parts = replace(home.parts, sources=Sources(version=1, sources={"scanner": source(format="ocsf")}))
        ended = [finding("weather", f"tool-{number}") | {"activity_id": 3} for number in range(99)]
        for _ in range(5):
            await home.receive(json.dumps(ended).encode(), source="scanner")
        await intake(parts)
        (entry,) = await home.system("set_aside")
        assert len(entry.body["receipts"]) == 5
        assert len(await home.journal.read(SYSTEM)) == 1


@pytest.mark.parametrize("name", ["nonce", "source", "kind"])
async def test_a_row_of_the_inbox_has_bounds(name: str, tmp_path: Path) -> None:
    async with house(tmp_path, connected(INVENTORY)) as home:
        put: dict[str, Any] = {"kind": "alert", "source": "siem", "nonce": "n", "body": b"{}", "headers": {}}
        with pytest.raises(Refused, match=name):
            await home.journal.put(**put | {name: "x" * 201})


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "receiver.stamp"
    with pytest.raises(Misconfigured, match="mcp-soar up"):
        Stamp.load(path)
    first = Stamp.ensure(path)
    said = {"kind": "alert", "source": "s", "nonce": "1", "digest": "d", "headers": b"{}"}
    assert Stamp.ensure(path).of(**said) == first.of(**said) == Stamp.load(path).of(**said)  # type: ignore[arg-type]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [child.name for child in path.parent.iterdir()] == ["receiver.stamp"]
    path.write_text("c2hvcnQ=")
    with pytest.raises(Misconfigured, match="32 bytes"):
        Stamp.load(path)
