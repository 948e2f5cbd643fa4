"""The victim world for tests: one gateway for the whole session, a real server of its own for each test.

The gateway is one that only pretends, `tests/lab/pretended`, unless a test is marked `system("contextforge")`.
"""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.demo.contextforge import RunningGateway, contextforge, executable
from flows.demo.mcp_server import McpServer, mcp_server
from flows.demo.site import GATEWAY, Site
from integrations.connections import Connections
from integrations.gateways.canary import Canary
from integrations.systems.contextforge.driver import ContextForge
from playbooks.errors import Misconfigured
from tests.lab import s3
from tests.lab.connected import connected
from tests.lab.faulty_proxy import FaultyProxy, faulty_proxy
from tests.lab.keycloak import RunningKeycloak, keycloak
from tests.lab.oidc import RunningProvider, provider
from tests.lab.places import Place, Places
from tests.lab.pretended.running import pretended
from tests.lab.s3 import Moto
from tests.lab.vaults import Folder, InBucket, KeptIn

if TYPE_CHECKING:
    from tests.lab.prefect import PrefectServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A real ContextForge, shared by the session: each test puts a server of its own behind it."""
    try:
        executable()
    except Misconfigured as exc:
        pytest.skip(str(exc))
    with contextforge(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """Amazon S3, shared by the session: each test takes buckets of its own."""
    if why := s3.missing():
        pytest.skip(why)
    with s3.moto(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture
def evidence_kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeptIn]:
    """Where evidence is kept: a folder, or a bucket on S3."""
    where: str = request.param
    kept = Folder(tmp_path) if where == "folder" else InBucket(request.getfixturevalue("moto"))
    yield kept
    kept.close()


@pytest.fixture(scope="session")
def mcp_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpServer]:
    """The process behind every test's victim: starting one takes two seconds."""
    with mcp_server(tmp_path_factory.mktemp("mcp-server")) as running:
        yield running


@pytest.fixture(scope="session")
def places(gateway: RunningGateway, mcp_process: McpServer, tmp_path_factory: pytest.TempPathFactory) -> Places:
    """The servers that stand behind the session's gateway already."""
    return Places(gateway, mcp_process, tmp_path_factory.mktemp("places"), unique_name)


@pytest.fixture(scope="session")
def pretended_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway that only pretends, shared likewise."""
    with pretended(tmp_path_factory.mktemp("pretended")) as running:
        yield running


@pytest.fixture(scope="session")
def pretended_places(
    pretended_gateway: RunningGateway, mcp_process: McpServer, tmp_path_factory: pytest.TempPathFactory
) -> Places:
    """The servers that stand behind that one."""
    return Places(pretended_gateway, mcp_process, tmp_path_factory.mktemp("pretended-places"), unique_name)


@pytest.fixture(scope="session")
def identity_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProvider]:
    """An identity provider, shared by the session: each test has users of its own there."""
    try:
        with provider(tmp_path_factory.mktemp("identity-provider")) as running:
            yield running
    except LookupError as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="session")
def the_keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKeycloak]:
    """A Keycloak, shared likewise."""
    try:
        with keycloak(tmp_path_factory.mktemp("keycloak")) as running:
            yield running
    except LookupError as exc:
        pytest.skip(str(exc))


@pytest.fixture
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """A server that behaves, behind the gateway: as when it was put there, whoever had it before."""
    real = any("contextforge" in mark.args for mark in request.node.iter_markers("system"))
    kept: Places = request.getfixturevalue("places" if real else "pretended_places")
    async with kept.taken() as taken:
        yield taken


@pytest.fixture
def victim(request: pytest.FixtureRequest) -> Iterator[McpServer]:
    """A real MCP server with three tools, a prompt and a resource, that can be told to turn hostile.

    It is the site's where a test has a site; else one that stands behind no gateway yet.
    """
    if "place" in request.fixturenames:
        place: Place = request.getfixturevalue("place")
        yield place.server
        return
    process: McpServer = request.getfixturevalue("mcp_process")
    server = McpServer(process.port, process.folder, name=unique_name("victim"))
    yield server
    server.behave()


@pytest.fixture
def site(place: Place) -> Site:
    """The victim behind the gateway, with its agent, its canary and its approved pins."""
    return place.site


@dataclass(frozen=True)
class Lab:
    """A site whose gateway is reached through a proxy that counts and fails.

    Args:
        site: the site, its gateway's address being the proxy's.
        world: connections to it.
        victim: its server.
        proxy: the proxy.
        gateway: the gateway itself.
    """

    site: Site
    world: Connections
    victim: McpServer
    proxy: FaultyProxy
    gateway: RunningGateway


@pytest.fixture
async def lab(place: Place, victim: McpServer, site: Site) -> AsyncIterator[Lab]:
    """The site through a faulty proxy, signed in and quiet."""
    gateway = place.gateway
    async with faulty_proxy(gateway.url) as proxy:
        through = site.through(proxy.url)
        world = connected(through.inventory)
        # A loaded test machine is no finding; what hangs on purpose is tried with less patience.
        world.reach(ContextForge, GATEWAY).patience = 20.0
        world.reach(Canary, GATEWAY).endpoint.patience = 20.0
        await world.warm()
        proxy.forget()
        try:
            yield Lab(site=through, world=world, victim=victim, proxy=proxy, gateway=gateway)
        finally:
            await world.aclose()


# One for all tests of a process: Prefect's client reports to one address as long as it lives.
@pytest.fixture(scope="session")
def the_prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator["PrefectServer"]:
    """The session's Prefect server."""
    # Prefect reads its settings when it is imported, which is after `pytest_configure` has made them.
    from tests.lab.prefect import prefect_running  # noqa: PLC0415

    with prefect_running(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def prefect(the_prefect: "PrefectServer") -> "PrefectServer":
    """A real server that this process reports to, with nothing in it."""
    if not the_prefect.running:
        the_prefect.start()
    the_prefect.forget()
    return the_prefect


@pytest.fixture
def absent_prefect(prefect: "PrefectServer") -> "PrefectServer":
    """The server, which does not run until the test starts it."""
    prefect.kill()
    return prefect


def unique_name(stem: str) -> str:
    """Return a name that no other test of this session, in whichever process, uses."""
    return f"{stem}-{os.getpid()}-{next(_numbers)}"
