"""What is done about what a person chose: the class's playbook as it is, and what it lacks."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.registry import SYSTEMS
from playbooks import chosen, playbook
from playbooks.action import Action, Capture, Check
from playbooks.errors import Refused
from playbooks.estate.inventory import Resolved
from playbooks.estate.places import GATEWAY
from playbooks.playbook import Playbook, When
from playbooks.record.incident import EntityKind, Phase
from playbooks.taxonomy import IncidentClass

KINDS = chosen.containable()
CATALOG = playbook.shipped()
SUBSETS = st.sets(st.sampled_from(KINDS), min_size=1)


def test_there_is_a_cut_for_each_kind_that_an_action_contains_and_every_step_names_something() -> None:
    cuts = [step for step in chosen.shipped().phases[Phase.CUT] if step.action]
    made = {step.action for step in cuts if step.at in {None, GATEWAY}}
    assert made == {kind.name for kind in SYSTEMS.works["contextforge"].steps if issubclass(kind, Action)}
    assert all(step.when is When.CHOSEN for step in cuts), "what an alert brings along is none of it"
    bases = {"action": Action, "capture": Capture, "check": Check}
    for _, step in chosen.shipped().steps():
        if step.names:
            kind = SYSTEMS.steps[step.names]
            assert issubclass(kind, bases[step.kind])
            id_ = "192.0.2.1" if step.for_each is EntityKind.ADDRESS else "x"
            thing = Resolved(kind=step.for_each, id=id_, server="s", principal="p")
            kind.model_validate(step.parameters(thing).of(kind))


@given(st.sampled_from(list(IncidentClass)), SUBSETS)
def test_whatever_is_chosen_has_exactly_one_cut_and_the_classs_own_steps_stay(
    incident_class: IncidentClass, kinds: set[EntityKind]
) -> None:
    own = CATALOG.get(incident_class)
    made = chosen.extended(own, incident_class, kinds)
    assert made.class_ is incident_class
    for kind in kinds:
        cuts = [s for s in made.phases[Phase.CUT] if s.action and s.for_each is kind and s.when is not When.LEAKING]
        assert cuts, kind
        # Whoever has a place in a realm is a user there or a client: of the two steps one has nothing to do.
        at = [cut.at or GATEWAY for cut in cuts if cut.action != "keycloak.replace_secret"]
        assert own is not None or len(at) == len(set(at)), "one at each kind of system"
    if own is not None:
        for phase in Phase:
            assert made.phases[phase][: len(own.phases[phase])] == own.phases[phase]
    # The journal keeps its text: that reads as the same.
    again = Playbook.model_validate_json(made.text)
    assert again.digest == made.digest
    # What is chosen later is added to what there is.
    assert chosen.extended(made, incident_class, kinds) is made
    for more in KINDS:
        wider = chosen.extended(made, incident_class, {more})
        assert {step.id for _, step in made.steps()} <= {step.id for _, step in wider.steps()}


def test_a_class_that_cuts_the_kind_itself_goes_by_its_own_playbook() -> None:
    own = CATALOG[IncidentClass.TOOL_POISONING]
    assert chosen.extended(own, IncidentClass.TOOL_POISONING, {EntityKind.TOOL}) is own


def test_a_class_that_cuts_it_at_the_gateway_alone_has_it_cut_where_it_was_issued_too() -> None:
    own = CATALOG[IncidentClass.DENIAL_OF_SERVICE]
    made = chosen.extended(own, own.class_, {EntityKind.TOKEN, EntityKind.PRINCIPAL})
    more = [step for step in made.phases[Phase.CUT] if step.action and step not in own.phases[Phase.CUT]]
    assert [(step.action, step.for_each) for step in more] == [
        ("keycloak.disable_user", EntityKind.PRINCIPAL),
        ("oidc.revoke_tokens", EntityKind.PRINCIPAL),
        ("keycloak.replace_secret", EntityKind.PRINCIPAL),
        ("denylist.deny_subject", EntityKind.PRINCIPAL),
        ("denylist.deny_token", EntityKind.TOKEN),
        ("oidc.revoke_token", EntityKind.TOKEN),
    ]
    new = {step.names for _, step in made.steps()} - {step.names for _, step in own.steps()}
    assert new == {
        "keycloak.capture_sessions",
        "keycloak.disable_user",
        "keycloak.replace_secret",
        "oidc.revoke_tokens",
        "oidc.revoke_token",
        "oidc.capture_tokens",
        "denylist.deny_subject",
        "denylist.deny_token",
    }


def test_wherever_a_server_has_a_place_something_contains_it_there_by_hand_and_can_be_given_back() -> None:
    ours = [step for step in chosen.shipped().phases[Phase.CUT] + chosen.shipped().phases[Phase.ISOLATE] if step.action]
    cuts = {step.at: step.action for step in ours if step.when is When.CHOSEN and step.for_each is EntityKind.SERVER}
    for system in SYSTEMS.all:
        if system.place is None:
            continue
        at = GATEWAY if system.kind in SYSTEMS.importers else system.kind
        action = SYSTEMS.steps[cuts.get(at) or f"no cut of a server by hand at {system.kind}"]
        assert issubclass(action, Action)
        assert getattr(action, "irreversible", None) is None, action.name


@pytest.mark.parametrize("incident_class", list(IncidentClass))
def test_a_server_is_shut_off_where_it_runs_whatever_the_class(incident_class: IncidentClass) -> None:
    own = CATALOG.get(incident_class)
    made = chosen.extended(own, incident_class, {EntityKind.SERVER})
    does = [step for step in chosen.cuts(made) if step.action == "kubernetes.quarantine"]
    assert [(step.for_each, step.at) for step in does] == [(EntityKind.SERVER, "kubernetes")]
    assert does[0].when in {When.CHOSEN, When.ALWAYS, When.NAMED}
    captured = [step for _, step in made.steps() if step.capture == "kubernetes.capture_workload"]
    assert len(captured) == 1 or (own and does[0] in own.phases[Phase.ISOLATE]), "its evidence is kept with it"


def test_what_the_server_itself_is_asked_is_asked_before_it_is_shut_off() -> None:
    phases = [phase for phase, step in chosen.shipped().steps() if step.action == "kubernetes.quarantine"]
    asks = [phase for phase, step in chosen.shipped().steps() if (step.names or "").startswith("mcp.capture")]
    order = list(Phase)
    assert max(map(order.index, asks)) < min(map(order.index, phases))


def test_nothing_is_collected_twice_and_no_name_is_taken_twice() -> None:
    own = CATALOG[IncidentClass.TOOL_POISONING]
    made = chosen.extended(own, IncidentClass.TOOL_POISONING, {EntityKind.PROMPT, EntityKind.SERVER})
    collected = [(step.names, step.for_each) for _, step in made.steps() if step.capture or step.check]
    assert len(collected) == len(set(collected))
    renamed = own.phases[Phase.CUT][0].model_copy(update={"id": "chosen-prompt"})
    clash = own.model_copy(update={"phases": {**own.phases, Phase.CUT: (renamed,)}})
    ids = [step.id for _, step in chosen.extended(clash, own.class_, {EntityKind.PROMPT}).steps()]
    assert {"chosen-prompt", "chosen-prompt-2"} <= set(ids)
    assert len(ids) == len(set(ids))


def test_what_leaks_of_a_whole_server_is_not_cut_once_more_and_a_token_is_given_back_by_nobody() -> None:
    def ids(*kinds: EntityKind) -> set[str]:
        return {step.id for _, step in chosen.extended(None, IncidentClass.UNCLASSIFIED, kinds).steps()}

    assert "chosen-isolate" in ids(EntityKind.TOOL)
    assert "chosen-isolate" not in ids(EntityKind.SERVER)
    assert "chosen-isolate" not in ids(EntityKind.PRINCIPAL)
    assert "chosen-release" not in ids(EntityKind.TOKEN)
    assert "chosen-release" in ids(EntityKind.TOKEN, EntityKind.PRINCIPAL)
    assert not [name for name in ids(EntityKind.TOKEN) if "definitions" in name]


@pytest.mark.parametrize("kind", sorted(set(EntityKind) - set(KINDS)))
def test_what_nothing_contains_is_refused_with_what_can_be(kind: EntityKind) -> None:
    with pytest.raises(Refused, match="what can be contained: tool, prompt, resource, server, token, principal"):
        chosen.extended(None, IncidentClass.UNCLASSIFIED, {kind})


def test_every_pair_of_kinds_stands_alone_too() -> None:
    for pair in itertools.combinations(KINDS, 2):
        made = chosen.extended(None, IncidentClass.SUPPLY_CHAIN, set(pair))
        assert {s.for_each for s in made.phases[Phase.CUT]} == set(pair)
