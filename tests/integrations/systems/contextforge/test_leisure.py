"""What is cut, or verified for the first time, is asked before the watch asks; what many ask alike is asked once."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from integrations import precedence
from integrations.catalogue import Names
from integrations.gateways.actions import DisableTool
from integrations.systems.contextforge import driver
from integrations.systems.contextforge.asking import Asking
from integrations.systems.contextforge.canary import ForgeCanary
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.held import Held
from playbooks.errors import Refused
from playbooks.estate.gateway import Canary as Seen
from playbooks.estate.gateway import Gateway
from playbooks.estate.pins import PinKind
from playbooks.estate.systems import Secret
from playbooks.gate.plan import Answer
from tests.integrations.systems.contextforge.test_first_look import TARGET, Refusing
from tests.lab.fixtures import Lab

MANY = 100


@asynccontextmanager
async def forge_of(answers: dict[str, Any]) -> AsyncIterator[tuple[ContextForge, list[str]]]:
    """Give a client, signed in, that answers from memory, and what it was asked for."""
    secret = Secret(env="UNUSED")
    canary = Seen(principal="canary", url="http://127.0.0.1:9/mcp", token=secret)
    gateway = Gateway(
        kind="contextforge", url="http://127.0.0.1:9", user="admin@example.test", password=secret, canary=canary
    )
    forge, asked = ContextForge("main", gateway, ""), []
    forge.api.session = "signed in"  # as after its first request

    async def request(method: str, path: str, **_how: object) -> Any:  # noqa: ANN401
        asked.append(f"{method} {path}")
        await asyncio.sleep(0)
        return answers[path]

    forge.api.request = request  # type: ignore[method-assign]  # the one thing that would leave this process
    yield forge, asked
    await forge.aclose()


def tool(number: int) -> dict[str, Any]:
    fields = {"id": f"tool-{number}", "name": f"weather-t{number}", "originalName": f"t{number}"}
    return {**fields, "enabled": True, "gatewayId": "weather"}


async def test_of_a_hundred_tools_that_are_foreseen_at_once_one_is_asked_for_and_a_list_tells_of_the_others() -> None:
    everything = [tool(number) for number in range(MANY)]
    answers: dict[str, Any] = {f"/v1/tools/{one['id']}": one for one in everything} | {"/v1/tools": everything}
    async with forge_of(answers) as (forge, asked):
        for one in everything:
            forge.foresee(one["id"], "weather")
        held = await asyncio.gather(*(forge.tool(one["id"], "weather") for one in everything))
    assert [one.id for one in held if one] == [one["id"] for one in everything]
    assert asked.count("GET /v1/tools") == 1
    assert len(asked) <= 3, asked


async def test_the_watch_asks_when_nothing_is_changed_planned_or_verified_for_the_first_time() -> None:
    order: list[str] = []

    async def watching(forge: ContextForge) -> None:
        async with forge.precedence.question(watching=True):
            order.append("watched")

    async with forge_of({}) as (forge, _):
        for name, first in (("changed", forge.precedence.turn()), ("verified", forge.precedence.question())):
            async with first:
                watch = asyncio.create_task(watching(forge))
                await asyncio.sleep(0.05)
                order.append(name)
            await watch
        forge.foresee("tool-1", "weather")
        planned = time.monotonic()
        await watching(forge)
    assert order == ["changed", "watched", "verified", "watched", "watched"]
    assert time.monotonic() - planned >= driver._FORESEEN * 0.9  # noqa: SLF001  # for so long it counts as planned


def behind(count: int) -> dict[str, Any]:
    """Return what a gateway says of tools that are each of another server."""
    tools = [{**tool(number), "gatewayId": f"entry-{number}", "enabled": False} for number in range(count)]
    return {"/v1/tools": tools, "/v1/prompts": [], "/v1/resources": []}


async def test_one_list_tells_the_watch_of_all_servers_and_for_as_long_as_it_may_be_old() -> None:
    async with forge_of(behind(20)) as (forge, asked):
        since = time.monotonic()
        for number in range(20):
            (held,) = (one for one in await forge.listing(f"entry-{number}", since) if one.id == f"tool-{number}")
            assert held.entry == f"entry-{number}"
        # The first two by themselves: nobody knew of the others.
        assert asked.count("GET /v1/tools") == 3, asked
        await forge.listing("entry-5", time.monotonic())
        assert asked.count("GET /v1/tools") == 4, "an older list says nothing of later"


async def test_a_gateway_that_has_more_than_can_be_read_at_once_is_read_server_by_server() -> None:
    async with forge_of(behind(20)) as (forge, asked):

        async def held(kind: PinKind, entry: str | None = None) -> tuple[Held, ...]:
            asked.append(entry or "everything")
            if entry is None:
                raise Refused("the answer is longer than anybody reads")
            one = tool(int(entry.partition("-")[2]))
            return (Held(kind, {**one, "gatewayId": entry}),)

        forge.held = held  # type: ignore[method-assign]  # what lies behind is tried elsewhere
        for number in range(20):
            found = await forge.listing(f"entry-{number}", time.monotonic())
            assert {one.entry for one in found} == {f"entry-{number}"}, "in full, of the one that was asked about"
        assert asked.count("everything") == 1, "not tried anew for each"


async def test_a_look_gives_way_to_what_is_being_cut_and_nothing_that_is_cut_waits_for_a_look() -> None:
    async with forge_of(behind(1)) as (forge, asked):
        async with forge.precedence.turn():
            look = asyncio.create_task(forge.listing("entry-0", time.monotonic()))
            await asyncio.sleep(0.05)
            assert not asked, "a cut is under way"
        await look
        assert asked
        never = asyncio.Event()
        forge.api.request = never.wait  # type: ignore[assignment]  # a list that takes for ever
        look = asyncio.create_task(forge.listing("entry-0", time.monotonic()))
        async with asyncio.timeout(60), forge.precedence.turn():
            assert not look.done()
        look.cancel()


async def test_the_watch_is_kept_though_something_is_always_being_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "GIVES_WAY", 0.02)
    async with (
        forge_of({}) as (forge, _),
        forge.precedence.question(),
        asyncio.timeout(60),
        forge.precedence.question(watching=True),
    ):
        pass


async def test_the_watch_catches_up_with_many_leases_though_something_is_always_planned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precedence, "GIVES_WAY", 0.2)
    monkeypatch.setattr(precedence, "BEHIND", 0.3)
    async with forge_of({}) as (forge, _), asyncio.timeout(60):
        forge.precedence.plans_for(60.0)

        async def look() -> None:
            async with forge.precedence.question(watching=True):
                await asyncio.sleep(0)

        began = time.monotonic()
        await asyncio.gather(*(look() for _ in range(40)))
        # Each giving way in its turn, two at a time, they would take four seconds.
        assert 0.2 * 0.9 <= time.monotonic() - began < 2.0
        again = time.monotonic()
        await look()
        assert time.monotonic() - again >= 0.2 * 0.9, "having caught up, it gives way again"


DOORS = 3 * 3 + 3


class Giving(Refusing):
    """A canary that notes how many questions are under way."""

    def __init__(self) -> None:
        self.under_way = self.most = 0

    async def by_events(self, *_asked: object) -> Any:  # noqa: ANN401
        return await self.call()

    async def call(self, *_asked: object, **_how: object) -> Any:  # noqa: ANN401
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        return self._refused()

    look_up = call


async def asked_at_each_door(canary: Giving, give_way: Callable[[float], Awaitable[float]]) -> list[Answer]:
    """Ask about one tool at every door, as a look of the watch does, and return what decides."""

    async def virtual_servers() -> dict[str, set[str]]:
        return {f"s{n}": {"tool-1"} for n in range(3)}

    forge = SimpleNamespace(
        processes=1,
        gateway=SimpleNamespace(remembers=60.0),
        disabled_for=lambda _: 10.0,
        precedence=SimpleNamespace(give_way=give_way),
        virtual_servers=virtual_servers,
    )
    names = Names(original="forecast", offered="weather-forecast")
    asking = Asking(cast("ForgeCanary", canary), cast("ContextForge", forge), TARGET, names, {"x": 1}, settled=True)
    return [finding.answer for finding in (await asking.everything()).findings]


async def test_the_watch_asks_at_one_door_after_the_other() -> None:
    gave_way = 0

    async def give_way(_most: float) -> float:
        nonlocal gave_way
        gave_way += 1
        return 0.0

    canary = Giving()
    assert await asked_at_each_door(canary, give_way) == [Answer.ESTABLISHED] * 2
    assert gave_way == DOORS
    # The first look-ups, one for each virtual server, are asked together; a door never beside another.
    assert canary.most == 3


async def test_a_look_gives_way_once_among_all_of_its_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "GIVES_WAY", 0.1)
    busy = precedence.Precedence(changes=1, verifications=1, looks=1)
    busy.plans_for(60.0)
    waited: list[float] = []

    async def give_way(most: float) -> float:
        waited.append(await busy.give_way(most))
        return waited[-1]

    assert await asked_at_each_door(Giving(), give_way) == [Answer.ESTABLISHED] * 2
    assert len(waited) == DOORS
    assert 0.1 * 0.9 <= sum(waited) < 0.3, waited


async def test_what_was_listed_since_our_last_change_tells_whoever_verifies_within_a_second(lab: Lab) -> None:
    forge = lab.world.reach(ContextForge, "main")
    cut = DisableTool(server=lab.site.server_id, tool="get_weather")
    plan = await cut.plan(lab.world)
    (change,) = plan.changes

    def lists() -> int:
        return sum(method == "GET" and path.startswith("/v1/prompts") for method, path in lab.proxy.seen)

    lab.proxy.forget()
    await cut.write(change, lab.world, key="k")
    verdicts = await asyncio.gather(*(cut.verify(plan, lab.world) for _ in range(5)))
    assert {verdict.answer for verdict in verdicts} == {Answer.ESTABLISHED}
    assert lists() == 1
    await cut.write(change, lab.world, key="k")
    assert (await cut.verify(plan, lab.world)).answer is Answer.ESTABLISHED
    assert lists() == 2, "what was listed before a change of ours says nothing after it"
    assert not forge.settled([change.target.id])
