"""Whoever is asked says yes at a terminal or with --yes; without either nothing is done, by any command."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from flows.cli.main import app
from flows.cli.output import Out
from flows.service.access import open_journal
from playbooks.people.request import SignedRequest
from tests.flows.cli import world
from tests.flows.cli.world import Installation

OTHER = "inc-2026-000002"
ASKING = {
    "approve": ("approve", "2"),
    "deny": ("deny", "2"),
    "release": ("release", "1"),
    "close": ("close", "2"),
    "join": ("join", "1", "2"),
    "classify": ("classify", "2", "--as-class", "tool_misuse"),
    "unhold": ("unhold", "1", "--reason", "settled"),
    "purge": ("purge",),
}
"""A command line for each command that asks and hands in; what `contain` shows comes from a gateway (test_contain)."""
ELSEWHERE = {"contain", "respond", "inventory import", "inventory upgrade", "pins approve", "suppress"}
"""What asks too, and has its own tests, for it needs a gateway, a server, or a campaign (test_campaigns)."""


def commands(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  # upstream's types are private
    """Yield every command with its whole name."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name}{word} ")
        else:
            yield f"{name}{word}", command


def options(command: Any, flag: str) -> list[Any]:  # noqa: ANN401  # likewise
    return [option for option in command.params if flag in option.opts]


EVERY = dict(commands(typer.main.get_command(app)))


@pytest.fixture
def asking(site: Installation) -> Installation:
    site.append(*(make() for make in world.CONTAINED))
    site.append(world.opened(key="b"), world.alert(), world.proposed(), incident=OTHER, correlation="b")
    return site


def waiting(site: Installation) -> int:
    """Return how many messages wait in the inbox."""

    async def work() -> int:
        async with await open_journal(site.config, name="test", writing=False) as journal:
            return len(await journal.waiting(100, kinds=["request"]))

    return asyncio.run(work())


def test_every_command_that_says_yes_is_tried() -> None:
    assert {name for name, command in EVERY.items() if options(command, "--yes")} == ASKING.keys() | ELSEWHERE


@pytest.mark.parametrize("words", ASKING.values(), ids=ASKING)
def test_without_a_terminal_and_without_yes_nothing_is_done(asking: Installation, words: tuple[str, ...]) -> None:
    for more in ((), ("--no-wait",), ("--print",) if options(EVERY[words[0]], "--print") else ()):
        result = asking.run(*words, "--as", "lee", *more)
        assert result.exit_code == 2, result.output
        assert "add --yes" in " ".join(result.stderr.split())
    assert "--json asks nobody" in asking.error(*words, "--as", "lee", code=2)["message"]
    assert waiting(asking) == 0


@pytest.mark.parametrize("words", ASKING.values(), ids=ASKING)
def test_yes_is_said_before_anybody_asks(asking: Installation, words: tuple[str, ...]) -> None:
    if options(EVERY[words[0]], "--print"):
        printed = asking.run(*words, "--as", "lee", "--yes", "--print")
        assert SignedRequest.model_validate_json(printed.stdout).request.verb == words[0]
    else:
        assert asking.json(*words, "--as", "lee", "--yes", "--no-wait")["state"] == "handed_in"


@pytest.mark.parametrize("words", ASKING.values(), ids=ASKING)
@pytest.mark.parametrize("answer", ["n", "", "yes"])
def test_at_a_terminal_it_asks_and_only_yes_is_yes(
    asking: Installation, words: tuple[str, ...], answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Out, "asks", property(lambda out: not out.as_json))
    result = asking.run(*words, "--as", "lee", "--no-wait", text=f"{answer}\n")
    assert "as lee? [y/N]" in " ".join(result.stderr.split())
    assert result.exit_code == (0 if answer == "yes" else 1), result.output
    assert waiting(asking) == (answer == "yes")


def test_as_says_who_you_are_wherever_it_stands() -> None:
    meanings = {name: option for name, command in EVERY.items() for option in options(command, "--as")}
    assert len(meanings) > 20
    assert [name for name, option in meanings.items() if option.envvar != "MCP_SOAR_PERSON"] == []
