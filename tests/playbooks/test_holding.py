"""Whether an alert finds a thing contained in an incident: what joins alerts says what the incident's journal says."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from playbooks.estate.inventory import Resolved, named_servers
from playbooks.gate.plan import Irreversible
from playbooks.record.holding import KINDS, Holding
from playbooks.record.incident import Entity, EntityKind
from playbooks.record.journal import Event
from tests.lab import stories

TOOLS = ("forecast", "add", "get")
STEPS = ("cut-tool", "isolate-server")
SERVER = Resolved(kind=EntityKind.SERVER, id="weather", server="weather")


def made(*events: Event) -> Holding:
    holding = Holding()
    for event in events:
        if event.kind in KINDS:
            holding.take(event.kind, event.body)
    return holding


def gave_back(holding: Holding, *known: Resolved, unknown: tuple[Entity, ...] = ()) -> bool:
    return holding.gave_back(known, unknown, named_servers(known, unknown))


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(TOOLS)), max_size=12))
def test_it_says_what_the_projection_says(turns: list[tuple[str, str]]) -> None:
    # Each turn of a step for a tool is the next thing that can happen to it, over and over.
    events: list[Event] = []
    counted: dict[tuple[str, str], int] = {}
    for step, tool in turns:
        turn = counted.get((step, tool), 0)
        counted[step, tool] = turn + 1
        events.append(
            [
                stories.intended(tool, step=step),
                stories.release_intended("ann", tool, step),
                stories.released(1, tool, step),
            ][turn % 3]
        )
    state = stories.told([(0, stories.opened()), *((n, event) for n, event in enumerate(events, 1))])
    leases = state.leases.values()
    holds = [lease.open and lease.releasing is None for lease in leases]
    for tool in TOOLS:
        key = stories.tool(tool).key
        mine = [held for lease, held in zip(leases, holds, strict=True) if key in state.steps[lease.instance].about]
        expected = not all(mine) if mine else bool(holds) and not any(holds)
        assert gave_back(made(*events), stories.tool(tool)) is expected
        assert gave_back(made(*events), SERVER, stories.tool(tool)) is expected


def back(tool: str) -> tuple[Event, ...]:
    return stories.intended(tool), stories.release_intended("ann", tool), stories.released(1, tool)


def test_a_server_that_is_named_as_a_home_is_not_what_an_alert_is_about() -> None:
    whole = {**stories.intended("all", step="isolate-server").body, "entity": SERVER.key}
    release = stories.release_intended("ann", "all", "isolate-server")
    holding = made(stories.intended("forecast"), Event("intended", whole), release)
    assert not gave_back(holding, SERVER, stories.tool("forecast"))
    assert gave_back(holding, SERVER)
    assert gave_back(holding, SERVER, stories.tool("add")), "nothing holds that, and its whole server came back"


def test_what_people_are_asked_about_joins_what_asks_them_though_the_rest_was_given_back() -> None:
    holding = made(*back("forecast"), stories.proposed("add"))
    assert not gave_back(holding, stories.tool("add"))
    assert gave_back(holding, stories.tool("forecast"))
    assert gave_back(holding, stories.tool("get"))
    # Asked about again after it was given back, it is in force nowhere.
    assert gave_back(made(*back("add"), stories.proposed("add", step="cut-tool")), stories.tool("add"))


def test_what_the_inventory_does_not_know_is_known_by_its_name() -> None:
    holding = made(stories.intended("add"), *back("evil"))
    assert gave_back(holding, SERVER, unknown=(Entity(kind=EntityKind.TOOL, name="evil", server="weather"),))
    assert gave_back(holding, SERVER, unknown=(Entity(kind=EntityKind.TOOL, name="evil"),))
    assert not gave_back(holding, SERVER, unknown=(Entity(kind=EntityKind.TOOL, name="other"),))


def test_what_is_done_for_good_holds_nobody_back() -> None:
    plan = stories.plan("add").model_copy(update={"irreversible": Irreversible(because="it is gone")})
    body: dict[str, Any] = {**stories.intended("add").body, "plan": plan.model_dump(mode="json")}
    assert not gave_back(made(Event("intended", body)), stories.tool("add"))
    holding = made(Event("intended", body), *back("forecast"))
    assert gave_back(holding, stories.tool("get")), "all that can come back is back"
