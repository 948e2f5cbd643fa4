"""What people ask for: signed with their key, put into the inbox, and waited for until a responder has answered.

Nothing is decided here. This process can only put a request into the inbox; whether it counts is the responder's say.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.options import key_file
from flows.cli.output import Out, Usage, moment
from flows.cli.work import records, signing
from flows.cli.work.fitness import fit
from flows.reading import streams
from flows.service.settings import Configuration
from integrations.journal.records import InboxItem
from integrations.journal.store import Journal
from playbooks.errors import Refused, Transient
from playbooks.gate.policy import Purpose
from playbooks.people.request import Request, SignedRequest, Verb, draft
from playbooks.record.incident import Status
from playbooks.record.journal import INCIDENT, SYSTEM
from playbooks.record.state import Incident
from playbooks.record.viewing import ask_of
from playbooks.strict import Json, canonical, now

_FIRST_LOOK = 0.05

_LAST_LOOK = 0.5

_INBOX = 10_000

_ONCE = "it was handed in before, and counts once: nothing was done again"


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


class Effect(NamedTuple):
    """What a look at the incident says about a request's effect.

    Args:
        state: done, waiting or pending.
        message: for people.
        reasons: why it waits, one by one.
    """

    state: str
    message: str
    reasons: tuple[str, ...] = ()


Look = Callable[[Incident], Effect]


P = ParamSpec("P")


def acting(
    work: Callable[Concatenate[Out, Journal, Person, P], Awaitable[schema.Act | None]],
) -> Callable[Concatenate[Out, Person, P], Exit]:
    """Have a command do its work on the journal, and say what became of what the person asked for.

    Args:
        work: shows, asks, and hands in; returns None if the person says no.
    """

    @wraps(work)
    def command(out: Out, who: Person, /, *args: P.args, **given: P.kwargs) -> Exit:
        out.aside = who.prints

        async def opened() -> schema.Act | None:
            async with records.opened(who.config) as journal:
                return await work(out, journal, who, *args, **given)

        return finish(out, who.config, asyncio.run(opened()))

    return command


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
    return await hand_in(out, journal, signed, config=who.config, wait=who.wait, look=look)


async def hand_in(
    out: Out,
    journal: Journal,
    signed: SignedRequest,
    *,
    config: Configuration,
    wait: float,
    look: Look | None = None,
) -> schema.Act:
    """Hand in what somebody signed, and wait for what becomes of it.

    Args:
        out: for progress.
        journal: opened without a signing key.
        signed: the request; whether it counts is for a responder to judge.
        config: says who else may decide.
        wait: seconds to wait for an answer and its effect; 0 waits for nothing.
        look: says from the incident how far the effect is; None if the acceptance is the effect.

    Raises:
        Refused: by the responder, with its reason; or another request has its nonce.
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
    if receipt.conflict:
        raise Refused("another request was handed in under this one's nonce: have it signed anew")
    # What still waits from before is answered now, as if it were new; what was judged before is no news.
    again = not receipt.fresh and receipt.incident is not None
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
    if wait <= 0 and not again:
        return act
    deadline = time.monotonic() + wait
    with out.waiting(f"waiting for a responder to answer {verb}") as progress:
        stream = await _answer(journal, signed.request, receipt.id, body, after if receipt.fresh else 0, deadline)
        if stream is None:
            until = moment(signed.request.expires_at)
            raise Transient(
                f"no responder answered within {wait:g} s. The request is kept and will be carried out when one "
                f"runs before {until}; start one with `mcp-soar up`, do not ask again"
            )
        if not stream.startswith(INCIDENT):
            became, message = ("already", _ONCE) if again else ("done", "done")
            return {**act, "state": became, "message": message}
        incident = stream.removeprefix(INCIDENT)
        seen, state = Effect("done", "done"), await streams.load(journal, incident)
        if again:
            seen = Effect("already", f"{_ONCE}: {look(state).message}" if look else _ONCE)
        elif look is not None:
            stopped = partial(held_up, journal, signed.request.verb, signed.request.digest)
            seen, state = await _effect(journal, incident, look, deadline, progress, stopped)
    act |= {"incident": incident, "state": seen.state, "status": state.status.value}
    act |= {"message": seen.message, "reasons": list(seen.reasons)}
    if seen.state == "waiting":
        act["approve"] = _for_others(config, state, signed.request)
    return act


def _for_others(config: Configuration, state: Incident, asked: Request) -> list[schema.Approval]:
    """Return what somebody else has to say yes to before what was asked for is done, and who can."""
    if asked.verb not in _ASK_OTHERS:
        return []
    roles, people = set(config.policy.approval.roles), config.people().people
    may = {name for name, person in people.items() if roles & set(person.roles)}
    asks = [ask_of(state, step) for step in state.proposals if step.plan]
    if asked.verb is not Verb.APPROVE:
        asks = [ask for ask in asks if (ask.purpose is Purpose.RELEASE) is (asked.verb is Verb.RELEASE)]
    found: list[schema.Approval] = []
    # Of an approval the same plan; another one, if the world changed meanwhile.
    for ask in [ask for ask in asks if ask.digest == asked.digest] or asks:
        by = sorted(may - ask.voices)
        words = ("approve", state.id, "--digest", ask.short, "--as", by[0] if len(by) == 1 else "NAME")
        line = records.command(config, *words)
        found.append({"summary": ask.summary, "missing": ask.missing, "by": by, "line": line})
    return found


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


async def held_up(journal: Journal, verb: Verb, digest: str | None, state: Incident) -> str:
    """Return why nothing that is asked for is carried out now, as a clause; empty if nothing stops it.

    Args:
        journal: says what is stopped.
        verb: what is asked for.
        digest: of the plan that it is about, if it is about one.
        state: the incident.
    """
    back = any(
        step.purpose is Purpose.RELEASE and step.plan is not None and step.plan.digest == digest
        for step in state.steps.values()
    )
    if verb not in _STOPPABLE or back:
        return ""
    on = [stop for stop in await journal.stops() if stop.scope in state.scopes]
    return "; ".join(
        f"nothing of it is carried out while {stop.scope} is stopped, by {stop.by}: {stop.reason}"
        f" (`mcp-soar resume {stop.scope}` ends that, once two people say it)"
        for stop in on
    )


_ASK_OTHERS = frozenset({Verb.RESPOND, Verb.APPROVE, Verb.RELEASE})
"""What may have to be approved by somebody else than whoever asks for it."""

_STOPPABLE = frozenset({Verb.RESPOND, Verb.APPROVE})
"""What the kill switch holds up; what people give back goes on."""


async def _effect(  # noqa: PLR0917  # where to look, for what, until when
    journal: Journal,
    incident: str,
    look: Look,
    deadline: float,
    progress: Callable[[str], None],
    stopped: Callable[[Incident], Awaitable[str]],
) -> tuple[Effect, Incident]:
    pause = _FIRST_LOOK
    while True:
        state = await streams.load(journal, incident)
        seen = look(state)
        # What it is about to do it does not.
        if seen.state == "pending" and (why := await stopped(state)):
            seen = seen._replace(state="waiting", message=f"{seen.message.partition('; ')[0]}; {why}")
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
    status = f" ({act['status'].replace('_', ' ')})" if act["status"] else ""
    word = {"waiting": "accepted", "pending": "accepted, not in effect yet", "handed_in": "handed in"}
    out.say(f"{about}{status}: {word.get(act['state'], act['state'])}", "warn" if act["state"] == "pending" else "good")
    if act["message"] != "done":
        out.say(act["message"])
    for reason in act["reasons"]:
        out.say(f"- {reason}", indent=2)
    for one in act.get("approve", ()):
        out.say(_who_approves(one))
        out.raw(f"  {one['line']}")
    if act["answer"] and not act.get("approve"):
        out.raw(f"  {act['answer']}")
    if act["state"] == "already":
        return Exit.ALREADY
    # What was asked for as a response and waits for somebody to look at it does nothing yet.
    idle = act["verb"] == Verb.RESPOND and act["status"] == Status.TRIAGE
    return Exit.NO if idle or act["state"] == "pending" else Exit.OK


def _who_approves(one: schema.Approval) -> str:
    """Return who says yes to something, as what stands before the line that they type."""
    what, names = one["summary"].rstrip("."), ", ".join(one["by"])
    if not one["by"]:
        return f"NOBODY who is enrolled may approve “{what}”: `mcp-soar enroll NAME --role approver`, who then types:"
    if len(one["by"]) == 1:
        return f"{names} approves “{what}” with:"
    each = "approves" if one["missing"] <= 1 else "approve"
    return f"{max(1, one['missing'])} of {names} {each} “{what}” with:"


async def allowed(journal: Journal, who: Person, verb: Verb) -> None:
    """Refuse whoever cannot ask for it anyhow, before they are shown anything.

    Raises:
        Misconfigured: there is no key of theirs.
        Refused: with what the responder would say.
    """
    signing.at_hand(who.config, who.name, who.key)
    await fit(journal, who.config, who.name, verb)
