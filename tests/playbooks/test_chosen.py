"""What is done about what a person chose: the class's playbook as it is, and what it lacks."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.registry import SYSTEMS
from playbooks import chosen, playbook
from playbooks.action import Action, Capture, Check
from playbooks.errors import Refused
from playbooks.incident import EntityKind, Phase
from playbooks.inventory import Resolved
from playbooks.playbook import Playbook, When
from playbooks.taxonomy import IncidentClass

KINDS = chosen.containable()
CATALOG = playbook.shipped()
SUBSETS = st.sets(st.sampled_from(KINDS), min_size=1)


def test_there_is_a_cut_for_each_kind_that_an_action_contains_and_every_step_names_something() -> None:
    cuts = [step for step in chosen.shipped().phases[Phase.CUT] if step.action]
    made = {step.action for step in cuts}
    assert made == {kind.name for kind in SYSTEMS.works["contextforge"].steps if issubclass(kind, Action)}
    assert all(step.when is When.CHOSEN for step in cuts), "what an alert brings along is none of it"
    bases = {"action": Action, "capture": Capture, "check": Check}
    for _, step in chosen.shipped().steps():
        if step.names:
            kind = SYSTEMS.steps[step.names]
            assert issubclass(kind, bases[step.kind])
            kind.model_validate(step.parameters(Resolved(kind=step.for_each, id="x", server="s", principal="p")))


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
        assert own is not None or len(cuts) == 1
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
