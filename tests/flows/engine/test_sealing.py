"""Evidence that cannot be sealed is tried again and somebody hears of it; a new manifest replaces the one before."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.engine import schedule, sealing
from flows.engine.case import Case
from flows.engine.intake import intake
from flows.engine.parts import Parts
from flows.engine.people import notices
from flows.engine.schedule import Todo
from integrations.journal.records import Claim
from integrations.vault import bundle
from playbooks.record.evidence import sealed
from playbooks.record.incident import Phase
from playbooks.record.journal import Event
from playbooks.record.step import Progress
from playbooks.strict import now
from tests.flows.cli import world
from tests.lab import exhibits
from tests.lab.connected import connected
from tests.lab.house import House, alert, house

INVENTORY = world.READ
SEAL = Todo("seal", Phase.PRESERVE, "seal", "Seal the evidence")


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        yield home


async def claimed(home: House) -> Claim:
    await home.receive(alert("weather", "forecast"))
    (opened,) = await intake(home.parts)
    return opened.claim


async def exhibit(case: Case, number: int) -> None:
    made = await exhibits.kept(case.parts.vault, case.id, number, "definitions", {"data.bin": b"x" * 4096})
    await case.record(Event("exhibit", {"instance": f"c{number}", "phase": "capture", **sealed(made)}))


def seal_runs(case: Case) -> bool:
    """Whether the schedule would seal now, were everything else done."""
    return any(todo.kind == "seal" for todo in schedule._sealing(case.state, now()))  # noqa: SLF001  # one of its parts


def files(parts: Parts) -> list[str]:
    return sorted(path.name for path in parts.bundles.iterdir())


async def test_a_manifest_for_which_there_is_no_room_is_tried_again_and_people_hear_of_it(home: House) -> None:
    full = replace(home.parts, reserve=2**60)
    case = await Case.take(full, await claimed(home))
    await exhibit(case, 100)
    for attempt in (1, 2, 3):
        await sealing.seal(case, SEAL)
        await notices.write(case)
        step = case.state.steps["seal"]
        assert (step.progress, step.attempt) == (Progress.RETRYING, attempt)
        assert step.retry_at is not None
        assert step.retry_at > now()
        # So that an incident that waits for nothing else is looked at again, too.
        assert schedule.next_due(case.state, now=now(), stopped_wait=None, retries=()) == step.retry_at
    assert files(full) == []
    told = [name for name in case.state.noticed if "unsealed" in name]
    assert told == ["fault:unsealed:1"]
    (page,) = [page for page in case.state.pages.values() if page.notice == told[0]]
    assert "reserved" in page.text
    roomy = Case(replace(full, reserve=0), case.claim, case.state)
    await sealing.seal(roomy, SEAL)
    assert roomy.state.steps["seal"].progress is Progress.SEALED
    assert files(full) == [roomy.state.bundle]


async def test_a_seal_that_an_earlier_release_gave_up_is_tried_again(home: House) -> None:
    case = await Case.take(home.parts, await claimed(home))
    body = {"instance": "seal", "phase": "preserve", "action": "", "epoch": 1, "attempt": 1, "error": "VaultFull"}
    await case.record(Event("failed", {**body, "message": "there is no room", "retry_at": None}))
    await exhibit(case, 100)
    assert seal_runs(case)
    await sealing.seal(case, SEAL)
    assert case.state.steps["seal"].progress is Progress.SEALED


async def test_a_new_manifest_replaces_the_one_before(home: House) -> None:
    case = await Case.take(home.parts, await claimed(home))
    names = []
    for number in (100, 101, 102):
        await exhibit(case, number)
        await sealing.seal(case, SEAL)
        assert files(home.parts) == [case.state.bundle]
        names.append(case.state.bundle)
    assert len(set(names)) == 3
    manifest = bundle.signed(home.parts.bundles / str(case.state.bundle), [home.parts.signer.public])
    assert len(manifest.exhibits) == 3


async def test_a_bundle_verifies_whatever_else_was_given_a_class_or_joined_meanwhile(home: House) -> None:
    case = await Case.take(home.parts, await claimed(home))
    await home.receive(alert("weather", "add"))
    (other,) = await intake(home.parts)
    # An incident that is found under more than one key: heads witness streams of another sort then.
    await home.journal.submit(lambda tx: tx.rekey(other.claim.stream, "data_exfiltration|tool:weather/add"))
    await exhibit(case, 100)
    await home.journal.submit(lambda tx: tx.hand_over(other.claim.stream, case.claim.stream))
    await case.catch_up()
    report = bundle.verify(await home.bundled(case.id), home.parts.signer.public)
    assert report.ok, report.checks
