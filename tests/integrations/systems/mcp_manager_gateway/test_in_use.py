"""A server that is in use takes no change: it is stopped first, which is a wider plan, and never by giving back."""

from typing import Any, cast

import pytest

from integrations.gateways.actions import DisableTool, StopAndDisableTool
from integrations.systems.mcp_manager_gateway.client import InUse
from integrations.systems.mcp_manager_gateway.driver import ManagerGateway
from playbooks.action import World
from playbooks.errors import Drifted, Gone
from playbooks.estate.gateway import Canary, Entry, Gateway
from playbooks.estate.inventory import Environment, Inventory, Server
from playbooks.estate.pins import PinKind
from playbooks.estate.systems import Secret
from playbooks.gate.plan import Radius

ENTRY = "e7b908f8"
CONFIG = {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "[REDACTED]"}, "disabled_tools": ["old"]}


class Answers:
    """A gateway in memory, with one server whose calls never end by themselves."""

    patience = 1.0

    def __init__(self) -> None:
        self.config: dict[str, Any] = dict(CONFIG)
        self.revision, self.under_way, self.starts_again = 7, 1, 0
        self.asked: list[tuple[str, str, Any]] = []

    async def fields(self, _method: str, path: str, **how: Any) -> dict[str, Any] | None:  # noqa: ANN401  # as asked
        if path == f"/mcps/{ENTRY}":
            running = [{"in_flight": self.under_way}]
            about = {"id": ENTRY, "slug": "weather", "name": "Weather", "mode": "eager", "runtime": running}
            return {**about, "revision": self.revision, "config": self.config}
        if path.endswith("/capabilities"):
            tools = how["params"]["kind"] == "tools"
            return {"items": [{"name": one} for one in ("add", "get") if tools], "generation": str(self.revision)}
        return {"name": path.rpartition("/")[2], "inputSchema": {"type": "object"}}

    async def request(self, method: str, path: str, *, body: Any = None, within: float) -> None:  # noqa: ANN401  # as asked
        del within
        self.asked.append((method, path, body))
        if method == "POST":
            self.under_way, self.starts_again = (1 if self.starts_again else 0), max(self.starts_again - 1, 0)
            return
        if self.under_way:
            raise InUse("MCP has active calls")
        assert body["revision"] == self.revision, "as it was read"
        self.config, self.revision = body["config"], self.revision + 1

    @property
    def writes(self) -> list[str]:
        return [f"{method} {path.removeprefix(f'/mcps/{ENTRY}')}".strip() for method, path, _ in self.asked]


class Place:
    """A world with that gateway alone."""

    def __init__(self) -> None:
        secret = Secret(env="UNUSED")
        canary = Canary(principal="canary", token=secret, url="http://127.0.0.1:9/mcp")
        settings = Gateway(
            kind="mcp-manager-gateway", url="http://127.0.0.1:9", user="root", password=secret, canary=canary
        )
        server = Server(title="Weather", owner="o", environment=Environment.TEST, places={"main": Entry(id=ENTRY)})
        self.inventory = Inventory(version=1, systems={"main": settings}, servers={"weather": server})
        self.answers, self.driver = Answers(), ManagerGateway("main", settings, "")
        self.driver.manager = cast("Any", self.answers)

    def reach(self, _kind: type, _name: str) -> Any:  # noqa: ANN401  # the driver
        return self.driver


@pytest.fixture
def place() -> Place:
    return Place()


def cut(place: Place) -> tuple[DisableTool, World]:
    return DisableTool(server="weather", tool="add"), cast("World", place)


async def test_a_narrow_cut_of_a_server_in_use_drifts_and_is_planned_anew_as_a_stop(place: Place) -> None:
    intent, world = cut(place)
    place.answers.under_way = 0
    narrow = await intent.plan(world)
    assert (narrow.action, narrow.radius) == (DisableTool.name, Radius.TOOL)
    place.answers.under_way = 3
    with pytest.raises(Drifted, match="stop the server"):
        await DisableTool.write(narrow.changes[0], world, key="k")
    assert place.answers.writes == ["PATCH"], "nothing was stopped that nobody agreed to"
    wide = await intent.plan(world)
    assert (wide.action, wide.radius, wide.changes) == (StopAndDisableTool.name, Radius.SERVER, narrow.changes)
    assert "3 calls of weather are under way and break off" in wide.breaks
    assert wide.summary.startswith("Stop server weather at gateway main and disable tool add")
    place.answers.under_way = 0
    assert (await intent.plan(world)).action == wide.action, "calls come and go: it was in use a moment ago"


async def test_it_is_stopped_until_the_change_is_taken_and_everything_else_stays(place: Place) -> None:
    _, world = cut(place)
    plan = await StopAndDisableTool(server="weather", tool="add").plan(world)
    place.answers.starts_again = 1
    await StopAndDisableTool.write(plan.changes[0], world, key="k")
    assert place.answers.writes == ["PATCH", "POST /stop", "PATCH", "POST /stop", "PATCH"]
    assert place.answers.config == {**CONFIG, "disabled_tools": ["old", "add"]}
    await StopAndDisableTool.write(plan.changes[0], world, key="k")
    assert len(place.answers.writes) == 5, "twice is once"


async def test_giving_back_waits_for_calls_and_restores_exactly(place: Place) -> None:
    _, world = cut(place)
    place.answers.under_way = 0
    plan = await StopAndDisableTool(server="weather", tool="add").plan(world)
    await StopAndDisableTool.write(plan.changes[0], world, key="k")
    place.answers.under_way = 1
    back = StopAndDisableTool.inverse(plan)
    assert back.summary == "Give back tool add of weather at gateway main"
    with pytest.raises(InUse):
        await StopAndDisableTool.write(back.changes[0], world, key="k")
    assert "POST /stop" not in place.answers.writes
    place.answers.under_way = 0
    await StopAndDisableTool.write(back.changes[0], world, key="k")
    assert place.answers.config == CONFIG


async def test_a_name_that_stands_for_nothing_is_refused_here_though_the_gateway_takes_it(place: Place) -> None:
    with pytest.raises(Gone, match="no tool 'nope'"):
        await place.driver.set_enabled(PinKind.TOOL, f"{ENTRY}:nope", enabled=False)
    assert place.answers.writes == []


@pytest.mark.parametrize(
    ("withheld", "lets"),
    [
        ({}, True),
        ({"disabled_tools": ["add"]}, False),
        ({"enabled_tools": ["get"]}, False),
        ({"enabled_tools": ["add"]}, True),
        ({"enabled_tools": []}, False),
        ({"tools": {"add": {"enabled": False}}}, False),
        ({"tools": {"add": {"enabled": True}}}, True),
    ],
)
async def test_each_way_to_withhold_a_tool_is_known(place: Place, withheld: dict[str, Any], *, lets: bool) -> None:
    place.answers.config = {"url": CONFIG["url"], **withheld}
    held = await place.driver.tool(f"{ENTRY}:add", ENTRY)
    assert held is not None
    assert held.enabled is lets
