"""Evidence from a server and about its definitions."""

from collections.abc import Sequence
from typing import Any, ClassVar

from typing_extensions import override

from integrations.catalogue import Catalogue
from integrations.exhibits import add_json, add_text
from integrations.protocol import answers, pins
from integrations.protocol.client import McpEndpoint, Reply, spoken
from playbooks.action import Capture, Sink, World
from playbooks.errors import Refused, SoarError
from playbooks.estate.pins import PinKind
from playbooks.strict import Slug


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
    async def collect(self, world: World, sink: Sink) -> None:
        approved = world.inventory.pins.of(self.server)
        gateway, same, gateway_error = await self._gateway(world)
        direct, direct_error = await self._direct(world)
        if gateway is None and direct is None:
            raise Refused(f"neither gateway nor server gave definitions: {gateway_error}; {direct_error}")
        pinned = [pin.model_dump(mode="json") for pin in approved]
        await add_json(sink, "approved.json", pinned, "the inventory's approved pins")
        views = (("gateway", gateway, gateway_error), ("direct", direct, direct_error))
        for name, view, _ in views:
            if view is None:
                continue
            listed = [{"kind": kind.value, "name": name_, **fields} for (kind, name_), fields in sorted(view.items())]
            origin = "the gateway's administration" if name == "gateway" else f"{self.server} itself, over MCP"
            await add_json(sink, f"{name}.json", listed, origin)
        text = []
        for name, view, error in views:
            text.append(f"### {name}" + (f": unavailable: {error}" if view is None else ""))
            for pin in approved:
                # The gateway holds no instructions, and writes definitions in a form of its own: one that is as it was
                # when it was approved is no difference, whatever that form leaves out.
                beside = pin.kind is PinKind.INSTRUCTIONS or (pin.kind, pin.name) in same
                if view is not None and (name == "direct" or not beside):
                    difference = pins.diff(pin, view.get((pin.kind, pin.name)))
                    text += [f"--- {pin.kind} {pin.name}", difference] if difference else []
            known = {(pin.kind, pin.name) for pin in approved}
            text += [f"--- {kind} {name_}: never approved" for kind, name_ in sorted(set(view or ()) - known)]
        origin = "computed from the other files of this exhibit"
        await add_text(sink, "difference.diff", "\n".join(text), origin, media_type="text/x-diff")

    async def _gateway(
        self, world: World
    ) -> tuple[dict[tuple[PinKind, str], dict[str, Any]] | None, set[tuple[PinKind, str]], str]:
        """Return what the gateway holds, what of that is as it was when it was approved, and why there is nothing."""
        entry = world.inventory.servers[self.server].gateway
        if entry is None:
            return None, set(), "the server stands behind no gateway"
        try:
            catalog = await world.reach(Catalogue, entry.name).catalog(entry.id)
        except SoarError as exc:
            return None, set(), str(exc)
        digests = {(pin.kind, pin.name): pin.gateway_digest for pin in world.inventory.pins.of(self.server)}
        same = {(held.kind, held.name) for held in catalog if digests.get((held.kind, held.name)) == held.digest}
        return {(held.kind, held.name): pins.gateway_fields(held) for held in catalog}, same, ""

    async def _direct(self, world: World) -> tuple[dict[tuple[PinKind, str], dict[str, Any]] | None, str]:
        try:
            offered = await pins.snapshot(world.reach(McpEndpoint, self.server))
        except SoarError as exc:
            return None, str(exc)
        return {(item.kind, item.name): dict(item.fields) for item in offered}, ""


class CaptureAnswer(answers.OneObject, Capture):
    """A server's raw answers, byte for byte: its list, what an unknown tool meets, and one harmless question repeated.

    A tool is called only with the `safe_arguments` that people named for it, in sessions of its own and in one; without
    any the exhibit says that it was not called. A prompt is got, and a resource is read. What of the answers speaks to
    the model stands in `signals.txt`. Where no object is named, nothing is called.
    """

    name: ClassVar[str] = "mcp.capture_answer"
    exhibit: ClassVar[str] = "server_answer"
    permissions: ClassVar[tuple[str, ...]] = (
        "MCP initialize, tools/list at the server",
        "MCP tools/call at the server: an unknown tool, and tools with safe_arguments",
        "MCP prompts/get, resources/read at the server",
    )
    silence: ClassVar[float] = 60.0

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        endpoint = world.reach(McpEndpoint, self.server)
        notes: list[str] = []
        heard, _ = await answers.listing(endpoint)
        await self._keep(heard, endpoint.place, sink, notes)
        asked = self.question(world.inventory)
        if asked is not None:
            await self._keep(await answers.repeated(endpoint, asked), endpoint.place, sink, notes)
        elif self.tool:
            notes.append(f"{self.tool} was not called: the inventory names no safe_arguments for it")
        text = "\n".join(notes or ["nothing in the answers speaks to the model"]) + "\n"
        await add_text(sink, "signals.txt", text, "computed from the other files of this exhibit")

    @staticmethod
    async def _keep(heard: Sequence[answers.Heard], place: str, sink: Sink, notes: list[str]) -> None:
        """Write answers byte for byte, and note what of them speaks to the model and which are missing."""
        for one in heard:
            if one.reply is None:
                notes.append(f"{one.name}: no answer: {one.error}")
                continue
            origin = f"{place} {one.asked}, {_status(one.reply)}"[:2000]
            media_type = "application/octet-stream"
            await sink.add(f"{one.name}.http-body", one.reply.raw, media_type=media_type, origin=origin)
            told = spoken(one.reply.result) if one.reply.result else ""
            notes += [f"{one.name}: speaks to the model, or hides something: {said}" for said in answers.orders(told)]


def _status(reply: Reply) -> str:
    return f"HTTP {reply.status}" if reply.status else "stdio"
