"""`classify` and `join`: what an incident is, and which of two goes on."""

from flows.cli import schema
from flows.cli.output import Out, Usage
from flows.cli.work import asking, questions
from flows.reading import streams
from integrations.journal.store import Journal
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from playbooks.record.viewing import CLASSES


def class_of(word: str | None) -> str:
    """Return a class that an incident can be given.

    Args:
        word: as somebody wrote it; None if they did not.

    Raises:
        Usage: it is none; with those there are.
    """
    if word in CLASSES:
        return word
    said = f"{word} is no class that an incident can be given" if word else "say what it is, with --as-class"
    raise Usage(f"{said}; write one of {', '.join(CLASSES)}")


@asking.acting
async def classify(
    out: Out, journal: Journal, who: asking.Person, *, incident: str, word: str, reason: str
) -> schema.Act | None:
    """Give an incident its class."""
    await asking.allowed(journal, who, Verb.CLASSIFY)
    name = await streams.find(journal, incident)
    state = await streams.load(journal, name)
    out.say(f"{name} is {state.incident_class}; from now on it is {word}")
    if not questions.agreed(out, f"Classify it so as {who.name}?", does="classifies", yes=who.yes):
        return None
    params = {"class": word}
    return await asking.carry(
        out, journal, who, verb=Verb.CLASSIFY, subject=name, reason=reason, params={**params}, look=_classified
    )


def _classified(state: Incident) -> asking.Effect:
    if state.triage:
        return asking.Effect("waiting", f"it is {state.incident_class} now, and waits for a person: {state.triage}")
    by = f"goes by the playbook {state.playbook}" if state.playbook else "has no playbook"
    if state.status is Status.AWAITING_APPROVAL:
        return asking.Effect("waiting", f"it is {state.incident_class} now, {by}, and waits for a decision:")
    return asking.Effect("done", f"it is {state.incident_class} now and {by}")


@asking.acting
async def join(
    out: Out, journal: Journal, who: asking.Person, *, first: str, second: str, reason: str
) -> schema.Act | None:
    """Have one incident go on in another."""
    await asking.allowed(journal, who, Verb.JOIN)
    one, other = await streams.find(journal, first), await streams.find(journal, second)
    if one == other:
        raise Usage(f"{first} and {second} are the same incident, {one}: name two")
    stays, goes = await streams.load(journal, one), await streams.load(journal, other)
    for state, what in ((stays, "goes on"), (goes, "goes on in it")):
        out.say(f"{state.id} ({state.incident_class}, {state.status}) {what}: {state.subject}")
    held = [name for name, lease in goes.leases.items() if lease.open]
    if held:
        out.say(f"What {other} holds stays in force, watched there: {', '.join(held)}")
    if not questions.agreed(out, f"Join them as {who.name}?", does="joins", yes=who.yes):
        return None
    params = {"incident": other}
    return await asking.carry(
        out, journal, who, verb=Verb.JOIN, subject=one, reason=reason, params={**params}, look=_joined
    )


def _joined(state: Incident) -> asking.Effect:
    return asking.Effect("done", f"{', '.join(state.parts)} goes on here; alerts about it come here from now on")
