"""What a release is held against: a question that there is nothing to ask with holds up nothing."""

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from flows.engine import comparing
from flows.engine.comparing import Difference, differences, with_released
from playbooks.action import Check, World
from playbooks.errors import Transient
from playbooks.estate.inventory import Inventory, Resolved
from playbooks.estate.places import Places
from playbooks.gate.plan import Answer, Beside, Change, Plan, Radius, Target, Unapproved, Verdict
from playbooks.playbook import Step
from playbooks.record.incident import EntityKind
from playbooks.record.state import Incident
from playbooks.strict import Slug
from tests.lab.gateway import Gateway, Place, held

INVENTORY = Inventory(version=1)


class Clean(Check):
    """Answers `unknown` where it has nothing to ask with."""

    name: ClassVar[str] = "test.clean"
    permissions: ClassVar[tuple[str, ...]] = ()
    able: ClassVar[bool] = True

    server: Slug

    @override
    def askable(self, inventory: Inventory) -> bool:
        return self.able

    @override
    async def check(self, world: World) -> Verdict:
        return Verdict(answer=Answer.UNKNOWN)


class Unable(Clean):
    able: ClassVar[bool] = False


@pytest.mark.parametrize(("check", "found"), [(Clean, 1), (Unable, 0)])
async def test_what_cannot_be_asked_by_its_nature_is_no_difference(check: type[Check], found: int) -> None:
    step = Step.model_validate(
        {"id": "clean", "check": "test.clean", "with": {"server": {"from": "entity.server"}}, "why": "test"}
    )
    weather = Resolved(kind=EntityKind.SERVER, id="weather", server="weather")
    case: Any = SimpleNamespace(
        playbook=SimpleNamespace(awaited=((step, Answer.ESTABLISHED),)),
        state=Incident(id="inc-1", entities={weather.key: weather}),
        parts=SimpleNamespace(
            steps={"test.clean": check}, world=SimpleNamespace(inventory=INVENTORY), places=Places(INVENTORY)
        ),
    )
    assert len(await differences(case)) == found


@pytest.mark.parametrize(
    ("about", "said"), [("tool spare at night at weather itself", 2), ("tool spare at weather itself", 1)]
)
def test_what_begins_with_the_name_of_a_thing_does_not_speak_of_it(about: str, said: int) -> None:
    site = Place(Gateway(), approved=(), imported=())
    target = Target(system="gateway/main", kind="tool", id="id-spare", name="spare", server="weather")
    change = Change(target=target, field="enabled", before=False, after=True)
    plan = Plan(action="gateway.disable_tool", params={}, summary="s", changes=(change,), radius=Radius.TOOL)
    found = Unapproved((Beside(kind="tool", name="spare", id="id-spare", digest=held("spare").digest),))
    decoy = Difference(f"{about}: was never approved", "w", about=about)
    assert len(with_released((decoy,), found, plan, site.inventory)) == said


def test_what_can_be_done_about_differences_comes_after_them_once() -> None:
    target = Target(system="gateway/main", kind="tool", id="id-spare", name="spare", server="weather")
    change = Change(target=target, field="enabled", before=False, after=True)
    plan = Plan(action="gateway.disable_tool", params={}, summary="s", changes=(change,), radius=Radius.TOOL)
    site = Place(Gateway(), approved=("spare",), imported=())
    thing = Beside(kind="tool", name="spare", id="id-spare", digest=held("spare").digest)
    then = "have it read anew"
    first = Difference("tool add at gateway main: differs", "w", about="tool add at gateway main", remedy=then)
    found = with_released((first,), Unapproved((thing,), remedy=then), plan, site.inventory)
    assert comparing.said(found) == (first.said, found[1].said, then)
    assert comparing.mark(found) == comparing.mark([one._replace(remedy="") for one in found]), "no other difference"
    never = with_released(
        (), Unapproved((thing,), remedy=then), plan, Place(Gateway(), approved=(), imported=()).inventory
    )
    assert comparing.said(never) == (never[0].said,), "what nobody approved is not approved by being read anew"


class Silent:
    """An action whose system does not say what comes back."""

    timeout = 5.0

    @classmethod
    async def unapproved(cls, release: Plan, world: World) -> Unapproved:
        del release, world
        raise Transient("gateway main: no answer")


@pytest.mark.parametrize("taken_on", [False, True])
async def test_what_nobody_can_say_is_a_difference_whatever_people_accept(*, taken_on: bool) -> None:
    async def current(_: object) -> Any:  # noqa: ANN401  # a pretended book
        return SimpleNamespace(beside=lambda plan: plan)

    case: Any = SimpleNamespace(
        id="inc-1",
        playbook=None,
        parts=SimpleNamespace(
            given_back=SimpleNamespace(current=current), journal=None, world=SimpleNamespace(inventory=INVENTORY)
        ),
    )
    plan = Plan(action="gateway.disable_tool", params={}, summary="s", changes=(), radius=Radius.TOOL)
    seen = {("tool", "id-spare", "sha256:x")}
    action: Any = Silent
    (one,), found = await comparing.of_release(case, action, plan, taken_on=taken_on, shown=seen)
    assert found is None
    assert not one.known
    assert "nobody could find out" in one.said
