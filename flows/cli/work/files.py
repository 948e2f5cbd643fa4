"""How a file of a configuration would differ, shown before it is written."""

import difflib
import stat
from collections.abc import Sequence
from pathlib import Path

from flows.cli.output import Out
from integrations import whole
from playbooks.errors import Refused


def text_of(file: Path) -> str:
    """Return a file as it is, line ends included."""
    return file.read_bytes().decode()


def differing(text: str, more: str, file: str, title: str) -> list[str]:
    """Return how a file would differ, line by line.

    Args:
        text: as it is.
        more: as it would be.
        file: its name.
        title: what the new one is called.
    """
    return list(difflib.unified_diff(text.splitlines(), more.splitlines(), file, title, lineterm=""))


def settled(out: Out, file: Path, text: str, more: str, *, lines: Sequence[str], dry_run: bool, yes: bool) -> bool:
    """Show what would be written, ask, and write it; return whether it was.

    Raises:
        Refused: a person said no, or somebody changed the file meanwhile.
    """
    with out.paged(len(lines)):
        for line in lines:
            out.raw(line)
    if dry_run:
        return False
    if not yes and not out.confirm(f"Write this into {file}?"):
        raise Refused("nothing was written")
    if text_of(file) != text:
        raise Refused(f"{file} was changed meanwhile; nothing was written. Run it again")
    whole.put(file, more.encode(), mode=stat.S_IMODE(file.stat().st_mode), over=True)
    return True
