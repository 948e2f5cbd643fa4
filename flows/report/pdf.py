"""A report as PDF, set by Typst: one wheel, no system library. What is said goes in as data, never as markup."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.resources import files
from typing import Any, Final

import typst

from flows.report.document import Block, Diff, Document, Picture, Section, Table, Warn
from playbooks.errors import Misconfigured

_FONTS = (
    "Noto Sans",
    "DejaVu Sans",
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "NanumGothic",
    "UnDotum",
    "Libertinus Serif",
)
"""In order; the last one is Typst's own. For what none of them has, Typst looks through all fonts of the machine."""

_STANDARD: Final = "ua-1"
"""PDF/UA-1 (ISO 14289-1): a screen reader can follow headings, tables and the pictures' texts. Typst tags it anyway."""

_MISSING: Final = re.compile(r'text `"(.+?)"` could not be displayed')
_ESCAPED: Final = re.compile(r"\\u\{([0-9a-f]{1,6})\}")

_WORD = 14
"""Letters of a word that is never broken; `page.typ` breaks longer ones."""

_LINE, _INSET, _LETTER = 504.0, 7.5, 0.64
"""Points between the margins, and beside a cell's text; a letter's width as a share of its size."""

_CODE = 100
"""Letters of one line of a diff."""

_TALLEST = 670.0
"""Points that a picture may be high."""

_SIZES = ((6, 7.4), (99, 6.4))
"""The size of letters in points, for tables of at most so many columns."""


def pdf(document: Document, *, made: datetime) -> bytes:
    """Return a report as a tagged PDF.

    Args:
        document: the report.
        made: when; two reports of the same moment from the same journal are the same bytes.

    Raises:
        Misconfigured: Typst cannot set it; the message says why.
    """
    data = {
        "title": document.title,
        "made": document.made,
        "lead": [_data(block) for block in document.lead],
        "short": _sections(document.short),
        "sections": _sections(document.sections),
        "fonts": fonts(),
    }
    try:
        try:
            return _set(data, made, standard=True)
        except typst.TypstError as exc:
            # The standard refuses a character that no font here has; a box in its place is better than no report, as
            # long as nobody takes the boxes for what was said.
            return _set(data | {"lead": [_data(Warn(_boxes(exc.message))), *data["lead"]]}, made, standard=False)
    except typst.TypstError as exc:
        raise Misconfigured(f"the PDF cannot be set: {exc.message}; --form html has the same") from exc


def _sections(sections: Sequence[Section]) -> list[dict[str, Any]]:
    return [{"title": one.title, "blocks": [_data(block) for block in one.blocks]} for one in sections]


def _set(data: dict[str, Any], made: datetime, *, standard: bool) -> bytes:
    source = files("flows.report").joinpath("page.typ").read_bytes()
    inputs, stamp = {"document": json.dumps(data)}, int(made.timestamp())
    return bytes(
        typst.compile(
            source, format="pdf", sys_inputs=inputs, pdf_standards=[_STANDARD] if standard else [], timestamp=stamp
        )
    )


def _boxes(said: str) -> str:
    found = _MISSING.search(said)
    # Typst writes out what does not show.
    text = _ESCAPED.sub(lambda one: chr(min(int(one[1], 16), 0x10FFFF)), found[1]) if found else ""
    example = f" (the first is {', '.join(f'U+{ord(one):04X}' for one in text[:4])})" if text else ""
    return (
        f"No font of the machine that made this PDF has some of its characters{example}: each stands here as an "
        "empty box. The same report as HTML or Markdown (--form html) has them all; so has a PDF made where fonts for "
        "them are installed (Debian: fonts-noto-cjk, fonts-noto-color-emoji, fonts-noto-core)."
    )


def fonts() -> list[str]:
    """Return those of the fonts that this machine has; a name that it does not have would be a warning each."""
    there = set(typst.Fonts().families())
    return [name for name in _FONTS if name in there]


def _data(block: Block) -> dict[str, Any]:
    shown = {"kind": block.kind, **asdict(block)}
    if isinstance(block, Table):
        size = next(size for columns, size in _SIZES if len(block.heads) <= columns)
        shown |= {"size": size, "widths": _widths([block.heads, *block.rows], size)}
    if isinstance(block, Diff):
        # Nothing breaks a line of it: what is too long goes on in the next one.
        shown["lines"] = [part for line in block.lines for part in _pieces(line)]
    if isinstance(block, Picture):
        shown["width"] = picture_width(block.svg)
    return shown


def _pieces(line: str) -> list[str]:
    return [line[at : at + _CODE] for at in range(0, len(line), _CODE)] or [""]


def picture_width(svg: str) -> float:
    """Return how wide a picture can be in points, so that it and its heading fit one page."""
    size = re.search(r'width="(\d+)" height="(\d+)"', svg)
    return min(_LINE, _TALLEST * int(size[1]) / int(size[2])) if size else _LINE


def _widths(rows: Sequence[Sequence[str]], size: float) -> list[float]:
    """Return how wide each column is to be: room for its longest whole word, and a share of the rest by its text.

    Args:
        rows: the cells, the heads among them.
        size: of the letters, in points.
    """
    columns = list(zip(*rows, strict=True))
    least = [max(min(len(word), _WORD) for cell in (*column, "-") for word in cell.split()) + 1.0 for column in columns]
    # By the root of its length: a long text gets more than a short one, and not everything.
    wanted = [max(0.0, 6 * math.sqrt(max(map(len, column))) - low) for column, low in zip(columns, least, strict=True)]
    rest = (_LINE - _INSET * len(columns)) / (size * _LETTER) - sum(least)
    share = min(1.0, max(0.0, rest) / sum(wanted)) if sum(wanted) else 0.0
    inset = _INSET / (size * _LETTER)
    return [low + inset + share * want for low, want in zip(least, wanted, strict=True)]
