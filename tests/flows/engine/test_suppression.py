"""Suppressed alerts are kept and counted, and open nothing; what was not signed for, or is over, hides nothing."""

import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.engine.people import suppression
from playbooks.errors import Misconfigured
from playbooks.people.request import People, SignedRequest, Verb, sign
from playbooks.record.journal import ITSELF, SYSTEM, Event, stream_of
from playbooks.strict import now
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import House, alert, house

INVENTORY = world.READ
RULE = "Tool description changed"


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """An installation with the sources siem, second (both authenticated) and unsigned."""
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        yield home


async def judged(home: House) -> None:
    await home.take_in()


async def asked(home: House, who: str, verb: Verb, subject: str, **more: Any) -> str | None:  # noqa: ANN401  # a request's other fields
    """Hand a request in, have it judged, and return why it was refused, None if it was not."""
    before = len(await home.system("set_aside"))
    await home.ask(who, verb, subject, **more)
    await judged(home)
    refused = (await home.system("set_aside"))[before:]
    return str(refused[0].body["reason"]) if refused else None


async def suppressed(home: House, scope: str, *, seconds: float = 7200.0) -> None:
    params = {"seconds": seconds}
    assert await asked(home, "bob", Verb.SUPPRESS, scope, reason="a planned change", params=params) is None


async def arrived(home: House, source: str = "siem", **changes: Any) -> bool:  # noqa: ANN401  # what an alert says
    """Receive an alert, and return whether an incident took it in."""
    receipt = await home.receive(alert("weather", "forecast", **changes), source)
    await judged(home)
    return receipt in {seen.receipt for it in await home.incidents() for seen in it.alerts}


async def test_alerts_of_a_suppressed_source_are_kept_and_counted_and_open_nothing(home: House) -> None:
    await suppressed(home, "source:siem")
    body = alert("weather", "forecast")
    receipt = await home.receive(body)
    await judged(home)
    assert await home.incidents() == []
    (one,) = await home.journal.suppressions()
    assert (one.scope, one.by, one.reason, one.hidden) == ("source:siem", "bob", "a planned change", 1)
    (entry,) = await home.system("set_aside")
    assert entry.body["receipt"] == receipt
    assert "suppressed by bob" in entry.body["reason"]
    assert "a planned change" in entry.body["reason"]
    kept = await home.journal.message(receipt)
    assert kept is not None
    assert kept.body == body
    assert await arrived(home, "second")


async def test_it_keeps_alerts_out_of_open_incidents_too(home: House) -> None:
    assert await arrived(home)
    await suppressed(home, "source:second")
    assert not await arrived(home, "second")
    (it,) = await home.incidents()
    assert [seen.source for seen in it.alerts] == ["siem"]


@pytest.mark.parametrize(
    ("scope", "source", "rule", "hidden"),
    [
        (f"rule:{RULE}", "siem", RULE, True),
        (f"rule:{RULE}", "second", RULE, True),
        (f"rule:{RULE}", "siem", RULE + " again", False),
        (f"rule:second/{RULE}", "second", RULE, True),
        (f"rule:second/{RULE}", "siem", RULE, False),
        (f"rule:second/{RULE}", "second", "another", False),
    ],
)
async def test_one_rule(home: House, scope: str, source: str, rule: str, hidden: bool) -> None:  # noqa: FBT001  # a case
    await suppressed(home, scope)
    assert await arrived(home, source, rule=rule) is not hidden


async def test_what_an_authenticated_source_calls_critical_opens_all_the_same(home: House) -> None:
    await suppressed(home, "source:siem")
    await suppressed(home, "source:unsigned")
    assert not await arrived(home, "unsigned", severity="critical")
    assert await arrived(home, severity="critical")


async def test_when_its_time_is_over_it_counts_for_nothing_though_nobody_cleaned_up(home: House) -> None:
    await suppressed(home, "source:siem", seconds=0.3)

    async def over() -> bool:
        (one,) = await home.journal.suppressions()
        return await home.journal.clock() > one.until

    await home.until(over, "the suppression's time is over")
    assert await arrived(home)
    assert "is not suppressed" in (await asked(home, "ann", Verb.UNSUPPRESS, "source:siem") or "")


async def test_anybody_on_call_ends_it_and_the_record_says_what_it_cost(home: House) -> None:
    await suppressed(home, "source:siem")
    assert not await arrived(home)
    assert await asked(home, "ann", Verb.UNSUPPRESS, "source:siem", reason="done") is None
    assert await arrived(home)
    (ended,) = await home.system("unsuppressed")
    assert (ended.body["by"], ended.body["set_aside"]) == ("ann", 1)
    assert await home.journal.suppressions() == []


@pytest.mark.parametrize(
    ("who", "scope", "fields", "why"),
    [
        ("eve", "source:siem", {"reason": "x", "params": {"seconds": 60.0}}, "needs the role"),
        ("ann", "source:siem", {"params": {"seconds": 60.0}}, "needs a reason"),
        ("ann", "source:siem", {"reason": "x", "params": {"seconds": 8 * 86400.0}}, "suppression.longest"),
        ("ann", "source:siem", {"reason": "x", "params": {"seconds": 0}}, "greater than 0"),
        ("ann", "source:siem", {"reason": "x"}, "seconds"),
        ("ann", "source:nowhere", {"reason": "x", "params": {"seconds": 60.0}}, "there is no source nowhere"),
        ("ann", "everything", {"reason": "x", "params": {"seconds": 60.0}}, "write a scope"),
    ],
)
async def test_what_may_not_be_suppressed(home: House, who: str, scope: str, fields: dict[str, Any], why: str) -> None:
    assert why in (await asked(home, who, Verb.SUPPRESS, scope, **fields) or "")
    assert await home.journal.suppressions() == []
    assert await arrived(home)


async def test_a_flood_costs_no_entry_each_and_is_counted_to_the_last(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suppression, "RECORDED", 3)
    await suppressed(home, "source:unsigned")
    for _ in range(7):
        await home.receive(alert("weather", "forecast"), "unsigned")
    await judged(home)
    (one,) = await home.journal.suppressions()
    assert one.hidden == 7
    assert len(await home.system("set_aside")) == 3
    assert await home.journal.waiting(9) == []


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE suppression SET source = 'second', scope = 'source:second'",
        "UPDATE suppression SET source = 'second'",
        "UPDATE suppression SET source = NULL, rule = 'Tool description changed'",
        "UPDATE suppression SET until = until + 86400, source = 'siem', seq = seq + 1",
        "UPDATE suppression SET until = until + 86400 * 30",
        "UPDATE suppression SET entry = entry + 1",
        "UPDATE suppression SET entry = 99",
    ],
)
async def test_a_row_that_nobody_signed_for_hides_nothing(home: House, forgery: str) -> None:
    await suppressed(home, "source:siem")
    with sqlite3.connect(home.folder / "journal.db") as database:
        database.execute(forgery)
    database.close()
    assert await arrived(home, "second")
    assert await arrived(home, "siem")


async def test_a_suppression_of_somebody_who_was_removed_hides_nothing(home: House) -> None:
    await suppressed(home, "source:siem")
    left = {name: person for name, person in home.parts.people().people.items() if name != "bob"}
    assert await arrived(home.changed(people=lambda: People(people=left)))


@pytest.mark.parametrize("change", [{"roles": ("auditor",)}, {"enrolled_at": now() + timedelta(hours=1)}])
async def test_a_suppression_of_somebody_who_may_not_any_more_hides_nothing(
    home: House, change: dict[str, Any]
) -> None:
    await suppressed(home, "source:siem")
    people = dict(home.parts.people().people)
    people["bob"] = people["bob"].model_copy(update=change)
    assert await arrived(home.changed(people=lambda: People(people=people)))


async def test_alerts_are_not_lost_while_nobody_can_say_who_is_enrolled(home: House) -> None:
    def unreadable() -> People:
        raise Misconfigured("line 3: not a role", file="people.yaml")

    await suppressed(home, "source:siem")
    assert await arrived(home.changed(people=unreadable))


async def test_a_suppression_that_somebody_elses_key_signed_hides_nothing(home: House) -> None:
    await suppressed(home, "source:siem")
    (entry,), (row,) = await home.system("suppressed"), await home.journal.suppressions()
    assert not await arrived(home)
    request = SignedRequest.model_validate(entry.body["signed"]).request
    forged = sign(request, home.keys["eve"].sign).model_dump(mode="json")
    (put,) = await home.journal.append(SYSTEM, [Event("suppressed", {**entry.body, "signed": forged}, "bob")])
    await home.journal.submit(lambda tx: tx.suppress(row._replace(entry=put.seq)))
    assert await arrived(home)


async def test_everybody_is_told_who_silenced_what(home: House) -> None:
    """One key can do it, so nobody can do it unseen."""
    await suppressed(home, "source:siem")
    pages = [entry.parsed() for entry in await home.journal.read(stream_of(ITSELF))]
    (page,) = [entry.body for entry in pages if entry.kind == "page"]
    assert "Suppressed source:siem" in page["text"]
    assert "by bob: a planned change" in page["text"]
