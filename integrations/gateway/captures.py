"""Evidence from a gateway: what it holds, and what it logged."""

import json
from typing import ClassVar

from typing_extensions import override

from integrations.gateway.actions import entry_of
from integrations.gateway.client import ContextForge
from playbooks.action import Capture, Collected, World
from playbooks.errors import Misconfigured
from playbooks.strict import Slug


class CaptureState(Capture):
    """Everything that a gateway holds: servers, tools, prompts, resources, users, tokens; no secret among it.

    Args:
        server: the server whose gateway it is, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.capture_state"
    exhibit: ClassVar[str] = "gateway_state"
    permissions: ClassVar[tuple[str, ...]] = (
        "GET /v1/gateways",
        "GET /v1/tools",
        "GET /v1/prompts",
        "GET /v1/resources",
        "GET /v1/servers",
        "GET /v1/tokens/admin/all",
        "GET /v1/auth/email/admin/users",
    )

    server: Slug

    @override
    async def collect(self, world: World) -> tuple[Collected, ...]:
        forge = world.reach(ContextForge, entry_of(self.server, world).name)
        state = await forge.export_state()
        data = json.dumps(state, indent=1, sort_keys=True, ensure_ascii=False).encode()
        origin = f"{forge.gateway.url}/v1"
        return (Collected(name="gateway-state.json", media_type="application/json", data=data, origin=origin),)


class CaptureLogs(Capture):
    """A gateway's newest audit trails and security events. ContextForge audits no tool calls.

    Args:
        server: the server whose gateway it is, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.capture_logs"
    exhibit: ClassVar[str] = "gateway_logs"
    permissions: ClassVar[tuple[str, ...]] = ("GET /api/logs/audit-trails", "GET /api/logs/security-events")

    server: Slug

    @override
    async def collect(self, world: World) -> tuple[Collected, ...]:
        forge = world.reach(ContextForge, entry_of(self.server, world).name)
        logs = await forge.logs()
        origin = f"{forge.gateway.url}/api/logs"
        if not any(logs.values()):
            raise Misconfigured(
                f"gateway {forge.name} holds no audit trail and no security event: {_OFF}. Turn AUDIT_TRAIL_ENABLED and"
                " SECURITY_LOGGING_ENABLED on there; until then nothing says who changed what"
            )
        found = [
            Collected(
                name=f"{name.replace('_', '-')}.json",
                media_type="application/json",
                data=json.dumps(entries, indent=1, sort_keys=True, ensure_ascii=False).encode(
                    errors="backslashreplace"
                ),
                origin=origin,
            )
            for name, entries in logs.items()
        ]
        for name, entries in logs.items():
            if not entries:
                said = f"{name} is empty: {_OFF}.\n".encode()
                name_ = f"{name.replace('_', '-')}-empty.txt"
                found.append(Collected(name=name_, media_type="text/plain", data=said, origin=origin))
        return tuple(found)


_OFF = "that is off there, or nothing was ever changed or refused"
