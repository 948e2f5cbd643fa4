"""What people have to hear of an incident: worked out from how it stands, journalled, and then sent by `telling`."""

from collections.abc import Iterator, Sequence

from flows.engine.case import Case
from flows.engine.people.telling import queue
from integrations.journal.store import Tx
from playbooks.playbook import Notice
from playbooks.record.alike import FLOOD
from playbooks.record.incident import Status
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.step import Progress, StepState
from playbooks.strict import iso

EVERY = tuple(Notice)
TOLD = 2
"""Attempts to seal the evidence after which people hear that it does not succeed."""


def due(state: Incident, wanted: tuple[Notice, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield the pages that there are to write: id, notice, text.

    Args:
        state: the incident.
        wanted: what its playbook tells people of.
    """
    about = ", ".join(map(str, state.about)) or "something the inventory does not know"
    what = f"{state.id} {state.incident_class} ({state.severity.label}): {about}"
    if Notice.OPENED in wanted and "opened" not in state.noticed:
        waits = f", and nothing was done: {state.triage}" if state.triage else ""
        yield "opened", "opened", f"{what}. Opened{waits}."
    unknown = f"unknown:{len(state.strangers)}"
    if state.strangers and unknown not in state.noticed:
        named = ", ".join(map(str, state.strangers))
        yield unknown, unknown, f"{what}. It names what the inventory does not know, so nothing is done about {named}."
    for source, more in state.repeats.items():
        # Told once for each power of ten, and of what is one in any case.
        flood = f"flood:{source}:{len(str(more.messages))}"
        if more.messages >= FLOOD and flood not in state.noticed:
            since = f"since {iso(more.since)}"
            yield flood, flood, f"{what}. {source} sent {more.messages} more messages like those that it has, {since}."
    if Notice.AWAITING_APPROVAL in wanted:
        yield from _asking(state, what)
        yield from _lapsed(state, what)
    yield from _joined(state, what)
    for name, part in state.campaigns.items():
        if (notice := f"campaign:{name}") not in state.noticed:
            yield notice, notice, f"{what}. The same {part.mark} in {', '.join(part.others)}: campaign {name}."
    yield from _held(state, wanted, what)
    yield from _leases(state, wanted, what)
    yield from _unsealed(state, what)
    if Notice.CLOSED in wanted and state.closed_at and "closed" not in state.noticed:
        yield "closed", "closed", f"{what}. Closed as {state.closed_as}."


def _joined(state: Incident, what: str) -> Iterator[tuple[str, str, str]]:
    """What goes on elsewhere, and what goes on here from now on."""
    to, held = f"joined:{state.part_of}", [lease.instance for lease in state.leases.values() if lease.in_force]
    if state.part_of and to not in state.noticed:
        stays = f" What it holds stays in force: {', '.join(held)}." if held else ""
        yield to, to, f"{what}. Joined to {state.part_of}: it goes on there, and is decided on there.{stays}"
    for part in state.parts:
        notice = f"joined:{part}"
        if notice not in state.noticed:
            yield notice, notice, f"{what}. {part} was joined to it, and goes on here."


def _asking(state: Incident, what: str) -> Iterator[tuple[str, str, str]]:
    for step in state.proposals:
        # Asked again because an approval does not count any more, people have to hear of it again.
        without = f":without {', '.join(step.uncounted)}" if step.uncounted else ""
        notice = _of_this_question(state, step, f"awaiting_approval:{step.instance}", without)
        if notice and step.plan:
            asked, because = step.plan.summary.rstrip("."), "; ".join(step.reasons).rstrip(".")
            yield notice, notice, f"{what}. Waits for a decision: {asked}. Because {because}."


def _lapsed(state: Incident, what: str) -> Iterator[tuple[str, str, str]]:
    for step in state.steps.values():
        notice = _of_this_question(state, step, f"lapsed:{step.instance}", "")
        if step.progress is Progress.EXPIRED and notice and step.plan:
            yield notice, notice, f"{what}. Nobody decided in time, so it is NOT done: {step.plan.summary}"


def _of_this_question(state: Incident, step: StepState, kind: str, what: str) -> str:
    """Return a notice's name, empty if people heard of it since the question was asked.

    The same plan can be asked about a second time, when nobody answered or its effect was undone: that is news.
    """
    mark = step.plan.digest[7:19] if step.plan else ""
    notice = f"{kind}{what}:{mark}"
    said = [name for name in state.noticed if name.startswith(f"{kind}:") and name.endswith(f":{mark}")]
    since = [name for name in state.noticed[step.asked_after :] if name in said]
    if since and (not what or notice in said):
        return ""
    return f"{kind}{what}:again {len(said)}:{mark}" if notice in said else notice


def _held(state: Incident, wanted: tuple[Notice, ...], what: str) -> Iterator[tuple[str, str, str]]:
    """Whether it is contained, each time that changes."""
    words = {Notice.CONTAINED.value, Notice.NOT_ESTABLISHED.value}
    # What was given back and is contained again is contained anew.
    back = tuple(f"released:{name}" for name, lease in state.leases.items() if lease.number > 1 and lease.open)
    said = (item for item in reversed(state.noticed) if item.partition(":")[0] in words or item.startswith(back))
    last = next(said, "")
    number = len(state.noticed)
    if Notice.NOT_ESTABLISHED in wanted and state.status is Status.NOT_ESTABLISHED and not last.startswith("not_est"):
        yield f"not_established:{number}", f"not_established:{number}", f"{what}. NOT contained: {_why(state)}."
    # What goes on elsewhere says only that what it holds does hold again.
    again = state.status is Status.JOINED and bool(state.leases) and last.startswith("not_est")
    holds = again or (state.status is Status.CONTAINED and not last.startswith("contained"))
    if Notice.CONTAINED in wanted and holds:
        yield f"contained:{number}", f"contained:{number}", f"{what}. Contained, and {state.basis}."


def _leases(state: Incident, wanted: tuple[Notice, ...], what: str) -> Iterator[tuple[str, str, str]]:
    for instance, widening in state.widenings.items():
        if Notice.NOT_ESTABLISHED in wanted and instance not in state.noticed:
            yield instance, instance, f"{what}. It leaked beside the cut, so the cut is widened: {widening.because}."
    for instance, lease in state.leases.items():
        undone = f"undone:{instance}:{lease.epoch}"
        if lease.put_backs and undone not in state.noticed:
            yield undone, undone, f"{what}. Somebody undid {instance}; it was put back {lease.put_backs} times."
        extended = f"extended:{instance}:{lease.ran_out}"
        if lease.ran_out and lease.in_force and extended not in state.noticed:
            until = f"extended by itself until {iso(lease.until)}"
            yield extended, extended, f"{what}. The lease of {instance} ran out and nobody released it: {until}."
        released = f"released:{instance}" + (f":{lease.number}" if lease.number > 1 else "")
        if Notice.RELEASED in wanted and lease.released_at and released not in state.noticed:
            yield released, released, f"{what}. {instance} was released by {lease.released_by}."


def _unsealed(state: Incident, what: str) -> Iterator[tuple[str, str, str]]:
    """Whether the bundle could not be made, once for each that should have been."""
    step, notice = state.steps.get("seal"), f"fault:unsealed:{len(state.bundles) + 1}"
    if step and step.progress is Progress.RETRYING and step.attempt >= TOLD and notice not in state.noticed:
        text = "Its evidence could not be sealed, and is tried again. What was collected is kept"
        yield notice, notice, f"{what}. {text}: {step.message}"


def _why(state: Incident) -> str:
    for step in state.cuts:
        if step.verdict and step.verdict.answer.value != "established":
            bad = [f for f in step.verdict.findings if f.answer.value != "established"]
            return "; ".join(f"{f.check} {f.subject}: {f.answer}" for f in bad[:3]) or step.verdict.answer.value
        if step.message:
            return step.message
    return "see the timeline"


async def write(case: Case) -> None:
    """Journal the pages that are due, and have them sent."""
    wanted = case.playbook.notify if case.playbook else EVERY
    if next(due(case.state, wanted), None) is None:
        return

    async def work(tx: Tx, state: Incident) -> tuple[Sequence[Event], None]:
        pages = [
            Event("page", {"id": page, "notice": notice, "text": text[:4000]})
            for page, notice, text in due(state, wanted)
        ]
        if pages:
            await queue(tx, case.id)
        return pages, None

    await case.decide(work)
