"""A report as Markdown or as one HTML file: sandboxed templates, an escaper for each, nothing outside the file."""

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from flows.report.document import Document
from flows.report.picture import data_image
from playbooks.text.escaping import printable

_LONGEST = 4000

# CommonMark 0.31, 2.4, and what GitHub and others add: mathematics, strikethrough, attributes, addresses of people.
# Entities for renderers that take HTML before they take escapes.
_ESCAPED = str.maketrans(
    {character: f"\\{character}" for character in "\\`*_[]{}|~$@"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
_SCHEME = re.compile(r":(?=/)")
_START = re.compile(r"^(?=[-+#=])|^(\d{1,9})(?=[.)])")
"""What makes a heading, a list or a rule, and only does at the beginning of a line."""


def markdown(document: Document) -> str:
    """Return a report as Markdown (CommonMark with GitHub's tables).

    Without its pictures, whose tables are there: as data they are unreadable text, and much of it.
    """
    env = _environment(finalize=_marked, autoescape=False)
    shown = env.get_template("page.md.j2").render(document=document, code=_code)
    return _squeezed(shown)


def html(document: Document) -> str:
    """Return a report as one HTML document that refers to nothing outside itself, and may not."""
    env = _environment(autoescape=True)
    style = env.get_template("style.css.j2").render()
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return env.get_template("page.html.j2").render(
        document=document,
        image=data_image,
        shape=_shape,
        style=Markup(style),  # noqa: S704  # our own file, and hashed as it is
        style_hash=f"sha256-{hashed}",
    )


@cache
def _loader() -> PackageLoader:
    return PackageLoader("flows.report", package_path="")


# A template is compiled once for each.
@cache
def _environment(*, autoescape: bool, finalize: Callable[[Any], Any] | None = None) -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=_loader(),
        autoescape=autoescape,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _marked(value: object) -> object:
    """Escape whatever a template puts out, but what is markup of our own; a line break would end a cell."""
    if isinstance(value, Markup):
        return value
    shown = printable(str(value), _LONGEST).strip().translate(_ESCAPED)
    return _START.sub(r"\g<1>\\", _SCHEME.sub(r"\:", shown))


_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z|[-+]?\d[\w. ]{0,14}")
_WORD = 24
"""Letters after which a word may be broken anywhere, so that a digest does not widen its column."""


def _shape(cell: str) -> str:
    """Return how a cell is to be broken: `when` nowhere, `long` anywhere."""
    if _TIME.fullmatch(cell):
        return "when"
    return "long" if any(len(word) > _WORD for word in cell.split()) else ""


def _code(line: str) -> Markup:
    """Return a line as indented code: no fence that could be closed."""
    return Markup("    " + printable(line, _LONGEST))  # noqa: S704  # nothing is markup in it


def _squeezed(text: str) -> str:
    """Return text without empty lines in a row."""
    lines: list[str] = []
    for line in text.split("\n"):
        if line.strip() or (lines and lines[-1]):
            lines.append(line.rstrip())
    return "\n".join(lines).strip("\n") + "\n"
