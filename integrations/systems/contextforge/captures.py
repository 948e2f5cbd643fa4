"""Evidence from a gateway: what it holds, what it logged, and what it knows of one principal."""

from collections.abc import Awaitable, Callable
from typing import ClassVar, Final

from typing_extensions import override

from integrations.exhibits import add_json, add_text
from integrations.systems.contextforge.actions import ADMINISTRATOR, entry_of, principal_of
from integrations.systems.contextforge.audit import EVENTS, NEVER, TRAIL
from integrations.systems.contextforge.client import ContextForge
from playbooks.action import Capture, Sink, World
from playbooks.errors import Misconfigured, Refused, SoarError
from playbooks.strict import Name, Slug


class OfGateway(Capture):
    """What a gateway knows."""

    needs: ClassVar[tuple[str, ...]]
    """As of an action there."""
    tried: ClassVar[str] = ""
    """Likewise."""


class CaptureState(OfGateway):
    """Everything that a gateway holds: servers, tools, prompts, resources, users, tokens; no secret among it.

    Args:
        server: the server whose gateway it is, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.capture_state"
    needs: ClassVar[tuple[str, ...]] = ("servers.read", ADMINISTRATOR)
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
    async def collect(self, world: World, sink: Sink) -> None:
        forge = world.reach(ContextForge, entry_of(self.server, world).name)
        state = await forge.export_state()
        await add_json(sink, "gateway-state.json", state, f"{forge.gateway.url}/v1")


class CaptureLogs(OfGateway):
    """A gateway's newest audit trails and security events. ContextForge audits no tool calls.

    Args:
        server: the server whose gateway it is, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.capture_logs"
    needs: ClassVar[tuple[str, ...]] = (ADMINISTRATOR,)
    tried: ClassVar[str] = "/api/logs/audit-trails"
    exhibit: ClassVar[str] = "gateway_logs"
    permissions: ClassVar[tuple[str, ...]] = ("GET /api/logs/audit-trails", "GET /api/logs/security-events")

    server: Slug

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        forge = world.reach(ContextForge, entry_of(self.server, world).name)
        logs = await forge.logs()
        origin = f"{forge.gateway.url}/api/logs"
        if not any(logs.values()):
            raise Misconfigured(
                f"gateway {forge.name} holds no audit trail and no security event: {_OFF}. `mcp-soar doctor` says"
                f" whether {TRAIL} and {EVENTS} are on there. {NEVER}"
            )
        for name, entries in logs.items():
            file = name.replace("_", "-")
            await add_json(sink, f"{file}.json", entries, origin)
            if not entries:
                never = f" {NEVER}." if name == "audit_trails" else ""
                await add_text(sink, f"{file}-empty.txt", f"{name} is empty: {_OFF}.{never}\n", origin)


class CapturePrincipal(OfGateway):
    """What a gateway knows of a principal: account, roles, tokens with their scopes and last use, and what it changed.

    No secret is among it. What the gateway does not tell of these stands in `missing.txt`; without the account itself
    there is no exhibit.

    Args:
        principal: who, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.capture_principal"
    needs: ClassVar[tuple[str, ...]] = (ADMINISTRATOR,)
    tried: ClassVar[str] = "/v1/tokens/admin/all"
    exhibit: ClassVar[str] = "principal"
    permissions: ClassVar[tuple[str, ...]] = (
        "GET /v1/auth/email/admin/users/{id}",
        "GET /rbac/users/{id}/roles",
        "GET /rbac/roles",
        "GET /v1/tokens/admin/all",
        "GET /api/logs/audit-trails",
        "GET /api/logs/security-events",
    )

    principal: Name

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        principal = principal_of(self.principal, world)
        forge = world.reach(ContextForge, principal.gateway)
        account = await forge.user(principal.user)
        if account is None:
            raise Refused(f"gateway {forge.name} has no user for {self.principal}")
        await add_json(sink, "account.json", account, f"{forge.gateway.url}/v1/auth/email/admin/users")
        missing: list[str] = []
        lists: dict[str, tuple[Callable[[str], Awaitable[object]], str]] = {
            "roles": (forge.roles, f"{forge.gateway.url}/rbac/users"),
            "tokens": (forge.tokens, f"{forge.gateway.url}/v1/tokens/admin/all"),
        }
        for name, (question, origin) in lists.items():
            try:
                answer = await question(principal.user)
            except SoarError as exc:
                missing.append(f"{name}: {exc}")
            else:
                await add_json(sink, f"{name}.json", answer, origin)
        try:
            logs = await forge.logs(user=principal.user)
        except SoarError as exc:
            missing.append(f"logs: {exc}")
            logs = {}
        for name, entries in logs.items():
            origin = f"{forge.gateway.url}/api/logs, what names this user"
            await add_json(sink, f"{name.replace('_', '-')}.json", entries, origin)
            if not entries:
                missing.append(f"{name}: nothing that names this user: {_OFF}")
        missing.append("tool calls: this gateway writes none of them down; ask the servers that were called")
        text = "".join(f"{line}\n" for line in missing)
        await add_text(sink, "missing.txt", text, "computed from the other files of this exhibit")


_OFF = "that is off there, or nothing that it writes down happened since it is on"


CAPTURES: Final[tuple[type[OfGateway], ...]] = (CaptureState, CaptureLogs, CapturePrincipal)
