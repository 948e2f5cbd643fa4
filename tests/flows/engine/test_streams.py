"""Evidence flows into the vault: its time-out counts silence, and what breaks off is kept and said to be incomplete."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from flows.engine import evidence
from flows.engine.case import Case
from flows.engine.intake import intake
from flows.engine.parts import Timing
from flows.engine.schedule import Todo, uncollected
from flows.report.document import Table
from flows.report.incident import report
from integrations.journal.store import LostClaim
from integrations.vault.draft import LocalDraft
from integrations.vault.local import LocalVault
from playbooks.action import Capture, Sink, World, Written
from playbooks.errors import Transient
from playbooks.record.incident import Phase
from playbooks.record.step import Progress, StepState
from playbooks.strict import now, sha256
from tests.lab import exhibits, flags
from tests.lab.house import House, alert

NUMBER = 100


class Source(Capture):
    """Sends what a test says: bytes, seconds of silence, or an error."""

    name: ClassVar[str] = "test.source"
    exhibit: ClassVar[str] = "log"
    permissions: ClassVar[tuple[str, ...]] = ()
    sends: ClassVar[list[bytes | float | Exception]] = []
    meanwhile: ClassVar[Callable[[], Awaitable[object]] | None] = None
    lacks: ClassVar[tuple[str, ...]] = ()

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        for what in self.lacks:
            sink.lacks(what)
        async with sink.file("a.log", media_type="text/plain", origin="test") as file:
            for one in self.sends:
                await self._send(one, file)
        if (meanwhile := type(self).meanwhile) is not None:
            await meanwhile()
        await sink.add("b.log", b"after it", media_type="text/plain", origin="test")

    @staticmethod
    async def _send(one: bytes | float | Exception, file: Written) -> None:
        if isinstance(one, bytes):
            await file.write(one)
        elif isinstance(one, float):
            await asyncio.sleep(one)
        else:
            raise one


TODO = Todo("log@weather", Phase.CAPTURE, "capture", "Keep the log", Source.name, entity="server:weather")


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(evidence, "number_of", lambda _case, _todo: NUMBER)
    book = flags.playbook(flags.step(flags.flags(tmp_path / "flags")))
    async with flags.installation(tmp_path, book, steps={**flags.WITH_FLAGS, Source.name: Source}) as home:
        yield home


async def taken(home: House) -> Case:
    await home.receive(alert("weather", "forecast"))
    (opened,) = await intake(home.parts)
    return await Case.take(home.parts, opened.claim)


async def collects(case: Case, monkeypatch: pytest.MonkeyPatch, *sends: bytes | float | Exception) -> StepState:
    monkeypatch.setattr(Source, "sends", list(sends))
    await evidence.capture(case, TODO)
    return case.state.steps[TODO.instance]


def _drip(chunk: bytes, times: int) -> list[bytes | float | Exception]:
    """Return something that is sent ten times a second."""
    return [chunk, 0.1] * times


def read(case: Case, name: str, number: int = NUMBER) -> bytes:
    return exhibits.read(case.parts.vault, case.id, f"x-{number:04d}-log", name)


async def test_a_capture_may_take_as_long_as_something_comes(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "silence", 0.3)
    case, begun = await taken(home), time.monotonic()
    step = await collects(case, monkeypatch, *_drip(b"line\n", 6))
    assert time.monotonic() - begun > 2 * 0.3
    assert step.progress is Progress.SEALED
    assert read(case, "a.log") == b"line\n" * 6
    assert case.state.unavailable == []


async def test_our_own_disk_is_not_the_sources_silence(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "silence", 0.2)
    case, take = await taken(home), LocalDraft.take

    async def slow(self: LocalDraft, file: Any, chunk: bytes) -> None:  # noqa: ANN401  # a file of its own
        await asyncio.sleep(0.5)
        await take(self, file, chunk)

    monkeypatch.setattr(LocalDraft, "take", slow)
    assert (await collects(case, monkeypatch, b"line\n")).progress is Progress.SEALED


async def test_what_the_source_has_not_is_missing_beside_an_exhibit_that_is_whole(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Source, "lacks", ("audit trails: nothing: off", "by x@corp.example:\x1b[2J refused"))
    case = await taken(home)
    assert (await collects(case, monkeypatch, b"[]")).progress is Progress.SEALED
    (missing,) = case.state.missing
    assert (missing["kind"], missing["recorded_by"]) == ("log", "log")
    assert missing["reason"] == "audit trails: nothing: off; by [redacted: e-mail]:\\u{1b}[2J refused"
    assert case.state.unavailable == [], "there is nothing to collect again"
    assert uncollected(case.state, [TODO.instance]) == []
    (line,) = (line for line in case.state.timeline if line.kind == "exhibit")
    assert "audit trails: nothing: off" in line.detail
    shown = report(case.state, [], at=now())
    blocks = [block for part in shown.parts for block in part.blocks if isinstance(block, Table)]
    assert "audit trails: nothing: off" in str([block.rows for block in blocks if block.caption == "Not available"])


async def test_what_breaks_off_is_kept_marked_and_still_to_be_had(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "silence", 0.1)
    case = await taken(home)
    step = await collects(case, monkeypatch, b"first", 5.0, b"never")
    assert step.progress is Progress.UNAVAILABLE
    assert step.retry_at is not None
    assert step.retry_at > now()
    assert read(case, "a.log") == b"first"
    (kept,) = case.state.exhibits
    assert [line["act"] for line in kept["custody"]] == ["collected", "interrupted", "sealed"]
    (missing,) = case.state.missing
    assert missing["reason"] == (
        "x-0100-log: INCOMPLETE: it breaks off in a.log after 5 bytes: Transient: collecting test.source: nothing came "
        "for 0.1 s"
    )
    assert any("INCOMPLETE" in line.detail for line in case.state.timeline if line.kind == "exhibit")
    # Half of it is not what an irreversible step waits for.
    assert uncollected(case.state, [TODO.instance]) == []
    assert case.state.steps[TODO.instance].progress is not Progress.SEALED

    # A second half is not kept beside the first.
    step = await collects(case, monkeypatch, b"first and", Transient("reset"))
    assert step.progress is Progress.UNAVAILABLE
    assert len(case.state.exhibits) == 1

    step = await collects(case, monkeypatch, b"first", b" and last")
    assert step.progress is Progress.SEALED
    assert case.state.missing == []
    whole = NUMBER + evidence.ANOTHER
    assert read(case, "a.log", whole) == b"first and last"
    assert read(case, "a.log") == b"first"


async def test_an_error_of_the_source_keeps_what_came_before_it(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    case = await taken(home)
    step = await collects(case, monkeypatch, b"before", Transient("reset by peer"))
    assert step.progress is Progress.UNAVAILABLE
    assert "reset by peer" in case.state.missing[0]["reason"]
    assert read(case, "a.log") == b"before"


async def test_of_what_never_began_there_is_no_exhibit(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "silence", 0.1)
    case = await taken(home)
    steps = [await collects(case, monkeypatch, 5.0) for _ in range(evidence.CAPTURE_ATTEMPTS)]
    assert steps[-1].progress is Progress.UNAVAILABLE
    assert "nothing came for 0.1 s" in case.state.missing[0]["reason"]
    assert await case.parts.vault.list(case.id) == ()


async def test_a_byte_now_and_then_is_not_waited_for_without_end(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "silence", 0.2)
    monkeypatch.setattr(Source, "longest", 0.5)
    case, begun = await taken(home), time.monotonic()
    step = await collects(case, monkeypatch, *_drip(b".", 100))
    assert time.monotonic() - begun < 5
    assert step.progress is Progress.UNAVAILABLE
    assert "took longer than 0.5 s" in case.state.missing[0]["reason"]
    assert set(read(case, "a.log")) == {ord(".")}


async def test_of_what_is_too_large_that_much_is_kept_and_nobody_tries_again(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = LocalVault(home.folder / "vault", reserve=0, most=3 << 20)
    case = await taken(home.changed(vault=small))
    step = await collects(case, monkeypatch, *[b"x" * (1 << 20)] * 5)
    assert (step.progress, step.retry_at) == (Progress.UNAVAILABLE, None)
    assert len(read(case, "a.log")) == 3 << 20
    assert "has more than 3145728 bytes" in case.state.missing[0]["reason"]


async def test_a_full_vault_keeps_no_half(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    case = await taken(home.changed(vault=LocalVault(home.folder / "vault", reserve=2**60)))
    step = await collects(case, monkeypatch, *[b"x" * (1 << 20)] * 3)
    assert step.progress is Progress.UNAVAILABLE
    assert case.state.missing[0]["reason"].startswith("the vault is full")
    assert list((home.folder / "vault").rglob("a.log")) == []


async def test_an_incomplete_one_that_a_process_sealed_and_died_before_it_said_so_is_recorded(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await taken(home)
    await exhibits.kept(case.parts.vault, case.id, NUMBER, "log", {"a.log": b"half"}, step="log", interrupted=True)
    step = await collects(case, monkeypatch, b"not asked")
    assert step.progress is Progress.UNAVAILABLE
    assert len(case.state.exhibits) == 1
    assert "INCOMPLETE: it breaks off after a.log" in case.state.missing[0]["reason"]
    assert (await collects(case, monkeypatch, b"whole")).progress is Progress.SEALED
    assert case.state.missing == []


@pytest.mark.parametrize("harm", ["its bytes are others", "its file is gone", "its record is no record"])
async def test_what_only_looks_like_its_exhibit_takes_the_place_of_no_evidence(
    home: House, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """Whoever may write into the vault, and knows which number is next, puts something there beforehand."""
    case = await taken(home)
    planted = await exhibits.kept(case.parts.vault, case.id, NUMBER, "log", {"a.log": b"theirs"}, step="log")
    place = home.folder / "vault" / case.id / planted.id
    for folder in (place, place / "files"):
        folder.chmod(0o700)
    for file in (place / "exhibit.json", place / "files" / "a.log"):
        file.chmod(0o600)
    match harm:
        case "its bytes are others":
            (place / "files" / "a.log").write_bytes(b"others")
        case "its file is gone":
            (place / "files" / "a.log").unlink()
        case _:
            (place / "exhibit.json").write_text("[" * 100_000)
    assert (await collects(case, monkeypatch, b"ours")).progress is Progress.SEALED
    assert read(case, "a.log", NUMBER + evidence.ANOTHER) == b"ours"
    assert [one["id"] for one in case.state.exhibits] == [f"x-{NUMBER + evidence.ANOTHER}-log"]


async def test_what_is_sealed_in_its_place_meanwhile_counts_only_if_it_is_whole(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await taken(home)

    async def other() -> None:
        planted = await exhibits.kept(case.parts.vault, case.id, NUMBER, "log", {"a.log": b"theirs"}, step="log")
        file = home.folder / "vault" / case.id / planted.id / "files" / "a.log"
        file.chmod(0o600)
        file.write_bytes(b"others")

    monkeypatch.setattr(Source, "meanwhile", staticmethod(other))
    await collects(case, monkeypatch, b"ours")
    assert case.state.exhibits == []
    monkeypatch.setattr(Source, "meanwhile", None)
    assert (await collects(case, monkeypatch, b"ours")).progress is Progress.SEALED
    assert read(case, "a.log", NUMBER + evidence.ANOTHER) == b"ours"


@pytest.mark.parametrize("interrupted", [False, True], ids=["whole", "incomplete"])
async def test_what_one_that_lost_its_claim_seals_meanwhile_is_recorded_at_once(
    home: House, monkeypatch: pytest.MonkeyPatch, *, interrupted: bool
) -> None:
    case = await taken(home)

    async def other() -> None:
        files = {"a.log": b"as the other one read it"}
        await exhibits.kept(case.parts.vault, case.id, NUMBER, "log", files, step="log", interrupted=interrupted)

    monkeypatch.setattr(Source, "meanwhile", staticmethod(other))
    step = await collects(case, monkeypatch, b"as we read it")
    assert step.progress is (Progress.UNAVAILABLE if interrupted else Progress.SEALED)
    (kept,) = case.state.exhibits
    assert kept["files"][0]["sha256"] == sha256(b"as the other one read it")
    assert [missing["reason"] for missing in case.state.missing] == (
        ["x-0100-log: INCOMPLETE: it breaks off after a.log"] if interrupted else []
    )
    assert await case.parts.vault.verify(case.id, await case.parts.vault.list(case.id)) == ()


async def test_what_lies_there_of_another_step_is_not_taken_for_ours(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await taken(home)

    async def other() -> None:
        await exhibits.kept(case.parts.vault, case.id, NUMBER, "log", {"a.log": b"another's"}, step="another")

    monkeypatch.setattr(Source, "meanwhile", staticmethod(other))
    assert (await collects(case, monkeypatch, b"ours")).progress is Progress.UNAVAILABLE
    assert case.state.exhibits == []


async def test_whoever_lost_the_claim_seals_nothing(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await home.receive(alert("weather", "forecast"))
    (opened,) = await intake(home.changed(timing=Timing(claim=0.2)).parts)
    case = await Case.take(home.parts, opened.claim)

    async def passes_on() -> None:
        async def claimed() -> bool:
            return bool(await home.journal.claim("responder-2", lane="cut", limit=1, seconds=30.0))

        await home.until(claimed, "another responder has the claim")

    monkeypatch.setattr(Source, "meanwhile", staticmethod(passes_on))
    with pytest.raises(LostClaim):
        await collects(case, monkeypatch, b"read too late")
    assert await case.parts.vault.list(case.id) == ()
