"""Voices that approvers lend: who may answer with whose, until when. What the journal says of it is not enough."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pydantic import ValidationError

from integrations.journal.store import Tx
from integrations.signing import PublicKey
from playbooks.errors import Refused
from playbooks.people.request import SKEW, People, Request, SignedRequest, Verb

_UNTIL = "say until when: `until` as 2026-01-31T12:00:00Z"


class Delegation(NamedTuple):
    """A voice that is lent.

    Args:
        by: the approver whose it is.
        to: who may use it.
        until: how long.
    """

    by: str
    to: str
    until: datetime


async def delegations(tx: Tx, people: People, at: datetime) -> list[Delegation]:
    """Return the voices that are lent now.

    What the journal says is believed only with the lender's own signature, and only while both are enrolled.
    """
    latest: dict[tuple[str, str], tuple[datetime, Delegation]] = {}
    for entry in await tx.system("delegated"):
        try:
            signed = SignedRequest.model_validate(entry.body["signed"])
            signature = base64.b64decode(signed.signature, validate=True)
            until = until_of(signed.request)
        except (ValidationError, KeyError, ValueError, Refused):
            continue
        lender, friend = signed.request.actor, signed.request.subject
        person, other = people.people.get(lender), people.people.get(friend)
        if person is None or other is None or signed.request.verb is not Verb.DELEGATE:
            continue
        # It was lent to whoever had the name then.
        if max(person.enrolled_at, other.enrolled_at) > datetime.fromisoformat(entry.at):
            continue
        key = PublicKey.from_raw(base64.b64decode(person.key.removeprefix("ed25519:")))
        if key.signed(signed.request.signing_bytes(), signature):
            # Signed last counts, not written last: an entry that is repeated after its end lends nothing.
            signed_at = signed.request.issued_at
            known = latest.get((lender, friend))
            if known and until <= datetime.fromisoformat(entry.at) and known[0] <= signed_at + 2 * SKEW:
                # Taken back, it is over, though the clock that lent it was ahead of the one that takes it back.
                signed_at = max(signed_at, known[0] + timedelta.resolution)
            if known is None or known[0] <= signed_at:
                latest[lender, friend] = signed_at, Delegation(lender, friend, until)
    return [item for _, item in latest.values() if item.until > at]


def until_of(request: Request) -> datetime:
    """Return until when a request lends a voice, in UTC.

    Raises:
        Refused: if it does not say.
    """
    try:
        until = datetime.fromisoformat(str(request.params["until"]))
        if until.tzinfo is not None:
            return until.astimezone(UTC)
    except (KeyError, ValueError, OverflowError) as exc:
        raise Refused(_UNTIL) from exc
    raise Refused(_UNTIL)


def lent(found: Sequence[Delegation], people: People, roles: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return person → roles that others lent them; only what they have themselves can be lent, and only once."""
    given: dict[str, frozenset[str]] = {}
    for item in found:
        voice = frozenset(people.people[item.by].roles) & set(roles)
        given[item.to] = given.get(item.to, frozenset()) | voice
    return given
