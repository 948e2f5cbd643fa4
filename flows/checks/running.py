"""A check, run: each piece is asked by itself, and what cannot be asked is said to be unknown.

What an incident holds is no finding, whatever check looks at it: a field that is as a hold wants it, and a server that
does not answer where a hold shuts off all of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from flows.checks.inspection import Ask, Inspection
from flows.service.settings import Configuration
from integrations.connections import Connections
from integrations.journal.records import Hold
from playbooks.errors import SoarError
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import LIST
from playbooks.record import figure, trust
from playbooks.record.check import NAMED, Found, KeptUnasked, Ran, line, row
from playbooks.record.figure import Figure, KeptFigure
from playbooks.record.journal import INCIDENT
from playbooks.strict import canonical, now
from playbooks.taxonomy import EntityKind

Holds = Callable[[], Awaitable[Sequence[Hold]]]
"""Returns what incidents hold now."""

_IN_PART = frozenset({*(kind.value for kind in PinKind), LIST, EntityKind.TOKEN.value, EntityKind.PRINCIPAL.value, ""})
"""Kinds of objects whose holds leave the rest of their server as it is; and what no release says so."""

_AT_ONCE = 32
"""Pieces that are asked side by side."""


class Run(NamedTuple):
    """What a run found.

    Args:
        check: which.
        began: when.
        ended: when.
        pieces: how many pieces there are.
        found: what is not as it should be, in the order of the pieces.
        unknown: the pieces that could not be asked, with the reason.
        left_out: those that are not asked from here, likewise.
        held: what is as an incident holds it, with the incident.
        config: of what; None where nobody is judged.
        figures: what was measured.
    """

    check: Inspection
    began: datetime
    ended: datetime
    pieces: int
    found: tuple[Found, ...]
    unknown: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...]
    held: tuple[tuple[str, str], ...] = ()
    config: Configuration | None = None
    figures: tuple[Figure, ...] = ()

    @property
    def asked(self) -> int:
        """Of how many pieces it says how they are."""
        return self.pieces - len(self.unknown) - len(self.left_out)

    @property
    def said(self) -> str:
        """How what it looked at is, in one line; what could not be asked is not called good."""
        return self.check.said(len(self.found), self.asked)

    def since(self, before: Ran | None) -> dict[str, datetime]:
        """Return since when each finding is there, by its key.

        Args:
            before: the run before, if there was one.
        """
        known = {one.key: one.since for one in before.found} if before else {}
        # Where the journal names not all that was found then, what it does not name may be of then.
        cut = before is not None and before.differ > len(before.found)
        new = self.began.replace(hour=0, minute=0, second=0, microsecond=0) if cut else self.began
        return {one.key: known.get(one.key, new) for one in self.found}

    def measured(self, before: Ran | None) -> tuple[KeptFigure, ...]:
        """Return what was measured, with what it was before.

        Args:
            before: the run before, if there was one.
        """
        return figure.kept(self.figures, before.figures if before else (), self.began, NAMED)

    def ran(self, by: Literal["schedule", "hand"], before: Ran | None, beside: Sequence[Ran] = ()) -> Ran:
        """Return what the journal keeps of it.

        Args:
            by: what started it.
            before: the run before, if there was one.
            beside: the last run of every other check.
        """
        since, judge = self.since(before), self.check.judge
        judged = judge(self.config, self, beside) if judge and self.config else ()
        return Ran(
            check=self.check.name,
            by=by,
            began=self.began,
            ended=self.ended,
            pieces=self.pieces,
            asked=self.asked,
            found=tuple(row(one, since[one.key]) for one in self.found[:NAMED]),
            differ=len(self.found),
            unknown=_kept(self.unknown),
            left_out=_kept(self.left_out),
            trust=trust.kept(judged, before.trust if before else (), self.began, NAMED),
            held=_kept(self.held),
            figures=self.measured(before),
        )


def _kept(pairs: tuple[tuple[str, str], ...]) -> tuple[KeptUnasked, ...]:
    return tuple(KeptUnasked(piece=line(piece), why=line(why)) for piece, why in pairs[:NAMED])


async def nothing() -> Sequence[Hold]:
    """Return that nothing is held, as far as anybody knows."""
    return ()


async def run(
    check: Inspection,
    config: Configuration,
    tell: Callable[[str, int, int], None] = lambda *_: None,
    holds: Holds = nothing,
) -> Run:
    """Ask everything that a check looks at.

    Args:
        check: which.
        config: the configuration.
        tell: told which piece answered, how many did, and of how many.
        holds: what incidents hold.
    """
    began, world, before = now(), Connections(config.inventory, config.systems), await holds()
    left = dict(check.left_out(config))
    try:
        pieces = check.pieces(config, world)
        found, unknown = await _all(check, {name: pieces[name] for name in pieces if name not in left}, tell)
    finally:
        await world.aclose()
    # What was taken or given back while it was asked counts, too.
    held = [*before, *await holds()]
    mine = {(one.grip, canonical(one.after)): one.incident for one in held}
    whole = {one.server: one.incident for one in held if _kind(one.grip) not in _IN_PART}
    figures = tuple(one for one in found if isinstance(one, Figure))
    ours = [(one, mine.get((one.grip, canonical(one.value)))) for one in found if isinstance(one, Found)]
    return Run(
        check,
        began,
        now(),
        len(pieces),
        tuple(one for one, by in ours if by is None),
        tuple((piece, why) for piece, why in unknown if _server(piece) not in whole),
        tuple(sorted((left | _shut_off(unknown, whole)).items())),
        tuple((one.said, f"{by.removeprefix(INCIDENT)} holds it so") for one, by in ours if by is not None),
        config,
        figures,
    )


def _shut_off(unknown: Iterable[tuple[str, str]], whole: Mapping[str, str]) -> dict[str, str]:
    return {
        piece: f"{whole[server].removeprefix(INCIDENT)} shuts it off, so that it need not answer: {why}"
        for piece, why in unknown
        if (server := _server(piece)) in whole
    }


def _server(piece: str) -> str:
    """Return the server that a piece asks: what it asks of it may stand after a colon."""
    return piece.partition(": ")[0]


def _kind(grip: str) -> str:
    """Return the kind of object that a grip is on: the third part of SYSTEM/NAME/KIND/ID#FIELD."""
    return (*grip.split("/", 3), "", "", "")[2]


async def _all(
    check: Inspection, pieces: Mapping[str, Ask], tell: Callable[[str, int, int], None]
) -> tuple[list[Found | Figure], list[tuple[str, str]]]:
    places, done = asyncio.Semaphore(_AT_ONCE), 0

    async def one(name: str) -> list[Found | Figure] | str:
        nonlocal done
        async with places:
            try:
                async with asyncio.timeout(check.within):
                    return list(await pieces[name]())
            except TimeoutError:
                return f"it did not answer within {check.within:g} s"
            except SoarError as exc:
                return str(exc)
            except Exception as exc:  # noqa: BLE001  # who chooses what is read chooses what it breaks: theirs alone
                return f"what it says is more than we can read ({type(exc).__name__})"
            finally:
                done += 1
                tell(name, done, len(pieces))

    tell("", 0, len(pieces))
    names = sorted(pieces)
    answers = await asyncio.gather(*map(one, names))
    found = [each for answer in answers if not isinstance(answer, str) for each in answer]
    return found, [(name, answer) for name, answer in zip(names, answers, strict=True) if isinstance(answer, str)]
