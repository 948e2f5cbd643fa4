"""The gate: what may be done at once, what needs people, and what is never done. A pure function, on by default.

It fails closed: what it does not know, it denies; what it is not sure of, it hands to a person. Every reason is given,
not only the first, so that a person sees the whole of what stands against a plan.
"""

from collections.abc import Iterable
from enum import StrEnum
from itertools import pairwise
from math import ceil
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from playbooks.estate.inventory import Inventory, Principal
from playbooks.estate.pins import PinKind, Risk
from playbooks.estate.spelling import plain, plainly
from playbooks.gate.corroboration import NOTHING
from playbooks.gate.plan import Plan, Radius, Target
from playbooks.gate.rules import NONE_FITS, Mode, RadiusName, Rule, Ruled, by_class, by_name, ruled, unreachable
from playbooks.record.incident import Confidence, Severity
from playbooks.strict import Digest, Line, Name, RedactedLine, Seconds, Slug, Strict
from playbooks.taxonomy import IncidentClass
from playbooks.text.sentences import known, say

SeverityName = Annotated[Severity, by_name(Severity)]
ConfidenceName = Annotated[Confidence, by_name(Confidence)]


class Tier(Strict):
    """A pair that suffices: this much confidence at this severity or worse."""

    confidence: ConfidenceName
    severity: SeverityName


class Cap(Strict):
    """How much may be contained by automatic decisions at one time.

    Args:
        count: objects, over all incidents.
        percent: of everything in the inventory; one is always within it.
    """

    count: int = Field(ge=0)
    percent: float = Field(ge=0, le=100)


class Spacing(Strict):
    """How fast automatic effects may follow one another, over all incidents."""

    at_most: int = Field(ge=1)
    within: Seconds


class Approval(Strict):
    """What an approval must look like.

    Args:
        quorum: people needed, by the plan's radius.
        roles: any of these roles may approve.
        expires: time to decide; after it the answer is no, and somebody is paged.
        codes: approvers who can be reached in private are sent one-time codes beside; a key always works.
    """

    quorum: dict[RadiusName, Annotated[int, Field(ge=1)]] = Field(
        default_factory=lambda: {
            Radius.TOKEN: 1,
            Radius.TOOL: 1,
            Radius.PRINCIPAL: 1,
            Radius.SERVER: 1,
            Radius.FLEET: 2,
        }
    )
    roles: tuple[Slug, ...] = ("approver",)
    expires: Seconds = 900.0
    codes: bool = True

    def needed(self, radius: Radius) -> int:
        """Return how many people a plan of this radius needs; never fewer than a narrower one."""
        return max((count for known, count in self.quorum.items() if known <= radius), default=1)


class Lease(Strict):
    """How a containment in force ends.

    Args:
        at_expiry: `extend` (and page), or `release` where the last verification was clean.
        put_backs: how often what somebody undid is put back without asking.
        longest: how far from now a person may extend it.
    """

    at_expiry: Literal["extend", "release"] = "extend"
    put_backs: int = Field(default=3, ge=0)
    longest: Seconds = Field(default=30 * 86400.0, gt=0)


DAY = 86400.0
CHANGED = say("a definition differs from its approved pin, and nobody accepted the difference")
"""Why a release waits; whoever approves one that waits for this accepts the difference."""

RAN_OUT = "the lease ran out, and the policy ends it"
"""Why something is given back that no person asked for."""

Kept = Annotated[Seconds, Field(ge=30 * DAY, allow_inf_nan=False)]
"""Nothing is deleted unattended before thirty days: an incident that was closed by mistake shows by then."""


class Retention(Strict):
    """How long what an incident's journal points to is kept after the incident was closed.

    Args:
        keep: exhibits, bundles and raw alerts.
        classes: another length, for incidents of a class.
    """

    keep: Kept = 400 * DAY
    classes: dict[IncidentClass, Kept] = Field(default_factory=dict)

    def of(self, incident_class: IncidentClass) -> float:
        """Return how long evidence of a class is kept, in seconds."""
        return self.classes.get(incident_class, self.keep)

    @property
    def shortest(self) -> float:
        """The shortest that anything is kept, in seconds."""
        return min([self.keep, *self.classes.values()])


class Intake(Strict):
    """How alerts become incidents.

    Args:
        unknown: open incidents about things that the inventory does not know, of one class and source; what comes
            beyond meets in one.
    """

    unknown: int = Field(default=10, ge=1)


class Suppression(Strict):
    """How far people may keep alerts from opening incidents.

    Args:
        longest: how long one may last.
    """

    longest: Seconds = Field(default=7 * 86400.0, gt=0)


def _one_each() -> dict[Risk, int]:
    return {"low": 1, "medium": 1, "high": 1}


class Review(Strict):
    """What an approved definition needs before anything is automatic on it.

    Args:
        roles: any of these roles may review.
        people: how many different people, by the definition's risk.
    """

    roles: tuple[Slug, ...] = Field(default=("reviewer",), min_length=1)
    people: dict[Risk, Annotated[int, Field(ge=1)]] = Field(default_factory=_one_each)

    def needed(self, risk: Risk) -> int:
        """Return how many people a definition of this risk needs; never fewer than one of a lower risk."""
        up_to: dict[Risk, tuple[Risk, ...]] = {
            "low": ("low",),
            "medium": ("low", "medium"),
            "high": ("low", "medium", "high"),
        }
        return max(self.people.get(known, 1) for known in up_to[risk])


class Release(Strict):
    """What a release needs beyond one responder's signed request.

    Args:
        second_person_from: from this radius on another person has to agree.
        roles: any of these roles may release.
    """

    second_person_from: RadiusName = Radius.PRINCIPAL
    roles: tuple[Slug, ...] = ("responder", "approver")


def _shipped_rules() -> tuple[Rule, ...]:
    # Only where a reversible cut of one object can be confirmed by a fact of our own: a pin's difference that brings
    # something in, or an order in the server's own answer. In every class, what reaches further waits for people.
    automatic = (IncidentClass.TOOL_POISONING, IncidentClass.PROMPT_INJECTION, IncidentClass.DATA_EXFILTRATION)
    return (Rule(classes=automatic, mode=Mode.AUTOMATIC),)


class Policy(Strict):
    """What the gate goes by. The defaults are what ships.

    Args:
        version: of this format.
        rules: what may be done without a person; the first that fits decides, and what fits none needs people.
        classes: a mode by class, as policies of before have it instead of rules.
        automatic_up_to: the widest radius that is ever automatic, whatever a rule says.
        tiers: pairs of confidence and severity of which one has to be met.
        caps: how much may be contained automatically at one time, by radius.
        spacing: how fast automatic effects may follow one another.
        approval: what an approval must look like.
        lease: how a containment ends.
        release: what a release needs.
        intake: how alerts become incidents.
        suppression: how long alerts may be kept from opening incidents.
        retention: how long evidence is kept after an incident was closed.
        review: what an approved definition needs before anything is automatic on it.
    """

    version: Literal[1]
    rules: tuple[Rule, ...] = Field(default_factory=_shipped_rules)
    classes: dict[IncidentClass, Mode] | None = None
    automatic_up_to: RadiusName = Radius.TOOL
    tiers: tuple[Tier, ...] = (
        Tier(confidence=Confidence.HIGH, severity=Severity.MEDIUM),
        Tier(confidence=Confidence.MEDIUM, severity=Severity.HIGH),
        Tier(confidence=Confidence.LOW, severity=Severity.CRITICAL),
    )
    caps: dict[RadiusName, Cap] = Field(
        default_factory=lambda: {Radius.TOKEN: Cap(count=5, percent=20), Radius.TOOL: Cap(count=5, percent=20)}
    )
    spacing: Spacing = Spacing(at_most=10, within=60.0)
    approval: Approval = Approval()
    lease: Lease = Lease()
    release: Release = Release()
    intake: Intake = Intake()
    suppression: Suppression = Suppression()
    retention: Retention = Retention()
    review: Review = Review()

    @property
    def in_order(self) -> tuple[Rule, ...]:
        """The rules that count, also of a policy of before."""
        return self.rules if self.classes is None else by_class(self.classes)

    @model_validator(mode="after")
    def _rules_decide(self) -> Self:
        if self.classes is not None and "rules" in self.model_fields_set:
            message = "classes: there are rules, which say it all: write each as {class: NAME, mode: automatic} there"
            raise ValueError(message)
        for place, rule in enumerate(self.rules):
            if rule.up_to is None:
                continue
            if rule.mode is Mode.APPROVE:
                message = f"rules[{place}].up_to: this rule asks people whatever the radius: remove it"
                raise ValueError(message)
            if rule.up_to > self.automatic_up_to:
                most = self.automatic_up_to.name.lower()
                message = f"rules[{place}].up_to: automatic_up_to is {most}: write that or narrower, or raise it there"
                raise ValueError(message)
        for later, above in unreachable(self.rules):
            message = (
                f"rules[{later}]: never decides: rule {above + 1} above ({self.rules[above].about}) fits all that this "
                f"one does ({self.rules[later].about}); move it above that, or remove it"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _wider_is_stricter(self) -> Self:
        radii = sorted(self.caps)
        for narrow, wide in pairwise(radii):
            less, more = self.caps[narrow], self.caps[wide]
            if more.count > less.count or more.percent > less.percent:
                message = (
                    f"caps: {wide.name.lower()} may not get more than {narrow.name.lower()}, which is narrower: "
                    f"raise that one or lower this one"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _no_automatic_fleet(self) -> Self:
        if self.automatic_up_to is Radius.FLEET:
            message = "automatic_up_to: a whole fleet is never contained without a person; write server or narrower"
            raise ValueError(message)
        return self


class Purpose(StrEnum):
    """Why an effect is wanted."""

    CONTAIN = "contain"
    PUT_BACK = "put_back"
    RELEASE = "release"


class Facts(Strict):
    """What is known of the incident when the gate is asked.

    Args:
        incident_class: its class.
        severity: the worst of its alerts.
        confidence: of its best authenticated source, by configuration.
        authenticated: some alert of it came from an authenticated source, or a person started it with a signed request.
        confirmed: two facts of different kinds agree (`playbooks.gate.corroboration`).
        missing: why it is not confirmed, where that is known.
        purpose: contain, put back, release.
        put_backs: how often this lease was put back already.
        requested_by: the person whose signed request asks for the effect, None if the machine does.
        ran_out: for a release: nobody asks for it but the end of the lease.
        approved_by: people whose unexpired signed approval names this plan's digest.
        clean: for a release: every definition equals its approved pin, or a person accepted the difference.
        differs: for one that is not clean: what differs, where and how, a line each.
        unreviewed: approved definitions that it rests on and that nobody who may review has signed for, each with why.
        chosen: a person named this very thing, or something of this server, in a signed request.
        by_hand: what speaks for it is the word of a person who has it contained, and another one answers to that.
    """

    incident_class: IncidentClass
    severity: SeverityName
    confidence: ConfidenceName
    authenticated: bool
    confirmed: bool
    missing: Line = ""
    purpose: Purpose = Purpose.CONTAIN
    put_backs: int = 0
    requested_by: Name | None = None
    ran_out: bool = False
    approved_by: tuple[Name, ...] = ()
    clean: bool = True
    differs: tuple[RedactedLine, ...] = ()
    unreviewed: tuple[Line, ...] = ()
    chosen: bool = False
    by_hand: bool = False


class Reservation(Strict):
    """One target that an automatic decision of any incident touches, or has touched while its lease lasts.

    Args:
        incident: whose.
        target: the target's key.
        radius: of the plan.
        age: seconds since it was reserved.
    """

    incident: Slug
    target: Line
    radius: RadiusName
    age: float


OURSELVES = frozenset({"journal", "inbox", "vault", "keys", "responder", "receiver"})
"""Systems that are mcp-soar itself; nothing of them is ever a target, whatever the inventory says."""

WHOSE = frozenset({"user", "token"})
"""The kinds of object that are somebody's and belong to no server."""


class Outcome(StrEnum):
    """The gate's answer."""

    ALLOW = "allow"
    NEEDS_APPROVAL = "needs_approval"
    DENY = "deny"

    @property
    def rank(self) -> int:
        """How strict it is; larger is stricter."""
        return (Outcome.ALLOW, Outcome.NEEDS_APPROVAL, Outcome.DENY).index(self)


class Decision(Strict):
    """The gate's answer with all of its reasons.

    Args:
        outcome: allow, needs approval, deny.
        reasons: what stands against the plan, or why nothing does.
        digest: the plan that was judged.
        quorum: people needed, if people are.
        automatic: no person took part; it counts against the caps.
    """

    outcome: Outcome
    reasons: tuple[Line, ...]
    digest: Digest
    quorum: int = 0
    automatic: bool = False


def decide(
    plan: Plan, policy: Policy, facts: Facts, inventory: Inventory, reserved: Iterable[Reservation] = ()
) -> Decision:
    """Return whether a plan may be carried out now.

    Args:
        plan: the frozen plan.
        policy: the rules.
        facts: what is known of the incident.
        inventory: what exists, and what of it is protected.
        reserved: what automatic decisions hold already, over all incidents.
    """
    denied = list(_never(plan, facts, inventory))
    if denied:
        return Decision(outcome=Outcome.DENY, reasons=tuple(denied), digest=plan.digest)
    if facts.purpose is Purpose.RELEASE:
        against = list(_release_needs(plan, policy, facts))
    else:
        against = list(_contain_needs(plan, policy, facts, inventory))
    if facts.purpose is Purpose.CONTAIN and not against:
        against = list(_too_much(plan, policy, inventory, tuple(reserved)))
    if not against:
        automatic = facts.purpose is not Purpose.RELEASE
        machine = RAN_OUT if facts.ran_out else "within the policy's automatic limits"
        reason = "a responder's signed request" if facts.requested_by else machine
        return Decision(outcome=Outcome.ALLOW, reasons=(reason,), digest=plan.digest, automatic=automatic)
    quorum = policy.approval.needed(plan.radius)
    # Whoever asked for it does not count among those who agree.
    agreed = {who for who in facts.approved_by if who != facts.requested_by}
    if len(agreed) >= quorum:
        return Decision(
            outcome=Outcome.ALLOW, reasons=(f"approved by {', '.join(sorted(agreed))}",), digest=plan.digest
        )
    return Decision(outcome=Outcome.NEEDS_APPROVAL, reasons=tuple(against), digest=plan.digest, quorum=quorum)


def _never(plan: Plan, facts: Facts, inventory: Inventory) -> Iterable[str]:
    if not plan.changes:
        yield "the plan names no target"
    if not (facts.incident_class.actionable or facts.chosen or facts.purpose is Purpose.RELEASE):
        yield "the incident has no class yet; a person has to give it one"
    for target in plan.targets:
        kind, _, _ = target.system.partition("/")
        ours = inventory.ours(target.system)
        if kind in OURSELVES:
            yield f"{target} is mcp-soar's own {kind}"
        elif ours is None:
            yield f"{target} is on {target.system}, which the inventory does not know"
        elif target.kind not in ours:
            yield f"{target}: {target.system} has no kind of object that is called {target.kind}"
        # By ids alone: what a server calls its tools is its own choice, and must not make it untouchable.
        elif plain(target.id) in ours[target.kind]:
            yield f"{target} is a credential of mcp-soar itself"
        if target.server is None and target.kind not in WHOSE and not _known(target, inventory):
            yield f"{target} is of no server, so that nobody knows what it would stop"
        elif target.server is not None and target.server not in inventory.servers:
            yield f"{target} is on a server that the inventory does not know"


def _contain_needs(plan: Plan, policy: Policy, facts: Facts, inventory: Inventory) -> Iterable[str]:
    if plan.irreversible:
        yield say("it cannot be undone: {a}", a=known(plan.irreversible.because))
    yield from _ruled_out(plan, policy, facts, inventory)
    yield from _guarded(plan, inventory)
    if not facts.authenticated:
        yield say("no alert of it came from an authenticated source")
    if not facts.confirmed:
        yield facts.missing or NOTHING
    yield from facts.unreviewed
    if not any(facts.confidence >= tier.confidence and facts.severity >= tier.severity for tier in policy.tiers):
        confidence = facts.confidence.name.lower()
        enough = min((tier.severity for tier in policy.tiers if facts.confidence >= tier.confidence), default=None)
        if enough is None:
            yield say("{A} confidence is too little for policy.yaml, however severe it is", A=say(confidence))
        else:
            yield say(
                "severity {A} with {B} confidence is too little for policy.yaml, which wants severity {C} or worse",
                A=say(facts.severity.label),
                B=say(confidence),
                C=say(enough.label),
            )
    if facts.purpose is Purpose.PUT_BACK and facts.put_backs >= policy.lease.put_backs:
        times = facts.put_backs
        if times:
            yield say("somebody undid it, after it was put back {a} x: that is for a person to decide", a=times)
        else:
            yield say("somebody undid it, and nothing puts it back by itself: that is for a person to decide")


def _ruled_out(plan: Plan, policy: Policy, facts: Facts, inventory: Inventory) -> Iterable[str]:
    rules = ruled(policy.in_order, plan, facts.incident_class, inventory)
    widest = min((one.up_to(policy.automatic_up_to) for one in rules), default=policy.automatic_up_to)
    if plan.radius > widest:
        yield say(
            "it touches a {a}; automatic goes up to a {b}", a=say(plan.radius.name.lower()), b=say(widest.name.lower())
        )
    if not facts.incident_class.actionable:
        yield say("what has no class yet needs a person")
    elif asking := [one for one in rules if not one.automatic]:
        yield from dict.fromkeys(_asks(one, policy, facts) for one in asking)
    elif facts.by_hand:
        yield "a person chose it, and another one says whether it is done"


def _asks(one: Ruled, policy: Policy, facts: Facts) -> str:
    """Return why a rule, or that none fits, has a person asked."""
    if one.rule is not None and not one.rule.by_class_alone:
        return say("rule {a} of policy.yaml needs a person ({b})", a=one.number, b=one.rule.about)
    of_class = (rule for rule in policy.in_order if not rule.classes or facts.incident_class in rule.classes)
    if one.rule is None and any(rule.mode is Mode.AUTOMATIC for rule in of_class):
        return NONE_FITS
    return say("class {a} needs a person", a=facts.incident_class)


def _guarded(plan: Plan, inventory: Inventory) -> Iterable[str]:
    for target in plan.targets:
        server = inventory.servers.get(target.server) if target.server else None
        if server and server.protected:
            yield say("{a} is protected", a=target.server)
        if server and target.server and (server.physical_effects or _moves(target, target.server, inventory)):
            yield say("{a} has physical effects", a=target)
        if any(who.protected and _is_of(target, who, inventory) for who in inventory.principals.values()):
            yield say("{a} is protected", a=target)


def _moves(target: Target, server: str, inventory: Inventory) -> bool:
    """Whether people noted that a tool moves something: under its name now, or the one that it was approved under."""
    if target.kind != PinKind.TOOL:
        return False
    approved = (pin.name for pin in inventory.pins.of(server, PinKind.TOOL) if pin.gateway_id == target.id)
    notes = inventory.servers[server].tools
    return any(notes[name].physical_effects for name in (target.name, *approved) if name in notes)


def _known(target: Target, inventory: Inventory) -> bool:
    """Whether a target is some principal's."""
    return any(_is_of(target, who, inventory) for who in inventory.principals.values())


def _is_of(target: Target, who: Principal, inventory: Inventory) -> bool:
    """Whether a target is a principal at any of its places, or a token of it; by ids, as names are anybody's choice."""
    here = (place for name, place in who.places.items() if inventory.at(name) == target.system)
    ids = (plainly(some) for place in here for some in (place.objects(), place.credentials()))
    return any(plain(target.id) in some.get(target.kind, ()) for some in ids)


def _release_needs(plan: Plan, policy: Policy, facts: Facts) -> Iterable[str]:
    if not facts.clean:
        yield CHANGED
        yield from facts.differs
    yield from facts.unreviewed
    if facts.requested_by is None and not (facts.ran_out and policy.lease.at_expiry == "release"):
        yield say("nobody asked for the release with a signed request")
    elif plan.radius >= policy.release.second_person_from:
        yield say("giving back a {a} needs a second person", a=say(plan.radius.name.lower()))


def _too_much(plan: Plan, policy: Policy, inventory: Inventory, reserved: tuple[Reservation, ...]) -> Iterable[str]:
    if plan.radius not in policy.caps:
        yield say("the policy has no cap for a {a}, so none is automatic", a=say(plan.radius.name.lower()))
    # Everything in force counts, and the caps of narrower radii hold for wider ones too: more reach is never cheaper.
    # Things, not ids: what a gateway deletes and takes in again is no second one.
    held = {item.target for item in reserved}
    wanted = held | {target.thing for target in plan.things if target.key not in held}
    for radius in sorted(radius for radius in policy.caps if radius <= plan.radius):
        cap, population = policy.caps[radius], _population(inventory)
        allowed = min(cap.count, max(1, ceil(population * cap.percent / 100)))
        if len(wanted) > allowed:
            yield say(
                "{a} would be contained automatically at one time; the policy allows {b} at radius {c} ({d}, and {e} % "
                "of {f})",
                a=len(wanted),
                b=allowed,
                c=say(radius.name.lower()),
                d=cap.count,
                e=f"{cap.percent:g}",
                f=population,
            )
    recent = {(item.incident, item.target) for item in reserved if item.age <= policy.spacing.within}
    if len(recent) + len(plan.things) > policy.spacing.at_most:
        within, most = f"{policy.spacing.within:g}", policy.spacing.at_most
        yield say("{a} automatic effects in the last {b} s; the policy allows {c}", a=len(recent), b=within, c=most)


def _population(inventory: Inventory) -> int:
    """Return how many things the inventory has: whatever the radius, the percentage is of the same whole."""
    pinned = (PinKind.TOOL, PinKind.PROMPT, PinKind.RESOURCE)
    things = sum(len(inventory.pins.of(server, kind)) for server in inventory.servers for kind in pinned)
    tokens = sum(len(principal.tokens) for principal in inventory.principals.values())
    return things + tokens + len(inventory.principals) + len(inventory.servers)
