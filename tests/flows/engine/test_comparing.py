"""What a release is held against: a question that there is nothing to ask with holds up nothing."""

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from flows.engine.comparing import Difference, differences, with_released
from playbooks.action import Check, World
from playbooks.incident import EntityKind, Phase
from playbooks.inventory import Inventory, Resolved
from playbooks.plan import Answer, Beside, Change, Plan, Radius, Target, Unapproved, Verdict
from playbooks.playbook import Step
from playbooks.state import Incident
from playbooks.strict import Slug
from tests.lab.gateway import Gateway, Place, held


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
        playbook=SimpleNamespace(phases={Phase.ERADICATE: (step,)}, confirm=()),
        state=Incident(id="inc-1", entities={weather.key: weather}),
        parts=SimpleNamespace(steps={"test.clean": check}, world=SimpleNamespace(inventory=Inventory(version=1))),
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
