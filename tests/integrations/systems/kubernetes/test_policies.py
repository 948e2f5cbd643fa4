"""NetworkPolicies as a quarantine has to know them, without a cluster."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.systems.kubernetes.policies import (
    Requirement,
    as_sent,
    denying,
    excluded,
    letting,
    opens,
    requirements,
    selects,
    telling,
    with_exclusion,
)

WEATHER = {"app": "weather", "tier": "mcp"}
LABELS = st.dictionaries(st.sampled_from(["app", "tier", "x"]), st.sampled_from(["weather", "mcp", "news"]))
REQUIREMENTS = st.one_of(
    st.builds(Requirement, LABELS.map(lambda _: "app"), st.sampled_from(["Exists", "DoesNotExist"])),
    st.builds(
        Requirement,
        st.sampled_from(["app", "tier"]),
        st.sampled_from(["In", "NotIn"]),
        st.lists(st.sampled_from(["weather", "mcp"]), min_size=1, max_size=2, unique=True).map(tuple),
    ),
)


@given(one=REQUIREMENTS, labels=LABELS)
def test_what_is_negated_is_met_by_exactly_the_other_labels(one: Requirement, labels: dict[str, str]) -> None:
    assert one.negated.met(labels) is not one.met(labels)
    assert one.negated.negated == one
    assert Requirement.read(one.raw).met(labels) is one.met(labels)


@pytest.mark.parametrize(
    ("selector", "labels", "taken"),
    [
        ({}, {}, True),
        ({"matchLabels": {"app": "weather"}}, WEATHER, True),
        ({"matchLabels": {"app": "news"}}, WEATHER, False),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["weather"]}]}, {}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, {}, False),
        ({"matchLabels": {"app": "weather"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}, WEATHER, False),
    ],
)
def test_a_selector_takes_what_kubernetes_says(
    selector: dict[str, Any], labels: dict[str, str], *, taken: bool
) -> None:
    assert selects(selector, labels) is taken


@pytest.mark.parametrize(
    ("spec", "so"),
    [
        ({}, False),
        ({"policyTypes": ["Ingress", "Egress"]}, False),
        ({"policyTypes": ["Ingress"], "ingress": [{}]}, True),
        ({"policyTypes": ["Ingress"], "egress": [{}]}, False),
        ({"ingress": [{}]}, True),
        ({"egress": [{}]}, True),
    ],
)
def test_a_policy_opens_what_it_has_rules_for(spec: dict[str, Any], *, so: bool) -> None:
    assert opens({"spec": spec}) is so


def test_only_those_that_select_it_and_allow_something_let_it_through() -> None:
    rules = {"policyTypes": ["Egress"], "egress": [{}]}
    policies: list[dict[str, Any]] = [
        {"metadata": {"name": "dns"}, "spec": {"podSelector": {}, **rules}},
        {"metadata": {"name": "news"}, "spec": {"podSelector": {"matchLabels": {"app": "news"}}, **rules}},
        {"metadata": {"name": "deny"}, "spec": denying({"matchLabels": WEATHER})},
    ]
    assert [one["metadata"]["name"] for one in letting(policies, [WEATHER])] == ["dns"]


def test_what_tells_its_pods_from_others_is_met_by_none_of_them() -> None:
    selector = {"matchLabels": {"instance": "prod", "name": "weather"}}
    assert telling(selector, []) == Requirement("name", "In", ("weather",)), "rather what it is called"
    assert telling(selector, [{"name": "weather", "instance": "test"}]) == Requirement("instance", "In", ("prod",))
    both = [{"name": "weather"}, {"instance": "prod"}]
    assert telling(selector, both) is None


@given(labels=LABELS, selector=st.lists(REQUIREMENTS, max_size=2), others=st.lists(LABELS, max_size=3))
def test_an_exclusion_leaves_out_the_workload_and_nobody_else(
    labels: dict[str, str], selector: list[Requirement], others: list[dict[str, str]]
) -> None:
    own = {"matchLabels": WEATHER}
    others = [one for one in others if not selects(own, one)]
    told = telling(own, others)
    chosen = {"matchExpressions": [one.raw for one in selector]} if selector else {}
    if told is None:
        return
    after = with_exclusion(chosen, told.negated.raw, there=True)
    assert not selects(after, {**labels, **WEATHER})
    for one in others:
        assert selects(after, one) is selects(chosen, one)
    assert excluded({"spec": {"podSelector": after}}, told.negated.raw)
    assert requirements(after)[: len(selector)] == requirements(chosen) or told.negated in selector


def test_what_was_added_is_taken_away_and_nothing_else() -> None:
    chosen = {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}
    what = Requirement("app", "NotIn", ("weather",)).raw
    for before in ({}, chosen):
        assert with_exclusion(with_exclusion(before, what, there=True), what, there=False) == before


def test_a_policy_is_compared_by_what_it_says() -> None:
    spec = denying({"matchLabels": {"a": "1", "b": "2"}})
    turned = {"policyTypes": ["Egress", "Ingress"], "podSelector": {"matchLabels": {"b": "2", "a": "1"}}}
    assert as_sent(spec) == as_sent(turned)
    assert as_sent(spec) != as_sent({**spec, "egress": [{}]})
    assert as_sent(spec) != as_sent({**spec, "policyTypes": ["Ingress"]})
