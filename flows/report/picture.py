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
from typing import NamedTuple
from xml.sax.saxutils import escape

from flows.report.course import MESSAGE, Course, Mark, Milestone, Row, course
from flows.report.words import clock, excerpt, length, since
from playbooks.state import Incident

WIDTH = 800
"""Pixels, and so the size at which the text is 12 pixels high."""

MOST_ROWS = 40
"""Rows of a picture; the table beside it has them all."""

_CROWDED = 24
"""Rows above which messages that were delivered are left to the table."""

_INK, _MUTED, _FAINT, _RULE, _PAPER = "#1f2933", "#4b5865", "#eef1f4", "#c5cdd5", "#ffffff"
_COLOURS = {Mark.GOOD: "#17683a", Mark.BAD: "#b42318", Mark.DOUBT: "#8a5200", Mark.WAITS: "#1d4ed8", Mark.PLAIN: _MUTED}

_LABELS = 250
_EDGE = 14
_ROW = 34
_HEAD = 20
_BREAK = 58
_POINT = 16
_FLAG = 30.0
_LAST = 74
_PANELS = 5
_BROKEN = 0.4
_LETTER = 6.6
_SMALL = 5.9
_NARROWEST = 480


class Panel(NamedTuple):
    """A stretch of time that is drawn to scale.

    Args:
        begin: its first moment.
        end: its last.
        left: where that is, in pixels.
        right: likewise.
    """

    begin: datetime
    end: datetime
    left: float
    right: float


class Axis(NamedTuple):
    """Time from left to right: linear in each panel, and broken between them."""

    panels: tuple[Panel, ...]

    def x(self, moment: datetime) -> float:
        """Return where a moment is; in a break it is by its share of it."""
        first, last = self.panels[0], self.panels[-1]
        if moment <= first.begin:
            return first.left
        for panel in self.panels:
            if panel.begin <= moment <= panel.end:
                return panel.left + (panel.right - panel.left) * _share(panel.begin, moment, panel.end)
        for one, other in itertools.pairwise(self.panels):
            if one.end < moment < other.begin:
                return one.right + (other.left - one.right) * _share(one.end, moment, other.begin)
        return last.right

    @property
    def breaks(self) -> list[tuple[float, float, float]]:
        """Where it is broken: left, right, and the seconds that are left out."""
        return [
            (one.right, other.left, (other.begin - one.end).total_seconds())
            for one, other in itertools.pairwise(self.panels)
        ]


class Contained(NamedTuple):
    """One incident in the trend.

    Args:
        incident: its id.
        at: when it was accepted.
        seconds: from then to verified containment; None if that has not been.
        goal: what the playbook asks for, in seconds; None if there is none.
    """

    incident: str
    at: datetime
    seconds: float | None
    goal: float | None

    @property
    def word(self) -> str:
        """What is to be said of it."""
        if self.seconds is None:
            return "not contained"
        if self.goal is None:
            return "no goal"
        return "goal met" if self.seconds <= self.goal else "goal MISSED"

    @property
    def mark(self) -> Mark:
        """What kind of outcome that is."""
        if self.seconds is None:
            return Mark.BAD
        if self.goal is None:
            return Mark.PLAIN
        return Mark.GOOD if self.seconds <= self.goal else Mark.DOUBT


def data_image(svg: str) -> str:
    """Return a picture as an address that holds all of it: `data:image/svg+xml;base64,…`."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def timeline(state: Incident, *, width: int = WIDTH, at: datetime | None = None) -> str:
    """Return the timeline of an incident as SVG.

    Args:
        state: the incident.
        width: in pixels, 480 or more; the height follows from what there is to show.
        at: the moment that counts as now; by default that of the last entry.
    """
    shown = course(state, at=at)
    title = f"Timeline of {excerpt(state.id, 60)}"
    width = max(width, _NARROWEST)
    if shown is None:
        return _nothing(width, title, "Nothing is on record yet.")
    axis = axis_of(shown, _EDGE + min(_LABELS, width * 0.36), width - _EDGE)
    return _drawn(shown, axis, width, title)


def axis_of(shown: Course, left: float, right: float) -> Axis:
    """Return the axis that shows every moment of a course: broken where nothing happened for most of the time.

    Args:
        shown: the course.
        left: pixels.
        right: pixels.
    """
    moments = {one.at for one in shown.milestones}
    for row in shown.rows:
        moments |= {row.begin, row.end, row.solid}
    groups = [sorted(moments)]
    while len(groups) < _PANELS and (found := _widest(groups)) is not None:
        number, cut = found
        groups[number : number + 1] = [groups[number][:cut], groups[number][cut:]]
    room = right - left - _LAST - _BREAK * (len(groups) - 1)
    weights = [math.log2(len(group)) for group in groups]
    room -= _POINT * sum(weight == 0 for weight in weights)
    panels, x = [], left
    for group, weight in zip(groups, weights, strict=True):
        wide = room * weight / sum(weights) if weight else _POINT
        # A lone moment stands in the middle of its panel.
        middle = 0 if weight else wide / 2
        panels.append(Panel(group[0], group[-1], x + middle, x + wide - middle))
        x += wide + _BREAK
    return Axis(tuple(panels))


def _widest(groups: Sequence[list[datetime]]) -> tuple[int, int] | None:
    """Return the gap most worth a break: the group, and the place in it; None if all is legible without one."""
    best: tuple[float, int, int] | None = None
    for number, group in enumerate(groups):
        whole = (group[-1] - group[0]).total_seconds()
        for place, (one, other) in enumerate(itertools.pairwise(group), start=1):
            gap = (other - one).total_seconds()
            if len(group) > 2 and gap > _BROKEN * whole and (best is None or gap > best[0]):  # noqa: PLR2004  # two moments are legible
                best = (gap, number, place)
    return best[1:] if best else None


def _share(begin: datetime, moment: datetime, end: datetime) -> float:
    whole = (end - begin) / timedelta(seconds=1)
    return (moment - begin) / timedelta(seconds=1) / whole if whole else 0.0


def _drawn(shown: Course, axis: Axis, width: int, title: str) -> str:
    rows = _chosen(shown.rows)
    hidden = len(shown.rows) - len(rows)
    levels = _levels(shown.milestones, axis)
    top, highest = 50.0, max(levels, default=0)
    flags = _FLAG * (highest + 1)
    y = top + flags + 6
    body: list[str] = []
    for lane, members in itertools.groupby(rows, key=lambda row: row.lane):
        body.append(_rect(1, y, width - 2, _HEAD, _FAINT))
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
    height = bottom + 62
    notes = [f"0 is the acceptance, {clock(shown.zero)}. Each stretch is to scale; // marks time that is left out."]
    if hidden > 0:
        notes.append(f"The table has {hidden} more rows.")
    parts = [
        _text(_EDGE, 22, title, size=15, weight=700),
        _text(_EDGE, 40, "Times after the acceptance, in UTC. The table below says the same.", size=11, fill=_MUTED),
        *_breaks(axis, top + flags, bottom),
        *lines,
        *body,
        *_scale(axis, bottom, shown.zero),
        _text(_EDGE, height - 10, " ".join(notes), size=11, fill=_MUTED),
    ]
    return _svg(width, height, title, _said(shown), parts)


def _chosen(rows: Sequence[Row]) -> list[Row]:
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


def _row(row: Row, axis: Axis, y: float) -> list[str]:
    left, right, solid = axis.x(row.begin), axis.x(row.end), axis.x(row.solid)
    colour = _COLOURS[row.mark]
    room = axis.panels[0].left - _EDGE - 18
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
    parts += ["</g>", f'<path d="M1 {y + _ROW:.1f}H{axis.panels[-1].right + _LAST:.1f}" stroke="{_FAINT}"/>']
    return parts


def _shape(mark: Mark, x: float, y: float) -> str:
    """Return the sign of an outcome: a disc, a cross, a diamond, a ring, or a square."""
    colour = _COLOURS[mark]
    if mark is Mark.GOOD:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
    if mark is Mark.BAD:
        d = f"M{x - 4.5:.1f} {y - 4.5:.1f}l9 9m0 -9l-9 9"
        return f'<path d="{d}" stroke="{colour}" stroke-width="3" fill="none"/>'
    if mark is Mark.DOUBT:
        return f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z" fill="{colour}"/>'
    if mark is Mark.WAITS:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_PAPER}" stroke="{colour}" stroke-width="2"/>'
    return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}"/>'


def _breaks(axis: Axis, top: float, bottom: float) -> Iterator[str]:
    for left, right, seconds in axis.breaks:
        yield _rect(left + 10, top, right - left - 20, bottom - top, _FAINT)
        middle = (left + right) / 2
        yield (
            f'<path d="M{middle - 5:.1f} {bottom + 6:.1f}l4 -12m4 12l4 -12" stroke="{_INK}" stroke-width="1.5"'
            ' fill="none"/>'
        )
        yield _text(middle, bottom + 36, length(seconds), size=10, fill=_MUTED, anchor="middle")


def _scale(axis: Axis, y: float, zero: datetime) -> Iterator[str]:
    taken = -math.inf
    for panel in axis.panels:
        yield f'<path d="M{panel.left - 6:.1f} {y:.1f}H{panel.right + 6:.1f}" stroke="{_INK}" stroke-width="1.5"/>'
        for moment in _ticks(panel, zero):
            x = panel.left + (panel.right - panel.left) * _share(panel.begin, moment, panel.end)
            label = _relative(zero, moment)
            half = len(label) * _SMALL / 2
            yield f'<path d="M{x:.1f} {y:.1f}v5" stroke="{_INK}"/>'
            if x - half > taken:
                yield _text(x, y + 20, label, size=11, anchor="middle")
                taken = x + half + 6


def _ticks(panel: Panel, zero: datetime) -> list[datetime]:
    """Return round moments of a panel, counted from the acceptance; at least its begin."""
    begin, end = (panel.begin - zero).total_seconds(), (panel.end - zero).total_seconds()
    wanted = max(1, int((panel.right - panel.left) / 60))
    if end <= begin:
        return [panel.begin]
    step = _round_step((end - begin) / wanted)
    first = math.ceil(begin / step - 1e-9)
    found = [zero + timedelta(seconds=step * n) for n in range(first, math.floor(end / step + 1e-9) + 1)]
    return found or [panel.begin]


_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_LARGE = (7200, 14400, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000)


def _round_step(least: float) -> float:
    return next((step for step in (*_STEPS, *_LARGE) if step >= least), 31536000.0 * math.ceil(least / 31536000))


def _said(shown: Course) -> str:
    """Return the picture in a few sentences, for people who hear it."""
    moments = "; ".join(f"{one.name} {since(shown.zero, one.at) or clock(one.at)}" for one in shown.milestones)
    rows = ". ".join(f"{row.lane}: {excerpt(row.label, 80)}, {row.word}" for row in _chosen(shown.rows))
    return f"Accepted at {clock(shown.zero)}. {moments}. {rows}."


def trend(points: Sequence[Contained], *, width: int = WIDTH) -> str:
    """Return how long the last incidents took from acceptance to verified containment, as SVG.

    Args:
        points: the incidents, the oldest first; the last forty are drawn.
        width: in pixels, 480 or more.
    """
    title, width = "Time from acceptance to verified containment", max(width, _NARROWEST)
    drawn = sorted(points, key=lambda point: point.at)[-40:]
    if not drawn:
        return _nothing(width, title, "No incident to show.")
    values = [point.seconds for point in drawn if point.seconds is not None]
    values += [point.goal for point in drawn if point.goal is not None]
    least, most = max(min(values, default=1.0), 0.001), max(max(values, default=1.0), 0.002)
    marks = _logarithmic(least, most)
    low, high = marks[0], marks[-1]
    top, bottom, left, right = 92.0, 300.0, 76.0, width - 92.0

    def y_of(seconds: float) -> float:
        place = math.log(min(max(seconds, low), high) / low) / math.log(high / low)
        return bottom - place * (bottom - top)

    gap = (right - left) / max(len(drawn), 1)
    xs = [left + gap * (number + 0.5) for number in range(len(drawn))]
    parts = [
        _text(_EDGE, 22, title, size=15, weight=700),
        _text(_EDGE, 40, f"{_count(len(drawn))}, the oldest first. The scale is logarithmic.", size=11),
        *_legend(width),
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
    return _svg(width, bottom + 46, title, ". ".join(lines), parts)


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


def _legend(width: int) -> Iterator[str]:
    words = (
        (Mark.GOOD, "goal met"),
        (Mark.DOUBT, "goal missed"),
        (Mark.BAD, "not contained"),
        (Mark.PLAIN, "no goal"),
    )
    x = float(_EDGE + 6)
    for mark, word in words:
        yield _shape(mark, x, 56)
        yield _text(x + 10, 60, word, size=11)
        x += min(130, (width - 40) / 4)


_LINES = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0, 86400.0, 864000.0, 8640000.0, 86400000.0)


def _logarithmic(least: float, most: float) -> list[float]:
    """Return the lines of a logarithmic scale that holds both values."""
    first = max((n for n, value in enumerate(_LINES) if value <= least), default=0)
    last = min((n for n, value in enumerate(_LINES) if value >= most), default=len(_LINES) - 1)
    return list(_LINES[first : max(last, first + 1) + 1])


def _count(number: int) -> str:
    return f"{number} incident{'s' if number != 1 else ''}"


def _nothing(width: int, title: str, text: str) -> str:
    parts = [_text(_EDGE, 22, title, size=15, weight=700), _text(_EDGE, 46, text)]
    return _svg(width, 64, title, text, parts)


def _svg(width: int, height: float, title: str, description: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}"'
        f' viewBox="0 0 {width} {height:.0f}" role="img" aria-labelledby="t d"'
        ' font-family="system-ui, -apple-system, Segoe UI, Noto Sans, Noto Sans KR, Noto Sans CJK KR, sans-serif">'
        f'<title id="t">{_safe(title)}</title><desc id="d">{_safe(description, 4000)}</desc>'
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1:.0f}" rx="6" fill="{_PAPER}" stroke="{_RULE}"/>'
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
    return escape(excerpt(text, limit))


def _fit(text: str, room: float, letter: float) -> str:
    """Return as much of a text as there is room for; letters of East Asia are twice as wide."""
    shown, used = "", 0.0
    for character in excerpt(text):
        used += letter * (1.9 if unicodedata.east_asian_width(character) in "WF" else 1.0)
        if used > room - letter:
            return shown.rstrip() + "…"
        shown += character
    return shown
