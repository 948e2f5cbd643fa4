"""`inventory import` on a real gateway: from its address and a password to an inventory that can be acted on."""

import asyncio
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from flows.cli.output import Out
from flows.demo.contextforge import RunningGateway
from flows.demo.mcp_server import McpServer
from flows.service.settings import read
from integrations.gateways.canary import Canary
from integrations.systems.contextforge import enrol
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.enrol import issue
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer
from playbooks.record.incident import Entity, EntityKind
from tests.flows.cli.world import Installation
from tests.lab.connected import connected
from tests.lab.fixtures import unique_name

pytestmark = pytest.mark.system("contextforge")

T = TypeVar("T")


@pytest.fixture
def fresh(tmp_path: Path, gateway: RunningGateway) -> Installation:
    """A folder from `init` and nothing else, with the administrator's password in its place."""
    site = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    assert site.run("init", str(site.folder)).exit_code == 0
    password = site.folder / "secrets" / "main-password"
    password.write_text(gateway.password + "\n", encoding="utf-8")
    password.chmod(0o600)
    return site


def words(gateway: RunningGateway, canary: str = "") -> list[str]:
    where = ["inventory", "import", "main", "--url", gateway.url, "--user", gateway.user]
    return [*where, *(["--canary", canary] if canary else [])]


def at(site: Installation, gateway: RunningGateway, act: Callable[[ContextForge], Awaitable[T]]) -> T:
    """Do something at the gateway as its administrator."""

    async def work() -> T:
        forge = ContextForge("main", read(site.folder).inventory.gateways["main"], gateway.password)
        forge.patience = 30.0
        try:
            return await act(forge)
        finally:
            await forge.aclose()

    return asyncio.run(work())


def server_of(site: Installation, victim: McpServer) -> str:
    """Return what the inventory calls the victim."""
    # The gateway takes 127.0.0.1 for localhost.
    url = victim.url.replace("127.0.0.1", "localhost")
    return next(name for name, one in site.config.inventory.servers.items() if one.url == url)


def test_from_an_address_and_a_password_to_a_canary_that_calls(
    fresh: Installation, gateway: RunningGateway, victim: McpServer
) -> None:
    canary = f"{unique_name('canary')}@example.com"
    assert fresh.json(*words(gateway, canary), "--yes", code=0)["canary"]["made"] is False
    name, user = unique_name("Weather Co"), f"{unique_name('agent')}@example.com"

    async def put(forge: ContextForge) -> tuple[str, str]:
        entry = await enrol.register(forge, name, victim.url)
        await enrol.client_user(forge, user)
        return entry, (await issue(forge, user, "laptop")).id

    entry, token = at(fresh, gateway, put)
    shown = fresh.run("inventory", "import", "main", "--dry-run")
    before = (fresh.folder / "inventory.yaml").read_text(encoding="utf-8")
    made = fresh.json("inventory", "import", "main", "--make-canary", "--yes")
    again = fresh.json("inventory", "import", "main", "--make-canary", "--yes")

    assert f'+    title: "{name}"' in shown.stdout
    assert "it was a dry run" in shown.stdout
    inventory = fresh.config.inventory
    server = server_of(fresh, victim)
    assert inventory.servers[server].aliases == (name,)
    gate = inventory.servers[server].gateway
    assert gate is not None
    assert gate.id == entry
    assert set(inventory.servers[server].offers.tools) == {"add", "get_weather", "get_forecast"}
    assert len(inventory.servers[server].offers.prompts) == len(inventory.servers[server].offers.resources) == 1
    (who,) = [who for who, one in inventory.principals.items() if user in one.users]
    assert inventory.principals[who].tokens == {"laptop": token}
    assert not inventory.pins.of(server), "nobody approved any of it"
    listed = fresh.json("inventory", "show")["servers"][server]
    assert listed["offers"]["tools"] == inventory.servers[server].offers.tools
    assert "nothing of 3 tool, 1 prompt, 1 resource that it offered" in " ".join(
        fresh.run("inventory", "show", env={"COLUMNS": "200"}).stdout.split()
    )
    assert made["canary"]["made"]
    assert [(one["setting"], one["on"]) for one in made["audit"]] == [
        ("AUDIT_TRAIL_ENABLED", True),
        ("SECURITY_LOGGING_ENABLED", True),
    ]
    assert len(made["credential_ids"]) == 1
    assert set(made["credential_ids"]) <= set(inventory.gateways["main"].credential_ids)
    assert canary not in [user for one in inventory.principals.values() for user in one.users], (
        "what is ours is no principal"
    )
    secret = fresh.folder / "secrets" / "main-canary"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert before != (fresh.folder / "inventory.yaml").read_text(encoding="utf-8")
    assert (again["written"], again["diff"], again["canary"]["made"], again["gone"]) == (False, "", False, [])
    offered = inventory.resolve(Entity(kind=EntityKind.TOOL, name="add", server=name))
    assert offered is not None
    assert (offered.id, offered.server) == ("add", server), "alerts may name it"

    async def ask() -> tuple[Answer, Answer]:
        world = connected(inventory)
        try:
            held = await world.reach(ContextForge, "main").tool(inventory.servers[server].offers.tools["add"], entry)
            assert held is not None
            asked = world.reach(Canary, "main")
            called = await asked.call(PinKind.TOOL, held.offered_as, {"a": 1, "b": 2}, refused=False)
            return (await asked.control_by_list(PinKind.TOOL)).answer, called.answer
        finally:
            await world.aclose()

    assert asyncio.run(ask()) == (Answer.ESTABLISHED, Answer.ESTABLISHED)


def test_the_commands_that_are_printed_make_a_canary(fresh: Installation, gateway: RunningGateway) -> None:
    canary = f"{unique_name('canary')}@example.com"
    asked = fresh.json(*words(gateway, canary), "--yes")["canary"]
    assert asked["commands"]
    assert not any(gateway.password in line for line in asked["commands"])
    script = "set -eu\n" + "\n".join(asked["commands"])
    shell = shutil.which("bash")
    assert shell is not None
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    subprocess.run([shell, "-c", script], check=True, env=env, timeout=60)  # noqa: S603  # what we print
    done = fresh.json("inventory", "import", "main", "--yes")
    assert "is there, with a token that is good" in done["canary"]["state"]
    assert done["canary"]["commands"] == []
    assert len(done["credential_ids"]) == 1

    async def ask() -> Answer:
        world = connected(fresh.config.inventory)
        try:
            return (await world.reach(Canary, "main").control_by_list(PinKind.TOOL)).answer
        finally:
            await world.aclose()

    assert asyncio.run(ask()) is Answer.ESTABLISHED
    assert stat.S_IMODE((fresh.folder / "secrets" / "main-canary").stat().st_mode) == 0o600


def test_a_person_is_asked_for_the_password_and_whether_to_write(
    fresh: Installation, gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal's answers are put in their places: this process has none."""
    password, file = fresh.folder / "secrets" / "main-password", fresh.folder / "inventory.yaml"
    password.unlink()
    before, answers = file.read_bytes(), [False, True]
    monkeypatch.setattr(Out, "asks", property(lambda _: True))
    monkeypatch.setattr(Out, "confirm", lambda _, _question: answers.pop(0))
    monkeypatch.setattr("getpass.getpass", lambda _prompt, **_: gateway.password)

    refused = fresh.run(*words(gateway))
    assert (refused.exit_code, file.read_bytes(), password.exists()) == (4, before, False)
    done = fresh.run(*words(gateway))
    assert done.exit_code == 0, done.output
    assert password.read_text(encoding="utf-8").strip() == gateway.password
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert gateway.password not in done.output
    assert gateway.password not in file.read_text(encoding="utf-8")


BY_HAND = """\
# Ours. {do not touch}
version: 1   # the format
systems:
    main: { kind: contextforge, url: 'URL', user: 'USER',   # the administrator
            password: {file: secrets/main-password},
            canary: {principal: CANARY, token: {file: secrets/canary}, url: "URL/mcp/"} }

servers:
      weather-by-hand:   # Ann's
          title: "Weather"
          places: {main: {id: ENTRY}}
          owner: ann
          environment: test
          tools: {add: {safe_arguments: {a: 1, b: 2}}}
          # control_tool: add

# The end.
"""


def test_an_inventory_written_by_hand_keeps_every_line_and_what_is_gone_is_named(
    fresh: Installation, gateway: RunningGateway, victim: McpServer
) -> None:
    file = fresh.folder / "inventory.yaml"
    name, user = unique_name("by-hand"), f"{unique_name('agent')}@example.com"
    fresh.json(*words(gateway), "--yes")

    async def put(forge: ContextForge) -> tuple[str, str]:
        await enrol.client_user(forge, user)
        return await enrol.register(forge, name, victim.url), (await issue(forge, user, "first")).id

    entry, first = at(fresh, gateway, put)
    text = BY_HAND.replace("ENTRY", entry).replace("CANARY", f"{unique_name('canary')}@example.com")
    text = text.replace("URL", gateway.url).replace("USER", gateway.user)
    text += f"principals:\n  agent: {{title: Agent, places: {{main: {{user: {user}, tokens: {{first: {first}}}}}}}}}\n"
    file.write_bytes(text.replace("\n", "\r\n").encode())
    file.chmod(0o640)
    fresh.json("inventory", "import", "main", "--yes")
    after = file.read_bytes().decode()

    lines = iter(after.splitlines(keepends=True))
    changed = [line for line in text.replace("\n", "\r\n").splitlines(keepends=True) if line not in lines]
    assert changed == [], "no line of theirs was changed or moved"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    inventory = fresh.config.inventory
    assert set(inventory.servers["weather-by-hand"].offers.tools) == {"add", "get_weather", "get_forecast"}
    assert inventory.servers["weather-by-hand"].owner == "ann"
    assert len([one for one in inventory.servers.values() if one.gateway and one.gateway.id == entry]) == 1

    async def change(forge: ContextForge) -> tuple[str, str]:
        await forge.api.request("DELETE", f"/v1/gateways/{entry}")
        await forge.revoke(first)
        return await enrol.register(forge, name, victim.url), (await issue(forge, user, "second")).id

    other, second = at(fresh, gateway, change)
    found = fresh.json("inventory", "import", "main", "--yes", code=1)
    gone = " | ".join(found["gone"])
    assert f"server weather-by-hand: the gateway has no entry {entry} any more" in gone
    assert "token first of agent: revoked" in gone
    assert found["tokens"] == ["agent/second"]
    inventory = fresh.config.inventory
    assert inventory.principals["agent"].tokens == {"first": first, "second": second}
    assert inventory.servers[found["servers"][0]].gateway is not None
    assert other in file.read_text(encoding="utf-8")


def test_what_nobody_has_said_yet_is_named_by_check_with_its_lines(
    fresh: Installation, gateway: RunningGateway, victim: McpServer
) -> None:
    fresh.json(*words(gateway), "--yes")
    at(fresh, gateway, lambda forge: enrol.register(forge, unique_name("unsaid"), victim.url))
    fresh.json("inventory", "import", "main", "--yes")
    server = server_of(fresh, victim)

    def unsaid() -> list[str]:
        found: list[dict[str, Any]] = fresh.json("inventory", "check", code=1)["findings"]
        return [one["message"] for one in found if one["subject"] == f"server {server}" and "FILL IN" in one["message"]]

    (message,) = unsaid()
    file = fresh.folder / "inventory.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert "owner, criticality, environment, a harmless tool" in message
    start = lines.index(f"  {server}:")
    owner = next(number for number in range(start, len(lines)) if "owner:" in lines[number])
    assert f"line {owner + 1}, " in message
    lines = [re.sub(r"(?<=\S)  # FILL IN.*", "", line) for line in lines]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (message,) = unsaid()
    assert "owner" not in message
    assert "a harmless tool" in message


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--yes"], "has no gateway main yet"),
        (["--yes", "--url", "http://127.0.0.1:9"], "has no gateway main yet"),
        (["--url", "http://127.0.0.1:9", "--user", "a@example.com"], "nobody to ask"),
        (["--yes", "--url", "ftp://x", "--user", "a@example.com"], "url cannot be that"),
        (["--yes", "--url", "http://127.0.0.1:9", "--user", "a@example.com", "--password", "hunter2"], "env:VARIABLE"),
    ],
)
def test_what_is_missing_is_asked_for(site: Installation, more: list[str], said: str) -> None:
    (site.folder / "inventory.yaml").write_text("version: 1\n", encoding="utf-8")
    error = site.error("inventory", "import", "main", *more, code=2)
    assert said in error["message"]


def test_a_gateway_that_is_written_down_is_not_given_another_address(site: Installation) -> None:
    error = site.error("inventory", "import", "main", "--url", "http://127.0.0.1:10", "--yes", code=2)
    assert "change it in inventory.yaml" in error["message"]
    assert site.error("inventory", "import", "main", "--yes", code=5)["message"]


def test_without_anybody_to_type_the_passwords_place_is_told(site: Installation) -> None:
    (site.folder / "inventory.yaml").write_text("version: 1\n", encoding="utf-8")
    asked = ["inventory", "import", "main", "--url", "http://127.0.0.1:9", "--user", "a@example.com", "--yes"]
    error = site.error(*asked, code=2)
    assert "secrets/main-password (mode 0600)" in error["message"]
