"""How many processes answer at a gateway's address: each remembers for itself what it looked up before a cut."""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Final

import httpx

from integrations import bounded
from integrations.http import AT_ONCE, Request
from integrations.systems.contextforge.client import Forge

_DRAWN: Final = re.compile("[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")

_PIDS: Final = 8
"""Questions for a process's number, at most."""

_BEGINS: Final = 0.1
"""Seconds after which a process that was asked for its number answers nobody else, until it has answered that."""

_PROBES: Final = 4
"""Questions that find out whether another process answers: a proxy may give some of them to the one that is busy."""


async def names(forge: Forge) -> frozenset[str]:
    """Return what the processes are called that answer, of which there are as many at least.

    Each names itself at `/health`; those of one machine name themselves alike where `HOSTNAME` is set, so that only
    the inventory knows their number for certain.
    """
    answers = await asyncio.gather(*(_pod(forge) for _ in range(AT_ONCE // 2)))
    return frozenset(filter(None, answers))


def tells_apart(name: str) -> bool:
    """Return whether a name is one process's own, drawn where `HOSTNAME` is not set: a random UUID (RFC 9562, 5.4)."""
    return _DRAWN.fullmatch(name) is not None


async def _pod(forge: Forge, over: httpx.AsyncClient | None = None) -> str | None:
    answer = await forge.send(Request("GET", "/health"), over=over)
    found = bounded.parsed(answer.raw, f"gateway {forge.name}: GET /health") if answer.success and answer.raw else None
    runtime = found.get("mcp_runtime") if isinstance(found, dict) else None
    pod = runtime.get("pod_id") if isinstance(runtime, dict) else None
    return pod if isinstance(pod, str) else None


async def by_number(forge: Forge) -> int:
    """Look how many processes answer, each by its host and number, and return how many there are at least.

    To say it takes a process almost half a second, in which it answers nobody else; so another is asked only while
    all that were asked are busy and somebody answers all the same. Where one process answers at all, that is once.
    For `doctor`, never for a containment.
    """
    asked: list[asyncio.Task[tuple[str, int] | None]] = []
    async with forge.fresh() as fresh:
        try:
            while len(asked) < _PIDS:
                asked.append(one := asyncio.create_task(_pid(forge, fresh)))
                await asyncio.wait({one}, timeout=_BEGINS)
                if one.done():  # it keeps nobody busy, or does not say
                    if one.exception() or one.result() is None:
                        break
                elif any(other.done() for other in asked) or not await _answers_beside(forge, asked, fresh):
                    break
            answers = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            for one in asked:
                one.cancel()
    return len({answer for answer in answers if isinstance(answer, tuple)})


async def _pid(forge: Forge, over: httpx.AsyncClient) -> tuple[str, int] | None:
    """Return the host and the number of the process that answers; None if it does not say."""
    if not forge.session:
        await forge.sign_in()
    answer = await forge.send(Request("GET", "/version"), over=over)
    found = bounded.parsed(answer.raw, f"gateway {forge.name}: GET /version") if answer.success else None
    system = found.get("system") if isinstance(found, dict) else None
    process = system.get("process") if isinstance(system, dict) else None
    pid = process.get("pid") if isinstance(process, dict) else None
    return (str(found.get("host")), pid) if isinstance(found, dict) and isinstance(pid, int) else None


async def _answers_beside(forge: Forge, asked: Iterable["asyncio.Task[Any]"], fresh: httpx.AsyncClient) -> bool:
    """Return whether somebody answers, on a connection of its own, before any of those that were asked has.

    Args:
        forge: the gateway.
        asked: the questions, each of which keeps a process busy.
        fresh: makes a connection for each request: one that is busy takes none, wherever no proxy gives it some.
    """
    busy = set(asked)
    probes: set[asyncio.Task[Any]] = {asyncio.create_task(_pod(forge, fresh)) for _ in range(_PROBES)}
    try:
        waits = probes | busy
        while probes & waits and not any(one.done() for one in busy):
            done, waits = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if any(not one.exception() for one in done & probes) and not done & busy:
                return True
        return False
    finally:
        for one in probes:
            one.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
