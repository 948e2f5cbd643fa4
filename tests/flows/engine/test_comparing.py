"""What a release is held against: a question that there is nothing to ask with holds up nothing."""

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from flows.engine.comparing import differences
from playbooks.action import Check, World
from playbooks.incident import EntityKind, Phase
from playbooks.inventory import Inventory, Resolved
from playbooks.plan import Answer, Verdict
from playbooks.playbook import Step
from playbooks.state import Incident
from playbooks.strict import Slug


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
