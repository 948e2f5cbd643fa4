"""`check`: what it shows, what it ends with, and that it is known afterwards."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Mapping

import pytest

from flows.checks.every import CHECKS
from flows.checks.inspection import Ask
from flows.cli.exits import Exit
from flows.cli.work import checks as work
from flows.service.access import open_journal
from playbooks.record import trust
from playbooks.record.check import CHECK, Found
from playbooks.record.journal import Event
from playbooks.record.trust import Judged, Tier
from playbooks.strict import now
from tests.flows.checks.test_room import AUDIT, away, bad, check, clean, ran
from tests.flows.cli.world import Installation


def only(monkeypatch: pytest.MonkeyPatch, **pieces: Ask) -> None:
    """Have one check, `tried`."""
    monkeypatch.setattr(work, "CHECKS", {"tried": check(**pieces)})


async def keep(site: Installation, event: Event) -> None:
    """Have the journal have a run of it, as a responder writes it."""
    async with await open_journal(site.config, name="test", writing=True) as journal:
        await journal.append(f"{CHECK}tried", [event])


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ({"a": clean}, Exit.OK),
        ({"a": clean, "b": away}, Exit.UNREACHABLE),
        ({"a": bad, "b": away}, Exit.NO),
    ],
)
def test_clean_differs_and_unknown_end_with_codes_of_their_own(
    site: Installation, monkeypatch: pytest.MonkeyPatch, pieces: Mapping[str, Ask], code: Exit
) -> None:
    only(monkeypatch, **pieces)
    (said,) = site.json("check", "tried", "--no-report", code=code)["runs"]
    assert (said["pieces"], said["differ"]) == (len(pieces), int(code is Exit.NO))
    assert [one["piece"] for one in said["unknown"]] == [name for name, ask in pieces.items() if ask is away]
    shown = site.run("check", "tried", "--no-report")
    assert shown.exit_code == code
    assert ("unknown, for it could not be asked" in " ".join(shown.stdout.split())) == ("b" in pieces)
    assert ("switch it on" in shown.stdout) == (code is Exit.NO)


def test_there_is_no_check_of_another_name(site: Installation) -> None:
    assert f"there is: {', '.join(CHECKS)}" in site.error("check", "nonsense", code=Exit.NOT_FOUND)["message"]


def test_without_a_name_each_is_listed_with_its_last_run(site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, a=clean)
    (row,) = site.json("check")["checks"]
    assert (row["check"], row["ended"], row["said"]) == ("tried", None, "has not run yet")
    body = ran(AUDIT, pieces=3, unknown=(("b", "away"),)).ran("schedule", None)
    asyncio.run(keep(site, Event("ran", body.model_dump(mode="json"), "drift")))
    (row,) = site.json("check")["checks"]
    assert row["said"] == "1 differ, 1 of 3 not asked"
    assert row["ended"]
    assert row["last"]["found"][0]["since"] == row["last"]["began"]


def test_how_far_each_server_is_trusted_is_listed_with_what_it_was(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, a=clean)
    before = trust.kept([Judged("weather", Tier.SOUND, ())], (), now(), 10)
    after = trust.kept([Judged("weather", Tier.MALICIOUS, ("it speaks to the model",))], before, now(), 10)
    body = ran().ran("schedule", None).model_copy(update={"trust": after})
    asyncio.run(keep(site, Event("ran", body.model_dump(mode="json"), "drift")))
    shown = " ".join(site.run("check").stdout.split())
    for part in ("Tier 1 - malicious", "it speaks to the model", "before: Tier 5 - sound"):
        assert part in shown
    (row,) = site.json("check")["checks"]
    assert row["last"]["trust"][0]["earlier"][0]["tier"] == Tier.SOUND


def test_nobody_is_told_without_a_source_and_it_is_said(site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, a=bad)
    (said,) = site.json("check", "tried", code=Exit.NO)["runs"]
    assert said["reported"] == "Nobody was told: sources.yaml has no source drift with a secret."
    assert said["unrecorded"]


def test_a_journal_that_is_not_as_it_was_written_is_heard_of_before_anything_is_asked(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []

    async def look() -> list[Found]:
        asked.append(None)
        return []

    only(monkeypatch, a=look)
    body = ran(AUDIT).ran("schedule", None)
    asyncio.run(keep(site, Event("ran", body.model_dump(mode="json"), "drift")))
    with contextlib.closing(sqlite3.connect(site.folder / "state" / "journal.db")) as database, database:
        database.execute("UPDATE entry SET data = data || ' ' WHERE stream = ?", (f"{CHECK}tried",))
    assert site.run("check", "tried", "--no-report").exit_code is Exit.NO
    assert not asked
