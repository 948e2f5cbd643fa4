"""Who may answer what an incident asks: approvers, those they lent their voice to, and one-time codes.

Nobody counts twice, for themselves or for another, and nobody approves what they asked for. An approval is of one plan:
a plan that was made anew is asked about anew.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

from pydantic import ValidationError

from flows.engine.case import PREFIX
from flows.engine.opening import CUT, Opened, set_aside
from flows.engine.parts import Parts
from flows.engine.people.telling import page, queue
from flows.engine.people.voices import delegations, until_of
from integrations.journal.records import InboxItem
from integrations.journal.store import Tx
from playbooks.errors import Misconfigured, Refused, Transient
from playbooks.people import code
from playbooks.people.code import TRIES, CodeAnswer
from playbooks.people.request import ASKED_FOR_IT, ROLES, TWICE, People, SignedRequest, Verb
from playbooks.record.journal import ITSELF, SYSTEM, Event
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.record.step import StepState
from playbooks.record.told import Code
from playbooks.strict import Json, iso, now
from playbooks.text.sentences import say

LOG = logging.getLogger("mcp_soar.engine")

LONGEST = timedelta(days=14)
"""How long a voice can be lent."""


async def delegate(parts: Parts, tx: Tx, signed: SignedRequest) -> str:
    """Lend a voice, or take it back; journalled with the request's own signature.

    Raises:
        Refused: with the reason.
    """
    request, people = signed.request, parts.people()
    if request.subject not in people.people:
        raise Refused(f"{request.subject} is not enrolled; enrolled: {', '.join(sorted(people.people))}")
    if request.subject == request.actor:
        raise Refused("nobody lends their voice to themselves")
    if not set(people.people[request.actor].roles) & set(parts.policy.approval.roles):
        raise Refused(f"only {' or '.join(parts.policy.approval.roles)} can be lent, and {request.actor} has neither")
    until = until_of(request)
    if until - now() > LONGEST:
        raise Refused(f"a voice is lent for at most {LONGEST.days} days")
    body: dict[str, Json] = {
        "by": request.actor,
        "to": request.subject,
        "until": iso(until),
        "reason": request.reason,
        "signed": signed.model_dump(mode="json"),
    }
    await tx.append(SYSTEM, [Event("delegated", body, request.actor)])
    notice = f"delegated:{request.actor}:{request.subject}:{request.nonce[:12]}"
    text = f"{request.actor} lent their voice as an approver to {request.subject} until {iso(until)}. {request.reason}"
    await page(tx, ITSELF, Event("page", {"id": notice, "notice": notice, "text": text[:4000]}))
    return SYSTEM


def waiting(state: Incident, digest: str) -> StepState:
    """Return what waits for a decision under a digest, or the beginning of one.

    Raises:
        Refused: if nothing does; it says which plans do.
    """
    wanted = digest.removeprefix("sha256:").lower()
    plans = {step.plan.digest.removeprefix("sha256:"): step for step in state.proposals if step.plan}
    found = [step for known, step in plans.items() if wanted and known.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    asked = ", ".join(f"{known[:12]} ({step.instance})" for known, step in plans.items()) or "none"
    there = f"; it was joined to {state.part_of}: what there is to decide is asked there" if state.part_of else ""
    raise Refused(f"plan {wanted[:12] or 'none'} is not waiting for a decision in {state.id}; waiting: {asked}{there}")


async def decision(
    parts: Parts, tx: Tx, step: StepState, *, actor: str, verb: Verb, reason: str, receipt: str = ""
) -> Event:
    """Return the entry that a person's decision makes.

    Args:
        parts: what the engine works with.
        tx: the transaction that it happens in.
        step: what waits.
        actor: who decides; how they proved it was judged before.
        verb: approve or deny.
        reason: why.
        receipt: the inbox's, of a one-time code; without one it was signed with a key.

    Raises:
        Refused: with the reason.
    """
    if step.expires_at and step.expires_at <= now():
        raise Refused("the time to decide is over, which counted as no; `mcp-soar respond` asks again")
    people, behalf = parts.people(), None
    if actor not in people.people:
        raise Refused(f"{actor} is not enrolled any more")
    if verb is Verb.APPROVE:
        if actor == step.requested_by:
            raise Refused(ASKED_FOR_IT)
        # Whoever's approval would not count at the effect has not used up a voice, neither theirs nor a lent one.
        standing = counting(parts, step)
        voices = {*standing, *(step.behalf[name] for name in standing if name in step.behalf)}
        if actor in voices:
            raise Refused(TWICE)
        if not set(parts.policy.approval.roles) & set(people.people[actor].roles):
            behalf = await _lender(parts, tx, actor, people, taken=voices | {step.requested_by or ""})
    elif not ROLES[Verb.DENY] & set(people.people[actor].roles):
        behalf = await _lender(parts, tx, actor, people, taken=set())
    body: dict[str, Json] = {
        "digest": step.plan.digest if step.plan else "",
        "verb": verb.value,
        "actor": actor,
        "reason": reason,
        "behalf": behalf,
        "way": "code" if receipt else "key",
        "receipt": receipt,
    }
    return Event("decided", body, actor)


def counting(parts: Parts, step: StepState) -> tuple[str, ...]:
    """Return whose approvals of a step count at this moment, before its effect.

    Whoever was removed since, lost the role, or was enrolled anew with another key is not among them; nor is whoever
    spoke for somebody of whom that is true.

    Raises:
        Transient: if nobody can say who is enrolled: then nothing counts as approved, and nothing as denied.
    """
    if not step.approved_by:
        return ()
    try:
        people = parts.people()
    except Misconfigured as exc:
        raise Transient(f"approvals cannot be counted: {exc}") from exc
    return tuple(name for name in step.approved_by if _counts(people, parts.policy.approval.roles, step, name))


def _counts(people: People, roles: Sequence[str], step: StepState, name: str) -> bool:
    at, voice = step.approved_at[name], step.behalf.get(name, name)
    person = people.people.get(name)
    return person is not None and person.enrolled_at <= at and people.stands_by(voice, roles, at)


async def _lender(parts: Parts, tx: Tx, actor: str, people: People, *, taken: set[str]) -> str:
    """Return whose voice somebody who is no approver uses."""
    roles = set(parts.policy.approval.roles)
    mine = [item.by for item in await delegations(tx, people, now()) if item.to == actor]
    able = [by for by in mine if roles & set(people.people[by].roles)]
    free = [by for by in able if by not in taken]
    if free:
        return free[0]
    if able:
        raise Refused(f"{', '.join(able)} asked for it or approved it already, and their voice counts once")
    raise Refused(f"approving needs the role {' or '.join(parts.policy.approval.roles)}")


# One-time codes


async def take_code(parts: Parts, item: InboxItem) -> list[Opened]:
    """Judge a one-time code: carry out the answer that it stands for, or refuse it on record; never journal it."""
    try:
        given = CodeAnswer.model_validate_json(item.body)
    except ValidationError:
        await parts.journal.submit(lambda tx: set_aside(tx, item, "refused: it is no answer with a one-time code"))
        return []
    try:
        parts.people()
        while not await _judged(parts, item, given):
            pass
    except Misconfigured as exc:
        # It is not the code's fault: it waits until the file is mended.
        LOG.error("a one-time code waits: %s", exc)  # noqa: TRY400  # it says what to mend
    except Refused as exc:
        reason = f"refused: {exc}"
        await parts.journal.submit(lambda tx: set_aside(tx, item, reason))
    return []


async def _judged(parts: Parts, item: InboxItem, given: CodeAnswer) -> bool:
    """Judge a code; False if another one was sent in the meantime, so that it has to be looked at again."""
    stream = f"{PREFIX}{given.incident}"
    # Hashing takes its time, so it is done before the transaction, with the salts of this moment.
    state = project(given.incident, await parts.journal.read(stream))
    hashes: dict[str, str] = {}
    for known in _live(parts, state, waiting(state, given.digest), given).values():
        hashes[known.salt] = await asyncio.to_thread(code.hashed, given.code, bytes.fromhex(known.salt))

    async def unit(tx: Tx) -> bool:
        row = await tx.stream(stream)
        if row is None or row.frozen or row.closed_at is not None:
            raise Refused(f"{given.incident} is not open")
        state = project(given.incident, await tx.read(stream))
        step = waiting(state, given.digest)
        live = _live(parts, state, step, given)
        if not {known.salt for known in live.values()} <= hashes.keys():
            return False
        meant = (answer for answer, known in live.items() if code.same(hashes[known.salt], known.hash))
        if (answer := next(meant, None)) is None:
            await _wrong(tx, state, step, given, item.id)
        else:
            reason, verb = "with a one-time code", Verb(answer)
            entry = await decision(parts, tx, step, actor=given.actor, verb=verb, reason=reason, receipt=item.id)
            await tx.append(stream, [entry])
            await tx.make_runnable(stream, lane=CUT)
            await queue(tx, given.incident)
        await tx.move(item.id, stream)
        # Used or wrong, nobody has to be able to read it any more.
        await tx.blank([item.id])
        return True

    return await parts.journal.submit(unit)


def _live(parts: Parts, state: Incident, step: StepState, given: CodeAnswer) -> dict[str, Code]:
    """Return the codes that somebody could use now: answer → what is kept of it.

    Raises:
        Refused: if there is none.
    """
    digest = step.plan.digest if step.plan else ""
    if not parts.policy.approval.codes:
        raise Refused("the policy takes no one-time codes; sign with your key: `mcp-soar approve`")
    if state.wrong_codes.get((digest, given.actor), 0) >= TRIES:
        raise Refused(f"{TRIES} wrong codes were tried, so none counts for this plan; sign with your key")
    issued = {answer: state.codes.get((digest, given.actor, answer)) for answer in ("approve", "deny")}
    live = {answer: known for answer, known in issued.items() if known and known.expires_at > now()}
    if not live:
        raise Refused(f"{given.actor} has no code for this plan: none was sent, it was used, or its time is over")
    return live


async def _wrong(tx: Tx, state: Incident, step: StepState, given: CodeAnswer, receipt: str) -> None:
    """Count a wrong code; after the last try people hear of it."""
    digest = step.plan.digest if step.plan else ""
    left = TRIES - 1 - state.wrong_codes.get((digest, given.actor), 0)
    body: dict[str, Json] = {
        "digest": digest,
        "approver": given.actor,
        "receipt": receipt,
        "left": left,
        "why": "it does not fit",
    }
    events = [Event("code_refused", body)]
    if left == 0:
        notice = f"guessed:{given.actor}:{digest[7:19]}"
        text = (
            say(
                "{a}: {b} wrong one-time codes were tried in the name of {c}. None counts for this plan any more; "
                "{d} can still sign with their key",
                a=state.id,
                b=TRIES,
                c=given.actor,
                d=given.actor,
            )
            + "."
        )
        events.append(Event("page", {"id": notice, "notice": notice, "text": text}))
        await queue(tx, state.id)
    await tx.append(f"{PREFIX}{state.id}", events)
