"""`respond`: a class's playbook is started by hand, or an incident tried again; how far a response is."""

from collections.abc import Sequence

from flows.cli import schema
from flows.cli.output import Out
from flows.cli.work.asking import Effect, Person, acting, carry
from flows.cli.work.wish import Wish
from flows.engine.opening import owners_among, resolve
from flows.reading import streams
from integrations.journal.store import Journal
from playbooks.estate import naming
from playbooks.estate.inventory import Inventory
from playbooks.people.request import Verb
from playbooks.record.incident import Entity, EntityKind, Status
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from playbooks.strict import Json


def guess_of(inventory: Inventory, named: Sequence[tuple[str, str, str | None]]) -> str:
    """Return what the things may be misspelt for that somebody names and the inventory does not know, if any.

    Args:
        inventory: what exists.
        named: each a kind, a name, and its server if it is named.
    """
    try:
        entities = [Entity(kind=EntityKind(kind), name=name, server=home) for kind, name, home in named]
    except ValueError:
        # What is no name at all is refused with what would be right, by whoever takes it in.
        return ""
    return naming.guesses(inventory, resolve(inventory, entities)[1], owners_among(inventory, entities))


@acting
async def respond(out: Out, journal: Journal, who: Person, wish: Wish) -> schema.Act:
    """Start a class's playbook by hand, or have an incident tried again."""
    params = wish.started(who.name)
    if guess := guess_of(who.config.inventory, wish.named):
        out.say(f"The inventory does not know all of that: {guess} What it does not know waits for a person.", "warn")
    subject = await streams.find(journal, wish.incident) if wish.incident else "new"
    return await responded(out, journal, who, subject=subject, reason=wish.reason, params=params)


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


def contained(state: Incident) -> Effect:
    """Return how far a response is."""
    status = state.status
    if status is Status.CONTAINED:
        return Effect("done", f"contained, and {state.basis}")
    if status is Status.AWAITING_APPROVAL:
        return Effect("waiting", "waits for a decision:")
    if status is Status.TRIAGE:
        return Effect("waiting", f"waits for a person: {state.triage or 'every cut was denied'}")
    if status in {Status.CLOSED, Status.FROZEN, Status.RECOVERING, Status.RELEASED, Status.JOINED}:
        return Effect("done", f"it is {state.stands}")
    skipped = [step for step in state.steps.values() if step.progress is Progress.SKIPPED and step.message]
    why = next((step.message for step in state.cuts if step.message), "")
    if status is Status.NOT_ESTABLISHED:
        return Effect("pending", f"NOT contained{': ' + why if why else ''}; the responder goes on trying")
    return Effect("pending", "containing" + (f"; {skipped[0].message}" if skipped else ""))
