"""Which alerts are news to an incident. What is like others that it has is counted, and its bytes are kept with theirs.

The sender decides nothing here but what it is worth to hear: whatever it makes up (ids, rules, names that nobody knows)
runs into a limit, and what counts for the gate (who says it, of which known thing, how severe) is always taken.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from playbooks.estate.inventory import Resolved
from playbooks.record import holding
from playbooks.record.campaign import EACH as EACH_MARKS
from playbooks.record.campaign import Mark
from playbooks.record.incident import AlertState

FEW = 3
"""Alerts with ids of their own that say the same, and are written down each."""

EACH = 25
"""Alerts of one source that an incident writes down whatever they say; after that only what the gate would ask for."""

FLOOD = 100
"""Messages of one source that say the same, of which people hear."""

KINDS = ("alert", *holding.KINDS)
"""The kinds of entries that `Heard` is made of."""

Body = Mapping[str, Any]
"""Of an `alert` entry: see `playbooks.record.projection`."""

_Who = tuple[str, bool]
"""A source, and whether it proved that it is: what somebody else says in its name takes nothing of its own say."""


class _Said(NamedTuple):
    """What a source said of one set of things under one rule."""

    times: int = 0
    last: str = ""
    severity: int = -1


class Heard:
    """What an incident was told so far: enough to tell news, bounded by limits and inventory, never by the senders."""

    def __init__(self) -> None:
        self.seq = 0
        """How far the stream was read."""
        self._written: Counter[_Who] = Counter()
        self._said: dict[tuple[Any, ...], _Said] = {}
        self._ids: dict[tuple[_Who, str], dict[str, tuple[str, int, str]]] = {}
        self._known: dict[tuple[_Who, str], int] = {}
        self._marks: set[Mark] = set()
        self.holding = holding.Holding()
        """What it holds of what it was told about, and what it gave back."""

    def copy(self) -> "Heard":
        """Return one that goes its own way from here."""
        # Not what `copy` makes: each look at the inbox takes one, and that takes a tenth of the time.
        other = Heard()
        other.seq, other.holding = self.seq, self.holding.copy()
        other._written, other._known, other._marks = self._written.copy(), self._known.copy(), self._marks.copy()
        other._said, other._ids = self._said.copy(), {key: seen.copy() for key, seen in self._ids.items()}
        return other

    def is_news(self, body: Body, *, masked: bool) -> bool:
        """Return whether an alert says what the incident does not have yet.

        Args:
            body: of the entry that it would become.
            masked: something in its id was masked, so that two of them that look alike may be two.
        """
        who, state, severity = _who(body), str(body["state"]), int(body["severity"])
        if self.new_marks(body):
            return True
        if self._written[who] >= EACH:
            # Only what would change what may be done: a known thing that it did not name, or a graver word about one.
            return state == AlertState.NEW and any(severity > self._known.get((who, key), -1) for key in _keys(body))
        if (one := self._before(body, masked=masked)) is not None:
            # The very thing that it reported before: news when it ended since, or began anew, or got worse.
            return one[0] != state or one[1] < severity
        said = self._said.get(_what(body))
        return said is None or said.times < FEW or said.last != state or said.severity < severity

    def was_told(self, body: Body, *, masked: bool, whenever: bool) -> bool:
        """Return whether a source only says again what the incident knows of it: people knew that when they gave back.

        The end of what the incident was told is its as well.

        Args:
            body: of the entry that it would become.
            masked: see `is_news`.
            whenever: the source says the same of each time that it looks; of others, another time is another event.
        """
        if (one := self._before(body, masked=masked)) is None:
            return False
        if body["state"] != AlertState.NEW:
            return True
        state, severity, at = one
        return state == AlertState.NEW and severity >= int(body["severity"]) and (whenever or at == body["detected_at"])

    def _before(self, body: Body, *, masked: bool) -> tuple[str, int, str] | None:
        """Return what a source said last under an alert's id: its state, how severe it was at worst, and when."""
        seen = self._ids.get((_who(body), body["external_id"]), {})
        return seen.get(body["digest"]) if masked else next(reversed(seen.values()), None)

    def new_marks(self, body: Body) -> tuple[Mark, ...]:
        """Return what an alert has in common with those of other incidents, and the incident did not have yet.

        Args:
            body: of the entry that it would become; the first releases did not say it.
        """
        if body["state"] != AlertState.NEW or not body["authenticated"]:
            return ()
        new = (mark for mark in map(Mark.read, body.get("marks", ())) if mark not in self._marks)
        return tuple(islice(new, EACH_MARKS - len(self._marks)))

    def read(self, kind: str, body: Body) -> None:
        """Take in an entry of its stream, of one of `KINDS`."""
        if kind == "alert":
            self.take(body)
        else:
            self.holding.take(kind, body)

    def take(self, body: Body) -> None:
        """Take in an alert that was written down.

        Args:
            body: of its entry.
        """
        who, state, severity = _who(body), body["state"], body["severity"]
        self._marks.update(self.new_marks(body))
        self._written[who] += 1
        what = _what(body)
        said = self._said.get(what, _Said())
        self._said[what] = _Said(said.times + 1, state, max(said.severity, severity))
        seen = self._ids.setdefault((who, body["external_id"]), {})
        before = max((one[1] for one in seen.values()), default=-1)
        seen.pop(body["digest"], None)
        # Read only by whoever joins alerts, and always there: entries of all releases say it.
        seen[body["digest"]] = (state, max(before, severity), body.get("detected_at", ""))
        if state == AlertState.NEW:
            for key in _keys(body):
                self._known[who, key] = max(severity, self._known.get((who, key), -1))


def _keys(body: Body) -> list[str]:
    return [Resolved.model_validate(item).key for item in body["entities"]]


def _what(body: Body) -> tuple[Any, ...]:
    # The first release did not say what else an alert named.
    named = frozenset((item["kind"], item["name"], item.get("server")) for item in body.get("unresolved", []))
    return _who(body), body["rule"], frozenset(_keys(body)), named


def _who(body: Body) -> _Who:
    return body["source"], body["authenticated"]
