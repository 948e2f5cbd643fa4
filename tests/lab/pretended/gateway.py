"""The client side of the pretended gateway: its doors, what they list, and whom they let through to a server."""

import re
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from tests.lab.http_asked import Asking
from tests.lab.http_served import Request
from tests.lab.pretended.administration import Administration
from tests.lab.pretended.things import KEYS, Fields, Said, offered

_REMEMBERS: Final = 60.0
"""Seconds for which a look-up is remembered."""

_BY_SERVER: Final = re.compile(r"/servers/([^/]+)/mcp")


_ALWAYS: Final[dict[str, Fields]] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"prompts": {}, "resources": {}, "tools": {}},
        "serverInfo": {"name": "mcp-streamable-http", "version": "1.30.0"},
    },
    "ping": {},
    "resources/templates/list": {"resourceTemplates": []},
}


class _NotFound(Exception):
    """What a client is answered instead of a result."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Gateway(Administration):
    """Both sides of it."""

    async def answer(self, request: Request, upstream: Asking) -> tuple[int, object]:
        """Answer a request."""
        parts = urlsplit(request.target)
        path, query = unquote(parts.path).rstrip("/") or "/", {k: v[-1] for k, v in parse_qs(parts.query).items()}
        try:
            if path in {"/mcp", "/rpc"} or _BY_SERVER.fullmatch(path):
                return await self._client(request, path, upstream)
            return await self.administer(request, path, query, upstream)
        except Said as said:
            return said.status, said.body

    async def _client(self, request: Request, path: str, upstream: Asking) -> tuple[int, object]:
        self.whose(request, "Authentication required for MCP endpoints")
        if request.method != "POST":
            return 405, {"detail": "Stateful sessions disabled on this gateway; passive SSE stream is not available."}
        message = request.json()
        if "id" not in message:
            return 202, None
        by_path = _BY_SERVER.fullmatch(path)
        params = message.get("params") or {}
        door = by_path.group(1) if by_path else params.get("server_id")
        try:
            said = await self._mcp(message["method"], params, door, upstream, plain=path == "/rpc")
        except _NotFound as exc:
            said = {"error": {"code": exc.code, "message": exc.message}}
        return 200, {"jsonrpc": "2.0", "id": message["id"], **said}

    async def _mcp(
        self, method: str, params: Mapping[str, Any], door: str | None, upstream: Asking, *, plain: bool
    ) -> Fields:
        what, _, verb = method.partition("/")
        if verb == "list" and what in self.held:
            found = [one for one in self.held[what].values() if one["enabled"]]
            if door is not None:
                found = [one for one in found if one["id"] in self.known(self.doors, door, "Server")["tools"]]
            return {"result": {what: [offered(what, one) for one in found]}}
        if method in _ALWAYS:
            return {"result": _ALWAYS[method]}
        if method == "tools/call":
            return await self._call(params, door, upstream, plain=plain)
        if method in {"prompts/get", "resources/read"}:
            return await self._get(what, params, upstream)
        return {"error": {"code": -32602, "message": "Invalid request parameters", "data": ""}}

    async def _call(self, params: Mapping[str, Any], door: str | None, upstream: Asking, *, plain: bool) -> Fields:
        try:
            tool = self._looked_up(params["name"], door)
        except _NotFound as exc:
            if plain:
                raise _NotFound(f"Tool not found: {params['name']}", -32601) from exc
            return {"result": {"content": [{"type": "text", "text": exc.message}], "isError": True}}
        if isinstance(params.get("_meta", {}).get("progressToken"), list):
            raise _NotFound("Internal error", -32603)
        asked = {"name": tool["originalName"], "arguments": params.get("arguments", {})}
        entry = self.entries[tool["gatewayId"]]
        try:
            answer = await self.upstream(entry, "tools/call", asked, upstream)
        except OSError as exc:
            text = f"Tool invocation failed: {exc}"
            return {"result": {"content": [{"type": "text", "text": text}], "isError": True}}
        return {key: answer[key] for key in ("result", "error") if key in answer}

    def _looked_up(self, name: str, door: str | None) -> Fields:
        tools = self.held["tools"]
        id_, until = self.remembered.get(name, ("", 0.0))
        if id_ in tools and time.monotonic() < until:
            return tools[id_]
        found = [one for one in tools.values() if one["name"] == name]
        if not found and door is not None:
            ours = self.known(self.doors, door, "Server")["tools"]
            found = [one for one in tools.values() if one["id"] in ours and one["originalName"] == name]
        if not found:
            raise _NotFound(f"Tool not found: {name}")
        if not found[0]["enabled"]:
            raise _NotFound(f"Tool '{name}' exists but is inactive")
        self.remembered[name] = found[0]["id"], time.monotonic() + _REMEMBERS
        return found[0]

    async def _get(self, kind: str, params: Mapping[str, Any], upstream: Asking) -> Fields:
        key = KEYS[kind]
        found = [one for one in self.held[kind].values() if one[key] == params[key]]
        live = [one for one in found if one["enabled"]]
        if kind == "prompts" and not live:
            raise _NotFound("15 validation errors for ServerResult\nEmptyResult\n  Input should be a valid dictionary")
        if not found:
            raise _NotFound(f"Resource template not found for '{params[key]}'")
        if not live:
            raise _NotFound(f"Resource '{params[key]}' exists but is inactive")
        if len(live) > 1:
            raise _NotFound(f"Resource URI '{params[key]}' is ambiguous across multiple servers")
        asked = {**params, key: live[0]["uri"] if kind == "resources" else live[0]["originalName"]}
        method = "resources/read" if kind == "resources" else "prompts/get"
        answer = await self.upstream(self.entries[live[0]["gatewayId"]], method, asked, upstream)
        return {key: answer[key] for key in ("result", "error") if key in answer}
