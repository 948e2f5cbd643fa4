"""Checks that were asked for, run by who has what they take: a worker holds no credential, and asks.

What is asked for waits in the journal's queue. Whoever claims it runs it as by hand, says how far it is, and says that
it ended; if that process dies, its claim passes on.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from flows.checks.every import CHECKS
from flows.checks.inspection import Inspection
from flows.checks.running import run
from flows.checks.telling import tell
from flows.engine.checked import LANE
from flows.engine.parts import Parts
from flows.reading import checks
from flows.service.settings import read
from integrations.journal.store import Claim, Journal
from playbooks.errors import SoarError
from playbooks.record.check import ASKED
from playbooks.record.journal import Event

LOG = logging.getLogger("mcp_soar.checks")

LOOK = 5.0
"""Seconds between two looks whether something is asked for."""

BEGUN = 3
"""Times that a run is begun: one that ends the process each time would for ever."""

_PARTS = 10
"""Times at most that a run says how far it is."""


async def attend(folder: Path, parts: Callable[[], Parts], stop: asyncio.Event, *, look: float = LOOK) -> None:
    """Run the checks that are asked for, one at a time, until told to stop.

    Args:
        folder: the configuration; read anew for each run.
        parts: returns what the engine works with now.
        stop: ends it.
        look: seconds between two looks.
    """
    while not stop.is_set():
        try:
            now = parts()
            for claim in await now.journal.claim(now.name, lane=LANE, limit=1, seconds=now.timing.claim):
                await _answer(folder, now, claim)
        except SoarError as exc:
            LOG.warning("what is asked for is not looked at for now: %s", exc)
        except Exception:  # a bug of ours must not end the process
            LOG.exception("what is asked for is not looked at for now")
        await asyncio.wait({wait := asyncio.create_task(stop.wait())}, timeout=look)
        wait.cancel()


async def _answer(folder: Path, parts: Parts, claim: Claim) -> None:
    journal, check = parts.journal, CHECKS.get(claim.stream.removeprefix(ASKED))
    begun = (await checks.asked(journal, claim.stream.removeprefix(ASKED))).begun
    if check is None:
        why = "this release has no such check"
    elif begun >= BEGUN:
        why = f"it was begun {begun} times, and each time the process ended that ran it"
    else:
        await journal.append(claim.stream, [Event("begun", {})], claim=claim)
        why = await _ran(folder, parts, check, claim)
    if why:
        LOG.error("the check %s that was asked for: %s", claim.stream.removeprefix(ASKED), why)
    await journal.append(claim.stream, [Event("answered", {"why": why[:1000]})], claim=claim)
    await journal.release(claim, runnable_at=None)


async def _ran(folder: Path, parts: Parts, check: Inspection, claim: Claim) -> str:
    """Run a check, and return why the journal does not have it; empty if it has."""
    journal, far, shown, claimed = parts.journal, [0, 0], 0, parts.timing.claim
    working = asyncio.create_task(_run(folder, journal, check, far))
    try:
        while not (await asyncio.wait({working}, timeout=claimed / 3))[0]:
            await journal.renew(claim, claimed)
            if (tenth := _PARTS * far[0] // max(far[1], 1)) > shown:
                shown = tenth
                await journal.append(claim.stream, [Event("asking", {"done": far[0], "of": far[1]})], claim=claim)
    finally:
        # Whoever has the claim now begins anew.
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    try:
        return working.result()
    except SoarError as exc:
        return str(exc)


async def _run(folder: Path, journal: Journal, check: Inspection, far: list[int]) -> str:
    config = await asyncio.to_thread(read, folder)
    before, beside = await checks.before(journal, check.name, CHECKS if check.judge else ())

    def progress(_: str, done: int, of: int) -> None:
        far[:] = done, of

    done = await run(check, config, progress, journal.holds)
    return (await asyncio.to_thread(tell, config, done, "schedule", before, beside)).journal
