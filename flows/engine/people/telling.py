"""Telling people: what was journalled as a page goes out from a lane of its own: no cut waits for a mail server.

Each incident has a stream `telling/<id>` beside its own. It holds next to nothing: claiming it is the right to tell.
Every attempt is journalled in the incident's stream. A responder that dies between sending and journalling sends again.
"""

import asyncio
import contextlib
import logging
import secrets
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from flows.engine.case import PREFIX
from flows.engine.opening import TELL
from flows.engine.parts import Parts
from flows.engine.people import deadlines
from flows.engine.people.voices import delegations
from integrations.journal.store import Claim, Tx
from playbooks.errors import Misconfigured, SoarError
from playbooks.people import code, duties
from playbooks.people.briefing import brief
from playbooks.people.contacts import Contact, Way
from playbooks.people.escalation import CODE, UNANSWERED, Delivery, Roster, agenda, over, urgent
from playbooks.people.message import Message
from playbooks.people.rendering import OneTimeCode, Output, Rendered, render
from playbooks.record.journal import ITSELF, SYSTEM, TELLING, Event, stream_of
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.record.step import StepState
from playbooks.record.told import Page, Told
from playbooks.strict import Json, iso, now
from playbooks.text.escaping import printable

LOG = logging.getLogger("mcp_soar.telling")

SEND_WITHIN = 15.0
"""Seconds that a channel may take for one message."""

REFERENCE = 500
"""Characters of what a channel calls a message."""


async def page(tx: Tx, subject: str, *pages: Event) -> None:
    """Journal pages, and have them sent.

    Args:
        tx: the transaction that decides on what they say.
        subject: an incident's id, or `ITSELF`.
        pages: of kind `page`.
    """
    if subject == ITSELF:
        await tx.append(stream_of(subject), pages)
    await queue(tx, subject)


async def queue(tx: Tx, subject: str) -> None:
    """Have an incident's pages looked at by whoever tells people."""
    name = f"{TELLING}{subject}"
    if await tx.stream(name) is None:
        await tx.append(name, [Event("telling", {"incident": subject})])
    await tx.make_runnable(name, lane=TELL)


async def freeze(tx: Tx, stream: str, why: str) -> bool:
    """Act on nothing in a journal that is not as it was written, and wake a person.

    An incident waits for one. What the whole installation needs goes on, without what nobody signed.

    Args:
        tx: the transaction that it happens in.
        stream: which is not as it was written.
        why: what does not fit.

    Returns:
        Whether what the installation needs is again as responders wrote it, so that what failed can be tried again.

    Raises:
        Tampered: if it lost what responders wrote.
    """
    incident = stream.removeprefix(PREFIX) if stream.startswith(PREFIX) else None
    needed = dict.fromkeys([SYSTEM, stream_of(ITSELF), *([] if incident else [stream])])
    apart = {name: count for name in needed if (count := await tx.set_apart(name))}
    for name, count in apart.items():
        (entry,) = await tx.append(SYSTEM, [Event("set_apart", {"stream": name, "entries": count})])
        text = (
            f"Somebody without a responder's key wrote into the journal: {count} entries were set apart from {name}, "
            "nothing was done because of them, and everything goes on. See `mcp-soar verify`, and who has the "
            "database's password or file."
        )
        await _fault(tx, f"unsigned:{name}:{entry.seq}", text)
    row = await tx.stream(stream)
    if incident is not None and (row is None or not row.frozen):
        await tx.freeze(stream, why)
        await tx.append(SYSTEM, [Event("frozen", {"incident": incident, "reason": why[:2000]})])
        text = (
            f"{incident} is FROZEN, nothing more is done about it: its journal is not as it was written:"
            f" {why.rstrip('.')}. What it took away stays away, and is not watched any more."
            f" `mcp-soar verify {incident}` names the entries; then restore a backup, or give back by hand at the"
            f" gateway what `mcp-soar incident {incident}` lists."
        )
        await _fault(tx, f"frozen:{incident}", text)
    return bool(apart)


async def _fault(tx: Tx, what: str, text: str) -> None:
    notice = f"fault:{what}"
    await page(tx, ITSELF, Event("page", {"id": notice, "notice": notice, "text": text[:4000]}))


async def tell(parts: Parts, claim: Claim) -> datetime | None:
    """Send everything of one incident that has to go out now.

    Args:
        parts: what the engine works with.
        claim: of its `telling/` stream; kept alive, and the caller's to release.

    Returns:
        When there is more to send, None if nothing is foreseen.

    Raises:
        LostClaim: if another responder tells people of it now.
        Transient: if the journal does not answer.
    """
    subject = claim.stream.removeprefix(TELLING)
    async with _kept(parts, claim):
        while True:
            row = await parts.journal.stream(stream_of(subject))
            if row is None or row.frozen:
                # What is frozen takes no entries; that it is has a page of its own.
                return None
            state = project(subject, await parts.journal.read(stream_of(subject)))
            short, at = deadlines.pages(state, parts.world.inventory, now())
            if short:
                await _record(parts, claim, subject, *short)
                continue
            whom = await roster(parts, state)
            due = agenda(state, whom, now())
            if not due.now:
                await _bring_up_to_date(parts, claim, state)
                return min((when for when in (due.at, at) if when), default=None)
            by_contact: dict[str | None, list[Delivery]] = {}
            for delivery in due.now:
                by_contact.setdefault(delivery.contact, []).append(delivery)
            # Side by side: a channel that hangs keeps nobody else from being told.
            await asyncio.gather(*(_tell_one(parts, claim, state, whom, mine) for mine in by_contact.values()))


@asynccontextmanager
async def _kept(parts: Parts, claim: Claim) -> AsyncIterator[None]:
    async def keep() -> None:
        while True:
            await asyncio.sleep(parts.timing.claim / 3)
            await parts.journal.renew(claim, parts.timing.claim)

    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError, SoarError):
            await keeper


async def roster(parts: Parts, state: Incident) -> Roster:
    """Return whom there is to tell of an incident."""
    contacts = parts.contacts
    able: list[tuple[str, str]] = []
    people = frozenset[str]()
    if state.proposals:
        with contextlib.suppress(Misconfigured):  # doctor and the log name it; everybody else is told
            able, people = await _able(parts), frozenset(parts.people().people)
    # Of what somebody asked for neither they nor their voice approves; of what another asked for they do.
    askers = {step.requested_by for step in state.proposals}
    approvers = {
        name: name
        for name, voice in able
        if name in contacts.contacts and any(asker not in {name, voice} for asker in askers)
    }
    everybody = [name for name, _ in able]
    coded = approvers if parts.policy.approval.codes else {}
    return Roster(
        contacts,
        approvers=approvers,
        people=people,
        private={name: contacts.private_to(name, everybody) for name in coded},
        stakeholders=deadlines.told(state, parts.world.inventory, contacts, now()),
    )


async def _able(parts: Parts) -> list[tuple[str, str]]:
    """Return who may answer, each with whose voice: their own, or one that was lent to them.

    Raises:
        Misconfigured: if nobody can say who is enrolled.
    """
    people, roles = parts.people(), set(parts.policy.approval.roles)
    own = [name for name, person in people.people.items() if roles & set(person.roles)]
    lent = await parts.journal.submit(lambda tx: delegations(tx, people, now()))
    return [*((name, name) for name in own), *((item.to, item.by) for item in lent if item.by in own)]


async def _tell_one(parts: Parts, claim: Claim, state: Incident, whom: Roster, deliveries: Sequence[Delivery]) -> None:
    """Tell one contact what there is to tell, one message after the other, so that they form one thread."""
    threads: dict[Way, str] = {}
    for delivery in deliveries:
        private = whom.private.get(delivery.contact or "", ())
        await _deliver(parts, claim, state, delivery, threads=threads, private=private)


async def _deliver(
    parts: Parts,
    claim: Claim,
    state: Incident,
    delivery: Delivery,
    *,
    threads: dict[Way, str],
    private: Sequence[Way],
) -> None:
    """Tell one contact, by the first of their ways that works; every attempt is journalled.

    Args:
        parts: what the engine works with.
        claim: of the `telling/` stream.
        state: the incident.
        delivery: to whom, of which page.
        threads: way → the first message that they got just now.
        private: the ways that bring them one-time codes.
    """
    about = state.pages[delivery.page]
    number = 1 + max((told.round for told in state.told_of(about.id, delivery.contact)), default=0)
    if delivery.purpose == UNANSWERED:
        LOG.error("%s: nobody on call took this up: %s", state.id, about.id)
        detail = f"nobody acknowledged it, {parts.contacts.repeat} times through the on-call list"
        body: dict[str, Json] = {"page": about.id, "contact": None, "purpose": UNANSWERED, "round": number}
        body |= {"channel": "on-call list", "delivered": False, "detail": detail, "reference": ""}
        await _record(parts, claim, state.id, Event("told", body))
        return
    contact = parts.contacts.contacts[delivery.contact] if delivery.contact else Contact()
    ways = private if delivery.purpose == CODE else contact.order or (Way.LOG,)
    attempt: dict[str, Json] = {"page": about.id, "contact": delivery.contact, "purpose": delivery.purpose}
    for way in ways:
        first = _first(state, delivery.contact, way)
        thread = threads.get(way) or (first.reference if first else "")
        detail, sent = "", None
        codes: tuple[OneTimeCode, ...] = ()
        buttons: tuple[str, ...] = ()
        try:
            channel = parts.channels(contact, way)
            if delivery.purpose == CODE:
                codes = await _codes(parts, claim, state, about, delivery)
            said = await _compose(parts, state, about, delivery.contact, way, codes)
            message = replace(said, purpose=delivery.purpose)
            buttons = message.buttons
            async with asyncio.timeout(SEND_WITHIN):
                sent = await channel.send(contact, message, thread=thread)
        except TimeoutError:
            detail = f"no answer within {SEND_WITHIN:g} s"
        except SoarError as exc:
            detail = _without(codes, str(exc))
        except Exception as exc:  # a fault of one channel must not keep the others from being tried
            detail = f"a fault of ours: {type(exc).__name__}"
            # What it says may be the message's own words.
            LOG.error("%s: %s", state.id, detail, exc_info=None if codes else exc)  # noqa: TRY400  # see above
        outcome: dict[str, Json] = {
            "round": number,
            "channel": way.value,
            "delivered": sent is not None,
            # What cannot be journalled would be sent again and again: neither text has to be one of ours.
            "detail": printable(sent.where if sent else detail, 500),
            "reference": printable(str(sent.reference), REFERENCE) if sent else "",
            "buttons": list(buttons) if sent and way is Way.SLACK else [],
        }
        await _record(parts, claim, state.id, Event("told", attempt | outcome))
        if sent is None:
            LOG.warning("%s: %s cannot be told by %s: %s", state.id, delivery.contact, way, outcome["detail"])
            continue
        if way is Way.SLACK and first:
            # Whoever opens the room sees how the incident stands.
            await _update(parts, claim, state, first)
        threads.setdefault(way, sent.reference)
        return


def _without(codes: Sequence[OneTimeCode], said: str) -> str:
    """Return what a channel said of a message without the codes in it: a mail server that refuses one may quote it."""
    for item in codes:
        said = said.replace(item.code, "[redacted: code]")
    return said


async def _bring_up_to_date(parts: Parts, claim: Claim, state: Incident) -> None:
    """Take the buttons that lead nowhere any more out of what was sent; the thread says how the incident stands."""
    sent = (told for told in state.told if told.delivered and told.channel == Way.SLACK.value and told.reference)
    changed = {told.reference: told for told in sent if told.buttons != _buttons(state, state.pages[told.page])}
    firsts = [_first(state, told.contact, Way.SLACK) for told in changed.values()]
    changed |= {first.reference: first for first in firsts if first}
    await asyncio.gather(*(_update(parts, claim, state, told) for told in changed.values()))


async def _update(parts: Parts, claim: Claim, state: Incident, told: Told) -> None:
    """Bring a message in Slack up to date; what fails is tried again when there is something to tell."""
    contact, first = parts.contacts.contacts.get(told.contact or ""), _first(state, told.contact, Way.SLACK)
    if contact is None or first is None:
        return
    try:
        async with asyncio.timeout(SEND_WITHIN):
            message = await _compose(parts, state, state.pages[told.page], told.contact, Way.SLACK, ())
            channel = parts.channels(contact, Way.SLACK)
            sent = await channel.send(contact, message, thread=first.reference, update=told.reference)
    except (TimeoutError, SoarError) as exc:
        LOG.info("%s: a message in Slack cannot be brought up to date: %s", state.id, exc)
        return
    if (sent.reference, message.buttons) != (told.reference, told.buttons):
        body: dict[str, Json] = {"was": told.reference, "reference": sent.reference, "buttons": [*message.buttons]}
        await _record(parts, claim, state.id, Event("updated", body))


async def _record(parts: Parts, claim: Claim, subject: str, *events: Event) -> None:
    """Append to what is told of, as long as telling is still ours; the claim of the incident itself is not needed."""

    async def unit(tx: Tx) -> None:
        await tx.renew(claim, parts.timing.claim)
        await tx.append(stream_of(subject), events)

    await parts.journal.submit(unit)


def _first(state: Incident, contact: str | None, way: Way) -> Told | None:
    """Return the first message that a contact got of an incident by a way, if its thread can be gone on with."""
    sent = (told for told in state.told if told.delivered and told.contact == contact and told.channel == way.value)
    return next((told for told in sent if told.reference), None)


def _asked(state: Incident, about: Page) -> StepState | None:
    mark = about.id.rpartition(":")[2]
    return next((step for step in state.proposals if step.plan and step.plan.digest[7:19] == mark), None)


def _buttons(state: Incident, about: Page) -> tuple[str, ...]:
    """Return what can be pressed under a message now."""
    step = _asked(state, about)
    wakes = urgent(state, about) and not over(state, about)
    answers = (f"answer:{step.plan.digest}",) if step and step.plan else ()
    return (*(("acknowledge",) if wakes else ()), *answers)


async def _codes(
    parts: Parts, claim: Claim, state: Incident, about: Page, delivery: Delivery
) -> tuple[OneTimeCode, ...]:
    """Make one code for each answer that an approver can give; what is kept of them is durable before they are sent."""
    step = _asked(state, about)
    if step is None or step.plan is None or delivery.contact in {None, step.requested_by}:
        return ()
    short, codes = step.plan.digest[7:19], list[OneTimeCode]()
    line = shlex.join(["mcp-soar", "answer", state.id, "--digest", short, "--as", str(delivery.contact)])
    issued: list[Event] = []
    for answer in ("approve", "deny"):
        text, salt = code.new(), secrets.token_bytes(16)
        body = {
            "digest": step.plan.digest,
            "approver": delivery.contact,
            "answer": answer,
            "salt": salt.hex(),
            "hash": await asyncio.to_thread(code.hashed, text, salt),
            "expires_at": iso(step.expires_at or now()),
        }
        issued.append(Event("code_issued", body))
        codes.append(OneTimeCode(answer, step.plan.summary, text, line))
    await _record(parts, claim, state.id, *issued)
    return tuple(codes)


_FORMS = {Way.EMAIL: (Output.TEXT, Output.HTML), Way.SLACK: (Output.TEXT, Output.SLACK)}
"""What a way shows beside plain text."""


async def _compose(  # noqa: PLR0917  # what is told, to whom, how
    parts: Parts, state: Incident, about: Page, to: str | None, way: Way, codes: Sequence[OneTimeCode]
) -> Message:
    """Return what one contact is told, in their language and with how things stand now."""
    head = await parts.journal.head_latest()
    # Whoever keeps a message keeps a witness: a journal whose tail was cut off cannot have this head any more.
    witness = f"{head.n}:{head.hash.hex()[:16]}" if head else ""
    wakes = urgent(state, about)
    # What is about no incident is about all of them.
    stops = [stop for stop in await parts.journal.stops() if state.id == ITSELF or stop.scope in state.scopes]
    if way is Way.LOG:
        # One line: whoever reads a log has the command line too.
        text = "".join(f"STOPPED {stop.scope} by {stop.by}: {stop.reason}. " for stop in stops)
        text += f"{about.text} (journal head {witness})"
        return Message(state.id, about.id, about.notice, urgent=wakes, subject=about.text[:150], text=text)

    step = _asked(state, about)
    decides = step is None or (await roster(parts, state)).decides(to, step)

    def said_now() -> Rendered:
        inventory, at = parts.world.inventory, now()
        clocks = duties.clocks(state, inventory, duties.load(), at)
        briefing = brief(
            state,
            inventory=inventory,
            at=at,
            page=about,
            stops=stops,
            clocks=clocks,
            witness=witness,
            decides=decides,
        )
        forms = _FORMS.get(way, (Output.TEXT,))
        language = (parts.contacts.contacts[to] if to else Contact()).language
        return render(briefing, language, own=parts.templates, words=parts.words, codes=codes, forms=forms)

    # In a thread: it takes some milliseconds, and cuts share this loop.
    said = await asyncio.to_thread(said_now)
    if said.loss:
        LOG.warning("%s: a template of this installation does not work, the shipped one spoke: %s", state.id, said.loss)
    return Message(
        incident=state.id,
        page=about.id,
        notice=about.notice,
        urgent=wakes,
        subject=said.subject,
        text=said.text,
        html=said.html,
        blocks=said.blocks,
        buttons=_buttons(state, about),
        codes=tuple((code.answer, code.summary, code.code) for code in codes),
    )
