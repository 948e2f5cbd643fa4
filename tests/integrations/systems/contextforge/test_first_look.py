"""What the first look after a cut leaves to the next one is named."""

from types import SimpleNamespace
from typing import Any, cast

from integrations.catalogue import Names
from integrations.systems.contextforge.asking import Asking
from integrations.systems.contextforge.canary import Door, ForgeCanary
from integrations.systems.contextforge.driver import ContextForge
from playbooks.gate.plan import Answer, Finding, Target

TARGET = Target(system="gateway/main", kind="tool", id="tool-1", name="forecast", server="weather")


class Refusing:
    """A canary that is refused everywhere."""

    endpoint = SimpleNamespace(principal="canary")

    def at(self, _door: Door) -> None:
        return None

    async def call(self, *_asked: object, **_how: object) -> Finding:
        return self._refused()

    async def look_up(self, *_asked: object, **_how: object) -> Finding:
        return self._refused()

    def _refused(self) -> Finding:
        fields: dict[str, Any] = {"check": "call", "subject": "forecast", "asked_as": "canary", "expected": "-"}
        return Finding(**fields, observed="refused", answer=Answer.ESTABLISHED)


class Behind:
    """A gateway with equally likely virtual servers."""

    processes = 1
    gateway = SimpleNamespace(remembers=60.0)

    def __init__(self, doors: int) -> None:
        self._doors = doors

    def disabled_for(self, _id: str) -> float:
        return 0.1

    async def virtual_servers(self) -> dict[str, set[str]]:
        return {f"s{n}": {"tool-1"} for n in range(self._doors)}


async def beside(doors: int) -> list[str]:
    names = Names(original="forecast", offered="weather-forecast")
    canary, forge = cast("ForgeCanary", Refusing()), cast("ContextForge", Behind(doors))
    asked = await Asking(canary, forge, TARGET, names, {"x": 1}, settled=False).everything()
    return [f"{finding.subject}: {finding.observed}: {finding.remedy}" for finding in asked.beside]


async def test_the_virtual_servers_that_the_first_look_leaves_to_the_next_are_named() -> None:
    assert await beside(3) == []
    (said,) = await beside(10)
    assert "at 7 more virtual servers" in said
    assert "not asked yet: the next look asks there" in said
