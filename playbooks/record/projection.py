"""What a journal says: status, steps, leases, metrics and timeline of an incident, as a pure fold over its entries.

The kinds of an incident's stream, and what each one's body holds; beside it `sentences`, which of ours stand in it:

opened            id class severity title key entities unresolved playbook{id digest text} linked requested_by triage
                  names chosen[key] by_hand prose
chosen            by entities playbook{id digest text} reason again[instance]
classified        class was by key entities unresolved playbook{id digest text} triage reason
joined            incident parts by class classes severity entities unresolved chosen{key: who} by_hand[key]
                  playbook{id digest text} reason noes[{digest instance by at wide known requested_by about}]
                  again[{digest asked_by instance by at wide known requested_by about}]
                  wishes[{by at reason about[key]}]
goes_on_in        incident by reason
continued         incident
campaign          campaign mark{kind value} with[incident] members
alert             receipt source external_id state severity rule title authenticated confidence detected_at accepted_at
                  digest entities unresolved from marks[{kind value}]
counted           number after until sources{source: {messages since until}}
confirmed         by entity verdict
intended          instance phase action attempt epoch key plan decision until purpose originals
                  entity
wrote             instance epoch writes[{change at}] found[change]
interrupted       instance writes[{change at}] why
verified          instance epoch attempt verdict at since after
failed            instance phase action epoch attempt error message retry_at
proposed          instance phase epoch plan reasons quorum expires_at purpose requested_by differs approved_by entity
                  diffs[{reason about diff}]
decided           digest verb actor reason behalf way receipt
lapsed            instance digest why
skipped           instance phase reason awaits no nowhere
exhibit           instance phase exhibit
unavailable       instance phase unavailable retry_at
uncollected       instance phase attempt reason retry_at
checked           instance phase verdict
lease_checked     instance verdict undone since after
lease_extended    instance until why by
release_intended  instance release phase epoch plan decision key kept requested_by
released          instance release epoch writes kept verdict
page              id notice text
told              page channel delivered detail contact purpose round reference buttons
updated           was reference buttons
acknowledged      pages by way
code_issued       digest approver answer salt hash expires_at
code_refused      digest approver receipt left why
request           verb actor nonce accepted reason params
noted             by text
fulfilled         clock by text
assigned          to by
legal_hold        by reason
legal_hold_end_asked
                  by reason
legal_hold_ended  by reason people
sealed            digest bundle exhibits unavailable
closed            as by reason of
erasure_asked     exhibit by reason
deletion_intended id exhibits[{id digests}] bundles[name] why by people whole
deletion_locked id exhibits[id] until why
deleted           id messages
"""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from playbooks.estate.inventory import Resolved, named_servers
from playbooks.gate.corroboration import confirming
from playbooks.gate.plan import Answer, Plan, Radius, Verdict
from playbooks.gate.policy import Purpose
from playbooks.record.campaign import Mark, Membership
from playbooks.record.evidence import Act, Deletion
from playbooks.record.heard import Counted, HeardAlert, Note, ReleaseRequest, Repeats, Wish
from playbooks.record.incident import AlertState, Confidence, Entity, EntityKind, Phase, Severity
from playbooks.record.journal import Entry, Parsed
from playbooks.record.state import Incident
from playbooks.record.step import Again, LeaseState, No, Progress, StepState
from playbooks.record.told import Code, Occurrence, Page, Told
from playbooks.taxonomy import IncidentClass
from playbooks.text.difference import Diff
from playbooks.text.sentences import known, rewritten

WHOLE = "whole"
"""How an incident that is opened now names its steps: two entities never share one."""

_ASKED = frozenset({Progress.PROPOSED, Progress.DENIED, Progress.EXPIRED})


def project(incident: str, entries: Iterable[Entry | Parsed]) -> Incident:
    """Return what a stream says, read from its beginning.

    Args:
        incident: its id, as `inc-2026-000001`.
        entries: the stream's entries in order.
    """
    state = Incident(id=incident)
    for item in entries:
        fold(state, item.parsed() if isinstance(item, Entry) else item)
    return state


def fold(state: Incident, entry: Parsed) -> None:
    """Take one more entry into the state."""
    at = datetime.fromisoformat(entry.at)
    state.seq = entry.seq
    reader = _READERS.get(entry.kind)
    if reader is not None:
        line = reader(state, entry.body, at, entry.actor)
        if line:
            what, _, detail = line.partition("\n")
            state.timeline.append(Occurrence(at=at, actor=entry.actor, what=what, detail=detail, kind=entry.kind))


Body = dict[str, Any]


def _when(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


_COMMAND = re.compile(r"(`mcp-soar [a-z-]+) ID\b")
_BARE = re.compile(r"(?<=--)(as-class|about)(?=`)")
_WANTS = {"as-class": "as-class CLASS --as NAME", "about": "about KIND:NAME --as NAME"}
"""What earlier releases left out of a command."""

# ruff: noqa: ARG001  # every reader is called alike: state, body, at, actor


def _opened(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.incident_class = IncidentClass(body["class"])
    state.severity = Severity(body["severity"])
    state.title, state.key = body["title"], body["key"]
    _goes_by(state, body["playbook"])
    state.triage, state.requested_by = _about(state.id, body["triage"]), body["requested_by"]
    state.whole_names = body.get("names") == WHOLE
    state.prose = body.get("prose", True)
    state.linked, state.opened_at = tuple(body["linked"]), at
    _join(state, body["entities"])
    state.unresolved = tuple(Entity.model_validate(item) for item in body["unresolved"])
    # What waits for a person anyhow names them already.
    state.strangers = () if state.triage else state.unresolved
    if state.requested_by:
        # The first releases did not say which: whoever asked for it meant all that they named.
        _choose(state, body.get("chosen", list(state.entities)), state.requested_by, body.get("only", ()))
        # The first releases made no difference: what was begun by them goes on as it was.
        state.by_hand |= state.chosen.keys() if body.get("by_hand") else set()
    chose = ", ".join(str(item) for key, item in state.entities.items() if key in state.chosen)
    # The first releases said only who asked.
    detail = state.triage or (f"{state.requested_by} chose to contain {chose}" if body.get("chosen") else "")
    return f"opened as {state.incident_class} about {state.subject}" + (f"\n{detail}" if detail else "")


def _about(incident: str, triage: str | None) -> str | None:
    """Return why somebody has to look, its commands whole and about this very incident: it has an id by now."""
    if not triage:
        return triage
    return rewritten(
        known(triage), lambda text: _COMMAND.sub(rf"\1 {incident}", _BARE.sub(lambda one: _WANTS[one[0]], text))
    )


def _goes_by(state: Incident, playbook: Body | None) -> None:
    if playbook:
        state.playbook, state.playbook_digest = playbook["id"], playbook["digest"]
        state.playbook_text = playbook.get("text")


def _choose(state: Incident, keys: Iterable[str], by: str, only: Iterable[str] = ()) -> None:
    """Take in that somebody chose some things.

    Args:
        state: the incident.
        keys: of the things.
        by: who.
        only: the systems that they want it contained at; everywhere if there are none.
    """
    for key in keys:
        if not only:
            state.only.pop(key, None)
        elif key not in state.chosen or state.is_back(key) or key in state.given_up:
            state.only[key] = frozenset(only)
        elif key in state.only:
            state.only[key] |= frozenset(only)
        # What one person has contained everywhere, the next one does not narrow.
        state.chosen.setdefault(key, by)
        if key in state.entities and state.entities[key].kind is EntityKind.SERVER:
            state.named |= {key}


def _wish(state: Incident, by: str, at: datetime, reason: str, about: Iterable[str] | None) -> None:
    """Take in why somebody wants something contained, if they say why."""
    if reason:
        state.wishes.append(Wish(by, at, reason, None if about is None else frozenset(about)))


def _chosen(state: Incident, body: Body, at: datetime, actor: str) -> str:
    _join(state, body["entities"])
    things = [Resolved.model_validate(item) for item in body["entities"]]
    state.by_hand |= {thing.key for thing in things} - state.chosen.keys()
    _choose(state, [thing.key for thing in things], body["by"], body.get("only", ()))
    _asked_again(state, body["by"], things)
    # The first releases took nothing again that had been given back.
    _taken_again(state, body["by"], body.get("again", ()))
    _goes_by(state, body["playbook"])
    # It is known what is to be done about it.
    _looked_at(state, None, at)
    _taken_up(state, body["by"])
    _wish(state, body["by"], at, body["reason"], {thing.key for thing in things})
    return f"{body['by']} chose to contain {', '.join(map(str, things))}\n{body['reason']}"


def _classified(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.former_classes |= {state.incident_class}
    state.incident_class, state.key = IncidentClass(body["class"]), body["key"]
    _join(state, body["entities"])
    state.unresolved = tuple(Entity.model_validate(item) for item in body["unresolved"])
    state.named |= named_servers(map(Resolved.model_validate, body["entities"]), state.unresolved)
    _goes_by(state, body["playbook"])
    _looked_at(state, _about(state.id, body["triage"]), at)
    _taken_up(state, body["by"])
    state.strangers = () if state.triage else state.unresolved
    detail = "; ".join(part for part in (body["reason"], state.triage) if part)
    return f"{body['by']} says that it is {body['class']}, no longer {body['was']}\n{detail}"


def _joined(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.parts = (*state.parts, body["incident"], *body["parts"])
    # The first releases named only the class that it had last.
    state.former_classes |= {IncidentClass(one) for one in body.get("classes", [body["class"]])}
    state.severity = max(state.severity, Severity(body["severity"]))
    _join(state, body["entities"])
    _strangers(state, [Entity.model_validate(item) for item in body["unresolved"]])
    state.by_hand |= set(body.get("by_hand", ())) - state.chosen.keys()
    for key, who in body["chosen"].items():
        _choose(state, [key], who, body.get("only", {}).get(key, ()))
    _goes_by(state, body["playbook"])
    # The first releases did not say what people had said no to.
    for said in body.get("noes", ()):
        no = No.read(said)
        # What gets through here already is no news that a no would end with.
        state.noes.setdefault(said["digest"], replace(no, known=no.known | state.leaks))
    state.wishes += map(Wish.read, body.get("wishes", ()))
    for said in body.get("again", ()):
        if said["digest"] not in state.noes:
            state.asked_again.setdefault(said["digest"], Again(said["asked_by"], No.read(said)))
    # There may be something to do by now.
    state.alerted_seq = state.seq
    return f"{body['incident']} ({body['class']}) goes on here, says {body['by']}\n{body['reason']}"


def _goes_on_in(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.part_before |= {state.part_of} if state.part_of else frozenset()
    state.part_of = body["incident"]
    # What it waited for a person for, that one waits for.
    state.triage, state.strangers = None, ()
    _taken_up(state, body["by"])
    for step in state.steps.values():
        lease = state.leases.get(step.instance)
        undecided = step.progress in {Progress.PROPOSED, Progress.APPROVED, Progress.RETRYING, Progress.FAILED}
        contains = step.action and step.purpose is Purpose.CONTAIN and step.phase is not Phase.RECOVER
        if undecided and contains and (lease is None or not lease.open):
            step.progress, step.settled_at, step.awaits = Progress.SKIPPED, at, ()
            step.message = f"it is asked about in {body['incident']}"
    return (
        f"joined to {body['incident']} by {body['by']}: it goes on there, and nothing new begins here\n{body['reason']}"
    )


def _looked_at(state: Incident, triage: str | None, at: datetime) -> None:
    """Take in that somebody looked at an incident, and why it still waits for a person, if it does."""
    if state.triage and triage is None:
        state.looked_at = at
    state.triage = triage


_LOOK = frozenset({"opened", "unknown"})
"""Kinds of pages that ask somebody to look at an incident."""


def _taken_up(state: Incident, by: str) -> None:
    """Take in that somebody looked at an incident, who says what it is or what is to be done about it."""
    for page in state.pages.values():
        if page.kind in _LOOK:
            state.acknowledged.setdefault(page.id, by)


def _continued(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.continued_in = body["incident"]
    return f"it went on: {body['incident']} was opened about the same"


def _join(state: Incident, entities: list[Body]) -> None:
    for item in entities:
        entity = Resolved.model_validate(item)
        state.entities.setdefault(entity.key, entity)


def _strangers(state: Incident, named: list[Entity]) -> None:
    new = tuple(entity for entity in dict.fromkeys(named) if entity not in state.unresolved)
    state.unresolved, state.strangers = (*state.unresolved, *new), (*state.strangers, *new)


def _alert(state: Incident, body: Body, at: datetime, actor: str) -> str:
    entities = [Resolved.model_validate(item) for item in body["entities"]]
    # The first release did not say what else an alert named.
    unresolved = [Entity.model_validate(item) for item in body.get("unresolved", ())]
    seen = HeardAlert(
        source=body["source"],
        external_id=body["external_id"],
        state=body["state"],
        authenticated=body["authenticated"],
        confidence=Confidence(body["confidence"]),
        severity=Severity(body["severity"]),
        receipt=body["receipt"],
        digest=body["digest"],
        detected_at=datetime.fromisoformat(body["detected_at"]),
        accepted_at=datetime.fromisoformat(body["accepted_at"]),
        rule=body["rule"],
        title=body["title"],
        entities=frozenset(entity.key for entity in entities),
        named=named_servers(entities, unresolved),
        first_in=body.get("from", ""),
    )
    state.alerts.append(seen)
    state.severity = max(state.severity, seen.severity)
    if seen.state == AlertState.NEW:
        # The end or the change of something is no reason to contain anything, or anything more.
        state.alerted_seq = state.seq
        _join(state, body["entities"])
        state.named |= seen.named
        state.vouched |= seen.entities if seen.authenticated else frozenset()
        # The first releases did not say what an alert may have in common with others.
        state.marks |= dict.fromkeys(map(Mark.read, body.get("marks", ())))
        # What anybody can send asks nobody a second time.
        _strangers(state, unresolved if seen.authenticated else [])
    first_in = f", first in {seen.first_in}" if seen.first_in else ""
    trust = "authenticated" if seen.authenticated else "unsigned"
    return f"{seen.state} alert from {seen.source} ({trust}, {seen.severity.label}){first_in}\n{seen.rule}"


def _campaign(state: Incident, body: Body, at: datetime, actor: str) -> str:
    part = Membership(body["campaign"], Mark.read(body["mark"]), tuple(body["with"]))
    state.campaigns[part.campaign] = part
    return f"part of campaign {part.campaign}: {part.mark}, as in {', '.join(part.others)}"


def _counted(state: Incident, body: Body, at: datetime, actor: str) -> str:
    sources = {
        name: Repeats(one["messages"], datetime.fromisoformat(one["since"]), datetime.fromisoformat(one["until"]))
        for name, one in body["sources"].items()
    }
    state.counted.append(Counted(body["number"], body["after"], body["until"], sources))
    who = ", ".join(f"{one.messages} from {name}" for name, one in sources.items())
    return f"told the same again: {who}"


def _confirmed(state: Incident, body: Body, at: datetime, actor: str) -> str:
    verdict = Verdict.model_validate(body["verdict"])
    if verdict.answer is not Answer.UNKNOWN or body["by"] not in state.checked:
        # That it could not be asked again takes nothing from what it found before.
        state.checked[body["by"]] = verdict
    if verdict.answer is not Answer.UNKNOWN:
        # What was not so then may be by now: whoever reports it afterwards has it asked anew.
        state.confirm_asked[body["by"]] = state.seq
    if verdict.answer is Answer.ESTABLISHED:
        state.confirmed_by = (*state.confirmed_by, body["by"])
        state.confirmed_about[body["by"]] = body.get("entity") or _asked_about(state, body["by"])
        state.confirmations[body["by"]] = confirming(verdict)
        return f"confirmed by {body['by']}\n{_first(verdict)}"
    return f"not confirmed by {body['by']} ({verdict.answer})\n{_first(verdict)}"


def _asked_about(state: Incident, by: str) -> str:
    """Return the key of what a check was asked about whose entry does not say it, as those of the first release."""
    name = by.partition("@")[0]
    confirming_steps = json.loads(state.playbook_text)["confirm"] if state.playbook_text else []
    kind = next((step["for"] for step in confirming_steps if step["id"] == name), EntityKind.TOOL.value)
    homes = (Resolved(kind=EntityKind.SERVER, id=server, server=server) for server in state.servers)
    known = (item for item in (*state.entities.values(), *homes) if item.kind == kind)
    return next((item.key for item in known if state.instance_of(name, item) == by), by)


def _first(verdict: Verdict) -> str:
    return "; ".join(f"{finding.subject}: {finding.observed}" for finding in verdict.findings[:3])


def _step(state: Incident, body: Body, progress: Progress) -> StepState:
    instance = body["instance"]
    step = state.steps.get(instance)
    if step is None:
        step = state.steps[instance] = StepState(instance=instance, phase=Phase(body["phase"]), progress=progress)
    step.progress = progress
    return step


def _intended(state: Incident, body: Body, at: datetime, actor: str) -> str:
    step = _step(state, body, Progress.INTENDED)
    step.entity = body.get("entity", step.entity)
    step.action, step.attempt, step.epoch, step.key = body["action"], body["attempt"], body["epoch"], body["key"]
    step.plan, step.purpose = Plan.model_validate(body["plan"]), Purpose(body["purpose"])
    step.reasons = tuple(body["decision"]["reasons"])
    step.intended_at, step.retry_at, step.looks = at, None, 0
    _answered(step, at)
    # What went wrong before is over: it is decided.
    step.error, step.message = "", ""
    lease = state.leases.get(step.instance)
    until = datetime.fromisoformat(body["until"])
    if lease is None or not lease.open:
        number = lease.number + 1 if lease else 1
        lease = LeaseState(instance=step.instance, plan=step.plan, epoch=step.epoch, opened_at=at, until=until)
        lease.opened_seq, lease.number = state.seq, number
        # The one that was taken last is given back first; and giving it back is a question of its own.
        state.leases.pop(step.instance, None)
        state.leases[step.instance] = lease
        state.steps.pop(f"release-{step.instance}", None)
    elif step.epoch != lease.epoch:
        lease.put_backs += 1
    # What a release restores is what the first intent found; a later epoch only puts back.
    lease.originals = {**body["originals"], **lease.originals}
    lease.epoch, lease.plan = step.epoch, step.plan
    state.asked_again.pop(step.plan.digest, None)
    return f"decided: {step.plan.summary}\n{'; '.join(body['decision']['reasons'])}"


def _wrote(state: Incident, body: Body, at: datetime, actor: str) -> str:
    step = state.steps[body["instance"]]
    step.progress = Progress.WROTE
    times = [datetime.fromisoformat(item["at"]) for item in body["writes"]]
    # A write whose answer was lost took effect no later than when it was found.
    step.wrote_at = step.wrote_at or min(times, default=at if body["found"] else None)
    _began(state, step, min(times, default=at), at)
    made = "; ".join(item["change"] for item in body["writes"])
    # Without its arrow: that would say that it was changed.
    fields = {str(change): f"{change.field} of {change.target}" for change in step.plan.changes} if step.plan else {}
    already = "; ".join(fields.get(change, change) for change in body["found"])
    found = f"found already so, and not written: {already}" if already else ""
    return f"carried out {step.instance}\n" + "; ".join(part for part in (made, found) if part)


def _began(state: Incident, step: StepState, first: datetime, at: datetime) -> None:
    """Let a lease be in force from its first write on."""
    lease = state.leases.get(step.instance)
    if lease is None or lease.began_at is not None:
        return
    lease.began_at = first
    if lease.until <= at:
        # It was tried for longer than it was to last: its time runs from here.
        lease.until = at + (lease.until - lease.opened_at)


def _held(step: StepState, lease: LeaseState | None, at: datetime) -> None:
    """Take in that a probe found a step in force: what cannot be taken back is done with that."""
    step.established_at = step.established_at or at
    if lease is None:
        return
    lease.held = lease.epoch
    lease.began_at = lease.began_at or at
    if lease.plan.irreversible:
        lease.done_at = at


def _interrupted(state: Incident, body: Body, at: datetime, actor: str) -> str:
    step = state.steps[body["instance"]]
    first = min((datetime.fromisoformat(item["at"]) for item in body["writes"]), default=None)
    step.wrote_at = step.wrote_at or first
    if first is not None:
        _began(state, step, first, at)
    return f"interrupted {body['instance']} after {len(body['writes'])} changes\n{body['why']}"


def _verified(state: Incident, body: Body, at: datetime, actor: str) -> str:
    step = state.steps[body["instance"]]
    step.verdict = Verdict.model_validate(body["verdict"])
    step.progress, step.attempt, step.retry_at = Progress(step.verdict.answer.value), body["attempt"], None
    step.settled_at, step.settled_seq = datetime.fromisoformat(body["at"]), state.seq
    step.looks += 1
    lease = state.leases.get(step.instance)
    if lease:
        lease.verdict, lease.checked_at = step.verdict, step.settled_at
        # Whoever verifies an intent has written all of it before, or found it so.
        lease.began_at = lease.began_at or step.settled_at
    if step.verdict.answer is Answer.ESTABLISHED:
        _held(step, lease, step.settled_at)
    _widen(state, step.instance, step.verdict, body.get("after"), _when(body.get("since")) or step.settled_at)
    return f"verified {step.instance}: {step.verdict.answer}\n{_first(step.verdict)}"


def _widen(state: Incident, lease: str, verdict: Verdict, after: int | None, since: datetime) -> None:
    # What was given back meanwhile is meant to be there, under whatever id: the first lease ends with it.
    back = lease in state.leases and state.given_back_as(lease) is not None
    own = {target.name for target in state.leases[lease].plan.targets} if back else set()
    for item in verdict.widen:
        if own & {str(value) for value in item.params.values()}:
            continue
        what = f"widen-{item.action.replace('.', '-')}"
        where = "/".join(str(value) for _, value in sorted(item.params.items()))
        instance, number = f"{what}@{where}", 1
        while instance in state.widenings and _passed(state, instance, after, since):
            # It was cut, and is back: taken away and made anew, say, under another id.
            number += 1
            instance = f"{what}-{number}@{where}"
        known = state.widenings.setdefault(instance, item)
        if known.describes and not item.describes:
            # It only described, and does more by now.
            state.widenings[instance] = item
        state.widened_for.setdefault(instance, set()).add(lease)


def _passed(state: Incident, instance: str, after: int | None, since: datetime) -> bool:
    """Whether a widening held before somebody looked and found that it is needed.

    Args:
        state: the incident.
        instance: the widening's step.
        after: the last entry that was known when they began to look; the first release did not say it.
        since: when they began to look.
    """
    step, lease = state.steps.get(instance), state.leases.get(instance)
    if step is None or step.settled_at is None or lease is None or not lease.held:
        return False
    return step.settled_at <= since if after is None else step.settled_seq <= after


def _failed(state: Incident, body: Body, at: datetime, actor: str) -> str:
    retry = _when(body["retry_at"])
    step = _step(state, body, Progress.RETRYING if retry else Progress.FAILED)
    step.attempt, step.error, step.message, step.retry_at = body["attempt"], body["error"], body["message"], retry
    step.epoch, step.failed_at = body["epoch"], at
    step.action = step.action or body["action"]
    if body["error"] == "Drifted":
        # The frozen plan was made for another world: plan anew, ask again.
        step.former, step.plan = step.plan or step.former, None
    return f"{step.instance} failed ({body['error']}){', again soon' if retry else ''}\n{body['message']}"


def _proposed(state: Incident, body: Body, at: datetime, actor: str) -> str:
    old = state.steps.get(body["instance"])
    same = old is not None and old.plan is not None and old.plan.digest == Plan.model_validate(body["plan"]).digest
    waiting = old is not None and old.progress is Progress.PROPOSED
    step = _step(state, body, Progress.PROPOSED)
    step.plan, step.purpose, step.epoch = Plan.model_validate(body["plan"]), Purpose(body["purpose"]), body["epoch"]
    step.action, step.reasons, step.quorum = step.plan.action, tuple(body["reasons"]), body["quorum"]
    step.diffs = tuple(Diff(one["reason"], one["about"], one["diff"]) for one in body.get("diffs", ()))
    step.differs, step.error, step.message = body["differs"], "", ""
    step.entity = body.get("entity", step.entity)
    step.expires_at, step.requested_by = datetime.fromisoformat(body["expires_at"]), body["requested_by"]
    # The same plan asked about again keeps the answers that it has, without those that no longer count.
    kept = body.get("approved_by", step.approved_by)
    step.uncounted = tuple(name for name in step.approved_by if name not in kept) if same else ()
    step.approved_by = tuple(name for name in step.approved_by if name in kept) if same else ()
    step.behalf = {name: voice for name, voice in step.behalf.items() if name in step.approved_by}
    step.asked_at, step.asked_seq = at, state.seq
    step.asked_since = step.asked_since or at
    if not (same and waiting):
        # A new question has new codes, and new tries.
        state.wrong_codes = {key: n for key, n in state.wrong_codes.items() if key[0] != step.plan.digest}
    step.asked_after = step.asked_after if same and waiting else len(state.noticed)
    return f"asks for approval: {step.plan.summary}\n{'; '.join(step.reasons)}"


def _answered(step: StepState, at: datetime) -> None:
    """Take in that a step waits for people no longer: they answered, or there was no need to."""
    if step.asked_since is not None:
        step.waits.append((step.asked_since, at))
        step.asked_since = None


def _decided(state: Incident, body: Body, at: datetime, actor: str) -> str:
    # Whoever decides for another is not a second voice beside them.
    behalf, way = body.get("behalf"), body.get("way", "key")
    for step in state.steps.values():
        if step.progress is Progress.PROPOSED and step.plan and step.plan.digest == body["digest"]:
            if body["verb"] == "deny":
                step.progress, step.settled_at, step.denied_by = Progress.DENIED, at, body["actor"]
                _answered(step, at)
                _refused(state, step, body["actor"], at)
            else:
                state.noes.pop(body["digest"], None)
                # Again, of whoever's first answer does not count any more.
                others = (name for name in step.approved_by if name != body["actor"])
                step.approved_by = (*others, body["actor"])
                step.approved_at[body["actor"]] = at
                step.behalf.pop(body["actor"], None)
                if behalf:
                    step.behalf[body["actor"]] = behalf
                if len(set(step.approved_by) - {step.requested_by}) >= step.quorum:
                    step.progress = Progress.APPROVED
                    _answered(step, at)
    for answer in ("approve", "deny"):
        state.codes.pop((body["digest"], body["actor"], answer), None)
    said = "denied" if body["verb"] == "deny" else "approved"
    who = body["actor"] + (f" for {behalf}" if behalf else "") + (" with a one-time code" if way == "code" else "")
    return f"{who} {said} plan {body['digest'][7:19]}\n{body['reason']}"


def _refused(state: Incident, step: StepState, by: str | None, at: datetime) -> None:
    """Keep a no beside the plan that it was said to: another step may come to ask for the very same."""
    step.refused_seq = state.seq
    if step.plan is not None and step.purpose is Purpose.CONTAIN:
        wide = step.plan.radius >= Radius.SERVER
        state.noes[step.plan.digest] = No(step.instance, by, at, wide, state.leaks, step.requested_by, step.about)
        state.asked_again.pop(step.plan.digest, None)


def _asked_again(state: Incident, by: str, things: list[Resolved] | None = None) -> None:
    """Try once more what had been given up, and take back the noes to it: a person asks for it.

    Args:
        state: the incident.
        by: who asks; whoever said a no themselves does not count as having asked.
        things: what they name, None for everything; a no to something else stays.
    """
    keys = None if things is None else {thing.key for thing in things}
    for digest, no in list(state.noes.items()):
        if keys is None or no.about & keys:
            del state.noes[digest]
            asker = no.requested_by if no.by == by else by
            if asker is not None:
                state.asked_again[digest] = Again(asker, no)
    releases = {f"release-{instance}" for instance in state.leases}
    for step in state.steps.values():
        if step.instance not in releases and (things is None or _concerns(state, step, things)):
            _again(step, by)


def _taken_again(state: Incident, by: str, instances: Iterable[str]) -> None:
    """Begin anew with what was given back, as another containment, because a person asks for it.

    Args:
        state: the incident.
        by: who asks.
        instances: the steps that took it.
    """
    for instance in instances:
        step, lease = state.steps[instance], state.leases[instance]
        # Nothing that was planned, approved or refused of the first containment is so of the next.
        step.progress, step.epoch = Progress.RETRYING, max(step.epoch, lease.epoch) + 1
        step.former, step.plan, step.intended_at = step.plan, None, None
        step.attempt, step.retry_at, step.error, step.message = 0, None, "", ""
        step.approved_by, step.behalf, step.approved_at, step.uncounted = (), {}, {}, ()
        step.requested_by, step.denied_by, step.purpose = by, None, Purpose.CONTAIN


def _concerns(state: Incident, step: StepState, things: list[Resolved]) -> bool:
    """Whether a step is about one of some things; what reads has no key, and goes by its name."""
    name = step.instance.partition("@")[0]
    named = any(state.instance_of(name, thing) == step.instance for thing in things)
    return named or not step.about.isdisjoint(thing.key for thing in things)


def _again(step: StepState, by: str) -> None:
    """Try a step once more that was given up, because a person asks for it."""
    if step.progress not in {Progress.FAILED, Progress.EXPIRED, Progress.DENIED}:
        return
    if step.progress is not Progress.FAILED:
        # The answer was no, or none, which is no. What was said for it before that does not count for the next
        # question, and nobody but who said no carries it through alone: they ask for it now.
        step.approved_by, step.behalf = (), {}
        if step.denied_by != by:
            step.requested_by = by
    step.progress, step.attempt, step.retry_at = Progress.RETRYING, 0, None


def _lapsed(state: Incident, body: Body, at: datetime, actor: str) -> str:
    step = state.steps[body["instance"]]
    step.progress, step.settled_at, step.denied_by = Progress.EXPIRED, at, None
    _answered(step, at)
    _refused(state, step, None, at)
    return f"nobody decided on {step.instance} in time: it is not done\n{body['why']}"


def _skipped(state: Incident, body: Body, at: datetime, actor: str) -> str:
    step = _step(state, body, Progress.SKIPPED)
    step.settled_at, step.message, step.awaits = at, body["reason"], tuple(body.get("awaits", ()))
    _answered(step, at)
    step.no, step.nowhere = body.get("no", ""), bool(body.get("nowhere"))
    return f"skipped {step.instance}\n{body['reason']}"


def _exhibit(state: Incident, body: Body, at: datetime, actor: str) -> str:
    step = _step(state, body, Progress.SEALED)
    step.collected_at, step.settled_at = datetime.fromisoformat(body["exhibit"]["collected_at"]), at
    state.exhibits.append(body["exhibit"])
    files = body["exhibit"]["files"]
    size = sum(item["size"] for item in files)
    said = f"sealed exhibit {body['exhibit']['id']} ({len(files)} files, {size} bytes)"
    custody = body["exhibit"]["custody"]
    return "\n".join([said, *(line["note"] for line in custody if line["act"] != Act.SEALED and line["note"])])


def _unavailable(state: Incident, body: Body, at: datetime, actor: str) -> str:
    step = _step(state, body, Progress.UNAVAILABLE)
    # What an earlier release could not have, it never tried again.
    step.settled_at, step.attempt, step.retry_at = at, 0, _when(body.get("retry_at"))
    missing = body["unavailable"]
    state.unavailable.append(missing)
    return f"exhibit {missing['kind']} is unavailable\n{missing['reason']}"


def _uncollected(state: Incident, body: Body, at: datetime, actor: str) -> None:
    """Take in that something which could not be had is still not to be had: no news for people."""
    step = _step(state, body, Progress.UNAVAILABLE)
    step.attempt, step.retry_at = body["attempt"], _when(body["retry_at"])


def _checked(state: Incident, body: Body, at: datetime, actor: str) -> str:
    verdict = Verdict.model_validate(body["verdict"])
    step = _step(state, body, Progress(verdict.answer.value))
    step.verdict, step.settled_at = verdict, at
    return f"asked {step.instance}: {verdict.answer}\n{_first(verdict)}"


def _lease_checked(state: Incident, body: Body, at: datetime, actor: str) -> str:
    lease = state.leases[body["instance"]]
    lease.verdict, lease.checked_at = Verdict.model_validate(body["verdict"]), at
    holds = lease.verdict.answer is Answer.ESTABLISHED
    step = state.steps[body["instance"]]
    if holds:
        _held(step, lease, at)
    if holds and step.purpose is Purpose.PUT_BACK and step.progress in _ASKED:
        # Somebody brought it back themselves: there is nothing left to decide.
        step.progress, step.plan, step.epoch = Progress.ESTABLISHED, lease.plan, lease.epoch
    if step.progress in {Progress.ESTABLISHED, Progress.NOT_ESTABLISHED, Progress.UNKNOWN, Progress.FAILED}:
        step.progress = Progress(lease.verdict.answer.value)
        step.verdict = lease.verdict
        if holds:
            step.settled_at, step.settled_seq = at, state.seq
    _widen(state, lease.instance, lease.verdict, body.get("after"), _when(body.get("since")) or at)
    return f"watch: {body['instance']} is {lease.verdict.answer}\n{_first(lease.verdict)}"


def _lease_extended(state: Incident, body: Body, at: datetime, actor: str) -> str:
    lease = state.leases[body["instance"]]
    lease.until = datetime.fromisoformat(body["until"])
    # A person who extends it knows of it.
    lease.ran_out += "by" not in body
    return f"extended {body['instance']} until {body['until']}\n{body['why']}"


SAME = "another cut of this incident"
"""Who holds what a lease of the same incident gives back."""


def _release_intended(state: Incident, body: Body, at: datetime, actor: str) -> str:
    lease = state.leases[body["instance"]]
    lease.releasing, lease.release_key = Plan.model_validate(body["plan"]), body["key"]
    lease.kept, lease.released_by = tuple(body["kept"]), body["requested_by"]
    lease.kept_by = tuple(SAME if who == state.id else who for who in body.get("kept_by", ()))
    step = state.steps.get(body["release"])
    if step is None:
        step = state.steps[body["release"]] = StepState(body["release"], Phase(body["phase"]), Progress.INTENDED)
    step.progress, step.plan, step.epoch, step.key = Progress.INTENDED, lease.releasing, body["epoch"], body["key"]
    step.purpose, step.intended_at, step.requested_by = Purpose.RELEASE, at, body["requested_by"]
    return f"releasing {body['instance']}" + (f"\n{lease.staying}" if lease.staying else "")


def _released(state: Incident, body: Body, at: datetime, actor: str) -> str:
    lease = state.leases[body["instance"]]
    lease.released_at, lease.releasing = at, None
    lease.back = Verdict.model_validate(body["verdict"]) if body["verdict"] else None
    lease.was, lease.verdict = lease.verdict, lease.back or lease.verdict
    # The first releases did not record what had gone.
    lease.gone = tuple(body.get("gone", ()))
    state.steps[body["instance"]].progress = Progress.RELEASED
    release = state.steps[body["release"]]
    release.progress, release.verdict, release.settled_at = Progress.RELEASED, lease.back, at
    made = "; ".join(item["change"] for item in body["writes"])
    if not made:
        made = f"nothing came back: {lease.staying}" if lease.staying else lease.returned
    return f"released {body['instance']}\n{made}"


def _page(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.pages[body["id"]] = Page(body["id"], body["notice"], body["text"], at)
    state.noticed.append(body["notice"])
    return f"page: {body['text']}"


def _told(state: Incident, body: Body, at: datetime, actor: str) -> str | None:
    # The first release told one channel, and nobody by name.
    contact, purpose = body.get("contact"), body.get("purpose", "log")
    number, reference = body.get("round", 0), body.get("reference", "")
    detail, channel, delivered = body["detail"], body["channel"], body["delivered"]
    told = Told(body["page"], contact, channel, delivered, purpose, number, at, detail, reference)
    state.told.append(replace(told, buttons=tuple(body.get("buttons", ()))))
    if delivered:
        return f"told {contact} by {channel}" if contact else None
    return f"could NOT tell {contact or channel} by {channel}\n{detail}"


def _updated(state: Incident, body: Body, at: datetime, actor: str) -> None:
    reference, buttons = body["reference"], tuple(body["buttons"])
    for n, told in enumerate(state.told):
        if told.reference == body["was"]:
            state.told[n] = replace(told, reference=reference, buttons=buttons)


def _acknowledged(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.acknowledged |= dict.fromkeys(body["pages"], body["by"])
    return f"{body['by']} acknowledged {len(body['pages'])} pages, by {body['way']}"


def _code_issued(state: Incident, body: Body, at: datetime, actor: str) -> str | None:
    code = Code(body["salt"], body["hash"], datetime.fromisoformat(body["expires_at"]))
    state.codes[body["digest"], body["approver"], body["answer"]] = code
    return None


def _code_refused(state: Incident, body: Body, at: datetime, actor: str) -> str:
    key = body["digest"], body["approver"]
    state.wrong_codes[key] = state.wrong_codes.get(key, 0) + 1
    return f"a wrong code in the name of {body['approver']}, {body['left']} tries left\n{body['why']}"


_TOLD_ELSEWHERE = frozenset({"note", "assign", "extend", "hold", "unhold", "classify", "join"})
"""Verbs whose own entry, which comes right after, says all that there is to say."""


def _shown(params: Body) -> frozenset[tuple[str, str, str]]:
    """Return what whoever signed a release was shown of what nobody approved."""
    listed = params.get("shown")
    if not isinstance(listed, list):
        return frozenset()
    words = [tuple(str(one.get(name)) for name in ("kind", "id", "digest")) for one in listed if isinstance(one, dict)]
    return frozenset((kind, id_, digest) for kind, id_, digest in words)


def _request(state: Incident, body: Body, at: datetime, actor: str) -> str | None:
    if body["accepted"]:
        state.accepted[body["nonce"]] = body["verb"]
        if body["verb"] == "release":
            params = body["params"]
            accepts = bool(params.get("accept_changed"))
            state.releases.append(
                ReleaseRequest(
                    body["actor"], at, body["reason"], params.get("lease"), accepts, state.seq, _shown(params)
                )
            )
            # Asked again by a person: what had been given up of it is tried once more. A no to another lease stays.
            one = params.get("lease")
            meant = {f"release-{one}"} if one else {f"release-{instance}" for instance in state.leases}
            for step in state.steps.values():
                if step.instance in meant:
                    _again(step, body["actor"])
        if body["verb"] == "respond" and not body["params"].get("entities"):
            # Who names something asks for that alone, and the entry that comes next says what they chose.
            _asked_again(state, body["actor"])
            _wish(state, body["actor"], at, body["reason"], None)
        elif body["verb"] == "respond" and "title" in body["params"]:
            # It opened this incident, and the entry before says what they chose.
            _wish(state, body["actor"], at, body["reason"], state.chosen)
        if body["verb"] in _TOLD_ELSEWHERE:
            return None
        return f"{body['actor']} asks to {body['verb']}\n{body['reason']}"
    return f"asked to {body['verb']}, and mcp-soar refused\n{body['reason']}"


def _noted(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.notes.append(Note(body["by"], at, body["text"]))
    return f"note by {body['by']}\n{body['text']}"


def _fulfilled(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.fulfilled.setdefault(body["clock"], at)
    return f"the duty {body['clock']} is fulfilled, says {body['by']}"


def _assigned(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.assigned_to = body["to"]
    return f"{body['to']} looks after it, says {body['by']}"


def _legal_hold(state: Incident, body: Body, at: datetime, actor: str) -> str:
    # A second matter's hold is added, and whoever wanted to end the first has to ask anew.
    state.legal_hold = f"{state.legal_hold}; {body['reason']}" if state.legal_hold else body["reason"]
    state.unhold_asked = {}
    return f"legal hold by {body['by']}: nothing of it is deleted\n{body['reason']}"


def _legal_hold_end_asked(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.unhold_asked[body["by"]] = at
    return f"{body['by']} asks to end the legal hold\n{body['reason']}"


def _legal_hold_ended(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.legal_hold, state.unhold_asked = None, {}
    return f"legal hold ended by {' and '.join(body['people'])}\n{body['reason']}"


def _sealed(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.sealed, state.bundle = body["digest"], body["bundle"]
    state.bundles.append(body["bundle"])
    state.sealed_of = (body["exhibits"], body["unavailable"])
    step = state.steps.get("seal")
    if step is None:
        step = state.steps["seal"] = StepState("seal", Phase.PRESERVE, Progress.SEALED)
    step.progress, step.settled_at, step.attempt = Progress.SEALED, at, 0
    return f"sealed the evidence as {body['bundle']}\n{body['digest']}"


def _closed(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.closed_as, state.closed_at, state.duplicate_of = body["as"], at, body.get("of")
    of = f" of {state.duplicate_of}" if state.duplicate_of else ""
    return f"closed as {body['as']}{of} by {body['by']}\n{body['reason']}"


def _erasure_asked(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.erasures_asked.setdefault(body["exhibit"], {})[body["by"]] = at
    return f"{body['by']} asked to erase exhibit {body['exhibit']}\n{body['reason']}"


def _deletion_intended(state: Incident, body: Body, at: datetime, actor: str) -> str:
    deletion = Deletion(
        id=body["id"],
        exhibits=tuple(item["id"] for item in body["exhibits"]),
        bundles=tuple(body["bundles"]),
        why=body["why"],
        by=body["by"],
        people=tuple(body["people"]),
        whole=body["whole"],
        intended_at=at,
    )
    state.deletions[deletion.id] = deletion
    what = "all evidence" if deletion.whole else ", ".join(deletion.exhibits)
    return f"deleting {what}, by {deletion.by}\n{deletion.why}"


def _deletion_locked(state: Incident, body: Body, at: datetime, actor: str) -> str:
    state.deletions[body["id"]].locked_until = datetime.fromisoformat(body["until"])
    return f"not deleted before {body['until']}: {', '.join(body['exhibits'])}\n{body['why']}"


def _deleted(state: Incident, body: Body, at: datetime, actor: str) -> str:
    deletion = state.deletions[body["id"]]
    deletion.done_at = at
    count = f"{len(deletion.exhibits)} exhibits, {len(deletion.bundles)} bundles, {body['messages']} raw messages"
    return f"deleted {count}; their digests stay\n{', '.join((*deletion.exhibits, *deletion.bundles))}"


_READERS = {
    "opened": _opened,
    "chosen": _chosen,
    "classified": _classified,
    "joined": _joined,
    "goes_on_in": _goes_on_in,
    "continued": _continued,
    "campaign": _campaign,
    "alert": _alert,
    "counted": _counted,
    "confirmed": _confirmed,
    "intended": _intended,
    "wrote": _wrote,
    "interrupted": _interrupted,
    "verified": _verified,
    "failed": _failed,
    "proposed": _proposed,
    "decided": _decided,
    "lapsed": _lapsed,
    "skipped": _skipped,
    "exhibit": _exhibit,
    "unavailable": _unavailable,
    "uncollected": _uncollected,
    "checked": _checked,
    "lease_checked": _lease_checked,
    "lease_extended": _lease_extended,
    "release_intended": _release_intended,
    "released": _released,
    "page": _page,
    "told": _told,
    "updated": _updated,
    "acknowledged": _acknowledged,
    "code_issued": _code_issued,
    "code_refused": _code_refused,
    "request": _request,
    "noted": _noted,
    "fulfilled": _fulfilled,
    "assigned": _assigned,
    "legal_hold": _legal_hold,
    "legal_hold_end_asked": _legal_hold_end_asked,
    "legal_hold_ended": _legal_hold_ended,
    "sealed": _sealed,
    "closed": _closed,
    "erasure_asked": _erasure_asked,
    "deletion_intended": _deletion_intended,
    "deletion_locked": _deletion_locked,
    "deleted": _deleted,
}

KINDS = frozenset(_READERS)
"""Every kind of entry that an incident's stream can hold."""
