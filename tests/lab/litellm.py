"""A stand-in for a LiteLLM proxy: its administration and both doors of its client side, over a real socket.

The real proxy's administration of servers and keys stands on a database layer whose engine is fetched from where tests
have no way to. So this answers what the sources of LiteLLM 1.108.7 say that it answers, and holds what it would hold;
what a refusal reads like is tried on the real one, from a configuration file: `tests/integrations/systems/litellm/
test_real.py`. Each behaviour, and where it is from (below `litellm/proxy/`):

- servers are rows: `PUT /v1/mcp/server` writes the fields that it is sent and leaves the others
  (`mcp_server/db.py`, `exclude_unset`); null and [] of `allowed_tools` are both the empty list;
- an empty list lets every tool through (`mcp_server/utils.py`, `server_applies_tool_allowlist`); a list is believed
  whatever it names;
- `reject` takes a server out of what is offered, so that the list of servers has it no longer; one by its id is still
  told from the database, whereupon the proxy asks the server itself whether it lives, unless it is withheld; a second
  reject or approve is a 400 (`management_endpoints/mcp_management_endpoints.py`);
- it keeps no catalogue: what a server offers is what it answers now (`mcp_server/rest_endpoints.py`), with
  `include_disabled_tools` for administrators whatever the list says;
- clients get `PREFIX-NAME`, and may leave the prefix out; a call is refused by the words below, at `/mcp` as an answer
  of the tool that is marked as an error, at `/mcp-rest/tools/call` by 403 (`mcp_server_manager.py`,
  `pre_call_tool_check`; seen on the real one);
- whether there is such a tool is looked at first, then the list, then a key's own permissions; before all of them
  whether a key may use the server, which at `/mcp-rest/tools/call` is told apart from a server that nobody is offered
  (`rest_endpoints.py`, `_resolve_allowed_mcp_servers_with_ip_filter`);
- a key's id is its SHA-256; a blocked one opens nothing, and is still told of (`key_management_endpoints.py`,
  `auth/user_api_key_auth.py`); without permissions it may use what every key may (`get_allowed_mcp_servers`);
- without a licence there is no audit log.
"""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from flows.demo.mcp_server import McpServer
from flows.demo.site import GATEWAY
from integrations.connections import Connections
from integrations.gateways.affected import Affected
from integrations.systems.litellm import KIND
from integrations.systems.litellm.canary import LiteLLMCanary
from integrations.systems.litellm.client import key_id
from integrations.systems.litellm.driver import LiteLLM
from integrations.systems.litellm.importing import issue, ordinary
from playbooks.estate.gateway import Canary, Gateway, GatewayAccount
from tests.lab.behind import approved, inventory_of, kept, moved
from tests.lab.connected import connected
from tests.lab.http_asked import Asking
from tests.lab.http_served import Request, serve
from tests.lab.pretended.administration import Administration

ADMIN: Final = "default_user_id"
"""Whose the master key is."""

Fields = dict[str, Any]


class Said(Exception):  # an answer, which ends the handling of its request
    """An answer other than 200.

    Args:
        status: of HTTP.
        body: its JSON.
    """

    def __init__(self, status: int, body: object) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def no(status: int, text: str, *, of_key: bool = False) -> Said:
    """Return a refusal, as its servers' administration writes it, or as its keys' does."""
    if of_key:
        return Said(status, {"error": {"message": text, "type": "auth_error", "param": "None", "code": str(status)}})
    return Said(status, {"detail": {"error": text}})


@dataclass
class StandIn:
    """All that it holds.

    Args:
        master: the master key.
    """

    master: str
    servers: dict[str, Fields] = field(default_factory=dict)
    keys: dict[str, Fields] = field(default_factory=dict)
    users: dict[str, Fields] = field(default_factory=dict)
    calls: list[Fields] = field(default_factory=list)
    written: list[tuple[str, list[str]]] = field(default_factory=list)
    """Each list that was written, with its server."""
    looked_after: list[str] = field(default_factory=list)
    """Servers that it asked whether they live."""

    # Who asks

    def _who(self, request: Request) -> Fields:
        """Return the key that asks."""
        _, _, secret = request.headers.get("authorization", "").partition(" ")
        if secret == self.master:
            return {"user_id": ADMIN, "admin": True}
        key = self.keys.get(key_id(secret))
        if key is None:
            text = "Authentication Error, Invalid proxy server token passed. Unable to find token in cache."
            raise no(401, text, of_key=True)
        if key["blocked"]:
            text = "Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin."
            raise no(401, text, of_key=True)
        return {**key, "admin": self.users.get(key["user_id"], {}).get("user_role") == "proxy_admin"}

    def _may(self, who: Fields, server: Fields) -> bool:
        permission = who.get("object_permission") or {}
        servers, tools = permission.get("mcp_servers") or [], permission.get("mcp_tool_permissions") or {}
        if who["admin"] or (server["allow_all_keys"] and "no-mcp-servers" not in servers):
            return True
        called = {server["server_id"], server["alias"], server["server_name"]}
        return bool(called & {*servers, *tools} or "all-proxy-mcpservers" in servers)

    def _offered(self, who: Fields) -> list[Fields]:
        return [one for one in self.servers.values() if one["approval_status"] == "active" and self._may(who, one)]

    # Answering

    async def answer(self, request: Request, upstream: Asking) -> tuple[int, object]:
        """Answer a request."""
        parts = urlsplit(request.target)
        path = [unquote(part) for part in parts.path.strip("/").split("/")]
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        try:
            who = self._who(request)
            match path:
                case ["mcp"]:
                    return await self._client(request, who, upstream)
                case ["mcp-rest", "tools", "call"]:
                    return await self._beside(request.json(), who, upstream)
                case ["mcp-rest", "tools", "list"]:
                    return 200, await self._tools(who, query, upstream)
            if not who["admin"]:
                raise no(403, "Only proxy admins may do this", of_key=path[0] != "v1")
            if path[:3] == ["v1", "mcp", "server"]:
                return self._administer(request, path[3:])
            return 200, self._people(request, path, query)
        except Said as said:
            return said.status, said.body

    def _administer(self, request: Request, rest: list[str]) -> tuple[int, object]:
        match request.method, rest:
            case "GET", []:
                return 200, self._offered({"admin": True})
            case "GET", [id_]:
                found = self._server(id_)
                if found["approval_status"] == "active":
                    self.looked_after.append(id_)
                return 200, found
            case "POST", []:
                return 201, self._add(request.json())
            case "PUT", []:
                return 202, self._edit(request.json())
            case "PUT", [id_, verb] if verb in {"reject", "approve"}:
                status = "rejected" if verb == "reject" else "active"
                found = self._server(id_)
                if found["approval_status"] == status:
                    raise no(400, f"MCP server is already {status}.")
                found.update(approval_status=status, reviewed_at=_moment())
                return 200, found
        raise no(405, "Method Not Allowed")

    def _server(self, id_: str) -> Fields:
        if id_ not in self.servers:
            raise no(404, f"MCP Server with id {id_} not found")
        return self.servers[id_]

    def _add(self, body: Fields) -> Fields:
        id_, name = str(uuid.uuid4()), body["server_name"]
        made = {
            "server_id": id_,
            "server_name": name,
            "alias": body.get("alias") or name,
            "url": body["url"],
            "transport": body.get("transport", "http"),
            "auth_type": None,
            "static_headers": body.get("static_headers"),
            "allow_all_keys": body.get("allow_all_keys", False),
            "allowed_tools": body.get("allowed_tools") or [],
            "mcp_access_groups": [],
            "mcp_info": {"server_name": name},
            "approval_status": "active",
            "is_config": False,
            "updated_at": _moment(),
            "reviewed_at": None,
        }
        self.servers[id_] = made
        return made

    def _edit(self, body: Fields) -> Fields:
        if body["server_id"] not in self.servers:
            raise no(404, f"MCP Server not found, passed server_id={body['server_id']}")
        found = self.servers[body["server_id"]]
        if "allowed_tools" in body:
            body["allowed_tools"] = body["allowed_tools"] or []
            self.written.append((found["server_id"], body["allowed_tools"]))
        found.update({**body, "updated_at": _moment()})
        return found

    # Users and keys

    def _people(  # noqa: PLR0911  # a line for each address
        self, request: Request, path: list[str], query: Mapping[str, str]
    ) -> object:
        match request.method, path:
            case "GET", ["user", "list"]:
                found = [one for one in self.users.values() if query.get("user_ids") in {None, one["user_id"]}]
                return {"users": _page(found, query, "page_size"), "total": len(found)}
            case "POST", ["user", "new"]:
                body = request.json()
                self.users[body["user_id"]] = {"user_id": body["user_id"], "user_role": body["user_role"], "spend": 0.0}
                return self.users[body["user_id"]]
            case "GET", ["key", "list"]:
                keys = [one for one in self.keys.values() if query.get("user_id") in {None, one["user_id"]}]
                return {"keys": _page(keys, query, "size"), "total_count": len(keys)}
            case "GET", ["key", "info"]:
                info = {key: value for key, value in self._key(query["key"]).items() if key != "token"}
                return {"key": query["key"], "info": {**info, "status": "revoked" if info["blocked"] else "active"}}
            case "POST", ["key", "generate"]:
                return self._generate(request.json())
            case "POST", ["key", "block" | "unblock" as verb]:
                found_key = self._key(request.json()["key"])
                found_key.update(blocked=verb == "block", settings_updated_at=_moment())
                return found_key
            case "GET", ["spend", "logs", "v2"]:
                calls = [one for one in self.calls if query.get("user_id") in {None, one["user"]}]
                return {"data": _page(calls, query, "page_size"), "total": len(calls)}
            case "GET", ["audit"]:
                raise no(403, "Audit logs are an enterprise feature", of_key=True)
        raise no(404, "Not Found", of_key=True)

    def _key(self, id_: str) -> Fields:
        if id_ not in self.keys:
            raise no(404, "Key not found in database", of_key=True)
        return self.keys[id_]

    def _generate(self, body: Fields) -> Fields:
        secret = f"sk-{uuid.uuid4().hex}"
        ends = datetime.now(UTC) + timedelta(days=int(body["duration"].removesuffix("d")))
        id_ = key_id(secret)
        self.keys[id_] = {
            "token": id_,
            "key_name": f"sk-...{secret[-4:]}",
            "key_alias": body["key_alias"],
            "user_id": body["user_id"],
            "blocked": None,
            "expires": ends.isoformat(),
            "created_at": _moment(),
            "object_permission": body.get("object_permission"),
        }
        return {"key": secret, "token": id_}

    # The client side

    async def _tools(self, who: Fields, query: Mapping[str, str], upstream: Asking) -> Fields:
        whole = who["admin"] and query.get("include_disabled_tools") == "true"
        server = next((one for one in self._offered(who) if one["server_id"] == query["server_id"]), None)
        if server is None:
            text = f"The key is not allowed to access server {query['server_id']}"
            raise Said(403, {"detail": {"error": "access_denied", "message": text}})
        try:
            tools = await self._of(server, upstream)
        except OSError as exc:
            text = f"Failed to get tools from server {server['alias']}: {exc}"
            return {"tools": [], "error": "server_error", "message": text}
        shown = [one for one in tools if whole or _lets(server, one["name"])]
        return {"tools": shown, "error": None, "message": "Successfully retrieved tools"}

    @staticmethod
    async def _of(server: Fields, upstream: Asking, what: str = "tools") -> list[Fields]:
        found: list[Fields] = (await Administration.upstream(server, f"{what}/list", {}, upstream))["result"][what]
        return found

    async def _client(self, request: Request, who: Fields, upstream: Asking) -> tuple[int, object]:
        message = request.json()
        if "id" not in message:
            return 202, None
        method, params = message["method"], message.get("params") or {}
        what, _, verb = method.partition("/")
        result: Fields = {}
        if method == "initialize":
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "litellm-mcp-server"}}
        elif verb == "list" and what in {"tools", "prompts", "resources"}:
            result = {what: await self._listed(what, who, upstream)}
        elif method == "tools/call":
            try:
                result = await self._call(params["name"], params.get("arguments", {}), who, upstream)
            except Said as said:
                text = f"Error: {said.body}"
                result = {"content": [{"type": "text", "text": text}], "isError": True}
        return 200, {"jsonrpc": "2.0", "id": message["id"], "result": result}

    async def _listed(self, what: str, who: Fields, upstream: Asking) -> list[Fields]:
        found = [(server, one) for server in self._offered(who) for one in await self._of(server, upstream, what)]
        return [
            {**one, "name": f"{server['alias']}-{one['name']}"}
            for server, one in found
            if what != "tools" or (_lets(server, one["name"]) and _granted(who, server, one["name"]))
        ]

    async def _call(self, name: str, arguments: Fields, who: Fields, upstream: Asking) -> Fields:
        alias, _, tool = name.partition("-")
        server = next((one for one in self._offered(who) if one["alias"] == alias), None)
        if server is None and "-" not in name:
            tool = name
            for one in self._offered(who):
                if any(offered["name"] == name for offered in await self._of(one, upstream)):
                    server = one
                    break
        if server is None:
            raise Said(403, "User not allowed to call this tool.")
        return await self._checked(server, tool, arguments, who, upstream)

    async def _checked(self, server: Fields, tool: str, arguments: Fields, who: Fields, upstream: Asking) -> Fields:
        if not any(one["name"] == tool for one in await self._of(server, upstream)):
            raise Said(404, f"Tool '{tool}' not found")
        if not _lets(server, tool):
            text = f"Tool {tool} is not allowed for server {server['alias']}. Contact proxy admin to allow this tool."
            raise Said(403, text)
        if not _granted(who, server, tool):
            text = f"Tool '{tool}' is not allowed for your key/team on server '{server['alias']}'."
            raise Said(403, f"{text} Contact proxy admin for access.")
        self.calls.append({"user": who["user_id"], "call_type": "call_mcp_tool", "model": f"MCP: {tool}"})
        asked = {"name": tool, "arguments": arguments}
        found: Fields = (await Administration.upstream(server, "tools/call", asked, upstream))["result"]
        return found

    async def _beside(self, body: Fields, who: Fields, upstream: Asking) -> tuple[int, object]:
        active = self._offered({"admin": True})
        server = next((one for one in active if one["server_id"] == body["server_id"]), None)
        if server is None:
            text = f"MCP server '{body['server_id']}' was not found"
            raise Said(404, {"detail": {"error": "server_not_found", "message": text}})
        if not self._may(who, server):
            text = f"The key is not allowed to access server {body['server_id']}"
            raise Said(403, {"detail": {"error": "access_denied", "message": text}})
        tool = body["name"].removeprefix(f"{server['alias']}-")
        try:
            return 200, await self._checked(server, tool, body["arguments"], who, upstream)
        except Said as said:
            if said.status == HTTPStatus.NOT_FOUND:
                raise no(500, f"An unexpected error occurred: {said.body}") from said
            raise no(said.status, str(said.body)) from said


def _lets(server: Fields, tool: str) -> bool:
    return not server["allowed_tools"] or tool in server["allowed_tools"]


def _granted(who: Fields, server: Fields, tool: str) -> bool:
    tools = ((who.get("object_permission") or {}).get("mcp_tool_permissions") or {}).get(server["server_id"])
    return tools is None or tool in tools


def _page(found: list[Fields], query: Mapping[str, str], size: str) -> list[Fields]:
    number, most = int(query.get("page", "1")), int(query.get(size, "10"))
    return found[(number - 1) * most : number * most]


def _moment() -> str:
    return datetime.now(UTC).isoformat()


@dataclass(frozen=True)
class Proxied:
    """A server behind such a proxy, with who uses it.

    Args:
        world: connections to it.
        stand_in: what it holds.
        url: its address.
        server: what the inventory calls the server.
        entry: the server's id there.
        victim: the server itself.
        principal: what the inventory calls the agent that uses it.
    """

    world: Connections
    stand_in: StandIn
    url: str
    server: str
    entry: str
    victim: McpServer
    principal: str

    @property
    def driver(self) -> LiteLLM:
        """Its administration."""
        return self.world.reach(LiteLLM, GATEWAY)

    @property
    def listed(self) -> list[str]:
        """The names on the server's list."""
        found: list[str] = self.stand_in.servers[self.entry]["allowed_tools"]
        return found

    def hurry(self, seconds: float) -> None:
        """Wait no longer than that for an answer."""
        self.driver.patience = seconds
        self.world.reach(LiteLLMCanary, GATEWAY).endpoint.patience = seconds

    def at(self, url: str) -> "Proxied":
        """Return the same, with the proxy reached by another address."""
        return replace(self, world=connected(moved(self.world.inventory, url)))


@asynccontextmanager
async def proxied(victim: McpServer, folder: Path, name: str = "weather") -> AsyncIterator[Proxied]:
    """Run a stand-in in this event loop with a server behind it, a canary and an agent, and approve what it offers now.

    Args:
        victim: a running server that behaves.
        folder: where the secrets are written.
        name: of the server.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # once
    stand_in = StandIn(f"sk-{uuid.uuid4().hex}")
    with closing(Asking()) as upstream:

        async def answer(request: Request) -> tuple[int, object]:
            return await stand_in.answer(request, upstream)

        async with serve(answer) as url, _behind(stand_in, url, victim, folder, name) as found:
            yield found


@asynccontextmanager
async def _behind(stand_in: StandIn, url: str, victim: McpServer, folder: Path, name: str) -> AsyncIterator[Proxied]:
    canary = Canary(principal="canary", token=kept(folder / "canary", ""), url=f"{url}/mcp")
    password = kept(folder / "password", stand_in.master)
    settings = Gateway(kind=KIND, url=url, user=ADMIN, password=password, canary=canary)
    driver, agent = LiteLLM(GATEWAY, settings, stand_in.master), f"agent-{name}"
    try:
        body = {"server_name": name, "url": victim.url, "static_headers": {"X-Key": "a secret of the server's"}}
        made = await driver.proxy.fields("POST", "/v1/mcp/server", body=body)
        assert made is not None
        await ordinary(driver, "canary")
        kept(folder / "canary", (await issue(driver, "canary", "canary")).secret)
        await ordinary(driver, agent)
        key = await issue(driver, agent, "agent", servers=(made["server_id"],))
    finally:
        await driver.aclose()
    account = GatewayAccount(user=agent, tokens={"agent": key.id}, held={"agent": kept(folder / "agent", key.secret)})
    inventory = inventory_of(name, victim, settings, str(made["server_id"]), account)
    world = connected(inventory.model_copy(update={"pins": await approved(connected(inventory), name)}))
    for side in (world.reach(LiteLLMCanary, GATEWAY), world.reach(Affected, f"{agent}/agent")):
        # A loaded test machine is no finding.
        side.endpoint.patience = 20.0
    try:
        yield Proxied(world, stand_in, url, name, str(made["server_id"]), victim, agent)
    finally:
        await world.aclose()
