"""Receiver and responder die by SIGKILL at one moment, each within a write: nothing is lost, and nothing done twice.

The receiver is within the transaction that stores an alert, or past it and before its answer; the responder within a
change of a system, before or after it took effect.
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.engine.case import PREFIX
from flows.engine.parts import Timing
from flows.service.entrance import server
from flows.service.receiver import create_app
from integrations.journal.stamp import Stamp
from integrations.journal.store import Journal
from integrations.tls import trusted
from playbooks.gate.plan import Change
from playbooks.record.incident import Status
from playbooks.strict import now
from tests.lab import flags
from tests.lab.flags import CLAIM, SetFlags
from tests.lab.forked import FORKED
from tests.lab.house import alert, source

TOKENS = {"siem": "siem-" * 8, "second": "second-" * 8}
"""What each source is let in with."""


def sources() -> dict[str, Any]:
    for name, token in TOKENS.items():
        os.environ[f"LAB_{name.upper()}"] = token
    return {name: source(authentication={"bearer": {"secrets": [{"env": f"LAB_{name.upper()}"}]}}) for name in TOKENS}


async def stays(there: Path) -> None:
    """Say that this is where to die, and wait for it."""
    await asyncio.to_thread(there.touch)
    await asyncio.Event().wait()


def receive(folder: Path, listening: socket.socket, moment: str | None) -> None:
    """Be a receiver; once it is armed, stay within the transaction of a message, or past it before the answer."""

    def due(at: str) -> bool:
        return at == moment and (folder / "armed").exists()

    store, put = Journal._put_all, Journal.put  # noqa: SLF001  # where it is within its transaction

    async def stored(journal: Journal, *put_there: Any) -> Any:  # noqa: ANN401  # as it is
        done = await store(journal, *put_there)
        if due("stored"):
            await stays(folder / "receiver")
        return done

    async def committed(journal: Journal, **message: Any) -> Any:  # noqa: ANN401  # as it is
        receipt = await put(journal, **message)
        if due("committed"):
            await stays(folder / "receiver")
        return receipt

    Journal._put_all, Journal.put = stored, committed  # type: ignore[method-assign,assignment]  # noqa: SLF001

    async def work() -> None:
        url = f"sqlite:///{folder}/house/journal.db"
        journal = await Journal.open(url, signer=None, name="receiver", stamp=Stamp(b"s" * 32))
        app = create_app(sources(), journal, clock=now)
        await server(app, host="127.0.0.1", port=0, limit=20, each=20)._serve(sockets=[listening])  # noqa: SLF001  # no signals

    asyncio.run(work())


def respond(folder: Path, moment: str | None) -> None:
    """Be a responder that stays in the middle of its second change, before or after that took effect."""
    seen = 0

    async def happens(at: str, _: Change) -> None:
        nonlocal seen
        seen += at == moment
        if seen == 2:  # of three
            (folder / "responder").touch()
            # Nothing of it goes on: no time-out ends the write, and nobody renews the claim.
            threading.Event().wait()

    async def work() -> None:
        # A successor waits for as long as a write may take.
        SetFlags.happens, SetFlags.timeout = happens, 2.0
        playbook, timing = flags.playbook(flags.step(folder / "flags")), Timing(claim=CLAIM)
        async with flags.installation(folder, playbook, name="responder-0", timing=timing) as home, home.responding():
            await asyncio.Event().wait()

    asyncio.run(work())


@contextmanager
def process(target: Callable[..., None], *given: object) -> Iterator[BaseProcess]:
    running = FORKED.Process(target=target, args=given, daemon=True)
    running.start()
    try:
        yield running
    finally:
        running.kill()
        running.join(60)


class Sender:
    """A SIEM, which sends a message again under its id until it is told that it was accepted.

    Args:
        port: of the receiver.
    """

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/v1/alerts"

    async def post(self, name: str, nonce: str, body: bytes) -> int | None:
        """Return the status that a message is answered with; None for no answer."""
        headers = {"authorization": f"Bearer {TOKENS[name]}", "webhook-id": nonce, "content-type": "application/json"}
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=60, verify=trusted(self._url)) as client:
                return (await client.post(f"{self._url}/{name}", content=body, headers=headers)).status_code
        except httpx.TransportError:
            return None


async def exists(path: Path) -> None:
    async with asyncio.timeout(60):
        while not path.exists():  # noqa: ASYNC110, ASYNC240  # another process makes it
            await asyncio.sleep(0.01)


@asynccontextmanager
async def dying(folder: Path, listening: socket.socket, ours: str, theirs: str) -> AsyncIterator[None]:
    """Run both up to where they stay in the block, and kill both at its end."""
    with process(respond, folder, theirs) as responder, process(receive, folder, listening, ours) as receiver:
        yield
        for one in (responder, receiver):
            os.kill(one.pid or 0, signal.SIGKILL)
        for one in (responder, receiver):
            await asyncio.to_thread(one.join, 60)
        assert (responder.exitcode, receiver.exitcode) == (-signal.SIGKILL, -signal.SIGKILL)


_COMPLETE = [("stored", "wrote"), ("committed", "writing"), ("committed", "wrote")]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("stored", "writing"), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in _COMPLETE)],
)
async def test_nothing_is_lost_and_nothing_is_done_twice(tmp_path: Path, ours: str, theirs: str) -> None:
    folder = flags.flags(tmp_path / "flags")
    more = alert("weather", "forecast")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sender = Sender(listening.getsockname()[1])
        async with flags.installation(tmp_path, flags.playbook(flags.step(folder))) as home:
            async with dying(tmp_path, listening, ours, theirs):
                for name in TOKENS:
                    assert await sender.post(name, "one", alert("weather", "forecast")) == httpx.codes.ACCEPTED
                await exists(tmp_path / "responder")
                (tmp_path / "armed").touch()
                unanswered = asyncio.create_task(sender.post("siem", "two", more))
                await exists(tmp_path / "receiver")
                assert flags.states(folder) == ("off off on" if theirs == "wrote" else "off on on")
            (tmp_path / "armed").unlink()
            assert await unanswered is None, "it was told of nothing"
            with process(respond, tmp_path, None), process(receive, tmp_path, listening, None):
                again = await sender.post("siem", "two", more)
                assert again == (httpx.codes.OK if ours == "committed" else httpx.codes.ACCEPTED)
                incident = await home.reaches(Status.CONTAINED)

                async def taken_in() -> bool:
                    return not await home.journal.waiting(1)

                await home.until(taken_in, "all messages are taken in")
            clock = await home.journal.clock()
            told = await home.journal.told(f"{PREFIX}{incident.id}", 0.0, clock, 10)
            assert sorted(one.source for one in told) == ["second", "siem", "siem"]
            assert await home.journal.verify(public_keys=tuple(home.parts.keys.values())) == []
    assert flags.writes(folder) == ["a off", "b off", "c off"], "each change took effect once"
