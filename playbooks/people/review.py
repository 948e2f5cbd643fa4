"""Who reviewed which approved definition: what people signed, against what the file of pins says. Pure.

A pin decides what is cut and given back without a person, so it counts as reviewed only if people who may review signed
for that very pin, and that is in the journal. What nobody signed for is compared with; nothing is automatic on it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from playbooks.errors import Refused
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import Pin, PinKind, Pins, Risk
from playbooks.gate.policy import Review
from playbooks.people.request import SKEW, People, Request, SignedRequest, Verb, Verify, genuine
from playbooks.strict import Digest, Json, Name, Slug, Strict, digest
from playbooks.text.sentences import clause

STREAM: Final = "pins"
"""The journal's stream of reviews; each entry is one signed request."""

KIND: Final = "reviewed"
"""The kind of its entries: `signed`, the request as it was signed."""

LASTS: Final = timedelta(days=30)
"""How long a signed review may wait for a responder to take it in."""

_RISKS: Final = ("low", "medium", "high")


class Key(NamedTuple):
    """What tells one approved definition from all others."""

    server: str
    kind: str
    name: str


class Sealed(Strict):
    """One pin that somebody signed for."""

    kind: PinKind
    name: Name
    seal: Digest


class _Gone(Strict):
    kind: PinKind
    name: Name


class Reviewed(Strict):
    """What a review's request says beside who, when and on which server.

    Args:
        role: in which role.
        approved: the pins that are approved, by seal.
        withdrawn: the pins that are taken away.
    """

    role: Slug
    approved: tuple[Sealed, ...] = Field(max_length=20_000)
    withdrawn: tuple[_Gone, ...] = Field(default=(), max_length=20_000)


def seal(server: str, pin: Pin) -> Digest:
    """Return what a reviewer signs for: the pin, all of it that decides something.

    Args:
        server: whose it is.
        pin: the approved definition.
    """
    decisive = pin.model_dump(mode="json", exclude={"dossier"})
    # The definition itself too: what a change introduces is judged by it, not by its digest.
    present = {name: value for name, value in pin.definition.items() if value is not None}
    return digest({**decisive, "server": server, "risk": pin.dossier.risk, "definition": digest(present)})


def params(server: str, role: str, pins: Iterable[Pin], withdrawn: Iterable[tuple[str, str]] = ()) -> dict[str, Json]:
    """Return the parameters of a request that approves pins.

    Args:
        server: whose they are.
        role: in which role.
        pins: what is approved.
        withdrawn: kind and name of what is taken away.
    """
    approved: list[Json] = [{"kind": p.kind.value, "name": p.name, "seal": seal(server, p)} for p in pins]
    gone: list[Json] = [{"kind": kind, "name": name} for kind, name in withdrawn]
    return {"role": role, "approved": approved, "withdrawn": gone}


_PARAMS: Final = TypeAdapter(Reviewed)


def said(request: Request) -> Reviewed:
    """Return what a review's request says.

    Raises:
        Refused: it says nothing that this release reads.
    """
    try:
        return _PARAMS.validate_python(request.params)
    except ValidationError as exc:
        raise Refused("the review is not in the form that this release reads") from exc


def judged(signed: SignedRequest, people: People, rules: Review, *, at: datetime, verify: Verify) -> Request:
    """Return a review if somebody who may review signed it and it may still be taken in.

    Args:
        signed: as it stands in pins.yaml.
        people: who is enrolled now.
        rules: the policy's.
        at: now.
        verify: whether (raw public key, message, signature) fit.

    Raises:
        Refused: with the reason.
    """
    request = genuine(signed, people, verify=verify)
    person = people.people[request.actor]
    if request.verb is not Verb.REVIEW:
        raise Refused(f"it asks to {request.verb}, which is no review")
    role = said(request).role
    if role not in person.roles or role not in rules.roles:
        raise Refused(
            f"reviewing takes the role {' or '.join(rules.roles)}; {request.actor} has {', '.join(person.roles)}"
        )
    if person.enrolled_at > request.issued_at:
        raise Refused(f"{request.actor} was enrolled anew since; review it again")
    if request.issued_at > at + SKEW:
        raise Refused("it was signed in the future; set the clock of the machine that signed it")
    if at - request.issued_at > LASTS:
        raise Refused(f"it was signed more than {LASTS.days} days ago; review it again")
    return request


@dataclass
class _Standing:
    seal: str
    at: datetime
    by: dict[str, str] = field(default_factory=dict)


class Reviews:
    """What people reviewed, all in all: of each definition the latest review, and who agreed to it."""

    def __init__(self) -> None:
        self._latest: dict[Key, _Standing] = {}
        self.nonces: set[str] = set()

    def take(self, request: Request) -> None:
        """Take one review in; in whatever order they come, the one signed last is what holds."""
        if request.nonce in self.nonces:
            return
        self.nonces.add(request.nonce)
        review = said(request)
        marks = [(Key(request.subject, one.kind.value, one.name), one.seal) for one in review.approved]
        marks += [(Key(request.subject, one.kind.value, one.name), "") for one in review.withdrawn]
        for key, mark in marks:
            known = self._latest.get(key)
            if known is not None and known.seal == mark:
                known.by[request.actor] = review.role
                known.at = max(known.at, request.issued_at)
            elif known is None or request.issued_at > known.at:
                self._latest[key] = _Standing(mark, request.issued_at, {request.actor: review.role})

    def lacking(
        self, inventory: Inventory, rules: Review, server: str, *, of: Collection[tuple[str, str]] | None = None
    ) -> Mapping[tuple[str, str], str]:
        """Return what of a server's pins is not reviewed: kind and name → why.

        Args:
            inventory: with the pins as the file has them.
            rules: the policy's.
            server: which.
            of: kinds and names that are asked about, None for all: to look at one pin costs what one pin does.
        """
        return dict(self._lacking(inventory, rules, server, of))

    def _lacking(
        self, inventory: Inventory, rules: Review, server: str, of: Collection[tuple[str, str]] | None
    ) -> Iterator[tuple[tuple[str, str], str]]:
        present = set()
        for pin in inventory.pins.of(server):
            key = Key(server, pin.kind.value, pin.name)
            present.add(key)
            if of is not None and (key.kind, key.name) not in of:
                continue
            found = self._latest.get(key)
            needed = rules.needed(_risk(inventory, server, pin))
            if found is None:
                yield (key.kind, key.name), clause("was reviewed by nobody")
            elif found.seal != seal(server, pin):
                yield (key.kind, key.name), clause("is not what was reviewed: pins.yaml was changed by other means")
            elif len(found.by) < needed:
                yield (
                    (key.kind, key.name),
                    clause("was reviewed by {c}; it takes {d} people", c=", ".join(sorted(found.by)), d=needed),
                )
        for key, found in self._latest.items():
            asked = of is None or (key.kind, key.name) in of
            if asked and key.server == server and found.seal and key not in present:
                yield (key.kind, key.name), clause("was approved, and pins.yaml has lost it")


def _risk(inventory: Inventory, server: str, pin: Pin) -> Risk:
    """Return a pin's risk: the reviewers' view of it, or the inventory's if that is worse."""
    known = inventory.servers.get(server)
    notes = known.tools.get(pin.name) if known and pin.kind is PinKind.TOOL else None
    return max((pin.dossier.risk, notes.risk if notes else "low"), key=_RISKS.index)


def kept(reviews: Iterable[SignedRequest], pins: Pins) -> tuple[SignedRequest, ...]:
    """Return the reviews that still say something about pins, so that the file does not grow with each.

    Args:
        reviews: those of the file, the newest last.
        pins: as they are to be.
    """
    seals = {seal(server, pin) for server, mine in pins.servers.items() for pin in mine}
    found: list[SignedRequest] = []
    covered: set[tuple[str, str]] = set()
    for signed in sorted(reviews, key=lambda one: one.request.issued_at, reverse=True):
        try:
            review = said(signed.request)
        except Refused:
            continue
        mine = {(signed.request.actor, one.seal) for one in review.approved if one.seal in seals}
        if mine - covered or review.withdrawn:
            found.append(signed)
            covered |= mine
    return tuple(reversed(found))
