"""What a server's answers are like, to be compared with what they were like when people approved them."""

import unicodedata
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from integrations import bounded
from integrations.hostile import printable
from integrations.protocol.answers import orders
from integrations.protocol.client import spoken
from integrations.yara import Matched
from playbooks.errors import Misconfigured
from playbooks.estate.answers import FILE, FORMS, NAMED, KnownAnswers, Record
from playbooks.gate.change import MOST_CHARACTERS, Brought, parts
from playbooks.record.trust import FORM, LENGTH, PLACES
from playbooks.strict import parse_yaml

_DEEPEST: Final = 8
_JSON: Final = 256 * 1024
"""Characters of a text that is tried as JSON."""

_TIMES: Final = 4
_BESIDE: Final = 2000
"""An answer may be four times as long as any before and 2,000 characters more: what it says changes with the day."""

_SHOWN: Final = 200
_UNREAD: Final = f"anywhere: beyond {MOST_CHARACTERS:,} characters it is not looked for"


class Like(NamedTuple):
    """What some answers are like; all of it is hostile.

    Args:
        longest: characters of the longest.
        forms: the fields that they have.
        places: where they point.
        commands: what in them is addressed to the model.
        hidden: characters that show nothing.
        rules: the YARA rules that match.
    """

    longest: int
    forms: frozenset[str]
    places: frozenset[str]
    commands: frozenset[str]
    hidden: frozenset[str]
    rules: frozenset[str]

    def known(self, definition: str, at: datetime) -> KnownAnswers:
        """Return it as it is recorded.

        Args:
            definition: digest of the approved definition.
            at: when.
        """
        return KnownAnswers(
            definition=definition,
            recorded=at,
            longest=self.longest,
            forms=_kept(self.forms, FORMS),
            places=_kept(self.places, NAMED),
            speaks=_kept(self.commands | self.hidden | self.rules, NAMED) or (),
        )


def _kept(some: frozenset[str], most: int) -> tuple[str, ...] | None:
    return tuple(sorted(some)) if len(some) <= most else None


def read(folder: Path) -> Record:
    """Return the record of a configuration; an empty one if there is none.

    Raises:
        Misconfigured: it has a mistake, with line and field.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Record()
    except (OSError, UnicodeDecodeError) as exc:
        raise Misconfigured("it cannot be read", file=str(path)) from exc
    return parse_yaml(Record, text, file=str(path))


def like(results: Sequence[Mapping[str, Any]], matched: Matched) -> Like:
    """Return what answers are like.

    Args:
        results: of the same question, as JSON-RPC has them; hostile.
        matched: says which YARA rules match.

    Raises:
        Transient: that takes too long.
    """
    longest, forms, places = 0, set[str](), set[str]()
    commands, hidden, rules = set[str](), set[str](), set[str]()
    for result in results:
        told = spoken(dict(result))
        longest = max(longest, len(told))
        forms |= _forms(result)
        brought = parts({"description": told[:MOST_CHARACTERS]})
        places |= {_line(one.what) for one in brought if one.kind == Brought.DESTINATION}
        places |= {_UNREAD} if len(told) > MOST_CHARACTERS else set()
        said = orders(told)
        hidden |= {one for one in said if one.startswith("U+")}
        commands |= {_line(one) for one in said if not one.startswith("U+")}
        rules |= {f"rule {one}" for one in matched(told.encode(errors="replace"))}
    return Like(longest, frozenset(forms), frozenset(places), *map(frozenset, (commands, hidden, rules)))


def _line(text: str) -> str:
    """Return a text as a file has it, so that it is found again there."""
    return unicodedata.normalize("NFKC", printable(text, _SHOWN))


def _forms(result: Mapping[str, Any]) -> set[str]:
    """Return the fields of an answer, as `content[].text` or `content[].text{}.temperature: number`."""
    found: set[str] = set()
    waiting: deque[tuple[str, Any, int]] = deque([("", {key: result[key] for key in result if key != "_meta"}, 0)])
    while waiting and len(found) <= FORMS:
        at, value, depth = waiting.popleft()
        if isinstance(value, str):
            inner = bounded.readable(value.encode(errors="replace")) if _looks_json(value) else None
            if isinstance(inner, dict | list):
                at, value = f"{at}{{}}", inner
        if depth >= _DEEPEST or not isinstance(value, dict | list):
            found.add(_line(f"{at}: {_kind(value)}"))
        elif isinstance(value, dict):
            waiting.extend((f"{at}.{key}".lstrip("."), one, depth + 1) for key, one in value.items())
        else:
            waiting.extend((f"{at}[]", one, depth + 1) for one in value[:FORMS])
    return found


def _looks_json(text: str) -> bool:
    return len(text) <= _JSON and text.lstrip()[:1] in {"{", "["}


def _kind(value: object) -> str:
    kinds = {str: "text", bool: "yes or no", int: "number", float: "number", dict: "object", list: "list"}
    return kinds.get(type(value), "nothing")


class Difference(NamedTuple):
    """How answers differ from what they were.

    Args:
        what: in which respect.
        expected: what they should be.
        observed: what they are, after the word *is*; hostile.
        bad: it is bad behaviour; otherwise, whoever runs the server may have changed it.
        grave: somebody is told of it.
    """

    what: str
    expected: str
    observed: str
    bad: bool
    grave: bool = True


def differences(now: Like, before: KnownAnswers | None) -> list[Difference]:
    """Return how answers differ from what they were; without a record, only what no answer should have.

    Args:
        now: what they are like.
        before: what they were like when people approved them.
    """
    meant = set(before.speaks) if before else set()
    found = [
        Difference(what, expected, _some(new), bad=True)
        for what, expected, said in (
            ("what its answers say", "nothing that commands the model", now.commands),
            ("what its answers hide", "no characters that show nothing", now.hidden),
            ("what your YARA rules find in its answers", "nothing", now.rules),
        )
        if (new := said - meant)
    ]
    if before is None:
        return found
    if before.places is not None and (new := now.places - set(before.places)):
        found.append(Difference(PLACES, "to where it did when it was approved", _some(new), bad=False))
    if now.longest > _TIMES * before.longest + _BESIDE:
        said = f"up to {now.longest} characters"
        found.append(Difference(LENGTH, f"about {before.longest} characters at most", said, bad=False))
    if before.forms is not None and (new := now.forms - set(before.forms)):
        # Where a field is named after what was found, a day brings others.
        found.append(Difference(FORM, "those of when it was approved", _some(new), bad=False, grave=False))
    return found


def _some(said: Iterable[str]) -> str:
    lines = sorted(said)
    more = f", and {len(lines) - 5} more" if len(lines) > 5 else ""  # noqa: PLR2004  # what a line has room for
    return ", ".join(lines[:5]) + more
