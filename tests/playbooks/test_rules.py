"""Ordered rules as laws: the first that fits decides, none reaches past its cap, what none knows a person decides."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbooks.errors import Misconfigured
from playbooks.estate.inventory import Criticality, Environment, Inventory
from playbooks.gate.plan import Change, Plan, Radius, Target
from playbooks.gate.policy import Cap, Facts, Outcome, Policy, decide
from playbooks.gate.rules import NONE_FITS, Mode, Rule, by_class, ruled
from playbooks.record.incident import Confidence, IncidentClass, Severity
from playbooks.strict import parse_yaml
from tests.playbooks import test_policy

SERVERS = {
    f"{environment}-{criticality.name.lower()}": test_policy.server(environment=environment, criticality=criticality)
    for environment, criticality in itertools.product(Environment, Criticality)
}
INVENTORY: Inventory = test_policy.INVENTORY.model_copy(update={"servers": SERVERS})
CLASSES = [IncidentClass.TOOL_POISONING, IncidentClass.SERVER_COMPROMISE, IncidentClass.UNAUTHORIZED_ACCESS]
ACTIONS = ["gateway.disable_tool", "gateway.deactivate_user", "yard.lower_flag"]
RADII = [radius for radius in Radius if radius is not Radius.FLEET]
ROOMY = Policy(version=1, automatic_up_to=Radius.SERVER, caps={radius: Cap(count=100, percent=100) for radius in RADII})


def some(values: Sequence[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


RULES = st.lists(
    st.builds(
        Rule,
        classes=some(CLASSES),
        action=some(ACTIONS),
        system=some(["gateway", "yard"]),
        environment=some(list(Environment)),
        criticality=some(list(Criticality)),
        mode=st.sampled_from(Mode),
        up_to=st.none() | st.sampled_from(RADII),
    ),
    max_size=5,
).map(tuple)
WHERE: st.SearchStrategy[str | None] = st.sampled_from([*SERVERS, None])


def touching(places: Sequence[str | None], action: str, radius: Radius = Radius.TOOL) -> Plan:
    changes = [
        Change(
            target=Target(system="gateway/main", kind="tool" if on else "user", id=f"id-{n}", name=f"n{n}", server=on),
            field="enabled",
            before=True,
            after=False,
        )
        for n, on in enumerate(places)
    ]
    return Plan(action=action, params={}, summary="s", changes=tuple(changes), radius=radius)


PLANS = st.builds(
    touching,
    st.lists(WHERE, min_size=1, max_size=3),
    st.sampled_from(ACTIONS),
    st.sampled_from(list(Radius)),
)


def sure(of: IncidentClass) -> Facts:
    """Everything that can be said for it."""
    return Facts(
        incident_class=of,
        severity=Severity.CRITICAL,
        confidence=Confidence.HIGH,
        authenticated=True,
        confirmed=True,
    )


def policy(*rules: Rule, **changes: object) -> Policy:
    return ROOMY.model_copy(update={"rules": rules, **changes})


@given(RULES, RULES, PLANS, st.sampled_from(CLASSES))
def test_a_rule_added_below_never_changes_what_one_above_decided(
    rules: tuple[Rule, ...], below: tuple[Rule, ...], plan: Plan, of: IncidentClass
) -> None:
    before = ruled(rules, plan, of, INVENTORY)
    after = ruled(rules + below, plan, of, INVENTORY)
    assert [one for one in after if 0 < one.number <= len(rules)] == [one for one in before if one.rule]
    if all(one.rule for one in before):
        assert after == before
        judged, again = (decide(plan, policy(*all_), sure(of), INVENTORY) for all_ in (rules, rules + below))
        assert judged == again


@given(RULES, st.randoms(use_true_random=False), PLANS, st.sampled_from(CLASSES), st.sampled_from(RADII))
def test_no_order_of_rules_makes_anything_wider_than_its_cap(
    rules: tuple[Rule, ...], random: "object", plan: Plan, of: IncidentClass, most: Radius
) -> None:
    ordered = list(rules)
    random.shuffle(ordered)  # type: ignore[attr-defined]  # what hypothesis gives has no public type
    judged = policy(*ordered, automatic_up_to=most)
    decision = decide(plan, judged, sure(of), INVENTORY)
    if decision.automatic:
        assert plan.radius <= most
        widest = [rule.up_to or most for rule in rules if rule.mode is Mode.AUTOMATIC]
        assert plan.radius <= max(widest), "no rule says that this may be so wide"
        assert plan.radius < Radius.FLEET
        for one in ruled(judged.in_order, plan, of, INVENTORY):
            assert one.automatic
            assert plan.radius <= one.up_to(most)


@given(RULES, PLANS, st.sampled_from(CLASSES))
def test_what_no_rule_fits_a_person_decides(rules: tuple[Rule, ...], plan: Plan, of: IncidentClass) -> None:
    decision = decide(plan, policy(*rules), sure(of), INVENTORY)
    if any(one.rule is None for one in ruled(rules, plan, of, INVENTORY)):
        assert decision.outcome is Outcome.NEEDS_APPROVAL
        assert NONE_FITS in decision.reasons or f"class {of} needs a person" in decision.reasons
    assert decide(plan, policy(), sure(of), INVENTORY).outcome is Outcome.NEEDS_APPROVAL


@given(RULES, PLANS, st.sampled_from(CLASSES), WHERE)
def test_more_that_is_touched_is_never_easier(
    rules: tuple[Rule, ...], plan: Plan, of: IncidentClass, also: str | None
) -> None:
    more = plan.model_copy(update={"changes": (*plan.changes, *touching([also], "x").changes)})
    less, wider = (decide(one, policy(*rules), sure(of), INVENTORY) for one in (plan, more))
    assert wider.outcome.rank >= less.outcome.rank


@given(RULES, PLANS, st.sampled_from(CLASSES))
def test_an_approve_rule_on_top_asks_a_person_about_all_that_may_be_in_it(
    rules: tuple[Rule, ...], plan: Plan, of: IncidentClass
) -> None:
    careful = Rule(environment=(Environment.PROD,), mode=Mode.APPROVE)
    decision = decide(plan, policy(careful, *rules), sure(of), INVENTORY)
    servers = [SERVERS[target.server] if target.server else None for target in plan.targets]
    if any(server is None or server.environment is Environment.PROD for server in servers):
        assert not decision.automatic


@given(st.dictionaries(st.sampled_from(IncidentClass), st.sampled_from(Mode)), PLANS, st.sampled_from(CLASSES))
def test_a_policy_of_before_says_what_it_said(modes: dict[IncidentClass, Mode], plan: Plan, of: IncidentClass) -> None:
    old = Policy(version=1, classes=modes, automatic_up_to=Radius.SERVER, caps=ROOMY.caps)
    decision = decide(plan, old, sure(of), INVENTORY)
    allowed = modes.get(of) is Mode.AUTOMATIC and plan.radius < Radius.FLEET
    assert decision.automatic is allowed
    if modes.get(of) is not Mode.AUTOMATIC:
        assert f"class {of} needs a person" in decision.reasons
    assert decision == decide(plan, policy(*by_class(modes)), sure(of), INVENTORY)


@given(RULES, PLANS, st.sampled_from(CLASSES))
def test_a_rule_that_is_refused_as_unreachable_decides_nothing(
    rules: tuple[Rule, ...], plan: Plan, of: IncidentClass
) -> None:
    for above, later in itertools.combinations(range(len(rules)), 2):
        if rules[above].leaves_nothing_of(rules[later]):
            kept = rules[:later] + rules[later + 1 :]
            assert [one.rule for one in ruled(rules, plan, of, INVENTORY)] == [
                one.rule for one in ruled(kept, plan, of, INVENTORY)
            ]


def test_of_what_belongs_to_no_server_nothing_is_known() -> None:
    dev = Rule(environment=(Environment.DEV,), mode=Mode.AUTOMATIC)
    users = touching([None], "gateway.deactivate_user", Radius.PRINCIPAL)
    assert decide(users, policy(dev), sure(CLASSES[2]), INVENTORY).reasons == (NONE_FITS,)
    asked = Rule(criticality=(Criticality.CRITICAL,), mode=Mode.APPROVE)
    everything = Rule(mode=Mode.AUTOMATIC)
    decision = decide(users, policy(asked, everything), sure(CLASSES[2]), INVENTORY)
    assert decision.reasons == ("rule 1 of policy.yaml needs a person (criticality: critical)",)
    assert decide(users, policy(everything), sure(CLASSES[2]), INVENTORY).automatic


def test_a_rule_reaches_as_far_as_it_says() -> None:
    narrow = Rule(environment=(Environment.DEV,), mode=Mode.AUTOMATIC, up_to=Radius.TOOL)
    whole = touching(["dev-low"], "gateway.disable_server", Radius.SERVER)
    decision = decide(whole, policy(narrow), sure(CLASSES[1]), INVENTORY)
    assert decision.reasons == ("it touches a server; automatic goes up to a tool",)
    (one,) = ruled([narrow], whole, CLASSES[1], INVENTORY)
    assert one.said(Radius.SERVER) == "rule 1 of policy.yaml (environment: dev): automatic up to a tool"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("- {class: tool_poisening, mode: automatic}", "policy.yaml:3: rules.0.class.0: Input should be 'tool_pois"),
        ("- {environment: production, mode: approve}", "policy.yaml:3: rules.0.environment.0: Input should be 'dev'"),
        ("- {criticality: huge, mode: approve}", "rules.0.criticality.0: is not one of low, medium, high, critical"),
        ("- {mode: automatic, up_to: planet}", "rules.0.up_to: is not one of token, tool, principal, server, fleet"),
        ("- {mode: automatic, up_to: server}", "policy.yaml:3: rules.0.up_to: automatic_up_to is tool: write that"),
        ("- {mode: automatic, up_to: fleet}", "rules.0.up_to: automatic_up_to is tool"),
        ("- {mode: approve, up_to: tool}", "policy.yaml:3: rules.0.up_to: this rule asks people whatever the radius"),
        ("- {class: tool_poisoning}", "policy.yaml:3: rules.0.mode: is missing"),
        ("- {class: [], mode: automatic}", "policy.yaml:3: rules.0.class: name one at least, or leave it out"),
        ("- {klass: tool_poisoning, mode: approve}", "policy.yaml:3: rules.0.klass: is not a field here"),
        (
            "- {mode: automatic}\n- {environment: prod, mode: approve}",
            "policy.yaml:4: rules.1: never decides: rule 1 above (everything) fits all that this one does (environment",
        ),
        (
            "- {class: tool_poisoning, mode: automatic}\nclasses: {tool_poisoning: approve}",
            "policy.yaml:4: classes: there are rules, which say it all",
        ),
    ],
)
def test_what_is_wrong_in_a_rule_names_file_line_field_and_what_there_is(rules: str, said: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse_yaml(Policy, f"version: 1\nrules:\n{rules}\n", file="policy.yaml")
    assert said in str(caught.value)


def test_a_rule_below_that_still_decides_something_stays() -> None:
    text = (
        "version: 1\nrules:\n- {environment: dev, mode: automatic}\n- {environment: [dev, prod], mode: approve}\n"
        "- {environment: dev, mode: approve}\n"
    )
    with pytest.raises(Misconfigured, match=r"policy\.yaml:5: rules\.2: never decides: rule 2 above"):
        parse_yaml(Policy, text, file="policy.yaml")
    kept = parse_yaml(Policy, text.rsplit("-", 1)[0], file="policy.yaml")
    assert [rule.mode for rule in kept.in_order] == [Mode.AUTOMATIC, Mode.APPROVE]
