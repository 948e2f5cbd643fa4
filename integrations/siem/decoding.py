"""JSON from outside, read in a bounded time and memory; what nobody needs of it is no reason to refuse the rest.

An attacker often chooses a part of an alert: the bytes of a file's name, how deep a tool's schema is nested. So what
readers could disagree about, or what has no meaning, is kept as `Unreadable` in its place: asked for, it is a fault of
that field; not asked for, it is nothing.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final, cast

from playbooks.errors import SoarError
from playbooks.strict import Json
from playbooks.text.escaping import printable

MAX_BYTES: Final = 1024 * 1024
"""The largest message that is read, where its format says nothing else."""

MAX_ALERTS: Final = 100
"""The most alerts that one message may hold: as many as Kibana sends in one by default."""

_MAX_DEPTH: Final = 32
_MAX_VALUES: Final = 200_000
_MAX_TEXT: Final = 8 * MAX_BYTES
_MAX_DIGITS: Final = 1000
_MAX_FAULTS: Final = 20
_MAX_PATH: Final = 200
_BOM: Final = "\ufeff"
# A string, closed or not, or what opens and closes a level; never twice over the same bytes.
_LEVELS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)|[\[\]{}]', re.DOTALL)
# What a template in Mustache leaves where it was written with two braces: https://www.elastic.co/docs (rule actions).
_TWO_BRACES: Final = ("[object Object]", "&quot;", "{{")


class Malformed(SoarError):
    """A message is not what its source's format says. Sending it again unchanged will not help.

    Args:
        field: dotted path of the first field that is wrong; `body` when the message as a whole is.
        message: what is wrong with it, without its value.
        more: further faults of the same message.
    """

    def __init__(self, field: str, message: str, *, more: Sequence[tuple[str, str]] = ()) -> None:
        # A path may hold keys of the sender's choice: shown short and without anything that acts on a terminal.
        faults = ((field, message), *more)[:_MAX_FAULTS]
        self.faults = tuple((printable(path, _MAX_PATH) or "body", text) for path, text in faults)
        self.field, self.message = self.faults[0]
        super().__init__(f"{self.field}: {self.message}")


class Exhausted(Malformed):
    """A message holds more, with what is in its texts, than is read of one."""


class Allowance:
    """What may still be read of one message: all its texts that hold JSON share it."""

    def __init__(self) -> None:
        self._values = _MAX_VALUES
        self._bytes = _MAX_TEXT

    def values(self, number: int) -> None:
        """Take values off.

        Raises:
            Exhausted: there are not as many left.
        """
        self._values -= number
        if self._values < 0:
            raise Exhausted("body", f"holds more than {_MAX_VALUES} values, with those in its texts")

    def text(self, size: int) -> None:
        """Take a text's bytes off, before it is decoded.

        Raises:
            Exhausted: there are not as many left.
        """
        self._bytes -= size
        if self._bytes < 0:
            raise Exhausted("body", f"holds more than {_MAX_TEXT} bytes of JSON in texts")


class Unreadable:
    """Stands where a value was that means nothing certain.

    Args:
        why: what is wrong with it, as the end of a sentence about it.
    """

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


def load(raw: bytes, *, largest: int = MAX_BYTES, allowance: Allowance | None = None) -> Json:
    """Return the JSON value that bytes hold, or a list of those that stand on a line each.

    Bytes that are no UTF-8, and halves of characters, become U+FFFD. A key that is given twice, NaN, numbers that are
    too large, and what is nested too deep are `Unreadable` in their places.

    Args:
        raw: the message as it came.
        largest: bytes that it may have.
        allowance: what it shares with other texts of its message; its own if none is given.

    Raises:
        Malformed: it is no JSON, or larger or more numerous than an alert can be; `Exhausted` where values are.
    """
    if len(raw) > largest:
        raise Malformed("body", f"is larger than {largest} bytes")
    text = raw.decode("utf-8", "replace").removeprefix(_BOM)
    value = _decoded(text)
    return _bounded(value, allowance or Allowance())


def _decoded(text: str) -> Any:  # noqa: ANN401  # what json.loads returns
    try:
        return _one(text)
    except json.JSONDecodeError as exc:
        if exc.msg != "Extra data":
            raise Malformed("body", _no_json(text, exc)) from exc
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > MAX_ALERTS:
        raise Malformed("body", f"holds {len(lines)} lines; a message may hold {MAX_ALERTS} events, better one")
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(_one(line))
        except json.JSONDecodeError as exc:
            raise Malformed(
                "body",
                f"holds more than one JSON value, and not one on each line (line {number}): one event per message",
            ) from exc
    return values


def _one(text: str) -> Any:  # noqa: ANN401  # what json.loads returns
    def read(text: str) -> Any:  # noqa: ANN401  # see above
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int)

    try:
        return read(text)
    except RecursionError:
        return read(_shallow(text))


def _no_json(text: str, exc: json.JSONDecodeError) -> str:
    said = f"is not JSON (line {exc.lineno}, column {exc.colno}: {exc.msg})"
    if any(left in text for left in _TWO_BRACES):
        said += "; in a template of Kibana's, write three braces, as {{{context.alerts}}}"
    return said


def _shallow(text: str) -> str:
    """Return JSON with null in place of what is nested deeper than anything that is read."""
    kept: list[str] = []
    depth = start = 0
    for found in _LEVELS.finditer(text):
        token = found.group()
        if token in {"[", "{"}:
            depth += 1
            if depth == _MAX_DEPTH + 1:
                kept += [text[start : found.start()], "null"]
        elif token in {"]", "}"}:
            if depth == _MAX_DEPTH + 1:
                start = found.end()
            depth -= 1
    if depth <= _MAX_DEPTH:
        kept.append(text[start:])
    return "".join(kept)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                # RFC 8259 leaves it to the reader which one counts.
                found[key] = Unreadable("is given twice")
            seen.add(key)
    return found


def _constant(name: str) -> Unreadable:
    return Unreadable(f"is {name}, which JSON does not have")


def _float(text: str) -> float | Unreadable:
    number = float(text)
    return number if math.isfinite(number) else Unreadable("is a number too large for a double")


def _int(text: str) -> int | Unreadable:
    # Reading decimal digits takes quadratic time.
    return int(text) if len(text) <= _MAX_DIGITS else Unreadable(f"is a number of more than {_MAX_DIGITS} digits")


def _bounded(value: Any, allowance: Allowance) -> Json:  # noqa: ANN401  # what json.loads returned
    """Return a value in which nothing is nested too deep and every text is Unicode; changes it in place."""
    root = [value]
    level: list[Any] = [root]
    for depth in range(_MAX_DEPTH + 1):
        below: list[Any] = []
        for container in level:
            allowance.values(len(container))
            _mend_keys(container)
            for key, one in container.items() if isinstance(container, dict) else enumerate(container):
                if isinstance(one, str):
                    if not one.isascii() and (whole := _whole(one)) is not one:
                        container[key] = whole
                elif isinstance(one, dict | list):
                    if depth == _MAX_DEPTH:
                        container[key] = Unreadable(f"is nested deeper than {_MAX_DEPTH} levels")
                    else:
                        below.append(one)
        level = below
    return cast("Json", root[0])


def _mend_keys(container: Any) -> None:  # noqa: ANN401  # dict or list
    if isinstance(container, dict) and any(not key.isascii() and _whole(key) is not key for key in container):
        pairs = list(container.items())
        container.clear()
        for key, one in pairs:
            container.setdefault(_whole(key), one)


def _whole(text: str) -> str:
    """Return text without halves of characters, which JSON can escape and no journal can store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= one <= "\udfff" else one for one in text)
    return text
