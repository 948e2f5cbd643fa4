"""What people on call ask for, judged by the real intake on a real journal. Nothing of it touches a system."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.engine import leases
from flows.engine.case import PREFIX, Case
from integrations.journal.store import Claim
from integrations.registry import SYSTEMS
from playbooks.estate.inventory import Inventory
from playbooks.people.request import People, Verb
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.strict import iso, now, parse_yaml
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import House, house
from tests.lab.paging import NEW

ID = world.ID
# Its law sets a time to report.
INVENTORY = parse_yaml(
    Inventory,
    world.INVENTORY.replace(
        "    environment: prod\n", "    environment: prod\n    data: [personal]\n    regimes: [gdpr]\n"
    ),
    file="inventory.yaml",
    context=SYSTEMS.context,
)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """An installation with ann (responder, approver), bob (approver) and eve (auditor), and one open incident."""
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        assert await asked(home, "ann", Verb.RESPOND, "new", params=NEW) is None
        yield home


async def asked(home: House, who: str, verb: Verb, subject: str = ID, **more: Any) -> str | None:  # noqa: ANN401  # a request's other fields
    """Hand a request in, have it judged, and return why it was refused, None if it was not."""
    before = len(await home.system("set_aside"))
    await home.ask(who, verb, subject, **more)
    await home.take_in()
    refused = (await home.system("set_aside"))[before:]
    return str(refused[0].body["reason"]) if refused else None


async def state(home: House) -> Incident:
    return await home.incident(ID)


async def kinds(home: House) -> list[str]:
    return [entry.parsed().kind for entry in await home.journal.read(PREFIX + ID)]


async def contained(home: House) -> None:
    """Append what containing it would have appended."""
    await home.journal.append(PREFIX + ID, [world.intended(), world.wrote(), world.verified()])


async def verifies(home: House) -> bool:
    return await home.journal.verify(public_keys=[home.parts.signer.public]) == []


async def test_a_note_is_kept_as_it_was_written_and_stops_a_clock(home: House) -> None:
    assert await asked(home, "bob", Verb.NOTE, params={"text": "first line\nsecond: 도구"}) is None
    assert await asked(home, "ann", Verb.NOTE, params={"text": "told the office", "fulfils": "gdpr-33"}) is None
    it = await state(home)
    assert [(note.by, note.text) for note in it.notes] == [
        ("bob", "first line\nsecond: 도구"),
        ("ann", "told the office"),
    ]
    assert set(it.fulfilled) == {"gdpr-33"}
    mistyped = await asked(home, "bob", Verb.NOTE, params={"text": "again", "fulfils": "gdpr-3"})
    assert "gdpr-3 is no duty" in (mistyped or "")
    assert "gdpr-33" in (mistyped or "")
    assert "fulfilled" in (await asked(home, "bob", Verb.NOTE, params={"text": "again", "fulfils": "gdpr-33"}) or "")


async def test_what_people_paste_into_a_note_or_a_reason_is_masked(home: House) -> None:
    pasted = "asked ann.lee@corp.example.com, password=hunter2"
    assert await asked(home, "ann", Verb.NOTE, reason=pasted, params={"text": pasted}) is None
    assert await asked(home, "ann", Verb.HOLD, reason=pasted) is None
    assert await asked(home, "ann", Verb.CLOSE, reason=pasted) is None
    written = b"".join(entry.data for entry in await home.journal.read(PREFIX + ID))
    assert b"hunter2" not in written
    assert b"corp.example.com" not in written
    (note,) = (await state(home)).notes
    assert note.text == "asked [redacted: e-mail], password=[redacted: password]"


@pytest.mark.parametrize(
    ("verb", "subject", "params"),
    [
        (Verb.DELEGATE, "eve", {"until": iso(now() + timedelta(hours=8))}),
        (Verb.SUPPRESS, "source:siem", {"seconds": 3600.0}),
    ],
)
async def test_a_reason_that_is_kept_as_it_was_signed_may_hold_no_secret(
    home: House, verb: Verb, subject: str, params: dict[str, Any]
) -> None:
    pasted = "asked ann.lee@corp.example.com, password=hunter2"
    refused = await asked(home, "ann", verb, subject, reason=pasted, params=params)
    assert "asked [redacted: e-mail], password=[redacted: password]" in (refused or "")
    names = [row.name for row in await home.journal.streams()]
    written = b"".join([entry.data for name in names for entry in await home.journal.read(name)])
    assert b"set_aside" in written
    assert b"hunter2" not in written
    assert b"corp.example.com" not in written
    assert await asked(home, "ann", verb, subject, reason="on a flight", params=params) is None


@pytest.mark.parametrize("params", [{}, {"text": ""}, {"text": "x" * 4001}, {"text": 1}, {"text": "x", "more": 1}])
async def test_a_note_that_is_none_is_refused_and_leaves_no_note(home: House, params: dict[str, Any]) -> None:
    assert await asked(home, "ann", Verb.NOTE, params=params) is not None
    assert (await state(home)).notes == []


async def test_an_auditor_writes_nothing_into_an_incident(home: House) -> None:
    assert "needs the role" in (await asked(home, "eve", Verb.NOTE, params={"text": "x"}) or "")


async def test_a_closed_incident_takes_notes_and_stays_closed_and_whole(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert await asked(home, "bob", Verb.NOTE, params={"text": "root cause: an unpinned tag"}) is None
    assert await asked(home, "bob", Verb.ASSIGN, params={"to": "ann"}) is None
    it = await state(home)
    assert it.closed_at is not None
    assert it.notes[-1].text == "root cause: an unpinned tag"
    assert (await home.journal.streams(PREFIX, open_only=True)) == []
    assert await verifies(home)


async def test_somebody_enrolled_looks_after_it(home: House) -> None:
    assert await asked(home, "bob", Verb.ASSIGN, params={"to": "ann"}) is None
    assert (await state(home)).assigned_to == "ann"
    assert "mallory is not enrolled" in (await asked(home, "bob", Verb.ASSIGN, params={"to": "mallory"}) or "")
    assert (await state(home)).assigned_to == "ann"


async def test_leases_in_force_end_later(home: House) -> None:
    await contained(home)
    before = now()
    assert await asked(home, "bob", Verb.EXTEND, reason="no fix before Monday", params={"seconds": 72 * 3600.0}) is None
    (lease,) = (await state(home)).leases.values()
    assert timedelta(hours=71) < lease.until - before < timedelta(hours=73)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"params": {"seconds": 72 * 3600.0}}, "needs a reason"),
        ({"params": {"seconds": 31 * 86400.0}, "reason": "x"}, "lease.longest"),
        ({"params": {"seconds": 60.0}, "reason": "x"}, "already"),
        ({"params": {"seconds": -60.0}, "reason": "x"}, "greater than 0"),
        ({"params": {"seconds": 72 * 3600.0, "lease": "cut-tool@other"}, "reason": "x"}, "is not in force"),
    ],
)
async def test_an_extension_that_is_none_changes_nothing(home: House, fields: dict[str, Any], why: str) -> None:
    await contained(home)
    (before,) = (await state(home)).leases.values()
    assert why in (await asked(home, "ann", Verb.EXTEND, **fields) or "")
    (after,) = (await state(home)).leases.values()
    assert after.until == before.until


async def test_nothing_in_force_cannot_be_extended(home: House) -> None:
    assert "in force" in (await asked(home, "ann", Verb.EXTEND, reason="x", params={"seconds": 60.0}) or "")


async def test_a_duplicate_names_what_it_is_one_of(home: House) -> None:
    other = {**NEW, "entities": [{"kind": "tool", "name": "add", "server": "weather"}]}
    assert await asked(home, "ann", Verb.RESPOND, "new", params=other) is None
    second = "inc-2026-000002"
    assert "no duplicate of itself" in (
        await asked(home, "ann", Verb.CLOSE, second, params={"as": "duplicate", "of": second}) or ""
    )
    assert "no incident inc-9" in (
        await asked(home, "ann", Verb.CLOSE, second, params={"as": "duplicate", "of": "inc-9"}) or ""
    )
    assert "no incident 7" in (await asked(home, "ann", Verb.CLOSE, second, params={"as": "duplicate", "of": 7}) or "")
    assert "only a duplicate" in (
        await asked(home, "ann", Verb.CLOSE, second, params={"as": "resolved", "of": ID}) or ""
    )
    assert (await home.incident(second)).closed_at is None
    assert await asked(home, "ann", Verb.CLOSE, second, params={"as": "duplicate", "of": ID}) is None
    assert (await home.incident(second)).duplicate_of == ID
    # Not in a circle.
    assert second in (await asked(home, "ann", Verb.CLOSE, ID, params={"as": "duplicate", "of": second}) or "")


async def test_a_legal_hold_is_anybodys_to_place_and_two_approvers_to_lift(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert "reason" in (await asked(home, "eve", Verb.HOLD) or "")
    assert await asked(home, "eve", Verb.HOLD, reason="matter 12/26") is None
    assert (await state(home)).legal_hold == "matter 12/26"
    assert "needs the role approver" in (await asked(home, "eve", Verb.UNHOLD, reason="settled") or "")
    assert await asked(home, "bob", Verb.UNHOLD, reason="settled") is None
    assert await asked(home, "bob", Verb.UNHOLD, reason="settled") is None
    assert (await state(home)).legal_hold == "matter 12/26"
    assert await asked(home, "ann", Verb.UNHOLD, reason="settled") is None
    assert (await state(home)).legal_hold is None
    assert "under no legal hold" in (await asked(home, "ann", Verb.UNHOLD, reason="settled") or "")
    assert await verifies(home)


async def test_a_second_matter_keeps_what_the_first_one_lets_go(home: House) -> None:
    await asked(home, "ann", Verb.HOLD, reason="matter 1")
    await asked(home, "bob", Verb.UNHOLD, reason="settled")
    await asked(home, "eve", Verb.HOLD, reason="matter 2")
    # What bob agreed to was the end of the first one alone.
    assert await asked(home, "ann", Verb.UNHOLD, reason="settled") is None
    assert (await state(home)).legal_hold == "matter 1; matter 2"


@pytest.mark.parametrize("change", ["removed", "other role", "enrolled anew"])
async def test_half_of_a_pair_that_is_nobody_any_more_does_not_count(home: House, change: str) -> None:
    await asked(home, "ann", Verb.HOLD, reason="matter 1")
    await asked(home, "ann", Verb.STOP, "everything", reason="look first")
    assert await asked(home, "bob", Verb.UNHOLD, reason="settled") is None
    assert await asked(home, "bob", Verb.RESUME, "everything") is None
    home = home.changed(people=without_bob(home.parts.people(), change))
    assert await asked(home, "ann", Verb.UNHOLD, reason="settled") is None
    assert await asked(home, "ann", Verb.RESUME, "everything") is None
    assert (await state(home)).legal_hold == "matter 1"
    assert [stop.scope for stop in await home.journal.stops()] == ["everything"]


def without_bob(people: People, change: str) -> Any:  # noqa: ANN401  # a function that returns People
    bob = people.people["bob"]
    changed = {
        "removed": {},
        "other role": {"bob": bob.model_copy(update={"roles": ("responder",)})},
        "enrolled anew": {"bob": bob.model_copy(update={"enrolled_at": datetime.now(UTC) + timedelta(seconds=1)})},
    }[change]
    others = {name: person for name, person in people.people.items() if name != "bob"}
    return lambda: People(people={**others, **changed})


async def test_a_note_is_one_line_of_the_timeline_and_its_request_is_on_record(home: House) -> None:
    await asked(home, "ann", Verb.NOTE, params={"text": "seen"})
    assert [line.what for line in (await state(home)).timeline][-1] == "note by ann"
    assert (await kinds(home))[-2:] == ["request", "noted"]


async def test_a_lease_that_runs_out_while_a_person_extends_it_lasts_as_long_as_the_person_said(home: House) -> None:
    await contained(home)
    (claim,) = await _claimed(home)
    case = await Case.take(home.parts, claim)
    # Nothing answers here, which the first look puts on record.
    await leases.watch(case)
    ended = {"instance": world.INSTANCE, "until": iso(now() - timedelta(seconds=1)), "why": "test"}
    await home.journal.append(PREFIX + ID, [Event("lease_extended", ended)])
    await case.catch_up()
    # This responder knows only that it is over; the person is faster.
    assert await asked(home, "ann", Verb.EXTEND, reason="no fix yet", params={"seconds": 72 * 3600.0}) is None
    await leases.watch(case)
    assert (await state(home)).leases[world.INSTANCE].until > now() + timedelta(hours=71)
    assert case.state.leases[world.INSTANCE].until > now() + timedelta(hours=71)


async def _claimed(home: House) -> list[Claim]:
    await home.journal.submit(lambda tx: tx.make_runnable(PREFIX + ID, lane="cut"))
    return await home.journal.claim("responder-1", lane="cut", limit=1, seconds=60)
