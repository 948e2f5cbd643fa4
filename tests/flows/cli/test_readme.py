"""What people are told to type is what there is: commands with their options, values and arguments; make's targets."""

import contextlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from flows.cli.main import app
from flows.demo.contextforge import executable
from flows.engine.schedule import Todo
from integrations.registry import SYSTEMS
from playbooks.errors import Misconfigured
from playbooks.gate.plan import Radius
from playbooks.gate.policy import Release
from playbooks.record.incident import Phase
from tests.bench.targets import COMMANDS

ROOT = Path(__file__).parents[3]
PROGRAM = "mcp-soar"
COMMAND: Any = typer.main.get_command(app)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

_GOES_ON = re.compile(r"(?:\\|( \|))\n\s*")
"""Where a line is broken that a shell takes as one."""
_AFAR = re.compile(rf"^ssh \S+ '?/\S*/{PROGRAM} ([^'>]*[^'> ])'?(?: > \S+)?$")


def lines(text: str) -> list[str]:
    """Return the command lines of a Markdown text: in its fences, and between backticks.

    The program's name may be left out of what follows another command: in a table's cell, and before arguments.
    """
    blocks = [_GOES_ON.sub(r"\1 ", block) for language, block in _FENCE.findall(text) if not language]
    fenced = [line for block in blocks for line in block.splitlines()]
    # Whatever is piped into another command, and what ssh runs elsewhere, under its whole path.
    found = [_AFAR.sub(rf"{PROGRAM} \1", part) for line in fenced for part in line.split(" | ")]
    for part in re.split(r"\n\n|\|", _FENCE.sub("", text)):
        listed = part.lstrip().startswith(f"`{PROGRAM} ")
        for span in (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", part)):
            name, _, arguments = span.partition(" ")
            short = name in COMMAND.commands and (listed or arguments)
            found.append(f"{PROGRAM} {span}" if short else span)
    # `source <(…)` runs one too. `mcp-soar … --print` stands for several.
    found = [re.sub(r"^source <\((.*)\)$", r"\1", line.partition("  #")[0].rstrip()) for line in found]
    return list(dict.fromkeys(line for line in found if re.match(rf"{PROGRAM} [a-z-]", line)))


def parse(line: str) -> None:
    """Have the command line parse a line, and do nothing."""
    words = shlex.split(re.sub(r"[\[\]]", "", line))[1:]
    command, name, context = COMMAND, PROGRAM, None
    with contextlib.suppress(typer.Exit):
        while True:
            # A name alone is a mention, not a line to type.
            context = command.make_context(name, words or ["--help"], parent=context)
            if not hasattr(command, "resolve_command"):
                return
            name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])  # noqa: SLF001  # as its own `invoke` does


README = (ROOT / "README.md").read_text(encoding="utf-8")
_PATHS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
GUIDES = {path: path.read_text(encoding="utf-8") for path in _PATHS}
# That of the screening is made by a program, and quotes patterns.
_TOLD = (text for path, text in GUIDES.items() if path.name != "screening.md")
LINES = list(dict.fromkeys(line for text in _TOLD for line in lines(text)))
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("line", LINES)
def test_what_the_readme_says_is_understood(line: str) -> None:
    parse(line)


@pytest.mark.parametrize("words", COMMANDS)
def test_what_the_benchmark_measures_is_understood(words: str) -> None:
    parse(f"{PROGRAM} {words}")


def anchors(text: str) -> set[str]:
    """Return what a Markdown text's headings are called in links to them, as GitHub makes it."""
    heads = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name if path.parent == ROOT else f"docs/{path.name}")
def test_what_the_guides_point_at_is_there(path: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", GUIDES[path])):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("guide", ["write-a-playbook.md", "add-a-system.md"])
def test_a_guide_names_no_step_that_there_is_not(guide: str) -> None:
    named = set(re.findall(r"`((?:gateway|mcp)\.\w+)`", (ROOT / "docs" / guide).read_text(encoding="utf-8")))
    assert named
    assert named <= set(SYSTEMS.steps)


def test_every_guide_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in GUIDES if path.parent.name == "docs"} - {"README.md"} <= set(_LINK.findall(index))
    assert "docs/README.md" in _LINK.findall(README)


def test_the_commands_of_the_readme_are_found() -> None:
    wanted = {
        "mcp-soar enroll ann --role responder --role approver",
        "mcp-soar incident 7",
        "mcp-soar message show 7 --notice awaiting_approval --language ko",
        "mcp-soar completion bash",
        "mcp-soar restore FILE.tar --into DIR [--journal postgresql://…]",
    }
    assert wanted <= set(LINES)


@pytest.mark.parametrize(
    "line",
    [
        "mcp-soar incidnet 7",
        "mcp-soar report 7 --to 7.pdf",
        "mcp-soar close 7 8",
        "mcp-soar ack 7 --wait soon",
        "mcp-soar suppress source:falco --for 2h",
        "mcp-soar message shwo 7",
    ],
)
def test_what_is_not_understood_is_found(line: str) -> None:
    with pytest.raises(typer.TyperException):
        parse(line)


def test_make_has_the_targets_that_people_are_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MCP_SOAR_GATEWAY_VENV", str(tmp_path))
    with pytest.raises(Misconfigured) as missing:
        executable()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for text in (README, str(missing.value)):
        told = set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)", text, re.MULTILINE))
        assert told
        assert {name for names in told for name in names if name} <= targets


def test_the_example_of_an_extension_ends_after_what_a_lease_begins_with() -> None:
    hours = re.search(r"`extend 7 --for (\d+)h", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert hours is not None
    assert int(hours[1]) > Todo("", Phase.CUT, "action", "").lease / 3600


def test_the_examples_of_one_agent_in_two_guides_go_together() -> None:
    gateway = (ROOT / "docs/connect-a-gateway.md").read_text(encoding="utf-8")
    provider = (ROOT / "docs/connect-an-identity-provider.md").read_text(encoding="utf-8")
    theirs = set(re.findall(r"(?:refresh|held): \{(\w+):", provider))
    assert theirs
    assert not theirs & set(re.findall(r'/v1/tokens \'\{"name": "(\w+)"', gateway)), "a label means one token"


def test_what_the_texts_say_of_a_release_is_what_the_policy_begins_with() -> None:
    assert Release().second_person_from is Radius.PRINCIPAL
    for name in ("README.md", "docs/connect-a-gateway.md"):
        assert re.search(
            r"server.{0,80}(second person|wait for bob)", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL
        )
