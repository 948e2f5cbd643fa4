"""How an incident stands, as values: steps, leases, alerts, pages, evidence, and what follows from them. Pure.

`playbooks.record.projection` computes it from the journal, and nothing else does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from playbooks.estate.inventory import Resolved
from playbooks.gate.corroboration import confirming, corroborated
from playbooks.gate.plan import EXPOSURE, Answer, Plan, Verdict, Widening, basis
from playbooks.gate.policy import Purpose
from playbooks.playbook import Playbook
from playbooks.record.campaign import Mark, Membership
from playbooks.record.evidence import Act, Deletion
from playbooks.record.heard import Counted, HeardAlert, Note, ReleaseRequest, Repeats, Standing, Wish
from playbooks.record.incident import AlertState, Confidence, Entity, EntityKind, Phase, Severity, Status
from playbooks.record.step import HELD, PATIENCE, REFUSED, Again, Leak, LeaseState, No, Progress, StepState
from playbooks.record.told import Code, Occurrence, Page, Told
from playbooks.taxonomy import IncidentClass
from playbooks.text.sentences import known, say


@dataclass(slots=True)
class Incident:
    """Everything that an incident's journal says."""

    id: str
    incident_class: IncidentClass = IncidentClass.UNCLASSIFIED
    severity: Severity = Severity.INFORMATIONAL
    title: str = ""
    key: str = ""
    playbook: str | None = None
    playbook_digest: str | None = None
    playbook_text: str | None = None
    triage: str | None = None
    looked_at: datetime | None = None
    """When somebody said what is to be done about what waited for a person to look."""
    requested_by: str | None = None
    whole_names: bool = False
    """Whether its steps name what they are about by whole keys; what began with the first release goes on as it was."""
    prose: bool = True
    """Whether it began with a release that wrote the English of its sentences alone."""
    linked: tuple[str, ...] = ()
    opened_at: datetime | None = None
    alerted_seq: int = 0
    """The place in the stream of the last alert that something began or goes on."""
    entities: dict[str, Resolved] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    """Keys of the servers that were named themselves, and not as the home of something."""
    vouched: frozenset[str] = frozenset()
    """Keys of what an authenticated alert named."""
    chosen: dict[str, str] = field(default_factory=dict)
    """Keys of what a person chose to have contained → who."""
    only: dict[str, frozenset[str]] = field(default_factory=dict)
    """Of these, the only systems that they want it contained at; all where nothing is said."""
    by_hand: frozenset[str] = frozenset()
    """Of these, what another person decides on; what began with earlier releases by its class (`respond --class`) went
    ahead on one person's word, and ends so."""
    parts: tuple[str, ...] = ()
    """The incidents that go on in this one; what they hold they watch over themselves."""
    part_of: str | None = None
    """The incident that this one goes on in: nothing new begins here."""
    part_before: frozenset[str] = frozenset()
    """The incidents that this one went on in until they went on in another one themselves."""
    former_classes: frozenset[IncidentClass] = frozenset()
    """The classes that it had before, and those that its parts had."""
    continued_in: str | None = None
    """The incident that was opened about the same after this one was closed, or gave it back."""
    unresolved: tuple[Entity, ...] = ()
    strangers: tuple[Entity, ...] = ()
    """Of those, what was named beside something known: nothing is done about it, and people are asked what it is."""
    alerts: list[HeardAlert] = field(default_factory=list)
    marks: dict[Mark, None] = field(default_factory=dict)
    """What its authenticated alerts may have in common with those of other incidents, the first said first."""
    campaigns: dict[str, Membership] = field(default_factory=dict)
    """The campaigns that it is part of, by their names."""
    counted: list[Counted] = field(default_factory=list)
    confirmed_by: tuple[str, ...] = ()
    confirmations: dict[str, frozenset[str]] = field(default_factory=dict)
    """What of each confirmation says yes, by the findings' checks."""
    confirm_asked: dict[str, int] = field(default_factory=dict)
    """Confirming checks that were answered: name → place of the last answer in the stream."""
    checked: dict[str, Verdict] = field(default_factory=dict)
    """What each confirming check of ours found when it was asked last, whatever that was."""
    confirmed_about: dict[str, str] = field(default_factory=dict)
    """What was confirmed → the whole key of what it was asked about."""
    steps: dict[str, StepState] = field(default_factory=dict)
    widenings: dict[str, Widening] = field(default_factory=dict)
    widened_for: dict[str, set[str]] = field(default_factory=dict)
    """Widening → the leases whose verification asked for it."""
    leases: dict[str, LeaseState] = field(default_factory=dict)
    exhibits: list[dict[str, Any]] = field(default_factory=list)
    unavailable: list[dict[str, Any]] = field(default_factory=list)
    noes: dict[str, No] = field(default_factory=dict)
    """Digest → who said no to that plan, until somebody asks for it again."""
    asked_again: dict[str, Again] = field(default_factory=dict)
    """Digest → who asks for that plan after a no, until it is decided."""
    accepted: dict[str, str] = field(default_factory=dict)
    wishes: list[Wish] = field(default_factory=list)
    """Why people want something contained, of those who said why."""
    releases: list[ReleaseRequest] = field(default_factory=list)
    pages: dict[str, Page] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    codes: dict[tuple[str, str, str], Code] = field(default_factory=dict)
    wrong_codes: dict[tuple[str, str], int] = field(default_factory=dict)
    noticed: list[str] = field(default_factory=list)
    sealed: str | None = None
    sealed_of: tuple[int, int] = (0, 0)
    bundle: str | None = None
    bundles: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    fulfilled: dict[str, datetime] = field(default_factory=dict)
    assigned_to: str | None = None
    legal_hold: str | None = None
    unhold_asked: dict[str, datetime] = field(default_factory=dict)
    duplicate_of: str | None = None
    closed_as: str | None = None
    closed_at: datetime | None = None
    erasures_asked: dict[str, dict[str, datetime]] = field(default_factory=dict)
    deletions: dict[str, Deletion] = field(default_factory=dict)
    frozen: str | None = None
    seq: int = 0
    timeline: list[Occurrence] = field(default_factory=list)

    @property
    def claimed(self) -> bool:
        """Whether its class is what alerts say, and no person has said what it is."""
        known = self.incident_class is not IncidentClass.UNCLASSIFIED
        return known and bool(self.alerts) and not self.requested_by and not self.former_classes

    @property
    def about(self) -> tuple[Resolved, ...]:
        """What it is about, what matters first: no server that was only named as the home of something named too."""
        things = sorted(self.entities.values(), key=lambda thing: thing.kind is EntityKind.SERVER)
        homes = {thing.server for thing in things if thing.kind is not EntityKind.SERVER}
        return tuple(
            thing
            for thing in things
            if thing.kind is not EntityKind.SERVER or thing.id not in homes or thing.key in self.named
        )

    @property
    def servers(self) -> tuple[str, ...]:
        """The inventory's servers that it is about, in the order in which they joined."""
        return tuple(dict.fromkeys(item.server for item in self.entities.values() if item.server))

    @property
    def where(self) -> tuple[str, ...]:
        """Its servers, and whom it is about with their gateways: what tells it from others in a list."""
        who = (str(item) for item in self.entities.values() if item.kind in {EntityKind.TOKEN, EntityKind.PRINCIPAL})
        return (*self.servers, *who)

    @property
    def scopes(self) -> frozenset[str]:
        """The kill switch's scopes that it stands under.

        One person joins incidents and gives them another class, and two end a stop: so what was stopped as a part, as
        the whole or under an earlier class stays stopped.
        """
        incidents = {self.id, *self.parts, *self.part_before, *({self.part_of} if self.part_of else ())}
        return frozenset(
            {
                "everything",
                *(f"class:{one}" for one in {self.incident_class, *self.former_classes}),
                *(f"incident:{one}" for one in incidents),
                *(f"server:{server}" for server in self.servers),
            }
        )

    @property
    def repeats(self) -> dict[str, Repeats]:
        """How often each source said what the incident has already, as far as it was counted."""
        found: dict[str, Repeats] = {}
        for counted in self.counted:
            for source, more in counted.sources.items():
                so_far = found.get(source)
                since = so_far.since if so_far else more.since
                found[source] = Repeats(more.messages + (so_far.messages if so_far else 0), since, more.until)
        return found

    @property
    def unfounded(self) -> bool:
        """Whether it was closed as no incident of its own: there was none, or another one stands for it."""
        return self.closed_as in {"false-positive", "duplicate"}

    @property
    def deleted_exhibits(self) -> dict[str, Deletion]:
        """The exhibits that were deleted, or are being deleted: id → by what."""
        return {exhibit: deletion for deletion in self.deletions.values() for exhibit in deletion.exhibits}

    @property
    def deleted_bundles(self) -> dict[str, Deletion]:
        """The bundles that were deleted, or are being deleted: name → by what."""
        return {bundle: deletion for deletion in self.deletions.values() for bundle in deletion.bundles}

    @property
    def purged(self) -> bool:
        """Whether all of its evidence was deleted, or is being deleted."""
        return any(deletion.whole for deletion in self.deletions.values())

    def goes_by(self, playbooks: Mapping[IncidentClass, Playbook]) -> Playbook | None:
        """Return its playbook: the one that it began with, whatever the configuration says by now.

        Args:
            playbooks: those configured now, by class. Journals of the first release keep no other.
        """
        configured = playbooks.get(self.incident_class)
        if self.playbook_text is None or (configured and configured.digest == self.playbook_digest):
            return configured
        return Playbook.model_validate_json(self.playbook_text)

    def standing(self, key: str, also: Iterable[Verdict] = (), *, itself: bool = False) -> Standing:
        """Return how well founded it is to act on one entity.

        Only alerts that name that very entity speak for it: an alert that joins an incident brings its own entities
        along, and must not borrow the trust that others earned.

        Args:
            key: the entity's key.
            also: what confirming checks have just said about it and is not on record yet.
            itself: for a server: only who named it itself speaks for it, and not who named something of it.
        """
        # In earlier releases whoever started a class's playbook said that it is so; what began then goes on by that.
        if key in self.chosen and key not in self.by_hand:
            return Standing(authenticated=True, confidence=Confidence.HIGH, severity=self.severity, confirmed=True)
        kin = self._kin(key)
        new = (alert for alert in self.alerts if alert.state == AlertState.NEW and alert.authenticated)
        spoken = [alert for alert in new if (key in alert.named if itself else alert.entities & kin)]
        said = self.checks_about(key)
        found = corroborated((alert.source for alert in spoken), [*said, *map(confirming, also)])
        return Standing(
            authenticated=bool(spoken),
            confidence=max((alert.confidence for alert in spoken), default=Confidence.LOW),
            severity=max((alert.severity for alert in spoken), default=Severity.INFORMATIONAL),
            confirmed=found.confirmed,
            missing=found.missing,
        )

    def asked_for_by(self, key: str) -> str | None:
        """Return who chose a thing to be contained, or something that a server offers; None if no person did.

        They are whom a question comes from, and not who answers it. It is no word about the rest of the server.
        """
        if key in self.chosen:
            return self.chosen[key]
        offered = (k for k, item in self.entities.items() if item.server and key == _server_key(item.server))
        return next((self.chosen[k] for k in offered if k in self.chosen), None)

    @property
    def why(self) -> tuple[str, ...]:
        """Why people want something contained, as `kim: it reads keys`; what somebody said twice stands once."""
        return tuple(dict.fromkeys(f"{wish.by}: {wish.reason}" for wish in self.wishes))

    @property
    def basis(self) -> str:
        """By what it is known that what is in force holds, as a clause."""
        held = (lease for lease in self.leases.values() if lease.holds)
        return basis((lease.plan, lease.verdict) for lease in held if lease.verdict)

    def reason_of(self, step: StepState) -> str:
        """Return why whoever asked for a step wants it, in their own words; empty if they did not say.

        Args:
            step: what waits, or waited.
        """
        who = step.requested_by
        if step.purpose is Purpose.RELEASE:
            lease = step.instance.removeprefix("release-")
            said = [wish.reason for wish in self.releases if wish.actor == who and wish.lease in {None, lease}]
            return next((reason for reason in reversed(said) if reason), "")
        wishes = [wish for wish in reversed(self.wishes) if wish.by == who]
        # A server's step speaks of what it offers, which was named instead of it.
        kin = step.about.union(*map(self._kin, step.about))
        named = (wish.reason for wish in wishes if wish.about is not None and wish.about & kin)
        return (
            next(named, None)
            or next((wish.reason for wish in wishes if wish.about is None), None)
            or (wishes[-1].reason if wishes else "")
        )

    def _kin(self, key: str) -> set[str]:
        """Return the entities that speak for one: itself, or all that a server offers."""
        if key in self.entities:
            return {key}
        return {k for k, item in self.entities.items() if item.server and key == _server_key(item.server)}

    def checks_about(self, key: str) -> list[frozenset[str]]:
        """Return what confirming checks found about an entity; what holds of a server holds of all that it offers.

        Args:
            key: the entity's whole key: a tool's yes is none for a prompt of its name.
        """
        kin = self._kin(key)
        about = kin | {_server_key(home) for home in (self.entities[k].server for k in kin) if home}
        return [checks for by, checks in self.confirmations.items() if self.confirmed_about[by] in about]

    @property
    def untold(self) -> dict[str, str]:
        """Pages that nobody could be told of yet, and nobody took up: page id → text."""
        known = {told.page for told in self.told if told.delivered} | self.acknowledged.keys()
        return {page.id: page.text for page in self.pages.values() if page.id not in known}

    @property
    def undelivered(self) -> dict[tuple[str, str], str]:
        """Who could not be reached about what: (page id, contact) → why."""
        reached = {(told.page, told.contact) for told in self.told if told.delivered}
        tried = ((told.page, told.contact or told.channel, told) for told in self.told if not told.delivered)
        return {
            (page, who): told.detail
            for page, who, told in tried
            # Taken up late, it is answered; who could not be reached still was not.
            if (page, told.contact) not in reached and not (told.purpose == "unanswered" and page in self.acknowledged)
        }

    def told_of(self, page: str, contact: str | None) -> list[Told]:
        """Return the attempts to tell a contact of a page, the first one first."""
        return [told for told in self.told if told.page == page and told.contact == contact]

    def release_wanted(self, instance: str) -> ReleaseRequest | None:
        """Return the request that asks for a lease to be released, if one does; the latest of several."""
        lease = self.leases[instance]
        for wish in reversed(self.releases):
            if lease.opened_seq < wish.seq and wish.lease in {None, instance}:
                return wish
        return None

    def given_back_as(self, instance: str) -> str | None:
        """Return the later lease with which the very things of this one were given back, under other ids by then.

        A gateway deletes a tool and takes it in again, and that is contained as well: whoever has it given back means
        the tool, and not one of its ids. A person's no to this very lease stands all the same.
        """
        lease, release = self.leases[instance], self.steps.get(f"release-{instance}")
        if not lease.open or (release is not None and release.progress is Progress.DENIED):
            return None
        things = {target.thing for target in lease.plan.targets}
        for name, other in self.leases.items():
            later = other.released_at is not None and other.opened_seq > lease.opened_seq and not other.kept
            if later and things == {target.thing for target in other.plan.targets}:
                return name
        return None

    def change_accepted(self, instance: str) -> bool:
        """Return whether somebody who asked for a lease's release accepts a definition that is not the approved one.

        Whoever asks again with that wish adds it to the first request; a no to the release ends what was accepted until
        then.
        """
        return bool(self._accepting(instance))

    def shown(self, instance: str) -> frozenset[tuple[str, str, str]]:
        """Return kind, id and digest of what those saw who accept what is not approved: they accept nothing else."""
        return frozenset[tuple[str, str, str]]().union(*(wish.shown for wish in self._accepting(instance)))

    def _accepting(self, instance: str) -> list[ReleaseRequest]:
        release = self.steps.get(f"release-{instance}")
        since = max(self.leases[instance].opened_seq, release.refused_seq if release else 0)
        return [w for w in self.releases if w.accept_changed and since < w.seq and w.lease in {None, instance}]

    @property
    def at_rest(self) -> bool:
        """Whether no effect is under way: whoever dies now leaves nothing that may still reach a system."""
        begun = {Progress.INTENDED, Progress.WROTE, Progress.RETRYING}
        open_ones = [(lease, self.steps[name].progress) for name, lease in self.leases.items() if lease.open]
        return all(one.has_held and one.releasing is None and progress not in begun for one, progress in open_ones)

    @property
    def given_back(self) -> bool:
        """Whether something was given back, nothing is left to give back, and nothing is to be contained again."""
        leases = self.leases.values()
        last = max((lease.released_at for lease in leases if lease.released_at), default=None)
        if last is None or any(lease.open for lease in leases):
            return False
        return not any(self._wanted_since(step, last) for step in self.cuts)

    def _wanted_since(self, step: StepState, last: datetime) -> bool:
        """Whether a cut is under way that somebody wants after everything was given back.

        Args:
            step: the cut.
            last: when the last thing was given back.
        """
        if step.progress not in {Progress.RETRYING, Progress.PROPOSED, Progress.APPROVED}:
            return False
        return step.instance in self.leases or (step.asked_at is not None and step.asked_at > last)

    def is_back(self, key: str) -> bool:
        """Whether a thing was contained and given back, and nothing that is about it is in force, or wanted, now."""
        held = [lease for name, lease in self.leases.items() if key in self.steps[name].about]
        settled = all(self.steps[lease.instance].progress is Progress.RELEASED for lease in held)
        return bool(held) and settled and not any(lease.open or lease.done_at for lease in held)

    def needs(self, instance: str) -> bool:
        """Whether a widening is still needed, as far as those verifications say that asked for it.

        Args:
            instance: the widening's step.
        """
        wanted = self.widenings[instance]
        for name in self.widened_for[instance]:
            lease = self.leases.get(name)
            if lease is None or not lease.open or lease.verdict is None:
                continue
            same = any((w.action, w.params) == (wanted.action, wanted.params) for w in lease.verdict.widen)
            # What could not be asked says nothing.
            if same or lease.verdict.answer is Answer.UNKNOWN:
                return True
        return False

    @property
    def leaks(self) -> frozenset[Leak]:
        """What the last looks found to get through.

        What a server answers is not in it: whoever chooses that could make one thing look like ever new ones.
        """
        leases = self.leases
        verdicts = [lease.verdict for lease in leases.values() if lease.open and lease.verdict]
        verdicts += [step.verdict for step in self.cuts if step.instance not in leases and step.verdict]
        return frozenset(
            (finding.check, finding.subject, slipped)
            for verdict in verdicts
            for finding in verdict.findings
            if finding.answer is Answer.NOT_ESTABLISHED
            for slipped in (finding.observed.split("; ") if finding.check == EXPOSURE else ("",))
        )

    def refused(self, plan: Plan) -> No | None:
        """Return the no that was said to this very plan, if it still holds.

        It holds whichever step would ask, until a person asks for it again. That what they let be is still there is no
        news, nor are other words for it. A no to taking a whole server away holds until something gets through of which
        they did not know: that was no part of what they decided on.

        Args:
            plan: what would be done.
        """
        return self._standing_no(plan.digest)

    def since(self, no: No) -> frozenset[Leak]:
        """Return what bears on a no and was not known when it was said."""
        return self.leaks - no.known if no.wide else frozenset()

    def _standing_no(self, digest: str) -> No | None:
        no = self.noes.get(digest)
        return no if no is not None and not self.since(no) else None

    def held_back(self, step: StepState) -> bool:
        """Whether a step was skipped because of a no that still holds."""
        return bool(step.no) and self._standing_no(step.no) is not None

    @property
    def given_up(self) -> frozenset[str]:
        """Keys of what people said no to, or what was given up: it is tried again when a person asks for it."""
        over = {Progress.FAILED, *REFUSED}
        steps = (step.about for step in self.steps.values() if step.progress in over)
        return frozenset[str]().union(*steps, *(no.about for no in self.noes.values()))

    def instance_of(self, step: str, entity: Resolved) -> str:
        """Return the name of a step for one entity, as this journal knows it."""
        whole = self.whole_names or entity.system
        return instance_of(step, entity) if whole else f"{step}@{_short(entity)}"

    @property
    def cuts(self) -> list[StepState]:
        """The steps whose holding makes the incident contained."""
        wanted = (Phase.CUT, Phase.ISOLATE)
        return [s for s in self.steps.values() if s.phase in wanted and s.action and s.progress is not Progress.SKIPPED]

    @property
    def missing(self) -> list[dict[str, Any]]:
        """What could not be had and was not collected since, and what the source lacked of what was collected."""
        had = {name for name, step in self.steps.items() if step.progress is Progress.SEALED}
        lacking = [
            {"kind": item["kind"], "reason": line["note"], "recorded_by": item["authority"]["step"], "at": line["at"]}
            for item in self.exhibits
            for line in item["custody"]
            if line["act"] == Act.COLLECTED and line.get("note")
        ]
        return [*(item for item in self.unavailable if item["recorded_by"] not in had), *lacking]

    @property
    def refusals(self) -> tuple[str, ...]:
        """What people said no to, or nothing, which is no, as far as nothing of it is in force or asked again."""
        no = [
            step
            for step in self.steps.values()
            if step.progress in REFUSED and step.plan and step.purpose is Purpose.CONTAIN
        ]
        no = [step for step in no if step.instance not in self.leases or not self.leases[step.instance].holds]
        return tuple(
            say("{A} said no to: {b}", A=step.denied_by, b=known(step.plan.summary.rstrip(".")))
            if step.denied_by
            else say("nobody answered in time, which is no: {a}", a=known(step.plan.summary.rstrip(".")))
            for step in no
            if step.plan
        )

    @property
    def nowhere(self) -> list[StepState]:
        """The steps that had no place, less those that the inventory was given one for since."""

        def placed(instance: str) -> bool:
            name, _, thing = instance.partition("@")
            return any(other.startswith(f"{name}@") and other.endswith(f":{thing}") for other in self.steps)

        return [step for step in self.steps.values() if step.nowhere and not placed(step.instance)]

    @property
    def proposals(self) -> list[StepState]:
        """What waits for a person."""
        return [step for step in self.steps.values() if step.progress is Progress.PROPOSED]

    @property
    def awaits(self) -> tuple[str, ...]:
        """What people are asked to approve, each once: `cut`, `put-back`, `release`."""
        return tuple(dict.fromkeys(_WAITS_AS[step.purpose] for step in self.proposals))

    @property
    def contained(self) -> frozenset[frozenset[str]]:
        """What is in force, thing by thing: what two leases hold is one."""
        return frozenset(lease.things for lease in self.leases.values() if lease.in_force)

    @property
    def status(self) -> Status:  # noqa: PLR0911  # one return for each word of the vocabulary
        """Where it stands; the worst that is true."""
        if self.frozen:
            return Status.FROZEN
        if self.closed_at:
            return Status.CLOSED
        if self.given_back and not self.part_of:
            return Status.RELEASED
        bad = {Progress.NOT_ESTABLISHED, Progress.UNKNOWN, Progress.FAILED}
        cuts = [step for step in self.cuts if not self.part_of or self._tries(step)]
        stuck = any(step.progress is Progress.RETRYING and step.attempt > PATIENCE for step in cuts)
        leaking = any(
            lease.open and lease.verdict is not None and lease.verdict.answer is not Answer.ESTABLISHED
            for lease in self.leases.values()
        )
        # A release that broke off may have given something back that is not what it ought to be, and nobody watches it.
        broken = any(
            lease.open and lease.releasing and self.steps[f"release-{instance}"].progress is Progress.FAILED
            for instance, lease in self.leases.items()
        )
        if leaking or stuck or broken or any(step.progress in bad for step in cuts):
            return Status.NOT_ESTABLISHED
        if self.proposals:
            return Status.AWAITING_APPROVAL
        if self.part_of:
            return Status.JOINED
        if self.triage:
            return Status.TRIAGE
        held = [step for step in self.cuts if step.progress is Progress.ESTABLISHED]
        if held and all(step.progress in HELD | REFUSED for step in self.cuts):
            # What is being given back may be half back already, and nobody verifies it meanwhile.
            giving_back = any(lease.open and lease.releasing for lease in self.leases.values())
            return Status.RECOVERING if giving_back else Status.CONTAINED
        if self.cuts and all(step.progress in REFUSED for step in self.cuts):
            return Status.TRIAGE
        return Status.CONTAINING

    def _tries(self, step: StepState) -> bool:
        """Whether a step's containment was decided here, and is not over."""
        lease = self.leases.get(step.instance)
        return lease is not None and lease.open

    @property
    def stands(self) -> str:
        """Where it stands, in words; one that goes on in another says in which."""
        return self.status.stands(self.part_of, self.awaits)

    @property
    def subject(self) -> str:
        """What it is about, in words."""
        return ", ".join(map(str, self.about)) or "nothing that the inventory knows"

    @property
    def metrics(self) -> dict[str, datetime | None]:
        """When what happened: detected, accepted, first effect, verified, released."""
        wrote = [step.wrote_at for step in self.cuts if step.wrote_at]
        # What people said no to is no part of it, as the status has it; what held before that (they do not want it put
        # back) is. Of each the first time that it held: a later look is no later verification.
        held = [step.established_at for step in self.cuts if step.established_at or step.progress not in REFUSED]
        released = [lease.released_at for lease in self.leases.values() if lease.done_at is None]
        # What another incident was told, that was joined to this one, it answered itself.
        own = [alert for alert in self.alerts if not alert.first_in]
        return {
            "detected_at": min((alert.detected_at for alert in own), default=None),
            "accepted_at": min((alert.accepted_at for alert in own), default=self.opened_at),
            "first_effect_at": min(wrote, default=None),
            "verified_at": max(at for at in held if at) if held and all(held) else None,
            "released_at": max((at for at in released if at), default=None) if released and all(released) else None,
        }

    @property
    def waited(self) -> dict[str, float]:
        """How many of the seconds from the acceptance to the first effect, and to the verification, were people's."""
        start = self.metrics["accepted_at"]
        if start is None:
            return {}
        wrote = min(((s.wrote_at, s) for s in self.cuts if s.wrote_at), key=lambda one: one[0], default=None)
        held = [(step.established_at, step) for step in self.cuts if step.established_at]
        last = max((at for at, _ in held), default=None)
        # What nobody was asked about may be the last, too: of what is left, the longest counts.
        own = max(((at - start).total_seconds() - self._asked_until(step, start, at) for at, step in held), default=0.0)
        return {
            "first_effect": self._asked_until(wrote[1], start, wrote[0]) if wrote else 0.0,
            "verified": (last - start).total_seconds() - own if last else 0.0,
        }

    def _asked_until(self, step: StepState, start: datetime, until: datetime) -> float:
        waits = [*step.waits, *([(self.opened_at, self.looked_at)] if self.opened_at and self.looked_at else [])]
        return sum(max(0.0, (min(end, until) - max(begin, start)).total_seconds()) for begin, end in waits)


_WAITS_AS = {Purpose.CONTAIN: "cut", Purpose.PUT_BACK: "put-back", Purpose.RELEASE: "release"}


def _server_key(server: str) -> str:
    return Resolved(kind=EntityKind.SERVER, id=server, server=server).key


def _short(entity: Resolved) -> str:
    """Return an entity as the first release named it: a tool and a prompt of one name were the same."""
    return f"{entity.server}/{entity.id}" if entity.server and entity.server != entity.id else entity.id


def instance_of(step: str, entity: Resolved) -> str:
    """Return the name of a step for one entity, as a journal knows it; two entities never have the same.

    A server is told by its id, a tool by server and name, as people type them; everything else says what it is. One at
    one of its places begins with that, as `stop@cluster:weather`.
    """
    if entity.system:
        return f"{step}@{entity.system}:{instance_of('', entity.model_copy(update={'system': None}))[1:]}"
    if entity.kind is EntityKind.SERVER:
        return f"{step}@{entity.id}"
    home = entity.server or (entity.principal if entity.kind is EntityKind.TOKEN else None)
    place = f"{home}/{entity.id}" if home else entity.id
    # A server's id has no colon in it, and no slash.
    return f"{step}@{place}" if entity.kind is EntityKind.TOOL and home else f"{step}@{entity.kind.value}:{place}"
