"""What every answer says first: what is stopped, and which pages reached nobody."""

import asyncio
import json
import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from flows.reading import standing
from flows.service.access import open_journal
from playbooks.record.journal import ITSELF, Event, entry, stream_of
from playbooks.strict import iso
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation

MARKUP = "[red]wrong[/red] server"


def page(name: str) -> Event:
    return Event("page", {"id": name, "notice": name, "text": "Waits for a decision."})


def told(name: str, contact: str | None = None, *, delivered: bool) -> Event:
    body = {"page": name, "contact": contact, "channel": "mail", "delivered": delivered, "detail": "refused"}
    return Event("told", body)


def stop(site: Installation, scope: str, reason: str = "wrong server") -> None:
    with site.responder():
        assert site.json("stop", scope, "--reason", reason, "--as", "kim")["state"] == "done"


@pytest.mark.parametrize("words", [("incidents",), ("leases",), ("incident", "1"), ("verify",), ("doctor",)])
def test_every_command_that_opens_the_journal_says_first_what_is_stopped(
    site: Installation, words: tuple[str, ...]
) -> None:
    site.append(world.opened())
    assert "STOPPED" not in site.run(*words).stderr

    stop(site, "everything", MARKUP)
    said = " ".join(site.run(*words).stderr.split())

    assert said.count("STOPPED everything by kim since 20") == 1
    assert MARKUP in said


def test_lists_carry_it_as_json_and_say_nothing_on_stderr(site: Installation) -> None:
    site.append(world.opened())
    assert site.json("leases")["stops"] == []

    stop(site, "server:weather")

    for words in (("incidents",), ("leases",), ("incident", "1")):
        (row,) = site.json(*words)["stops"]
        assert (row["scope"], row["by"], row["reason"]) == ("server:weather", "kim", "wrong server")
        assert row["resume_asked_by"] == []
        assert site.run(*words, "--json").stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        ("incident", "1"),
        ("suppressions",),
        ("verify",),
        ("doctor",),
        ("handover",),
        ("approve", "1", "--yes", "--as", "lee", "--wait", "1"),
        ("note", "1", "seen", "--as", "kim"),
        ("note", "1", "seen", "--as", "kim", "--no-wait"),
    ],
)
def test_every_answer_as_json_has_what_is_stopped_and_what_reached_nobody(
    site: Installation, words: tuple[str, ...]
) -> None:
    site.append(world.opened(), world.proposed(), page("a"), told("a", delivered=False))
    stop(site, "everything")
    with site.responder():
        answer = json.loads(site.run(*words, "--json").stdout)
    assert [(row["scope"], row["by"]) for row in answer["stops"]] == [("everything", "kim")]
    assert [(one["incident"], one["pages"]) for one in answer["undelivered"]] == [(ID, 1)]
    assert answer["suppressions"] == []


def test_an_act_as_json_says_what_is_stopped_once_it_is_done(site: Installation) -> None:
    site.append(world.opened())
    with site.responder():
        (on,) = site.json("stop", "everything", "--reason", "look first", "--as", "kim")["stops"]
        (asked,) = site.json("resume", "everything", "--as", "kim")["stops"]
        assert site.json("resume", "everything", "--as", "lee")["stops"] == []
    assert (on["scope"], on["resume_asked_by"], asked["resume_asked_by"]) == ("everything", [], ["kim"])


def test_the_first_yes_to_resume_is_seen_until_the_second_ends_it(site: Installation) -> None:
    site.append(world.opened())
    stop(site, "everything")
    with site.responder():
        assert site.json("resume", "everything", "--as", "kim")["state"] == "waiting"

        assert "(kim asked to resume it; one more approver is needed)" in " ".join(site.run("incidents").stderr.split())
        assert site.json("incident", "1")["stops"][0]["resume_asked_by"] == ["kim"]
        (line,) = [x for x in site.json("doctor", code=1)["checks"] if x["check"] == "kill switch"]
        assert "kim asked to resume it, one more is needed" in line["message"]

        assert site.json("resume", "everything", "--as", "lee")["state"] == "done"
    assert "STOPPED" not in site.run("incidents").stderr
    # The old yes does not count for the next stop.
    stop(site, "everything")
    assert site.json("incidents")["stops"][0]["resume_asked_by"] == []


def test_pages_that_reached_nobody_are_in_every_answer(site: Installation) -> None:
    site.append(world.opened(), page("a"), page("b"), page("c"))
    assert site.json("incidents")["undelivered"] == []  # written this moment: not late yet

    site.append(told("a", delivered=False), told("b", delivered=False), told("b", delivered=False))
    assert site.json("leases")["undelivered"] == [{"incident": ID, "pages": 2, "texts": ["Waits for a decision."] * 2}]
    assert f"2 pages could not be delivered: `mcp-soar incident {ID}`" in " ".join(site.run("leases").stderr.split())
    (line,) = [x for x in site.json("doctor", code=1)["checks"] if x["check"] == "pages"]
    assert line["message"] == f"2 of {ID} reached nobody"

    site.append(told("a", delivered=True), told("b", delivered=True))
    assert site.json("leases")["undelivered"] == []


def test_a_page_is_called_undelivered_once_somebody_was_tried(site: Installation) -> None:
    site.append(world.opened(), page("a"))
    shown = site.run("incident", "1").stdout
    assert "nobody was told yet: Waits for a decision." in shown
    assert "NOT DELIVERED" not in shown
    site.append(told("a", delivered=False))
    assert "NOT DELIVERED to anybody: Waits for a decision." in site.run("incident", "1").stdout


def test_a_page_that_nobody_even_tried_counts_after_a_minute() -> None:
    at = datetime.fromisoformat("2026-01-31T12:00:00+00:00")
    old = entry("incident/x", 1, bytes(32), iso(at - timedelta(seconds=61)), page("a"))
    new = entry("incident/x", 2, old.hash, iso(at - timedelta(seconds=1)), page("b"))
    (row,) = standing.undelivered([old, new], at)
    assert (row["incident"], row["pages"]) == ("x", 1)


def test_what_is_about_mcp_soar_itself_and_reached_nobody_is_shown_until_somebody_takes_it_up(
    site: Installation,
) -> None:
    site.append(world.opened())
    stop(site, "everything")

    async def told_nobody() -> None:
        journal = await open_journal(site.config, name="test", writing=True)
        try:
            entry, *_ = await journal.read(stream_of(ITSELF))
            failed = {"contact": "soc", "purpose": "room", "channel": "slack", "delivered": False, "round": 1}
            body = {**failed, "page": entry.parsed().body["id"], "detail": "no such channel", "reference": ""}
            await journal.append(stream_of(ITSELF), [Event("told", body)])
        finally:
            await journal.aclose()

    asyncio.run(told_nobody())
    text = "STOPPED everything, by kim: wrong server"
    assert site.json("leases")["undelivered"] == [{"incident": "system", "pages": 1, "texts": [text]}]
    said = " ".join(site.run("leases").stderr.split())
    assert "1 page could not be delivered: `mcp-soar ack system`" in said
    assert f"NOT DELIVERED to anybody: {text}" in said
    (line,) = [x for x in site.json("doctor", code=1)["checks"] if x["check"] == "pages"]
    assert line["remedy"].startswith("mcp-soar ack system;")
    assert ["system", text] in lost(site)

    with site.responder():
        assert site.json("ack", "system", "--as", "sam")["state"] == "done"
    assert site.json("leases")["undelivered"] == []
    assert lost(site) == []


def test_what_reached_nobody_is_shown_after_closing_too_until_somebody_takes_it_up(site: Installation) -> None:
    site.append(world.opened(), page("a"), told("a", delivered=False))
    site.append(page("b"), told("b", "kim", delivered=False), told("b", "lee", delivered=True))
    assert site.json("leases")["undelivered"][0]["pages"] == 2
    with site.responder():
        site.json("close", "1", "--yes", "--as", "kim")
        assert site.json("leases")["undelivered"][0]["pages"] == 1, "who was missed about it misses nothing any more"
        assert lost(site) == [[ID, "Waits for a decision."]]
        site.json("ack", "1", "--as", "sam")
    assert site.json("leases")["undelivered"] == []


def lost(site: Installation) -> Any:  # noqa: ANN401  # rows of a document
    """Return what the handover says that nobody was told of."""
    for section in site.json("handover")["sections"]:
        for block in section["blocks"]:
            if block.get("caption") == "Reached nobody":
                return block["rows"]
    pytest.fail("there is no such table")


def test_an_unreadable_kill_switch_counts_as_on(site: Installation) -> None:
    (site.folder / "state" / "journal.db").touch()
    assert "STOPPED, as far as anybody knows" in site.run("incidents").stderr
    (row,) = json.loads(site.run("doctor", "--json").stdout)["stops"]
    assert (row["scope"], row["reason"].startswith("as far as anybody knows")) == ("everything", True)


def test_a_line_to_mend_is_spoken_of_only_where_there_is_one(site: Installation) -> None:
    inventory = site.folder / "inventory.yaml"
    inventory.write_text("version: 2\n", encoding="utf-8")
    assert site.json("doctor", code=1)["checks"][0]["remedy"].startswith("mend that line;")
    inventory.unlink()
    assert site.json("doctor", code=1)["checks"][0]["remedy"].startswith("mend that file;")


def test_two_hundred_incidents_cost_less_than_a_person_notices(site: Installation) -> None:
    async def measured() -> float:
        journal = await open_journal(site.config, name="test", writing=True)
        for number in range(200):
            events = [page(f"p{number}-{one}") for one in range(5)]
            events += [told(f"p{number}-{one}", delivered=True) for one in range(5)]
            checks = [world.verified() for _ in range(20)]
            await world.append_to(
                journal, f"inc-2026-{number + 1:06}", [world.opened(), *checks, *events], f"k{number}"
            )
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            await standing.standing(journal)
            seconds.append(time.perf_counter() - begun)
        await journal.aclose()
        return min(seconds)

    # 30 ms on an idle machine; reading every stream takes 20 times as long.
    assert asyncio.run(measured()) < 0.4
