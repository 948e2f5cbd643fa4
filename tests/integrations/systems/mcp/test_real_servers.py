"""Real servers of both SDKs, with and without sessions, of every revision and transport, asked as clients ask."""

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.demo.processes import child, environment
from integrations.connections import Connections
from integrations.probing.manners import PROBES
from integrations.probing.stranger import Stranger
from integrations.protocol import pins
from integrations.protocol.client import McpEndpoint
from integrations.protocol.listening import changes
from integrations.protocol.wire import Stdio
from integrations.systems.mcp.behaviour import AnswersClean, RefusedDirectly
from integrations.systems.mcp.captures import CaptureAnswer
from integrations.systems.mcp.checks import DefinitionDiffers, DefinitionsMatch
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import Dossier, PinKind, Pins
from playbooks.estate.probing import Probed
from playbooks.gate.plan import Answer
from playbooks.record.trust import AUTHENTICATION
from tests.lab import python_sdk, typescript_sdk
from tests.lab.connected import connected
from tests.lab.exhibits import gathered
from tests.lab.fixtures import unique_name

ROOT = Path(__file__).resolve().parents[4]
PYTHON = [*python_sdk.KINDS, "mcp-stdio", "fastmcp-stdio"]
TYPESCRIPT = [
    f"typescript-{revision}-{transport}"
    for revision in typescript_sdk.RELEASES
    for transport in ("stateful", "stateless", "sse", "stdio")
]
TOOLS: dict[str, Any] = {"add": {"safe_arguments": {"a": 1, "b": 2}}, "weather": {"safe_arguments": {"city": "Seoul"}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def ports(folder: Path) -> Iterator[dict[str, int]]:
    file = folder / "ports.json"
    command, log = python_sdk.command("http", folder), folder / "http.log"
    env = environment(PYTHONPATH=str(ROOT), FASTMCP_CHECK_FOR_UPDATES="off")
    with child(command, log=log, ready=file.exists, within=60, env=env):
        yield json.loads(file.read_text())


@contextlib.contextmanager
def typescript(kind: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Run a server of the TypeScript SDK; yield where it is."""
    transport = kind.rpartition("-")[2]
    command = typescript_sdk.server(transport, kind.removeprefix("typescript-").removesuffix(f"-{transport}"))
    if command is None:
        pytest.skip("Node and the TypeScript SDK are not installed (make programs; python -m tests.lab.typescript_sdk)")
    if transport == "stdio":
        yield {"command": command}
        return
    log = folder / f"{unique_name(kind)}.log"
    log.touch()
    with child(command, log=log, ready=lambda: log.read_text().endswith("\n"), within=60):
        port = int(log.read_text().split()[0])
        yield {"url": f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"}


@pytest.fixture
def place(request: pytest.FixtureRequest, folder: Path) -> Iterator[dict[str, Any]]:
    """Where the server of the test's kind is."""
    kind = str(request.param)
    if kind.startswith("typescript"):
        with typescript(kind, folder) as found:
            yield found
    elif kind.endswith("stdio"):
        yield {"command": python_sdk.command(kind, folder)}
    else:
        port = request.getfixturevalue("ports")[kind]
        yield {"url": f"http://127.0.0.1:{port}/{'sse' if kind.endswith('sse') else 'mcp'}"}


def world_of(place: dict[str, Any]) -> Connections:
    one = {"title": "Lab", "owner": "nobody", "environment": "test", "tools": TOOLS, **place}
    return connected(Inventory.model_validate({"version": 1, "servers": {"lab": one}}))


SERVING = [kind for kind in (*PYTHON, *TYPESCRIPT) if not kind.endswith("stdio")]
STARTED = [kind for kind in (*PYTHON, *TYPESCRIPT) if kind.endswith("stdio")]


@pytest.mark.parametrize("place", STARTED, indirect=True)
async def test_one_without_an_address_is_started_asked_and_ended(place: dict[str, Any]) -> None:
    world = world_of(place)
    endpoint = world.reach(McpEndpoint, "lab")
    endpoint.patience = 30.0
    try:
        async with endpoint.session(handshake=True) as session:
            assert {one["name"] for one in await session.listed("tools")} >= {"add"}
            assert (await session.ask("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})).text == "3"
            assert isinstance(session.carrier, Stdio)
            process = session.carrier.process
        assert process.returncode is not None
        assert await pins.snapshot(endpoint, frozenset({PinKind.TOOL}))
    finally:
        await world.aclose()


@pytest.mark.parametrize("place", SERVING, indirect=True)
async def test_it_is_read_compared_and_its_answers_are_kept(place: dict[str, Any]) -> None:
    bare = world_of(place)
    bare.reach(McpEndpoint, "lab").patience = 30.0
    try:
        approved = await pins.read_pins(bare, "lab", Dossier(reviewed="all of it"))
        assert {(pin.kind, pin.name) for pin in approved} >= {
            (PinKind.TOOL, "add"),
            (PinKind.PROMPT, "greet"),
            (PinKind.RESOURCE, "config://version"),
        }
        world = bare.with_inventory(bare.inventory.model_copy(update={"pins": Pins(servers={"lab": approved})}))
        assert (await DefinitionsMatch(server="lab").check(world)).answer is Answer.ESTABLISHED
        assert (await DefinitionDiffers(server="lab", tool="add").check(world)).answer is Answer.NOT_ESTABLISHED
        refused = await RefusedDirectly(server="lab", tool="add").check(world)
        assert refused.answer is Answer.NOT_ESTABLISHED, refused.findings
        files = await gathered(CaptureAnswer(server="lab", tool="add"), world)
        assert b"Add two integers." in files["list.http-body"]
        for name in ("call-alone-2", "call-in-one-session-3"):
            assert b'"3"' in files[f"{name}.http-body"], files
        assert files["signals.txt"] == b"nothing in the answers speaks to the model\n"
        for one in ({"tool": "add"}, {"prompt": "greet"}, {"resource": "config://version"}):
            clean = await AnswersClean.model_validate({"server": "lab", **one}).check(world)
            assert clean.answer is Answer.ESTABLISHED, clean.findings
    finally:
        await bare.aclose()


@pytest.mark.parametrize("place", [kind for kind in SERVING if "stateless" not in kind], indirect=True)
async def test_it_is_listened_to_on_a_stream_that_stays_open(place: dict[str, Any]) -> None:
    endpoint = world_of(place).reach(McpEndpoint, "lab")
    try:
        async with contextlib.aclosing(changes(endpoint, ["config://version"])) as said:
            assert await anext(said) == ""
    finally:
        await endpoint.aclose()


STRANGE_PAGE = ("a request from a strange web page", "answered")


@pytest.mark.parametrize(
    ("place", "faults"),
    [
        ("mcp-stateful", set()),
        ("mcp-stateless", set()),
        ("mcp-sse", set()),
        ("fastmcp-stateful", {STRANGE_PAGE}),
        ("fastmcp-sse", {STRANGE_PAGE}),
        # The laboratory's own reading of a body breaks on half a request, as the example that it follows does.
        ("typescript-2025-11-25-stateful", {STRANGE_PAGE, ("its answer to a bad request", "500, to half a request")}),
    ],
    indirect=["place"],
)
async def test_a_stranger_asks_it_what_a_good_server_refuses_and_runs_nothing(
    place: dict[str, Any], faults: set[tuple[str, str]], folder: Path
) -> None:
    calls = folder / "calls.txt"
    before = calls.read_text() if calls.exists() else ""
    agreed = Probed(agreed="Kim", open=True)
    async with Stranger("server lab", place["url"]) as asking:
        found = [one for probe in PROBES.values() for one in await probe("lab", agreed, asking)]
        assert {(one.what, one.observed) for one in found} == faults
        (open_,) = await PROBES["stranger"]("lab", Probed(agreed="Kim"), asking)
        assert open_.what == AUTHENTICATION
    assert (calls.read_text() if calls.exists() else "") == before, "a tool ran"


@pytest.mark.parametrize("place", ["fastmcp-stateful"], indirect=True)
async def test_poison_in_a_later_answer_of_one_session_is_kept_and_seen(place: dict[str, Any]) -> None:
    world = world_of(place)
    try:
        files = await gathered(CaptureAnswer(server="lab", tool="weather"), world)
        assert b"Ignore previous" not in files["call-alone-1.http-body"] + files["call-alone-2.http-body"]
        assert b"Ignore previous" in files["call-in-one-session-2.http-body"]
        assert b"call-in-one-session-2: speaks to the model" in files["signals.txt"]
        (found,) = (await AnswersClean(server="lab", tool="weather").check(world)).findings
        assert found.answer is Answer.NOT_ESTABLISHED
        assert "(call-in-one-session-" in found.observed
    finally:
        await world.aclose()


@pytest.mark.parametrize("revision", typescript_sdk.RELEASES)
async def test_the_revision_is_the_servers_and_its_session_is_given_back(revision: str, folder: Path) -> None:
    with typescript(f"typescript-{revision}-stateful", folder) as place:
        world = world_of(place)
        try:
            async with world.reach(McpEndpoint, "lab").session() as session:
                assert session.revision == revision
                assert session.id
                assert session.instructions == "Two tools."
            state = place["url"].replace("/mcp", "/state")
            with urllib.request.urlopen(state, timeout=60) as answer:  # noqa: S310, ASYNC210  # our own server on loopback
                assert json.load(answer)["sessions"] == 0
        finally:
            await world.aclose()


@pytest.mark.parametrize("place", ["mcp-stateful"], indirect=True)
async def test_a_server_is_asked_without_a_session_where_it_knows_how_and_with_one_where_that_is_wanted(
    place: dict[str, Any],
) -> None:
    world = world_of(place)
    try:
        endpoint = world.reach(McpEndpoint, "lab")
        async with endpoint.session() as session:
            assert (session.revision, session.id) == ("2026-07-28", None)
            assert (await session.ask("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})).text == "3"
        async with endpoint.session(handshake=True) as session:
            assert session.revision == "2025-11-25"
            assert session.id
            assert (await session.ask("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})).text == "3"
    finally:
        await world.aclose()
