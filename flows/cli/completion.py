"""What a shell is told when somebody presses Tab, and the script that makes it ask."""

import os
import sys
from pathlib import Path

import typer

VARIABLE = "_MCP_SOAR_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


def prepare() -> None:
    """Let the library know the shells, if it is one that asks."""
    if VARIABLE in os.environ:
        from typer._completion_classes import completion_init  # noqa: PLC0415  # slow, and nobody else needs it

        completion_init()


def script(shell: str) -> str:
    """Return what a shell has to run once so that it completes our command lines.

    Args:
        shell: bash, zsh or fish.
    """
    from typer._completion_shared import get_completion_script  # noqa: PLC0415  # likewise

    return get_completion_script(prog_name="mcp-soar", complete_var=VARIABLE, shell=shell)


def incidents(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the ids that what is written so far can become: open ones if there are any, else closed ones."""
    # Whatever goes wrong, a Tab does nothing: no word of it belongs into the line that is being written.
    try:
        found = _incidents(ctx.params.get("config"))
    except Exception:  # noqa: BLE001  # see above
        return []
    fitting = [(name, is_open) for name, is_open in found if name.startswith(incomplete)]
    return [name for name, is_open in fitting if is_open] or [name for name, _ in fitting]


def _incidents(given: Path | str | None) -> list[tuple[str, bool]]:
    import yaml  # noqa: PLC0415  # only at a Tab

    from flows.cli.options import place  # noqa: PLC0415  # it names this module's functions
    from integrations import glance  # noqa: PLC0415  # only at a Tab

    folder, _ = place(Path(given) if given else None)
    file = folder / "mcp-soar.yaml"
    # Not `flows.service.settings`: checking all of it takes longer than somebody waits for a Tab.
    settings = (yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None) or {}
    journal = settings.get("journal") or {}
    url = str(journal.get("url", "sqlite:///state/journal.db"))
    return glance.incidents(url, journal.get("password"), folder)


def show(shell: str) -> None:
    """Print the script."""
    sys.stdout.write(script(shell) + "\n")
