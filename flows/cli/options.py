"""The options that commands share."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import completion
from flows.cli.output import Out, Usage

if TYPE_CHECKING:
    from flows.settings import Configuration

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="MCP_SOAR_CONFIG",
        metavar="DIR",
        help="Configuration folder; by default this folder if it is one, ./mcp-soar, then ~/.config/mcp-soar.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; errors as JSON on stderr.")]
As = Annotated[
    str | None, typer.Option("--as", envvar="MCP_SOAR_PERSON", metavar="NAME", help="Who you are, as enrolled.")
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        envvar="MCP_SOAR_KEY",
        metavar="FILE|agent",
        help="Your key; by default keys/NAME.key of DIR, ~/.config/mcp-soar/people/NAME.key, then ssh-agent (`agent`).",
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the journal.")]
Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for a responder, and for the effect."),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Hand the request in and go.")]
Print = Annotated[
    bool, typer.Option("--print", help="Print the signed request, to hand it in elsewhere, as in Prefect's form.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Incident = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The incident: its id or a unique part of it, as 1 or 000001.",
        autocompletion=completion.incidents,
    ),
]


def folder(given: Path | None, out: Out) -> Path:
    """Return the configuration folder that is used, and say which.

    Args:
        given: with `--config` or MCP_SOAR_CONFIG.
        out: where to say it.
    """
    path, why = place(given)
    out.note(f"configuration: {path} ({why})")
    return path


def place(given: Path | None) -> tuple[Path, str]:
    """Return the configuration folder that is used, and why it is that one.

    Args:
        given: with `--config` or MCP_SOAR_CONFIG.
    """
    if given is not None:
        return given, "given"
    if _is_configuration(Path()):
        return Path(), "this folder"
    if _is_configuration(Path("mcp-soar")):
        return Path("mcp-soar"), "found here"
    return home(), "by default"


def away(given: Path | None) -> bool:
    """Return whether this machine has no installation's configuration, and none is named: a person's own, with a key.

    Args:
        given: with `--config` or MCP_SOAR_CONFIG.
    """
    return given is None and not _is_configuration(place(None)[0])


def _is_configuration(path: Path) -> bool:
    return (path / "inventory.yaml").is_file()


def configuration(given: Path | None, out: Out) -> "Configuration":
    """Return the configuration, read and checked; says which folder it is from.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    from flows.settings import read  # noqa: PLC0415  # only when a command runs

    return read(folder(given, out))


AGENT = Path("agent")
"""In place of a key's file: whatever ssh-agent holds."""


def home() -> Path:
    """Return where a person's own files are."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "mcp-soar"


def key_file(name: str) -> Path:
    """Return where a person's key is if nothing else is said; the first release kept it one folder higher.

    Raises:
        Usage: the name cannot be a file's.
    """
    if not re.fullmatch(r"[\w@+-][\w.@+ -]{0,99}", name):
        raise Usage(f"no file can be called after {name!r}: say where the key is with --key FILE")
    place = home() / "people" / f"{name}.key"
    earlier = home() / f"{name}.key"
    return earlier if earlier.exists() and not place.exists() else place
