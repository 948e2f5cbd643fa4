"""What goes to the terminal: plain enough for 80 columns without colour, harmless whatever it quotes, or JSON.

Everything that is shown passes `safe`: no markup is ever interpreted, and no character of outside text reaches the
terminal as a control. Nothing is told by colour alone. What people copy is never broken: see `flows.cli.layout`.
"""

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import typer

from flows.cli.exits import Exit
from flows.cli.layout import GAP, Cell, beside, under, width, widths, wrapped

if TYPE_CHECKING:
    from rich.console import Console

    from flows.reading.standing import Standing

_UNFIT = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_LONGEST = 20_000

_STYLES = {
    "good": ("green", "32"),
    "bad": ("bold red", "1;31"),
    "warn": ("yellow", "33"),
    "dim": ("dim", "2"),
    "head": ("bold", "1"),
}
"""The only styles there are, as rich calls them and as a terminal does; the words that carry them say the same."""

_WIDTH = 80
"""Columns where no terminal says otherwise."""

_NAMED = 5
"""Of many things, how many are named."""

_WORDS = {
    "contained": "good",
    "established": "good",
    "ok": "good",
    "released": "good",
    "sealed": "good",
    "approved": "good",
    "not_established": "bad",
    "frozen": "bad",
    "failed": "bad",
    "fail": "bad",
    "denied": "bad",
    "deny": "bad",
    "awaiting_approval": "warn",
    "needs_approval": "warn",
    "unknown": "warn",
    "warn": "warn",
    "triage": "warn",
    "containing": "warn",
    "proposed": "warn",
    "critical": "bad",
    "high": "bad",
}


def safe(text: object, *, lines: bool = False) -> str:
    """Return text that does nothing to a terminal: whatever is invisible or moves the cursor is written out.

    Args:
        text: anything; it may be hostile.
        lines: keep its line breaks.
    """
    shown = str(text)[:_LONGEST]
    return "".join(
        character
        if (lines and character == "\n") or unicodedata.category(character) not in _UNFIT
        else " "
        if character in "\n\t"
        else f"\\u{{{ord(character):x}}}"
        for character in shown
    )


def moment(at: datetime | float | None) -> str | None:
    """Return a time as ISO 8601 in UTC, in seconds, as 2026-01-31T12:00:00Z."""
    if at is None:
        return None
    value = datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else at.astimezone(UTC)
    return value.isoformat(timespec="seconds").replace("+00:00", "Z")


def precise(at: datetime | float | None) -> str | None:
    """Return a time as ISO 8601 in UTC, in milliseconds: for JSON, where differences are taken."""
    if at is None:
        return None
    value = datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else at.astimezone(UTC)
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span(seconds: float | None) -> str:
    """Return a length of time for people, as 340ms, 12s, 3m 20s or 2h 5m."""
    if seconds is None:
        return "-"
    if 0 <= seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    whole = round(abs(seconds))
    sign = "-" if seconds < 0 else ""
    if whole < 60:  # noqa: PLR2004  # seconds in a minute
        return f"{sign}{whole}s"
    if whole < 3600:  # noqa: PLR2004  # in an hour
        return f"{sign}{whole // 60}m {whole % 60}s"
    if whole < 86400:  # noqa: PLR2004  # in a day
        return f"{sign}{whole // 3600}h {whole % 3600 // 60}m"
    return f"{sign}{whole // 86400}d {whole % 86400 // 3600}h"


def some(things: Sequence[str]) -> str:
    """Return the first few of many, and how many more there are."""
    more = f" and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    return ", ".join(things[:_NAMED]) + more


class Usage(Exception):
    """Something was asked for in a way that does not work; the message says how it does."""


class NotFound(Exception):
    """There is no such thing."""


class Nothing(NotFound):
    """What is named is there, and there is nothing of it to decide, or to give back.

    Args:
        word: how the sentence begins that says so, as `nothing waits`.
        message: the rest of it.
    """

    def __init__(self, word: str, message: str) -> None:
        super().__init__(message)
        self.word = word


WAITS, BACK = "nothing waits", "nothing to give back"
"""What there is nothing of."""


class Out:
    """Where a command says what it has to say.

    Args:
        as_json: one JSON document on stdout, and nothing else there.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.aside = False
        """Whether stdout is for one thing to copy, and all that people read goes to stderr."""
        self.standing: Standing | None = None
        """What must be in every answer, once the journal was opened."""
        self._paged: list[str] | None = None
        """What a pager shows at the end, while there is one."""

    @property
    def console(self) -> "Console":
        """Stdout for what is drawn again and again; rich takes a while to import."""
        return _console(stderr=self.aside)

    def document(self, value: Mapping[str, Any]) -> None:
        """Write the one JSON document, with what must be in every answer; does nothing for people."""
        if self.as_json:
            # What a command says of its own under the same name is about that name alone, as an incident's stops.
            whole = {**value, **{name: said for name, said in (self.standing or {}).items() if name not in value}}
            # ASCII: no character of it can do anything to a terminal.
            sys.stdout.write(json.dumps(whole, indent=2, default=lambda one: one.dump()) + "\n")

    def say(self, text: object = "", style: str = "", *, indent: int = 0) -> None:
        """Write a paragraph for people; the lines of one that begins with a dash hang under its first word."""
        if self.as_json:
            return
        stream, shown = self._stream, safe(text)
        mark = "- " if shown.startswith("- ") else ""
        for number, line in enumerate(wrapped(shown.removeprefix(mark), columns(stream) - indent - len(mark))):
            self._write(stream, [Cell(" " * indent + (" " * len(mark) if number else mark)), Cell(line, style)])

    def raw(self, text: str) -> None:
        """Write a line that people copy: it is not broken at the terminal's edge."""
        if not self.as_json:
            self._write(self._stream, [Cell(safe(text))])

    def verbatim(self, document: str) -> None:
        """Write a JSON document to stdout as one line, whoever reads it."""
        # ASCII: no character of it can do anything to a terminal.
        sys.stdout.write(json.dumps(json.loads(document)) + "\n")

    @contextmanager
    def paged(self, lines: int) -> Iterator[None]:
        """Show what is written meanwhile in a pager, if a person is there and it is more than their terminal holds.

        Args:
            lines: about how many it will be.
        """
        if not self.asks or not sys.stdout.isatty() or lines <= shutil.get_terminal_size().lines:
            yield
            return
        import pydoc  # noqa: PLC0415  # only where somebody leafs through it

        # Colours go through less, the usual one, only if it is told so.
        os.environ.setdefault("LESS", "-R")
        self._paged = []
        try:
            yield
        finally:
            text, self._paged = "".join(self._paged), None
            pydoc.pager(text)

    def heading(self, text: object) -> None:
        """Begin a part."""
        self.say()
        self.say(text, "head")

    def note(self, text: object) -> None:
        """Write a remark beside the answer, to stderr."""
        self._aside(text, "dim")

    def alarm(self, text: object) -> None:
        """Write what nobody may overlook, whatever was asked, to stderr."""
        self._aside(text, "bad")

    def fields(self, pairs: Sequence[tuple[str, object]]) -> None:
        """Write names and values under each other; what has no value is left out."""
        if self.as_json:
            return
        rows = [(Cell(safe(name), "dim"), _word(value)) for name, value in pairs if value not in (None, "", ())]
        stream, label = self._stream, max((width(name.text) for name, _ in rows), default=0)
        for name, value in rows:
            for cells in under(name, value, label, columns(stream)):
                self._write(stream, cells)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "none") -> None:
        """Write a table; the last column takes what room there is.

        Args:
            columns: their names; one that ends in `!` is never broken.
            rows: the cells.
            empty: what is written when there are no rows.
        """
        if self.as_json:
            return
        if not rows:
            self.say(empty, "dim")
            return
        head = [Cell(safe(name.rstrip("!")), "head") for name in columns]
        self._rows(
            [head, *([_word(cell) for cell in row] for row in rows)], [name.endswith("!") for name in columns], 1
        )

    def _rows(self, rows: Sequence[Sequence[Cell]], whole: Sequence[bool], heads: int = 0) -> None:
        """Write cells beside each other, a line under the heads."""
        if not rows:
            return
        stream = self._stream
        places = widths(rows, whole, columns(stream))
        for number, row in enumerate(rows):
            for cells in beside(row, places):
                self._write(stream, cells)
            if number + 1 == heads:
                rule = min(sum(places) + GAP * (len(places) - 1), max(columns(stream), 1))
                self._write(stream, [Cell("─" * rule)])

    def waiting(self, what: str) -> AbstractContextManager[Callable[[str], None]]:
        """Show that something takes a while, on a terminal; yields what changes the text."""
        if self.as_json or not sys.stderr.isatty():
            return nullcontext(lambda _: None)
        return self._spinner(what)

    @contextmanager
    def _spinner(self, what: str) -> Iterator[Callable[[str], None]]:
        from rich.text import Text  # noqa: PLC0415  # only where something turns

        with _console(stderr=True).status(Text(safe(what))) as status:
            yield lambda text: status.update(Text(safe(text)))

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[str, int, int], None]]:
        """Show how far something long is, on a terminal's stderr only; yields what is told text, done and total."""
        if self.as_json or not sys.stderr.isatty():
            yield lambda _text, _done, _total: None
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415  # likewise

        # Markup off: the text may name files.
        words = TextColumn("{task.description}", markup=False)
        columns = (words, BarColumn(bar_width=20), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, console=_console(stderr=True), transient=True) as shown:
            task = shown.add_task(safe(what), total=None)

            def tell(text: str, done: int, total: int) -> None:
                shown.update(task, description=safe(text), completed=done, total=total)

            yield tell

    def confirm(self, question: str) -> bool:
        """Ask a person at a terminal; anything but yes is no."""
        sys.stderr.write(f"{safe(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    @staticmethod
    def style(name: str) -> str:
        """Return what rich calls one of our styles."""
        return _STYLES[name][0] if name else ""

    @property
    def asks(self) -> bool:
        """Whether there is a person at a terminal to ask."""
        return not self.as_json and sys.stdin.isatty() and sys.stderr.isatty()

    def fail(self, code: Exit, message: str, *, word: str = "", plain: str = "", **more: object) -> NoReturn:
        """Say what went wrong on stderr, and end.

        Args:
            code: of the process.
            message: what; masked, as everything that may be kept.
            word: how a sentence begins that says it; what the code means if empty.
            plain: the same with the names as the person typed them, for their own terminal.
            more: beside it, in JSON.
        """
        if self.as_json:
            error = {"code": int(code), "kind": code.name.lower(), "message": message, **more}
            sys.stderr.write(json.dumps({"error": error}) + "\n")
        else:
            for line in wrapped(safe(f"{word or _SAID[code]}: {plain or message}", lines=True), columns(sys.stderr)):
                self._write(sys.stderr, [Cell(line, "bad")])
        raise typer.Exit(code)

    @property
    def _stream(self) -> TextIO:
        return sys.stderr if self.aside else sys.stdout

    def _aside(self, text: object, style: str) -> None:
        """Write to stderr, for people."""
        if not self.as_json:
            for line in wrapped(safe(text), columns(sys.stderr)):
                self._write(sys.stderr, [Cell(line, style)])

    def _write(self, stream: TextIO, cells: Sequence[Cell]) -> None:
        shown = "".join(_styled(cell, colour=_colour(stream)) for cell in cells).rstrip(" ") + "\n"
        if self._paged is not None and stream is self._stream:
            self._paged.append(shown)
        else:
            stream.write(shown)


def columns(stream: TextIO) -> int:
    """Return how wide a line may be: as its terminal is, or as COLUMNS says."""
    if os.environ.get("COLUMNS", "").isdigit():
        return max(1, int(os.environ["COLUMNS"]))
    try:
        return (os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0) or _WIDTH
    except (OSError, ValueError):
        return _WIDTH


def _word(value: object) -> Cell:
    text = str(value)
    return Cell(safe(text, lines=True), _WORDS.get(text.split(" ", 1)[0], ""))


def _colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _styled(cell: Cell, *, colour: bool) -> str:
    if not colour or not cell.style or not cell.text:
        return cell.text
    return f"\x1b[{_STYLES[cell.style][1]}m{cell.text}\x1b[0m"


SPEAKING: ContextVar[Out | None] = ContextVar("SPEAKING", default=None)
"""Where the command that runs says things: what opens the journal speaks there, so that no command can leave it out."""

_SAID = {
    Exit.OK: "done",
    Exit.NO: "no",
    Exit.USAGE: "usage",
    Exit.MISCONFIGURED: "misconfigured",
    Exit.REFUSED: "refused",
    Exit.UNREACHABLE: "unreachable",
    Exit.NOT_FOUND: "not found",
    Exit.ALREADY: "already",
    Exit.FAULT: "a fault of mcp-soar",
    Exit.INTERRUPTED: "interrupted",
}


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console  # noqa: PLC0415  # it takes a while to import

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        force_terminal=None,
        color_system="auto" if _colour(stream) else None,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if stream.isatty() or os.environ.get("COLUMNS") else _WIDTH,
    )


def _plain(exc: Exception) -> str:
    said = getattr(exc, "plain", "")
    return said if isinstance(said, str) else ""


@contextmanager
def speaking(*, as_json: bool) -> Iterator[Out]:  # noqa: C901  # one branch for each way to go wrong
    """Yield where to say things; every known way to go wrong becomes a message and an exit code.

    Args:
        as_json: from `--json`.
    """
    from playbooks.errors import Ambiguous, Misconfigured, NoSuch, Refused, SoarError, Transient  # noqa: PLC0415  # only when a command runs

    out = Out(as_json=as_json)
    token = SPEAKING.set(out)
    try:
        yield out
    except (Usage, Ambiguous) as exc:
        out.fail(Exit.USAGE, str(exc), plain=_plain(exc))
    except Nothing as exc:
        out.fail(Exit.NOT_FOUND, str(exc), word=exc.word)
    except (NotFound, NoSuch) as exc:
        out.fail(Exit.NOT_FOUND, str(exc), plain=_plain(exc))
    except Misconfigured as exc:
        out.fail(Exit.MISCONFIGURED, str(exc), file=exc.file, line=exc.line, field=exc.field)
    except Refused as exc:
        out.fail(Exit.REFUSED, str(exc), plain=_plain(exc))
    except Transient as exc:
        out.fail(Exit.UNREACHABLE, str(exc))
    except SoarError as exc:
        # Tampered, Drifted, NotEstablished and their kin: the world is not as it should be.
        out.fail(Exit.NO, f"{exc}")
    except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
        raise
    except Exception as exc:  # whatever it is, a script must not take it for an answer
        if os.environ.get("MCP_SOAR_DEBUG"):
            raise
        out.fail(Exit.FAULT, f"{type(exc).__name__}: {exc} (MCP_SOAR_DEBUG=1 shows where)")
    except KeyboardInterrupt:
        out.fail(Exit.INTERRUPTED, "nothing more is done here; what was asked for is kept")
    finally:
        SPEAKING.reset(token)
