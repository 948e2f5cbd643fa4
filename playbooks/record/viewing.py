"""Works out how an incident stands, of what its journal says: all that anybody is shown of it. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from playbooks import advisories
from playbooks.estate import naming
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Answer, basis
from playbooks.gate.policy import Purpose
from playbooks.people.contacts import Language
from playbooks.people.duties import Clock
from playbooks.people.escalation import over, urgent
from playbooks.people.left import Left, left
from playbooks.playbook import Playbook
from playbooks.record.campaign import Shared
from playbooks.record.evidence import Act
from playbooks.record.proof import checks, differences, proof
from playbooks.record.state import Incident
from playbooks.record.step import RAW_ALERT, RAW_ALERTS, SEAL, LeaseState, StepState
from playbooks.record.view import (
    Alerted,
    Ask,
    Attempted,
    Begun,
    Difference,
    Happened,
    Heading,
    Held,
    KeptExhibit,
    KeptFile,
    Lost,
    Metrics,
    Missed,
    Missing,
    Noted,
    Owed,
    Paged,
    Passed,
    Repeated,
    Row,
    Shares,
    Stopped,
    Task,
    View,
)
from playbooks.taxonomy import IncidentClass

CLASSES = tuple(known.value for known in IncidentClass if known.actionable)
"""What an incident can be given."""

CommandLine = Callable[..., str]
"""Makes a command line of words, with what it needs to find the configuration."""


def typed(*words: str) -> str:
    """Return a command line without a folder to name."""
    return " ".join(("mcp-soar", *words))


class Stop(Protocol):
    """A kill switch as the journal keeps it; times are seconds since 1970."""

    @property
    def scope(self) -> str:
        """What it stops."""

    @property
    def reason(self) -> str:
        """Why, in somebody's words."""

    @property
    def by(self) -> str:
        """Who."""

    @property
    def at(self) -> float:
        """Since when."""


class Watch(NamedTuple):
    """What the watch last found of a lease; the journal has it beside the stream.

    Args:
        checked_at: when it was last asked, in seconds since 1970.
        verdict: the answer.
        seen_at: when it was last seen as it was, without being asked; None if not since.
        every: how many seconds lie between two questions, at the present number.
    """

    checked_at: float
    verdict: str
    seen_at: float | None = None
    every: float | None = None


_AS_IT_IS = (
    *("closed_at", "closed_as", "duplicate_of", "legal_hold", "fulfilled", "claimed", "triage", "frozen"),
    *("requested_by", "why", "linked", "continued_in", "parts", "playbook", "playbook_digest", "given_back"),
)
_OF_ALERT = (
    *("source", "state", "severity", "rule", "title", "authenticated", "detected_at", "accepted_at", "digest"),
)
_OF_LEASE = (
    *("instance", "in_force", "began_at", "done_at", "opened_at", "until", "requested_by", "put_backs"),
    *("released_at", "released_by", "things"),
)


def view(
    state: Incident,
    *,
    at: datetime | None = None,
    inventory: Inventory | None = None,
    playbook: Playbook | None = None,
    clocks: Sequence[Clock] = (),
    stops: Sequence[Stopped] = (),
    watches: Mapping[str, Watch] = {},
    line: CommandLine = typed,
) -> View:
    """Return how an incident stands.

    Args:
        state: what its journal says.
        at: the present moment; None where nothing is to depend on when it is shown.
        inventory: to guess what is meant by what it does not know.
        playbook: the one that it goes by.
        clocks: from `playbooks.people.duties`.
        stops: the kill switches that are on.
        watches: by incident and step, as `inc-2026-000001/cut-tool@weather/add`.
        line: makes a command line of its words.
    """
    known, found = proof(state), checks(state)
    return View(
        **head_of(state),
        **{name: getattr(state, name) for name in _AS_IT_IS},
        entities=tuple(thing.said for thing in state.about),
        unresolved=tuple(map(str, state.unresolved)),
        repeats=tuple(
            Repeated(source=name, messages=more.messages, since=more.since, until=more.until)
            for name, more in state.repeats.items()
        ),
        campaigns=tuple(
            Shares(campaign=name, kind=part.mark.kind, value=part.mark.value, others=part.others)
            for name, part in state.campaigns.items()
        ),
        advisories=tuple(advisories.named(one.value for one in state.marks if one.kind is Shared.VULNERABILITY)),
        notes=tuple(Noted.model_validate(note, from_attributes=True) for note in state.notes),
        clocks=tuple(owed_of(state.id, clock, line) for clock in clocks),
        confirmed=found.answer,
        checks=found.facts,
        proven=known.good,
        not_proven=known.lacking,
        differences=tuple(
            Difference(reason="", about=subject, diff=diff) for diff, subject in differences(known.lacking).items()
        ),
        refused=state.refusals,
        wishes=tuple(Noted(at=wish.at, by=wish.by, text=wish.reason) for wish in state.wishes),
        chosen=tuple(_chosen(state)),
        goals=playbook.goals_of(state.playbook_digest) if playbook else None,
        metrics=_metrics(state),
        asks=tuple(ask_of(state, step, line) for step in state.proposals if step.plan),
        leases=held_of(state, at, watches, line),
        by_word="" if state.basis == basis(()) else state.basis,
        alerts=tuple(
            Alerted(**{name: getattr(alert, name) for name in _OF_ALERT}, confidence=alert.confidence.name.lower())
            for alert in state.alerts
        ),
        pages=tuple(
            Paged(page=page.id, kind=page.kind, text=page.text, at=page.at, taken_up_by=state.acknowledged.get(page.id))
            for page in state.pages.values()
        ),
        told=tuple(
            Attempted(
                **{name: getattr(told, name) for name in ("at", "contact", "channel", "delivered", "detail")},
                text=_text(state, told.page),
            )
            for told in state.told
        ),
        steps=tuple(_begun(state, step) for step in state.steps.values()),
        exhibits=tuple(_kept(item) for item in state.exhibits),
        unavailable=tuple(Missing.model_validate(item) for item in state.missing),
        tasks=tuple(Task(**one._asdict()) for one in _tasks(state, playbook, inventory)),
        stops=tuple(stop for stop in stops if stop.scope in state.scopes),
        untold=tuple(_lost(state, page) for page in state.untold),
        missed=tuple(
            Missed(page=page, text=_text(state, page), who=who, why=why)
            for (page, who), why in state.undelivered.items()
        ),
        waiting=tuple(
            _lost(state, page.id) for page in state.pages.values() if urgent(state, page) and not over(state, page)
        ),
        timeline=tuple(Happened.model_validate(one, from_attributes=True) for one in state.timeline),
        bundle=state.bundle,
        bundle_digest=state.sealed,
        seq=state.seq,
    )


def row(state: Incident) -> Row:
    """Return an incident as a line of a list."""
    in_force = sum(lease.in_force for lease in state.leases.values())
    return Row(
        **head_of(state),
        asks=len(state.proposals),
        leases=in_force,
        contained=len(state.contained),
        campaigns=tuple(state.campaigns),
    )


def head_of(state: Incident) -> dict[str, Any]:
    """Return the fields of a `Heading`."""
    return {name: getattr(state, name) for name in Heading.model_fields} | {"about": state.subject}


def ask_of(state: Incident, step: StepState, line: CommandLine = typed) -> Ask:
    """Return what is asked, and how it is answered."""
    if step.plan is None:
        raise ValueError(f"{step.instance} asks for nothing")
    answer = ("--digest", step.plan.digest[7:19], "--as", "NAME")
    return Ask.of(
        step.plan,
        instance=step.instance,
        reasons=step.reasons,
        diffs=tuple(Difference(reason=one.reason, about=one.about, diff=one.diff) for one in step.diffs),
        differs=tuple(filter(None, step.differs.split("; "))),
        purpose=step.purpose,
        quorum=step.quorum,
        approved_by=tuple(dict.fromkeys(step.approved_by)),
        missing=max(0, step.quorum - len(set(step.approved_by) - {step.requested_by})),
        requested_by=step.requested_by,
        reason=state.reason_of(step),
        expires_at=step.expires_at,
        approve=line("approve", state.id, *answer),
        deny=line("deny", state.id, *answer),
        voices=frozenset(filter(None, (step.requested_by, *step.approved_by, *step.behalf.values()))),
    )


def held_of(
    state: Incident, at: datetime | None, watches: Mapping[str, Watch] = {}, line: CommandLine = typed
) -> tuple[Held, ...]:
    """Return an incident's containments, each with its latest verification."""
    some = state.leases.items()
    return tuple(_held(state.id, lease, at, watches.get(f"{state.id}/{name}"), line) for name, lease in some)


def _chosen(state: Incident) -> Iterator[str]:
    """Yield what people chose, where if only somewhere, and who."""
    for key, who in state.chosen.items():
        if key in state.entities:
            where = f" at {' and '.join(sorted(state.only[key]))} only" if key in state.only else ""
            yield f"{state.entities[key]}{where} ({who})"


def _held(incident: str, lease: LeaseState, at: datetime | None, watch: Watch | None, line: CommandLine) -> Held:
    checked, answer = lease.checked_at, lease.verdict.answer if lease.verdict else None
    seen, every = (watch.seen_at, watch.every) if watch and lease.open else (None, None)
    if watch and lease.open and (checked is None or watch.checked_at >= checked.timestamp()):
        checked, answer = datetime.fromtimestamp(watch.checked_at, UTC), Answer(watch.verdict)
    return Held(
        **{name: getattr(lease, name) for name in _OF_LEASE},
        incident=incident,
        summary=lease.plan.summary,
        changes=tuple(map(str, lease.plan.pending)),
        answer=answer,
        checked_at=checked,
        seen_at=datetime.fromtimestamp(seen, UTC) if seen else None,
        asked_every=round(every, 3) if every else None,
        age=round(max(0.0, (at - checked).total_seconds()), 3) if checked and at else None,
        releasing=lease.open and lease.releasing is not None,
        release=line("release", incident, "--lease", lease.instance, "--as", "NAME"),
    )


def stopped_of(stop: Stop, asked: Sequence[str] = ()) -> Stopped:
    """Return a kill switch that is on.

    Args:
        stop: the switch.
        asked: who asked that it end.
    """
    since = datetime.fromtimestamp(stop.at, UTC)
    return Stopped(scope=stop.scope, reason=stop.reason, by=stop.by, since=since, resume_asked_by=tuple(asked))


def owed_of(incident: str, clock: Clock, line: CommandLine = typed) -> Owed:
    """Return a duty to report."""
    return Owed(
        id=clock.id,
        law=clock.law[Language.EN],
        article=clock.article[Language.EN],
        to=clock.to,
        duty=clock.duty[Language.EN],
        unless=clock.unless[Language.EN],
        since=clock.start,
        until=clock.due,
        fulfilled=clock.fulfilled,
        overdue=clock.overdue,
        fulfil=line("note", incident, "TEXT", "--fulfils", clock.id, "--as", "NAME"),
        clock=clock,
    )


def _metrics(state: Incident) -> Metrics:
    times = state.metrics
    start = times["accepted_at"]

    def after(name: str) -> float | None:
        then = times[name]
        return round((then - start).total_seconds(), 3) if then and start else None

    took = {f"{name}_seconds": after(f"{name}_at") for name in ("first_effect", "verified", "released")}
    waited = {f"{name}_waited": round(seconds, 3) for name, seconds in state.waited.items()}
    return Metrics(**times, **took, **waited)  # type: ignore[arg-type]  # each of its own kind


_OF_STEP = (
    *("instance", "phase", "action", "progress", "attempt", "message", "reasons", "plan"),
    *("asked_at", "intended_at", "wrote_at", "collected_at", "settled_at", "failed_at"),
)


def _begun(state: Incident, step: StepState) -> Begun:
    plan = step.plan
    return Begun(
        **{name: getattr(step, name) for name in _OF_STEP},
        summary=plan.summary if plan else _doing(state, step.instance),
        verdict=step.verdict.answer if step.verdict else None,
        digest=plan.digest if plan else None,
        changes=tuple(map(str, plan.pending)) if plan else (),
        # The plan of a release is the cut's, turned round: it ends what that one broke.
        breaks=plan.breaks if plan and step.purpose is not Purpose.RELEASE else "",
        approved_by=tuple(dict.fromkeys(step.approved_by)),
        findings=step.verdict.findings if step.verdict else (),
    )


def _doing(state: Incident, instance: str) -> str:
    """Return what a step without a plan does."""
    name, _, thing = instance.partition("@")
    if name == RAW_ALERT:
        number, source = next(
            ((n, one.source) for n, one in enumerate(state.alerts, 1) if one.receipt == thing), (0, "somebody")
        )
        return f"Keep alert {number} from {source} as it came"
    if name == RAW_ALERTS:
        many = sum(one.messages for more in state.counted if str(more.number) == thing for one in more.sources.values())
        return f"Keep {many} more alerts as they came"
    return "Seal the evidence" if instance == SEAL else f"{name} of {thing}" if thing else name


def _kept(item: dict[str, Any]) -> KeptExhibit:
    return KeptExhibit(
        id=item["id"],
        kind=item["kind"],
        files=tuple(file["name"] for file in item["files"]),
        bytes=sum(file["size"] for file in item["files"]),
        collected_at=item["collected_at"],
        collected_by=item["collected_by"],
        capture=item["how"]["capture"],
        tool=item["how"]["tool"],
        incomplete=next((one["note"] for one in item["custody"] if one["act"] == Act.INTERRUPTED), ""),
        contents=tuple(KeptFile(**{name: file[name] for name in KeptFile.model_fields}) for file in item["files"]),
        custody=tuple(
            Passed(at=one["at"], actor=one["actor"], act=one["act"], note=one.get("note", ""))
            for one in item["custody"]
        ),
    )


def _text(state: Incident, page: str) -> str:
    return state.pages[page].text if page in state.pages else page


def _lost(state: Incident, page: str) -> Lost:
    one = state.pages[page]
    return Lost(page=page, text=one.text, since=one.at, tried=any(told.page == page for told in state.told))


def _tasks(state: Incident, playbook: Playbook | None, inventory: Inventory | None) -> Iterator[Left]:
    """Yield what is left to people."""
    if state.closed_at or state.part_of:
        return
    if not state.triage or state.leases:
        yield from left(state, playbook)
        return
    # The playbook's tasks are about a containment, and there is none.
    guess = naming.guesses(inventory, state.unresolved) if inventory else ""
    yield Left("triage", f"Nothing was done, because: {state.triage}" + (f"; {guess}" if guess else ""), "closed")
    act = (
        f"Say what is to be contained, `mcp-soar respond {state.id} --about KIND:NAME --as NAME` "
        "(tool:SERVER/NAME, server:NAME, token:NAME, principal:NAME …), approved before or not; a server or a "
        "principal that the inventory does not know has to be added first. "
    )
    # Somebody has said by now what it is.
    classes = f"`mcp-soar classify {state.id} --as-class CLASS --as NAME` ({', '.join(CLASSES)})"
    sort = "" if state.former_classes else f"give it another class, {classes}, or "
    yield Left("triage", f"{act}Or {sort}close it.", "closed")
