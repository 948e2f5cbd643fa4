"""Behaviour: what people named safe is asked again, and compared with what it was answered when it was approved.

A tool is called only with its `safe_arguments`; approved prompts are got, approved resources are read. The record is
`answers.yaml`, which `--write-baseline` writes. Rules of your own (`screening/*.yar`) look through answers and
definitions beside the screening's. Whoever behaves badly and asks nobody who they are is of tier 1: `probing` says so.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import yaml

from flows.checks import drift
from flows.checks.inspection import Ask, Inspection
from flows.service import settings
from flows.service.settings import Configuration
from integrations import whole, yara
from integrations.connections import Connections
from integrations.probing import answering
from integrations.probing.answering import Difference, Like
from integrations.protocol import pins
from integrations.protocol.answers import Heard, Question, question, repeated
from integrations.protocol.client import McpEndpoint
from integrations.yara import Matched
from playbooks.action import World
from playbooks.errors import Refused, SoarError, Transient
from playbooks.estate.answers import FILE, KnownAnswers, Record
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind
from playbooks.record.check import About, Found
from playbooks.screening.screen import poisoned, screen
from playbooks.strict import canonical, now
from playbooks.taxonomy import EntityKind, IncidentClass, Severity

_ALTOGETHER: Final = 300.0
"""Seconds that a server has for all that it is asked."""

_REMEDY: Final = "read it with `mcp-soar pins diff`; start a response if it is not meant to be so"
_RECORD: Final = f"see with its owner what changed; if it is as it should be, correct {FILE}"
_NO_RECORD: Final = (
    "nothing says what it was like: `mcp-soar check behaviour --write-baseline` records what it is like now"
)
_NOT_APPROVED: Final = "nobody approved its definition, so nothing says what it should answer: `mcp-soar pins diff`"


def questions(inventory: Inventory, server: str) -> list[Question]:
    """Return what can be asked of a server without running anything.

    Args:
        inventory: with its pins.
        server: as it names it.
    """
    named = [(PinKind.TOOL, name) for name in inventory.servers[server].tools]
    named += [(one.kind, one.name) for one in inventory.pins.of(server) if one.kind in _GOT]
    found = (question(inventory, server, kind, name) for kind, name in sorted(named))
    return [one for one in found if one is not None]


_GOT: Final = frozenset({PinKind.PROMPT, PinKind.RESOURCE})


def _known(inventory: Inventory, record: Record, server: str, asked: Question) -> KnownAnswers | None:
    pin = inventory.pins.find(server, asked.kind, asked.name)
    found = record.servers.get(server, {}).get(str(asked))
    # Another definition was approved since: what its predecessor answered says nothing of it.
    return found if pin is not None and found is not None and found.definition == pin.digest else None


def _left_out(config: Configuration) -> dict[str, str]:
    inventory, record, found = config.inventory, answering.read(config.folder), dict[str, str]()
    for server, why in drift.left_out(config).items():
        pieces = (*(_piece(server, one) for one in questions(inventory, server)), _definitions(server))
        found |= dict.fromkeys(pieces, why)
    for server, one in inventory.servers.items():
        found |= {} if one.direct else {server: "it has no address of its own, so there is nobody who could be asked"}
        for asked in questions(inventory, server) if one.direct else ():
            if _known(inventory, record, server, asked) is None:
                approved = inventory.pins.find(server, asked.kind, asked.name) is not None
                found[_beside(server, asked)] = _NO_RECORD if approved else _NOT_APPROVED
    return found


def _piece(server: str, asked: Question) -> str:
    return f"{server}: {asked}"


def _beside(server: str, asked: Question) -> str:
    return f"{server}: {asked}, beside what it was"


def _definitions(server: str) -> str:
    return f"{server}: definitions"


def _pieces(config: Configuration, world: World) -> Mapping[str, Ask]:
    inventory, record, matched = config.inventory, answering.read(config.folder), yara.matching(config.folder)
    found: dict[str, Ask] = {}
    for server, one in inventory.servers.items():
        if not one.direct:
            found[server] = _nothing
            continue
        asking = _Asking(world, server)
        for asked in questions(inventory, server):
            known = _known(inventory, record, server, asked)
            found[_piece(server, asked)] = partial(
                _judged, server, asked, known, partial(_like, asking, asked, matched)
            )
            if known is None:
                found[_beside(server, asked)] = _nothing
        found[_definitions(server)] = partial(_offered, asking, world.inventory, matched)
    return found


async def _nothing() -> Sequence[Found]:
    return ()


class _Asking:
    """One server, asked one thing after the other, for as long as it answers and within a bound of time.

    Args:
        world: the connections.
        server: by its name in the inventory.
    """

    def __init__(self, world: World, server: str) -> None:
        self.server = server
        self._reach = partial(world.reach, McpEndpoint, server)
        self._turns = asyncio.Lock()
        self._left = _ALTOGETHER
        self._silent = ""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[McpEndpoint]:
        """Yield the way to it, when those before have had their answers.

        Raises:
            Transient: it did not answer what it was asked before, or not quickly enough for all there is.
        """
        async with self._turns:
            if self._silent:
                raise Transient(f"it did not answer what it was asked before: {self._silent}")
            if self._left <= 0:
                raise Transient(f"all that it was asked before took it {_ALTOGETHER:g} s: it is asked no more")
            endpoint, began = self._reach(), time.monotonic()
            try:
                yield endpoint
            finally:
                self._left -= time.monotonic() - began
                # Of thousands of servers none may keep a connection until the last one was asked.
                await endpoint.aclose()

    def silent(self, why: str) -> None:
        """Note that it does not answer: what it is still to be asked need not wait for that."""
        self._silent = why


async def _like(asking: _Asking, asked: Question, matched: Matched) -> Like:
    """Ask a server's question several times, and return what its answers are like.

    Raises:
        SoarError: one was not answered.
    """
    async with asking.turn() as endpoint:
        heard = await repeated(endpoint, asked)
        if all(one.reply is None for one in heard):
            asking.silent(heard[0].error)
    answers = [one for one in heard if not one.asked.endswith("/list")]
    if (silent := next((one for one in answers if one.reply is None or one.reply.result is None), None)) is not None:
        raise Transient(_why(silent))
    results = [one.reply.result for one in answers if one.reply and one.reply.result is not None]
    # A server chooses how long its answers are; whoever else waits does not wait for that.
    return await asyncio.to_thread(answering.like, results, matched)


def _why(silent: Heard) -> str:
    return f"{silent.name}: {silent.reply.said if silent.reply else silent.error}"


async def _judged(
    server: str, asked: Question, known: KnownAnswers | None, seeing: Callable[[], Awaitable[Like]]
) -> Sequence[Found]:
    about = About(EntityKind(asked.kind.value), asked.name, server)
    seen = await seeing()
    return [_found(server, f"{asked} of {server}", one, about) for one in answering.differences(seen, known)]


def _found(server: str, subject: str, one: Difference, about: About) -> Found:
    severity = Severity.HIGH if one.bad else Severity.MEDIUM if one.grave else Severity.LOW
    return Found(
        id=f"{subject}/{one.what}",
        subject=subject,
        what=one.what,
        expected=one.expected,
        observed=one.observed,
        severity=severity,
        incident_class=IncidentClass.PROMPT_INJECTION,
        remedy=_REMEDY if one.bad else _RECORD,
        # Not with what was observed: that is the server's to choose, and each choice would be news.
        state=f"{subject}\n{one.what}",
        rule=f"Behaviour: {one.what}"[:200],
        about=(about,),
        tags=("behaviour",),
        # How many answers and definitions it has, the server chooses.
        together=server if one.bad else "",
        tells=one.grave,
    )


async def _offered(asking: _Asking, inventory: Inventory, matched: Matched) -> Sequence[Found]:
    """Return what the rules find in a server's definitions: those of the screening, in what nobody approved."""
    server = asking.server
    async with asking.turn() as endpoint:
        offered = await pins.snapshot(endpoint)
    approved = {(pin.kind, pin.name): pin for pin in inventory.pins.of(server)}

    def looked() -> list[Found]:
        found: list[Found] = []
        for one in offered:
            subject, pin = f"{one.kind} {one.name} of {server}", approved.get((one.kind, one.name))
            whole_ = one.kind is PinKind.INSTRUCTIONS
            about = About(EntityKind.SERVER, server) if whole_ else About(EntityKind(one.kind.value), one.name, server)
            # Of what people approved they have read what the screening pointed at.
            hits = () if pin is not None and pins.same(pin, one) else screen(one.fields)
            said = [
                ("what its description says", ", ".join(sorted({hit.excerpt for hit in hits})[:5]), poisoned(hits)),
                ("what your YARA rules find in it", ", ".join(names := matched(canonical(dict(one.fields)))), names),
            ]
            found += [
                _found(server, subject, Difference(what, "nothing of the kind", observed, bad=True), about)._replace(
                    incident_class=IncidentClass.TOOL_POISONING
                )
                for what, observed, yes in said
                if yes
            ]
        return found

    return await asyncio.to_thread(looked)


async def _recorded(config: Configuration, world: World) -> tuple[Record, list[str]]:
    """Return the record with what it has not yet, and what could not be asked."""
    inventory, record, matched = config.inventory, answering.read(config.folder), yara.matching(config.folder)
    servers, unasked = {name: dict(known) for name, known in record.servers.items()}, list[str]()

    async def one(server: str) -> None:
        asking = _Asking(world, server)
        for asked in questions(inventory, server):
            pin = inventory.pins.find(server, asked.kind, asked.name)
            if pin is None or _known(inventory, record, server, asked) is not None:
                continue
            try:
                seen = await _like(asking, asked, matched)
            except SoarError as exc:
                unasked.append(f"{_piece(server, asked)}: {exc}")
            except Exception as exc:  # noqa: BLE001  # who chooses what is read chooses what it breaks: theirs alone
                unasked.append(f"{_piece(server, asked)}: more than we can read ({type(exc).__name__})")
            else:
                servers.setdefault(server, {})[str(asked)] = seen.known(pin.digest, now())

    await asyncio.gather(*(one(name) for name, server in inventory.servers.items() if server.direct))
    return Record(servers=servers), unasked


def write(folder: Path) -> str:
    """Add what answers are like now to the record, for people to read; return where that is.

    Args:
        folder: the configuration.

    Raises:
        SoarError: the record has a mistake, or there was nothing that could be recorded.
    """
    config, path = settings.read(folder), folder / FILE

    async def recorded() -> tuple[Record, list[str]]:
        world = Connections(config.inventory, config.systems)
        try:
            return await _recorded(config, world)
        finally:
            await world.aclose()

    record, unasked = asyncio.run(recorded())
    if not record.servers:
        why = unasked[0] if unasked else "no approved tool has safe_arguments, and no prompt or resource is approved"
        raise Refused(f"there is nothing to record: {why}")
    text = yaml.safe_dump(record.model_dump(mode="json"), allow_unicode=True, sort_keys=False, width=120)
    whole.put(path, text.encode(), mode=0o600, over=True)
    return str(path) + (f" (not {'; '.join(unasked)})" if unasked else "")


CHECK = Inspection(
    name="behaviour",
    key="behaviour",
    title="Behaviour",
    looks="ask again what is safe to ask",
    about=(
        "Ask every server again what people named safe (`safe_arguments`, approved prompts and resources), look for "
        "what speaks to the model or hides in its answers and definitions, and compare with what the answers were like "
        "when they were approved.\n\nRed means that something is not as it should be, or that it could not be asked."
    ),
    good="as it was approved, as far as it was asked",
    against="how servers should answer",
    to_do="read it, and start a response with `mcp-soar respond`; then look again with `mcp-soar check behaviour`.",
    pieces=_pieces,
    left_out=_left_out,
    # Its turn comes after those before it.
    within=2 * _ALTOGETHER,
    write=write,
)
