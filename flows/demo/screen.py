"""What the demonstration prints: 80 columns, colours on a terminal only, nothing that a hostile text could steer."""

import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

WIDTH = 80
_STYLES = {"good": "32", "bad": "31;1", "strong": "1", "dim": "2", "title": "36;1"}


class Screen:
    """A terminal, or a file.

    Args:
        out: where to; stdout, as it is when the screen is made, if None.
        colour: None means: if it is a terminal.
    """

    def __init__(self, out: TextIO | None = None, *, colour: bool | None = None) -> None:
        self._out = out or sys.stdout
        self._colour = self._out.isatty() if colour is None else colour
        self._width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)

    def title(self, text: str) -> None:
        """Begin a part."""
        self._print("")
        self._print(text, "title")

    def say(self, text: str, style: str = "") -> None:
        """Print a paragraph."""
        self._wrapped(text, "", "", style)

    def quote(self, text: str) -> None:
        """Print what others wrote."""
        self._wrapped(text, "  | ", "  | ", "bad")

    def event(self, seconds: float, text: str, style: str = "") -> None:
        """Print what happened, that long after the alert was sent."""
        stamp = f"{seconds:6.2f} s  "
        self._wrapped(text, stamp, " " * (len(stamp) + 11), style)

    def check(self, text: str) -> None:
        """Print what was found to hold."""
        self._wrapped(text, "  ok  ", "      ", "good")

    def fact(self, name: str, value: str) -> None:
        """Print a name and its value."""
        self._wrapped(value, f"{name:<32}", " " * 32, "")

    def path(self, path: Path | str) -> None:
        """Print something to be copied: never wrapped."""
        self._print(f"  {path}", "strong")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Print what is being done, and how long it took."""
        began = time.monotonic()
        if self._colour:
            self._out.write(f"  …   {text[: self._width - 8]}\r")
            self._out.flush()
        yield
        self._wrapped(f"{text}  ({time.monotonic() - began:.1f} s)", "  ok  ", "      ", "")

    def _wrapped(self, text: str, first: str, rest: str, style: str) -> None:
        lines = textwrap.wrap(
            text,
            self._width,
            initial_indent=first,
            subsequent_indent=rest,
            drop_whitespace=True,
            break_on_hyphens=False,
        ) or [first.rstrip()]
        for line in lines:
            self._print(line, style)

    def _print(self, line: str, style: str = "") -> None:
        if style and self._colour:
            line = f"\x1b[{_STYLES[style]}m{line}\x1b[0m"
        self._out.write(line + ("\x1b[K\n" if self._colour else "\n"))
        self._out.flush()
