"""Acknowledging, answering with a one-time code, and lending a voice."""

import asyncio
import getpass
import secrets
import sys
import time
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work import acts, records
from flows.engine.telling import ITSELF
from flows.settings import Configuration
from integrations.journal.store import Journal
from playbooks.code import Answer
from playbooks.errors import Refused, Transient
from playbooks.journal import SYSTEM
from playbooks.request import Verb
from playbooks.strict import Json, Seconds, iso, now


def ack(out: Out, config: Configuration, who: acts.Person, *, subject: str, reason: str) -> Exit:
    """Take up the pages of an incident."""

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            name = subject if subject == ITSELF else await records.find(journal, subject)
            act = await acts.carry(out, journal, who, verb=Verb.ACK, subject=name, reason=reason)
            if act["state"] == "done":
                act["message"] = "acknowledged: nobody else is paged for it"
            return act

    return acts.finish(out, config, asyncio.run(work()))


def delegate(out: Out, config: Configuration, who: acts.Person, *, name: str, length: str | None, reason: str) -> Exit:
    """Lend a voice for a time, or take it back."""
    try:
        seconds = TypeAdapter(Seconds).validate_python(length) if length else 0.0
    except ValidationError as exc:
        raise Usage(f"--for {length}: write a time as 30m, 8h or 3d") from exc
    until = now() + timedelta(seconds=seconds)

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            params: dict[str, Json] = {"until": iso(until)}
            act = await acts.carry(out, journal, who, verb=Verb.DELEGATE, subject=name, reason=reason, params=params)
            act["incident"] = None
            if act["state"] == "done":
                until_when = f"until {iso(until)}" if length else "no longer"
                act["message"] = f"{name} may approve with {who.name}'s voice {until_when}"
            return act

    return acts.finish(out, config, asyncio.run(work()))


def answer(out: Out, config: Configuration, who: str, *, incident: str, plan: str | None, wait: float) -> Exit:
    """Decide with a one-time code."""

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            name = await records.find(journal, incident)
            state = await records.load(journal, name)
            step = acts.asked(state, plan)
            out.say(records.ask_of(config, name, step)["summary"], "head")
            digest = step.plan.digest if step.plan else ""
            try:
                given = Answer(incident=name, digest=digest, actor=who, code=await asyncio.to_thread(_typed, out))
            except ValidationError as exc:
                raise Usage("a code has ten characters, as 7K3M2-QX9AB") from exc
            return await hand_in(journal, given, wait=wait, source="person")

    return acts.finish(out, config, asyncio.run(work()))


def _typed(out: Out) -> str:
    if out.asks:
        return getpass.getpass("Code: ").strip()
    return sys.stdin.readline().strip()


async def hand_in(journal: Journal, given: Answer, *, wait: float, source: str) -> schema.Act:
    """Hand a one-time code in and wait for what it decided.

    Args:
        journal: opened without a signing key.
        given: the code, and what it answers.
        wait: seconds; 0 waits for nothing.
        source: where it came from.

    Raises:
        Refused: with the responder's reason.
        Transient: no responder answered in time.
    """
    row = await journal.stream(f"{records.PREFIX}{given.incident}")
    system = await journal.stream(SYSTEM)
    after, set_aside_after = (row.seq if row else 0), (system.seq if system else 0)
    receipt = await journal.put(
        kind="code", source=source, nonce=secrets.token_urlsafe(24), body=given.model_dump_json().encode(), headers={}
    )
    act: schema.Act = {
        "verb": "answer",
        "subject": given.incident,
        "incident": given.incident,
        "receipt": receipt.id,
        "state": "handed_in",
        "status": None,
        "message": "handed in; it is judged when a responder runs",
        "answer": None,
    }
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        if not any(item.id == receipt.id for item in await journal.waiting(10_000, kinds=["code"])):
            for entry in (item.parsed() for item in await journal.read(SYSTEM, after=set_aside_after)):
                if entry.kind == "set_aside" and entry.body.get("receipt") == receipt.id:
                    raise Refused(str(entry.body.get("reason", "")).removeprefix("refused: "))
            for entry in (
                item.parsed() for item in await journal.read(f"{records.PREFIX}{given.incident}", after=after)
            ):
                if entry.kind == "code_refused" and entry.body.get("receipt") == receipt.id:
                    raise Refused(f"the code does not fit; {entry.body['left']} more tries, then only the key counts")
                if entry.kind == "decided" and entry.body.get("receipt") == receipt.id:
                    act["state"], act["message"] = "done", f"{entry.body['verb']} counts for plan {given.digest[7:19]}"
                    return act
        await asyncio.sleep(0.1)
    if wait <= 0:
        return act
    raise Transient(f"no responder answered within {wait:g} s. The code is kept and counts when one runs")
