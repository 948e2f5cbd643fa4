"""Help is the first thing that somebody reads at three: every command is in it, once, under a heading."""

import pytest
import typer.main
from typer.testing import CliRunner

from flows.cli.main import SECTIONS, app

GROUPS = ("alert", "inventory", "message", "pins", "playbooks")
"""Their commands are one level down."""


def test_every_command_stands_under_one_heading() -> None:
    shown = [name for names in SECTIONS.values() for name in names.split()]
    assert sorted(shown) == sorted(getattr(typer.main.get_command(app), "commands", {}))


@pytest.mark.parametrize("command", [None, *(name for names in SECTIONS.values() for name in names.split())])
def test_help_fits_80_columns_and_says_something(command: str | None) -> None:
    said = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*([command] if command else []), "--help"])
    assert said.exit_code == 0
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert "Example" in said.stdout or command in {None, *GROUPS}, command
