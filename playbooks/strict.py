"""Values that cannot be malformed: strict models, bounded text, canonical bytes, YAML that says where it is wrong."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Hashable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Self, TypeVar

import rfc8785
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError
from typing_extensions import override

from playbooks.errors import Misconfigured
from playbooks.text.redaction import redacted

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
"""A JSON value. Pydantic sees `Any` through `JsonField` where a model carries one."""

JsonField = Any
M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """An immutable value that refuses fields it does not know.

    What validates it is built when it is first needed, for a command needs few of all models; what runs for long builds
    them all when it starts, see `build`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed; what was worked out from the fields is worked out anew."""
        copied = super().model_copy(update=update, deep=deep)
        for name in _worked_out(type(self)):
            copied.__dict__.pop(name, None)
        return copied

    @classmethod
    def as_now(cls, node: yaml.Node) -> yaml.Node:
        """Return a document of an earlier release as it is written now; one that is written so already, as it is.

        Args:
            node: the document. Parts that stay as they are keep their nodes, so that what is wrong is found there.

        Raises:
            yaml.MarkedYAMLError: it cannot be understood, and where.
        """
        return node


@cache
def _worked_out(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the cached properties of a model."""
    return tuple(name for one in model.__mro__ for name, made in vars(one).items() if isinstance(made, cached_property))


def build(*roots: type[BaseModel]) -> None:
    """Build what validates every model that is there: nothing that is in a hurry waits for it later.

    Args:
        roots: whose subclasses, beside those of `Strict`.
    """
    todo: list[type[BaseModel]] = [Strict, *roots]
    while todo:
        model = todo.pop()
        todo += model.__subclasses__()
        if not model.__pydantic_complete__:
            model.model_rebuild()


def _plain(text: str) -> str:
    """Return `text` in NFKC, refusing what is invisible or moves a terminal's cursor."""
    text = unicodedata.normalize("NFKC", text)
    for character in text:
        # Cc: terminal controls; Cf: zero-width and bidi marks; Cs/Co: not text. A name with one of these is a disguise.
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co"}:
            message = f"holds the character U+{ord(character):04X}, which a name may not have"
            raise ValueError(message)
    return text


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        message = "a time needs its zone; write it in UTC, as 2026-01-31T12:00:00Z"
        raise ValueError(message)
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        message = "lies outside the years 1 to 9999"
        raise ValueError(message) from exc


def _at_most(length: int) -> AfterValidator:
    """Measure again after NFKC, which can make a text longer: what is accepted must be accepted when read back."""

    def measure(text: str) -> str:
        if len(text) > length:
            message = f"is longer than {length} characters when its compatibility forms are written out"
            raise ValueError(message)
        return text

    return AfterValidator(measure)


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_plain), _at_most(200)]
"""A name that people read and systems compare: 1 to 200 characters, NFKC, no controls."""

Line = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_plain), _at_most(2000)]
"""One line of prose of our own making or of a trusted file."""

Prose = Annotated[str, StringConstraints(max_length=20_000)]
"""Text that may be hostile. It is shown only through an escaper."""

Redacted = Annotated[Prose, AfterValidator(lambda text: redacted(text, 20_000))]
"""Hostile text that is kept, shown and sent: what is secret or personal in it is masked when the value is made."""

RedactedLine = Annotated[Line, AfterValidator(lambda text: redacted(text, 2000))]
"""One line that may quote something from outside, masked likewise."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,99}$")]
"""An identifier of ours, safe in paths, URLs and shells."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]

Moment = Annotated[datetime, AfterValidator(_utc)]
"""A time with a zone, held in UTC."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def _seconds(value: object) -> object:
    if isinstance(value, str) and value[:-1].replace(".", "", 1).isdigit() and value[-1:] in _UNITS:
        return float(value[:-1]) * _UNITS[value[-1]]
    if isinstance(value, str) and not value.strip().replace(".", "", 1).isdigit():
        raise PydanticCustomError("seconds", "is no length of time: write it as 90s, 15m, 4h, 2d or 1w")
    return value


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?[smhdw]$"}]}),
]
"""A length of time in seconds; files may write 90s, 15m, 4h, 2d."""


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """Return a moment as ISO 8601 in UTC with milliseconds, as 2026-01-31T12:00:00.000Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def canonical(value: object) -> bytes:
    """Return the one byte string that stands for a JSON value (RFC 8785).

    Args:
        value: a JSON value or a pydantic model.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return rfc8785.dumps(value)  # type: ignore[arg-type]  # its own JSON type is not exported


def sha256(data: bytes) -> str:
    """Return the digest of bytes, as `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest(value: object) -> str:
    """Return the digest of a JSON value's canonical bytes."""
    return sha256(canonical(value))


class Fingerprint(NamedTuple):
    """The digest of a JSON value that came from outside.

    Args:
        digest: that of the canonical bytes, where the value has any; else one that no canonical bytes have.
        fault: why it has no canonical bytes, for people; empty if it has.
    """

    digest: Digest
    fault: str


_SAFE: Final = 2**53
"""I-JSON (RFC 7493, 2.2): integers at or beyond this are not exact for everybody who reads them."""

_DEEPEST_JSON: Final = 200
"""Nesting beyond which a value counts as having no canonical form: writers of it recurse."""


def fingerprint(value: object) -> Fingerprint:
    """Return the digest of any value that a JSON parser can make, of hostile text too. It raises nothing.

    Parsers take more than RFC 8785 can write: integers of 2^53 and beyond, NaN, half a surrogate pair, any depth. Such
    a value differs from every approved one, whose bytes are canonical, and is told apart from others like it.

    Args:
        value: dicts, lists, strings, numbers, booleans and None, nested as deep as they come.
    """
    fault = _fault_of(value)
    if not fault:
        try:
            return Fingerprint(digest(value), "")
        except (ValueError, TypeError, RecursionError) as exc:
            fault = f"it has no canonical form ({type(exc).__name__})"
    # No canonical bytes begin like this: those of JSON begin with a bracket, a quote, a digit, a sign or a letter of
    # true, false and null.
    exact = hashlib.sha256(b"#no canonical form#")
    for part in _exactly(value):
        exact.update(part)
    return Fingerprint("sha256:" + exact.hexdigest(), fault)


def _fault_of(value: object) -> str:
    """Return what of a value RFC 8785 cannot write, and where; empty if it can write all of it."""
    todo: list[tuple[object, tuple[str, ...]]] = [(value, ())]
    while todo:
        item, path = todo.pop()
        if len(path) > _DEEPEST_JSON:
            return f"it is nested more than {_DEEPEST_JSON} deep"
        if isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):
                return f"a key is no text{_at(path)}"
            if any(not _encodable(key) for key in item):
                return f"a key holds half a surrogate pair{_at(path)}"
            todo += ((inner, (*path, key)) for key, inner in item.items())
        elif isinstance(item, list | tuple):
            todo += ((inner, (*path, str(number))) for number, inner in enumerate(item))
        elif fault := _fault_of_plain(item):
            return fault + _at(path)
    return ""


def _fault_of_plain(value: object) -> str:
    if isinstance(value, str):
        return "" if _encodable(value) else "it holds half a surrogate pair"
    if isinstance(value, int) and not -_SAFE < value < _SAFE:
        return "an integer is 2^53 or more, which not every reader can tell from its neighbours"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number is not finite"
    return "" if value is None or isinstance(value, int | float) else f"a {type(value).__name__} is no JSON"


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _at(path: tuple[str, ...]) -> str:
    where = ".".join(part.encode("ascii", "backslashreplace").decode()[:40] for part in path[:10])
    return f" (at {where})" if where else ""


def _exactly(value: object) -> Iterator[bytes]:
    """Yield a value as bytes that tell it from every other one: each part by its type and its length, no recursion."""
    todo: list[object] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            pairs = sorted(item.items(), key=lambda pair: str(pair[0]))
            yield b"{%d:" % len(pairs)
            todo += [part for pair in reversed(pairs) for part in (pair[1], pair[0])]
        elif isinstance(item, list | tuple):
            yield b"[%d:" % len(item)
            todo += reversed(item)
        else:
            # hex: decimal digits of a huge integer take time that grows with their square, and Python refuses them.
            text = hex(item) if isinstance(item, int) and not isinstance(item, bool) else str(item)
            data = text.encode("utf-8", "surrogatepass")
            yield b"%s:%d:" % (type(item).__name__.encode(), len(data)) + data


# libyaml, where its binding is built in, reads ten times as fast, and falls over what is nested too deep.
if TYPE_CHECKING:
    Fastest = yaml.SafeLoader
else:
    Fastest = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_DEEPEST: Final = 100
_OPENS: Final = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_CLOSES: Final = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


class _Loader(Fastest):
    """Safe YAML without what surprises a reviewer, as a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  # upstream's signature
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key has to be plain text", key_node.start_mark)
            if key in seen:
                problem = f"the key {key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 reads `on`, `no`, 010 and 1:30 as something else than they say: only true and false are booleans here, only
# decimals are numbers, and times stay text until a model asks for one.
_SURPRISING = {"bool", "timestamp", "int", "float"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag.rpartition(":")[2] not in _SURPRISING]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)\.[0-9]+$"), list("-+0123456789")
)


_Path = tuple[str | int, ...]


def _parts(node: yaml.Node, path: _Path = (), line: int | None = None) -> Iterator[tuple[_Path, yaml.Node, int]]:
    """Yield each part of a document: keys and indexes from the top, the part, and the line that it begins on."""
    yield path, node, node.start_mark.line + 1 if line is None else line
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _parts(value, (*path, key.value), key.start_mark.line + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _parts(value, (*path, index))


def _lines(node: yaml.Node) -> Iterator[tuple[_Path, int]]:
    yield from ((path, line) for path, _, line in _parts(node))


def parse_yaml(model: type[M], text: str, *, file: str, context: Mapping[str, Any] | None = None) -> M:
    """Read a YAML document into a model, refusing duplicate keys, aliases and unknown fields.

    Args:
        model: what the document must be.
        text: the document.
        file: its name, for the error.
        context: what the model's validators go by.

    Raises:
        Misconfigured: with file, line, field and what to write; all faults of the document in one message.
    """
    written, node, data = _composed(text, file, model.as_now if issubclass(model, Strict) else None)
    try:
        return model.model_validate(data, context=context)
    except ValidationError as exc:
        lines, places = {}, {}
        if node is not None and written is not None:
            # People are told a field as they wrote it.
            names = {id(value): path for path, value, _ in _parts(written)}
            lines = {path: line for path, _, line in _parts(node)}
            places = {path: names.get(id(value), path) for path, value, _ in _parts(node)}
        faults = [_fault(error, lines, places) for error in exc.errors(include_url=False)]
        line, field, message = faults[0]
        more = "".join(f"\n  {file}:{n}: {f}: {m}" for n, f, m in faults[1:])
        raise Misconfigured(message + more, file=file, line=line, field=field) from exc


def _composed(
    text: str, file: str, as_now: Callable[[yaml.Node], yaml.Node] | None = None
) -> tuple[yaml.Node | None, yaml.Node | None, Any]:
    """Return a document's node as it is written and as it is now, and what that says."""
    try:
        _refuse_surprises(text)
        loader = _Loader(text)
        try:
            written = loader.get_single_node()
            node = as_now(written) if as_now and written is not None else written
            data = loader.construct_document(node) if node is not None else {}
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise Misconfigured(exc.problem or "is not YAML", file=file, line=mark.line + 1 if mark else None) from exc
    except yaml.YAMLError as exc:
        raise Misconfigured(f"is not YAML: {exc}", file=file) from exc
    return written, node, data


def as_read(model: type[Strict], text: str, *, file: str) -> Any:  # noqa: ANN401  # whatever it says
    """Return what a YAML document says to a model, in the form of today, before it is one.

    Args:
        model: what it is read into later.
        text: the document.
        file: its name, for the error.

    Raises:
        Misconfigured: it is not YAML, gives a key twice, has aliases, or cannot be understood.
    """
    return _composed(text, file, model.as_now)[2]


def yaml_data(text: str, *, file: str) -> Any:  # noqa: ANN401  # whatever it says
    """Return what a YAML document says, read as `parse_yaml` reads it, before any model.

    Args:
        text: the document.
        file: its name, for the error.

    Raises:
        Misconfigured: it is not YAML, or gives a key twice, or has aliases.
    """
    return _composed(text, file)[2]


def _refuse_surprises(text: str) -> None:
    """Refuse aliases, and what is nested deeper than anybody writes by hand, before anything is built of it."""
    depth = 0
    for event in yaml.parse(text, Loader=Fastest):
        depth += isinstance(event, _OPENS) - isinstance(event, _CLOSES)
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases are not allowed: write the value out"
        elif depth > _DEEPEST:
            problem = f"is nested more than {_DEEPEST} deep"
        else:
            continue
        raise yaml.MarkedYAMLError(None, None, problem, event.start_mark)  # type: ignore[arg-type]  # its stub knows one of two


def line_of(text: str, path: tuple[str | int, ...]) -> int | None:
    """Return the line of a YAML document on which a field stands, or the nearest field around it.

    Args:
        text: the document; one that `parse_yaml` read.
        path: keys and indexes from the top, as ("servers", "weather", "regimes", 0).
    """
    node = _Loader(text).get_single_node()
    lines = dict(_lines(node)) if node is not None else {}
    return next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)


def written_at(text: str) -> dict[int, tuple[str | int, ...]]:
    """Return what begins first on each line of a YAML document that `parse_yaml` reads, as keys from the top.

    Args:
        text: the document.
    """
    node = _Loader(text).get_single_node()
    found: dict[int, tuple[str | int, ...]] = {}
    for path, line in _lines(node) if node is not None else ():
        found.setdefault(line, path)
    return found


def _dotted(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _fault(error: Any, lines: Mapping[_Path, int], places: Mapping[_Path, _Path]) -> tuple[int, str, str]:  # noqa: ANN401  # pydantic's ErrorDetails holds Any
    path = tuple(error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    # What a whole document's validator finds begins with the field, as `on_call[0].contact: …`.
    named, colon, rest = message.partition(": ")
    inner = next((p for p in lines if p[: len(path)] == path and p != path and _dotted(p[len(path) :]) == named), None)
    if colon and inner:
        path, message = inner, rest
    line = next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), 1)
    if error["type"] == "extra_forbidden":
        message = "is not a field here; remove it or mend its spelling"
    elif error["type"] == "missing":
        message = "is missing; add it"
    elif not isinstance(error.get("input"), dict | list):
        # Somebody may have written the password itself where a reference to it belongs.
        given = f"{path[-1] if path else ''}={error.get('input')!r}"
        message += f" (it is {error.get('input')!r})" if redacted(given) == given else " (what it is, is not shown)"
    near = next((n for n in range(len(path), -1, -1) if path[:n] in places), 0)
    path = (*places.get(path[:near], ()), *path[near:])
    return line, ".".join(str(part) for part in path) or "document", message
