"""One question for all who wait: whose answer may be taken by whom."""

import asyncio
import time

import pytest

from integrations.sharing import Shared
from playbooks.errors import Transient


class Asked:
    """Answers with how often it was asked; when it is let."""

    def __init__(self) -> None:
        self.times = 0
        self.begun, self.let = asyncio.Event(), asyncio.Event()
        self.fails = False

    async def __call__(self) -> int:
        self.times += 1
        self.begun.set()
        mine = self.times
        await self.let.wait()
        if self.fails:
            raise Transient("no answer")
        return mine


async def test_who_knows_that_nothing_was_changed_takes_the_answer_that_is_under_way_and_then_the_last() -> None:
    asked = Asked()
    shared, since = Shared(asked), time.monotonic()
    first = asyncio.create_task(shared())
    await asked.begun.wait()
    also = asyncio.create_task(shared(since))
    await asyncio.sleep(0)
    asked.let.set()
    assert [await first, await also, await shared(since)] == [1, 1, 1]
    assert await shared(time.monotonic()) == 2, "it was changed since"
    assert await shared() == 3


async def test_an_answer_that_did_not_come_is_nobodys() -> None:
    asked = Asked()
    asked.let.set()
    asked.fails = True
    shared, since = Shared(asked), time.monotonic()
    with pytest.raises(Transient):
        await shared(since)
    asked.fails = False
    assert await shared(since) == 2


async def test_a_failure_for_which_nobody_waits_any_more_is_told_to_nobody() -> None:
    asked = Asked()
    asked.fails, shared = True, Shared(asked)
    waits = asyncio.create_task(shared())
    await asked.begun.wait()
    (question,) = (one for one in asyncio.all_tasks() if "_after" in repr(one.get_coro()))
    waits.cancel()
    asked.let.set()
    await asyncio.wait([waits, question])
    await asyncio.sleep(0)
    # What nobody asked a task for is printed as a traceback when it goes.
    assert not question._log_traceback  # noqa: SLF001  # only it knows
