"""`approve` and `deny`: what an incident asks is shown, and answered once the person says yes."""

import asyncio

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import NotFound, Out
from flows.cli.work import questions, records, spelled
from flows.cli.work.asking import Look, Person, Seen, allowed, carry, finish
from flows.cli.work.fitness import free
from flows.settings import Configuration
from playbooks.request import Verb
from playbooks.state import Incident, Progress, StepState


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
                look=decided(step.instance, ask["digest"], verb),
            )

    return finish(out, config, asyncio.run(work()))


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


def decided(instance: str, digest: str, verb: Verb) -> Look:
    """Return what says how far the answer to a plan is.

    Args:
        instance: the step that asked.
        digest: of the plan.
        verb: approve or deny.
    """

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
