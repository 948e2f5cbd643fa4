"""Acknowledging, answering with a one-time code, and lending a voice."""

import asyncio
import getpass
import sys
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work import asking, deciding, records
from flows.reading import streams
from flows.service import codes
from flows.service.settings import Configuration
from integrations.journal.store import Journal
from playbooks.people.code import CodeAnswer
from playbooks.people.request import Verb
from playbooks.record.journal import ITSELF
from playbooks.record.viewing import ask_of
from playbooks.strict import Json, Seconds, iso, now


@asking.acting
async def ack(out: Out, journal: Journal, who: asking.Person, *, subject: str, reason: str) -> schema.Act:
    """Take up the pages of an incident."""
    name = subject if subject == ITSELF else await streams.find(journal, subject)
    act = await asking.carry(out, journal, who, verb=Verb.ACK, subject=name, reason=reason)
    if act["state"] == "done":
        act["message"] = "acknowledged: nobody else is paged for it"
    return act


def delegate(
    out: Out, config: Configuration, who: asking.Person, *, name: str, length: str | None, reason: str
) -> Exit:
    """Lend a voice for a time, or take it back."""
    try:
        seconds = TypeAdapter(Seconds).validate_python(length) if length else 0.0
    except ValidationError as exc:
        raise Usage(f"--for {length}: write a time as 30m, 8h or 3d") from exc
    until = now() + timedelta(seconds=seconds)

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            params: dict[str, Json] = {"until": iso(until)}
            act = await asking.carry(out, journal, who, verb=Verb.DELEGATE, subject=name, reason=reason, params=params)
            act["incident"] = None
            if act["state"] == "done":
                until_when = f"until {iso(until)}" if length else "no longer"
                act["message"] = f"{name} may approve with {who.name}'s voice {until_when}"
            return act

    return asking.finish(out, config, asyncio.run(work()))


def answer(out: Out, config: Configuration, who: str, *, incident: str, plan: str | None, wait: float) -> Exit:
    """Decide with a one-time code."""

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            name = await streams.find(journal, incident)
            state = await streams.load(journal, name)
            step = deciding.asked(state, plan)
            ask = ask_of(state, step)
            out.say(ask.summary, "head")
            try:
                given = CodeAnswer(
                    incident=name, digest=ask.digest, actor=who, code=await asyncio.to_thread(_typed, out)
                )
            except ValidationError as exc:
                raise Usage("a code has ten characters, as 7K3M2-QX9AB") from exc
            receipt = await codes.hand_in(journal, given, source="person")
            act: schema.Act = {
                "verb": "answer",
                "subject": name,
                "incident": name,
                "receipt": receipt.id,
                "state": "handed_in",
                "status": None,
                "message": "handed in; it is judged when a responder runs",
                "reasons": [],
                "answer": None,
            }
            if wait > 0:
                with out.waiting("waiting for a responder to judge the code"):
                    verb = await codes.judged(journal, given, receipt, within=wait)
                act["state"], act["message"] = "done", f"{verb} counts for plan {ask.short}"
            return act

    return asking.finish(out, config, asyncio.run(work()))


def _typed(out: Out) -> str:
    if out.asks:
        return getpass.getpass("Code: ").strip()
    return sys.stdin.readline().strip()
