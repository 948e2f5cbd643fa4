"""What a server offers right now, in the one form that pins are made of, and how two readings differ."""

import asyncio
import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from weakref import WeakKeyDictionary

from pydantic import ValidationError

from integrations.catalogue import Catalogue, Held
from integrations.hostile import own_name, printable
from integrations.protocol.client import DEADLINE, McpEndpoint, deadline
from integrations.sharing import Shared
from playbooks.action import World
from playbooks.errors import Refused
from playbooks.estate.pins import Dossier, Pin, PinKind
from playbooks.strict import Fingerprint, fingerprint

# Not `_meta`: frameworks write their own into it, and it differs between transports.
_FIELDS: Final = {
    PinKind.TOOL: ("name", "title", "description", "inputSchema", "outputSchema", "annotations"),
    PinKind.PROMPT: ("name", "title", "description", "arguments"),
    PinKind.RESOURCE: ("uri", "name", "title", "description", "mimeType", "annotations"),
    PinKind.INSTRUCTIONS: ("instructions",),
}


@dataclass(frozen=True)
class Definition:
    """One thing that a server offers.

    Args:
        kind: tool, prompt, resource or instructions.
        name: its name; printable, as hostile servers choose it.
        fields: what is pinned of it.
    """

    kind: PinKind
    name: str
    fields: Mapping[str, Any]

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Of the pinned fields, with the reason if no pin can ever equal them."""
        return fingerprint(dict(self.fields))

    @property
    def digest(self) -> str:
        """Of the pinned fields."""
        return self.fingerprint.digest


def definition(kind: PinKind, offered: Mapping[str, Any]) -> Definition:
    """Return a definition in the form that is pinned.

    Args:
        kind: what it is.
        offered: its fields as they come over the wire.
    """
    fields = {name: _settled(name, offered.get(name)) for name in _FIELDS[kind]}
    named = offered.get("uri" if kind is PinKind.RESOURCE else "name")
    name = "instructions" if kind is PinKind.INSTRUCTIONS else named if isinstance(named, str) and named else NAMELESS
    return Definition(kind=kind, name=own_name(name), fields=fields)


NAMELESS: Final = "(nameless)"
"""What a definition is called that has no name: it is one that nobody approved, and no reason to read no other."""


def _settled(field: str, value: object) -> object:
    """Return a field in the form that the official SDKs give it: what is null in their own objects is absent."""
    if field == "annotations" and isinstance(value, dict):
        return {key: item for key, item in value.items() if item is not None}
    if field == "arguments" and isinstance(value, list):
        return [
            {key: part for key, part in item.items() if part is not None} if isinstance(item, dict) else item
            for item in value
        ]
    return value


_EVERYTHING: Final = frozenset(PinKind)


async def snapshot(endpoint: McpEndpoint, kinds: frozenset[PinKind] = _EVERYTHING) -> tuple[Definition, ...]:
    """Return everything that a server itself offers now, in order of kind and name.

    It asks within a session of its own, in whichever revision the server speaks. Calls that wait at the same time share
    an answer, asked after each of them began: a burst of alerts about one server reads it once.

    Args:
        endpoint: the server's.
        kinds: what is asked for, where not everything is needed; each is a question of its own.

    Raises:
        Transient: the server does not answer, or not to the end within `DEADLINE`.
        Misconfigured: it lets nobody in without credentials.
        Refused: it answers something that no client could use, or more than anybody needs.
    """
    shared = _SNAPSHOTS.setdefault(endpoint, {})
    return await shared.setdefault(kinds, Shared(lambda: _snapshot(endpoint, kinds)))()


_SNAPSHOTS: WeakKeyDictionary[McpEndpoint, dict[frozenset[PinKind], Shared[tuple[Definition, ...]]]] = (
    WeakKeyDictionary()
)


async def _snapshot(endpoint: McpEndpoint, kinds: frozenset[PinKind]) -> tuple[Definition, ...]:
    found: list[Definition] = []
    async with deadline(DEADLINE, f"{endpoint.name}: its definitions"), endpoint.session() as session:
        for kind, (capability, what) in _LISTS.items():
            if kind in kinds and session.capabilities.get(capability) is not None:
                offered = await session.listed(what)
                found += await _defined(kind, offered)
        if session.instructions and PinKind.INSTRUCTIONS in kinds:
            found.append(definition(PinKind.INSTRUCTIONS, {"instructions": session.instructions}))
    return tuple(sorted(found, key=lambda item: (item.kind, item.name)))


_LISTS: Final = {
    PinKind.TOOL: ("tools", "tools"),
    PinKind.PROMPT: ("prompts", "prompts"),
    PinKind.RESOURCE: ("resources", "resources"),
}

_FEW: Final = 50
"""Definitions that are digested on the event loop; more, or a longer one, beside it."""


async def _defined(kind: PinKind, offered: tuple[dict[str, Any], ...]) -> tuple[Definition, ...]:
    def work() -> tuple[Definition, ...]:
        found = tuple(definition(kind, item) for item in offered)
        for item in found:
            item.fingerprint  # noqa: B018  # kept for whoever compares it
        return found

    return await asyncio.to_thread(work) if len(offered) > _FEW or len(repr(offered)) > _LONG else work()


_LONG: Final = 100_000
"""Characters, likewise."""


def same(pin: Pin, now: Definition | None) -> bool:
    """Return whether a definition is the approved one; what has no canonical form never is."""
    return now is not None and not now.fingerprint.fault and now.digest == pin.digest


def unpinnable(pin: Pin) -> str:
    """Return why a definition cannot be approved: it has no one canonical form (RFC 8785). Empty if it can."""
    return fingerprint(pin.definition).fault


def diff(pin: Pin, now: Mapping[str, Any] | None) -> str:
    """Return how a definition differs from its approved one: a unified diff, field by field, empty if it does not.

    It is hostile text: hidden characters are written out, and it is shown only through an escaper.

    Args:
        pin: the approved one.
        now: its fields today; None if it is gone.
    """
    return _compared(pin.kind, pin.definition, now)


def held_otherwise(held: Held, now: Definition) -> str:
    """Return how a gateway holds what a server offers now otherwise, empty if it does not; hostile text, as of `diff`.

    Only what is empty is what clients get: a gateway that strips markup holds another text than its server's.

    Args:
        held: the gateway's.
        now: the server's own.
    """
    ours = gateway_fields(held)
    if not now.fingerprint.fault and fingerprint(ours).digest == now.digest:
        return ""
    return _compared(now.kind, ours, now.fields, was="gateway's") or "in nothing that can be shown"


def introduced(new: Definition) -> str:
    """Return a definition that nobody approved as a diff from nothing; hostile text, as of `diff`."""
    return _compared(new.kind, {}, new.fields)


def text(pin: Pin) -> str:
    """Return a whole definition as people read it, field by field, long texts as they are; hostile, as of `diff`."""
    shown = [(field, pin.definition.get(field)) for field in _FIELDS[pin.kind] if field not in {"name", "uri"}]
    parts = [[f"{field}:", *(f"  {line}" for line in _lines(value))] for field, value in shown if value is not None]
    return "\n".join(line for part in parts for line in part)


def _compared(kind: PinKind, before: Mapping[str, Any], now: Mapping[str, Any] | None, *, was: str = "approved") -> str:
    fault = fingerprint(dict(now or {})).fault
    parts = [f"no canonical form, so it equals no approved definition: {fault}"] if fault else []
    for field in _FIELDS[kind]:
        old, new = before.get(field), (now or {}).get(field)
        if _differ(old, new):
            parts += difflib.unified_diff(
                _lines(old), _lines(new), f"{was} {field}", f"present {field}" if now else "gone", lineterm="", n=2
            )
    return "\n".join(parts)


def _differ(old: object, new: object) -> bool:
    try:
        return old != new
    except RecursionError:
        # Deeper than Python compares, and so deeper than anything that was approved.
        return True


_MOST_LINES: Final = 2000
"""Lines of one field that a diff compares: its time grows with their square."""


def _lines(value: object) -> list[str]:
    if value is None:
        return []
    try:
        text = value if isinstance(value, str) else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as exc:
        # Nested too deep, or an integer of more digits than Python writes out.
        text = f"(cannot be written out: {type(exc).__name__}; {fingerprint(value).digest})"
    lines = text.split("\n", _MOST_LINES)
    if len(lines) > _MOST_LINES:
        lines[-1] = f"({len(lines[-1])} more characters; {fingerprint(value).digest})"
    return [printable(line, 2000) for line in lines]


def gateway_fields(held: Held) -> dict[str, Any]:
    """Return the gateway's view of a definition in the pinned form, for `diff`.

    ContextForge strips markup from descriptions, so that poison in `<IMPORTANT>` shows there without its tags.
    """
    fields = dict(definition(held.kind, held.definition).fields)
    # The gateway writes {} and "" where a server says nothing.
    if held.kind is PinKind.TOOL:
        fields["annotations"] = fields.get("annotations") or None
    if held.kind is PinKind.PROMPT:
        asked = fields.get("arguments") or []
        fields["arguments"] = [{key: value for key, value in item.items() if value != ""} for item in asked] or None
    return fields


async def read_pins(world: World, server: str, dossier: Dossier) -> tuple[Pin, ...]:
    """Return what a server offers now as pins, with what its gateway makes of each: what people are asked to approve.

    Args:
        world: the connections.
        server: the server, as the inventory names it.
        dossier: why it is approved.

    Raises:
        SoarError: the server or its gateway does not answer.
        Refused: it offers two things of one name, and which of them a client takes nobody can approve.
    """
    offered = _told_apart(await snapshot(world.reach(McpEndpoint, server)))
    entry = world.inventory.servers[server].gateway
    held: dict[tuple[PinKind, str], Held] = {}
    if entry is not None:
        catalog = await world.reach(Catalogue, entry.name).catalog(entry.id)
        held = {(item.kind, item.name): item for item in catalog}
    return tuple(
        _pin(
            kind=item.kind,
            name=item.name,
            digest=item.digest,
            definition=dict(item.fields),
            gateway_id=at.id if (at := held.get((item.kind, item.name))) else None,
            gateway_name=at.offered_as if at and own_name(at.offered_as) == at.offered_as else None,
            gateway_digest=at.digest if at else None,
            dossier=dossier,
        )
        for item in offered
    )


def _told_apart(offered: Sequence[Definition]) -> Sequence[Definition]:
    found: dict[tuple[PinKind, str], Definition] = {}
    for one in offered:
        if found.setdefault((one.kind, one.name), one).digest != one.digest:
            raise Refused(
                f"{one.kind} {one.name} is offered twice, and not the same: which of them a client takes nobody can "
                "approve; have its server offer one"
            )
    return tuple(found.values())


def _pin(**fields: Any) -> Pin:  # noqa: ANN401  # those of a Pin
    try:
        return Pin.model_validate(fields)
    except ValidationError as exc:
        what = f"{fields['kind']} {fields['name']}"
        raise Refused(f"{what} cannot be pinned: {exc.errors(include_url=False)[0]['msg']}") from exc
