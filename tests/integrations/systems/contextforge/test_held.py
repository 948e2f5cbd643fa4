"""What doctor finds out of use at a gateway: the incident that holds it is named, and then nothing is wrong."""

import asyncio
import gc
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from integrations.gateways.canary import Canary
from integrations.gateways.driver import Entered, GatewayDriver
from integrations.journal.records import Hold
from integrations.registry import SYSTEMS
from integrations.system import Holders, Looked
from integrations.systems.contextforge.doctor import doctor
from integrations.systems.contextforge.driver import ContextForge
from playbooks.errors import Transient
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.gate.plan import Answer, Finding
from playbooks.strict import parse_yaml
from tests.flows.cli import world

ENTRY, TOOL = "gateway/main/entry/g-1#enabled", "gateway/main/tool/t-42#enabled"


class Forge:
    """A gateway whose entry of the server is disabled."""

    api, processes = SimpleNamespace(account="soar"), 1
    gateway = SimpleNamespace(url="http://127.0.0.1:9", processes=1, remembers=60.0)

    async def sign_in(self) -> None:
        return None

    async def entry_at(self, _id: str) -> Entered:
        return Entered("weather", enabled=False)

    async def count_pids(self) -> int:
        return 1


class Refused:
    """A canary that lists, and whose calls of the control tool are refused as those of a contained one."""

    async def control_by_list(self, _kind: PinKind) -> Finding:
        return self._said("lists 1", Answer.ESTABLISHED)

    async def control(self, _tool: str, _arguments: dict[str, Any]) -> Finding:
        return self._said("Tool not found: add", Answer.NOT_ESTABLISHED)

    def _said(self, observed: str, answer: Answer) -> Finding:
        fields: dict[str, Any] = {"check": "control", "subject": "add", "asked_as": "canary", "expected": "-"}
        return Finding(**fields, observed=observed, answer=answer)


class World:
    """A gateway and its canary."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    def reach(self, kind: type, _name: str) -> Any:  # noqa: ANN401  # either
        found: dict[type, type[Any]] = {ContextForge: Forge, GatewayDriver: Forge, Canary: Refused}
        return found[kind]()


@pytest.fixture
def inventory(monkeypatch: pytest.MonkeyPatch) -> Inventory:
    async def nothing(_: object) -> tuple[()]:
        return ()

    monkeypatch.setattr("integrations.systems.contextforge.doctor.rights", nothing)
    monkeypatch.setattr("integrations.systems.contextforge.doctor.audited", nothing)
    monkeypatch.setattr("integrations.systems.contextforge.doctor.secret", lambda *_, **__: "opaque")
    definition = {"inputSchema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    fields: dict[str, Any] = {"kind": PinKind.TOOL, "digest": f"sha256:{'1' * 64}", "definition": definition}
    pin = Pin(**fields, name="add", gateway_name="weather-add", gateway_id="t-42", dossier=Dossier(reviewed="all"))
    text = world.INVENTORY.replace("forecast: {}, add: {}", "add: {safe_arguments: {a: 1}}")
    return parse_yaml(Inventory, text, file="inventory.yaml", context=SYSTEMS.context).model_copy(
        update={"pins": Pins(servers={"weather": (pin,)})}
    )


def hold(grip: str, incident: str, *, after: bool = False) -> Hold:
    return Hold(grip, incident, "cut", "weather", before=not after, after=after, original=True, taken_at=0.0)


async def out_of_use(inventory: Inventory, holds: Sequence[Hold] | None) -> list[Looked]:
    """Return what is said of the entry and of the canary's call, which are out of use."""

    async def ask() -> Sequence[Hold]:
        if holds is None:
            raise Transient("the journal does not answer")
        return holds

    lines = [line for _, looked in doctor(World(inventory), Holders(ask)) async for line in looked]
    return [line for line in lines if "is disabled" in line.message or "is refused" in line.message]


async def test_the_incident_that_holds_it_is_named_and_nothing_is_wrong(inventory: Inventory) -> None:
    entry, call = await out_of_use(inventory, [hold(ENTRY, "inc-2"), hold(TOOL, "inc-7")])
    assert entry == Looked("gateway main", "ok", "its entry of server weather is disabled: inc-2 holds it so")
    assert (call.level, call.remedy) == ("ok", "")
    assert call.message.endswith(": inc-2 and inc-7 hold it so")


async def test_what_nobody_holds_or_is_wanted_back_is_a_warning(inventory: Inventory) -> None:
    entry, call = await out_of_use(inventory, [hold(ENTRY, "inc-2", after=True), hold(f"{TOOL}x", "inc-7")])
    assert [entry.level, call.level] == ["warn", "warn"]
    assert entry.message == "its entry of server weather is disabled, and no incident holds it"
    assert "`mcp-soar contain server weather`" in entry.remedy
    assert "`mcp-soar contain tool weather/add`" in call.remedy


async def test_where_the_journal_does_not_say_nobody_is_said_to_hold_it(inventory: Inventory) -> None:
    entry, call = await out_of_use(inventory, None)
    assert [entry.level, call.level] == ["warn", "warn"]
    assert "no incident holds it" not in entry.message
    assert "see whether an incident holds it" in entry.remedy


async def test_where_we_are_not_let_in_that_alone_is_said(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_: object) -> None:
        await asyncio.sleep(0)  # the canary meets the same, before us
        raise Transient("it does not answer")

    async def deaf(*_: object) -> Finding:
        raise Transient("nor does it here")

    monkeypatch.setattr(Forge, "sign_in", refused)
    monkeypatch.setattr(Refused, "control_by_list", deaf)
    ((_, looked),) = doctor(World(inventory), Holders(lambda: pytest.fail("nobody asks")))
    with pytest.raises(Transient, match="it does not answer"):
        await anext(looked)
    # What nobody asked a task for is printed as a traceback when it goes.
    canary = [one for one in gc.get_objects() if isinstance(one, asyncio.Task) and "into" in repr(one.get_coro())]
    assert canary
    assert not any(one._log_traceback for one in canary)  # noqa: SLF001  # only it knows
