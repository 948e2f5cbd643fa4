"""Suppressions at work: alerts that a person signed away for a while are kept, counted, and open nothing."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import ValidationError

from flows.engine.parts import Parts
from flows.engine.people.oncall import read
from flows.engine.people.telling import page
from flows.engine.subject import answer
from integrations.journal.records import InboxItem, Suppression
from integrations.journal.store import Tx
from integrations.signing import PublicKey
from playbooks.errors import Misconfigured, Refused
from playbooks.gate.suppression import Scope, Suppressing, meanings, scope_of
from playbooks.people.request import ROLES, SKEW, People, Request, SignedRequest, Verb
from playbooks.record.incident import Alert
from playbooks.record.journal import ITSELF, SYSTEM, Event
from playbooks.strict import Json, iso

RECORDED = 100
"""Alerts of one suppression that get an entry each; the rest are counted, and kept in the inbox like all others."""


async def suppress(parts: Parts, tx: Tx, signed: SignedRequest) -> str:
    """Keep a source's or a rule's alerts from opening incidents; journalled with the request's own signature."""
    request = signed.request
    seconds = read(Suppressing, request.params).seconds
    longest = parts.policy.suppression.longest
    if seconds > longest:
        raise Refused(f"the policy lets a suppression last {longest / 3600:g} h at most (suppression.longest)")
    if not request.reason:
        raise Refused("a suppression needs a reason; it is shown wherever its alerts are missing")
    scope = scope_of(request.subject, parts.sources.sources)
    at = await tx.clock()
    until, number = at + seconds, await tx.next("suppression")
    body: dict[str, Json] = {
        "scope": request.subject,
        "source": scope.source,
        "rule": scope.rule,
        "until": iso(datetime.fromtimestamp(until, UTC)),
        "by": request.actor,
        "reason": request.reason,
        "number": number,
        "signed": signed.model_dump(mode="json"),
    }
    taken = answer(request, accepted=True, reason=request.reason)
    entry, _ = await tx.append(SYSTEM, [Event("suppressed", body, request.actor), taken])
    # One key can do it, so everybody hears of it.
    notice = f"suppressed:{request.subject}:{number}"
    text = f"Suppressed {request.subject} until {body['until']}, by {request.actor}: {request.reason}"
    await page(tx, ITSELF, Event("page", {"id": notice, "notice": notice, "text": text[:4000]}))
    await tx.suppress(
        Suppression(
            scope=request.subject,
            source=scope.source,
            rule=scope.rule,
            until=until,
            reason=request.reason,
            by=request.actor,
            at=at,
            seq=number,
            entry=entry.seq,
            hidden=0,
        )
    )
    return SYSTEM


async def unsuppress(_parts: Parts, tx: Tx, request: Request) -> str:
    """End a suppression before its time."""
    at = await tx.clock()
    found = {item.scope: item for item in await tx.suppressions() if item.until > at}
    ended = found.get(request.subject)
    if ended is None:
        raise Refused(f"{request.subject} is not suppressed; suppressed: {', '.join(sorted(found)) or 'nothing'}")
    await tx.unsuppress(ended.scope)
    body: dict[str, Json] = {
        "scope": ended.scope,
        "by": request.actor,
        "reason": request.reason,
        "number": ended.seq,
        "set_aside": ended.hidden,
    }
    taken = answer(request, accepted=True, reason=request.reason)
    await tx.append(SYSTEM, [Event("unsuppressed", body, request.actor), taken])
    return SYSTEM


class Quiet:
    """The suppressions in force at one moment, at work on the messages of one unit.

    Args:
        parts: what the engine works with.
        known: all suppressions.
        at: the moment, by the database's clock.
    """

    def __init__(self, parts: Parts, known: Sequence[Suppression], at: float) -> None:
        self._parts = parts
        self._known = [one for one in known if one.until > at]
        self._signed: dict[str, bool] = {}
        self._hidden: dict[str, int] = {}
        self._events: list[Event] = []

    @classmethod
    async def now(cls, parts: Parts, tx: Tx) -> "Quiet":
        """Return those in force in a transaction."""
        known = await tx.suppressions()
        return cls(parts, known, await tx.clock() if known else 0.0)

    async def hides(self, tx: Tx, item: InboxItem, alert: Alert, *, trusted: bool) -> bool:
        """Return whether one of them names an alert, and count it.

        Args:
            tx: the transaction that it happens in.
            item: the message, which the inbox keeps as it came.
            alert: what it says.
            trusted: whether its source proves who it is.
        """
        found = next((one for one in self._known if _names(one, item, alert, trusted=trusted)), None)
        if found is None or not await self._stands(tx, found):
            return False
        count = self._hidden[found.scope] = self._hidden.get(found.scope, 0) + 1
        if found.hidden + count <= RECORDED:
            until = iso(datetime.fromtimestamp(found.until, UTC))
            body: dict[str, Json] = {
                "receipt": item.id,
                "kind": item.kind,
                "source": item.source,
                "reason": f"suppressed by {found.by} until {until} ({found.scope}): {found.reason}"[:2000],
                "suppression": found.seq,
                "rule": alert.rule,
            }
            self._events.append(Event("set_aside", body, item.source))
        return True

    async def _stands(self, tx: Tx, one: Suppression) -> bool:
        if one.scope not in self._signed:
            try:
                self._signed[one.scope] = await _signed_for(self._parts.people(), tx, one)
            except Misconfigured:
                # Then nobody signed for anything: rather one incident too many.
                self._signed[one.scope] = False
        return self._signed[one.scope]

    async def close(self, tx: Tx) -> None:
        """Write down what they set aside."""
        for scope, count in self._hidden.items():
            await tx.hide(scope, count)
        if self._events:
            await tx.append(SYSTEM, self._events)


def _names(one: Suppression, item: InboxItem, alert: Alert, *, trusted: bool) -> bool:
    scope = Scope(source=one.source, rule=one.rule)
    return scope.hides(source=item.source, rule=alert.rule, severity=alert.severity, authenticated=trusted)


async def _signed_for(people: People, tx: Tx, one: Suppression) -> bool:
    """Whether somebody who is still enrolled signed for a row: one that is only in the database hides nothing."""
    entry = await tx.entry(SYSTEM, one.entry)
    if entry is None or entry.kind != "suppressed":
        return False
    try:
        signed = SignedRequest.model_validate(entry.body["signed"])
        request, seconds = signed.request, Suppressing.model_validate(dict(signed.request.params)).seconds
        signature = base64.b64decode(signed.signature)
    except (ValidationError, KeyError, ValueError):
        return False
    person = people.people.get(request.actor)
    # Whoever lost the role since, or was enrolled anew, does not stand for it any more.
    stands = people.stands_by(request.actor, ROLES[Verb.SUPPRESS], datetime.fromisoformat(entry.at))
    if person is None or not stands or (request.verb, request.subject) != (Verb.SUPPRESS, one.scope):
        return False
    if entry.body["number"] != one.seq or Scope(one.source, one.rule) not in meanings(request.subject):
        return False
    # It was accepted before it expired, and lasts from then on.
    if one.until > (request.expires_at + SKEW).timestamp() + seconds:
        return False
    key = PublicKey.from_raw(base64.b64decode(person.key.removeprefix("ed25519:")))
    return key.signed(request.signing_bytes(), signature)
