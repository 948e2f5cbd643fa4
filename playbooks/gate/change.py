"""What a change to a definition brings in: a difference of sets, so that text which only moved brings in nothing.

A definition is taken apart into what acts: where it sends something, what it asks a caller for, which other tools it
speaks of, what it claims of itself, and what the screening finds in it. What the present one has of that and the
approved one has not is introduced. A change that introduces nothing only describes. Pure.
"""

import html
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from playbooks.screening.screen import poisoned, screen
from playbooks.text.escaping import hidden, printable

MOST_CHARACTERS: Final = 200_000
"""Characters of one definition that are looked through; that there are more is introduced as well."""

MOST_VALUES: Final = 50_000
"""Values of one definition that are looked through, likewise."""

_ENDS: Final = re.compile(r"(?<=[.!?])\s+|\n+|(?<=[。！？])")  # noqa: RUF001  # those of other scripts
"""Where a sentence ends."""

_SHOWN: Final = 200
_NAMED: Final = 20


class Brought(StrEnum):
    """What a change can bring in; what the screening finds has kinds of its own beside these."""

    NEW = "new"
    DESTINATION = "destination"
    PARAMETER = "parameter"
    ANNOTATION = "annotation"
    OTHER_TOOL = "other tool"
    UNREAD = "unread"


class Introduction(NamedTuple):
    """One thing that was not there before.

    Args:
        kind: what it is: one of `Brought`, or one of the screening's.
        what: it itself, in one form however it was written. Hostile.
        screened: the screening found it.
    """

    kind: str
    what: str
    screened: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {printable(self.what, _SHOWN)}"


def introduced(
    before: Mapping[str, object] | None, after: Mapping[str, object], *, others: Collection[str] = ()
) -> tuple[Introduction, ...]:
    """Return what a change brings in, sorted; nothing if it only takes away, moves or describes.

    Args:
        before: the approved definition; None if nothing was approved under that name.
        after: the present one.
        others: the names of the tools that there are beside it.
    """
    news = parts(after, others=others) | _screened(before, after)
    if before is None:
        news.add(Introduction(Brought.NEW, str(after.get("name") or after.get("uri") or "")))
        return tuple(sorted(news))
    return tuple(sorted(news - parts(before, others=others)))


def _screened(before: Mapping[str, object] | None, after: Mapping[str, object]) -> set[Introduction]:
    """Return what the screening finds in the present definition and not in the approved one, if that suffices.

    Honest definitions hit a weak rule now and then: those count together only, as everywhere.
    """
    hits = screen(after)
    if hits and before is not None:
        known = {(hit.rule, hit.excerpt.casefold()) for hit in screen(before)}
        hits = tuple(hit for hit in hits if (hit.rule, hit.excerpt.casefold()) not in known)
    if not poisoned(hits):
        return set()
    return {Introduction(hit.kind.replace("_", " "), hit.excerpt, screened=True) for hit in hits}


def parts(definition: Mapping[str, object], *, others: Collection[str] = ()) -> set[Introduction]:
    """Return everything in a definition that acts, beside what the screening finds.

    Args:
        definition: a tool, prompt, resource or `{"instructions": …}`, as JSON has it.
        others: the names of the tools that there are beside it.
    """
    found = {Introduction(Brought.PARAMETER, what) for what in _parameters(definition)}
    found |= {Introduction(Brought.ANNOTATION, what) for what in _annotations(definition)}
    names = {other.casefold(): other for other in others} if others else {}
    own = str(definition.get("name") or "").casefold()
    left = MOST_CHARACTERS
    for count, text in enumerate(_texts(definition)):
        if count >= MOST_VALUES or len(text) > left:
            found.add(Introduction(Brought.UNREAD, "it is too long to be looked through"))
            break
        left -= len(text)
        plain = _plain(text)
        found |= {Introduction(Brought.DESTINATION, what) for what in _destinations(plain)}
        if names:
            found |= {Introduction(Brought.OTHER_TOOL, names[one]) for one in _mentioned(plain, names.keys() - {own})}
    return found


def summary(found: Collection[Introduction]) -> str:
    """Return what is introduced in one line for people; hostile, and shown through an escaper."""
    shown = "; ".join(str(one) for one in list(found)[:_NAMED])
    return shown + (f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else "")


def sentences(before: Mapping[str, object] | None, after: Mapping[str, object]) -> tuple[str, ...]:
    """Return the sentences of a definition that the approved one has nowhere, as a model reads them; hostile.

    Args:
        before: the approved definition; None if there is none.
        after: the present one.
    """
    known = {one.casefold() for one in _sentences(before)} if before is not None else set()
    return tuple(dict.fromkeys(one for one in _sentences(after) if one.casefold() not in known))


def _sentences(definition: Mapping[str, object]) -> Iterator[str]:
    room = MOST_CHARACTERS
    for text in _texts(definition):
        for one in _ENDS.split(_plain(text[:room])):
            if said := " ".join(one.split()):
                yield said
        room -= len(text)
        if room <= 0:
            return


def _texts(definition: Mapping[str, object]) -> Iterator[str]:
    # Not recursive: what is nested a thousand deep is read like everything else.
    waiting: list[object] = list(definition.values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            # Keys are texts that a server chose as well.
            yield from map(str, value)
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value


def _plain(text: str) -> str:
    """Return a text as a model reads it: entities resolved, compatibility forms and what is invisible undone."""
    text = unicodedata.normalize("NFKC", html.unescape(text))
    if not text.isascii() or not text.isprintable():
        text = "".join(character for character in text if character in "\n\r\t" or not hidden(character))
    return _DEFANGED.sub(".", text)


_DEFANGED = re.compile(r"[\[({]\s?(?:\.|dot)\s?[\])}]", re.IGNORECASE)
_URL = re.compile(r"(?<![a-z0-9+.-])([a-z][a-z0-9+.-]{0,20}:)?//([^\s<>\"'`|\\^]{2,2000})", re.IGNORECASE)
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,10}(?![\w-])")
_HOST = re.compile(
    r"(?<![\w@./-])((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,10})([^\W\d_]{2,24}|xn--[a-z0-9-]{1,50})(?![\w-])([:/][^\s<>\"'`]{1,500})?"
)
_ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w.])")
_TRAILING = ".,;:!?)]}'\"*_"
# Bare names are everywhere in technical prose (`response.data`, `README.md`): under these they are names of hosts.
_DOMAINS = re.compile(
    r"(?:com|net|org|edu|gov|mil|int|info|biz|name|pro|io|dev|app|ai|co|me|tv|cc|ws|xyz|top|site|online|store"
    r"|shop|club|live|link|click|cloud|tech|page|web|space|host|website|fun|icu|vip|work|today|world|zone"
    r"|network|systems|services|digital|example|test|invalid|local|localhost|internal|lan|home|onion|arpa"
    r"|eu|us|uk|de|fr|es|it|nl|be|ch|at|pl|se|no|fi|dk|cz|ro|gr|pt|ie|ru|ua|by|kz|cn|hk|tw|jp|kr|in|sg|my"
    r"|id|th|vn|ph|au|nz|ca|mx|br|ar|cl|pe|za|ng|ke|eg|il|tr|ir|sa|ae|pk|su|tk|ml|ga|cf|gq|pw|to|ly|gg|sh"
    r"|is|im|am|fm"
    r"|xn--.*)",
    re.IGNORECASE,
)


def _destinations(text: str) -> Iterator[str]:
    """Yield the places that a text names, each in one form."""
    for scheme, rest in _URL.findall(text):
        place = rest.rstrip(_TRAILING).partition("#")[0]
        host, slash, path = place.partition("/")
        if host:
            # Not only the host: a place of a stranger's at an approved host is another place.
            yield f"{scheme.lower()}//{host.lower()}{slash}{path}".rstrip("/")
    for mail in _MAIL.findall(text):
        yield mail.lower()
    for stem, top, path in _HOST.findall(text):
        if path or _DOMAINS.fullmatch(top):
            yield f"{stem}{top}".lower() + path.rstrip(_TRAILING).rstrip("/")
    yield from _ADDRESS.findall(text)


_NAMED_BY_CALLERS: Final = ("properties", "patternProperties")
_SCHEMAS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def _parameters(definition: Mapping[str, object]) -> Iterator[str]:
    """Yield what a caller is asked for: each parameter with its type, which are needed, and whether any other goes."""
    arguments = definition.get("arguments")
    for one in arguments if isinstance(arguments, list | tuple) else ():
        if isinstance(one, Mapping):
            yield f"{one.get('name')}{' (required)' if one.get('required') else ''}"
    waiting: list[tuple[str, object]] = [("", definition.get("inputSchema"))]
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        path, schema = waiting.pop()
        if isinstance(schema, list | tuple):
            waiting += [(path, inner) for inner in schema]
        elif isinstance(schema, Mapping):
            yield from _of_schema(path, schema)
            waiting += _within(path, schema)


def _of_schema(path: str, schema: Mapping[str, object]) -> Iterator[str]:
    """Yield what one level of a JSON schema asks for (2020-12)."""
    required = schema.get("required")
    for name in required if isinstance(required, list | tuple) else ():
        yield f"{path}{name} (required)"
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and schema.get("additionalProperties") is not False:
        yield f"{path}* (any other)"
    for key in _NAMED_BY_CALLERS:
        named = schema.get(key)
        for name, each in named.items() if isinstance(named, Mapping) else ():
            yield f"{path}{name}{_type(each)}"


def _within(path: str, schema: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the schemas in a schema, with the path of a parameter that they describe."""
    for key, inner in schema.items():
        if key in _SCHEMAS and isinstance(inner, Mapping):
            yield from ((f"{path}{name}." if key in _NAMED_BY_CALLERS else path, each) for name, each in inner.items())
        elif isinstance(inner, Mapping | list | tuple):
            yield path, inner


def _type(schema: object) -> str:
    said = schema.get("type") if isinstance(schema, Mapping) else None
    if isinstance(said, str):
        return f" ({said})"
    return f" ({'|'.join(sorted(map(str, said)))})" if isinstance(said, list | tuple) else ""


_HINTS: Final = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False, "openWorldHint": True}
"""What MCP takes for granted where a server says nothing (ToolAnnotations, revision 2025-03-26 and later)."""


def _annotations(definition: Mapping[str, object]) -> Iterator[str]:
    said = definition.get("annotations")
    if "inputSchema" not in definition:
        return
    for hint, default in _HINTS.items():
        value = said.get(hint) if isinstance(said, Mapping) else None
        yield f"{hint} is {str(default if value is None else value).lower()}"


_WORD = re.compile(r"[^\W\d][\w.-]{0,200}")
_MADE_UP = re.compile(r"[_.\d-]|[^\W\d_][A-Z]")
_BEFORE = re.compile(r"(?:\b(?:tool|function|call|invoke|run|use)s?\s{0,3}|[`'\"\u2018\u201c])\Z", re.IGNORECASE)
_AFTER = re.compile(r"\s{0,3}(?:tools?|function)\b|[(`'\"\u2019\u201d]", re.IGNORECASE)


def _mentioned(text: str, names: Collection[str]) -> Iterator[str]:
    """Yield the tools that a text speaks of: a name that is a plain word counts where it is called a tool or quoted."""
    for word in _WORD.finditer(text):
        said = word.group().rstrip(".-")
        name = said.casefold()
        if name not in names:
            continue
        end = word.start() + len(said)
        quoted = _BEFORE.search(text, max(0, word.start() - 16), word.start()) or _AFTER.match(text, end)
        if quoted or _MADE_UP.search(said):
            yield name
