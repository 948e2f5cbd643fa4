"""A gateway that lies, repeats itself or does not end is read within limits, and what is missing is named."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from flows.cli.work.novelties import Found, compare
from integrations.registry import SYSTEMS
from integrations.systems.contextforge import doctor
from integrations.systems.contextforge import estate as reading
from integrations.systems.contextforge.audit import audited, changed, tried
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.estate import survey
from integrations.systems.contextforge.needs import EVENTS, TRAIL
from playbooks.errors import SoarError
from playbooks.estate.gateway import Canary, Gateway
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind
from playbooks.estate.systems import Secret
from playbooks.strict import parse_yaml
from playbooks.text.insertion import added
from tests.lab.rogue import Rogue, answer, rogue

Page = Callable[[str, dict[str, str]], Any]
GATEWAY = Gateway(
    kind="contextforge",
    url="http://127.0.0.1:9",
    user="soar@example.com",
    password=Secret(env="LAB"),
    canary=Canary(principal="canary@example.com", token=Secret(env="LAB"), url="http://127.0.0.1:9/mcp/"),
)
NAMES = {"/v1/gateways": "gateways", "/v1/auth/email/admin/users": "users", "/v1/tokens/admin/all": "tokens"}


@asynccontextmanager
async def saying(page: Page) -> AsyncIterator[tuple[ContextForge, Rogue]]:
    """Run a gateway whose lists a test makes up: entries, or a whole answer; by default there are none."""

    async def respond(asked: str, writer: asyncio.StreamWriter) -> None:
        target = urlsplit(asked.partition(" ")[2])
        said = page(target.path, {name: values[0] for name, values in parse_qs(target.query).items()})
        holder = NAMES.get(target.path, target.path.rpartition("/")[2])
        if isinstance(said, bytes):
            writer.write(said)
            return
        writer.write(answer(json.dumps({holder: said or []} if isinstance(said, list | None) else said).encode()))

    async with rogue(respond) as place:
        forge = ContextForge("main", GATEWAY.model_copy(update={"url": place.url}), "unused")
        forge.api.session = "signed-in"  # signing in is not what is tried
        try:
            yield forge, place
        finally:
            await forge.aclose()


def tool(number: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # fields of a tool
    name = f"tool-{number}"
    fields = {"id": f"t{number}", "name": f"w-{name}", "originalName": name, "enabled": True, "gatewayId": "g1"}
    return {**fields, "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}}, **more}


def entry(**more: Any) -> dict[str, Any]:  # noqa: ANN401  # fields of an entry
    return {"id": "g1", "name": "Weather", "url": "http://127.0.0.1:9/mcp", "enabled": True, **more}


def known_as(title: str, user: str, tokens: dict[str, str], *, at: str = "main") -> dict[str, Any]:
    return {"title": title, "places": {at: {"user": user, "tokens": tokens}}}


def written(found: Found, text: str = "version: 1\n") -> Inventory:
    """Return the inventory with what an import would add: that it can be read at all is half of what is tried."""
    return parse_yaml(
        Inventory, added(text, found.additions, file="inventory.yaml"), file="inventory.yaml", context=SYSTEMS.context
    )


async def imported(page: Page, inventory: Inventory | None = None) -> Found:
    async with saying(page) as (forge, _):
        return compare(inventory or Inventory(version=1), "main", GATEWAY, await survey(forge))


async def test_ten_thousand_tools_are_read_to_the_end_page_by_page() -> None:
    def page(path: str, asked: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        if path == "/v1/gateways":
            return [entry()]
        if path != "/v1/tools":
            return None
        start, size = int(asked.get("cursor", "0")), int(asked["limit"])
        end = min(start + size, 10_000)
        return {"tools": [tool(n) for n in range(start, end)], "nextCursor": str(end) if end < 10_000 else None}

    async with saying(page) as (forge, _):
        estate = await survey(forge)
    assert (len(estate.objects["g1"]), estate.partial) == (10_000, [])
    offers = written(compare(Inventory(version=1), "main", GATEWAY, estate)).servers["weather"].offers
    assert len(offers.tools) == 10_000
    assert offers.tools["tool-9999"] == "t9999"


async def test_a_list_that_does_not_end_is_said_to_be_partial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST", 1000)

    def page(path: str, asked: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        if path == "/v1/gateways":
            return [entry()]
        if path == "/v1/prompts":
            start = int(asked.get("cursor", "0"))
            return {"prompts": [tool(start + n) for n in range(200)], "nextCursor": str(start + 200)}
        return None

    async with saying(page) as (forge, place):
        estate = await survey(forge)
    assert estate.partial == ["prompts: 1000 read, then: there are more than 1000"]
    assert len([asked for asked in place.seen if "/v1/prompts" in asked]) == 5
    assert len(estate.objects["g1"]) == 1000, "what was read is kept"


@pytest.mark.parametrize("cursor", ["1", "again", 7, {"a": 1}, ""], ids=str)
async def test_a_page_that_comes_again_is_the_last_one(cursor: object) -> None:
    def page(path: str, _: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        same = {"tools": [tool(1), tool(2)], "nextCursor": cursor}
        return same if path == "/v1/tools" else [entry()] if path == "/v1/gateways" else None

    async with saying(page) as (forge, place):
        estate = await survey(forge)
    assert [held.id for held in estate.objects["g1"]] == ["t1", "t2"]
    assert len([asked for asked in place.seen if "/v1/tools" in asked]) <= 2


async def test_a_list_that_breaks_off_costs_that_list_alone() -> None:
    def page(path: str, asked: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        if path == "/v1/gateways":
            return [entry()]
        if path == "/v1/auth/email/admin/users":
            return answer(b'{"detail":"broken"}', status=500)
        if path == "/v1/tokens/admin/all":
            return answer(b"[" * 1000)
        if path == "/v1/tools" and "cursor" in asked:
            return answer(b'{"tools": 7}')
        return {"tools": [tool(1)], "nextCursor": "2"} if path == "/v1/tools" else None

    async with saying(page) as (forge, _):
        estate = await survey(forge)
    said = " | ".join(sorted(estate.partial))
    assert "tokens: none read" in said
    assert "tools: 1 read, then: " in said
    assert "users: 0 read, then: " in said
    known = Inventory.model_validate(
        {
            "version": 1,
            "systems": {"main": GATEWAY},
            "principals": {"ann": known_as("Ann", "ann@example.com", {"a": "x"})},
        },
        context=SYSTEMS.context,
    )
    found = compare(known, "main", GATEWAY, estate)
    assert found.gone == [], "what was not read is not gone"
    assert found.servers == ["weather"]


@pytest.mark.parametrize(("status", "gone"), [(200, 1), (500, 0)], ids=["empty", "broken"])
async def test_a_server_is_gone_only_where_the_list_was_read_to_its_end(status: int, gone: int) -> None:
    def page(path: str, _: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        return answer(b'{"gateways": []}', status=status) if path == "/v1/gateways" else None

    server = {"title": "W", "places": {"main": {"id": "g1"}}, "owner": "ann", "environment": "dev"}
    known = {"version": 1, "systems": {"main": GATEWAY}, "servers": {"weather": server}}
    assert len((await imported(page, Inventory.model_validate(known, context=SYSTEMS.context))).gone) == gone


HOSTILE = [
    "\x1b]0;owned\x07\x1b[2J",
    'x: {y}\n  evil: "# FILL IN: no\n- &a *a !!python/object',
    "\u202egnp.exe\u200b",
    "\u2028servers:\u2029",
    "\ufeff---\n...",
    "a" * 100_000,
    "'\"\\\n\t{}[]#&*!|>%@`",
    "\ud800 half",
    "null",
    "yes",
    "../../etc/passwd",
    "\uc11c\uc6b8",
    " ",
    "~0123456789abcdef",
    "\uffff" * 200,
    "\ufffe" * 200,
    "\U0010ffff" * 200,
    "\ufdd0" * 200,
    "\U0001f600" * 190 + " : '\"# ",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_hostile_name_gets_a_safe_one_and_is_read_back(name: str) -> None:
    def page(path: str, _: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        user = {"email": "who@example.com", "full_name": name, "is_admin": False}
        token = {"id": "k1", "name": name, "user_email": "who@example.com", "is_active": True}
        resource = {"id": "r1", "name": name, "uri": name, "enabled": True, "gatewayId": "g1"}
        return {
            "/v1/gateways": [entry(name=name), entry(id="g2", name=name)],
            "/v1/tools": [tool(1, originalName=name, name=name), tool(2, gatewayId="g2", originalName=name)],
            "/v1/resources": [resource],
            "/v1/auth/email/admin/users": [user],
            "/v1/tokens/admin/all": [token],
        }.get(path)

    found = await imported(page)
    inventory = written(found)
    assert len(inventory.servers) == 2, "two of one name are two"
    assert all(not one.aliases for one in inventory.servers.values()), "a name of two means neither"
    for server in inventory.servers.values():
        assert server.title.isprintable()
        assert len(server.offers.tools) == 1
    assert list(inventory.principals["who"].tokens.values()) == ["k1"]


async def test_what_cannot_be_written_down_is_left_out_and_said_to_be() -> None:
    odd: list[Any] = ["a/../b", "x?y", 7, None, "", "\x00", "-rf", "a" * 300]

    def page(path: str, _: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        return {
            "/v1/gateways": [entry(), *(entry(id=one) for one in odd)],
            "/v1/tools": [tool(1), *(tool(2, id=one) for one in odd), {"id": "t3"}, tool(4, gatewayId="elsewhere")],
            "/v1/auth/email/admin/users": [{"email": one} for one in ["who@example.com", "a/b@c", "x", "../@y", 3]],
            "/v1/tokens/admin/all": [{"id": one, "name": "n", "user_email": "who@example.com"} for one in odd],
        }.get(path)

    found = await imported(page)
    inventory = written(found)
    assert inventory.servers["weather"].offers.tools == {"tool-1": "t1"}
    assert list(inventory.principals) == ["who"]
    said = " | ".join(found.notes)
    for what in ("8 servers: their ids", "8 tools: their ids", "1 tools: they lack", "4 users: ", "8 tokens: "):
        assert what in said, said
    assert "1 tools, prompts or resources belong to no server" in said


async def test_an_id_that_stands_for_two_things_is_one() -> None:
    def page(path: str, _: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        return {
            "/v1/gateways": [entry(), entry(name="Other")],
            "/v1/tools": [tool(1), tool(1, originalName="other"), tool(2, originalName="tool-1")],
        }.get(path)

    inventory = written(await imported(page))
    assert list(inventory.servers) == ["weather"]
    assert inventory.servers["weather"].offers.tools == {"tool-1": "t1"}


async def test_a_token_that_is_named_like_another_ones_id_or_label_gets_a_label_of_its_own() -> None:
    # In this order: what the second one becomes is the third one's name already.
    names = {"t-1": "work", "t-2": "t-1", "t-3": "t-9", "t-4": "work~t-5", "t-5": "work", "t-6": "own-1"}

    def page(path: str, _: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        if path == "/v1/auth/email/admin/users":
            return {"users": [{"email": "bob@example.com", "full_name": "Bob", "is_admin": False, "is_active": True}]}
        if path == "/v1/tokens/admin/all":
            return {
                "tokens": [{"id": id_, "name": name, "user_email": "bob@example.com"} for id_, name in names.items()]
            }
        return None

    ann = known_as("Ann", "ann@example.com", {"a": "t-9"})
    bob = known_as("Bob", "bob@example.com", {"work": "t-0", "work~t-1": "t-00"})
    gateway = {**GATEWAY.model_dump(mode="json", exclude_none=True), "credential_ids": ["own-1"]}
    for known in ({"ann": ann}, {"ann": ann, "bob": bob}):
        text = yaml.safe_dump({"version": 1, "systems": {"main": gateway}, "principals": known})
        inventory = parse_yaml(Inventory, text, file="inventory.yaml", context=SYSTEMS.context)
        principal = written(await imported(page, inventory), text).principals["bob"]
        assert set(principal.tokens.values()) >= names.keys(), "each is there"
        assert not principal.tokens.keys() & {*names, "t-9", "own-1"}, "and none is labelled like another one's id"


async def test_users_of_one_name_and_users_of_another_gateway_are_told_apart() -> None:
    def page(path: str, _: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        names = ["ann@example.com", "ann@example.org", "ANN@example.com", "bob@example.com", "soar@example.com"]
        users = [{"email": name, "is_admin": name.startswith("bob")} for name in names]
        return users if path == "/v1/auth/email/admin/users" else None

    inventory = written(await imported(page))
    users = {who: one.users[0] for who, one in inventory.principals.items()}
    assert users == {"ann": "ann@example.com", "ann-example-org": "ann@example.org", "bob": "bob@example.com"}
    assert inventory.principals["bob"].protected, "an administrator"
    other = Inventory.model_validate(
        {
            "version": 1,
            "systems": {"old": GATEWAY},
            "principals": {"ann": known_as("Ann", "ann@example.com", {}, at="old")},
        },
        context=SYSTEMS.context,
    )
    found = await imported(page, other)
    assert "ann-example.com" not in found.principals
    assert any("ann@example.com is a principal already" in one for one in found.notes)


async def test_a_gateway_that_lets_nobody_in_is_an_error() -> None:
    async with saying(lambda _path, _asked: answer(b'{"detail":"no"}', status=403)) as (forge, _):
        with pytest.raises(SoarError):
            await survey(forge)


class Logs:
    """Logs that write down what happens while they are on.

    Args:
        on: which.
        server: whether there is a virtual server to look at.
    """

    def __init__(self, *on: str, server: bool = True) -> None:
        self.on, self.server = on, server
        self.entries: dict[str, list[dict[str, str]]] = {"audit-trails": [], "security-events": []}

    def page(self, path: str, _: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        log = path.rpartition("/")[2]
        if log in self.entries:
            return answer(json.dumps(self.entries[log][:1]).encode())
        if path == "/v1/servers":
            return answer(json.dumps([{"id": "v1", "associatedToolIds": []}] if self.server else []).encode())
        happened = {"/v1/servers/v1": "audit-trails", "/v1/tools": "security-events"}.get(path)
        if happened and happened in self.on:
            at = {"id": str(len(self.entries[happened])), "timestamp": "2026-01-31T12:00:00Z"}
            self.entries[happened].insert(0, at)
        if path == "/v1/tokens":
            return answer(b'{"token": {"id": "k1"}, "access_token": "s"}')
        return answer(b"{}", status=401 if path == "/v1/tools" else 200)


@pytest.mark.parametrize("on", [(), ("audit-trails",), ("audit-trails", "security-events")], ids=len)
async def test_whether_logs_are_written_is_found_out_by_something_that_is(on: tuple[str, ...]) -> None:
    logs = Logs(*on)
    async with saying(logs.page) as (forge, place):
        trail, events = await audited(forge)
        read = [asked for asked in place.seen if not asked.startswith("GET ")]
        found = await tried(forge, "canary@example.com", "x")
        again = await audited(forge)
    assert (trail.on, events.on, found.on) == ("audit-trails" in on, None, "security-events" in on)
    assert (trail.setting, events.setting, found.setting) == (TRAIL, EVENTS, EVENTS)
    assert [one.on for one in again] == [trail.on, True if found.on else None]
    assert read == [], "looking changes nothing"
    assert "DELETE /v1/tokens/admin/k1" in place.seen


async def test_where_nothing_can_be_read_that_is_written_down_an_empty_trail_says_nothing() -> None:
    logs = Logs("security-events", server=False)
    async with saying(logs.page) as (forge, _):
        trail, _events = await audited(forge)
    assert trail.on is None
    assert "switched off, or nothing happened yet that it records" in trail.said


@pytest.mark.parametrize("on", [True, False])
async def test_an_empty_trail_is_tried_out_by_a_change_that_is_taken_back(*, on: bool) -> None:
    entries: list[dict[str, str]] = []

    def page(path: str, _: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        if path == "/api/logs/audit-trails":
            return answer(json.dumps(entries[:1]).encode())
        if path.startswith("/v1/servers") and on:
            entries.insert(0, {"id": str(len(entries)), "timestamp": "2026-01-31T12:00:00Z"})
        return answer(b'{"id": "v9"}')

    async with saying(page) as (forge, place):
        found = await changed(forge, "x")
    assert (found.setting, found.on) == (TRAIL, on)
    assert [asked for asked in place.seen if "/v1/servers" in asked] == ["POST /v1/servers", "DELETE /v1/servers/v9"]


async def test_doctor_says_how_the_line_of_an_empty_log_goes_where_the_setting_is_on() -> None:
    async with saying(Logs(server=False).page) as (forge, _):
        lines = [line async for line in doctor._audit(forge)]  # noqa: SLF001  # the rest asks a whole gateway
    assert [line.level for line in lines] == ["warn", "warn"]
    for line in lines:
        assert line.remedy.startswith("`mcp-soar inventory import main --make-canary` tries it out; if it is off, ")


@pytest.mark.parametrize(("added_at", "on"), [("2026-01-31T11:00:00", True), ("2026-01-31T12:30:00Z", False)])
async def test_a_trail_that_ended_before_the_last_server_came_is_off(added_at: str, *, on: bool) -> None:
    def page(path: str, _: dict[str, str]) -> Any:  # noqa: ANN401  # JSON
        said = {
            "/api/logs/audit-trails": [{"id": "1", "timestamp": "2026-01-31T12:00:00+00:00"}],
            "/v1/gateways": [entry(createdAt=added_at), entry(id="g2", createdAt="sometime")],
        }
        return answer(json.dumps(said.get(path, [])).encode())

    async with saying(page) as (forge, _):
        trail, _events = await audited(forge)
    assert trail.on is on


def test_every_kind_that_is_imported_has_a_place() -> None:
    kinds = set(PinKind) - {PinKind.INSTRUCTIONS}
    assert set(reading._KINDS) == kinds  # noqa: SLF001  # what is read
