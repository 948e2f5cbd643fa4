"""What people ask for: a verb on a subject, signed with the person's enrolled key, single use, expiring.

The signature covers `PREFIX` and the request's canonical bytes, so it can be used for nothing else. A request travels
through places that are not trusted (Prefect's API, a chat, a pipe): it counts only once `check` has passed it.
"""

import base64
import binascii
import secrets
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from playbooks.errors import Refused
from playbooks.strict import Digest, Json, JsonField, Line, Moment, Name, Slug, Strict, canonical

PREFIX = b"mcp-soar request v1\n"
LIFETIME = timedelta(minutes=10)
SKEW = timedelta(minutes=2)

PublicKey = Annotated[str, StringConstraints(pattern=r"^ed25519:[A-Za-z0-9+/]{43}=$")]
"""A raw Ed25519 public key, base64, with its algorithm in front."""


class Verb(StrEnum):
    """What a person can ask for."""

    RESPOND = "respond"
    APPROVE = "approve"
    DENY = "deny"
    RELEASE = "release"
    CLOSE = "close"
    STOP = "stop"
    RESUME = "resume"
    ACK = "ack"
    DELEGATE = "delegate"
    NOTE = "note"
    ASSIGN = "assign"
    EXTEND = "extend"
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"
    HOLD = "hold"
    UNHOLD = "unhold"
    ERASE = "erase"
    PURGE = "purge"
    REVIEW = "review"
    CLASSIFY = "classify"
    JOIN = "join"


class Person(Strict):
    """Somebody whose requests count.

    Args:
        key: the enrolled public key.
        roles: what they may do: `responder`, `approver`, `auditor`, `reviewer`.
        enrolled_at: since when.
    """

    key: PublicKey
    roles: tuple[Slug, ...] = Field(min_length=1)
    enrolled_at: Moment


class People(Strict):
    """Everybody enrolled, by name."""

    version: Literal[1] = 1
    people: dict[Name, Person] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_key_each(self) -> Self:
        owners: dict[str, str] = {}
        for name, person in self.people.items():
            if owners.setdefault(person.key, name) != name:
                message = f"{owners[person.key]} and {name} have the same key: two people need two keys"
                raise ValueError(message)
        return self

    def stands_by(self, name: str, roles: Collection[str], signed_at: datetime) -> bool:
        """Return whether what somebody signed before still counts: they are who they were, and may ask for it today.

        Args:
            name: who signed.
            roles: any of these suffices.
            signed_at: when; whoever was enrolled anew since then has to sign anew.
        """
        person = self.people.get(name)
        return person is not None and person.enrolled_at <= signed_at and bool(set(roles) & set(person.roles))


class Request(Strict):
    """A human act.

    Args:
        actor: who asks; the signature proves it.
        verb: what for.
        subject: of what: an incident's id, or a scope of the kill switch.
        digest: the plan that an approval or a denial is about.
        reason: why, in the person's words.
        params: what else the verb needs.
        nonce: makes it single use.
        issued_at: when it was signed.
        expires_at: when it stops counting.
    """

    v: Literal[1] = 1
    actor: Name
    verb: Verb
    subject: Line
    digest: Digest | None = None
    reason: Line = ""
    params: dict[Slug, JsonField] = Field(default_factory=dict)
    nonce: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22,64}$")]
    issued_at: Moment
    expires_at: Moment

    def signing_bytes(self) -> bytes:
        """Return what the person's key signs."""
        return PREFIX + canonical(self)


class SignedRequest(Strict):
    """A request as it travels."""

    request: Request
    signature: Annotated[str, StringConstraints(max_length=200)]


# What each verb needs of the person's roles; any one suffices.
ROLES: dict[Verb, frozenset[str]] = {
    Verb.RESPOND: frozenset({"responder"}),
    Verb.APPROVE: frozenset({"approver"}),
    Verb.DENY: frozenset({"approver", "responder"}),
    Verb.RELEASE: frozenset({"responder", "approver"}),
    Verb.CLOSE: frozenset({"responder", "approver"}),
    Verb.STOP: frozenset({"responder", "approver"}),
    Verb.RESUME: frozenset({"approver"}),
    # Whoever was told may say so.
    Verb.ACK: frozenset({"responder", "approver", "auditor"}),
    Verb.DELEGATE: frozenset({"approver"}),
    # What it is called decides what is automatic, who is told and which law wants to hear of it.
    Verb.CLASSIFY: frozenset({"responder", "approver"}),
    Verb.JOIN: frozenset({"responder", "approver"}),
    Verb.NOTE: frozenset({"responder", "approver"}),
    Verb.ASSIGN: frozenset({"responder", "approver"}),
    Verb.EXTEND: frozenset({"responder", "approver"}),
    Verb.SUPPRESS: frozenset({"responder", "approver"}),
    Verb.UNSUPPRESS: frozenset({"responder", "approver"}),
    # Nothing is lost by keeping it, so whoever looks after the law may ask for it; letting go takes two approvers.
    Verb.HOLD: frozenset({"responder", "approver", "auditor"}),
    Verb.UNHOLD: frozenset({"approver"}),
    # Anybody who answers for it may ask; it takes another person, an approver, to agree.
    Verb.ERASE: frozenset({"responder", "approver", "auditor"}),
    # It only hurries what the policy has decided.
    Verb.PURGE: frozenset({"responder", "approver"}),
    # Which roles review is the policy's to say; a review travels in pins.yaml, and `playbooks.people.review` judges it.
    Verb.REVIEW: frozenset(),
}

Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether a raw public key, a message and a signature fit."""


def draft(
    *,
    actor: str,
    verb: Verb,
    subject: str,
    at: datetime,
    digest: str | None = None,
    reason: str = "",
    params: dict[str, Json] | None = None,
) -> Request:
    """Return a request that is ready to be signed, with a fresh nonce.

    Args:
        actor: who asks.
        verb: what for.
        subject: of what.
        at: now; it expires `LIFETIME` later.
        digest: the plan, for approve and deny.
        reason: why.
        params: what else the verb needs.
    """
    return Request(
        actor=actor,
        verb=verb,
        subject=subject,
        digest=digest,
        reason=reason,
        params=params or {},
        nonce=secrets.token_urlsafe(24),
        issued_at=at,
        expires_at=at + LIFETIME,
    )


def sign(request: Request, signer: Callable[[bytes], bytes]) -> SignedRequest:
    """Return the request with its signature."""
    return SignedRequest(request=request, signature=base64.b64encode(signer(request.signing_bytes())).decode())


def check(
    body: bytes,
    people: People,
    *,
    at: datetime,
    verify: Verify,
    lent: Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> Request:
    """Return the request if a person who may ask for it signed it and it still counts.

    Args:
        body: the travelling JSON.
        people: who is enrolled now; somebody who was removed is nobody.
        at: now.
        verify: whether (raw public key, message, signature) fit.
        lent: roles that others lent to somebody, for deciding on what waits; by name.

    Raises:
        Refused: with the reason, which is safe to show to the person.
    """
    try:
        signed = SignedRequest.model_validate_json(body)
    except ValidationError as exc:
        raise Refused("the request is not in the form that this release reads") from exc
    request = genuine(signed, people, verify=verify)
    if request.verb is Verb.REVIEW:
        raise Refused("a review is handed in by `mcp-soar pins approve`, which writes it beside what it approves")
    if request.expires_at - request.issued_at > LIFETIME:
        raise Refused(f"the request lasts longer than {LIFETIME.total_seconds():g} s; sign it anew")
    if request.issued_at > at + SKEW:
        raise Refused("the request was signed in the future; set the clock of the machine that signed it")
    if at > request.expires_at:
        raise Refused("the request has expired; ask again")
    voice = lent.get(request.actor, frozenset()) if request.verb in {Verb.APPROVE, Verb.DENY} else frozenset()
    entitled(people, request.actor, request.verb, also=voice)
    return request


ASKED_FOR_IT = "whoever asked for it cannot approve it; another person has to"
TWICE = "you approved this plan already; another person has to"


def entitled(people: People, name: str, verb: Verb, *, also: frozenset[str] = frozenset()) -> None:
    """Refuse whoever has no role for a thing.

    Args:
        people: who is enrolled now.
        name: who asks.
        verb: what for.
        also: roles that others lent them.

    Raises:
        Refused: with the reason, which is safe to show to the person.
    """
    person = people.people.get(name)
    if person is None:
        raise Refused(f"{name} is not enrolled; `mcp-soar enroll {name} --role ...` adds their key")
    if not ROLES[verb] & {*person.roles, *also}:
        needed, has = " or ".join(sorted(ROLES[verb])), ", ".join(person.roles)
        raise Refused(f"{verb} needs the role {needed}; {name} has {has}")


def genuine(signed: SignedRequest, people: People, *, verify: Verify) -> Request:
    """Return a request if the enrolled key of whoever it names signed it; whether it counts is another question.

    Args:
        signed: as it travels.
        people: who is enrolled now.
        verify: whether (raw public key, message, signature) fit.

    Raises:
        Refused: with the reason, which is safe to show to the person.
    """
    request = signed.request
    person = people.people.get(request.actor)
    if person is None:
        raise Refused(f"{request.actor} is not enrolled; `mcp-soar enroll` adds a person's key")
    try:
        signature = base64.b64decode(signed.signature, validate=True)
    except binascii.Error as exc:
        raise Refused("the signature is not base64") from exc
    if not verify(base64.b64decode(person.key.removeprefix("ed25519:")), request.signing_bytes(), signature):
        raise Refused(f"the signature is not one of {request.actor}'s enrolled key")
    return request
