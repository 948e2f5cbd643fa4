"""What asks before it does something says, where there is nobody to ask, that nothing was done, and what answers."""

import asyncio
from collections.abc import Iterator

import pytest
import typer.main

from flows.cli.exits import HELP, Exit
from flows.cli.main import app
from flows.service.access import open_journal
from playbooks.record.journal import Event
from tests.flows.cli import world
from tests.flows.cli.world import ID, INSTANCE, Installation

OTHER = "inc-2026-000002"
ASKS = {
    "approve": (ID, "--as", "lee"),
    "deny": (ID, "--as", "lee"),
    "release": (ID, "--as", "sam"),
    "close": (OTHER, "--as", "kim"),
    "classify": (OTHER, "--as-class", "tool_misuse", "--as", "kim"),
    "join": (ID, OTHER, "--as", "kim"),
    "unhold": (OTHER, "--reason", "over", "--as", "lee"),
    "purge": ("--as", "lee"),
    "inventory import": ("main", "--url", "http://127.0.0.1:9", "--user", "soar@example.com"),
    "inventory upgrade": (),
    "pins approve": ("weather", "--reviewed", "all of it", "--as", "rae"),
}
WITH_A_GATEWAY = {"respond", "contain", "suppress"}
"""What looks at a gateway, or at a campaign, before it asks: tried in `test_contain`, `test_campaigns`."""


def asking(group: object, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the commands that take --yes."""
    for name, command in getattr(group, "commands", {}).items():
        if any("--yes" in option.opts for option in command.params):
            yield " ".join((*path, name))
        yield from asking(command, (*path, name))


def test_every_command_that_asks_is_tried() -> None:
    found = set(asking(typer.main.get_command(app)))
    assert {name for name in found if name.split()[0] not in WITH_A_GATEWAY} == ASKS.keys()


@pytest.mark.parametrize("name", ASKS)
def test_without_a_terminal_it_names_the_option_and_does_nothing(site: Installation, name: str) -> None:
    site.append(*(make() for make in world.CONTAINED), world.proposed(instance="cut-tool@weather/add"))
    held = Event("legal_hold", {"by": "kim", "reason": "a court asked"}, "kim")
    site.append(world.opened(), held, incident=OTHER)
    assert site.run("enroll", "rae", "--role", "reviewer").exit_code == 0
    shown = site.run(*name.split(), *ASKS[name])
    assert shown.exit_code == Exit.USAGE, shown.output
    said = " ".join(shown.stderr.split())
    assert "--yes" in said
    assert INSTANCE in str(site.json("leases"))

    async def waiting() -> int:
        journal = await open_journal(site.config, name="test", writing=False)
        try:
            return len(await journal.waiting(10))
        finally:
            await journal.aclose()

    assert asyncio.run(waiting()) == 0, "nothing was handed in"


def test_the_exit_code_is_explained_so() -> None:
    (line,) = [one for one in HELP.replace("\n      ", " ").splitlines() if one.strip().startswith("2 ")]
    assert "--yes" in line
