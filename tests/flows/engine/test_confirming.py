"""What confirms an alert is asked for once; whoever is under suspicion decides neither whether nor when people are."""

from types import SimpleNamespace
from typing import ClassVar, cast

import pytest
from typing_extensions import override

from flows.engine import effects, schedule
from flows.engine.case import Case
from integrations.systems.mcp.behaviour import ResponseInjection
from playbooks.action import Check, World
from playbooks.errors import Transient
from playbooks.estate.inventory import Inventory
from playbooks.estate.places import Places
from playbooks.gate.plan import Answer, Verdict
from playbooks.playbook import shipped
from playbooks.record.incident import Phase
from playbooks.record.journal import Event
from playbooks.strict import Name, Slug, now
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.playbooks.test_state import incident

INJECTION = shipped()[IncidentClass.PROMPT_INJECTION]


class _Silent(Check):
    """A question that nobody answers."""

    name: ClassVar[str] = "mcp.response_injection"
    permissions: ClassVar[tuple[str, ...]] = ("nothing",)

    server: Slug
    tool: Name

    @override
    async def check(self, world: World) -> Verdict:
        raise Transient("no answer")


class _Suspect(_Silent):
    asked_again: ClassVar[bool] = False


class _NoQuestion(_Silent):
    @override
    def askable(self, inventory: Inventory) -> bool:
        return False


def case_with(check: type[Check]) -> tuple[Case, schedule.Todo]:
    state = incident(world.opened(**{"class": "prompt_injection"}), world.alert())
    (todo,) = schedule.ready(
        state, INJECTION, places=Places(Inventory(version=1)), until=Phase.CUT, now=now(), stopped=False, retries=()
    )
    inventory = world.READ
    parts = SimpleNamespace(steps={check.name: check}, world=SimpleNamespace(inventory=inventory))
    return cast("Case", SimpleNamespace(playbook=INJECTION, state=state, parts=parts)), todo


@pytest.mark.parametrize(("check", "again"), [(_Silent, True), (_Suspect, False)])
async def test_what_could_not_be_asked_is_asked_again_unless_a_suspect_decides_how_long_that_takes(
    check: type[Check], *, again: bool
) -> None:
    events, wait = await effects.confirm(*case_with(check))
    assert [Verdict.model_validate(event.body["verdict"]).answer for event in events] == [Answer.UNKNOWN]
    assert bool(wait) is again


async def test_where_there_is_no_question_nobody_waits_for_an_answer() -> None:
    assert await effects.confirm(*case_with(_NoQuestion)) == ([], [])


def test_the_server_under_suspicion_does_not_delay_the_question_to_people() -> None:
    assert not ResponseInjection.asked_again
    assert ResponseInjection.timeout <= 15.0
    inventory = world.READ
    # Nobody named arguments with which its call is harmless.
    assert not ResponseInjection(server="weather", tool="forecast").askable(inventory)


def test_a_token_is_named_with_whose_it_is() -> None:
    token = {"kind": "token", "id": "t-1", "server": None, "principal": "agent"}
    state = incident(world.opened(entities=[]), Event("alert", {**world.alert().body, "entities": [token]}))
    assert [str(entity) for entity in state.entities.values()] == ["token t-1 of agent"]
