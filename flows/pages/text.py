"""Markdown whose every word may be an attacker's: nothing becomes a link, an image, HTML or a cell of its own. Pure."""

import string
from collections.abc import Iterable, Sequence
from datetime import datetime

from flows.report.picture import data_image
from integrations.hostile import printable

LONGEST = 300
"""Characters of one cell."""

_ESCAPED = str.maketrans({character: f"\\{character}" for character in string.punctuation if character not in ",;'\""})
_PLAIN = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def escaped(text: object, limit: int = LONGEST) -> str:
    """Return text that Markdown shows as it is, on one line."""
    # NFKC may yield the characters that are looked for, so it comes first; & < > as entities for renderers that
    # take HTML before they take escapes.
    return printable(str(text), limit).translate(_ESCAPED | _PLAIN)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str = "None.") -> str:
    """Return a table, or a sentence if it has no rows. Its cells are Markdown already."""
    lines = [" | ".join(row) for row in rows]
    if not lines:
        return empty
    return "\n".join(f"| {line} |" for line in (" | ".join(heads), " | ".join("---" for _ in heads), *lines))


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values as a list, for sentences: the UI breaks no line of a table. What is empty is left out.

    Args:
        pairs: name and value, Markdown already.
    """
    return "\n".join(f"- **{name}:** {value}" for name, value in pairs if value)


def at(moment: datetime | None) -> str:
    """Return a moment to the second, in UTC; a dash for none."""
    return moment.strftime("%Y-%m-%d %H:%M:%S").replace("-", "\\-") if moment else "\\-"


def image(svg: str, caption: str) -> str:
    """Return a picture that needs no address: the UI shows data images, and no SVG in the text.

    Args:
        svg: the picture, its own texts escaped.
        caption: what it shows, for those who do not see it.
    """
    return f"![{escaped(caption)}]({data_image(svg)})"
