"""`check`: what is looked at by schedule, looked at now."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from flows.checks import running
from flows.checks.every import CHECKS
from flows.checks.inspection import Inspection
from flows.checks.running import Run
from flows.checks.telling import Told, tell
from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import NotFound, Out, moment
from flows.cli.work import records
from flows.reading import checks
from flows.service.access import missing
from flows.service.settings import Configuration
from integrations.journal.records import Hold
from playbooks.errors import Misconfigured, Transient
from playbooks.record.check import Found, Ran
from playbooks.record.trust import Tier
from playbooks.strict import canonical

_HELD = 600
"""Characters of a difference that a terminal shows."""


def listing(out: Out, config: Configuration) -> None:
    """Show every check: what it looks at, when it ran last, and what it found then."""
    rows = asyncio.run(_listed(config))
    out.document({"checks": rows})
    out.table(
        ("check!", "ran last!", "looks at"),
        [(one["check"], one["ended"] or "never", f"{one['looks']}\n→ {one['said']}") for one in rows],
    )
    for one in rows:
        if one["last"] is not None:
            trusted(out, Ran.model_validate_json(canonical(one["last"])))


async def _listed(config: Configuration) -> list[schema.CheckLine]:
    if missing(config) is not None:
        return [_line(check, None) for check in CHECKS.values()]
    async with records.opened(config) as journal:
        return [_line(check, await checks.last(journal, check.name)) for check in CHECKS.values()]


def _line(check: Inspection, ran: Ran | None) -> schema.CheckLine:
    if ran is None:
        return {"check": check.name, "looks": check.looks, "ended": None, "said": "has not run yet", "last": None}
    said = f"{ran.differ} differ" if ran.differ else check.good if ran.asked else "nothing was asked"
    away = f", {ran.pieces - ran.asked} of {ran.pieces} not asked" if ran.partial else ""
    last = ran.model_dump(mode="json")
    return {"check": check.name, "looks": check.looks, "ended": moment(ran.ended), "said": said + away, "last": last}


def run(out: Out, config: Configuration, names: Sequence[str], *, report: bool) -> Exit:
    """Run checks, one after the other, and show what they find.

    Args:
        out: where to.
        config: the configuration.
        names: of the checks.
        report: tell the receiver, as by schedule.
    """
    if strange := sorted(set(names) - CHECKS.keys()):
        raise NotFound(f"there is no check {', '.join(strange)}; there is: {', '.join(CHECKS)}")
    done: list[tuple[Run, Ran, Told]] = []
    for check in dict.fromkeys(CHECKS[name] for name in names):
        with out.progress(check.looks) as progress:
            done.append(asyncio.run(_one(config, check, progress, report=report)))
    found: list[schema.CheckRun] = [
        {**ran.model_dump(mode="json"), "reported": told.alerts, "unrecorded": told.journal}  # type: ignore[typeddict-item]  # as the model has it
        for _, ran, told in done
    ]
    code = _code([one for one, _, _ in done])
    out.document({"ok": code is Exit.OK, "runs": found})
    for one, ran, told in done:
        _show(out, one, ran, told)
    return code


def baseline(out: Out, config: Configuration, names: Sequence[str]) -> Exit:
    """Write down what checks find there now, for people to read.

    Args:
        out: where to.
        config: the configuration.
        names: of the checks.
    """
    kinds = {name: one.write for name, one in CHECKS.items() if one.write}
    if not names or set(names) - kinds.keys():
        raise NotFound(
            f"a baseline is written of {', '.join(kinds)}: name which, as mcp-soar check NAME --write-baseline"
        )
    files = [kinds[name](config.folder) for name in dict.fromkeys(names)]
    out.document({"ok": True, "files": files})
    for file in files:
        out.say(f"{file} has what is there now. Read it, and take out what should not be: the rest counts as approved.")
    return Exit.OK


async def _one(
    config: Configuration, check: Inspection, progress: Callable[[str, int, int], None], *, report: bool
) -> tuple[Run, Ran, Told]:
    before: Ran | None = None
    beside: tuple[Ran, ...] = ()
    told = Told("", "")
    # A journal that is away, or not made yet, says of nothing that it was found before; one that is not as it was
    # written is heard of before anything is asked.
    with contextlib.suppress(Transient, Misconfigured):
        async with records.opened(config) as journal:
            before, beside = await checks.before(journal, check.name, CHECKS if check.judge else ())
    done = await running.run(check, config, progress, partial(_holds, config))
    if report:
        told = await asyncio.to_thread(tell, config, done, "hand", before, beside)
    return done, done.ran("hand", before, beside), told


async def _holds(config: Configuration) -> Sequence[Hold]:
    with contextlib.suppress(Transient, Misconfigured):
        async with records.opened(config) as journal:
            return await journal.holds()
    return ()


def _code(runs: Sequence[Run]) -> Exit:
    if any(one.found for one in runs):
        return Exit.NO
    return Exit.UNREACHABLE if any(one.unknown for one in runs) else Exit.OK


def _show(out: Out, one: Run, ran: Ran, told: Told) -> None:
    check, since = one.check, {row.key: row.since for row in ran.found}
    out.heading(f"{check.title}: {one.asked} of {one.pieces} asked")
    out.table(
        ("severity!", "what", "found"),
        [
            (
                each.severity.label,
                f"{each.subject}\n{each.what}".strip(),
                _with(each, _since(since.get(each.key), one.began)),
            )
            for each in one.found
        ],
        empty=one.said,
    )
    trusted(out, ran)
    _measured(out, ran)
    for each in one.found:
        if each.diff:
            out.say()
            out.say(each.subject, "dim")
            for line in each.diff[:_HELD].splitlines():
                out.raw(line)
    for piece, why in one.unknown:
        out.say(f"{piece}: unknown, for it could not be asked: {why}", "bad")
    for piece, why in one.left_out:
        out.say(f"{piece}: not asked from here: {why}", "warn")
    for what, why in one.held:
        out.say(f"{what}: no finding, for {why}", "dim")
    if told.alerts:
        out.note(told.alerts)
    if told.journal:
        out.note(f"The journal does not have this run: {told.journal}")


def trusted(out: Out, ran: Ran) -> None:
    """Show how far each server is trusted, why, since when, and what it was before."""
    if not ran.trust:
        return
    out.table(
        ("server!", "trust", "why"),
        [
            (
                one.server,
                f"{one.words}\nsince {moment(one.since)}"
                + "".join(f"\nbefore: {Tier(was.tier)}, since {moment(was.since)}" for was in one.earlier),
                "\n".join(one.reasons) or Tier(one.tier).means,
            )
            for one in ran.trust
        ],
    )


def _measured(out: Out, ran: Ran) -> None:
    if ran.figures:
        rows = [(one.what, f"{one.seconds:g} s", one.trend) for one in ran.figures]
        out.table(("measured!", "took", "trend"), rows)


def _with(found: Found, since: str) -> str:
    return f"is {found.observed}; it should be {found.expected}{since}\n→ {found.remedy}"


def _since(first: datetime | None, began: datetime) -> str:
    return f", since {moment(first)}" if first is not None and first < began else ""
