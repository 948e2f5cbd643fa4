"""What people on call ask for beside a response: handed in as a signed request, and judged by a responder."""

import asyncio
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage, moment
from flows.cli.work import asking, questions, records
from flows.reading import campaigns, standing, streams
from flows.reading.standing import SuppressionRow
from flows.service.settings import Configuration
from integrations.journal.store import Journal
from playbooks.errors import Refused
from playbooks.gate.suppression import scope_of
from playbooks.people.request import Verb
from playbooks.record.journal import CAM
from playbooks.record.state import Incident
from playbooks.strict import Json, Seconds, iso


def note(out: Out, who: asking.Person, *, incident: str, text: str, fulfils: str | None) -> Exit:
    """Write something into an incident's timeline."""
    if not text.strip():
        raise Usage("a note says something")
    params: dict[str, Json] = {"text": text}
    if fulfils is not None:
        params["fulfils"] = fulfils
    return _about(out, who, verb=Verb.NOTE, incident=incident, params=params)


def assign(out: Out, who: asking.Person, *, incident: str, name: str, reason: str) -> Exit:
    """Say who looks after an incident."""
    return _about(out, who, verb=Verb.ASSIGN, incident=incident, params={"to": name}, reason=reason)


def extend(
    out: Out,
    who: asking.Person,
    *,
    incident: str,
    length: str,
    lease: str | None,
    reason: str,
) -> Exit:
    """Put the end of leases farther away."""
    params: dict[str, Json] = {"seconds": _seconds(length)}
    if lease is not None:
        params["lease"] = lease

    def look(state: Incident) -> asking.Effect:
        held = [one for key, one in state.leases.items() if one.in_force and lease in {None, key}]
        return asking.Effect("done", "; ".join(f"{one.instance} lasts until {iso(one.until)}" for one in held))

    return _about(out, who, verb=Verb.EXTEND, incident=incident, params=params, reason=reason, look=look)


def hold(out: Out, who: asking.Person, *, incident: str, reason: str) -> Exit:
    """Put an incident under legal hold."""

    def look(state: Incident) -> asking.Effect:
        return asking.Effect("done", f"under legal hold, nothing of it is deleted: {state.legal_hold}")

    return _about(out, who, verb=Verb.HOLD, incident=incident, reason=reason, look=look)


def unhold(out: Out, who: asking.Person, *, incident: str, reason: str) -> Exit:
    """Ask for a legal hold to be ended; two people have to."""

    def look(state: Incident) -> asking.Effect:
        if state.legal_hold is None:
            return asking.Effect("done", "the legal hold is over; what retention says counts again")
        return asking.Effect("waiting", "a second person is needed: it stays on hold until another approver runs")

    return _about(out, who, verb=Verb.UNHOLD, incident=incident, reason=reason, look=look)


async def _over(out: Out, journal: Journal, who: asking.Person, name: str) -> bool:
    """Show what a legal hold says and ask whether it is to end: evidence may be deleted then."""
    await asking.allowed(journal, who, Verb.UNHOLD)
    held = (await streams.load(journal, name)).legal_hold
    out.say(f"{name} is under legal hold: {held}" if held else f"{name} is under no legal hold", "head")
    out.say("Once it is over, and two approvers end it, its evidence is deleted when retention says so.")
    return questions.agreed(out, f"End it as {who.name}?", does="ends a legal hold", yes=who.yes)


@asking.acting
async def _about(
    out: Out,
    journal: Journal,
    who: asking.Person,
    *,
    verb: Verb,
    incident: str,
    params: dict[str, Json] | None = None,
    reason: str = "",
    look: asking.Look | None = None,
) -> schema.Act | None:

    name = await streams.find(journal, incident)
    if verb is Verb.UNHOLD and not await _over(out, journal, who, name):
        return None
    act = await asking.carry(out, journal, who, verb=verb, subject=name, reason=reason, params=params, look=look)
    if verb is Verb.UNHOLD and act["state"] == "waiting":
        act["answer"] = records.command(who.config, "unhold", name, "--reason", "TEXT", "--as", "NAME")
    return act


def _seconds(length: str) -> float:
    try:
        return TypeAdapter(Seconds).validate_python(length)
    except ValidationError as exc:
        raise Usage(f"--for {length}: write a time as 30m, 12h or 3d") from exc


# Suppressions


@asking.acting
async def suppress(
    out: Out, journal: Journal, who: asking.Person, *, scope: str, length: str, reason: str
) -> schema.Act | None:
    """Keep a source's or a rule's alerts from opening incidents for a while, or those of a campaign's rules."""
    if not scope.startswith(CAM):
        return await _suppress(out, who.config, journal, who, scope, length, reason)
    named = await campaigns.scopes(journal, scope)
    for one in named:
        out.say(f"suppress {one}: {_alerts_of(who.config, one)} open nothing for {length}")
    if not questions.agreed(out, f"Suppress them as {who.name}?", does="suppresses", yes=who.yes):
        return None
    acts = [await _suppress(out, who.config, journal, who, one, length, reason) for one in named]
    return {**acts[-1], "subject": scope, "message": "\n".join(act["message"] for act in acts)}


async def _suppress(  # noqa: PLR0917  # a request's fields
    out: Out, config: Configuration, journal: Journal, who: asking.Person, scope: str, length: str, reason: str
) -> schema.Act:
    about = _alerts_of(config, scope)
    params: dict[str, Json] = {"seconds": _seconds(length)}
    act = await asking.carry(out, journal, who, verb=Verb.SUPPRESS, subject=scope, reason=reason, params=params)
    if act["state"] == "done":
        until = next((one.until for one in await journal.suppressions() if one.scope == scope), None)
        act["message"] = (
            f"until {moment(until)} {about} open nothing; they are kept, and counted in `mcp-soar suppressions`"
        )
    return act


def _alerts_of(config: Configuration, scope: str) -> str:
    """Return in words which alerts a scope names."""
    try:
        named = scope_of(scope, config.sources.sources)
    except Refused as exc:
        raise Usage(str(exc)) from exc
    about = f"alerts of rule {named.rule}" if named.rule else "alerts"
    return about + (f" from {named.source}" if named.source else " from any source")


@asking.acting
async def unsuppress(out: Out, journal: Journal, who: asking.Person, *, scope: str, reason: str) -> schema.Act:
    """End a suppression."""
    return await asking.carry(out, journal, who, verb=Verb.UNSUPPRESS, subject=scope, reason=reason)


def suppressions(out: Out, config: Configuration) -> None:
    """Show what is suppressed now."""

    async def work() -> list[SuppressionRow]:
        async with records.opened(config) as journal:
            return await standing.suppressed(journal)

    rows = asyncio.run(work())
    out.document({"suppressions": rows})
    out.table(
        ("what", "until!", "by", "set aside!", "why"),
        [(row["scope"], _short(row["until"]), row["by"], row["set_aside"], row["reason"]) for row in rows],
        empty="nothing is suppressed",
    )


def _short(at: str | None) -> str:
    return moment(datetime.fromisoformat(at).astimezone(UTC)) or "-" if at else "-"
