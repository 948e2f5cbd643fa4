"""How the gateway's errors become ours, and that nothing secret gets out."""

import asyncio
import contextlib
import itertools
import json
from pathlib import Path

import pytest

from integrations.gateways.actions import DisableTool
from integrations.gateways.captures import CaptureLogs, CaptureState
from integrations.registry import SYSTEMS
from integrations.sharing import Shared
from integrations.systems.contextforge.driver import _FORESEEN, ContextForge
from integrations.systems.contextforge.held import VOLATILE
from playbooks.errors import Misconfigured, Refused, Transient
from playbooks.estate.gateway import Canary, Gateway
from playbooks.estate.pins import PinKind
from playbooks.estate.systems import Secret
from tests.lab.connected import connected
from tests.lab.exhibits import gathered
from tests.lab.faulty_proxy import Mode
from tests.lab.fixtures import Lab


async def test_no_answer_and_500_are_transient_and_a_stranger_is_refused(lab: Lab) -> None:
    forge = lab.world.reach(ContextForge, "main")
    forge.patience = 0.5
    with pytest.raises(Refused, match="404"):
        await forge.api.request("GET", "/v1/tools/nobody")
    assert await forge.tool("nobody", "nowhere") is None
    for mode in (Mode.BROKEN, Mode.HANG):
        lab.proxy.mode = mode
        with pytest.raises(Transient):
            await forge.tool("nobody", "nowhere")


async def test_what_was_asked_ahead_of_a_plan_answers_it_and_nothing_after_a_change(lab: Lab) -> None:
    forge = lab.world.reach(ContextForge, "main")
    await forge.warm()
    cut = DisableTool(server=lab.site.server_id, tool="get_weather")

    def asked() -> int:
        return sum(method == "GET" and path.startswith("/v1/tools/") for method, path in lab.proxy.seen)

    lab.proxy.forget()
    cut.foresee(lab.world)
    (change,) = (await cut.plan(lab.world)).changes
    assert (change.before, asked()) == (True, 1)
    await cut.write(change, lab.world, key="k")
    # However soon after: what was asked before the change says nothing of the present.
    assert await cut.read(change, lab.world) is False
    assert asked() == 2
    await forge.set_enabled(PinKind.TOOL, change.target.id, enabled=True)
    cut.foresee(lab.world)
    lab.proxy.mode = Mode.BROKEN
    await asyncio.sleep(_FORESEEN)
    # Nobody took the answer while it was fresh; whoever comes later asks anew.
    with pytest.raises(Transient):
        await cut.plan(lab.world)


async def test_a_rate_limit_is_waited_for_as_long_as_it_says(lab: Lab) -> None:
    lab.proxy.mode = Mode.BUSY
    with pytest.raises(Transient) as caught:
        await lab.world.reach(ContextForge, "main").tool("nobody", "nowhere")
    assert caught.value.retry_after == 7


async def test_a_token_that_went_stale_is_renewed_once_for_all(lab: Lab) -> None:
    forge = lab.world.reach(ContextForge, "main")
    forge.api.session = "stale"  # as after the hour that it lasts
    lab.proxy.forget()
    await asyncio.gather(*(forge.tokens() for _ in range(5)))
    assert [path for _, path in lab.proxy.seen].count("/v1/auth/login") == 1


async def test_a_wrong_password_names_the_field_and_not_the_password(lab: Lab, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("hunter2-wrong\n")
    gateway = lab.site.inventory.gateways["main"].model_copy(update={"password": Secret(file=str(wrong))})
    world = connected(lab.site.inventory.model_copy(update={"systems": {"main": gateway}}))
    try:
        with pytest.raises(Misconfigured, match=r"systems\.main\.password") as caught:
            await world.warm()
        assert "hunter2" not in str(caught.value)
    finally:
        await world.aclose()


async def test_a_missing_secret_is_named(lab: Lab) -> None:
    gateway = lab.site.inventory.gateways["main"].model_copy(update={"password": Secret(env="NO_SUCH_SECRET")})
    world = connected(lab.site.inventory.model_copy(update={"systems": {"main": gateway}}))
    with pytest.raises(Misconfigured, match=r"systems\.main\.password: .*NO_SUCH_SECRET"):
        world.reach(ContextForge, "main")


async def test_a_hundred_who_wait_share_an_answer_that_was_asked_for_after_they_came() -> None:
    asked = 0
    release = asyncio.Event()

    async def ask() -> int:
        nonlocal asked
        asked += 1
        mine = asked
        await release.wait()
        return mine

    shared = Shared(ask)
    first = asyncio.create_task(shared())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(shared()) for _ in range(100)]
    await asyncio.sleep(0)
    release.set()
    assert await first == 1
    assert set(await asyncio.gather(*rest)) == {2}, "not the answer that was under way when they came"


async def test_exhibits_hold_no_secret(lab: Lab) -> None:
    state = await gathered(CaptureState(server=lab.site.server_id), lab.world)
    logs = await gathered(CaptureLogs(server=lab.site.server_id), lab.world)
    everything = b"".join([*state.values(), *logs.values()])
    assert lab.site.agent.id.encode() in everything
    assert b"eyJ" not in everything
    assert lab.gateway.password.encode() not in everything
    read = {name: json.loads(data) for name, data in {**state, **logs}.items() if name.endswith(".json")}
    assert read.keys() == {"gateway-state.json", "audit-trails.json", "security-events.json"}
    # A log that is empty is said to be so beside it, for people; what else lies there is JSON.
    empty = {name.replace(".json", "-empty.txt") for name, entries in read.items() if not entries}
    assert (state.keys() | logs.keys()) - read.keys() == empty


def test_every_volatile_field_has_its_reason() -> None:
    assert all(because for because in VOLATILE.values())


def test_an_unknown_step_gets_a_suggestion() -> None:
    with pytest.raises(Misconfigured, match=r"gateway\.disable_tool"):
        SYSTEMS.step("gateway.disable_tol")


async def test_a_question_on_a_connection_that_was_just_closed_is_put_again_and_a_change_is_not() -> None:
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            for number in itertools.count():
                head = await reader.readuntil(b"\r\n\r\n")
                asked.append(head.decode().partition(" HTTP")[0])
                if number:
                    break  # the second request of a connection meets its end
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    secret = Secret(env="LAB")
    place = Gateway(
        kind="contextforge",
        url=f"http://127.0.0.1:{port}",
        user="admin@example.com",
        password=secret,
        canary=Canary(principal="canary", token=secret, url=f"http://127.0.0.1:{port}/mcp/"),
    )
    forge = ContextForge("main", place, "unused")
    forge.api.session = "signed-in"  # signing in is not what is tried
    try:
        await forge.api.request("GET", "/v1/first")
        await forge.api.request("GET", "/v1/second")
        with pytest.raises(Transient):
            await forge.api.request("POST", "/v1/third")
    finally:
        await forge.aclose()
        server.close()
    assert asked == ["GET /v1/first", "GET /v1/second", "GET /v1/second", "POST /v1/third"]
