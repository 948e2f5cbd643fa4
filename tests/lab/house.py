"""A whole engine for tests: a real journal, vault and keys over a site of the lab; alerts and people to use it."""

import asyncio
import base64
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from flows.engine import sealing
from flows.engine.case import PREFIX
from flows.engine.intake import intake
from flows.engine.parts import Parts, Timing
from flows.engine.people.reviews import ReviewBook
from flows.service.responder import Responder
from integrations.channels.log.notifier import LogChannel
from integrations.journal.stamp import Stamp
from integrations.journal.store import Journal
from integrations.registry import SYSTEMS
from integrations.siem.source import Source, Sources
from integrations.signing import SigningKey
from integrations.vault.local import LocalVault
from playbooks.action import World
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Radius
from playbooks.gate.policy import Cap, Policy, Spacing
from playbooks.people.contacts import Contacts
from playbooks.people.request import People, Person, Verb, draft, sign
from playbooks.playbook import shipped
from playbooks.record.incident import Status
from playbooks.record.journal import SYSTEM, Parsed
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.strict import iso, now
from tests.lab.journals import laid

WITHIN = 200.0

# What a laboratory with a handful of tools needs to be contained without people; the shipped caps are a fifth of them.
ROOMY = Policy(
    version=1,
    caps={Radius.TOKEN: Cap(count=500, percent=100), Radius.TOOL: Cap(count=500, percent=100)},
    spacing=Spacing(at_most=1000, within=60.0),
)


def source(**changes: Any) -> Source:  # noqa: ANN401  # whatever a source is configured with
    """Return an authenticated source of high confidence whose tags name the class."""
    fields: dict[str, Any] = {
        "format": "generic",
        "authentication": {"bearer": {"secrets": [{"env": "LAB_TOKEN"}]}},
        "confidence": "high",
        "classify": [{"tag": "tool_poisoning", "class": "tool_poisoning"}],
    }
    return Source.model_validate({**fields, **changes})


SOURCES = Sources(
    version=1,
    sources={
        "siem": source(),
        "second": source(confidence="medium"),
        "drift": source(),
        "unsigned": source(authentication="none", confidence="low"),
    },
)


def alert(server: str, *tools: str, **changes: Any) -> bytes:  # noqa: ANN401  # whatever an alert can say
    """Return an alert in the generic format about tools of a server."""
    entities = [
        {"kind": "server", "name": server},
        *({"kind": "tool", "name": tool, "server": server} for tool in tools),
    ]
    fields = {
        "version": 1,
        "id": uuid.uuid4().hex,
        "rule": "Tool description changed",
        "title": "A description asks for a key file",
        "severity": "high",
        "detected_at": iso(now()),
        "tags": ["tool_poisoning"],
        "entities": entities,
    }
    return json.dumps({**fields, **changes}).encode()


@dataclass
class House:
    """An installation.

    Args:
        parts: what its engine works with.
        keys: the people's private keys.
        folder: where its state is.
    """

    parts: Parts
    keys: dict[str, SigningKey]
    folder: Path
    _known: dict[str, tuple[int, Incident]] = field(default_factory=dict, init=False, repr=False)

    @property
    def journal(self) -> Journal:
        return self.parts.journal

    async def receive(self, body: bytes, source: str = "siem") -> str:
        """Put an alert into the inbox, as the receiver does, and return its receipt."""
        receipt = await self.journal.put(kind="alert", source=source, nonce=uuid.uuid4().hex, body=body, headers={})
        return receipt.id

    async def ask(self, who: str, verb: Verb, subject: str, **more: Any) -> str:  # noqa: ANN401  # a request's other fields
        """Put a person's signed request into the inbox and return its nonce."""
        request = draft(actor=who, verb=verb, subject=subject, at=now(), **more)
        body = sign(request, self.keys[who].sign).model_dump_json().encode()
        await self.journal.put(kind="request", source="person", nonce=request.nonce, body=body, headers={})
        return request.nonce

    async def take_in(self) -> None:
        """Take in all of the inbox that can be, in as many looks as that takes, and give back the claims of it."""
        before = 0
        while (left := len(await self.journal.waiting(1000))) not in {0, before}:
            before = left
            for opened in await intake(self.parts):
                await self.journal.release(opened.claim, runnable_at=None)

    async def incidents(self) -> list[Incident]:
        """Return every incident, the first opened first."""
        streams = await self.journal.streams(PREFIX)
        return [await self._worked_out(row.name.removeprefix(PREFIX), row.seq) for row in reversed(streams)]

    async def incident(self, name: str) -> Incident:
        row = await self.journal.stream(f"{PREFIX}{name}")
        return await self._worked_out(name, row.seq if row else 0)

    async def _worked_out(self, name: str, seq: int) -> Incident:
        # Who waits for something asks fifty times a second; what it has grown by meanwhile is seen by the next look.
        if name not in self._known or self._known[name][0] != seq:
            self._known[name] = seq, project(name, await self.journal.read(f"{PREFIX}{name}"))
        return self._known[name][1]

    async def system(self, kind: str) -> list[Parsed]:
        return [e for e in (entry.parsed() for entry in await self.journal.read(SYSTEM)) if e.kind == kind]

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait until something is so."""
        try:
            async with asyncio.timeout(WITHIN):
                while True:
                    began = time.monotonic()
                    if await condition():
                        return
                    # Whoever is waited for has this processor two thirds of the time, however long a look takes.
                    await asyncio.sleep(max(0.02, 2 * (time.monotonic() - began)))
        except TimeoutError:
            shown = [
                (i.id, i.status.value, [(s.instance, s.progress.value, s.message) for s in i.steps.values()])
                for i in await self.incidents()
            ]
            raise AssertionError(f"{what} within {WITHIN:g} s; there is {shown}") from None

    async def reaches(self, status: Status, name: str | None = None) -> Incident:
        """Wait until an incident, the only one if none is named, has a status."""

        async def reached() -> bool:
            found = [i for i in await self.incidents() if name in {None, i.id}]
            return bool(found) and found[-1].status is status

        await self.until(reached, f"{name or 'an incident'} is {status}")
        return next(i for i in reversed(await self.incidents()) if name in {None, i.id})

    async def opened(self) -> Incident:
        """Wait until an incident is open, the only one there is, and return it."""

        async def so() -> bool:
            return bool(await self.incidents())

        await self.until(so, "an incident is open")
        (incident,) = await self.incidents()
        return incident

    async def given_back(self, name: str) -> Incident:
        """Wait until nothing of an incident is in force any more, and return it."""

        async def so() -> bool:
            return (await self.incident(name)).metrics["released_at"] is not None

        await self.until(so, f"{name} has given everything back")
        return await self.incident(name)

    async def settled(self, name: str) -> Incident:
        """Wait until an incident's evidence is sealed, and return it."""

        async def done() -> bool:
            return (await self.incident(name)).sealed is not None

        await self.until(done, f"{name} is sealed")
        return await self.incident(name)

    async def bundled(self, name: str) -> Path:
        """Write all of an incident's evidence into one bundle, and return where."""
        parts, out = self.parts, self.folder / f"{name}-{uuid.uuid4().hex[:8]}.tar.gz"
        await sealing.bundled(
            name,
            journal=parts.journal,
            vault=parts.vault,
            signer=parts.signer,
            keys=parts.keys,
            name="test",
            out=out,
            reserve=0,
        )
        return out

    @asynccontextmanager
    async def responding(self, **more: Any) -> AsyncIterator[Responder]:  # noqa: ANN401  # a responder's other arguments
        """Run a responder meanwhile."""
        responder = Responder(self.parts, **more)
        stop = asyncio.Event()
        running = asyncio.create_task(responder.run(stop))
        try:
            yield responder
        finally:
            stop.set()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    def changed(self, **parts: Any) -> "House":  # noqa: ANN401  # fields of Parts
        """Return the same installation with other parts."""
        return replace(self, parts=replace(self.parts, **parts))


class Reviewed(ReviewBook):
    """What a laboratory approves counts as reviewed; tests about reviews use the real book."""

    @override
    async def lacking(self, *_asked: object) -> tuple[str, ...]:
        return ()

    @override
    async def in_decision(self, *_asked: object) -> tuple[str, ...]:
        return ()


PEOPLE = {"ann": ("responder", "approver"), "bob": ("approver",), "eve": ("auditor",)}


@asynccontextmanager
async def house(
    folder: Path,
    world: World,
    *,
    url: str | None = None,
    policy: Policy = ROOMY,
    name: str = "responder-1",
    key: str = "responder",
) -> AsyncIterator[House]:
    """Make an installation in a folder, or open the one that is there.

    Args:
        folder: for keys, vault and, without a URL, the journal.
        world: what its steps reach.
        url: of the journal.
        policy: the gate's rules.
        name: of the responder.
        key: which of the folder's responder keys is its own; it knows them all.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240  # nothing else runs yet
    keys = {who: _key(folder / f"{who}.key") for who in PEOPLE}
    signer = _key(folder / f"{key}.key")
    responders = [_key(path) for path in sorted(folder.glob("responder*.key"))]  # noqa: ASYNC240  # nothing else runs yet
    people = People(
        people={who: Person(key=_encoded(keys[who]), roles=roles, enrolled_at=now()) for who, roles in PEOPLE.items()}
    )
    for made in ("vault", "bundles"):
        (folder / made).mkdir(exist_ok=True, mode=0o700)
    trusted = [one.public for one in responders]
    if url is None:
        laid(folder / "journal.db")
    journal = await Journal.open(
        url or f"sqlite:///{folder}/journal.db", signer=signer, name=name, keys=trusted, stamp=Stamp(b"s" * 32)
    )
    await journal.migrate()
    try:
        yield House(
            parts=Parts(
                name=name,
                journal=journal,
                world=world,
                vault=LocalVault(folder / "vault", reserve=0),
                bundles=folder / "bundles",
                signer=signer,
                keys={one.id: one.public for one in responders},
                policy=policy,
                playbooks=shipped(),
                steps=SYSTEMS.steps,
                words=SYSTEMS.words,
                titles=SYSTEMS.titles,
                sources=SOURCES,
                checks=frozenset({"tried"}),
                people=lambda: people,
                contacts=Contacts(),
                channels=lambda _contact, _way: LogChannel(),
                timing=Timing(),
                reviews=Reviewed(),
            ),
            keys=keys,
            folder=folder,
        )
    finally:
        await journal.aclose()


def _key(path: Path) -> SigningKey:
    return SigningKey.load(path) if path.exists() else SigningKey.generate(path)


def _encoded(key: SigningKey) -> str:
    return "ed25519:" + base64.b64encode(key.public.raw).decode()


def watched_every(inventory: Inventory, seconds: float) -> Inventory:
    """Return an inventory whose leases are verified that often."""
    return inventory.model_copy(update={"watch_every": seconds})
