"""`approve` and `deny`: what an incident asks is shown, and answered once the person says yes."""

from flows.cli import schema
from flows.cli.output import WAITS, Nothing, Out
from flows.cli.work import questions, spelled
from flows.cli.work.asking import Effect, Look, Person, acting, allowed, carry, held_up
from flows.cli.work.fitness import free
from flows.reading import streams
from integrations.journal.store import Journal
from playbooks.gate.plan import basis
from playbooks.people.request import Verb
from playbooks.record.state import Incident
from playbooks.record.step import REFUSED, Progress, StepState
from playbooks.record.viewing import ask_of


@acting
async def decide(
    out: Out,
    journal: Journal,
    who: Person,
    *,
    verb: Verb,
    incident: str,
    plan: str | None,
    reason: str,
    digest: str | None = None,
) -> schema.Act | None:
    """Answer what an incident asks."""
    name = await streams.find(journal, incident)
    await allowed(journal, who, verb)
    state = await streams.load(journal, name)
    step = asked(state, plan, digest)
    if verb is Verb.APPROVE:
        free(who.config, who.name, step)
    ask = ask_of(state, step)
    stopped = await held_up(journal, verb, ask.digest, state)
    questions.decision(out, spelled.of(state, who.config.inventory).whole(ask), verb, stopped=stopped)
    does = "approves" if verb is Verb.APPROVE else "denies"
    if not questions.agreed(out, f"{verb.value.capitalize()} it as {who.name}?", does=does, yes=who.yes):
        return None
    return await carry(
        out,
        journal,
        who,
        verb=verb,
        subject=name,
        digest=ask.digest,
        reason=reason,
        look=decided(step.instance, ask.digest, verb),
    )


def asked(state: Incident, *given: str | None) -> StepState:
    """Return what an incident asks, the one that is meant if it asks for more.

    Args:
        state: the incident.
        given: beginnings of the digest of what is meant.

    Raises:
        Nothing: it asks for nothing.
        NotFound: it asks for no such plan.
        Usage: it asks for more than one thing.
    """
    waiting = {step.plan.digest: step for step in reversed(state.proposals) if step.plan}
    there = f"; it was joined to {state.part_of}: see `mcp-soar incident {state.part_of}`" if state.part_of else ""
    if not waiting:
        seen = there or f"; `mcp-soar incident {state.id}` shows all of it"
        raise Nothing(WAITS, f"{state.id} asks for no decision: it is {state.stands}{_became(state)}{seen}")
    plans = {digest: step.plan.summary for digest, step in reversed(waiting.items()) if step.plan}
    return waiting[questions.meant(state.id, plans, *given, there=there)]


def _became(state: Incident) -> str:
    """Return what became of what people were asked last, as a clause; nothing if they were asked nothing."""
    asked = [step for step in state.steps.values() if step.plan and (step.approved_by or step.progress in REFUSED)]
    if not asked:
        return ""
    last = max(asked, key=lambda step: step.asked_seq)
    about = f"“{last.plan.summary.rstrip('.')}”" if last.plan else last.instance
    if last.progress is Progress.EXPIRED:
        said = "nobody answered in time, which is no"
    elif last.progress is Progress.DENIED:
        said = f"{last.denied_by} said no"
    else:
        said = f"{' and '.join(dict.fromkeys(last.approved_by))} said yes, and it is {last.progress.replace('_', ' ')}"
    return f". It was asked about {about}: {said}"


def decided(instance: str, digest: str, verb: Verb) -> Look:
    """Return what says how far the answer to a plan is.

    Args:
        instance: the step that asked.
        digest: of the plan.
        verb: approve or deny.
    """

    def look(state: Incident) -> Effect:  # noqa: PLR0911  # one for each way that it can stand
        step = state.steps[instance]
        if verb is Verb.DENY:
            return Effect("done", "denied: it is not done, and asked again only when somebody responds to it anew")
        progress = step.progress
        if progress is Progress.RELEASED:
            lease = state.leases.get(instance.removeprefix("release-"))
            return Effect("done", f"released: {lease.returned}" if lease else "released")
        if progress is Progress.ESTABLISHED:
            looks = [(step.plan, step.verdict)] if step.plan and step.verdict else []
            return Effect("done", f"done, and {basis(looks)}")
        if progress is Progress.PROPOSED and step.plan and step.plan.digest == digest:
            missing = step.quorum - len(set(step.approved_by) - {step.requested_by})
            if missing > 0:
                return Effect("waiting", f"your approval counts; {missing} more needed")
            return Effect("pending", "approved; it is about to be carried out")
        if progress is Progress.PROPOSED:
            return Effect("waiting", "the world changed meanwhile, so another plan waits for a decision:")
        if progress is Progress.APPROVED:
            return Effect("pending", "approved; it is about to be carried out")
        if progress is Progress.SKIPPED:
            return Effect("waiting", "the gate does not let it pass any more:")
        why = f": {step.message}" if step.message else ""
        return Effect("pending", f"approved; now {progress}{why}")

    return look
