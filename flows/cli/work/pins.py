"""`pins`: what is approved, against what servers and gateways offer now."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from flows.cli.exits import Exit
from flows.cli.output import NotFound, Out, Usage
from flows.cli.work.files import write
from flows.settings import Configuration
from integrations.connections import Connections
from integrations.gateway.client import ContextForge
from integrations.hostile import disguises
from integrations.mcp import pins as reading
from integrations.mcp.checks import orders
from playbooks.errors import Misconfigured, Refused
from playbooks.inventory import Dossier, Pin, PinKind, Pins, SignOff
from playbooks.strict import now, parse_yaml

_HEAD = """\
# Approved definitions, written by `mcp-soar pins approve`; review changes like code. What differs from this is what an
# alert about a changed definition is confirmed by, and what a release waits for.
"""


class Difference(NamedTuple):
    """How one definition differs from its pin.

    Args:
        server: whose.
        kind: tool, prompt, resource or instructions.
        name: its name.
        change: new, changed, gone, or `gateway` (only the gateway's copy differs).
        diff: a unified diff; hostile.
    """

    server: str
    kind: str
    name: str
    change: str
    diff: str


def diff(out: Out, config: Configuration, server: str | None) -> Exit:
    """Show every difference."""
    names = [_known(config, server)] if server else sorted(config.inventory.servers)
    with out.waiting("asking servers and gateways"):
        found = asyncio.run(_differences(config, names))
    out.document({"differences": [one._asdict() for one in found]})
    for one in found:
        _show(out, one)
    if not found:
        out.say(f"{', '.join(names) or 'no server'}: everything is as it was approved", "good")
    else:
        out.say()
        out.say(f"{len(found)} differ from what was approved", "bad")
    return Exit.NO if found else Exit.OK


def _known(config: Configuration, server: str) -> str:
    if server not in config.inventory.servers:
        known = ", ".join(sorted(config.inventory.servers)) or "none"
        raise NotFound(f"the inventory has no server {server}; it has {known}")
    return server


async def _differences(config: Configuration, names: Sequence[str]) -> list[Difference]:
    world = Connections(config.inventory)
    try:
        return [one for name in names for one in await differences(world, name)]
    finally:
        await world.aclose()


async def differences(world: Connections, server: str, offered: Sequence[Pin] | None = None) -> list[Difference]:
    """Return how a server and its gateway differ from what is approved.

    Args:
        world: the connections.
        server: which.
        offered: what it offers now, if it was asked already.

    Raises:
        SoarError: one of them does not answer.
    """
    if offered is None:
        offered = await reading.read_pins(world, server, Dossier(reviewed="not yet"))
    present = {(pin.kind, pin.name): pin for pin in offered}
    approved = {(pin.kind, pin.name): pin for pin in world.inventory.pins.of(server)}
    held: dict[tuple[PinKind, str], dict[str, Any]] = {}
    entry = world.inventory.servers[server].gateway
    if any(_copy_differs(approved.get(key), pin) for key, pin in present.items()) and entry is not None:
        catalog = await world.reach(ContextForge, entry.name).catalog(entry.id)
        held = {(item.kind, item.name): reading.gateway_fields(item) for item in catalog}
    found: list[Difference] = []
    for key in sorted({*present, *approved}):
        old, new = approved.get(key), present.get(key)
        kind, name = key[0].value, key[1]
        if old is None and new is not None:
            nothing = new.model_copy(update={"definition": {}})
            found.append(Difference(server, kind, name, "new", reading.diff(nothing, new.definition)))
        elif old is not None and new is None:
            found.append(Difference(server, kind, name, "gone", reading.diff(old, None)))
        elif old is not None and new is not None and old.digest != new.digest:
            found.append(Difference(server, kind, name, "changed", reading.diff(old, new.definition)))
        elif _copy_differs(old, new):
            found.append(Difference(server, kind, name, "gateway", _at_gateway(old, new, held.get(key))))
    return found


def _copy_differs(old: Pin | None, new: Pin | None) -> bool:
    if old is None or new is None:
        return False
    return (old.gateway_id, old.gateway_digest) != (new.gateway_id, new.gateway_digest)


def _at_gateway(old: Pin | None, new: Pin | None, fields: dict[str, Any] | None) -> str:
    said = [
        f"{name}: approved {getattr(old, name)}, present {getattr(new, name)}"
        for name in ("gateway_id", "gateway_name", "gateway_digest")
        if getattr(old, name) != getattr(new, name)
    ]
    return "\n".join([*said, *([reading.diff(old, fields)] if old and fields else [])])


def _show(out: Out, one: Difference) -> None:
    words = {
        "new": "is new, nobody approved it",
        "changed": "is not what was approved",
        "gone": "is gone",
        "gateway": "is not what was approved at the gateway (the server's own is)",
    }
    out.heading(f"{one.server}: {one.kind} {one.name} {words[one.change]}")
    for line in one.diff.split("\n"):
        style = "good" if line.startswith("+") else "bad" if line.startswith("-") else "dim"
        out.say(line, style, indent=2)


def approve(  # what a sign-off consists of
    out: Out,
    config: Configuration,
    server: str,
    *,
    only: list[str],
    reviewed: str,
    who: str,
    role: str,
    risk: str,
    yes: bool,
) -> Exit:
    """Show what differs, ask, and write what was shown."""
    _known(config, server)
    try:
        sign_off = SignOff(role=role, by=who, at=now().replace(microsecond=0))
        dossier = Dossier.model_validate({"reviewed": reviewed, "risk": risk, "sign_offs": (sign_off,)})
    except ValidationError as exc:
        fault = exc.errors(include_url=False)[0]
        raise Usage(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}") from exc
    if not reviewed.strip():
        raise Usage("--reviewed: say what was looked at")
    with out.waiting(f"asking {server} and its gateway"):
        offered, found = asyncio.run(_offered(config, server, dossier))
    wanted = [pin for pin in offered if not only or pin.name in only]
    strange = sorted(set(only) - {pin.name for pin in offered} - {one.name for one in found})
    if strange:
        raise NotFound(f"{server} offers no {', '.join(strange)}")
    if without := [f"{pin.kind} {pin.name}: {why}" for pin in wanted if (why := reading.unpinnable(pin))]:
        raise Refused(
            f"nothing that has no canonical form (RFC 8785) can be approved: {'; '.join(without)}. Have its owner"
            " write it otherwise; the rest is approved with --only"
        )
    found = [one for one in found if not only or one.name in only]
    for one in found:
        _show(out, one)
    _warn(out, [pin for pin in wanted if any(one.name == pin.name and one.change != "gone" for one in found)])
    merged = _merged(config.inventory.pins.of(server), wanted, found, sign_off, whole=not only)
    signed = [pin for pin in merged if sign_off in pin.dossier.sign_offs]
    rows = [one._asdict() for one in found]
    out.say()
    out.say(f"{len(found)} new or changed, {len(signed) - sum(one.change != 'gone' for one in found)} as they were")
    if not signed and not found:
        out.document({"server": server, "approved": [], "written": False})
        out.say("There is nothing to approve: it is as it was, and you signed it off already.")
        return Exit.OK
    if not yes:
        if not out.asks:
            raise Usage("nobody approves unseen: without a terminal add --yes, after `mcp-soar pins diff`")
        if not out.confirm(f"Approve this as {who} ({role})?"):
            out.note("nothing was written")
            return Exit.NO
    everything = {**config.inventory.pins.servers, server: tuple(sorted(merged, key=lambda pin: (pin.kind, pin.name)))}
    _write(config, Pins(servers=everything))
    out.document({"server": server, "approved": rows, "written": True})
    out.say(f"{config.folder / 'pins.yaml'} is written; responders take it up at once.", "good")
    return Exit.OK


async def _offered(config: Configuration, server: str, dossier: Dossier) -> tuple[tuple[Pin, ...], list[Difference]]:
    world = Connections(config.inventory)
    try:
        offered = await reading.read_pins(world, server, dossier)
        return offered, await differences(world, server, offered)
    finally:
        await world.aclose()


def _warn(out: Out, pins: Sequence[Pin]) -> None:
    """Point at what a reader's eyes skip."""
    for pin in pins:
        texts = "\n".join(str(value) for value in pin.definition.values() if value)
        hidden = disguises(texts)
        told = [phrase for phrase in orders(texts) if phrase not in hidden]
        if hidden:
            out.say(f"! {pin.kind} {pin.name} holds hidden characters: {', '.join(hidden)}", "bad")
        if told:
            out.say(f"! {pin.kind} {pin.name} tells the model what to do: {', '.join(told)}", "bad")


def _merged(
    before: Sequence[Pin], wanted: Sequence[Pin], found: Sequence[Difference], sign_off: SignOff, *, whole: bool
) -> list[Pin]:
    changed = {(one.kind, one.name) for one in found}
    old = {(pin.kind.value, pin.name): pin for pin in before}
    merged: dict[tuple[str, str], Pin] = {}
    for pin in wanted:
        key = (pin.kind.value, pin.name)
        if key in changed or key not in old:
            merged[key] = pin
            continue
        kept = old[key]
        again = any((one.by, one.role) == (sign_off.by, sign_off.role) for one in kept.dossier.sign_offs)
        dossier = kept.dossier.model_copy(
            update={"sign_offs": (*kept.dossier.sign_offs, *(() if again else (sign_off,)))}
        )
        merged[key] = kept.model_copy(update={"dossier": dossier})
    if not whole:
        named = {one.name for one in found if one.change == "gone"}
        merged = {key: pin for key, pin in old.items() if key[1] not in named} | merged
    return list(merged.values())


def _write(config: Configuration, pins: Pins) -> None:
    file = config.folder / "pins.yaml"
    document = pins.model_dump(mode="json")
    document["servers"] = {name: document["servers"][name] for name in sorted(document["servers"])}
    text = _HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    try:
        same = parse_yaml(Pins, text, file=str(file)) == pins
    except Misconfigured as exc:
        raise Refused(f"pins.yaml could not be read back, so nothing was written: {exc}") from exc
    if not same:
        raise Refused("pins.yaml would not say what was shown, so nothing was written")
    try:
        write(file, text, mode=0o644)
    except OSError as exc:
        raise Misconfigured(f"cannot be written: {exc.strerror}", file=str(file)) from exc
