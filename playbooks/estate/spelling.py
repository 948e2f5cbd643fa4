"""How names are compared, and written where only plain ones are taken. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from urllib.parse import unquote


def slug(name: str, otherwise: str = "server") -> str:
    """Return a name as an identifier of ours: what is unsafe in it becomes a hyphen, and so does what makes an address.

    Args:
        name: whatever somebody else chose.
        otherwise: what it is if nothing is left.
    """
    found = re.sub(r"[^a-z0-9_-]+", "-", fold(name[:200])).strip("-_")[:60].rstrip("-_")
    return found or otherwise


def plainly(ids: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """Return ids of objects, by their kind, as `plain` gives them."""
    return {kind: frozenset(map(plain, some)) for kind, some in ids.items()}


def plain(id_: str) -> str:
    """Return an id as the laxest of systems reads it: no case, no blanks or dots at its ends, no way around in a path.

    No system is trusted to have thought of that: an id that is ours in any spelling is.

    Args:
        id_: as a plan's target or the inventory has it.
    """
    parts: list[str] = []
    for part in fold(unquote(id_)).replace("\\", "/").split("/"):
        named = part.strip()
        if named == "..":
            parts = parts[:-1]
        elif named := named.rstrip(". "):
            parts.append(named)
    return "/".join(parts)


def fold(name: str) -> str:
    """Return a name as systems compare it that know no case."""
    return unicodedata.normalize("NFKC", name).casefold()
