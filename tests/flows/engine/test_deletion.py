"""Evidence that is to go goes, on both stores, and the journal says so; what must stay, stays."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.engine import deletion
from flows.engine.case import PREFIX
from flows.engine.intake import intake
from flows.service import retention
from integrations.vault import Locked
from integrations.vault.local import LocalVault
from playbooks.gate.policy import DAY, Policy, Retention
from playbooks.people.request import Verb
from playbooks.record.evidence import Kept, journalled, sealed
from playbooks.record.journal import Event
from playbooks.record.retention import due, until
from playbooks.record.state import Incident
from playbooks.strict import iso, now, sha256
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.lab import exhibits
from tests.lab.connected import connected
from tests.lab.house import ROOMY, House, alert, house

ID = world.ID
BUNDLE = f"{ID}-000009.tar.gz"
INVENTORY = world.READ
PERSONAL = b"ann.lee@corp.example.com asked from 10.1.2.3"
ROOT = Path(__file__).parents[3]
LATER = timedelta(days=401)


@pytest.fixture
async def home(journal_url: str | None, tmp_path: Path) -> AsyncIterator[House]:
    """An installation with one incident: two exhibits in the vault, a bundle, and the raw alert in the inbox."""
    async with house(tmp_path / "house", connected(INVENTORY), url=journal_url) as home:
        receipt = await home.receive(alert("weather", "forecast"))
        await home.take_in()
        await exhibit(home, 0, "raw-alert", {"receipt": receipt})
        await exhibit(home, 100, "definitions", {})
        home.parts.bundles.mkdir(exist_ok=True)
        (home.parts.bundles / BUNDLE).write_bytes(PERSONAL)
        body = {"digest": sha256(PERSONAL), "bundle": BUNDLE, "exhibits": 2, "unavailable": 0}
        await home.journal.append(PREFIX + ID, [Event("sealed", body)])
        yield home


async def exhibit(home: House, number: int, kind: str, params: dict[str, Any]) -> None:
    made = await exhibits.kept(home.parts.vault, ID, number, kind, {"data.bin": PERSONAL}, params=params)
    await home.journal.append(
        PREFIX + ID, [Event("exhibit", {"instance": f"c{number}", "phase": "capture", **sealed(made)})]
    )


async def asked(home: House, who: str, verb: Verb, subject: str = ID, **more: Any) -> str | None:  # noqa: ANN401  # a request's other fields
    """Hand a request in, have it judged, and return why it was refused, None if it was not."""
    before = len(await home.system("set_aside"))
    await home.ask(who, verb, subject, **more)
    await intake(home.parts)
    refused = (await home.system("set_aside"))[before:]
    return str(refused[0].body["reason"]) if refused else None


async def erase(home: House, who: str, which: str = "x-0000-raw-alert", reason: str = "PIPA 36") -> str | None:
    return await asked(home, who, Verb.ERASE, reason=reason, params={"exhibit": which})


async def state(home: House) -> Incident:
    return await home.incident(ID)


async def kinds(home: House) -> list[str]:
    return [entry.parsed().kind for entry in await home.journal.read(PREFIX + ID)]


async def raw(home: House) -> bytes:
    receipt = (await state(home)).alerts[0].receipt
    item = await home.journal.message(receipt)
    assert item is not None
    assert item.digest.startswith("sha256:"), "the digest stays"
    return item.body


async def left(home: House) -> list[str]:
    return [found.id for found in await home.parts.vault.list(ID)]


def anywhere(home: House) -> list[Path]:
    """Files of the vault and the bundles that hold what is personal."""
    files = [*home.folder.rglob("*.bin"), *home.parts.bundles.glob("*")]
    return [file for file in files if PERSONAL in file.read_bytes()]


async def purge(home: House, after: timedelta = LATER) -> list[str]:
    found = await deletion.intend(home.parts, now() + after)
    await retention.finish(home.parts)
    return found


async def whole(home: House) -> bool:
    return await home.journal.verify(public_keys=[home.parts.signer.public]) == []


async def test_after_its_time_the_bytes_go_and_the_journal_stays(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert await purge(home) == [ID]
    assert await left(home) == []
    assert await raw(home) == b""
    assert anywhere(home) == []
    it = await state(home)
    (gone,) = it.deletions.values()
    assert gone.exhibits == ("x-0000-raw-alert", "x-0100-definitions")
    assert gone.bundles == (BUNDLE,)
    assert (gone.by, gone.whole) == ("mcp-soar", True)
    assert "400 days" in gone.why
    assert gone.done_at is not None
    said = await kinds(home)
    assert said.index("deletion_intended") < said.index("deleted")
    exhibits, _ = journalled(entry.parsed() for entry in await home.journal.read(PREFIX + ID))
    assert [file.sha256 for item in exhibits for file in item.files] == [sha256(PERSONAL)] * 2, "the digests stay"
    assert await whole(home)


async def test_twice_is_once_and_two_responders_say_it_once(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert await deletion.intend(home.parts, now() + LATER) == [ID]
    assert await deletion.intend(home.parts, now() + LATER) == []
    assert sorted(await asyncio.gather(*(deletion.finish(home.parts, ID) for _ in range(3)))) == [0, 0, 1]
    assert await purge(home) == []
    assert (await kinds(home)).count("deletion_intended") == 1
    assert (await kinds(home)).count("deleted") == 1
    assert await deletion.unfinished(home.parts) == []


async def test_an_open_incident_keeps_everything(home: House) -> None:
    assert await purge(home, timedelta(days=40_000)) == []
    assert len(anywhere(home)) == 3


async def test_a_young_one_keeps_everything(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert await purge(home, timedelta(days=399)) == []
    assert len(anywhere(home)) == 3


async def test_a_class_may_be_kept_longer_or_shorter(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    longer = Retention(keep=30 * DAY, classes={IncidentClass.TOOL_POISONING: 730 * DAY})
    kept = home.changed(policy=ROOMY.model_copy(update={"retention": longer}))
    assert await purge(kept, timedelta(days=700)) == []
    assert await purge(kept, timedelta(days=731)) == [ID]


def test_nothing_may_be_kept_shorter_than_thirty_days() -> None:
    with pytest.raises(ValueError, match="greater than or equal to"):
        Policy.model_validate({"version": 1, "retention": {"keep": "29d"}})
    assert Policy.model_validate({"version": 1, "retention": {"keep": "30d"}}).retention.keep == 30 * DAY


async def test_under_legal_hold_nothing_goes_until_two_approvers_end_it(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert await asked(home, "eve", Verb.HOLD, reason="case 7") is None
    assert await purge(home) == []
    assert "legal hold: case 7" in (await erase(home, "ann") or "")
    assert len(anywhere(home)) == 3
    for who in ("ann", "bob"):
        assert await asked(home, who, Verb.UNHOLD, reason="settled") is None
    assert await purge(home) == [ID]


async def test_a_hold_that_comes_between_the_word_and_the_deed_still_keeps_it(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert await deletion.intend(home.parts, now() + LATER) == [ID]
    assert await asked(home, "eve", Verb.HOLD, reason="case 7") is None
    await retention.finish(home.parts)
    assert len(anywhere(home)) == 3
    assert "deleted" not in await kinds(home)


async def test_a_stop_of_everything_keeps_everything(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert await asked(home, "ann", Verb.STOP, "everything", reason="looks wrong") is None
    assert await purge(home) == []
    assert len(anywhere(home)) == 3


class DiesMidway(LocalVault):
    """Deletes one exhibit, and dies at the next."""

    deleted = 0

    async def delete(self, incident: str, exhibit: str) -> bool:
        self.deleted += 1
        if self.deleted > 1:
            raise KeyboardInterrupt
        return await super().delete(incident, exhibit)


async def test_what_was_begun_is_finished_by_whoever_comes_next(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert await deletion.intend(home.parts, now() + LATER) == [ID]
    assert isinstance(home.parts.vault, LocalVault)
    dying = DiesMidway(home.parts.vault._root, reserve=0)  # noqa: SLF001  # the same folder
    with pytest.raises(KeyboardInterrupt):
        await deletion.finish(home.changed(vault=dying).parts, ID)
    assert len(await left(home)) == 1
    assert await deletion.unfinished(home.parts) == [ID]
    await retention.finish(home.parts)
    assert anywhere(home) == []
    assert (await kinds(home)).count("deleted") == 1
    assert await whole(home)


class LockedVault(LocalVault):
    """Lets nobody delete one exhibit until it is told that its lock has ended."""

    locked = "x-0000-raw-alert"
    until = now() + timedelta(days=30)
    tried = 0

    async def delete(self, incident: str, exhibit: str) -> bool:
        if exhibit == self.locked:
            self.tried += 1
            raise Locked(f"{exhibit} is locked until {iso(self.until)} in compliance mode", until=self.until)
        return await super().delete(incident, exhibit)


async def test_what_a_lock_keeps_is_said_once_with_until_when_and_goes_when_that_is_over(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    locked = LockedVault(home.folder / "vault", reserve=0)
    kept = home.changed(vault=locked)
    assert await purge(kept) == [ID]
    for _ in range(3):
        await retention.finish(kept.parts)
    assert locked.tried == 1, "nobody asks before the lock ends"
    assert await left(home) == ["x-0000-raw-alert"]
    assert not (home.parts.bundles / BUNDLE).exists()
    assert await raw(home) != b"", "it is of what is there"
    (gone,) = (await state(home)).deletions.values()
    assert (gone.done_at, iso(gone.locked_until or now())) == (None, iso(locked.until))
    said = [line.what for line in (await state(home)).timeline if line.kind == "deletion_locked"]
    assert said == [f"not deleted before {iso(locked.until)}: x-0000-raw-alert"]
    assert await deletion.unfinished(home.parts) == [ID]

    monkeypatch.setattr(deletion, "now", lambda: locked.until + timedelta(seconds=1))
    locked.locked = ""
    await retention.finish(kept.parts)
    assert anywhere(home) == []
    assert await raw(home) == b""
    assert (await kinds(home)).count("deleted") == 1
    assert await deletion.unfinished(home.parts) == []
    assert await whole(home)


async def test_retention_lets_nothing_go_before_its_lock_ends(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    end = now() + timedelta(days=800)
    it = await state(home)
    lock = Kept(place="s3://b/k", version="1", mode="COMPLIANCE", until=end)
    it.exhibits[1]["files"][0]["kept"] = lock.model_dump(mode="json")
    assert until(it, home.parts.policy.retention) == end
    assert not due(it, home.parts.policy.retention, end - timedelta(days=1))
    assert due(it, home.parts.policy.retention, end)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from flows.engine import deletion
from integrations.vault.local import LocalVault
from tests.flows.engine.test_deletion import INVENTORY, ID
from tests.lab.connected import connected
from tests.lab.house import house

class Killed(LocalVault):
    async def delete(self, incident, exhibit):
        await super().delete(incident, exhibit)
        os.kill(os.getpid(), signal.SIGKILL)

async def main(folder):
    async with house(folder, connected(INVENTORY)) as home:
        vault = Killed(folder / "vault", reserve=0)
        await deletion.finish(home.changed(vault=vault).parts, ID)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("journal_url", ["sqlite"], indirect=True)
async def test_killed_between_two_exhibits_the_next_process_finishes_and_nothing_is_said_twice(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert await deletion.intend(home.parts, now() + LATER) == [ID]
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(home.folder), cwd=ROOT)
    assert await process.wait() == -signal.SIGKILL
    assert len(await left(home)) == 1
    assert "deleted" not in await kinds(home)
    await retention.finish(home.parts)
    assert anywhere(home) == []
    assert (await kinds(home)).count("deleted") == 1
    assert await whole(home)


async def test_one_exhibit_is_erased_by_two_people_and_the_others_stay(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert await erase(home, "eve") is None
    assert await erase(home, "eve") is None, "asked twice by one is asked once"
    await retention.finish(home.parts)
    assert len(await left(home)) == 2
    assert await erase(home, "bob") is None
    await retention.finish(home.parts)
    assert await left(home) == ["x-0100-definitions"]
    assert await raw(home) == b""
    assert [path.name for path in anywhere(home)] == ["data.bin"], "the bundle held a copy"
    (gone,) = (await state(home)).deletions.values()
    assert gone.people == ("bob", "eve")
    assert (gone.why, gone.whole) == ("PIPA 36", False)
    assert "deleted already" in (await erase(home, "ann") or "")
    assert await purge(home) == [ID], "the rest goes in its time"
    assert await left(home) == []
    assert await whole(home)


async def test_it_takes_an_approver_to_agree(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert await erase(home, "bob") is None
    assert await erase(home, "eve") is None
    await retention.finish(home.parts)
    assert len(await left(home)) == 2, "an auditor asks, and does not agree"
    assert await erase(home, "ann") is None
    await retention.finish(home.parts)
    assert await left(home) == ["x-0100-definitions"]


@pytest.mark.parametrize(
    ("which", "reason", "why"),
    [("x-0000-raw-alert", "", "needs a reason"), ("x-0009-raw-alert", "x", "no exhibit"), ("../x", "x", "exhibit")],
)
async def test_an_erasure_that_cannot_be_is_refused(home: House, which: str, reason: str, why: str) -> None:
    assert "it is open" in (await erase(home, "ann") or "")
    assert await asked(home, "ann", Verb.CLOSE) is None
    assert why in (await erase(home, "ann", which, reason) or "")
    assert "erasure_asked" not in await kinds(home)


async def test_alerts_that_no_incident_needed_are_forgotten_in_their_time(home: House) -> None:
    receipt = await home.receive(alert("weather", "forecast", state="resolved", entities=[]))
    await intake(home.parts)
    assert await deletion.forget(home.parts, now() + timedelta(days=399)) == 0
    assert await deletion.forget(home.parts, now() + LATER) == 1
    assert await deletion.forget(home.parts, now() + LATER) == 0
    item = await home.journal.message(receipt)
    assert item is not None
    assert item.body == b""
    (said,) = await home.system("messages_deleted")
    assert said.body["receipts"] == [receipt]
    assert await raw(home) != b"", "what an incident has goes with the incident"


async def test_the_loop_beside_the_responder_does_it_when_somebody_asks(home: House) -> None:
    assert await asked(home, "ann", Verb.CLOSE) is None
    stop = asyncio.Event()
    running = asyncio.create_task(retention.keep(lambda: home.parts, stop, look=0.05))
    for who in ("eve", "bob"):
        assert await erase(home, who) is None

    async def gone() -> bool:
        return await left(home) == ["x-0100-definitions"]

    await home.until(gone, "the exhibit is erased")
    stop.set()
    await running
