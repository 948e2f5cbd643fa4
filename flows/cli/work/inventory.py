"""`inventory`: what exists, and what is missing to contain it and to prove it."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from flows.cli.exits import Exit
from flows.cli.output import Out
from flows.service.settings import Configuration
from integrations.secret import secret
from playbooks.errors import Misconfigured
from playbooks.estate.inventory import Server
from playbooks.estate.pins import PinKind
from playbooks.estate.upgrading import is_earlier
from playbooks.strict import written_at
from playbooks.taxonomy import EntityKind

FILL_IN: Final = "FILL IN:"
"""What marks a value in inventory.yaml that nobody has decided yet: a remark that goes when it is put right."""

_MARK: Final = re.compile(rf"#\s*{FILL_IN}\s*(?P<what>[^:;,.]*)")


class Remark(NamedTuple):
    """Something about the inventory.

    Args:
        level: ok, warn or fail.
        subject: what it is about.
        message: what to write.
    """

    level: str
    subject: str
    message: str


def check(out: Out, config: Configuration) -> Exit:
    """Show what is wrong or missing. That it could be read says that form and references are right."""
    found = list(findings(config))
    good = not any(one.level == "fail" for one in found)
    out.document({"ok": good, "findings": [one._asdict() for one in found]})
    inventory = config.inventory
    out.say(
        f"{len(inventory.servers)} servers, {len(inventory.gateways)} gateways, "
        f"{len(inventory.principals)} principals: form and references are right"
    )
    out.table(("", "about", "what"), found, empty="nothing is missing")
    return Exit.OK if good else Exit.NO


def findings(config: Configuration) -> Iterator[Remark]:
    """Yield what is wrong or missing, by looking at files only."""
    yield from _form(config)
    yield from _secrets(config)
    yield from _listed_twice(config)
    yield from _gateways(config)
    yield from _servers(config)
    yield from _labels(config)
    yield from _unfilled(config)


def _unfilled(config: Configuration) -> Iterator[Remark]:
    """Yield what an import left for people to say, thing by thing."""
    file = config.folder / "inventory.yaml"
    text = file.read_text(encoding="utf-8")
    if FILL_IN not in text:
        return
    there = written_at(text)
    about: tuple[str, ...] = ("inventory",)
    left: dict[tuple[str, ...], dict[str, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        path = tuple(map(str, there.get(number, ())))
        about = path[:2] or about
        if (mark := _MARK.search(line)) is not None:
            # Beside a value, or on a line of its own.
            left.setdefault(about, {})[path[-1] if path else mark["what"].strip()] = number
    for where, fields in left.items():
        lines = ", ".join(map(str, fields.values()))
        message = f"nobody has said yet: {', '.join(fields)}. What stands there is a cautious guess: put it right"
        subject = f"{where[0].removesuffix('s')} {where[-1]}" if len(where) > 1 else where[0]
        yield Remark("warn", subject, f"{message} in {file.name}, line {lines}, and take the remark FILL IN away")


def _form(config: Configuration) -> Iterator[Remark]:
    """Yield that it is written as earlier releases had it, and what is said of several servers at once."""
    text = (config.folder / "inventory.yaml").read_text(encoding="utf-8")
    if is_earlier(text):
        message = "is written as earlier releases had it, and read so: `mcp-soar inventory upgrade` rewrites it"
        yield Remark("warn", "inventory", message)
    for kind, name, servers in config.inventory.standing.shared():
        if kind in {EntityKind.IMAGE, EntityKind.HOST, EntityKind.ADDRESS}:
            # Several servers share these as a matter of course.
            continue
        message = f"{' and '.join(servers)} stand on {kind} {name}: an alert that names only that waits for a person"
        yield Remark("warn", "inventory", message)


def _secrets(config: Configuration) -> Iterator[Remark]:
    """Yield what a system cannot be reached without, and is not there."""
    for what, place in config.systems.secrets(config.inventory):
        where, name, *_ = what.split(".")
        try:
            secret(place, what=what)
        except Misconfigured as exc:
            yield Remark("fail", f"{where.removesuffix('s')} {name}", str(exc))


def _listed_twice(config: Configuration) -> Iterator[Remark]:
    """Yield the places that are listed under two names: what is held under the one is not known under the other."""
    for name in config.inventory.systems:
        if name == min(here := config.inventory.same_place(name)) and len(here) > 1:
            message = f"{' and '.join(sorted(here))} are one place: what is held under one name can be given back under"
            yield Remark("warn", f"system {name}", f"{message} the other. Write it once, and name that in `places`")


def _gateways(config: Configuration) -> Iterator[Remark]:
    for name, gateway in config.inventory.gateways.items():
        if not gateway.credential_ids:
            message = (
                f"credential_ids is empty, so that our own tokens could be a target: `mcp-soar inventory import {name}`"
            )
            yield Remark("warn", f"gateway {name}", message)


def _servers(config: Configuration) -> Iterator[Remark]:
    inventory = config.inventory
    if not inventory.servers:
        yield Remark("warn", "servers", "there is none: every alert waits for a person. Describe your servers")
    for name, server in inventory.servers.items():
        about = f"server {name}"
        if not server.places:
            yield Remark("warn", about, "has no places: nothing of it can be cut. Add `places: {GATEWAY: {id: ...}}`")
        if not server.direct:
            yield Remark(
                "warn", about, "has no url: its own definitions cannot be read. Add its MCP address, or its `command`"
            )
        tools = inventory.pins.of(name, PinKind.TOOL)
        if not inventory.pins.of(name):
            yield Remark("warn", about, f"nothing of it is approved: `mcp-soar pins approve {name} --reviewed ...`")
        if server.control_tool is None:
            yield Remark(
                "warn", about, "has no control_tool: a list has to prove that the path works. Name a harmless one"
            )
        elif tools and server.control_tool not in {pin.name for pin in tools}:
            yield Remark("fail", about, f"control_tool {server.control_tool} is not among its approved tools")
        known = {pin.name for pin in tools}
        for tool in server.tools:
            if known and tool not in known:
                yield Remark("warn", about, f"notes on the tool {tool}, which is not approved")


def _labels(config: Configuration) -> Iterator[Remark]:
    """Yield the tokens that are labelled with another one's id: whoever has a token chooses its label."""
    ids = config.inventory.token_ids
    for name, principal in config.inventory.principals.items():
        if not principal.places:
            yield Remark("warn", f"principal {name}", "has no places: nothing of it can be cut. Say where it is known")
        for label, token in principal.tokens.items():
            if label in ids and label != token:
                message = f"its token {token} is labelled {label}, which is another token's id and means that one"
                yield Remark("warn", f"principal {name}", f"{message}: write another label in `tokens`")


def _offered(server: Server) -> str:
    counts = {kind: len(server.offers.of(kind)) for kind in PinKind}
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return f" of {said} that it offered" if said else ""


def show(out: Out, config: Configuration) -> Exit:
    """Show everything that may be acted on."""
    inventory = config.inventory
    servers = {
        name: {
            "title": server.title,
            "owner": server.owner,
            "environment": server.environment.value,
            "criticality": server.criticality.name.lower(),
            "protected": server.protected,
            "physical_effects": server.physical_effects,
            "gateway": server.gateway.name if server.gateway else None,
            "url": server.url,
            "aliases": list(server.aliases),
            "places": {name: place.model_dump(mode="json") for name, place in server.places.items()},
            "found_by": {kind.value: list(names) for kind, names in server.found_by.items()},
            "pins": {kind.value: [pin.name for pin in inventory.pins.of(name, kind)] for kind in PinKind},
            "offers": server.offers.model_dump(mode="json"),
        }
        for name, server in inventory.servers.items()
    }
    gateways = {
        name: {"kind": one.kind, "url": one.url, "user": one.user, "canary": one.canary.principal}
        for name, one in inventory.gateways.items()
    }
    principals = {
        name: {
            "title": one.title,
            "protected": one.protected,
            "gateway": one.gateway[0] if one.gateway else None,
            "user": next(iter(one.users), None),
            "tokens": dict(one.tokens),
            "places": {at: place.model_dump(mode="json") for at, place in one.places.items()},
        }
        for name, one in inventory.principals.items()
    }
    systems = {name: one.model_dump(mode="json") for name, one in inventory.systems.items()}
    out.document({"servers": servers, "gateways": gateways, "systems": systems, "principals": principals})
    out.heading("Servers")
    out.table(
        ("server", "gateway", "where", "owner", "approved"),
        [
            (
                name + (" (protected)" if server.protected else ""),
                server.gateway.name if server.gateway else "-",
                f"{server.environment}, {server.criticality.name.lower()}",
                server.owner,
                ", ".join(f"{len(some)} {kind}" for kind in PinKind if (some := inventory.pins.of(name, kind)))
                or "nothing" + _offered(server),
            )
            for name, server in inventory.servers.items()
        ],
    )
    for name in inventory.servers:
        tools = inventory.pins.of(name, PinKind.TOOL)
        if tools:
            out.say(f"tools of {name}: {', '.join(pin.name for pin in tools)}")
    out.heading("Gateways")
    out.table(
        ("gateway", "kind", "address", "we are", "canary"),
        [(name, one.kind, one.url, one.user, one.canary.principal) for name, one in inventory.gateways.items()],
    )
    if inventory.systems:
        out.heading("Systems")
        there = {name: [server for server, at in inventory.servers.items() if name in at.places] for name in systems}
        rows = [(name, one.kind, ", ".join(there[name]) or "-") for name, one in inventory.systems.items()]
        out.table(("system", "kind", "servers with a place there"), rows)
    out.heading("Principals")
    out.table(
        ("principal", "user", "places", "tokens"),
        [
            (
                name + (" (protected)" if one.protected else ""),
                ", ".join(one.users) or "-",
                ", ".join(one.places) or "-",
                ", ".join(one.tokens) or "-",
            )
            for name, one in inventory.principals.items()
        ],
    )
    return Exit.OK
