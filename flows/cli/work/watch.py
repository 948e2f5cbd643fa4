"""`watch`: the open incidents as they change, on a terminal; elsewhere what there is now, or a line for each change."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, moment, precise, safe, span
from flows.cli.work import incidents, records, spelled
from flows.cli.work.spelled import Spelling
from flows.reading import standing, streams
from flows.service.settings import Configuration
from integrations.journal.client import Tampered
from integrations.journal.store import Journal
from playbooks.errors import Transient
from playbooks.record.incident import Status
from playbooks.record.journal import INCIDENT
from playbooks.record.order import Place, place, unreadable
from playbooks.record.state import Incident
from playbooks.record.view import Stopped
from playbooks.record.viewing import head_of, owed_of
from playbooks.strict import now

if TYPE_CHECKING:
    from rich.console import Group

_EVERY = 1.0
_CALM = 0.25
"""Seconds between two looks, however often somebody pokes."""

_MANY = 10_000
_LINES = 2
_STYLES = {
    "contained": "good",
    "frozen": "bad",
    "not_established": "bad",
    "awaiting_approval": "warn",
    "triage": "warn",
}


@dataclass
class Board:
    """What was seen of the journal, kept between two looks.

    Args:
        journal: to look at.
        config: says which laws bind us.
    """

    journal: Journal
    config: Configuration
    rows: dict[str, schema.Watched] = field(default_factory=dict)
    stops: list[Stopped] = field(default_factory=list)
    read: int = 0
    """Streams read so far: none for an incident of which nothing is new."""
    spellings: dict[str, Spelling] = field(default_factory=dict)
    """What a terminal spells out of each."""
    _places: dict[str, Place] = field(default_factory=dict)
    _seen: dict[str, tuple[int, str | None]] = field(default_factory=dict)

    async def look(self) -> list[tuple[str, str]]:
        """Read what is new and return it: open, changed, closed or stops, and the incident."""
        changes: list[tuple[str, str]] = []
        there = {row.name: row for row in await self.journal.streams(INCIDENT, open_only=True, limit=_MANY)}
        for stream in self._seen.keys() - there.keys():
            name = stream.removeprefix(INCIDENT)
            del self._seen[stream], self.rows[name], self._places[name]
            self.spellings.pop(name, None)
            changes.append(("closed", name))
        for stream, row in reversed(there.items()):
            if self._seen.get(stream) == (row.seq, row.frozen):
                continue
            name = stream.removeprefix(INCIDENT)
            changes.append(("changed" if stream in self._seen else "open", name))
            self.read += 1
            try:
                state = await streams.load(self.journal, name)
                self.rows[name], self._places[name] = self._watched(state), place(state)
                self.spellings[name] = spelled.of(state, self.config.inventory)
            except Tampered as exc:
                self.rows[name], self._places[name] = _damaged(name, str(exc), row.opened_at), unreadable(row.opened_at)
            self._seen[stream] = row.seq, row.frozen
        stops = await standing.stops(self.journal)
        if stops != self.stops:
            self.stops = stops
            changes.append(("stops", ""))
        return changes

    def worst_first(self) -> list[schema.Watched]:
        """Return the rows, in the order of `playbooks.record.order`."""
        young = sorted(self.rows, reverse=True)
        return [self.rows[name] for name in sorted(young, key=self._places.__getitem__)]

    def _watched(self, state: Incident) -> schema.Watched:
        waits = [f"a decision until {_clock(step.expires_at)}" for step in state.proposals]
        waits += ["somebody who looks at it"] if state.triage else []
        last = state.timeline[-1] if state.timeline else None
        running = (clock for clock in records.clocks_of(self.config, state, now()) if clock.running)
        return schema.Watched(
            **head_of(state),
            asks=len(state.proposals),
            leases=sum(lease.in_force for lease in state.leases.values()),
            contained=len(state.contained),
            waits_for=tuple(waits),
            clocks=tuple(owed_of(state.id, clock, partial(records.command, self.config)) for clock in running),
            undelivered=len({page for page, _ in state.undelivered}),
            last=last.what if last else "",
            last_at=last.at if last else None,
        )


def _damaged(name: str, why: str, opened_at: float) -> schema.Watched:
    return schema.Watched(
        **incidents.damaged(name, why, opened_at).model_dump(),
        waits_for=(f"mcp-soar verify {name}",),
        clocks=(),
        undelivered=0,
        last=why,
        last_at=None,
    )


def _duty(row: schema.Watched, at: datetime) -> list[str]:
    """Return what a law wants reported first, and until when."""
    first = next(((clock.id, clock.until) for clock in row.clocks if clock.until), None)
    return [f"report {first[0]} {'OVERDUE' if first[1] < at else 'until'} {moment(first[1])}"] if first else []


def _clock(at: datetime | None) -> str:
    return (moment(at) or "-")[11:]


def watch(out: Out, config: Configuration, *, once: bool) -> Exit:
    """Show the open incidents, until q or Ctrl-C on a terminal."""
    live = not once and not out.as_json and sys.stdout.isatty()
    asyncio.run(_watch(out, config, once=once or not (live or out.as_json), live=live))
    return Exit.OK


async def _watch(out: Out, config: Configuration, *, once: bool, live: bool) -> None:
    async with records.opened(config) as journal:
        view = Board(journal, config)
        changes = await view.look()
        if out.as_json:
            _report(view, changes)
        if once:
            if not out.as_json:
                for text, style in lines(view, now(), None):
                    out.say(text, style)
            return
        stop = asyncio.Event()
        with _interrupted(stop), _keys(stop) if live else contextlib.nullcontext():
            if live:
                await _live(out, view, stop)
            else:
                await _each(view, stop, lambda changes: _report(view, changes))


async def _each(view: Board, stop: asyncio.Event, tell: Callable[[list[tuple[str, str]]], None]) -> None:
    """Look again and again, and tell what is new, also when it is nothing."""
    async with view.journal.listen() as wait:
        while not await _ended(stop, wait):
            await asyncio.sleep(_CALM)
            try:
                changes = await view.look()
            except Transient as exc:
                changes = [("unreachable", str(exc))]
            tell(changes)


async def _ended(stop: asyncio.Event, wait: Callable[[float], Awaitable[bool]]) -> bool:
    """Wait for a poke, a second or the end; return whether it is the end."""
    waiting = asyncio.ensure_future(wait(_EVERY - _CALM))
    ending = asyncio.ensure_future(stop.wait())
    await asyncio.wait({waiting, ending}, return_when=asyncio.FIRST_COMPLETED)
    for task in (waiting, ending):
        task.cancel()
    await asyncio.gather(waiting, ending, return_exceptions=True)
    return stop.is_set()


def _report(view: Board, changes: list[tuple[str, str]]) -> None:
    for change, name in changes:
        line: schema.WatchLine = {
            "at": precise(now()) or "",
            "change": change,
            "id": name if change != "unreachable" else "",
            "incident": view.rows.get(name),
            "stops": view.stops,
        }
        sys.stdout.write(json.dumps(line, default=lambda one: one.dump()) + "\n")
    sys.stdout.flush()


async def _live(out: Out, view: Board, stop: asyncio.Event) -> None:
    from rich.live import Live  # noqa: PLC0415  # rich takes a while to import

    trouble, console = "", out.console

    def shown() -> "Group":
        from rich.console import Group  # noqa: PLC0415  # see above
        from rich.text import Text  # noqa: PLC0415  # see above

        height, texts = console.height, []
        for text, style in lines(view, now(), height - 1, trouble):
            # One line each, cut off at the edge: what scrolls away is seen by nobody.
            texts.append(Text(safe(text), style=out.style(style), no_wrap=True, overflow="ellipsis"))
        return Group(*texts)

    with Live(shown(), console=console, screen=True, auto_refresh=False) as display:
        before: list[tuple[str, str]] = []

        def tell(changes: list[tuple[str, str]]) -> None:
            nonlocal before, trouble
            trouble = next((why for change, why in changes if change == "unreachable"), "")
            present = [*lines(view, now(), console.height - 1, trouble), (str(console.size), "")]
            if present != before:
                before = present
                display.update(shown(), refresh=True)

        tell([])
        await _each(view, stop, tell)


def lines(view: Board, at: datetime, height: int | None, trouble: str = "") -> list[tuple[str, str]]:
    """Return what is shown, as lines and their styles; the words say all that the styles do.

    Args:
        view: what was seen.
        at: now.
        height: so many lines at most; None for all.
        trouble: why what is shown is old, empty if it is not.
    """
    rows = view.worst_first()
    joined = sum(row.status == Status.JOINED for row in rows)
    beside = f", {joined} joined to them" if joined else ""
    found = [(f"mcp-soar: {len(rows) - joined} open incidents{beside}, worst first; {moment(at)}; q ends", "head")]
    found += [(f"OLD: {trouble}", "bad")] if trouble else []
    found += [(records.stopped(stop), "bad") for stop in view.stops]
    room = len(rows) if height is None else max(0, (height - len(found) - 1) // _LINES)
    for row in (view.spellings.get(row.id, Spelling()).whole(row) for row in rows[:room]):
        age = span((at - row.opened_at).total_seconds()) if row.opened_at else "-"
        # How bad it is, the one says that it goes on in.
        bad = "" if row.status == Status.JOINED else row.severity.label
        found.append((f"{row.id}  {bad:8}  {row.stands}, {age}", _STYLES.get(row.status, "")))
        # What is asked and what is not told comes first, for it must not be what the edge cuts off.
        parts = [f"waits for {', '.join(row.waits_for)}"] if row.waits_for else []
        parts += [f"{row.undelivered} pages NOT DELIVERED"] if row.undelivered else []
        parts += _duty(row, at)
        parts += [f"{row.contained} contained", row.about[:60]]
        parts += [f"{_clock(row.last_at)} {row.last}"] if row.last else []
        found.append(("    " + "; ".join(parts), ""))
    if len(rows) > room:
        found.append((f"and {len(rows) - room} more: `mcp-soar incidents`", "head"))
    return found


@contextlib.contextmanager
def _interrupted(stop: asyncio.Event) -> Iterator[None]:
    """End in order on Ctrl-C: the terminal is given back as it was."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _keys(stop: asyncio.Event) -> Iterator[None]:
    """End on q, read without waiting for a line's end and without showing it."""
    import termios  # noqa: PLC0415  # not everywhere, and needed only here
    import tty  # noqa: PLC0415  # likewise

    loop, file = asyncio.get_running_loop(), sys.stdin.fileno() if sys.stdin.isatty() else None
    if file is None:
        yield
        return
    before = termios.tcgetattr(file)

    def pressed() -> None:
        read = os.read(file, 64)
        # Nothing: the terminal is gone.
        if not read or b"q" in read.lower():
            stop.set()

    tty.setcbreak(file)
    loop.add_reader(file, pressed)
    try:
        yield
    finally:
        loop.remove_reader(file)
        termios.tcsetattr(file, termios.TCSADRAIN, before)
