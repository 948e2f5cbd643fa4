"""Whether somebody may ask for a thing at all: said before anything is shown; the responder has the last word."""

from flows.cli.work import people
from flows.service.settings import Configuration
from integrations.journal.store import Journal
from playbooks.errors import Refused
from playbooks.people.request import ASKED_FOR_IT, TWICE, Verb, entitled
from playbooks.record.step import StepState


async def fit(journal: Journal, config: Configuration, name: str, verb: Verb) -> None:
    """Refuse whoever is not enrolled, has no key here, or has no role for it.

    Where nobody is enrolled as far as this machine knows, a person's own laptop say, only responders can tell.

    Args:
        journal: says whose voice they may use.
        config: says who is enrolled.
        name: who asks.
        verb: what for.

    Raises:
        Refused: with what the responder would say.
    """
    known = config.people()
    if not known.people:
        return
    try:
        entitled(known, name, verb)
    except Refused:
        lent = await people.lent(journal, known) if name in known.people and verb in {Verb.APPROVE, Verb.DENY} else {}
        if not any(to == name for _, to in lent):
            raise


def free(config: Configuration, name: str, step: StepState) -> None:
    """Refuse whoever's yes to a plan cannot count: they asked for it, or have said it already.

    Args:
        config: says who is enrolled, and since when.
        name: who wants to approve.
        step: what waits.

    Raises:
        Refused: with what the responder would say.
    """
    if name == step.requested_by:
        raise Refused(ASKED_FOR_IT)
    person = config.people().people.get(name)
    if person and name in step.approved_by and person.enrolled_at <= step.approved_at[name]:
        raise Refused(TWICE)
