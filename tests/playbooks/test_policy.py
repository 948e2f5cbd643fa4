"""The gate as laws: a wider radius, less trust or more in force never weakens its answer; the unknown is denied."""

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from playbooks.errors import Misconfigured
from playbooks.estate.gateway import Canary, Entry, Gateway, GatewayAccount
from playbooks.estate.inventory import Environment, Inventory, Principal, Server, ToolNotes
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.estate.systems import Secret
from playbooks.gate.plan import LIST, Change, Irreversible, Plan, Radius, Target
from playbooks.gate.policy import (
    CHANGED,
    RAN_OUT,
    Cap,
    Decision,
    Facts,
    Lease,
    Outcome,
    Policy,
    Purpose,
    Reservation,
    Spacing,
    decide,
)
from playbooks.gate.rules import Mode
from playbooks.record.incident import Confidence, IncidentClass, Severity
from playbooks.strict import digest, parse_yaml

SECRET = Secret(env="LAB")


def server(**changes: object) -> Server:
    fields = {
        "title": "t",
        "owner": "o",
        "environment": Environment.PROD,
        "places": {"main": Entry(id="e1")},
    }
    return Server.model_validate({**fields, **changes})


def pin(name: str) -> Pin:
    return Pin(kind=PinKind.TOOL, name=name, digest=digest(name), definition={}, dossier=Dossier(reviewed="lab"))


INVENTORY = Inventory(
    version=1,
    systems={
        "main": Gateway(
            kind="contextforge",
            url="http://127.0.0.1:1",
            user="admin@example.com",
            password=SECRET,
            canary=Canary(principal="canary@example.com", token=SECRET, url="http://127.0.0.1:1/mcp/"),
            credential_ids=("our-own-token",),
        )
    },
    servers={
        "weather": server(),
        "vault": server(protected=True),
        "robot": server(tools={"move": ToolNotes(physical_effects=True)}),
    },
    principals={
        "chief": Principal(
            title="t",
            protected=True,
            places={"main": GatewayAccount(user="chief@example.com", tokens={"desk": "chiefs-token"})},
        ),
        "watcher": Principal(
            title="t",
            places={"main": GatewayAccount(user="Canary@example.com", tokens={"spare": "canarys-other-token"})},
        ),
    },
    pins=Pins(servers={"weather": tuple(pin(f"tool-{n}") for n in range(100))}),
)
SURE = Facts(
    incident_class=IncidentClass.TOOL_POISONING,
    severity=Severity.HIGH,
    confidence=Confidence.HIGH,
    authenticated=True,
    confirmed=True,
)
SHIPPED = Policy(version=1)


def plan(*tools: str, on: str = "weather", radius: Radius = Radius.TOOL, **changes: object) -> Plan:
    targets = [Target(system="gateway/main", kind="tool", id=f"id-{tool}", name=tool, server=on) for tool in tools]
    return Plan(
        action="gateway.disable_tool",
        params={},
        summary=f"Disable {', '.join(tools)}",
        changes=tuple(Change(target=target, field="enabled", before=True, after=False) for target in targets),
        radius=radius,
    ).model_copy(update=changes)


def asked(
    judged: Plan, facts: Facts = SURE, policy: Policy = SHIPPED, reserved: tuple[Reservation, ...] = ()
) -> Decision:
    return decide(judged, policy, facts, INVENTORY, reserved)


def but(**changes: object) -> Facts:
    return SURE.model_copy(update=changes)


def in_force(count: int, age: float = 1000.0) -> tuple[Reservation, ...]:
    return tuple(
        Reservation(incident=f"inc-{n}", target=f"gateway/main/tool/held-{n}", radius=Radius.TOOL, age=age)
        for n in range(count)
    )


def test_the_one_thing_that_ships_automatic() -> None:
    decision = asked(plan("tool-1"))
    assert decision.outcome is Outcome.ALLOW
    assert decision.automatic


@pytest.mark.parametrize(
    ("facts", "judged", "reason"),
    [
        (but(authenticated=False), plan("tool-1"), "authenticated"),
        (but(confirmed=False), plan("tool-1"), "confirms"),
        (but(confidence=Confidence.LOW), plan("tool-1"), "too little for policy.yaml, which wants severity critical"),
        (but(severity=Severity.LOW), plan("tool-1"), "too little for policy.yaml, which wants severity medium or wor"),
        (but(incident_class=IncidentClass.SERVER_COMPROMISE), plan("tool-1"), "needs a person"),
        (SURE, plan("tool-1", radius=Radius.SERVER), "touches a server"),
        (SURE, plan("tool-1", irreversible=Irreversible(because="it is gone")), "cannot be undone"),
        (SURE, plan("tool-1", on="vault"), "protected"),
        (SURE, plan("move", on="robot"), "physical"),
        (but(purpose=Purpose.PUT_BACK, put_backs=3), plan("tool-1"), "undid it, after it was put back 3 x"),
        (but(purpose=Purpose.RELEASE), plan("tool-1"), "nobody asked"),
        (but(purpose=Purpose.RELEASE, ran_out=True), plan("tool-1"), "nobody asked"),
        (
            but(purpose=Purpose.RELEASE, requested_by="ann", clean=False),
            plan("tool-1"),
            "differs from its approved pin",
        ),
        (but(purpose=Purpose.RELEASE, requested_by="ann"), plan("tool-1", radius=Radius.SERVER), "second person"),
    ],
)
def test_what_needs_people_says_why(facts: Facts, judged: Plan, reason: str) -> None:
    decision = asked(judged, facts)
    assert decision.outcome is Outcome.NEEDS_APPROVAL
    assert reason in "; ".join(decision.reasons)


def test_a_lease_ends_unattended_where_the_policy_says_so_and_as_the_policys_own_act() -> None:
    policy = Policy(version=1, lease=Lease(at_expiry="release"))
    facts = but(purpose=Purpose.RELEASE, ran_out=True)
    decision = decide(plan("tool-1"), policy, facts, INVENTORY)
    assert (decision.outcome, decision.reasons) == (Outcome.ALLOW, (RAN_OUT,))
    wide = decide(plan("tool-1", radius=Radius.SERVER), policy, facts, INVENTORY)
    assert wide.reasons == ("giving back a server needs a second person",)
    unclean = decide(plan("tool-1"), policy, but(purpose=Purpose.RELEASE, ran_out=True, clean=False), INVENTORY)
    assert unclean.reasons == (CHANGED,)


@pytest.mark.parametrize(
    "judged",
    [
        plan(),
        plan("tool-1", on="nobody-knows"),
        plan("tool-1").model_copy(
            update={
                "changes": (
                    Change(
                        target=Target(system="gateway/other", kind="tool", id="x", name="x"),
                        field="enabled",
                        before=True,
                        after=False,
                    ),
                )
            }
        ),
        *(
            plan().model_copy(
                update={
                    "changes": (
                        Change(
                            target=Target(system="gateway/main", kind=kind, id=id_, name=name),
                            field="active",
                            before=True,
                            after=False,
                        ),
                    )
                }
            )
            for kind, id_, name in (
                ("token", "our-own-token", "canary"),
                ("user", "canary@example.com", "some agent"),
                ("user", "admin@example.com", "the chief"),
                # Who signs in is known in any case.
                ("user", "Admin@Example.com", "the chief"),
                # The canary stands among the principals as well, with a token that nobody listed as ours.
                ("token", "canarys-other-token", "spare"),
            )
        ),
    ],
)
def test_what_is_unknown_or_our_own_is_denied_whoever_agrees(judged: Plan) -> None:
    everybody = but(approved_by=("ann", "bob", "cho"), requested_by="dan")
    assert asked(judged, everybody).outcome is Outcome.DENY


def at(system: str, kind: str = "tool", id_: str = "x", name: str = "x", server: str | None = "weather") -> Plan:
    """Return the plan of one change, at any system, to any object."""
    target = Target(system=system, kind=kind, id=id_, name=name, server=server)
    return plan().model_copy(
        update={"changes": (Change(target=target, field="enabled", before=True, after=False),), "radius": Radius.TOOL}
    )


@given(
    st.from_regex(r"\A[a-z0-9-]{1,12}/[a-z0-9_.-]{1,12}\Z").filter(lambda name: name != "gateway/main"),
    st.sampled_from(["tool", "server", "file", "pod", "user"]),
    st.sampled_from(Purpose),
)
@example("journal/main", "file", Purpose.CONTAIN)
@example("kubernetes/prod", "pod", Purpose.CONTAIN)
@example("gateway/mains", "tool", Purpose.RELEASE)
def test_a_system_that_nobody_described_is_denied_whoever_agrees(system: str, kind: str, purpose: Purpose) -> None:
    everybody = but(approved_by=("ann", "bob", "cho"), requested_by="dan", purpose=purpose)
    assert asked(at(system, kind), everybody).outcome is Outcome.DENY


@pytest.mark.parametrize("own", ["journal", "inbox", "vault", "keys", "responder", "receiver"])
def test_what_mcp_soar_stands_on_is_its_own_whatever_it_is_called(own: str) -> None:
    decision = asked(at(f"{own}/main"), but(approved_by=("ann", "bob", "cho")))
    assert decision.outcome is Outcome.DENY
    assert f"mcp-soar's own {own}" in decision.reasons[0]


def test_what_is_on_no_server_is_denied_for_nobody_knows_what_it_would_stop() -> None:
    assert asked(at("gateway/main", server=None), but(approved_by=("ann", "bob"))).outcome is Outcome.DENY


OUR_NAMES = ["canary@example.com", "admin@example.com", "our-own-token", "canarys-other-token"]


@pytest.mark.parametrize("kind", ["tool", "prompt", "resource", "entry"])
@pytest.mark.parametrize("name", OUR_NAMES)
def test_a_name_that_a_server_chose_makes_nothing_untouchable(kind: str, name: str) -> None:
    assert asked(at("gateway/main", kind, name=name)).outcome is Outcome.ALLOW
    # Nor does the id that a gateway gives: the ids of users and of tools are not the same ids.
    assert asked(at("gateway/main", kind, id_=name)).outcome is Outcome.ALLOW


@pytest.mark.parametrize("name", [*OUR_NAMES, "chief", "chief@example.com", "chiefs-token"])
def test_a_server_with_a_tool_of_such_a_name_can_be_cut_as_a_whole(name: str) -> None:
    whole = plan("tool-1", name, "tool-2", radius=Radius.SERVER)
    assert asked(whole, but(approved_by=("ann",))).outcome is Outcome.ALLOW
    assert asked(whole).reasons == ("it touches a server; automatic goes up to a tool",)


@pytest.mark.parametrize("name", ["chief", "chief@example.com", "chiefs-token"])
def test_a_tool_is_not_protected_by_being_called_like_somebody_who_is(name: str) -> None:
    assert asked(at("gateway/main", name=name)).automatic
    assert asked(at("gateway/main", id_=name)).automatic


@pytest.mark.parametrize(("kind", "id_"), [("user", "Chief@example.com"), ("token", "chiefs-token")])
def test_who_is_protected_is_so_by_id_under_any_name(kind: str, id_: str) -> None:
    reasons = asked(at("gateway/main", kind, id_, name="whoever", server=None)).reasons
    assert f"{kind} whoever is protected" in reasons


def test_a_tool_that_moves_something_does_so_under_another_name_too() -> None:
    moved = pin("move").model_copy(update={"gateway_id": "id-of-move"})
    inventory = INVENTORY.model_copy(update={"pins": Pins(servers={"robot": (moved,)})})
    renamed = at("gateway/main", id_="id-of-move", name="harmless", server="robot")
    assert "tool harmless of robot has physical effects" in decide(renamed, SHIPPED, SURE, inventory).reasons
    # A prompt moves nothing, whatever it is called.
    assert asked(at("gateway/main", "prompt", name="move", server="robot")).automatic


def test_an_unclassified_incident_is_never_acted_on() -> None:
    assert asked(plan("tool-1"), but(incident_class=IncidentClass.UNCLASSIFIED)).outcome is Outcome.DENY


def test_approvals_count_without_whoever_asked() -> None:
    wide = plan("tool-1", radius=Radius.FLEET)
    assert asked(wide, but(requested_by="ann", approved_by=("ann", "bob"))).outcome is Outcome.NEEDS_APPROVAL
    assert asked(wide, but(requested_by="ann", approved_by=("bob", "cho"))).outcome is Outcome.ALLOW
    assert asked(wide, but(approved_by=("bob", "bob"))).outcome is Outcome.NEEDS_APPROVAL


def test_caps_count_what_all_incidents_hold() -> None:
    assert asked(plan("tool-1"), reserved=in_force(4)).outcome is Outcome.ALLOW
    decision = asked(plan("tool-1"), reserved=in_force(5))
    assert decision.outcome is Outcome.NEEDS_APPROVAL
    assert "the policy allows 5" in decision.reasons[0]


def test_a_thing_that_comes_back_under_another_id_is_counted_once() -> None:
    first = plan("tool-1")
    held = Reservation(incident="inc-1", target=first.targets[0].thing, radius=Radius.TOOL, age=1000.0)
    again = first.targets[0].model_copy(update={"id": "id-after-it-was-deleted"})
    second = first.model_copy(update={"changes": (Change(target=again, field="enabled", before=True, after=False),)})
    assert asked(second, reserved=(*in_force(4), held)).outcome is Outcome.ALLOW
    # Another tool of that name, on another server, is another thing.
    assert asked(plan("tool-1", on="robot"), reserved=(*in_force(4), held)).outcome is Outcome.NEEDS_APPROVAL
    # What an earlier release reserved went by the id.
    old = Reservation(incident="inc-1", target=first.targets[0].key, radius=Radius.TOOL, age=1000.0)
    assert asked(first, reserved=(*in_force(4), old)).outcome is Outcome.ALLOW


def test_the_list_by_which_a_tool_is_kept_from_clients_is_no_second_thing() -> None:
    cut = plan("tool-1")
    place = cut.targets[0].model_copy(update={"kind": LIST, "id": "g-1", "name": "weather"})
    listed = Change(target=place, field="allows", before="everything", after="listed")
    both = cut.model_copy(update={"changes": (*cut.changes, listed)})
    assert asked(both, reserved=in_force(4)).outcome is Outcome.ALLOW
    tight = Policy(version=1, spacing=Spacing(at_most=1, within=60.0))
    assert asked(both, policy=tight).outcome is Outcome.ALLOW


def test_what_differs_is_among_the_reasons_of_a_release() -> None:
    release = but(purpose=Purpose.RELEASE, requested_by="ann", clean=False, differs=("tool x: description: +evil",))
    assert asked(plan("tool-1"), release).reasons == (CHANGED, "tool x: description: +evil")


def test_giving_back_is_no_double_negative() -> None:
    assert plan("tool-1").inverse().summary == "Give back tool-1"
    assert plan("tool-1", summary="Revoke it").inverse().summary == "Undo: Revoke it"
    named = "Disable tool {a} of weather, which a journal of an earlier release has as mere text"
    assert plan("tool-1", summary=named).inverse().summary == named.replace("Disable", "Give back")


def test_the_percentage_is_of_the_inventory_and_one_is_always_within_it() -> None:
    tight = Policy(version=1, caps={Radius.TOOL: Cap(count=50, percent=2)})  # 107 things: 3
    assert asked(plan("tool-1"), policy=tight, reserved=in_force(2)).outcome is Outcome.ALLOW
    assert asked(plan("tool-1"), policy=tight, reserved=in_force(3)).outcome is Outcome.NEEDS_APPROVAL
    none = Policy(version=1, caps={Radius.TOOL: Cap(count=50, percent=0)})
    assert asked(plan("tool-1"), policy=none).outcome is Outcome.ALLOW


def test_the_same_target_counts_once() -> None:
    mine = (Reservation(incident="inc-9", target="gateway/main/tool/id-tool-1", radius=Radius.TOOL, age=1000.0),)
    assert asked(plan("tool-1"), reserved=(*in_force(4), *mine)).outcome is Outcome.ALLOW


def test_spacing() -> None:
    slow = Policy(version=1, spacing=Spacing(at_most=2, within=60.0))
    assert asked(plan("tool-1"), policy=slow, reserved=in_force(1, age=1.0)).outcome is Outcome.ALLOW
    assert asked(plan("tool-1"), policy=slow, reserved=in_force(2, age=1.0)).outcome is Outcome.NEEDS_APPROVAL
    assert asked(plan("tool-1"), policy=slow, reserved=in_force(2, age=61.0)).outcome is Outcome.ALLOW


# Laws

RADII = st.sampled_from(Radius)
FACTS = st.builds(
    Facts,
    incident_class=st.sampled_from(IncidentClass),
    severity=st.sampled_from(Severity),
    confidence=st.sampled_from(Confidence),
    authenticated=st.booleans(),
    confirmed=st.booleans(),
    purpose=st.sampled_from(Purpose),
    put_backs=st.integers(0, 5),
    requested_by=st.sampled_from([None, "ann"]),
    approved_by=st.sets(st.sampled_from(["ann", "bob", "cho"])).map(tuple),
    clean=st.booleans(),
)
CAPS = st.lists(st.tuples(st.integers(0, 8), st.floats(0, 100)), min_size=0, max_size=5).map(
    # Wider radii get no more than narrower ones, or the policy is refused.
    lambda pairs: {
        radius: Cap(count=count, percent=percent)
        for radius, count, percent in zip(
            Radius,
            sorted((count for count, _ in pairs), reverse=True),
            sorted((percent for _, percent in pairs), reverse=True),
            strict=False,
        )
    }
)
POLICIES = st.builds(
    Policy,
    version=st.just(1),
    classes=st.dictionaries(st.sampled_from(IncidentClass), st.sampled_from(Mode)),
    automatic_up_to=st.sampled_from([Radius.TOKEN, Radius.TOOL, Radius.PRINCIPAL, Radius.SERVER]),
    caps=CAPS,
    spacing=st.builds(Spacing, at_most=st.integers(1, 8), within=st.just(60.0)),
)
PLANS = st.builds(
    lambda tools, on: plan(*sorted(tools), on=on),
    st.sets(st.sampled_from(["tool-1", "tool-2", "move"]), max_size=3),
    st.sampled_from(["weather", "vault", "robot", "nobody-knows"]),
)
HELD = st.lists(st.tuples(RADII, st.floats(0, 120)), max_size=8).map(
    lambda rows: tuple(
        Reservation(incident=f"inc-{n}", target=f"gateway/main/tool/held-{n}", radius=radius, age=age)
        for n, (radius, age) in enumerate(rows)
    )
)


@dataclass(frozen=True)
class Weaker:
    """The same facts with one thing less to be said for acting."""

    name: str
    change: dict[str, object]


@given(PLANS, POLICIES, FACTS, HELD, st.tuples(RADII, RADII))
def test_a_wider_radius_never_yields_a_weaker_gate(
    judged: Plan, policy: Policy, facts: Facts, held: tuple[Reservation, ...], radii: tuple[Radius, Radius]
) -> None:
    narrow, wide = (judged.model_copy(update={"radius": radius}) for radius in sorted(radii))
    narrower = decide(narrow, policy, facts, INVENTORY, held)
    wider = decide(wide, policy, facts, INVENTORY, held)
    assert wider.outcome.rank >= narrower.outcome.rank
    assert wider.quorum >= narrower.quorum or wider.outcome is not narrower.outcome


@given(PLANS, POLICIES, FACTS, HELD, st.integers(0, 8))
def test_more_in_force_never_yields_a_weaker_gate(
    judged: Plan, policy: Policy, facts: Facts, held: tuple[Reservation, ...], fewer: int
) -> None:
    less, more = (decide(judged, policy, facts, INVENTORY, rows) for rows in (held[:fewer], held))
    assert more.outcome.rank >= less.outcome.rank


@given(
    PLANS,
    POLICIES,
    FACTS,
    HELD,
    st.sampled_from(
        [
            Weaker("nobody authentic", {"authenticated": False}),
            Weaker("nothing confirms", {"confirmed": False}),
            Weaker("low confidence", {"confidence": Confidence.LOW}),
            Weaker("harmless", {"severity": Severity.INFORMATIONAL}),
            Weaker("nobody approves", {"approved_by": ()}),
            Weaker("undone often", {"put_backs": 100}),
            Weaker("not clean", {"clean": False}),
        ]
    ),
)
def test_less_to_be_said_for_it_never_yields_a_weaker_gate(
    judged: Plan, policy: Policy, facts: Facts, held: tuple[Reservation, ...], weaker: Weaker
) -> None:
    before = decide(judged, policy, facts, INVENTORY, held)
    after = decide(judged, policy, facts.model_copy(update=weaker.change), INVENTORY, held)
    assert after.outcome.rank >= before.outcome.rank, weaker.name


@given(PLANS, POLICIES, FACTS, HELD)
def test_nothing_is_automatic_that_is_not_reversible_authentic_and_confirmed(
    judged: Plan, policy: Policy, facts: Facts, held: tuple[Reservation, ...]
) -> None:
    decision = decide(judged, policy, facts, INVENTORY, held)
    if decision.automatic:
        assert facts.authenticated
        assert facts.confirmed
        assert judged.irreversible is None
        assert policy.classes
        assert policy.classes.get(facts.incident_class) is Mode.AUTOMATIC
        assert all(target.server in {"weather", "robot"} for target in judged.targets)
        assert not any(target.name == "move" and target.server == "robot" for target in judged.targets)


@given(PLANS, POLICIES, FACTS, HELD)
def test_every_answer_gives_its_reasons_and_names_its_plan(
    judged: Plan, policy: Policy, facts: Facts, held: tuple[Reservation, ...]
) -> None:
    decision = decide(judged, policy, facts, INVENTORY, held)
    assert decision.reasons
    assert decision.digest == judged.digest
    assert decision.outcome is not Outcome.NEEDS_APPROVAL or decision.quorum >= 1


# The file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\nautomatic_up_to: fleet\n", "a whole fleet is never contained without a person"),
        ("version: 1\nautomatic_up_to: planet\n", "policy.yaml:2: automatic_up_to: is not one of token, tool"),
        (
            "version: 1\ncaps:\n  tool: {count: 9, percent: 20}\n  token: {count: 5, percent: 20}\n",
            "tool may not get more",
        ),
        ("version: 1\nclases: {}\n", "policy.yaml:2: clases: is not a field here"),
        ("version: 1\nclasses: {tool_poisoning: auto}\n", "policy.yaml:2: classes.tool_poisoning"),
        ("version: 1\nversion: 1\n", "policy.yaml:2: the key 'version' is given twice"),
        ("version: 1\nspacing: {at_most: 1, within: soon}\n", "policy.yaml:2: spacing.within"),
    ],
)
def test_a_policy_that_is_wrong_names_line_and_field(text: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=r"policy\.yaml") as caught:
        parse_yaml(Policy, text, file="policy.yaml")
    assert said in str(caught.value)


def test_a_quorum_of_nobody_is_refused() -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate({"version": 1, "approval": {"quorum": {"tool": 0}}})
