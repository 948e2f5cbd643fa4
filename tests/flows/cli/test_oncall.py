"""What people on call ask for, from the command line through the real intake to the answer."""

import asyncio
import json
import sqlite3
from datetime import datetime, timedelta

import pytest

from flows.cli.output import moment
from flows.service.access import open_inbox
from tests.flows.cli import world
from tests.flows.cli.world import ID, INSTANCE, Installation
from tests.lab.house import alert


def contained(site: Installation) -> None:
    site.append(*(make() for make in world.CONTAINED))


def test_a_note_stands_in_the_timeline_of_an_open_and_of_a_closed_incident(site: Installation) -> None:
    site.append(world.opened())
    with site.responder():
        assert site.json("note", "1", "a stolen npm token\nof the vendor", "--as", "kim")["state"] == "done"
        site.json("close", "1", "--yes", "--as", "kim")
        act = site.json("note", "1", "root cause: an unpinned tag", "--as", "lee")
    assert (act["incident"], act["status"]) == (ID, "closed")
    it = site.json("incident", "1")
    assert [(note["by"], note["text"]) for note in it["notes"]] == [
        ("kim", "a stolen npm token\nof the vendor"),
        ("lee", "root cause: an unpinned tag"),
    ]
    assert any(line["what"] == "note by lee" for line in it["timeline"])
    assert site.json("verify")["ok"]


def test_a_note_cannot_move_the_terminals_cursor(site: Installation) -> None:
    site.append(world.opened())
    with site.responder():
        site.json("note", "1", "harmless\x1b[2J\u202e", "--as", "kim")
    shown = site.run("incident", "1").stdout
    assert "harmless\\u{1b}[2J" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_duty_that_the_incident_does_not_have_is_not_fulfilled(site: Installation) -> None:
    site.append(world.opened())
    with site.responder():
        error = site.error("note", "1", "reported", "--fulfils", "gdpr-33", "--as", "kim", code=4)
    assert "gdpr-33 is no duty of" in error["message"]


def test_the_laws_clocks_are_shown_until_somebody_says_that_it_is_done(site: Installation) -> None:
    site.append(world.opened())
    assert site.json("incident", "1")["clocks"] == []
    assert "To report" not in site.run("incident", "1").stdout

    (site.folder / "inventory.yaml").write_text(world.BOUND, encoding="utf-8")
    it = site.json("incident", "1")
    first = it["clocks"][0]
    opened, until = (datetime.fromisoformat(at) for at in (it["opened_at"], first["until"]))
    shown = site.run("incident", "1").stdout
    with site.responder():
        site.json("note", "1", "told them", "--fulfils", first["id"], "--as", "kim")
    after = {clock["id"]: clock for clock in site.json("incident", "1")["clocks"]}

    assert {"nis2-early-warning", "nis2-notification", "gdpr-33"} <= after.keys()
    assert (first["id"], first["overdue"], until - opened) == ("nis2-early-warning", False, timedelta(hours=24))
    assert (moment(until) or "no time") in shown
    assert f"  {first['fulfil']}\n" in shown
    assert f"note {ID} TEXT --fulfils nis2-early-warning --as NAME" in first["fulfil"]
    assert after["nis2-early-warning"]["fulfilled"]
    shown = site.run("incident", "1").stdout
    assert "--fulfils nis2-early-warning" not in shown
    assert "--fulfils gdpr-33" in shown


def test_who_looks_after_it_is_listed(site: Installation) -> None:
    site.append(world.opened())
    with site.responder():
        site.json("assign", "1", "lee", "--as", "kim")
        assert "enrolled: kim, lee, sam" in site.error("assign", "1", "mallory", "--as", "kim", code=4)["message"]
    assert site.json("incident", "1")["assigned_to"] == "lee"
    assert site.json("incidents")["incidents"][0]["assigned_to"] == "lee"
    assert "lee" in site.run("incidents").stdout


def test_a_lease_is_extended_and_says_until_when(site: Installation) -> None:
    contained(site)
    before = site.json("leases")["leases"][0]["until"]
    with site.responder():
        act = site.json("extend", "1", "--for", "3d", "--reason", "no fix before Monday", "--as", "sam")
        far = site.error("extend", "1", "--for", "31d", "--reason", "x", "--as", "sam", code=4)
    (lease,) = site.json("leases")["leases"]
    assert lease["until"] > before
    assert act["message"].startswith(f"{INSTANCE} lasts until ")
    assert "720 h" in far["message"]
    assert any("sam: no fix before Monday" in line["detail"] for line in site.json("incident", "1")["timeline"])


def test_a_duplicate_says_of_what(site: Installation) -> None:
    site.append(world.opened())
    site.append(world.opened(key="other"), incident="inc-2026-000002")
    assert site.error("close", "2", "--yes", "--of", "1", "--as", "kim", code=2)
    with site.responder():
        site.json(
            "close", "2", "--yes", "--outcome", "duplicate", "--of", "1", "--as", "kim", "--reason", "the same tool"
        )
    it = site.json("incident", "2")
    assert (it["closed_as"], it["duplicate_of"]) == ("duplicate", ID)
    assert f"as duplicate of {ID}" in " ".join(site.run("incident", "2").stdout.split())


def test_a_legal_hold_takes_two_approvers_to_end(site: Installation) -> None:
    site.append(world.opened())
    with site.responder():
        site.json("close", "1", "--yes", "--as", "kim")
        site.json("hold", "1", "--reason", "matter 12/26", "--as", "sam")
        shown = site.run("incident", "1").stdout
        assert "approver" in site.error("unhold", "1", "--yes", "--reason", "over", "--as", "sam", code=4)["message"]
        first = site.json("unhold", "1", "--yes", "--reason", "settled", "--as", "kim")
        assert site.json("incident", "1")["legal_hold"] == "matter 12/26"
        second = site.json("unhold", "1", "--yes", "--reason", "settled", "--as", "lee")
    assert "matter 12/26" in shown
    assert (first["state"], second["state"]) == ("waiting", "done")
    assert " unhold inc-" in first["answer"], "what the second one types"
    assert site.json("incident", "1")["legal_hold"] is None


def received(site: Installation, body: bytes) -> None:
    """Put an alert of the source `generic` into the inbox, as the receiver does."""

    async def work() -> None:
        async with await open_inbox(site.config, name="receiver") as journal:
            nonce = json.loads(body)["id"]
            await journal.put(kind="alert", source="generic", nonce=nonce, body=body, headers={})

    asyncio.run(work())


def until_taken_in(site: Installation) -> None:
    """Wait until a responder has judged everything: a person's request comes after what came before it."""
    site.json("note", "1", "a mark", "--as", "kim")


def test_a_suppression_is_told_everywhere_with_what_it_set_aside(site: Installation) -> None:
    site.append(world.opened())
    scope = "rule:generic/Tool description changed"
    with site.responder():
        act = site.json("suppress", scope, "--for", "2h", "--reason", "a planned change", "--as", "sam")
        received(site, alert("weather", "forecast"))
        until_taken_in(site)
        assert len(site.json("incidents")["incidents"]) == 1
        (row,) = site.json("suppressions")["suppressions"]
        listed = site.run("incidents")
        doctor = site.run("doctor")
        over = site.json("unsuppress", scope, "--as", "lee")
        gone = site.json("suppressions")["suppressions"]
    assert "alerts of rule Tool description changed from generic open nothing" in act["message"]
    assert (row["source"], row["rule"], row["by"]) == ("generic", "Tool description changed", "sam")
    assert (row["reason"], row["set_aside"]) == ("a planned change", 1)
    for said in (listed.output, doctor.output):
        assert "SUPPRESSED rule:generic/Tool" in " ".join(said.split())
        assert "1 alert set aside: a planned change" in " ".join(said.split())
    assert (over["state"], gone) == ("done", [])
    assert site.json("verify")["ok"]


@pytest.mark.parametrize("forgery", ["DELETE FROM suppression", "UPDATE suppression SET until = until + 3600"])
def test_a_suppression_that_was_changed_behind_everybodys_back_is_found(site: Installation, forgery: str) -> None:
    site.append(world.opened())
    with site.responder():
        site.json("suppress", "source:generic", "--for", "2h", "--reason", "x", "--as", "kim")
        assert site.json("verify")["ok"]
    with sqlite3.connect(site.folder / "state" / "journal.db") as database:
        database.execute(forgery)
    database.close()
    (found,) = [check for check in site.json("verify", code=1)["checks"] if not check["ok"]]
    assert found["check"] == "suppressions"
    assert "source:generic" in found["message"]


def test_a_journal_of_the_first_release_is_read_before_a_responder_brought_it_up_to_date(site: Installation) -> None:
    site.append(world.opened())
    with sqlite3.connect(site.folder / "state" / "journal.db") as database:
        database.execute("DROP TABLE suppression")
    database.close()
    assert site.json("incidents")["suppressions"] == []


@pytest.mark.parametrize(
    "words",
    [
        ("note", "1", " "),
        ("extend", "1", "--for", "soon", "--reason", "x"),
        ("extend", "1", "--for", "2h"),
        ("suppress", "source:nowhere", "--for", "2h", "--reason", "x"),
        ("suppress", "everything", "--for", "2h", "--reason", "x"),
        ("suppress", "source:generic", "--for", "2h"),
        ("hold", "1"),
        ("unhold", "1"),
    ],
)
def test_what_is_not_understood_exits_2(site: Installation, words: tuple[str, ...]) -> None:
    site.append(world.opened())
    assert site.error(*words, "--as", "kim", code=2)["kind"] == "usage"
