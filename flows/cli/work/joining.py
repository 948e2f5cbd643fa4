"""`classify` and `join`: what an incident is, and which of two goes on."""

import asyncio

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work import asking, questions, records
from flows.settings import Configuration
from playbooks.incident import Status
from playbooks.request import Verb
from playbooks.state import Incident


def class_of(word: str | None) -> str:
    """Return a class that an incident can be given.

    Args:
        word: as somebody wrote it; None if they did not.

    Raises:
        Usage: it is none; with those there are.
    """
    if word in records.CLASSES:
        return word
    said = f"{word} is no class that an incident can be given" if word else "say what it is, with --as-class"
    raise Usage(f"{said}; write one of {', '.join(records.CLASSES)}")


def classify(out: Out, config: Configuration, who: asking.Person, *, incident: str, word: str, reason: str) -> Exit:
    """Give an incident its class."""
    out.aside = who.prints

    async def work() -> schema.Act | None:
        async with records.opened(config) as journal:
            await asking.allowed(journal, who, Verb.CLASSIFY)
            name = await records.find(journal, incident)
            state = await records.load(journal, name)
            out.say(f"{name} is {state.incident_class}; from now on it is {word}")
            if not questions.agreed(out, f"Classify it so as {who.name}?", does="classifies", yes=who.yes):
                return None
            params = {"class": word}
            return await asking.carry(
                out, journal, who, verb=Verb.CLASSIFY, subject=name, reason=reason, params={**params}, look=_classified
            )

    return asking.finish(out, config, asyncio.run(work()))


def _classified(state: Incident) -> asking.Seen:
    if state.triage:
        return asking.Seen("waiting", f"it is {state.incident_class} now, and waits for a person: {state.triage}")
    by = f"goes by the playbook {state.playbook}" if state.playbook else "has no playbook"
    if state.status is Status.AWAITING_APPROVAL:
        return asking.Seen("waiting", f"it is {state.incident_class} now, {by}, and waits for a decision:")
    return asking.Seen("done", f"it is {state.incident_class} now and {by}")


def join(out: Out, config: Configuration, who: asking.Person, *, first: str, second: str, reason: str) -> Exit:
    """Have one incident go on in another."""
    out.aside = who.prints

    async def work() -> schema.Act | None:
        async with records.opened(config) as journal:
            await asking.allowed(journal, who, Verb.JOIN)
            one, other = await records.find(journal, first), await records.find(journal, second)
            if one == other:
                raise Usage(f"{first} and {second} are the same incident, {one}: name two")
            stays, goes = await records.load(journal, one), await records.load(journal, other)
            for state, what in ((stays, "goes on"), (goes, "goes on in it")):
                about = ", ".join(map(str, state.entities.values())) or "nothing that the inventory knows"
                out.say(f"{state.id} ({state.incident_class}, {state.status}) {what}: {about}")
            held = [name for name, lease in goes.leases.items() if lease.open]
            if held:
                out.say(f"What {other} holds stays in force, watched there: {', '.join(held)}")
            if not questions.agreed(out, f"Join them as {who.name}?", does="joins", yes=who.yes):
                return None
            params = {"incident": other}
            return await asking.carry(
                out, journal, who, verb=Verb.JOIN, subject=one, reason=reason, params={**params}, look=_joined
            )

    return asking.finish(out, config, asyncio.run(work()))


def _joined(state: Incident) -> asking.Seen:
    return asking.Seen("done", f"{', '.join(state.parts)} goes on here; alerts about it come here from now on")
