"""What is told apart by kind, server and id stays apart: names of steps, confirmations, what an old journal says."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from playbooks.estate.inventory import Resolved
from playbooks.record.incident import EntityKind
from playbooks.record.journal import Event
from playbooks.record.projection import WHOLE
from playbooks.record.state import Incident, instance_of
from tests.flows.cli import world
from tests.playbooks.test_state import incident

SLUGS = st.sampled_from(["a", "b", "weather", "a.b"])
NAMES = st.sampled_from(["a", "b", "a/b", "weather", "tool:a/b", "prompt:a/b", "weather/a", "a@b", "b/weather/a"])
ON_SERVER = st.builds(
    Resolved, kind=st.sampled_from([EntityKind.TOOL, EntityKind.PROMPT, EntityKind.RESOURCE]), id=NAMES, server=SLUGS
)
SERVERS = SLUGS.map(lambda name: Resolved(kind=EntityKind.SERVER, id=name, server=name))
PRINCIPALS = SLUGS.map(lambda name: Resolved(kind=EntityKind.PRINCIPAL, id=name, principal=name))
TOKENS = st.builds(Resolved, kind=st.just(EntityKind.TOKEN), id=SLUGS, principal=SLUGS)
ENTITIES = st.one_of(ON_SERVER, SERVERS, PRINCIPALS, TOKENS)

TOOL = Resolved(kind=EntityKind.TOOL, id="x", server="weather")
PROMPT = Resolved(kind=EntityKind.PROMPT, id="x", server="weather")
PRINCIPAL = Resolved(kind=EntityKind.PRINCIPAL, id="weather", principal="weather")


@given(ENTITIES, ENTITIES)
def test_two_things_never_share_a_step(one: Resolved, other: Resolved) -> None:
    assert (instance_of("cut", one) == instance_of("cut", other)) is (one == other)


def test_a_tool_and_a_server_are_called_as_people_type_them() -> None:
    assert instance_of("cut-tool", TOOL) == "cut-tool@weather/x"
    home = Resolved(kind=EntityKind.SERVER, id="weather", server="weather")
    assert instance_of("isolate-server", home) == "isolate-server@weather"


def opened(*entities: Resolved, **more: Any) -> Event:  # noqa: ANN401  # fields of the body
    return world.opened(entities=[item.model_dump(mode="json") for item in entities], **more)


def confirmed(state_of: Mapping[str, object]) -> Event:
    return Event("confirmed", {"verdict": world.verdict().model_dump(mode="json"), **state_of})


def facts(state: Incident, entity: Resolved) -> int:
    """Return how many checks speak for an entity."""
    return len(state.checks_about(entity.key))


def test_what_confirms_a_tool_confirms_no_prompt_of_its_name() -> None:
    said = confirmed({"by": instance_of("confirm-definition", TOOL), "entity": TOOL.key})
    state = incident(opened(TOOL, PROMPT, names=WHOLE), said)
    assert (facts(state, TOOL), facts(state, PROMPT)) == (1, 0)


def test_what_confirms_a_server_confirms_what_it_offers_and_no_principal_of_its_name() -> None:
    home = Resolved(kind=EntityKind.SERVER, id="weather", server="weather")
    said = confirmed({"by": instance_of("confirm-answers", home), "entity": home.key})
    state = incident(opened(TOOL, PRINCIPAL, names=WHOLE), said)
    assert (facts(state, TOOL), facts(state, PRINCIPAL)) == (1, 0)


def test_a_journal_of_the_first_release_says_the_same_as_ever() -> None:
    # It names no entity with a confirmation, and tools as ever; its playbook says what was asked about.
    said = confirmed({"by": "confirm-definition@weather/x"})
    state = incident(opened(PROMPT, TOOL), said)
    assert (facts(state, TOOL), facts(state, PROMPT)) == (1, 0)
    assert state.instance_of("cut-prompt", PROMPT) == "cut-prompt@weather/x", "what began goes on under its name"
