"""`plan`, `pins`, `doctor`, and a whole response by hand, on a real gateway with a real server behind it."""

import asyncio
import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.demo import site as building
from flows.demo.contextforge import RunningGateway
from flows.demo.mcp_server import Behaviour, McpServer
from flows.service.assembly import assembled
from flows.service.responder import Responder
from integrations.signing import SigningKey
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.enrol import fresh_password, issue
from playbooks.estate.pins import PinKind
from tests.flows.cli.world import Installation
from tests.lab.connected import connected
from tests.lab.fixtures import unique_name

pytestmark = pytest.mark.system("contextforge")

HIDDEN = "Adds two numbers.\u200b [red]\x1b]0;owned\x07"


@pytest.fixture
def estate(site: Installation, gateway: RunningGateway, victim: McpServer) -> tuple[Installation, str]:
    """The installation with a real server, approved as it is now; and what the inventory calls it."""
    name = unique_name("weather")
    built = asyncio.run(building.build(gateway, victim, site.folder / "secrets", name=name))
    for who in ("rae", "sue"):
        assert site.run("enroll", who, "--role", "reviewer").exit_code == 0
    key = SigningKey.load(site.home / "mcp-soar" / "people" / "rae.key")
    built.reviewed("rae", key.sign).write(site.folder)
    return site, name


@contextlib.contextmanager
def responding(site: Installation) -> Iterator[None]:
    """Run a whole responder meanwhile."""
    loop = asyncio.new_event_loop()
    stop, ready = asyncio.Event(), threading.Event()

    async def work() -> None:
        async with assembled(site.config) as parts:
            ready.set()
            await Responder(parts).run(stop)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(work())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)


def alert(folder: Path, server: str, *tools: str, title: str = "poisoned") -> str:
    path = folder / "alert.json"
    document = {
        "version": 1,
        "id": "scan-1",
        "rule": "Tool description changed",
        "title": title,
        "severity": "high",
        "detected_at": "2026-01-31T12:00:00Z",
        "entities": [{"kind": "tool", "name": tool, "server": server} for tool in tools],
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


def test_plan_shows_a_diff_and_the_gates_decision_and_changes_nothing(
    estate: tuple[Installation, str], victim: McpServer, tmp_path: Path
) -> None:
    site, name = estate
    path = alert(tmp_path, name, "get_weather")

    unconfirmed = site.json("plan", path, "--source", "generic")["plans"]
    victim.poison("get_weather")
    confirmed = site.json("plan", path, "--source", "generic")["plans"]
    asked = site.json("plan", "--class", "tool_poisoning", "--tool", f"{name}/get_weather")
    by_hand = asked["plans"]
    shown = site.run("plan", path, "--source", "generic").stdout

    cut = {plans[0]["decision"]: plans[0] for plans in (unconfirmed, confirmed)}
    assert set(cut) == {"needs_approval", "allow"}
    (rule,) = cut["allow"]["rules"]
    assert rule.startswith("rule 1 of policy.yaml (class: tool_poisoning, ")
    assert rule.endswith("): automatic up to a tool")
    assert "nothing of our own confirms it" in " ".join(cut["needs_approval"]["reasons"])
    (change,) = confirmed[0]["changes"]
    assert (change["before"], change["after"], change["pending"]) == (True, False, True)
    assert confirmed[0]["undone_by"]
    assert by_hand[0]["digest"] == confirmed[0]["digest"]
    by_a_person = "this is what `mcp-soar respond` would do, each step once another person approves it"
    assert [note.startswith(by_a_person) for note in asked["notes"]].count(True) == 1
    assert any("only if a cut does not hold" in plan["reasons"] for plan in confirmed)
    assert "- enabled: true" in shown
    assert "+ enabled: false" in shown
    assert site.json("pins", "diff", name, code=1)["differences"][0]["change"] == "changed"
    assert not (site.folder / "state" / "journal.db").exists()


def test_a_plan_for_many_things_is_held_to_the_caps_as_it_goes_along(
    estate: tuple[Installation, str], victim: McpServer, tmp_path: Path
) -> None:
    site, name = estate
    tools = ("get_weather", "get_forecast", "add")
    victim.poison(*tools)
    plans = site.json("plan", alert(tmp_path, name, *tools), "--source", "generic")["plans"]
    cuts = [one for one in plans if one["step"][:3] == "cut"]
    # Three tools, a prompt, a resource, the agent, its token, the server: a fifth of eight, rounded up.
    assert [one["decision"] for one in cuts] == ["allow", "allow", "needs_approval"]
    assert "3 would be contained automatically" in cuts[2]["reasons"][0]
    words = [word for tool in tools for word in ("--tool", f"{name}/{tool}")]
    asked = [one for one in site.json("plan", "--class", "tool_poisoning", *words)["plans"] if one["step"][:3] == "cut"]
    assert {one["decision"] for one in asked} == {"needs_approval"}, "one person's word is decided by another's"


def test_what_differs_is_shown_and_approved_and_what_was_shown_is_written(
    estate: tuple[Installation, str], victim: McpServer
) -> None:
    site, name = estate
    assert site.json("pins", "diff")["differences"] == []
    victim.behave(Behaviour(described={"add": HIDDEN}, added=("brand_new",)))

    differs = site.run("pins", "diff", name)
    unseen = site.error("pins", "approve", name, "--reviewed", "all", "--as", "rae", code=2)
    words = ("pins", "approve", name, "--reviewed", "all", "--yes", "--accept", "add")
    one = site.json(*words, "--tool", "add", "--as", "rae")
    left = site.json("pins", "diff", name, code=1)["differences"]
    rest = site.run(*words, "--as", "sue")

    assert differs.exit_code == 1
    assert not set(differs.stdout + rest.stdout) & {"\x1b", "\x07", "\u200b"}
    assert "[red]" in differs.stdout
    assert "nobody approves unseen" in unseen["message"]
    assert [row["name"] for row in one["approved"]] == ["add"]
    assert [(row["name"], row["change"]) for row in left] == [("brand_new", "new")]
    assert rest.exit_code == 0, rest.output
    pins = site.config.inventory.pins
    add = pins.find(name, PinKind.TOOL, "add")
    assert add is not None
    assert add.definition["description"] == HIDDEN
    assert [(one.by, one.role) for one in add.dossier.sign_offs] == [("rae", "reviewer"), ("sue", "reviewer")]
    assert site.json("pins", "diff", name)["differences"] == []


def test_hidden_characters_are_pointed_at(estate: tuple[Installation, str], victim: McpServer) -> None:
    site, name = estate
    victim.behave(Behaviour(described={"add": HIDDEN}))
    result = site.run("pins", "approve", name, "--reviewed", "all", "--as", "rae", "--yes")
    assert result.exit_code == 2, "a yes does not cover that"
    assert "add holds hidden characters: U+0007, U+001B, U+200B" in " ".join(result.stdout.split())


def test_doctor_says_ok_line_by_line_and_what_to_do_about_the_rest(
    estate: tuple[Installation, str], victim: McpServer
) -> None:
    site, name = estate
    good = site.json("doctor")
    levels = {line["check"]: line["level"] for line in good["checks"]}
    assert good["ok"]
    for check in ("configuration", "signing key", "people", "gateway main", "canary of main", f"server {name}"):
        assert levels[check] == "ok", good
    logs = [line for line in good["checks"] if line["check"] == "logs of main"]
    assert [line["message"].partition(":")[0] for line in logs] == ["audit trail", "security events"]
    assert logs[0]["level"] == "ok", "it is on there, and a virtual server was read"
    assert all("SECURITY_LOGGING_ENABLED=true" in line["remedy"] for line in logs if line["level"] != "ok")

    victim.poison("get_weather")
    (site.folder / "secrets" / "canary-token").write_text("nonsense", encoding="utf-8")
    (site.folder / "people.yaml").write_text("version: 1\npeople: {}\n", encoding="utf-8")
    bad = site.json("doctor", code=1)
    by = {line["check"]: line for line in bad["checks"] if line["level"] != "ok"}
    assert by["canary of main"]["level"] == "fail"
    assert "mcp-soar pins diff" in by[f"server {name}"]["remedy"]
    assert any(line["check"] == "people" and line["level"] == "fail" for line in bad["checks"])
    assert all(line["remedy"] for line in bad["checks"] if line["level"] == "fail")

    (site.folder / "policy.yaml").write_text("version: 2\n", encoding="utf-8")
    assert "policy.yaml:1" in site.json("doctor", code=1)["checks"][0]["message"]


def test_doctor_calls_what_a_verification_will_call(estate: tuple[Installation, str]) -> None:
    site, name = estate

    def canary() -> dict[str, str]:
        checks = json.loads(site.run("doctor", "--json").stdout)["checks"]
        ours = (line for line in checks if line["check"] == "canary of main")
        return {line["level"]: f"{line['message']} {line['remedy']}" for line in ours}

    said = canary()
    assert said.keys() == {"ok"}
    assert f"call of add of {name} gets through" in said["ok"]
    token = site.folder / "secrets" / "canary-token"
    token.write_text(asyncio.run(powerless(site, name)), encoding="utf-8")
    said = canary()
    assert "lists" in said["ok"]
    assert f"call of add of {name} meets: HTTP 200, tool error: Access denied" in said["fail"]
    assert "right to call tools" in said["fail"]
    (site.folder / "pins.yaml").unlink()
    said = canary()
    assert "fail" not in said
    assert "was not asked" in said["warn"]


async def powerless(site: Installation, name: str) -> str:
    """Make a user who may list and not call, as every new one may, and return a token of theirs."""
    world, user = connected(site.config.inventory), f"powerless-{name}@example.com"
    try:
        forge = world.reach(ContextForge, "main")
        body = {"email": user, "full_name": "x", "password": fresh_password()}
        await forge.api.request("POST", "/v1/auth/email/admin/users", body=body)
        return (await issue(forge, user, "powerless")).secret
    finally:
        await world.aclose()


def test_a_response_by_hand_from_start_to_release(estate: tuple[Installation, str], victim: McpServer) -> None:
    site, name = estate
    victim.poison("get_weather")
    with responding(site):
        act = site.json("respond", "--class", "tool_poisoning", "--tool", f"{name}/get_weather", "--as", "kim")
        assert (act["state"], act["status"]) == ("waiting", "awaiting_approval")
        act = site.json("approve", act["incident"], "--as", "lee", "--yes")
        assert (act["state"], act["status"]) == ("done", "contained")
        while not (it := site.json("incident", act["incident"]))["bundle"]:
            pass  # each look is a process's work; the test's time-out ends it
        planned = site.json("plan", "--class", "tool_poisoning", "--tool", f"{name}/get_weather")["plans"][0]
        checks = json.loads(site.run("doctor", "--json").stdout)["checks"]
        victim.behave()
        freed = site.json("release", act["incident"], "--as", "sam", "--yes", "--reason", "it was a drill")
        after = site.json("incident", act["incident"])
    assert it["metrics"]["first_effect_seconds"] <= it["metrics"]["verified_seconds"] < 30
    assert it["leases"][0]["verdict"] == "established"
    assert not planned["changes"][0]["pending"]
    (differs,) = [line for line in checks if line["check"] == f"server {name}"]
    assert differs["remedy"].startswith(f"{act['incident']} holds it: see why"), "not: approve it"
    assert freed["state"] == "done", freed
    assert after["metrics"]["released_at"]
    assert site.json("verify")["ok"]
    key = str(site.folder / "keys" / "responder.pub")
    assert "archive" in site.error("verify", after["bundle"], "--key", key, code=2)["message"]
    out = str(site.folder / "evidence.tar.gz")
    assert site.json("archive", act["incident"], "--out", out)["file"] == out
    assert site.json("verify", out, "--key", key)["ok"]
    assert site.error("verify", out, code=2)
    _cut_the_tail(site.folder / "state" / "journal.db")
    (found,) = [check for check in site.json("verify", code=1)["checks"] if check["check"] == "journal"]
    assert "was witnessed, and the heads end with 1" in found["message"]


def _cut_the_tail(path: Path) -> None:
    """Take back everything after the first head, leaving no loose end inside the journal."""
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM head WHERE n > 1")
        database.execute("DELETE FROM entry WHERE head > 1")
        database.execute("UPDATE chain SET n = 1, hash = (SELECT hash FROM head WHERE n = 1)")
        database.execute("DELETE FROM stream WHERE name NOT IN (SELECT stream FROM entry)")
        database.execute("UPDATE stream SET seq = (SELECT max(seq) FROM entry AS e WHERE e.stream = stream.name)")
        database.execute(
            "UPDATE stream SET hash = (SELECT hash FROM entry AS e WHERE e.stream = stream.name AND e.seq = stream.seq)"
        )
    database.close()


def test_gateways_that_do_not_answer(site: Installation) -> None:
    bad = site.json("doctor", code=1)
    failed = {line["check"] for line in bad["checks"] if line["level"] == "fail"}
    assert {"gateway main", "server weather"} <= failed
    assert site.error("pins", "diff", "weather", code=5)
    planned = site.json("plan", "--class", "tool_poisoning", "--tool", "weather/forecast")["plans"]
    assert planned[0]["decision"] == "unknown"
    assert site.error("pins", "diff", "nowhere", code=6)
