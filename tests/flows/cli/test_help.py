"""Help is the first thing that somebody reads at three: every command is in it, once, under a heading."""

from importlib.metadata import version

import typer.main
from typer.testing import CliRunner

from flows.cli.main import SECTIONS, app


def test_every_command_stands_under_one_heading() -> None:
    shown = [name for names in SECTIONS.values() for name in names.split()]
    assert sorted(shown) == sorted(getattr(typer.main.get_command(app), "commands", {}))


def test_the_version_is_said_though_no_command_follows() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.stdout) == (0, f"mcp-soar {version('mcp-soar')}\n")


def _helps() -> dict[str, str]:
    """Return what every command says of itself, by its name."""
    found: dict[str, str] = {}
    todo: list[tuple[tuple[str, ...], object]] = [((), typer.main.get_command(app))]
    while todo:
        words, command = todo.pop()
        found[" ".join(words)] = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "100"}).stdout
        todo += [((*words, name), one) for name, one in getattr(command, "commands", {}).items()]
    return found


def test_no_help_breaks_off_or_speaks_of_how_it_is_programmed() -> None:
    helps = _helps()
    assert len(helps) > len(SECTIONS)
    odd = {
        (name, line)
        for name, said in helps.items()
        for line in said.splitlines()
        # What is cut off, a bracket within the library's own, and a type where a name belongs.
        if (line.endswith("...") and not line.startswith("Usage:"))
        or "[[" in line
        or "...}" in line
        or "range>" in line
    }
    assert not odd
