"""A check as a flow: its run shows how far it is, ends green or red, and its page is what people read of it."""

import asyncio
from typing import Any

from prefect import Flow, flow, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows.checks.every import CHECKS
from flows.checks.inspection import Inspection
from flows.checks.running import Run, run
from flows.checks.telling import Told, tell
from flows.pages import scheduled
from flows.pages.pages import banner
from flows.pages.text import escaped, facts, table
from flows.reading import checks
from flows.service.settings import Configuration
from playbooks.errors import SoarError
from playbooks.record.check import Ran
from playbooks.record.trust import KeptTrust, Tier
from playbooks.strict import iso

_NAMED = 10
"""Findings that the end of a run names; its page has them all."""

_LINES = 200
"""Lines of a table."""

_EVERY = 1.0
"""Seconds between two looks at how far a run is."""


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
            done = await run(check, config, lambda _, some, every: far.update(done=some, all=every))
        finally:
            far["over"] = 1
            # Whatever keeps Prefect from showing it, what was found is told.
            await asyncio.gather(showing, return_exceptions=True)
        top, known = await _journal(config, check)
        before = known.pop(check.name, None)
        beside = tuple(known.values())
        told = await asyncio.to_thread(tell, config, done, "schedule", before, beside)
        await scheduled.show(check.key, _summary(done), top + page(done, told, done.ran("schedule", before, beside)))
        return _ended(done, told)

    checked.__doc__ = check.about
    return flow(name=check.key, flow_run_name=check.looks, retries=0, persist_result=False, log_prints=False)(checked)


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


async def _journal(config: Configuration, check: Inspection) -> tuple[str, dict[str, Ran]]:
    """Return the kill switch's banner, and the run before; of a check that judges servers, of every other one too."""
    try:
        async with scheduled.journal(config) as journal:
            known = await checks.of_all(journal, CHECKS if check.judge else [check.name])
            return banner(await journal.stops()), known
    except SoarError as exc:
        return f"> Whether a kill switch is on cannot be read: {escaped(exc)}\n\n", {}


def page(run: Run, told: Told, ran: Ran | None = None) -> str:
    """Return what people read of a run, as Markdown.

    Args:
        run: the run.
        told: what became of its messages.
        ran: what the journal keeps of it, if that says how far servers are trusted.
    """
    check, found = run.check, run.found
    rows = [
        (
            escaped(one.subject, 100),
            escaped(one.what or "it", 60),
            escaped(one.observed, 100),
            escaped(one.expected, 100),
            one.severity.label,
        )
        for one in found[:_LINES]
    ]
    parts = [
        f"# {check.title}: {run.said}",
        f"{run.asked} of {run.pieces} were asked.",
        table(("Where", "What", "It is", "It should be", "Severity"), rows, empty=""),
        f"{len(found) - _LINES} more are left out here." if len(found) > _LINES else "",
        _trust(ran.trust) if ran else "",
        facts((escaped(one.subject, 100), escaped(one.diff, 600)) for one in found[:_LINES] if one.diff),
        facts((escaped(one.said, 200), escaped(one.remedy, 300)) for one in found[:_LINES] if not one.diff),
    ]
    for title, some in (("Left out", run.left_out), ("Not asked", run.unknown)):
        if some:
            parts += [f"## {title}", facts((escaped(piece), escaped(why)) for piece, why in some[:_LINES])]
    if found:
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
        for one in some[:_LINES]
    ]
    return table(("Server", "Trust", "Since", "Why", "Before"), rows, empty="") if rows else ""


def _summary(run: Run) -> str:
    return f"{len(run.found)} differ, {len(run.unknown)} could not be asked"


def _ended(run: Run, told: Told) -> State[Any]:
    check = run.check
    left = f"; left out: {', '.join(piece for piece, _ in run.left_out[:_NAMED])}" if run.left_out else ""
    if not run.found and not run.unknown:
        return scheduled.ended(f"{check.title}: {run.said}, {run.asked} of {run.pieces} asked{left}", good=True)
    names = [one.said for one in run.found[:_NAMED]]
    names += [f"{piece} does not answer" for piece, _ in run.unknown[:_NAMED]]
    said = f"{check.title}: {_summary(run)}: {'; '.join(names)}{left}. {told.alerts}"
    return scheduled.ended(f"{said} See the artifact {check.key}, and `mcp-soar check {check.name}`", good=False)
