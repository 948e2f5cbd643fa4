"""Pictures of a response, as SVG that stands by itself: the timeline of an incident, and the trend over the last ones.

Pure. Every word that comes from elsewhere is escaped, nothing refers to anything outside, and nothing is told by colour
alone: each outcome has a shape and a word. The card is white with dark text wherever it is shown, so a dark page does
not swallow it. What a picture shows is also in `flows.report.course.table`, for people who cannot see it.
"""

import base64
import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import NamedTuple

from flows.report.course import MESSAGE, Course, Milestone, Sign, Stretch, course
from flows.report.words import against, clock, excerpt, length, since
from playbooks.record.view import View

WIDTH = 800
"""Pixels, and so the size at which the text is 12 pixels high."""

MOST_ROWS = 40
"""Rows of a picture; the table beside it has them all."""

_CROWDED = 24
"""Rows above which messages that were delivered are left to the table."""

_INK, _MUTED, _FAINT, _RULE, _PAPER = "#1f2933", "#4b5865", "#eef1f4", "#c5cdd5", "#ffffff"
_COLOURS = {Sign.GOOD: "#17683a", Sign.BAD: "#b42318", Sign.DOUBT: "#8a5200", Sign.WAITS: "#1d4ed8", Sign.PLAIN: _MUTED}

_LABELS = 250
_EDGE = 14
_ROW = 34
_HEAD = 20
_FLAG = 30.0
_LAST = 74
_UNIT = 0.01
"""Seconds around zero within which the scale is even."""

_TICKS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 604800.0, 2592000.0, 31536000.0)
_LETTER = 6.6
_SMALL = 5.9


class Axis(NamedTuple):
    """Time from left to right on one scale, of which nothing is left out: logarithmic on either side of zero.

    What a response takes in milliseconds and a lease that lasts for days are legible on no other.

    Args:
        zero: from which times are counted.
        begin: the first moment.
        end: the last.
        left: where the first is, in pixels.
        right: where the last is.
    """

    zero: datetime
    begin: datetime
    end: datetime
    left: float
    right: float

    def x(self, moment: datetime) -> float:
        """Return where a moment is; what lies outside stands at the edge."""
        first, last = self._place(self.begin), self._place(self.end)
        share = (self._place(moment) - first) / (last - first) if last > first else 0.0
        return self.left + (self.right - self.left) * min(max(share, 0.0), 1.0)

    def _place(self, moment: datetime) -> float:
        seconds = (moment - self.zero).total_seconds()
        return math.copysign(math.log1p(abs(seconds) / _UNIT), seconds)


class Contained(NamedTuple):
    """One incident in the trend.

    Args:
        incident: its id.
        at: when it was accepted.
        seconds: from then to verified containment; None if that has not been.
        goal: what the playbook asks for, in seconds; None if there is none.
        waited: how many of the seconds it waited for people.
    """

    incident: str
    at: datetime
    seconds: float | None
    goal: float | None
    waited: float = 0.0

    @classmethod
    def of(cls, it: View) -> "Contained | None":
        """Return an incident's place in the trend; None if it never needed to be contained."""
        start, held = it.metrics.accepted_at, it.metrics.verified_at
        if start is None or not it.cuts:
            return None
        seconds = (held - start).total_seconds() if held else None
        waited = it.metrics.verified_waited if held else 0.0
        return cls(it.id, start, seconds, it.goals.verified if it.goals else None, waited)

    @property
    def word(self) -> str:
        """What is to be said of it."""
        if self.seconds is None:
            return "not contained"
        if self.goal is None:
            return "no goal"
        return f"goal {against(self.seconds, self.goal, self.waited)}"

    @property
    def mark(self) -> Sign:
        """What kind of outcome that is."""
        if self.seconds is None:
            return Sign.BAD
        if self.goal is None:
            return Sign.PLAIN
        return Sign.GOOD if self.seconds - self.waited <= self.goal else Sign.DOUBT


def data_image(svg: str) -> str:
    """Return a picture as an address that holds all of it: `data:image/svg+xml;base64,…`."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def timeline(it: View, *, at: datetime | None = None) -> str:
    """Return the timeline of an incident as SVG.

    Args:
        it: the incident.
        at: the moment that counts as now; by default that of the last entry.
    """
    shown = course(it, at=at)
    title = f"Timeline of {excerpt(it.id, 60)}"
    if shown is None:
        return _nothing(title, "Nothing is on record yet.")
    axis = axis_of(shown, _EDGE + _LABELS, WIDTH - _EDGE)
    return _drawn(shown, axis, title)


def axis_of(shown: Course, left: float, right: float) -> Axis:
    """Return the axis that shows every moment of a course.

    Args:
        shown: the course.
        left: pixels.
        right: pixels.
    """
    moments = {shown.zero, *(one.at for one in shown.milestones)}
    for row in shown.rows:
        moments |= {row.begin, row.end, row.solid}
    return Axis(shown.zero, min(moments), max(moments), left, right - _LAST)


def _drawn(shown: Course, axis: Axis, title: str) -> str:
    rows = _chosen(shown.rows)
    hidden = len(shown.rows) - len(rows)
    levels = _levels(shown.milestones, axis)
    top, highest = 50.0, max(levels, default=0)
    flags = _FLAG * (highest + 1)
    y = top + flags + 6
    body: list[str] = []
    for lane, members in itertools.groupby(rows, key=lambda row: row.lane):
        body.append(_rect(1, y, WIDTH - 2, _HEAD, _FAINT))
        body.append(_text(_EDGE, y + 14, lane.upper(), weight=700, size=11))
        y += _HEAD
        for row in members:
            body += _row(row, axis, y)
            y += _ROW
    bottom = y + 4
    lines = [
        _milestone(one, axis.x(one.at), top + _FLAG * (highest - level), bottom, shown.zero)
        for one, level in zip(shown.milestones, levels, strict=True)
    ]
    height = bottom + 50
    notes = [f"0 is the acceptance, {clock(shown.zero)}. The scale is logarithmic, and nothing is left out."]
    if hidden > 0:
        notes.append(f"The table has {hidden} more rows.")
    parts = [
        _text(_EDGE, 22, title, size=15, weight=700),
        _text(_EDGE, 40, "Times after the acceptance, in UTC. The table below says the same.", size=11, fill=_MUTED),
        *lines,
        *body,
        *_scale(axis, bottom),
        _text(_EDGE, height - 10, " ".join(notes), size=11, fill=_MUTED),
    ]
    return _svg(height, title, _said(shown), parts)


def _chosen(rows: Sequence[Stretch]) -> list[Stretch]:
    if len(rows) > _CROWDED:
        rows = [row for row in rows if row.word != MESSAGE]
    return list(rows[:MOST_ROWS])


def _levels(milestones: Sequence[Milestone], axis: Axis) -> list[int]:
    """Return how high each flag hangs, so that no flag covers another and no pole crosses a flag.

    Flags fly to the right of their poles, so from the right: each hangs above all whose pole it would reach.
    """
    levels = [0] * len(milestones)
    for number in range(len(milestones) - 1, -1, -1):
        end = axis.x(milestones[number].at) + _LAST
        under = (levels[later] for later in range(number + 1, len(milestones)) if axis.x(milestones[later].at) < end)
        levels[number] = max(under, default=-1) + 1
    return levels


def _milestone(one: Milestone, x: float, y: float, bottom: float, zero: datetime) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="{_MUTED}" stroke-width="1"'
        ' stroke-dasharray="2 3"/>'
        + _text(x + 4, y + 10, one.name, size=11, weight=700)
        + _text(x + 4, y + 23, _relative(zero, one.at), size=11, fill=_MUTED)
    )


def _relative(zero: datetime, moment: datetime) -> str:
    return "0" if moment == zero else since(zero, moment)


def _row(row: Stretch, axis: Axis, y: float) -> list[str]:
    left, right, solid = axis.x(row.begin), axis.x(row.end), axis.x(row.solid)
    colour = _COLOURS[row.mark]
    room = axis.left - _EDGE - 18
    took = (row.end - row.begin).total_seconds()
    word = row.word if row.lane in {"people", "in force"} else f"{row.word}{f', {length(took)}' if took else ''}"
    parts = [
        "<g>",
        f"<title>{_safe(row.what)}: {_safe(row.word)}</title>",
        _text(_EDGE, y + 14, _fit(row.label, room, _LETTER)),
        _shape(row.mark, _EDGE + 5, y + 24),
        _text(_EDGE + 15, y + 28, _fit(word, room - 15, _SMALL), size=11, fill=colour),
    ]
    if row.begin == row.end:
        parts.append(_shape(row.mark, left, y + _ROW / 2))
    else:
        parts.append(_rect(left, y + 11, max(solid - left, 2.5), 12, colour, radius=2))
        if right > solid:
            parts.append(
                f'<rect x="{solid:.1f}" y="{y + 11.5:.1f}" width="{right - solid:.1f}" height="11" fill="{_PAPER}"'
                f' stroke="{colour}" stroke-dasharray="3 2"/>'
            )
    parts += ["</g>", f'<path d="M1 {y + _ROW:.1f}H{axis.right + _LAST:.1f}" stroke="{_FAINT}"/>']
    return parts


def _shape(mark: Sign, x: float, y: float) -> str:
    """Return the sign of an outcome: a disc, a cross, a diamond, a ring, or a square."""
    colour = _COLOURS[mark]
    if mark is Sign.GOOD:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
    if mark is Sign.BAD:
        d = f"M{x - 4.5:.1f} {y - 4.5:.1f}l9 9m0 -9l-9 9"
        return f'<path d="{d}" stroke="{colour}" stroke-width="3" fill="none"/>'
    if mark is Sign.DOUBT:
        return f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z" fill="{colour}"/>'
    if mark is Sign.WAITS:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_PAPER}" stroke="{colour}" stroke-width="2"/>'
    return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}"/>'


def _scale(axis: Axis, y: float) -> Iterator[str]:
    yield f'<path d="M{axis.left - 6:.1f} {y:.1f}H{axis.right + 6:.1f}" stroke="{_INK}" stroke-width="1.5"/>'
    taken = -math.inf
    for seconds in (*(-tick for tick in reversed(_TICKS)), 0.0, *_TICKS):
        moment = axis.zero + timedelta(seconds=seconds)
        if not axis.begin <= moment <= axis.end:
            continue
        x, label = axis.x(moment), _relative(axis.zero, moment)
        half = len(label) * _SMALL / 2
        yield f'<path d="M{x:.1f} {y:.1f}v5" stroke="{_INK}"/>'
        if x - half > taken:
            yield _text(x, y + 20, label, size=11, anchor="middle")
            taken = x + half + 6


def _said(shown: Course) -> str:
    """Return the picture in a few sentences, for people who hear it."""
    moments = "; ".join(f"{one.name} {since(shown.zero, one.at) or clock(one.at)}" for one in shown.milestones)
    rows = ". ".join(f"{row.lane}: {excerpt(row.label, 80)}, {row.word}" for row in _chosen(shown.rows))
    return f"Accepted at {clock(shown.zero)}. {moments}. {rows}."


def trend(points: Sequence[Contained]) -> str:
    """Return how long the last incidents took from acceptance to verified containment, as SVG.

    Args:
        points: the incidents, the oldest first; the last forty are drawn.
    """
    title = "Time from acceptance to verified containment"
    drawn = sorted(points, key=lambda point: point.at)[-40:]
    if not drawn:
        return _nothing(title, "No incident to show.")
    values = [point.seconds for point in drawn if point.seconds is not None]
    values += [point.goal for point in drawn if point.goal is not None]
    least, most = max(min(values, default=1.0), 0.001), max(max(values, default=1.0), 0.002)
    marks = _logarithmic(least, most)
    low, high = marks[0], marks[-1]
    top, bottom, left, right = 92.0, 300.0, 76.0, WIDTH - 92.0

    def y_of(seconds: float) -> float:
        place = math.log(min(max(seconds, low), high) / low) / math.log(high / low)
        return bottom - place * (bottom - top)

    gap = (right - left) / max(len(drawn), 1)
    xs = [left + gap * (number + 0.5) for number in range(len(drawn))]
    parts = [
        _text(_EDGE, 22, title, size=15, weight=700),
        _text(_EDGE, 40, f"{_count(len(drawn))}, the oldest first. The scale is logarithmic.", size=11),
        *_legend(),
    ]
    for value in marks:
        y = y_of(value)
        parts.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="{_RULE}"/>')
        parts.append(_text(left - 8, y + 4, length(value), size=11, anchor="end"))
    parts += _goals(drawn, xs, gap, y_of)
    every = math.ceil(len(drawn) * 52 / (right - left))
    for number, (point, x) in enumerate(zip(drawn, xs, strict=True)):
        y = top - 14 if point.seconds is None else y_of(point.seconds)
        said = length(point.seconds) if point.seconds is not None else "-"
        parts.append(f"<g><title>{_safe(point.incident)}: {said}, {point.word}</title>{_shape(point.mark, x, y)}</g>")
        if (len(drawn) - 1 - number) % every == 0:
            short = re.sub(r"^.*-0*(?=\d)", "", excerpt(point.incident, 40))
            parts.append(_text(x, bottom + 18, _fit(short, 50, _SMALL), size=11, anchor="middle"))
            parts.append(_text(x, bottom + 32, f"{point.at:%d %b}", size=10, fill=_MUTED, anchor="middle"))
    if any(point.seconds is None for point in drawn):
        parts.append(_text(left - 8, top - 10, "not yet", size=11, anchor="end"))
    lines = (
        f"{point.incident}: {'-' if point.seconds is None else length(point.seconds)}, {point.word}" for point in drawn
    )
    return _svg(bottom + 46, title, ". ".join(lines), parts)


def _goals(
    drawn: Sequence[Contained], xs: Sequence[float], gap: float, y_of: Callable[[float], float]
) -> Iterator[str]:
    """Draw each incident's goal over its own stretch, and name the last one."""
    known = [(x, point.goal) for point, x in zip(drawn, xs, strict=True) if point.goal is not None]
    for x, goal in known:
        d = f"M{x - gap / 2:.1f} {y_of(goal):.1f}h{gap:.1f}"
        yield f'<path d="{d}" stroke="{_INK}" stroke-width="2" stroke-dasharray="6 3"/>'
    if known:
        x, goal = known[-1]
        yield _text(xs[-1] + gap / 2 + 6, y_of(goal) + 4, f"goal {length(goal)}", size=11, weight=700)


def _legend() -> Iterator[str]:
    words = (
        (Sign.GOOD, "goal met"),
        (Sign.DOUBT, "goal missed"),
        (Sign.BAD, "not contained"),
        (Sign.PLAIN, "no goal"),
    )
    x = float(_EDGE + 6)
    for mark, word in words:
        yield _shape(mark, x, 56)
        yield _text(x + 10, 60, word, size=11)
        x += 130


_LINES = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0, 86400.0, 864000.0, 8640000.0, 86400000.0)


def _logarithmic(least: float, most: float) -> list[float]:
    """Return the lines of a logarithmic scale that holds both values."""
    first = max((n for n, value in enumerate(_LINES) if value <= least), default=0)
    last = min((n for n, value in enumerate(_LINES) if value >= most), default=len(_LINES) - 1)
    return list(_LINES[first : max(last, first + 1) + 1])


def _count(number: int) -> str:
    return f"{number} incident{'s' if number != 1 else ''}"


def _nothing(title: str, text: str) -> str:
    parts = [_text(_EDGE, 22, title, size=15, weight=700), _text(_EDGE, 46, text)]
    return _svg(64, title, text, parts)


def _svg(height: float, title: str, description: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}"'
        f' viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-labelledby="t d"'
        ' font-family="system-ui, -apple-system, Segoe UI, Noto Sans, Noto Sans KR, Noto Sans CJK KR, sans-serif">'
        f'<title id="t">{_safe(title)}</title><desc id="d">{_safe(description, 4000)}</desc>'
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="6" fill="{_PAPER}" stroke="{_RULE}"/>'
        + "".join(parts)
        + "</svg>\n"
    )


def _rect(x: float, y: float, width: float, height: float, fill: str, *, radius: int = 0) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}" fill="{fill}"/>'


def _text(
    x: float, y: float, text: str, *, size: int = 12, weight: int = 400, fill: str = _INK, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}"'
        f' text-anchor="{anchor}">{_safe(text)}</text>'
    )


def _safe(text: str, limit: int = 300) -> str:
    return escape(excerpt(text, limit), quote=False)


def _fit(text: str, room: float, letter: float) -> str:
    """Return as much of a text as there is room for; letters of East Asia are twice as wide."""
    shown, used = "", 0.0
    for character in excerpt(text):
        used += letter * (1.9 if unicodedata.east_asian_width(character) in "WF" else 1.0)
        if used > room - letter:
            return shown.rstrip() + "…"
        shown += character
    return shown
