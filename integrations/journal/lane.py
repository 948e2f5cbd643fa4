"""Group commit: what waits when a transaction ends goes into the next one together."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from integrations.journal.client import Unsure, foreign, lost, mapped
from playbooks.errors import Refused, Transient

J = TypeVar("J")
MOST = 256


class Done(NamedTuple):
    """What a transaction came to, before its commit.

    Args:
        outcomes: for each job its result, or the exception that its caller gets; at least one. Jobs at the end that
            have none were not begun: they go into the next transaction.
        confirm: finds out on a new connection whether the commit happened; None if nothing can tell.
    """

    outcomes: list[Any]
    confirm: Callable[[AsyncConnection], Awaitable[bool]] | None


class Failed(NamedTuple):
    """A job's outcome when it raised.

    Args:
        error: what its caller gets.
    """

    error: BaseException


class Spoilt(Exception):
    """The one job of a transaction raised after it had written: nothing of the transaction stays.

    Args:
        error: what its caller gets.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class Lane(Generic[J]):
    """Carries out jobs in the order they come, as many in one transaction as wait.

    Args:
        engine: which writes.
        transact: carries out jobs in an open transaction. It may be called again with the same jobs after a rollback.
        turn: who holds it writes; shared by lanes that would only fight for the database's one lock.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        transact: Callable[[AsyncConnection, Sequence[J]], Awaitable[Done]],
        turn: contextlib.AbstractAsyncContextManager[Any],
    ) -> None:
        self._engine = engine
        self._transact = transact
        self._turn = turn
        self._waiting: deque[tuple[J, asyncio.Future[Any]]] = deque()
        self._connection: AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, job: J) -> Any:  # noqa: ANN401  # the caller knows what its job returns
        """Carry out a job and return its result once it is on disk.

        Raises:
            Unsure: if it may or may not have happened.
            Transient: if the database did not answer; it did not happen.
        """
        if self._closed:
            raise Refused("the journal is closed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await future

    async def aclose(self) -> None:
        """Carry out what waits, then close the connection."""
        self._closed = True
        while self._task is not None:
            await asyncio.wait([self._task])
        await self._drop()

    async def _work(self) -> None:
        """Work until nothing waits. A new job starts a new task, so that an idle journal holds none."""
        try:
            while self._waiting:
                async with self._turn:
                    # Taken only now: what came while another lane or process had its turn shares this commit.
                    batch = self._take()
                    if batch:
                        await self._carry_out(batch)
                # The callers just answered often have more to write: let them, so that it shares the next commit.
                await asyncio.sleep(0)
        except BaseException as exc:
            # A lane that died would let its callers wait for ever.
            while self._waiting:
                _answer(self._waiting.popleft()[1], Failed(mapped(exc) if isinstance(exc, Exception) else exc))
            raise
        finally:
            self._task = asyncio.create_task(self._work()) if self._waiting else None

    def _take(self) -> list[tuple[J, asyncio.Future[Any]]]:
        batch: list[tuple[J, asyncio.Future[Any]]] = []
        while self._waiting and len(batch) < MOST:
            job, future = self._waiting.popleft()
            if not future.done():
                batch.append((job, future))
        return batch

    async def _carry_out(self, batch: list[tuple[J, asyncio.Future[Any]]]) -> None:
        try:
            outcomes = await self._attempt([job for job, _ in batch])
        except Spoilt as exc:
            outcomes = [Failed(exc.error)]
        except Exception as exc:  # noqa: BLE001  # whatever it is, it belongs to those who wait
            error = mapped(exc) if foreign(exc) else exc
            if len(batch) > 1 and not isinstance(error, Transient):
                # One of them spoils it for all, and the database does not say which.
                for one in batch:
                    await self._carry_out([one])
                return
            outcomes = [Failed(error)] * len(batch)
        self._waiting.extendleft(reversed(batch[len(outcomes) :]))
        for (_, future), outcome in zip(batch, outcomes, strict=False):
            _answer(future, outcome)

    async def _attempt(self, jobs: list[J]) -> list[Any]:
        while True:
            fresh = self._connection is None
            try:
                connection = await self._connected()
                transaction = await connection.begin()
                done = await self._transact(connection, jobs)
            except BaseException as exc:
                # A connection that was idle may have died long ago, and nothing was committed: try another one.
                gone = lost(exc)
                await self._undo(gone=gone or not isinstance(exc, Exception))
                if gone and not fresh and isinstance(exc, Exception):
                    continue
                raise
            try:
                await transaction.commit()
            except Exception as exc:
                await self._undo(gone=True)
                if await self._happened(done):
                    return done.outcomes
                raise mapped(exc) from exc
            return done.outcomes

    async def _happened(self, done: Done) -> bool:
        """Return whether a commit that nobody confirmed is there.

        Raises:
            Unsure: if nobody can tell.
        """
        message = "the connection died while it committed"
        if done.confirm is None:
            raise Unsure(message)
        try:
            return await done.confirm(await self._connected())
        except Exception as exc:
            raise Unsure(message) from exc
        finally:
            await self._drop()

    async def _connected(self) -> AsyncConnection:
        if self._connection is None:
            self._connection = await self._engine.connect()
        return self._connection

    async def _undo(self, *, gone: bool) -> None:
        if self._connection is None:
            return
        if not gone:
            try:
                await self._connection.rollback()
            except Exception:  # noqa: BLE001  # then it is gone after all
                gone = True
        if gone:
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # It may be broken in any way, and nothing of it is needed any more.
        with contextlib.suppress(Exception):
            await connection.invalidate()
        with contextlib.suppress(Exception):
            await connection.close()


def _answer(future: asyncio.Future[Any], outcome: Any) -> None:  # noqa: ANN401
    if future.done():
        return
    if isinstance(outcome, Failed):
        future.set_exception(outcome.error)
    else:
        future.set_result(outcome)
