"""What people ask for: signed with their key, put into the inbox, and waited for until a responder has answered.

Nothing is decided here. This process can only put a request into the inbox; whether it counts is the responder's say.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.options import key_file
from flows.cli.output import NotFound, Out, Usage, moment
from flows.cli.work import questions, records, signing, spelled
from flows.cli.work.fitness import fit, free
from flows.cli.work.wish import Wish
from flows.settings import Configuration
from integrations.journal.records import InboxItem
from integrations.journal.store import Journal
from playbooks import naming
from playbooks.errors import Refused, Transient
from playbooks.incident import Entity, EntityKind, Status
from playbooks.inventory import Inventory
from playbooks.journal import SYSTEM
from playbooks.projection import SAME
from playbooks.request import Request, SignedRequest, Verb, draft
from playbooks.state import Incident, LeaseState, Progress, StepState
from playbooks.strict import Json, canonical, now

_FIRST_LOOK = 0.05
_LAST_LOOK = 0.5
_INBOX = 10_000
WAYS = ("resolved", "false-positive", "duplicate")
"""How an incident can be closed."""


@dataclass(frozen=True)
class Person:
    """Who asks, and for how long they wait.

    Args:
        config: the installation that is asked.
        name: as enrolled.
        key: their private key's file, or `AGENT`; None for the usual places.
        wait: seconds to wait for an answer and its effect; 0 waits for nothing.
        yes: do not ask for a confirmation.
        prints: print the signed request instead of handing it in.
    """

    config: Configuration
    name: str
    key: Path | None
    wait: float
    yes: bool = False
    prints: bool = False


def person(
    config: Configuration,
    name: str | None,
    key: Path | None,
    *,
    wait: float,
    no_wait: bool,
    yes: bool = False,
    prints: bool = False,
) -> Person:
    """Return who asks.

    Raises:
        Usage: nobody was named.
    """
    if not name:
        raise Usage("say who you are: --as NAME, or set MCP_SOAR_PERSON; `mcp-soar enroll NAME` enrolls you")
    if key is None:
        key_file(name)  # a name that no file can have is refused before anything else
    return Person(config=config, name=name, key=key, wait=0.0 if no_wait else wait, yes=yes, prints=prints)


class Seen(NamedTuple):
    """What a look at the incident says about a request's effect.

    Args:
        state: done, waiting or pending.
        message: for people.
        reasons: why it waits, one by one.
    """

    state: str
    message: str
    reasons: tuple[str, ...] = ()


Look = Callable[[Incident], Seen]


class _Answered(NamedTuple):
    stream: str
    reason: str


async def carry(  # a request's fields, all by name
    out: Out,
    journal: Journal,
    who: Person,
    *,
    verb: Verb,
    subject: str,
    digest: str | None = None,
    reason: str = "",
    params: dict[str, Json] | None = None,
    look: Look | None = None,
) -> schema.Act:
    """Hand a request in and wait for what becomes of it.

    Args:
        out: for progress.
        journal: opened without a signing key.
        who: the person.
        verb: what for.
        subject: of what.
        digest: of the plan.
        reason: why.
        params: what else.
        look: says from the incident how far the effect is; None if the acceptance is the effect.

    Raises:
        Refused: by the responder, with its reason.
        Transient: no responder answered in time; the request is kept.
    """
    request = _drafted(who, verb=verb, subject=subject, digest=digest, reason=reason, params=params)
    signed = await signing.signed(who.config, request, who.key)
    body = canonical(signed)
    if who.prints:
        return {
            "verb": verb.value,
            "subject": subject,
            "incident": None,
            "receipt": "",
            "state": "printed",
            "status": None,
            "message": body.decode(),
            "reasons": [],
            "answer": None,
        }
    return await hand_in(out, journal, signed, wait=who.wait, look=look)


async def hand_in(
    out: Out, journal: Journal, signed: SignedRequest, *, wait: float, look: Look | None = None
) -> schema.Act:
    """Hand in what somebody signed, and wait for what becomes of it.

    Args:
        out: for progress.
        journal: opened without a signing key.
        signed: the request; whether it counts is for a responder to judge.
        wait: seconds to wait for an answer and its effect; 0 waits for nothing.
        look: says from the incident how far the effect is; None if the acceptance is the effect.

    Raises:
        Refused: by the responder, with its reason.
        Transient: no responder answered in time; the request is kept.
    """
    verb, subject, body = signed.request.verb, signed.request.subject, canonical(signed)
    after = await _end(journal, SYSTEM)
    receipt = await journal.put(
        kind="request",
        source="person",
        nonce=signed.request.nonce,
        body=body,
        headers={"content-type": "application/json"},
    )
    act: schema.Act = {
        "verb": verb.value,
        "subject": subject,
        "incident": None,
        "receipt": receipt.id,
        "state": "handed_in",
        "status": None,
        "message": "handed in; it is carried out when a responder runs",
        "reasons": [],
        "answer": None,
    }
    if wait <= 0:
        return act
    deadline = time.monotonic() + wait
    with out.waiting(f"waiting for a responder to answer {verb}") as progress:
        stream = await _answer(journal, signed.request, receipt.id, body, after, deadline)
        if stream is None:
            until = moment(signed.request.expires_at)
            raise Transient(
                f"no responder answered within {wait:g} s. The request is kept and will be carried out when one "
                f"runs before {until}; start one with `mcp-soar up`, do not ask again"
            )
        if not stream.startswith(records.PREFIX):
            return {**act, "state": "done", "message": "done"}
        incident = stream.removeprefix(records.PREFIX)
        seen, state = Seen("done", "done"), await records.load(journal, incident)
        if look is not None:
            seen, state = await _effect(journal, incident, look, deadline, progress)
    act |= {"incident": incident, "state": seen.state, "status": state.status.value}
    act |= {"message": seen.message, "reasons": list(seen.reasons)}
    return act


def _drafted(
    who: Person, *, verb: Verb, subject: str, digest: str | None, reason: str, params: dict[str, Json] | None
) -> Request:
    try:
        return draft(actor=who.name, verb=verb, subject=subject, at=now(), digest=digest, reason=reason, params=params)
    except ValueError as exc:
        raise Usage(f"this cannot be asked for: {_first(exc)}") from exc


def _first(exc: ValueError) -> str:
    errors = getattr(exc, "errors", None)
    if errors is None:
        return str(exc)
    fault = errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"


async def _end(journal: Journal, stream: str) -> int:
    row = await journal.stream(stream)
    return row.seq if row else 0


async def _answer(  # noqa: PLR0917  # where to look, for what, until when
    journal: Journal, request: Request, receipt: str, body: bytes, after: int, deadline: float
) -> str | None:
    """Return the stream that took the request in, None if none did in time.

    Raises:
        Refused: a responder refused it.
    """
    pause = _FIRST_LOOK
    while True:
        # Looked at first, read afterwards: what is no longer waiting has been answered in the same transaction.
        waiting = await journal.waiting(_INBOX, kinds=["request"])
        if not any(_is(item, receipt) for item in waiting):
            for entry in (item.parsed() for item in await journal.read(SYSTEM, after=after)):
                if entry.kind == "set_aside" and entry.body.get("receipt") == receipt:
                    raise Refused(str(entry.body.get("reason", "")).removeprefix("refused: "))
            # The same entry again changes nothing, and says where it went.
            again = await journal.put(kind="request", source="person", nonce=request.nonce, body=body, headers={})
            if again.incident is not None:
                return again.incident
        if time.monotonic() >= deadline:
            return None
        await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(_LAST_LOOK, pause * 1.5)


def _is(item: InboxItem, receipt: str) -> bool:
    return item.id == receipt


async def _effect(
    journal: Journal, incident: str, look: Look, deadline: float, progress: Callable[[str], None]
) -> tuple[Seen, Incident]:
    pause = _FIRST_LOOK
    while True:
        state = await records.load(journal, incident)
        seen = look(state)
        if seen.state != "pending" or time.monotonic() >= deadline:
            return seen, state
        progress(f"{incident}: {seen.message}")
        await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(_LAST_LOOK, pause * 1.5)


def finish(out: Out, config: Configuration, act: schema.Act | None) -> Exit:
    """Say what became of a request and return the exit code.

    Args:
        out: where to say it.
        config: the installation that was asked.
        act: what became of it; None if the person said no.
    """
    if act is None:
        out.note("nothing was done")
        return Exit.NO
    if act["state"] == "printed":
        out.verbatim(act["message"])
        return Exit.OK
    if act["incident"] and not act["answer"] and act["state"] in {"waiting", "pending"}:
        act["answer"] = records.command(config, "incident", act["incident"])
    out.document(act)
    about = act["incident"] or act["subject"]
    status = f" ({act['status']})" if act["status"] else ""
    word = {"done": "done", "waiting": "accepted", "pending": "accepted, not in effect yet", "handed_in": "handed in"}
    out.say(f"{about}{status}: {word[act['state']]}", "warn" if act["state"] == "pending" else "good")
    if act["message"] != "done":
        out.say(act["message"])
    for reason in act["reasons"]:
        out.say(f"- {reason}", indent=2)
    if act["answer"]:
        out.raw(f"  {act['answer']}")
    # What was asked for as a response and waits for somebody to look at it does nothing yet.
    idle = act["verb"] == Verb.RESPOND and act["status"] == Status.TRIAGE
    return Exit.NO if idle or act["state"] == "pending" else Exit.OK


# Respond


def unknown(inventory: Inventory, named: Sequence[tuple[str, str, str | None]]) -> list[Entity]:
    """Return which of the things that somebody names the inventory does not know.

    Args:
        inventory: what exists.
        named: each a kind, a name, and its server if it is named.
    """
    try:
        entities = [Entity(kind=EntityKind(kind), name=name, server=home) for kind, name, home in named]
    except ValueError:
        # What is no name at all is refused with what would be right, by whoever takes it in.
        return []
    return [entity for entity in entities if inventory.resolve(entity) is None]


def respond(out: Out, config: Configuration, who: Person, wish: Wish) -> Exit:
    """Start a class's playbook by hand, or have an incident tried again."""
    params = wish.started(who.name)
    out.aside = who.prints
    if guess := naming.guesses(config.inventory, unknown(config.inventory, wish.named)):
        out.say(f"The inventory does not know all of that: {guess} What it does not know waits for a person.", "warn")

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            subject = await records.find(journal, wish.incident) if wish.incident else "new"
            return await responded(out, journal, who, subject=subject, reason=wish.reason, params=params)

    return finish(out, config, asyncio.run(work()))


async def responded(  # a request's fields, all by name
    out: Out, journal: Journal, who: Person, *, subject: str, reason: str, params: dict[str, Json]
) -> schema.Act:
    """Ask for a response, and wait until it is contained or asks somebody.

    Args:
        out: for progress.
        journal: opened without a signing key.
        who: the person.
        subject: the incident, or `new`.
        reason: why.
        params: what about.
    """
    return await carry(
        out, journal, who, verb=Verb.RESPOND, subject=subject, reason=reason, params=params, look=contained
    )


def seen_of(signed: SignedRequest, state: Incident) -> Look | None:
    """Return what shows a request's effect on its incident, if more than its acceptance does."""
    asked = signed.request
    if asked.verb in {Verb.APPROVE, Verb.DENY} and asked.digest:
        steps = [step.instance for step in state.proposals if step.plan and step.plan.digest == asked.digest]
        return _decided(steps[0], asked.digest, asked.verb) if steps else None
    if asked.verb is Verb.RELEASE:
        held = [key for key, lease in state.leases.items() if lease.open]
        given = asked.params.get("lease")
        return _given_back((given,) if isinstance(given, str) and given in held else tuple(held))
    return contained if asked.verb is Verb.RESPOND else None


def contained(state: Incident) -> Seen:
    """Return how far a response is."""
    status = state.status
    if status is Status.CONTAINED:
        return Seen("done", "contained, and a probe confirmed it")
    if status is Status.AWAITING_APPROVAL:
        return Seen("waiting", "waits for a decision:")
    if status is Status.TRIAGE:
        return Seen("waiting", f"waits for a person: {state.triage or 'every cut was denied'}")
    if status in {Status.CLOSED, Status.FROZEN, Status.RECOVERING, Status.RELEASED, Status.JOINED}:
        return Seen("done", f"it is {state.stands}")
    skipped = [step for step in state.steps.values() if step.progress is Progress.SKIPPED and step.message]
    why = next((step.message for step in state.cuts if step.message), "")
    if status is Status.NOT_ESTABLISHED:
        return Seen("pending", f"NOT contained{': ' + why if why else ''}; the responder goes on trying")
    return Seen("pending", "containing" + (f"; {skipped[0].message}" if skipped else ""))


# Approve, deny


def decide(
    out: Out,
    config: Configuration,
    who: Person,
    *,
    verb: Verb,
    incident: str,
    plan: str | None,
    reason: str,
    digest: str | None = None,
) -> Exit:
    """Answer what an incident asks."""
    out.aside = who.prints

    async def work() -> schema.Act | None:
        async with records.opened(config) as journal:
            name = await records.find(journal, incident)
            await allowed(journal, who, verb)
            state = await records.load(journal, name)
            step = asked(state, plan, digest)
            if verb is Verb.APPROVE:
                free(config, who.name, step)
            ask = records.ask_of(config, state, step)
            questions.decision(out, spelled.of(state, config.inventory).whole(ask), verb)
            does = "approves" if verb is Verb.APPROVE else "denies"
            if not questions.agreed(out, f"{verb.value.capitalize()} it as {who.name}?", does=does, yes=who.yes):
                return None
            return await carry(
                out,
                journal,
                who,
                verb=verb,
                subject=name,
                digest=ask["digest"],
                reason=reason,
                look=_decided(step.instance, ask["digest"], verb),
            )

    return finish(out, config, asyncio.run(work()))


async def allowed(journal: Journal, who: Person, verb: Verb) -> None:
    """Refuse whoever cannot ask for it anyhow, before they are shown anything.

    Raises:
        Misconfigured: there is no key of theirs.
        Refused: with what the responder would say.
    """
    signing.at_hand(who.config, who.name, who.key)
    await fit(journal, who.config, who.name, verb)


def asked(state: Incident, *given: str | None) -> StepState:
    """Return what an incident asks, the one that is meant if it asks for more.

    Args:
        state: the incident.
        given: beginnings of the digest of what is meant.

    Raises:
        NotFound: it asks for nothing, or for no such plan.
        Usage: it asks for more than one thing.
    """
    waiting = {step.plan.digest: step for step in reversed(state.proposals) if step.plan}
    there = f"; it was joined to {state.part_of}: see `mcp-soar incident {state.part_of}`" if state.part_of else ""
    if not waiting:
        raise NotFound(f"{state.id} ({state.status}) asks for nothing{there}")
    plans = {digest: step.plan.summary for digest, step in reversed(waiting.items()) if step.plan}
    return waiting[questions.meant(state.id, plans, *given, there=there)]


def _decided(instance: str, digest: str, verb: Verb) -> Look:
    def look(state: Incident) -> Seen:  # noqa: PLR0911  # one for each way that it can stand
        step = state.steps[instance]
        if verb is Verb.DENY:
            return Seen("done", "denied: it is not done, and asked again only when somebody responds to it anew")
        progress = step.progress
        if progress is Progress.RELEASED:
            lease = state.leases.get(instance.removeprefix("release-"))
            return Seen("done", f"released: {lease.returned}" if lease else "released")
        if progress is Progress.ESTABLISHED:
            return Seen("done", "done, and a probe confirmed it")
        if progress is Progress.PROPOSED and step.plan and step.plan.digest == digest:
            missing = step.quorum - len(set(step.approved_by) - {step.requested_by})
            if missing > 0:
                return Seen("waiting", f"your approval counts; {missing} more needed")
            return Seen("pending", "approved; it is about to be carried out")
        if progress is Progress.PROPOSED:
            return Seen("waiting", "the world changed meanwhile, so another plan waits for a decision:")
        if progress is Progress.SKIPPED:
            return Seen("waiting", "the gate does not let it pass any more:")
        why = f": {step.message}" if step.message else ""
        return Seen("pending", f"approved; now {progress}{why}")

    return look


# Release, close


def release(
    out: Out, config: Configuration, who: Person, *, incident: str, lease: str | None, accept_changed: bool, reason: str
) -> Exit:
    """Give back what an incident holds."""
    out.aside = who.prints

    async def work() -> schema.Act | None:
        async with records.opened(config) as journal:
            name = await records.find(journal, incident)
            await allowed(journal, who, Verb.RELEASE)
            state = await records.load(journal, name)
            parts = [await records.load(journal, part) for part in state.parts]
            held = [(one, key) for one in (state, *parts) for key, item in one.leases.items() if item.open]
            if not held:
                raise NotFound(
                    f"nothing of {name} is in force: there is nothing to give back{_all_of_it(config, state)}"
                )
            if lease is not None and lease not in {key for _, key in held}:
                shown = ", ".join(dict.fromkeys(key for _, key in held))
                raise NotFound(f"{lease} is not in force in {name}; in force: {shown}")
            if state.part_of:
                out.say(f"Only what {name} holds is given back here{_all_of_it(config, state)}")
            meant = [(one, key) for one, key in held if lease in {None, key}]
            await _show_release(out, config, journal, state, meant)
            wanted = [key for one, key in meant if one is state]
            elsewhere = tuple(dict.fromkeys(one.id for one, _ in meant if one is not state))
            if accept_changed:
                out.say("even if a definition is not the approved one any more", "warn")
            if not questions.agreed(out, f"Give it back as {who.name}?", does="gives back", yes=who.yes):
                return None
            params: dict[str, Json] = {"accept_changed": accept_changed}
            if lease is not None:
                params["lease"] = lease
            return await carry(
                out,
                journal,
                who,
                verb=Verb.RELEASE,
                subject=name,
                reason=reason,
                params=params,
                look=_given_back(tuple(wanted), elsewhere),
            )

    return finish(out, config, asyncio.run(work()))


def _all_of_it(config: Configuration, state: Incident) -> str:
    """Return where all is given back of which an incident is a part; nothing if it is none."""
    if state.part_of is None:
        return ""
    return f"; it was joined to {state.part_of}: `{records.command(config, 'release', state.part_of)}` gives back all"


async def _show_release(
    out: Out, config: Configuration, journal: Journal, state: Incident, meant: Sequence[tuple[Incident, str]]
) -> None:
    """Show what would come back, and what would not because of whom.

    Args:
        out: where to.
        config: whose principals are spelled out.
        journal: says who holds what.
        state: the incident that is released.
        meant: each lease, with the incident that has it: that one, or one that goes on in it.
    """
    names = {(one.id, key) for one, key in meant}
    stays = False
    for one, key in meant:
        where = "" if one is state else f" in {one.id}, which goes on here"
        out.say(f"Give back {key}{where}: {spelled.of(one, config.inventory)(one.leases[key].plan.summary)}")
        others = await _held_by_others(journal, one.leases[key], names)
        for change in one.leases[key].plan.undone:
            out.say(others.get(change.grip, change), "warn" if change.grip in others else "", indent=2)
        stays = stays or bool(others)
    if stays:
        out.say("what another one holds comes back when that is released as well", "dim")


async def _held_by_others(journal: Journal, lease: LeaseState, meant: Collection[tuple[str, str]]) -> dict[str, str]:
    """Return what of a lease does not come back, and because of whom: grip → a sentence.

    Args:
        journal: says who holds it.
        lease: what is to be given back.
        meant: incident and name of each lease that is to be given back now.
    """
    found: dict[str, str] = {}
    for change in lease.plan.changes:
        holds = [hold for hold in await journal.holds(grip=change.grip) if (hold.incident, hold.lease) not in meant]
        if who := " and ".join(dict.fromkeys(f"{hold.incident} ({hold.lease})" for hold in holds)):
            found[change.grip] = f"{change.target} stays off, because {who} holds it too"
    return found


def _given_back(wanted: tuple[str, ...], elsewhere: tuple[str, ...] = ()) -> Look:
    """Return what says whether leases were given back.

    Args:
        wanted: the leases, in the incident that is looked at.
        elsewhere: incidents that go on in it and give back what they hold themselves.
    """

    def look(state: Incident) -> Seen:
        left = [key for key in wanted if state.leases[key].open]
        if not left:
            return _all_back(state, wanted, elsewhere)
        steps = [state.steps[f"release-{key}"] for key in left if f"release-{key}" in state.steps]
        waiting = [step for step in steps if step.progress is Progress.PROPOSED]
        # What was asked before this very request says how it stood then.
        asked = [step for step in waiting if not _asked_earlier(state, step)]
        if asked:
            return Seen("waiting", "it needs another person, because:", asked[0].reasons)
        if waiting:
            return Seen("pending", f"{waiting[0].instance} waited for another person; it is looked at again")
        failed = [step for step in steps if step.progress in {Progress.FAILED, Progress.RETRYING} and step.message]
        if failed:
            again = ", it is tried again" if failed[0].progress is Progress.RETRYING else ""
            return Seen("pending", f"{failed[0].instance}: {failed[0].message}{again}")
        return Seen("pending", f"releasing {', '.join(left)}")

    return look


def _all_back(state: Incident, wanted: tuple[str, ...], elsewhere: tuple[str, ...]) -> Seen:
    if elsewhere:
        others = ", ".join(elsewhere)
        return Seen(
            "waiting",
            f"what it holds is given back; what {others} holds, there: see `mcp-soar incident {elsewhere[0]}`",
        )
    # What stayed for the sake of another cut of this incident came back with that one.
    leases = [state.leases[key] for key in wanted]
    leases = [one for one in leases if not (one.kept and one.kept_by == (SAME,) and state.given_back)] or leases
    words = list(dict.fromkeys(one.staying or one.returned for one in leases))
    return Seen("done", f"released: {'; '.join(words)}")


def _asked_earlier(state: Incident, step: StepState) -> bool:
    wish = state.release_wanted(step.instance.removeprefix("release-"))
    return wish is not None and wish.seq > step.asked_seq


def ending(who: str | None, how: str, of: str | None) -> dict[str, Json]:
    """Return what the end of an incident is asked for with.

    Args:
        who: asks for it.
        how: one of `WAYS`.
        of: of which other incident it is a duplicate.

    Raises:
        Usage: with what would be right.
    """
    if how not in WAYS:
        raise Usage(f"--outcome {how}: write one of {', '.join(WAYS)}")
    if who in WAYS:
        raise Usage(f"--as says who you are; how it ends is said with --outcome {who}")
    if (of is not None) is not (how == "duplicate"):
        raise Usage("--of says of which incident it is a duplicate: write it with --outcome duplicate, and only then")
    return {"as": how} if of is None else {"as": how, "of": of}


def close(out: Out, config: Configuration, who: Person, *, incident: str, params: dict[str, Json], reason: str) -> Exit:
    """Close an incident for good, once the person says yes.

    Args:
        out: for what is shown.
        config: the installation.
        who: the person.
        incident: which.
        params: how it ends, as `ending` returns it.
        reason: why.
    """
    out.aside = who.prints

    async def work() -> schema.Act | None:
        async with records.opened(config) as journal:
            name = await records.find(journal, incident)
            await allowed(journal, who, Verb.CLOSE)
            state = await records.load(journal, name)
            wanted, how = dict(params), str(params["as"])
            if "of" in wanted:
                wanted["of"] = await records.find(journal, str(wanted["of"]))
                how = f"{how} of {wanted['of']}"
            out.say(f"{name} ({state.incident_class}, {state.status}): {state.title}", "head")
            out.say(f"It is closed for good as {how}; a new alert about it opens a new incident, linked to it.")
            if to := state.part_of:
                out.say(f"{name} was joined to {to}: only {name} is closed here. `mcp-soar close {to}` closes both")
            if held := [key for key, lease in state.leases.items() if lease.open]:
                out.say(f"Still in force, so it is refused until that is given back: {', '.join(held)}", "warn")
            if not questions.agreed(out, f"Close it as {who.name}?", does="closes", yes=who.yes):
                return None
            return await carry(out, journal, who, verb=Verb.CLOSE, subject=name, reason=reason, params=wanted)

    return finish(out, config, asyncio.run(work()))


# The kill switch


def stop(out: Out, config: Configuration, who: Person, *, scope: str, reason: str) -> Exit:
    """Turn a kill switch on."""

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            where = await _scope(journal, config, scope)
            act = await carry(out, journal, who, verb=Verb.STOP, subject=where, reason=reason)
            act["incident"] = None
            if act["state"] == "done":
                running = [row for row in await journal.streams(records.PREFIX, open_only=True) if row.owner]
                names = ", ".join(row.name.removeprefix(records.PREFIX) for row in running[:10])
                act["message"] = f"no new effect begins for {where}. Evidence, notices and a person's release go on"
                act["message"] += (
                    f". A responder has these in hand, one call of each may still end: {names}" if names else ""
                )
            return act

    return finish(out, config, asyncio.run(work()))


def resume(out: Out, config: Configuration, who: Person, *, scope: str, reason: str) -> Exit:
    """Ask for a kill switch to be turned off; two people have to."""

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            where = await _scope(journal, config, scope)
            act = await carry(out, journal, who, verb=Verb.RESUME, subject=where, reason=reason)
            act["incident"] = None
            if act["state"] == "done":
                if any(one.scope == where for one in await journal.stops()):
                    act["state"] = "waiting"
                    act["message"] = "a second person is needed: it stays stopped until another approver runs"
                    act["answer"] = records.command(config, "resume", where, "--as", "NAME")
                else:
                    act["message"] = f"{where} goes on"
            return act

    return finish(out, config, asyncio.run(work()))


async def _scope(journal: Journal, config: Configuration, given: str) -> str:
    """Return a scope with its incident's id written out; the responder judges the rest."""
    kind, colon, name = given.partition(":")
    if kind == "incident" and name:
        return f"incident:{await records.find(journal, name)}"
    if given == "everything":
        return given
    if kind == "server" and colon and name not in config.inventory.servers:
        raise NotFound(f"the inventory has no server {name}; {naming.near(name, config.inventory.servers)}")
    if kind == "class" and colon and name not in {known.value for known in config.playbooks}:
        raise NotFound(f"there is no playbook for a class {name}; there is {', '.join(sorted(config.playbooks))}")
    if kind in {"server", "class"} and name:
        return given
    raise Usage("write a scope: everything, class:NAME, server:NAME or incident:ID")
