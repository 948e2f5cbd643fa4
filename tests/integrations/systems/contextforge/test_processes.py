"""How many processes answer at a gateway's address is found out with as few of the slow questions as can be."""

import asyncio
import contextlib
import itertools
import json
import secrets
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from integrations.systems.contextforge import processes
from integrations.systems.contextforge.driver import ContextForge
from tests.lab.flags import INVENTORY

BUSY = 1.5
"""Seconds for which `/version` keeps a process from answering anybody else; with ContextForge 1.0.7 it is 0.4. Here
as much more as a busy machine takes longer for everything beside."""


class Processes:
    """A gateway of several processes, which all name themselves alike at `/health`, as those of one machine do.

    Args:
        count: how many.
        proxied: a proxy gives each request to the next one, busy or not; else one that is busy takes no connection.
    """

    def __init__(self, count: int, *, proxied: bool) -> None:
        self._locks = [asyncio.Lock() for _ in range(count)]
        self._free = asyncio.Condition()
        self._serving: list[asyncio.Task[None]] = []
        self._turns = itertools.cycle(range(count))
        self._proxied = proxied
        self.busy = BUSY
        self.names = ["one"] * count
        """What each calls itself."""
        self.asked = 0
        """How often one was asked for its number."""

    @contextlib.asynccontextmanager
    async def forge(self) -> AsyncIterator[ContextForge]:
        """Yield a connection to it."""
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            gateway = INVENTORY.gateways["main"].model_copy(update={"url": f"http://127.0.0.1:{port}"})
            forge = ContextForge("main", gateway, "secret")
            try:
                await forge.warm()
                yield forge
            finally:
                await forge.aclose()
                for one in self._serving:
                    one.cancel()
                await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = None
        # Whoever asked may have gone meanwhile.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
                if path.endswith(b"/login"):
                    await reader.readuntil(b"}")
                if number is None or self._proxied:
                    number = await self._taken()
                async with self._locks[number]:
                    if path == b"/version":
                        self.asked += 1
                        await asyncio.sleep(self.busy)
                async with self._free:
                    self._free.notify_all()
                self._answer(writer, path, number)
                await writer.drain()

    async def _taken(self) -> int:
        """Return which process takes a request."""
        if self._proxied:
            return next(self._turns)
        async with self._free:
            await self._free.wait_for(lambda: not all(lock.locked() for lock in self._locks))
        return next(number for number in self._turns if not self._locks[number].locked())

    def _answer(self, writer: asyncio.StreamWriter, path: bytes, number: int) -> None:
        answers = {
            b"/version": {"host": "one", "system": {"process": {"pid": 100 + number}}},
            b"/health": {"mcp_runtime": {"pod_id": self.names[number]}},
            b"/v1/auth/login": {"access_token": "token"},
        }
        body = json.dumps(answers.get(path.partition(b"?")[0], [])).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def test_where_one_process_answers_it_is_asked_once() -> None:
    gateway = Processes(1, proxied=False)
    async with gateway.forge() as forge:
        assert (await forge.count_pids(), gateway.asked) == (1, 1)


@pytest.mark.parametrize("proxied", [False, True])
@pytest.mark.parametrize("count", [2, 3])
async def test_each_of_several_is_found(count: int, *, proxied: bool) -> None:
    gateway = Processes(count, proxied=proxied)
    async with gateway.forge() as forge:
        assert await forge.count_pids() == count
        assert proxied or gateway.asked == count


@pytest.mark.parametrize(("named", "slow"), [(lambda: uuid.uuid4().hex, False), (lambda: secrets.token_hex(6), True)])
async def test_where_each_has_a_name_of_its_own_none_is_asked_for_its_number(
    named: Callable[[], str], *, slow: bool
) -> None:
    gateway = Processes(2, proxied=True)
    # A container's HOSTNAME is not random to each of its processes.
    gateway.names = [named(), named()]
    async with gateway.forge() as forge:
        assert await forge.count_pids() == 2
        assert bool(gateway.asked) is slow


@pytest.mark.parametrize("count", [1, 3])
async def test_where_the_question_keeps_nobody_busy_as_many_are_asked_as_it_takes(count: int) -> None:
    gateway = Processes(count, proxied=False)
    gateway.busy = 0.0
    async with gateway.forge() as forge:
        assert await forge.count_pids() == count


async def test_one_that_does_not_say_who_it_is_is_asked_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Processes(1, proxied=False)
    gateway.busy = 0.0
    async with gateway.forge() as forge:

        async def silent(*_: object) -> None:
            gateway.asked += 1

        monkeypatch.setattr(processes, "_pid", silent)
        assert (await forge.count_pids(), gateway.asked) == (1, 1)
