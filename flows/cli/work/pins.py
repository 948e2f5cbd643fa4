"""`pins`: what is approved, against what servers and gateways offer now."""

import asyncio
import contextlib
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from flows.cli.exits import Exit
from flows.cli.output import NotFound, Out, Usage
from flows.cli.work import signing
from flows.cli.work.reviewing import CHANGED, Chosen, PinDifference, flagged, show
from flows.service.settings import Configuration, read
from integrations import whole
from integrations.catalogue import Catalogue
from integrations.connections import Connections
from integrations.hostile import printable
from integrations.protocol import pins as reading
from integrations.signing import fits
from playbooks.errors import Misconfigured, Refused
from playbooks.estate import naming
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins, SignOff
from playbooks.people import review
from playbooks.people.request import SignedRequest, Verb, draft
from playbooks.people.review import Reviews
from playbooks.strict import now, parse_yaml

_NAMED = 10
"""Definitions that are listed by name in a sentence, at most."""
_HEAD = """\
# Approved definitions and who signed for them, written by `mcp-soar pins approve`. What differs from this is what an
# alert about a changed definition is confirmed by, and what a release waits for. What is changed here by other means
# counts as reviewed by nobody: it is compared with, and nothing is automatic on it.
"""


def diff(out: Out, config: Configuration, server: str | None, wanted: Chosen) -> Exit:
    """Show every difference that is wanted."""
    names = [_known(config, server)] if server else sorted(config.inventory.servers)
    with out.waiting("asking servers and gateways"):
        asked = asyncio.run(_asked(config, names))
    offered = [pin for pins, _ in asked for pin in pins]
    found = wanted.of([one for _, differences in asked for one in differences], offered)
    out.document({"differences": [one._asdict() for one in found]})
    for (pins, _), name in zip(asked, names, strict=True):
        show(out, [one for one in found if one.server == name], pins, _safe(config))
    if not found:
        out.say(f"{', '.join(names) or 'no server'}: everything is as it was approved", "good")
    else:
        out.say()
        out.say(f"{len(found)} differ from what was approved", "bad")
    return Exit.NO if found else Exit.OK


def _safe(config: Configuration) -> set[tuple[str, str]]:
    """Return the tools that people have noted safe arguments for."""
    servers = config.inventory.servers.items()
    return {
        (name, tool) for name, one in servers for tool, notes in one.tools.items() if notes.safe_arguments is not None
    }


def _known(config: Configuration, server: str) -> str:
    if server not in config.inventory.servers:
        raise NotFound(f"the inventory has no server {server}; {naming.near(server, config.inventory.servers)}")
    return server


async def _asked(config: Configuration, names: Sequence[str]) -> list[tuple[tuple[Pin, ...], list[PinDifference]]]:
    world = Connections(config.inventory, config.systems)
    try:
        found = []
        for name in names:
            offered = await reading.read_pins(world, name, Dossier(reviewed="not yet"))
            found.append((offered, await differences(world, name, offered)))
        return found
    finally:
        await world.aclose()


async def differences(world: Connections, server: str, offered: Sequence[Pin] | None = None) -> list[PinDifference]:
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
        catalog = await world.reach(Catalogue, entry.name).catalog(entry.id)
        held = {(item.kind, item.name): reading.gateway_fields(item) for item in catalog}
    found: list[PinDifference] = []
    for key in sorted({*present, *approved}):
        old, new = approved.get(key), present.get(key)
        kind, name = key[0].value, key[1]
        if old is None and new is not None:
            nothing = new.model_copy(update={"definition": {}})
            found.append(PinDifference(server, kind, name, "new", reading.diff(nothing, new.definition)))
        elif old is not None and new is None:
            found.append(PinDifference(server, kind, name, "gone", reading.diff(old, None)))
        elif old is not None and new is not None and old.digest != new.digest:
            found.append(PinDifference(server, kind, name, "changed", reading.diff(old, new.definition)))
        elif _copy_differs(old, new):
            found.append(PinDifference(server, kind, name, "gateway", _at_gateway(old, new, held.get(key))))
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


class Reviewer(NamedTuple):
    """Who reviews.

    Args:
        name: as enrolled.
        role: in which of their roles; None for the one of them that may.
        key: their private key's file, or `AGENT`; None for the usual places.
    """

    name: str | None
    role: str | None
    key: Path | None


class Said(NamedTuple):
    """What somebody said on the command line, so that nobody has to ask.

    Args:
        yes: they looked, and sign for it.
        accepted: names of definitions in which something is pointed at, which they accept.
    """

    yes: bool
    accepted: frozenset[str] = frozenset()


def approve(  # what a sign-off consists of
    out: Out,
    config: Configuration,
    server: str,
    *,
    wanted: Chosen,
    reviewed: str,
    who: Reviewer,
    risk: str,
    said: Said,
) -> Exit:
    """Show what differs, ask, and write what was shown with the reviewer's signature."""
    _known(config, server)
    name, role = _reviewer(config, who)
    if not said.yes and not out.asks:
        raise Usage("nobody approves unseen: without a terminal add --yes, after `mcp-soar pins diff`")
    signing.at_hand(config, name, who.key)
    try:
        sign_off = SignOff(role=role, by=name, at=now().replace(microsecond=0))
        dossier = Dossier.model_validate({"reviewed": reviewed, "risk": risk, "sign_offs": (sign_off,)})
    except ValidationError as exc:
        fault = exc.errors(include_url=False)[0]
        raise Usage(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}") from exc
    if not reviewed.strip():
        raise Usage("--reviewed: say what was looked at")
    with out.waiting(f"asking {server} and its gateway"):
        offered, differing = asyncio.run(_offered(config, server, dossier))
    found = wanted.of(differing, offered)
    chosen = {(one.kind, one.name) for one in found}
    # Whoever sees less approves less.
    pins = [pin for pin in offered if (pin.kind.value, pin.name) in chosen or _as_it_was(pin, differing, wanted)]
    if without := [f"{pin.kind} {pin.name}: {why}" for pin in pins if (why := reading.unpinnable(pin))]:
        raise Refused(
            f"nothing that has no canonical form (RFC 8785) can be approved: {'; '.join(without)}. Have its owner"
            " write it otherwise; the rest is approved with --tool"
        )
    left = [one for one in differing if one not in found]
    marks = show(out, found, offered, _safe(config))
    before = config.inventory.pins
    mine = {one.seal for review in before.reviews if review.request.actor == name for one in review_of(review)}
    merged = _merged(before.of(server), pins, found, sign_off, whole=wanted.everything, signed=(server, mine))
    known = [pin for pin in before.of(server) if review.seal(server, pin) in mine]
    signed = [pin for pin in merged if sign_off in pin.dossier.sign_offs and pin not in known]
    rows = [one._asdict() for one in found]
    pointed = [mark._asdict() for mark in marks]
    out.say()
    out.say(f"{len(found)} new or changed, {len(signed) - sum(one.change != 'gone' for one in found)} as they were")
    if not signed and not found:
        out.document({"server": server, "approved": [], "pointed": [], "written": False, "left": _short(left)})
        out.say("There is nothing to approve: it is as it was, and you signed for it already.")
        _leave(out, server, left)
        return Exit.OK
    if not _agreed(out, said, [pin for pin in signed if flagged(pin)], f"{name} ({role})"):
        out.note("nothing was written")
        return Exit.NO
    gone = [(one.kind, one.name) for one in found if one.change == "gone"]
    asked = review.params(server, role, signed, gone)
    request = draft(actor=name, verb=Verb.REVIEW, subject=server, at=now(), reason=reviewed, params=asked)
    handed = asyncio.run(signing.signed(config, request, who.key))
    # What would not count later is not written.
    review.judged(handed, config.people(), config.policy.review, at=now(), verify=fits)
    everything = {**before.servers, server: tuple(sorted(merged, key=lambda pin: (pin.kind, pin.name)))}
    pins_now = Pins(servers=everything)
    _write(config, pins_now.model_copy(update={"reviews": review.kept([*before.reviews, handed], pins_now)}))
    out.document({"server": server, "approved": rows, "pointed": pointed, "written": True, "left": _short(left)})
    out.say(f"{config.folder / 'pins.yaml'} is written and signed; responders journal it at once.", "good")
    _leave(out, server, left)
    _others(out, config, server)
    return Exit.OK


def _short(left: Sequence[PinDifference]) -> list[dict[str, str]]:
    return [{"kind": one.kind, "name": one.name, "change": one.change} for one in left]


def _leave(out: Out, server: str, left: Sequence[PinDifference]) -> None:
    """Say what of a server stays unapproved, because it was not among what was asked for."""
    if not left:
        return
    named = [f"{one.kind} {printable(one.name, 100)} ({CHANGED[one.change]})" for one in left]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    listed = f"{', '.join(named[:_NAMED])}{more}"
    out.say(f"Of {server} stays unapproved: {listed}. `mcp-soar pins diff {server}` shows it.", "warn")


def _agreed(out: Out, said: Said, pointed_at: Sequence[Pin], signer: str) -> bool:
    """Ask, or go by what was said; what something is pointed at in is never signed for without a word about it.

    Raises:
        Usage: with what has to be said beside --yes.
    """
    names = sorted({pin.name for pin in pointed_at})
    if not said.yes:
        beside = f", {len(names)} of it pointed at above" if names else ""
        return out.confirm(f"Sign for this{beside}, as {signer}?")
    if strange := sorted(said.accepted.difference(names)):
        raise Usage(f"--accept: nothing is pointed at in {', '.join(strange)}")
    if left := [name for name in names if name not in said.accepted]:
        words = " ".join(f"--accept {shlex.quote(printable(name))}" for name in left)
        raise Usage(
            f"something is pointed at in {len(left)} of it (see above, or `mcp-soar pins diff --flagged`), and --yes "
            f"does not cover that: look at it, and if it is to be so, add {words}"
        )
    return True


def review_of(signed: SignedRequest) -> Sequence[review.Sealed]:
    """Return what a review approves; nothing if it cannot be read."""
    try:
        return review.said(signed.request).approved
    except Refused:
        return ()


def _as_it_was(pin: Pin, differing: Sequence[PinDifference], wanted: Chosen) -> bool:
    """Whether a definition that does not differ is among what is signed for."""
    if wanted.changes or wanted.flagged or not wanted.named(pin.name):
        return False
    return all((one.kind, one.name) != (pin.kind.value, pin.name) for one in differing)


def _reviewer(config: Configuration, who: Reviewer) -> tuple[str, str]:
    """Return who reviews, and in which role.

    Raises:
        Usage: nobody was named.
        Refused: they may not review.
    """
    if not who.name:
        raise Usage("say who you are: --as NAME, or set MCP_SOAR_PERSON")
    allowed = config.policy.review.roles
    person = config.people().people.get(who.name)
    if person is None:
        raise Refused(f"{who.name} is not enrolled; `mcp-soar enroll {who.name} --role {allowed[0]}` enrolls them")
    may = [role for role in person.roles if role in allowed]
    if not may or who.role not in {None, *may}:
        said = f" as {who.role}" if who.role else ""
        raise Refused(
            f"{who.name} cannot review{said}: that takes the role {' or '.join(allowed)}, and {who.name} has "
            f"{', '.join(person.roles)}; `mcp-soar enroll {who.name} --replace --role ...` gives other ones"
        )
    return who.name, who.role or may[0]


def _others(out: Out, config: Configuration, server: str) -> None:
    """Say what is missing still: other people, where the policy wants more than one."""
    fresh = read(config.folder)
    missing = lacking(fresh, server, Reviews())
    if missing:
        (kind, name), why = next(iter(missing.items()))
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        out.say(f"Nothing is automatic yet on {kind} {name}, which {why}{more}.", "warn")


def lacking(config: Configuration, server: str, journalled: Reviews) -> Mapping[tuple[str, str], str]:
    """Return what of a server's pins is not reviewed even when the file's own reviews are journalled.

    Args:
        config: the configuration.
        server: which.
        journalled: what the journal has; the file's reviews that count are added to it.
    """
    return signed_for(config, journalled).lacking(config.inventory, config.policy.review, server)


def signed_for(config: Configuration, journalled: Reviews) -> Reviews:
    """Add the file's reviews that count to the journal's, as a responder will, and return them.

    Args:
        config: the configuration.
        journalled: what the journal has.
    """
    people = config.people()
    for signed in config.inventory.pins.reviews:
        with contextlib.suppress(Refused):
            journalled.take(review.judged(signed, people, config.policy.review, at=now(), verify=fits))
    return journalled


async def _offered(config: Configuration, server: str, dossier: Dossier) -> tuple[tuple[Pin, ...], list[PinDifference]]:
    world = Connections(config.inventory, config.systems)
    try:
        offered = await reading.read_pins(world, server, dossier)
        return offered, await differences(world, server, offered)
    finally:
        await world.aclose()


def _merged(
    before: Sequence[Pin],
    wanted: Sequence[Pin],
    found: Sequence[PinDifference],
    sign_off: SignOff,
    *,
    whole: bool,
    signed: tuple[str, Collection[str]],
) -> list[Pin]:
    """Return a server's pins with what is approved now.

    Args:
        before: those that there are.
        wanted: what is approved, as it is offered.
        found: how it differs.
        sign_off: the reviewer's.
        whole: everything was looked at.
        signed: the server, and the seals that the reviewer has signed for already.
    """
    changed = {(one.kind, one.name) for one in found}
    old = {(pin.kind.value, pin.name): pin for pin in before}
    merged: dict[tuple[str, str], Pin] = {}
    for pin in wanted:
        key = (pin.kind.value, pin.name)
        if key in changed or key not in old:
            merged[key] = pin
            continue
        kept = old[key]
        others = tuple(one for one in kept.dossier.sign_offs if (one.by, one.role) != (sign_off.by, sign_off.role))
        again = len(others) < len(kept.dossier.sign_offs) and review.seal(signed[0], kept) in signed[1]
        dossier = kept.dossier if again else kept.dossier.model_copy(update={"sign_offs": (*others, sign_off)})
        merged[key] = kept.model_copy(update={"dossier": dossier})
    if not whole:
        named = {(one.kind, one.name) for one in found if one.change == "gone"}
        merged = {key: pin for key, pin in old.items() if key not in named} | merged
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
        whole.put(file, text.encode(), mode=0o644, over=True)
    except OSError as exc:
        raise Misconfigured(f"cannot be written: {exc.strerror}", file=str(file)) from exc
