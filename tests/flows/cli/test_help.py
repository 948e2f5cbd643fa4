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
