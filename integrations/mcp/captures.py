"""Evidence from a server and about its definitions."""

import json
from typing import Any, ClassVar

from typing_extensions import override

from integrations.gateway.client import ContextForge
from integrations.mcp import pins
from integrations.mcp.client import McpEndpoint
from integrations.mcp.probe import rejected_arguments
from playbooks.action import Capture, Collected, World
from playbooks.errors import Refused, SoarError
from playbooks.inventory import PinKind
from playbooks.strict import Name, Slug


def as_json(value: object) -> bytes:
    """Return a value as JSON that people can read, in one order."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode(errors="backslashreplace")


class CaptureDefinitions(Capture):
    """A server's definitions: the approved ones, the gateway's, its own, and how they differ.

    Args:
        server: the server, as the inventory names it.
    """

    name: ClassVar[str] = "mcp.capture_definitions"
    exhibit: ClassVar[str] = "definitions"
    permissions: ClassVar[tuple[str, ...]] = (
        "GET /v1/tools",
        "GET /v1/prompts",
        "GET /v1/resources",
        "MCP initialize, */list at the server",
    )

    server: Slug

    @override
    async def collect(self, world: World) -> tuple[Collected, ...]:
        approved = world.inventory.pins.of(self.server)
        found = [
            Collected(
                name="approved.json",
                media_type="application/json",
                data=as_json([pin.model_dump(mode="json") for pin in approved]),
                origin="the inventory's approved pins",
            )
        ]
        gateway, gateway_error = await self._gateway(world)
        direct, direct_error = await self._direct(world)
        if gateway is None and direct is None:
            raise Refused(f"neither gateway nor server gave definitions: {gateway_error}; {direct_error}")
        views = (("gateway", gateway, gateway_error), ("direct", direct, direct_error))
        for name, view, _ in views:
            if view is None:
                continue
            listed = [{"kind": kind.value, "name": name_, **fields} for (kind, name_), fields in sorted(view.items())]
            origin = "the gateway's administration" if name == "gateway" else f"{self.server} itself, over MCP"
            found.append(
                Collected(name=f"{name}.json", media_type="application/json", data=as_json(listed), origin=origin)
            )
        text = []
        for name, view, error in views:
            text.append(f"### {name}" + (f": unavailable: {error}" if view is None else ""))
            for pin in approved:
                # The gateway holds no instructions.
                if view is not None and (name == "direct" or pin.kind is not PinKind.INSTRUCTIONS):
                    difference = pins.diff(pin, view.get((pin.kind, pin.name)))
                    text += [f"--- {pin.kind} {pin.name}", difference] if difference else []
            known = {(pin.kind, pin.name) for pin in approved}
            text += [f"--- {kind} {name_}: never approved" for kind, name_ in sorted(set(view or ()) - known)]
        found.append(
            Collected(
                name="difference.diff",
                media_type="text/x-diff",
                data="\n".join(text).encode(),
                origin="computed from the other files of this exhibit",
            )
        )
        return tuple(found)

    async def _gateway(self, world: World) -> tuple[dict[tuple[PinKind, str], dict[str, Any]] | None, str]:
        entry = world.inventory.servers[self.server].gateway
        if entry is None:
            return None, "the server stands behind no gateway"
        try:
            catalog = await world.reach(ContextForge, entry.name).catalog(entry.id)
        except SoarError as exc:
            return None, str(exc)
        return {(held.kind, held.name): pins.gateway_fields(held) for held in catalog}, ""

    async def _direct(self, world: World) -> tuple[dict[tuple[PinKind, str], dict[str, Any]] | None, str]:
        try:
            offered = await pins.snapshot(world.reach(McpEndpoint, self.server))
        except SoarError as exc:
            return None, str(exc)
        return {(item.kind, item.name): dict(item.fields) for item in offered}, ""


class CaptureAnswer(Capture):
    """A server's raw answers to a listing and to a call that its schema rejects, byte for byte.

    Args:
        server: the server, as the inventory names it.
        tool: the tool to call; its first if none is given.
    """

    name: ClassVar[str] = "mcp.capture_answer"
    exhibit: ClassVar[str] = "server_answer"
    permissions: ClassVar[tuple[str, ...]] = ("MCP tools/list, tools/call at the server",)

    server: Slug
    tool: Name | None = None

    @override
    async def collect(self, world: World) -> tuple[Collected, ...]:
        endpoint = world.reach(McpEndpoint, self.server)
        listing = await endpoint.ask("tools/list")
        found = [self._file("tools-list", listing.raw, f"{endpoint.url} tools/list, HTTP {listing.status}")]
        tools = (listing.result or {}).get("tools")
        offered = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
        tool = next((tool for tool in offered if self.tool in {None, tool.get("name")}), None)
        arguments = rejected_arguments(tool.get("inputSchema")) if tool else None
        if tool and arguments is not None:
            call = await endpoint.ask("tools/call", {"name": tool["name"], "arguments": arguments})
            found.append(self._file("tools-call", call.raw, f"{endpoint.url} tools/call, HTTP {call.status}"))
        return tuple(found)

    @staticmethod
    def _file(name: str, raw: bytes, origin: str) -> Collected:
        return Collected(name=f"{name}.http-body", media_type="application/octet-stream", data=raw, origin=origin)
