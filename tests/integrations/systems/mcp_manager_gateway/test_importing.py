"""What an import and `doctor` say of a real mcp-manager-gateway."""

from pathlib import Path

import pytest

from flows.demo.mcp_server import McpServer
from flows.demo.site import GATEWAY
from integrations.estate import IssuedToken, Survey
from integrations.registry import SYSTEMS
from integrations.system import Holders
from integrations.systems.mcp_manager_gateway.doctor import doctor
from tests.integrations.systems.mcp_manager_gateway.test_laws import manager
from tests.lab.connected import connected
from tests.lab.manager import RunningManager, managed

__all__ = ["manager"]
pytestmark = [pytest.mark.system("mcp-manager-gateway"), pytest.mark.timeout(240)]


async def test_everything_is_read_a_canary_is_made_and_doctor_finds_it(
    manager: RunningManager, victim: McpServer, tmp_path: Path
) -> None:
    made: list[IssuedToken] = []
    async with managed(manager, victim, tmp_path / "managed", "imported") as lab:
        settings = lab.world.inventory.gateways[GATEWAY]
        (tmp_path / "managed" / "canary").unlink()
        wanted = Survey(
            name=GATEWAY,
            gateway=settings,
            password=manager.password,
            shell_password="",
            folder=tmp_path,
            canary_path=tmp_path / "managed" / "canary",
            make_canary=True,
            keep=made.append,
        )
        seen = await SYSTEMS.importers["mcp-manager-gateway"](wanted)
        (entry,) = [one for one in seen.estate.entries if one.name == "imported"]
        assert entry.id == lab.world.inventory.servers["imported"].places[GATEWAY].model_dump()["id"]
        assert (entry.enabled, entry.url) == (True, victim.url)
        assert {held.name for held in seen.estate.objects[entry.id]} >= {"add", "get_weather", "get_forecast", "greet"}
        assert {user.email for user in seen.estate.users} >= {"administrator", "canary", "agent-imported"}
        assert [token.name for token in seen.estate.tokens if token.user == "agent-imported"] == ["agent"]
        assert "was made" in seen.canary
        (tmp_path / "managed" / "canary").write_text(made[0].secret)
        fresh = connected(lab.world.inventory)
        try:
            said = [line for _, looked in doctor(fresh, Holders(_nobody)) async for line in looked]
        finally:
            await fresh.aclose()
        assert {line.level for line in said} == {"ok"}, said
        assert any("its call of add of imported gets through" in line.message for line in said)


async def _nobody() -> tuple[()]:
    return ()
