"""Approving definitions: signed by somebody who may, shown so that it can be read, and worth nothing once edited."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.output import Out
from flows.cli.work.reviewing import PinDifference, show
from flows.demo import site as building
from flows.demo.contextforge import RunningGateway
from flows.demo.mcp_server import POISON, Behaviour, McpServer
from flows.service.access import open_journal
from flows.service.settings import read
from playbooks.estate.pins import Dossier, Pin, PinKind
from playbooks.people.review import STREAM
from playbooks.record.journal import Entry
from playbooks.strict import digest
from tests.flows.cli.test_estate import alert, responding
from tests.flows.cli.world import Installation
from tests.lab.fixtures import unique_name

pytestmark = pytest.mark.system("contextforge")


@pytest.fixture
def unsigned(site: Installation, gateway: RunningGateway, victim: McpServer) -> tuple[Installation, str]:
    """An installation whose pins nobody signed for, as those of the first release; rae and sue may review."""
    name = unique_name("weather")
    built = asyncio.run(building.build(gateway, victim, site.folder / "secrets", name=name))
    built.write(site.folder)
    for who in ("rae", "sue"):
        assert site.run("enroll", who, "--role", "reviewer").exit_code == 0
    return site, name


def approve(site: Installation, name: str, *words: str, who: str = "rae") -> dict[str, Any]:
    found: dict[str, Any] = site.json("pins", "approve", name, "--reviewed", "all of it", "--as", who, "--yes", *words)
    return found


def line(site: Installation, check: str) -> dict[str, str]:
    checks = json.loads(site.run("doctor", "--json").stdout)["checks"]
    (found,) = [one for one in checks if one["check"] == check]
    return {key: str(value) for key, value in found.items()}


def edit(site: Installation, server: str, tool: str, **changes: object) -> None:
    """Change a pin with an editor."""
    file = site.folder / "pins.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    (pin,) = [one for one in document["servers"][server] if one["name"] == tool]
    pin.update(changes)
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def cut_of(site: Installation, name: str, tool: str, folder: Path) -> dict[str, object]:
    """Return what `plan` says of the cut that an alert about a tool would make."""
    plans = site.json("plan", alert(folder, name, tool), "--source", "generic")["plans"]
    return next(one for one in plans if one["step"].startswith("cut"))


def test_only_a_reviewers_own_key_approves(unsigned: tuple[Installation, str]) -> None:
    site, name = unsigned
    words = ("pins", "approve", name, "--reviewed", "all", "--yes")
    before = (site.folder / "pins.yaml").read_bytes()
    assert "eve is not enrolled" in site.error(*words, "--as", "eve", code=4)["message"]
    assert (
        "that takes the role reviewer, and kim has responder, approver"
        in (site.error(*words, "--as", "kim", code=4)["message"])
    )
    assert "rae cannot review as owner" in site.error(*words, "--as", "rae", "--role", "owner", code=4)["message"]
    sues = str(site.home / "mcp-soar" / "people" / "sue.key")
    assert "not one of rae's enrolled key" in site.error(*words, "--as", "rae", "--key", sues, code=4)["message"]
    assert (site.folder / "pins.yaml").read_bytes() == before, "nothing was written"


def test_nobody_is_shown_what_they_cannot_approve(site: Installation) -> None:
    """Without a terminal, without a role, without a key: refused before any server is asked."""
    words = ("pins", "approve", "weather", "--reviewed", "all")
    assert site.run("enroll", "rae", "--role", "reviewer").exit_code == 0
    unseen = site.run(*words, "--as", "rae")
    assert (unseen.exit_code, unseen.stdout) == (2, "")
    assert "nobody approves unseen" in unseen.stderr
    message = site.error(*words, "--yes", "--as", "kim", code=4)["message"]
    assert message.startswith("kim cannot review: that takes the role reviewer")
    (site.home / "mcp-soar" / "people" / "rae.key").unlink()
    assert "there is no key of rae" in site.error(*words, "--yes", "--as", "rae", code=3)["message"]


def test_pins_of_an_earlier_release_are_asked_about_until_one_command_signs_for_them(
    unsigned: tuple[Installation, str], victim: McpServer, tmp_path: Path
) -> None:
    site, name = unsigned
    said = line(site, f"pins of {name}")
    assert said["level"] == "warn"
    assert "was reviewed by nobody" in said["message"]
    assert said["remedy"].startswith(f"`mcp-soar pins approve {name} ")
    victim.poison("get_weather")
    asked = cut_of(site, name, "get_weather", tmp_path)
    assert asked["decision"] == "needs_approval"
    assert f"the approved tool get_weather of {name} was reviewed by nobody" in str(asked["reasons"])
    victim.behave()

    assert approve(site, name)["written"]
    assert "no responder has journalled it yet" in line(site, f"pins of {name}")["message"]
    with responding(site):
        pass
    assert line(site, f"pins of {name}")["level"] == "ok"
    victim.poison("get_weather")
    assert cut_of(site, name, "get_weather", tmp_path)["decision"] == "allow"
    # What an editor changes afterwards is no longer what rae signed for, whatever the file says.
    edit(site, name, "get_weather", gateway_name="another")
    asked = cut_of(site, name, "get_weather", tmp_path)
    assert asked["decision"] == "needs_approval"
    assert "is not what was reviewed: pins.yaml was changed by other means" in str(asked["reasons"])
    assert "changed by other means" in line(site, f"pins of {name}")["message"]


def test_the_journal_takes_a_review_once_and_none_that_is_forged(unsigned: tuple[Installation, str]) -> None:
    site, name = unsigned
    approve(site, name)
    file = site.folder / "pins.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    (genuine,) = document["reviews"]
    forged = json.loads(json.dumps(genuine))
    forged["request"]["nonce"] = "f" * 24
    forged["request"]["subject"] = "weather"
    document["reviews"] = [forged, genuine]
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    for _ in range(2):
        with responding(site):
            pass
    entries = [entry.parsed() for entry in asyncio.run(journalled(site))]
    assert [entry.body["signed"]["request"]["nonce"] for entry in entries] == [genuine["request"]["nonce"]]
    assert entries[0].actor == "rae"
    assert read(site.folder).inventory.pins.reviews, "a forged review keeps nothing from being read"


async def journalled(site: Installation) -> list[Entry]:
    journal = await open_journal(site.config, name="test", writing=False)
    try:
        return await journal.read(STREAM)
    finally:
        await journal.aclose()


def test_two_people_where_the_policy_says_so(unsigned: tuple[Installation, str]) -> None:
    site, name = unsigned
    (site.folder / "policy.yaml").write_text("version: 1\nreview: {people: {medium: 2}}\n", encoding="utf-8")
    alone = site.run("pins", "approve", name, "--reviewed", "all", "--as", "rae", "--yes")
    assert "was reviewed by rae; it takes 2 people" in " ".join(alone.stdout.split())
    assert not approve(site, name)["written"], "the same person again is no second one"
    assert approve(site, name, who="sue")["written"]
    with responding(site):
        pass
    assert line(site, f"pins of {name}")["level"] == "ok"


def test_what_eyes_skip_is_pointed_at_and_only_what_is_shown_is_approved(
    unsigned: tuple[Installation, str], victim: McpServer
) -> None:
    site, name = unsigned
    approve(site, name)
    victim.behave(
        Behaviour(described={"get_weather": f"Weather.{POISON}", "add": "Sum."}, added=("brand_new", "brand_old"))
    )
    rows = site.json("pins", "diff", name, "--change", "new", "--tool", "*_new", code=1)["differences"]
    assert [row["name"] for row in rows] == ["brand_new"]
    words = ("pins", "approve", name, "--flagged", "--reviewed", "all", "--as", "rae", "--yes")
    before = (site.folder / "pins.yaml").read_bytes()
    assert "add --accept get_weather" in site.error(*words, code=2)["message"], "a yes does not cover that"
    assert "nothing is pointed at in add" in site.error(*words, "--accept", "add", code=2)["message"]
    assert (site.folder / "pins.yaml").read_bytes() == before
    shown = site.run(*words, "--accept", "get_weather")
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.stdout.split())
    assert "! tool get_weather, description: “" in text
    assert "~/.ssh/id_rsa" in text
    assert "brand_new is new, nobody approved it" not in text, "what was not asked for is not reviewed"
    rest = "tool add (changed), tool brand_new (new), tool brand_old (new)"
    assert f"Of {name} stays unapproved: {rest}. `mcp-soar pins diff {name}` shows it." in text
    pins = site.config.inventory.pins
    weather, add = (pins.find(name, PinKind.TOOL, tool) for tool in ("get_weather", "add"))
    assert weather is not None
    assert weather.definition["description"] == f"Weather.{POISON}"
    assert add is not None
    assert add.definition["description"] == "Add two integers.", "what was not shown is not approved"
    assert pins.find(name, PinKind.TOOL, "brand_new") is None
    left = site.json("pins", "diff", name, code=1)["differences"]
    assert {(row["name"], row["change"]) for row in left} == {
        ("add", "changed"),
        ("brand_new", "new"),
        ("brand_old", "new"),
    }
    new = site.run("pins", "diff", name, "--change", "new").stdout
    assert "description:" in new
    assert "+Return a number." not in new, "what is new is read as text"
    assert "+Sum." in site.run("pins", "diff", name, "--change", "changed").stdout
    assert site.error("pins", "diff", name, "--tool", "nope*", code=6)
    assert site.error("pins", "diff", name, "--change", "odd", code=2)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "object"}, True),
        ({}, True),
        ({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}, False),
    ],
)
def test_where_a_tools_schema_refuses_no_call_the_reviewer_hears_of_it(
    schema: dict[str, object], *, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    definition = {"name": "any", "description": "Takes anything.", "inputSchema": schema}
    pin = Pin(
        kind=PinKind.TOOL, name="any", digest=digest("any"), definition=definition, dossier=Dossier(reviewed="not yet")
    )
    new = [PinDifference("weather", "tool", "any", "new", "")]
    show(Out(as_json=False), new, [pin], set())
    assert ("its schema refuses no call" in " ".join(capsys.readouterr().out.split())) is said
    show(Out(as_json=False), new, [pin], {("weather", "any")})
    assert "its schema refuses no call" not in " ".join(capsys.readouterr().out.split())
