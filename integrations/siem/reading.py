"""What every format needs: fields read as they come, names that nobody can hide, and a finding that has no class yet.

A field that we do not need is no reason to refuse an alert, nor is the way in which one that we need is written: flat
or nested, one value or a list of it, in any case. What an attacker could have chosen is written out, never refused.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

from annotated_types import MinLen
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from integrations.hostile import own_name, printable
from integrations.siem.decoding import MAX_ALERTS, MAX_BYTES, Malformed, Unreadable, load
from playbooks.estate.standing import GROUNDS
from playbooks.record.incident import AlertState, Claimed, Entity, EntityKind, MarkKind, Severity
from playbooks.strict import Line, Moment, Prose

__all__ = ["MAX_ALERTS", "MAX_BYTES", "Fields", "Malformed", "Reported", "Unreadable", "load", "read"]

MAX_ENTITIES: Final = 100
"""The most things that one alert is about."""

_MAX_EXCERPT: Final = 2000
_MAX_TITLE: Final = 2000
_MAX_LINE: Final = 1000
_MAX_TAGS: Final = 1000

M = TypeVar("M", bound=BaseModel)

Text = Annotated[Line, MinLen(1)]
"""A `Line` that says something: with an empty id all alerts would be one."""


class Reported(BaseModel):
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
        marks: what it says that was found, without repeats.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    external_id: Text
    state: AlertState = AlertState.NEW
    rule: Text
    title: Prose
    severity: Severity
    detected_at: Moment
    tags: tuple[str, ...] = ()
    entities: Annotated[tuple[Entity, ...], Field(max_length=MAX_ENTITIES)] = ()
    excerpt: Prose = ""
    marks: Annotated[tuple[Claimed, ...], Field(max_length=MAX_ENTITIES)] = ()


# Absent values


_FILLERS: Final = frozenset(
    {
        "",
        "<na>",
        "n/a",
        "#n/a",
        "<no value>",
        "<nil>",
        "%!s(<nil>)",
        "null",
        "(null)",
        "<null>",
        "undefined",
        "none",
        "-",
    }
)
_LONGEST_FILLER: Final = max(map(len, _FILLERS))
_OPENS: Final = frozenset("{$<")
# What a template leaves where it found nothing to fill in: Mustache and Jinja, shell and JavaScript.
_UNFILLED: Final = re.compile(r"\{\{[^{}]*\}\}|\{\{\{[^{}]*\}\}\}|\$\{[^{}]*\}|<%[^%]*%>", re.DOTALL)


def absent(value: object) -> bool:
    """Return whether a field says nothing: null, or what a product or a template writes in place of a value.

    Args:
        value: the field's.
    """
    if not isinstance(value, str):
        return value is None or (isinstance(value, list | dict) and not value)
    text = value[: _MAX_LINE + 1].strip()
    if len(text) <= _LONGEST_FILLER and text.casefold() in _FILLERS:
        return True
    return text[:1] in _OPENS and len(text) <= _MAX_LINE and bool(_UNFILLED.fullmatch(text))


def single(value: object) -> object:
    """Return the only element of a list of one, as Elasticsearch writes a scalar; anything else unchanged."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def scalar(value: object) -> str | None:
    """Return a single value as text, None if it is none: an object, a list of several, nothing readable."""
    value = single(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


class Fields:
    """An object of a message, and what is wrong with the fields of it that we need.

    Args:
        document: the object.
        path: where it stands in the message; empty for the message itself.
    """

    def __init__(self, document: Mapping[str, object], path: str = "") -> None:
        self.document = document
        self.path = path
        self._faults: list[tuple[str, str]] = []

    def where(self, key: str) -> str:
        """Return the path of a field in the message."""
        return f"{self.path}.{key}" if self.path else key

    def given(self, key: str) -> object:
        """Return a field as it stands there, written flat, nested or in part each; None if there is none."""
        return _found(self.document, key)

    def value(self, key: str) -> object:
        """Return a field's value, alone or the only one of a list; None if it is absent."""
        value = single(_found(self.document, key))
        return None if absent(value) else value

    def text(self, key: str) -> str:
        """Return a field that we do not need as text, empty if it is none."""
        return scalar(self.value(key)) or ""

    def texts(self, key: str) -> list[str]:
        """Return the texts of a list, or the one text, that are not absent."""
        value = _found(self.document, key)
        return [
            text
            for one in (value if isinstance(value, list) else [value])
            if not absent(one) and (text := scalar(one)) is not None
        ]

    def number(self, key: str) -> int | None:
        """Return a field as a whole number, None if it is none; digits in quotes are a number too."""
        value = self.value(key)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < len("1" * 20):
            return int(value)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def objects(self, key: str) -> Iterator["Fields"]:
        """Yield the objects of a list, or the one object, each with its path."""
        value = _found(self.document, key)
        for index, one in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(one, dict):
                yield Fields(one, f"{self.where(key)}.{index}" if isinstance(value, list) else self.where(key))

    def inner(self, key: str) -> "Fields":
        """Return the object in a field, an empty one if there is none."""
        return next(self.objects(key), Fields({}, self.where(key)))

    def needed(self, key: str) -> str:
        """Return a field that we need as text; what is wrong with it is raised by `settle`."""
        value = single(_found(self.document, key))
        text = scalar(value)
        if isinstance(value, Unreadable):
            self.fault(key, value.why)
        elif absent(value):
            self.fault(key, "is empty" if value == "" else "is missing" if value is None else "holds no value")
        elif text is None:
            self.fault(key, "must be one text")
        return text or ""

    def word(self, key: str, words: Mapping[str, Any]) -> Any:  # noqa: ANN401  # what the words mean
        """Return what a word that we need means, in any case; what is wrong with it is raised by `settle`."""
        value = single(_found(self.document, key))
        meaning = words.get(value.strip().casefold()) if isinstance(value, str) else None
        if meaning is None:
            missing = value is None
            self.fault(key, "is missing" if missing else f"must be one of {', '.join(words)}")
        return meaning

    def fault(self, key: str, message: str) -> None:
        """Note what is wrong with a field."""
        self._faults.append((self.where(key), message))

    def settle(self) -> None:
        """Refuse the object if a field that we need is not what it must be.

        Raises:
            Malformed: names every fault.
        """
        if self._faults:
            raise Malformed(*self._faults[0], more=self._faults[1:])


def _found(document: Mapping[str, object], key: str) -> object:
    if key in document:
        return document[key]
    head, dot, rest = key.partition(".")
    while dot:
        inner = document.get(head)
        if isinstance(inner, list) and len(inner) == 1:
            inner = inner[0]
        if isinstance(inner, dict) and (value := _found(inner, rest)) is not None:
            return value
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


# Models


def read(model: type[M], value: object, path: str = "") -> M:
    """Return a value as a model.

    Args:
        model: what it must be.
        value: a decoded JSON value.
        path: where the value stands in the message, for the error.

    Raises:
        Malformed: every fault of the value, each by its path, in words of ours.
    """
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        faults = [
            (".".join(filter(None, (path, *map(str, error["loc"])))) or "body", _message(error))
            for error in exc.errors(include_url=False)
        ]
        raise Malformed(*faults[0], more=faults[1:]) from None


_SAID: Final = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this format",
    "string_type": "must be text",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    "too_long": "has more than {max_length} entries",
    "too_short": "has fewer than {min_length} entries",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
}


def _message(error: ErrorDetails) -> str:
    """Return what is wrong with a value, without the value: an error goes over the wire and into a log.

    Neither does it name a class of ours, as pydantic's own messages do.
    """
    if isinstance(error.get("input"), Unreadable):
        return str(error["input"].why)
    if error["type"] in {"value_error", "assertion_error"}:
        return str(error["msg"]).removeprefix("Value error, ")
    return _SAID.get(error["type"], "is not what this format says").format_map(error.get("ctx", {}))


# Texts


def clean(text: str) -> str:
    """Return hostile text without controls (but line feeds and tabs) and halves of characters."""
    if text.isascii() and text.isprintable():
        return text
    # PostgreSQL cannot store NUL in text at all.
    return "".join("\N{REPLACEMENT CHARACTER}" if _unfit(character) else character for character in text)


def _unfit(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in {"Cc", "Cs"}


def excerpt(text: str, *more: str) -> str:
    """Return the beginning of hostile free text, for people.

    Args:
        text: the text.
        more: what we add to it; never cut.
    """
    room = _MAX_EXCERPT - sum(len(note) + 1 for note in more)
    text = clean(text[: room + 1])
    return "\n".join(filter(None, (text if len(text) <= room else text[: room - 1] + "…", *more)))


def title(text: str) -> str:
    """Return the beginning of hostile text as a title."""
    text = clean(text[: _MAX_TITLE + 1])
    return text if len(text) <= _MAX_TITLE else text[: _MAX_TITLE - 1] + "…"


def written(text: str) -> str:
    r"""Return a rule's name on one line, what does not show in it written out, as `\u{a}` for a line break."""
    return _shown(text, _MAX_LINE)


def _shown(text: str, limit: int) -> str:
    # Most of it is ASCII that shows, and taking it apart takes long.
    return text if len(text) <= limit and text.isascii() and text.isprintable() else printable(text, limit)


def identity(text: str) -> str:
    """Return an id as `written`; what is too long of it is replaced by its digest, so that two stay two."""
    if len(text) <= _MAX_LINE // 4:
        return _shown(text, _MAX_LINE * 2)
    return f"{printable(text, _MAX_LINE // 4)} sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def tags(texts: Iterable[str]) -> tuple[str, ...]:
    """Return labels as `written`, without what is absent."""
    found = dict.fromkeys(_shown(text, 200) for text in texts if not absent(text))
    return tuple(found)[:_MAX_TAGS]


# Entities


def entity(kind: EntityKind, name: object, path: str, *, server: object = None) -> Entity:
    """Return an alert's claim about one thing.

    The one under attack chose the name. If hidden characters or its length could make us refuse the alert, an attacker
    would only have to name a tool so: such a name is written out and cut instead, as it is where the inventory has it.

    Args:
        kind: what it is.
        name: what the alert calls it.
        path: the field that says so, for the error.
        server: the server that it belongs to, as the alert calls it.

    Raises:
        Malformed: the name is no single text.
    """
    if isinstance(name, Unreadable):
        raise Malformed(path, name.why)
    text, home = scalar(name), scalar(server)
    if not text:
        raise Malformed(path, "must be one text")
    try:
        return Entity(kind=kind, name=text, server=home or None)
    except ValidationError:
        return Entity(kind=kind, name=_legible(text), server=_legible(home) if home else None)


def _legible(name: str) -> str:
    try:
        return Entity(kind=EntityKind.SERVER, name=name).name
    except ValidationError:
        # As the pins and the gateway's objects of that name are called.
        return own_name(name)


_OF_A_SERVER = (EntityKind.TOOL, EntityKind.PROMPT, EntityKind.RESOURCE)


def claims(fields: Mapping[str, object], prefix: str, path: str = "") -> list[Entity]:
    """Return the entities of a flat mapping whose keys are a prefix and a kind, as `mcp.tool`.

    Args:
        fields: a mapping of the alert; other keys are ignored, and so is what is `absent`.
        prefix: what precedes the kind in a key, in any case.
        path: where the mapping stands in the message, for errors.

    Raises:
        Malformed: a value is no text and no list of texts.
    """
    folded: dict[str, tuple[str, object]] = {}
    for key, value in fields.items():
        if key[: len(prefix)].casefold() == prefix:
            # As it should be written goes before another spelling.
            folded |= {key.casefold(): (key, value)} if key.casefold() not in folded or key.islower() else {}
    found: list[Entity] = []
    servers: list[str] = []
    # The servers first: the others name theirs.
    for kind in (EntityKind.SERVER, *(kind for kind in EntityKind if kind is not EntityKind.SERVER)):
        key, value = folded.get(f"{prefix}{kind}", ("", None))
        for one in value if isinstance(value, list) else [value]:
            if absent(one):
                continue
            home = servers[0] if kind in _OF_A_SERVER and len(servers) == 1 else None
            found.append(entity(kind, one, f"{path}.{key}" if path else key, server=home))
            servers += [found[-1].name] if kind is EntityKind.SERVER else []
    return found


def beside(kind: EntityKind, values: Iterable[object]) -> list[Entity]:
    """Return what an alert names in fields that are not needed: what is no text there is passed over."""
    return [entity(kind, text, "") for one in values if not absent(one) and (text := scalar(one))]


def workloads(namespace: object, names: Iterable[object]) -> list[Entity]:
    """Return workloads that an alert names beside: with their namespace, where it says that."""
    home = "" if absent(namespace) else scalar(namespace) or ""
    texts = (scalar(one) for one in names if not absent(one))
    return beside(EntityKind.WORKLOAD, (f"{home}/{text}" if home else text for text in texts if text))


def image(name: object, tag: object = None, digest: object = None) -> list[Entity]:
    """Return an image that an alert names beside, as precisely as it does."""
    known = {mark: text for mark, one in ((":", tag), ("@", digest)) if not absent(one) and (text := scalar(one))}
    if absent(name) or (text := scalar(name)) is None:
        return []
    # Some products write the tag, or the digest, into the name too.
    more = "".join(f"{mark}{one}" for mark, one in known.items() if mark not in text.rpartition("/")[2])
    return beside(EntityKind.IMAGE, [f"{text}{more}"])


def marked(kind: MarkKind, values: Iterable[object]) -> list[Claimed]:
    """Return what an alert says was found, in fields that are not needed: what is no text there is passed over."""
    texts = (clean(text[:_MAX_EXCERPT]) for one in values if not absent(one) and (text := scalar(one)))
    return [Claimed(kind=kind, value=text) for text in texts if text.strip()]


def distinct(entities: Iterable[Entity]) -> tuple[Entity, ...]:
    """Return entities in their order, each once, those that can be contained first where there are too many."""
    found = list(dict.fromkeys(entities))
    if len(found) > MAX_ENTITIES:
        found.sort(key=lambda one: one.kind in GROUNDS)
    return tuple(found[:MAX_ENTITIES])


def left_out(entities: Sequence[Entity]) -> tuple[str, ...]:
    """Return what to say of entities beyond those that one alert can be about."""
    more = len(set(entities)) - MAX_ENTITIES
    return (f"[{more} more things that this alert names are in its raw message]",) if more > 0 else ()
