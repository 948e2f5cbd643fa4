"""What transports put around alerts, opened: an array, a cloud's event, a search's hits, a text that holds JSON."""

from collections.abc import Callable, Iterator
from typing import Final

from integrations.siem.decoding import MAX_ALERTS, Malformed, load
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
        Malformed: it holds none, or too many.
    """
    found = _inside(document, path, ours, 0)
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
_Ours = Callable[[dict[str, Json]], bool]


def _inside(value: Json, path: str, ours: _Ours, depth: int) -> _Found:
    """Return the alerts in a value, None if it holds none that can be recognised."""
    if isinstance(value, str):
        value = opened(value)
    if depth > _DEEPEST:
        return None
    if isinstance(value, list):
        return _among(value, path, ours, depth + 1)
    if isinstance(value, dict):
        return [(path, value)] if ours(value) else _around(value, path, ours, depth + 1)
    return None


def _among(values: list[Json], path: str, ours: _Ours, depth: int) -> _Found:
    # One that is none stays in its place, to be named; a list of none is no list of alerts.
    listed = _listed(values, path) if values else ()
    inside = [(where, one, _inside(one, where, ours, depth)) for where, one in listed]
    if not any(found for _, _, found in inside):
        return None
    return [pair for where, one, found in inside for pair in (found or [(where, one)])]


def _around(value: dict[str, Json], path: str, ours: _Ours, depth: int) -> _Found:
    for keys in _AROUND:
        inner: Json = value
        for key in keys:
            inner = inner.get(key) if isinstance(inner, dict) else None
        where = ".".join(filter(None, (path, *keys)))
        if inner is not None and (found := _inside(inner, where, ours, depth)) is not None:
            return found
    return None


def opened(text: str) -> Json:
    """Return the object or list that a text holds as JSON, None if it holds none.

    Args:
        text: the text.
    """
    if text.lstrip()[:1] not in {"[", "{"}:
        return None
    try:
        found = load(text.encode(), largest=len(text.encode()))
    except Malformed:
        return None
    return found if isinstance(found, list | dict) else None
