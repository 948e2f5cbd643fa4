"""Help is the first thing that somebody reads at three: every command is in it, once, under a heading."""

import typer.main

from flows.cli.main import SECTIONS, app


def test_every_command_stands_under_one_heading() -> None:
    shown = [name for names in SECTIONS.values() for name in names.split()]
    assert sorted(shown) == sorted(getattr(typer.main.get_command(app), "commands", {}))
