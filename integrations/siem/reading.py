"""What every format needs: strict JSON, one error that names the field, and a finding that has no class yet."""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from annotated_types import MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from integrations.hostile import printable
from playbooks.errors import SoarError
from playbooks.incident import AlertState, Entity, EntityKind, Severity
from playbooks.strict import Json, Line, Moment, Name, Prose

MAX_BYTES = 1024 * 1024
"""The largest message that is read."""

MAX_ALERTS = 100
"""The most alerts that one message may hold."""

_MAX_DEPTH = 32
_MAX_VALUES = 20_000
_MAX_DIGITS = 1000
_MAX_FAULTS = 20
_MAX_PATH = 200
_MAX_EXCERPT = 2000
_YEARS = range(1970, 9999)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

M = TypeVar("M", bound=BaseModel)


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
        self.faults = tuple((clean(path).replace("\n", " ")[:_MAX_PATH] or "body", text) for path, text in faults)
        self.field, self.message = self.faults[0]
        super().__init__(f"{self.field}: {self.message}")


# Year to second and a zone, all of it: pydantic would also take a bare number and guess its unit.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,12})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _instant(value: object) -> datetime:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be a time as RFC 3339 writes it, as 2026-01-31T12:00:00Z")
    moment = datetime.fromisoformat(value.upper())
    # Outside these years a zone could push it out of what a datetime can hold.
    if moment.year not in _YEARS:
        raise ValueError("must be a time between 1970 and 9998")
    return moment


def _epoch(value: object) -> datetime:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number of milliseconds since 1970")  # noqa: TRY004  # pydantic wants it
    try:
        moment = _EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        moment = None
    if moment is None or moment.year not in _YEARS:
        raise ValueError("must be a time between 1970 and 9998, in milliseconds since 1970")
    return moment


Text = Annotated[Line, MinLen(1)]
"""A `Line` that says something: with an empty id all alerts would be one."""

Instant = Annotated[Moment, BeforeValidator(_instant)]
"""A moment written as RFC 3339 has it, with any precision."""

Epoch = Annotated[Moment, BeforeValidator(_epoch)]
"""A moment in milliseconds since 1970 (OCSF's `timestamp_t`)."""


class Vendor(BaseModel):
    """What we use of somebody else's format: unknown fields are ignored, ours are checked without coercion."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Finding(BaseModel):
    """An alert before its source's configuration has said which class it is.

    Args:
        external_id: the source's own id of the thing that it reports.
        state: new, updated or resolved.
        rule: the detection's name.
        title: one line for people; hostile.
        severity: on our scale.
        detected_at: when the source says that it saw it.
        tags: the detection's labels, for `classify`.
        entities: what it names, without repeats.
        excerpt: a short hostile text for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    external_id: Text
    state: AlertState = AlertState.NEW
    rule: Text
    title: Prose
    severity: Severity
    detected_at: Moment
    tags: tuple[str, ...] = ()
    entities: Annotated[tuple[Entity, ...], Field(max_length=100)] = ()
    excerpt: Prose = ""


def load(raw: bytes) -> Json:
    """Return the one JSON value that bytes hold, read so that no two readers could differ about it.

    Refused are duplicate keys, NaN and infinities (RFC 8259 leaves both to the reader), text that is not Unicode,
    and what is too large, deep or numerous to be an alert.

    Args:
        raw: the message as it came, UTF-8.

    Raises:
        Malformed: it is not such a value.
    """
    if len(raw) > MAX_BYTES:
        raise Malformed("body", f"is larger than {MAX_BYTES} bytes")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except UnicodeDecodeError as exc:
        raise Malformed("body", "is not UTF-8") from exc
    except json.JSONDecodeError as exc:
        raise Malformed("body", f"is not JSON (line {exc.lineno}, column {exc.colno}: {exc.msg})") from exc
    except RecursionError as exc:
        raise Malformed("body", f"is nested deeper than {_MAX_DEPTH} levels") from exc
    _bound(value)
    return value  # type: ignore[no-any-return]  # json.loads returns Any


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add returns None
        raise Malformed(repeated, "is given twice")
    return found


def _constant(name: str) -> float:
    raise Malformed("body", f"holds {name}, which JSON does not have")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Malformed("body", "holds a number too large for a double")
    return number


def _int(text: str) -> int:
    # Reading decimal digits takes quadratic time; Python's own limit is a ValueError that is not about JSON.
    if len(text) > _MAX_DIGITS:
        raise Malformed("body", f"holds a number of more than {_MAX_DIGITS} digits")
    return int(text)


def _bound(value: Json) -> None:
    level: list[Json] = [value]
    count = 0
    for _ in range(_MAX_DEPTH):
        below: list[Json] = []
        count += len(level)
        if count > _MAX_VALUES:
            raise Malformed("body", f"holds more than {_MAX_VALUES} values")
        for one in level:
            if isinstance(one, dict):
                below.extend(one)
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
            elif isinstance(one, str) and not one.isascii():
                _unicode(one)
        if not below:
            return
        level = below
    raise Malformed("body", f"is nested deeper than {_MAX_DEPTH} levels")


def _unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        # JSON can escape half a surrogate pair; no journal could store it.
        raise Malformed("body", "holds an unpaired surrogate") from exc


def read(model: type[M], value: object, path: str = "") -> M:
    """Return a value as a model.

    Args:
        model: what it must be.
        value: a decoded JSON value.
        path: where the value stands in the message, for the error.

    Raises:
        Malformed: every fault of the value, each by its path.
    """
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        # Neither the value nor pydantic's context: an error goes back over the wire and into a log.
        faults = [
            (".".join(filter(None, (path, *map(str, error["loc"])))) or "body", _message(error["type"], error["msg"]))
            for error in exc.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Malformed(*faults[0], more=faults[1:]) from None


def _message(kind: str, message: str) -> str:
    return {"missing": "is missing", "extra_forbidden": "is not a field of this format"}.get(
        kind, message.removeprefix("Value error, ")
    )


def each(document: Json, path: str) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yield the objects of a list, each with its path.

    Args:
        document: the list.
        path: where it stands in the message; empty for the message itself.

    Raises:
        Malformed: it is not a list of objects, or is empty or too long.
    """
    if not isinstance(document, list) or not 0 < len(document) <= MAX_ALERTS:
        raise Malformed(path or "body", f"must be a list of 1 to {MAX_ALERTS} alerts")
    for index, one in enumerate(document):
        where = f"{path}.{index}" if path else str(index)
        if not isinstance(one, dict):
            raise Malformed(where, "must be an object")
        yield where, one


def clean(text: str) -> str:
    """Return hostile text without controls (but line feeds and tabs) and halves of characters."""
    if text.isascii() and text.isprintable():
        return text
    # PostgreSQL cannot store NUL in text at all.
    return "".join("\N{REPLACEMENT CHARACTER}" if _unfit(character) else character for character in text)


def _unfit(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in {"Cc", "Cs"}


def excerpt(text: str) -> str:
    """Return the beginning of hostile free text, for people."""
    text = clean(text[: _MAX_EXCERPT + 1])
    return text if len(text) <= _MAX_EXCERPT else text[: _MAX_EXCERPT - 1] + "…"


def entity(kind: EntityKind, name: object, path: str, *, server: object = None) -> Entity:
    """Return an alert's claim about one thing.

    The one under attack chose the name. If hidden characters or its length could make us refuse the alert, an attacker
    would only have to name a tool so: such a name is written out and cut instead, and resolves to nothing.

    Args:
        kind: what it is.
        name: what the alert calls it.
        path: the field that says so, for the error.
        server: the server that it belongs to, as the alert calls it.

    Raises:
        Malformed: the name is no text, or empty.
    """
    try:
        return Entity.model_validate({"kind": kind, "name": _legible(name), "server": _legible(server)})
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        raise Malformed(path, _message(error["type"], error["msg"])) from None


_NAME: TypeAdapter[str] = TypeAdapter(Name)


def _legible(name: object) -> object:
    if not isinstance(name, str):
        return name
    try:
        return _NAME.validate_python(name)
    except ValidationError:
        # NFKC writes the ellipsis as three dots.
        return printable(name, 190)


_OF_A_SERVER = (EntityKind.TOOL, EntityKind.PROMPT, EntityKind.RESOURCE)


def claims(fields: Mapping[str, object], prefix: str, path: str = "") -> list[Entity]:
    """Return the entities of a flat mapping whose keys are a prefix and a kind, as `mcp.tool`.

    Args:
        fields: a mapping of the alert; other keys are ignored, and so are null, "" and Falco's `<NA>`.
        prefix: what precedes the kind in a key.
        path: where the mapping stands in the message, for errors.

    Raises:
        Malformed: a value is not text, or breaks a limit.
    """
    found: list[Entity] = []
    server = None
    # The server first: the others name it.
    for kind in (EntityKind.SERVER, *(kind for kind in EntityKind if kind is not EntityKind.SERVER)):
        key = f"{prefix}{kind}"
        value = single(fields.get(key))
        if absent(value):
            continue
        of = server if kind in _OF_A_SERVER else None
        found.append(entity(kind, value, f"{path}.{key}" if path else key, server=of))
        if kind is EntityKind.SERVER:
            server = found[-1].name
    return found


def single(value: object) -> object:
    """Return the only element of a list of one, as Elasticsearch writes a scalar; anything else unchanged."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def absent(value: object) -> bool:
    """Return whether a vendor's field says nothing."""
    return value is None or (isinstance(value, str) and value in {"", "<NA>"})


def distinct(entities: Iterable[Entity]) -> tuple[Entity, ...]:
    """Return entities in their order, each once."""
    return tuple(dict.fromkeys(entities))
