"""`respond`: a class's playbook is started by hand, or an incident tried again; how far a response is."""

import asyncio
from collections.abc import Sequence

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out
from flows.cli.work import records
from flows.cli.work.asking import Person, Seen, carry, finish
from flows.cli.work.wish import Wish
from flows.settings import Configuration
from integrations.journal.store import Journal
from playbooks import naming
from playbooks.incident import Entity, EntityKind, Status
from playbooks.inventory import Inventory
from playbooks.request import Verb
from playbooks.state import Incident, Progress
from playbooks.strict import Json


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
