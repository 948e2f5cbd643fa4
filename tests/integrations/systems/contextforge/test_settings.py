"""What the check `configuration` finds at a real gateway: nothing where it is set well, and each fault by its name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.demo.contextforge import RunningGateway, contextforge
from integrations.connections import Connections
from integrations.probing.manners import PROBES
from integrations.probing.stranger import Stranger, turned_away
from integrations.registry import SYSTEMS
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.enrol import client_user
from playbooks.errors import SoarError
from playbooks.estate.inventory import Inventory
from playbooks.estate.probing import Probed
from playbooks.record.check import Found
from playbooks.taxonomy import IncidentClass, Severity
from tests.lab.connected import connected
from tests.lab.fixtures import Lab, unique_name

pytestmark = [pytest.mark.system("contextforge"), pytest.mark.timeout(420)]


async def found(world: Connections) -> tuple[list[Found], dict[str, str]]:
    """Return what is found, and what could not be told."""
    differs, unknown = list[Found](), dict[str, str]()
    for what, ask in SYSTEMS.configuration(world).items():
        try:
            differs += await ask()
        except SoarError as exc:
            unknown[what] = str(exc)
    return differs, unknown


async def test_a_gateway_that_is_set_well_gives_nothing_and_is_only_read(lab: Lab) -> None:
    tokens = [one["id"] for one in await lab.world.reach(ContextForge, "main").tokens()]
    differs, unknown = await found(lab.world)
    assert not differs
    # Whether it writes security events nobody can tell before it has refused a revoked token.
    assert unknown.keys() <= {"gateway main: audit"}
    assert lab.proxy.writes == []
    assert [one["id"] for one in await lab.world.reach(ContextForge, "main").tokens()] == tokens


async def test_to_a_stranger_it_gives_nothing_that_a_good_server_refuses(lab: Lab) -> None:
    agreed = Probed(agreed="Kim")
    async with Stranger("gateway main", lab.site.client_url) as asking:
        assert [one for probe in PROBES.values() for one in await probe("main", agreed, asking)] == []
        assert turned_away(await asking.initialize())


async def test_a_gateway_that_is_broken_is_unknown(lab: Lab) -> None:
    lab.proxy.fails = ""  # every answer is a fault
    differs, unknown = await found(lab.world)
    assert not differs
    assert len(unknown) == len(SYSTEMS.configuration(lab.world))


@pytest.fixture(scope="module")
def open_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with every fault that one can be started with."""
    faults = {
        "AUTH_REQUIRED": "false",
        "ALLOW_UNAUTHENTICATED_ADMIN": "true",
        "MCP_REQUIRE_AUTH": "false",
        "ALLOWED_ORIGINS": '["*"]',
        "CORS_ALLOW_CREDENTIALS": "false",
        "MCPGATEWAY_UI_ENABLED": "true",
        "AUDIT_TRAIL_ENABLED": "false",
        "REQUIRE_TOKEN_EXPIRATION": "false",
    }
    with contextforge(tmp_path_factory.mktemp("open"), **faults) as running:
        yield running


def at(gateway: RunningGateway, folder: Path) -> Inventory:
    """Return an inventory of nothing but a gateway."""
    for name, secret in (("password", gateway.password), ("canary", "none")):
        (folder / name).write_text(secret, encoding="utf-8")
    written = {
        "version": 1,
        "systems": {
            "main": {
                "kind": "contextforge",
                "url": gateway.url,
                "user": gateway.user,
                "password": {"file": str(folder / "password")},
                "canary": {
                    "principal": "canary@example.com",
                    "token": {"file": str(folder / "canary")},
                    "url": f"{gateway.url}/mcp/",
                },
            }
        },
    }
    return Inventory.model_validate(written, context=SYSTEMS.context)


async def test_every_fault_of_a_gateway_is_found_and_named(open_gateway: RunningGateway, tmp_path: Path) -> None:
    world = connected(at(open_gateway, tmp_path))
    try:
        forge = world.reach(ContextForge, "main")
        user = f"{unique_name('agent')}@example.com"
        await client_user(forge, user)
        for name, more in (("for-ever", {}), ("long", {"expires_in_days": 300}), ("short", {"expires_in_days": 30})):
            await forge.api.request("POST", "/v1/tokens", body={"name": name, "user_email": user, **more})
        await forge.api.request(
            "POST",
            "/v1/servers",
            body={"server": {"name": unique_name("door"), "visibility": "public"}, "visibility": "public"},
        )
        differs, unknown = await found(world)
    finally:
        await world.aclose()
    said = {(one.subject, one.what): one for one in differs}
    assert {what for subject, what in said if subject == "gateway main"} == {
        "AUTH_REQUIRED",
        "authentication of the API",
        "authentication of MCP clients",
        "CORS",
        "administration page",
        "audit trail",
    }, (said.keys(), unknown)
    ends = {subject.split()[1]: one.observed for (subject, what), one in said.items() if what == "end"}
    assert ends == {"for-ever": "never", "long": "300 days after it was issued"}
    assert {one.incident_class for one in differs} == {IncidentClass.INSECURE_CONFIGURATION}
    assert said["gateway main", "authentication of the API"].severity is Severity.CRITICAL
    assert all(one.remedy and one.expected for one in differs)


async def test_a_placeholder_of_a_password_is_found_without_trying_it(lab: Lab) -> None:
    forge = lab.world.reach(ContextForge, "main")
    forge.api._password, kept = "changeme", forge.api._password  # noqa: SLF001  # as if the inventory named it
    lab.proxy.forget()
    try:
        differs = await SYSTEMS.configuration(lab.world)["gateway main: access"]()
    finally:
        forge.api._password = kept  # noqa: SLF001  # likewise
    assert [one.observed for one in differs] == ["a placeholder of the product"]
    assert not [path for _, path in lab.proxy.seen if path.endswith("login")]
