"""A check as a flow: its run shows how far it is, ends green or red, and its page is what people read of it."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from prefect import Flow, flow, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows.checks.every import CHECKS
from flows.checks.inspection import Inspection
from flows.checks.running import run
from flows.checks.telling import NOBODY, Told, ask, tell
from flows.pages import scheduled
from flows.pages.pages import banner
from flows.pages.text import escaped, facts, table
from flows.reading import checks
from flows.service.settings import Configuration
from integrations.journal.records import Hold
from integrations.journal.store import Journal
from playbooks.errors import SoarError, Transient
from playbooks.record.check import AGAIN, NAMED, Ran
from playbooks.record.figure import KeptFigure
from playbooks.record.trust import KeptTrust, Tier
from playbooks.strict import iso, now

_NAMED = 10
"""Findings that the end of a run names; its page has them all."""

_BEFORE = 5
"""Earlier figures that a table writes out; its chart has them all."""

_EVERY = 1.0
"""Seconds between two looks at how far a run is."""

PATIENCE = 600.0
"""Seconds without a word of a check that was asked for: longer than a round of pieces that do not answer takes."""


def by_schedule(check: Inspection) -> Flow[..., Any]:
    """Return the flow of a check.

    Args:
        check: which.
    """

    async def checked() -> State[Any]:
        config = scheduled.configuration()
        far = {"done": 0, "all": 0, "over": 0}
        showing = asyncio.create_task(_progress(check, far))
        try:
            return await (_asked_for if check.here else _looked_at)(check, config, far)
        finally:
            far["over"] = 1
            # Whatever keeps Prefect from showing it, what was found is told.
            await asyncio.gather(showing, return_exceptions=True)

    checked.__doc__ = check.about
    return flow(name=check.key, flow_run_name=check.looks, retries=0, persist_result=False, log_prints=False)(checked)


async def _looked_at(check: Inspection, config: Configuration, far: dict[str, int]) -> State[Any]:
    """Run a check here, tell what was found, and show it."""

    async def holds() -> Sequence[Hold]:
        # A journal that is away keeps nobody from looking.
        with contextlib.suppress(SoarError):
            async with scheduled.journal(config) as journal:
                return await journal.holds()
        return ()

    done = await run(check, config, lambda _, some, every: far.update(done=some, all=every), holds)
    top, before, beside = await _journal(config, check)
    told = await asyncio.to_thread(tell, config, done, "schedule", before, beside)
    ran, diffs = done.ran("schedule", before, beside), [(one.subject, one.diff) for one in done.found if one.diff]
    await scheduled.show(check.key, _summary(ran), top + page(check, ran, told, diffs))
    return _ended(check, ran, told)


async def _asked_for(check: Inspection, config: Configuration, far: dict[str, int]) -> State[Any]:
    """Ask that a check be run, and show what the journal has of it."""
    async with scheduled.journal(config) as journal:
        before, fault = await checks.last(journal, check.name), ""
        if before is None or now() - before.ended > timedelta(seconds=AGAIN):
            fault = await asyncio.to_thread(ask, config, check.name)
            ran = None if fault else await answer(journal, check, before, far)
        else:
            # Asked for again so soon, nobody would.
            ran = before
        top = banner(await journal.stops())
    if ran is None:
        said = f"{check.title}: nothing was asked: {fault}. Look yourself: `mcp-soar check {check.name}`"
        await scheduled.show(check.key, "nothing was asked", f"{top}# {escaped(said)}\n")
        # An installation that has nobody to report in whose name is not broken each night.
        return scheduled.ended(said, good=fault.startswith(NOBODY))
    told = Told(f"It ran {iso(ran.began)} at the responder; what is told is told from there.", "")
    await scheduled.show(check.key, _summary(ran), top + page(check, ran, told))
    return _ended(check, ran, told)


async def answer(
    journal: Journal, check: Inspection, before: Ran | None, far: dict[str, int], *, patience: float = PATIENCE
) -> Ran:
    """Return the run that a check was asked for, once the journal has it.

    Args:
        journal: the journal.
        check: which.
        before: the run before.
        far: told how many pieces answered, and of how many.
        patience: seconds without a word of it.

    Raises:
        Transient: there is none, with the reason.
    """
    first = seen = await checks.asked(journal, check.name)
    waits = time.monotonic() + patience
    while True:
        if (ran := await checks.last(journal, check.name)) is not None and ran != before:
            far.update(done=ran.pieces, all=ran.pieces)
            return ran
        said = await checks.asked(journal, check.name)
        if said != seen:
            seen, waits = said, time.monotonic() + patience
        if not seen.ended:
            far.update(done=seen.done, all=seen.of)
        elif seen.why and seen.seq > first.seq:
            raise Transient(f"{check.title} was asked for, and nothing came of it: {seen.why}")
        if time.monotonic() > waits:
            raise Transient(
                f"{check.title} was asked for, and nothing was heard of it for {patience:g} s: see with `mcp-soar "
                f"doctor` whether the process `flows` of `mcp-soar up` works, or run `mcp-soar check {check.name}`"
            )
        await asyncio.sleep(_EVERY)


async def _progress(check: Inspection, far: dict[str, int]) -> None:
    """Show how far a run is, until it is over."""
    async with get_client() as client:
        made = ArtifactCreate(key=f"{check.key}-progress", type="progress", data=0.0, flow_run_id=flow_run.id)
        shown = (await client.create_artifact(made)).id
        while True:
            data = 100.0 * far["done"] / max(far["all"], 1)
            said = f"{far['done']} of {far['all']} asked"
            await client.update_artifact(shown, ArtifactUpdate(description=said, data=data))
            if far["over"]:
                return
            await asyncio.sleep(_EVERY)


async def _journal(config: Configuration, check: Inspection) -> tuple[str, Ran | None, tuple[Ran, ...]]:
    """Return the kill switch's banner, the run before, and of a check that judges servers the others' last."""
    try:
        async with scheduled.journal(config) as journal:
            before, beside = await checks.before(journal, check.name, CHECKS if check.judge else ())
            return banner(await journal.stops()), before, beside
    except SoarError as exc:
        return f"> Whether a kill switch is on cannot be read: {escaped(exc)}\n\n", None, ()


def page(check: Inspection, ran: Ran, told: Told, diffs: Sequence[tuple[str, str]] = ()) -> str:
    """Return what people read of a run, as Markdown.

    Args:
        check: which.
        ran: its run.
        told: what became of its messages.
        diffs: before and after of what differs, by what it is; hostile.
    """
    rows = [
        (
            escaped(one.subject, 100),
            escaped(one.what or "it", 60),
            escaped(one.observed, 100),
            escaped(one.expected, 100),
            one.severity,
            iso(one.since)[:10],
        )
        for one in ran.found
    ]
    differ = {subject for subject, _ in diffs}
    more = ran.differ - len(ran.found)
    parts = [
        f"# {check.title}: {check.said(ran.differ, ran.asked)}",
        f"{ran.asked} of {ran.pieces} were asked.",
        table(("Where", "What", "It is", "It should be", "Severity", "Since"), rows, empty=""),
        f"{more} more are left out here." if more > 0 else "",
        _trust(ran.trust),
        _figures(ran.figures),
        facts((escaped(subject, 100), escaped(diff, 600)) for subject, diff in diffs[:NAMED]),
        facts((escaped(one.said, 200), escaped(one.remedy, 300)) for one in ran.found if one.subject not in differ),
    ]
    for title, some in (("Left out", ran.left_out), ("Not asked", ran.unknown), ("Held", ran.held)):
        if some:
            parts += [f"## {title}", facts((escaped(one.piece), escaped(one.why)) for one in some)]
    if ran.differ:
        parts.append(f"{escaped(told.alerts)} What to do: {check.to_do}")
    if told.journal:
        parts.append(f"The journal does not have this run: {escaped(told.journal)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _trust(some: tuple[KeptTrust, ...]) -> str:
    rows = [
        (
            escaped(one.server, 100),
            one.words,
            iso(one.since),
            escaped("; ".join(one.reasons) or Tier(one.tier).means, 300),
            "; ".join(f"{Tier(was.tier)} since {iso(was.since)}" for was in one.earlier) or "-",
        )
        for one in some
    ]
    return table(("Server", "Trust", "Since", "Why", "Before"), rows, empty="") if rows else ""


def _figures(some: tuple[KeptFigure, ...]) -> str:
    rows = [
        (
            escaped(one.what, 100),
            f"{one.seconds:g} s",
            iso(one.at),
            ", ".join(f"{was.seconds:g} s" for was in one.earlier[:_BEFORE]) or "-",
            one.trend,
        )
        for one in some
    ]
    return table(("What", "Took", "When", "Before, the latest first", "Trend"), rows, empty="") if rows else ""


def _summary(ran: Ran) -> str:
    return f"{ran.differ} differ, {len(ran.unknown)} could not be asked"


def _ended(check: Inspection, ran: Ran, told: Told) -> State[Any]:
    left = f"; left out: {', '.join(one.piece for one in ran.left_out[:_NAMED])}" if ran.left_out else ""
    if not ran.differ and not ran.unknown:
        said = check.said(ran.differ, ran.asked)
        return scheduled.ended(f"{check.title}: {said}, {ran.asked} of {ran.pieces} asked{left}", good=True)
    names = [one.said for one in ran.found[:_NAMED]]
    names += [f"{one.piece} does not answer" for one in ran.unknown[:_NAMED]]
    said = f"{check.title}: {_summary(ran)}: {'; '.join(names)}{left}. {told.alerts}"
    return scheduled.ended(f"{said} See the artifact {check.key}, and `mcp-soar check {check.name}`", good=False)
