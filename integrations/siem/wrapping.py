"""What transports put around alerts, opened: an array, a cloud's event, a search's hits, a text that holds JSON."""

from collections.abc import Callable, Iterator
from typing import Final

from integrations.siem.decoding import MAX_ALERTS, Allowance, Exhausted, Malformed, load
from playbooks.strict import Json

_AROUND: Final = (
    ("detail", "findings"),  # Security Hub by EventBridge
    ("detail",),  # anything else by EventBridge
    ("Message",),  # SNS: a text
    ("hits", "hits"),  # a search of Elasticsearch
    ("_source",),  # one of its hits
    ("context", "alerts"),
    ("alerts",),
    ("findings",),
    ("events",),
    ("records",),
    ("Records",),
    ("results",),
    ("event",),  # Splunk's collector
    ("result",),
    ("finding",),
    ("alert",),
    ("data",),  # CloudEvents
    ("payload",),
    ("body",),
    ("value",),
)
_HEADS: Final = frozenset(keys[0] for keys in _AROUND)
_DEEPEST: Final = 6


def alerts(
    document: Json, ours: Callable[[dict[str, Json]], bool], *, hint: str, path: str = ""
) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yield a message's alerts, each with its path, out of whatever is around them.

    Args:
        document: the decoded message.
        ours: whether an object is an alert of the format, by the fields that only such a one has.
        hint: where to lower the number of alerts that a message holds.
        path: where the document stands in the message.

    Raises:
        Malformed: it holds none, or too many, or more around them than is looked through.
    """
    found = Opening(ours).inside(document, path, 0)
    if found is None:
        found = list(_listed(document, path))
    if len(found) > MAX_ALERTS:
        around = found[0][0].rpartition(".")[0]
        raise Malformed(around or "body", f"holds {len(found)} alerts, and a message may hold {MAX_ALERTS}: {hint}")
    for where, one in found:
        if not isinstance(one, dict):
            raise Malformed(where, "must be an object")
        yield where, one


def _listed(document: Json, path: str) -> Iterator[tuple[str, Json]]:
    if isinstance(document, list):
        if not document:
            raise Malformed(path or "body", f"must be a list of 1 to {MAX_ALERTS} alerts")
        for index, one in enumerate(document):
            yield f"{path}.{index}" if path else str(index), one
    else:
        yield path, document


_Found = list[tuple[str, Json]] | None


class Opening:
    """The way through one message: everything in it is looked at once, and its texts share one allowance.

    Args:
        ours: whether an object is an alert of the format.
    """

    def __init__(self, ours: Callable[[dict[str, Json]], bool]) -> None:
        self._ours = ours
        self._allowance = Allowance()
        self._seen: set[str] = set()

    def inside(self, value: Json, path: str, depth: int) -> _Found:
        """Return the alerts in a value, None if it holds none that can be recognised.

        Args:
            value: what is looked through.
            path: where it stands in the message.
            depth: levels around it.

        Raises:
            Exhausted: the message holds more than is looked through.
        """
        if depth > _DEEPEST or not isinstance(value, str | list | dict):
            return None
        self._allowance.values(1)
        if isinstance(value, str):
            value = opened(value, self._allowance)
        if isinstance(value, list):
            return self._among(value, path, depth + 1)
        if isinstance(value, dict):
            return [(path, value)] if self._ours(value) else self._around(value, path, depth + 1)
        return None

    def _among(self, values: list[Json], path: str, depth: int) -> _Found:
        # One that is none stays in its place, to be named; a list of none is no list of alerts.
        listed = _listed(values, path) if values else ()
        inside = [(where, one, self.inside(one, where, depth)) for where, one in listed]
        if not any(found for _, _, found in inside):
            return None
        return [pair for where, one, found in inside for pair in (found or [(where, one)])]

    def _around(self, value: dict[str, Json], path: str, depth: int) -> _Found:
        if _HEADS.isdisjoint(value):
            return None
        for keys in _AROUND:
            inner: Json = value
            for key in keys:
                inner = inner.get(key) if isinstance(inner, dict) else None
            if inner is None:
                continue
            where = ".".join(filter(None, (path, *keys)))
            # Two ways lead to the findings of a detail: what held nothing on the shorter one holds nothing.
            if where not in self._seen:
                self._seen.add(where)
                if (found := self.inside(inner, where, depth)) is not None:
                    return found
        return None


def opened(text: str, allowance: Allowance | None = None) -> Json:
    """Return the object or list that a text holds as JSON, None if it holds none.

    Args:
        text: the text.
        allowance: what it shares with the other texts of its message, if it does.

    Raises:
        Exhausted: with it, they hold more than is read of one message.
    """
    if text.lstrip()[:1] not in {"[", "{"}:
        return None
    raw = text.encode()
    try:
        if allowance is not None:
            allowance.text(len(raw))
        found = load(raw, largest=len(raw), allowance=allowance)
    except Exhausted:
        if allowance is not None:
            raise
        return None
    except Malformed:
        return None
    return found if isinstance(found, list | dict) else None
