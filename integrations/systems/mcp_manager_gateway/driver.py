"""The administrator's side of an mcp-manager-gateway, as the steps at gateways need it."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import quote

from typing_extensions import override

from integrations.gateways.administration import Fields
from integrations.gateways.canary import Canary
from integrations.gateways.driver import (
    ENTRY_TIMEOUT,
    Asked,
    Entered,
    Exhibited,
    GatewayDriver,
    Question,
    Rights,
    unasked,
)
from integrations.gateways.named import Named
from integrations.precedence import Precedence
from integrations.sharing import Shared
from integrations.systems.mcp_manager_gateway.client import InUse, Manager
from integrations.systems.mcp_manager_gateway.held import KINDS, Service
from integrations.systems.mcp_manager_gateway.needs import RIGHTS
from playbooks.action import World
from playbooks.errors import Drifted, Gone, Refused, Transient
from playbooks.estate.gateway import Gateway
from playbooks.estate.pins import PinKind

_BUSY_FOR: Final = 60.0
"""Seconds for which a server counts as in use after a change was refused for that: calls come and go."""

_AGAIN: Final = 0.1
"""Seconds between two tries to change a server that was just stopped: the next call may start it first."""

_DETAILS: Final = 2
"""Definitions that are asked for at once: it is one process, and clients ask it meanwhile."""
_PAGES: Final = 200

_CHANGES: Final = 4.5
"""Seconds that one change may take."""

_CACHED, _RUNS, _COUNTS = (
    "when it last read its server",
    "which connections are open now",
    "a counter",
)


class ManagerGateway(GatewayDriver):
    """One mcp-manager-gateway.

    Args:
        name: what the inventory calls it.
        gateway: its address and user.
        password: that user's password.
    """

    product: ClassVar[str] = "mcp-manager-gateway"
    rights: ClassVar[Mapping[str, Rights]] = RIGHTS
    unlogged: ClassVar[str] = "Never in its logs: what clients list"
    unknown: ClassVar[str] = ""
    logged_if: ClassVar[str] = "It writes down what is changed and what is called"
    state_at: ClassVar[str] = "/api/v1"
    logs_at: ClassVar[str] = "/api/v1"
    volatile: ClassVar[Mapping[str, str]] = {
        "revision": "counts writes; a restore is one more write",
        **dict.fromkeys(("runtime", "status", "runtime_status"), _RUNS),
        **dict.fromkeys(("cache_at", "cache_attempt_at", "cache_generation", "generation"), _CACHED),
        **dict.fromkeys(("last_startup_failure_at", "last_refresh_failure_at"), _CACHED),
        **dict.fromkeys(("call_count", "success_count", "failed_count"), _COUNTS),
    }

    def __init__(self, name: str, gateway: Gateway, password: str) -> None:
        # It changes one server at a time, by the revision that was read.
        self.manager = Manager(name, gateway, password)
        super().__init__(name, gateway, Precedence(changes=1, verifications=8, looks=2), self.manager)
        self._services: dict[str, Shared[Service | None]] = {}
        self._catalogs: dict[str, Shared[tuple[Named, ...]]] = {}
        self._defined: dict[tuple[str, PinKind], tuple[str, dict[str, Fields]]] = {}
        self._refused: dict[str, float] = {}
        self._details = asyncio.Semaphore(_DETAILS)

    @override
    async def warm(self) -> None:
        # To verify a password takes the gateway half a second.
        await self.manager.sign_in()

    # Reading

    async def service(self, entry: str) -> Service | None:
        """Return a server, or None; calls that wait at the same time share an answer."""
        return await self._services.setdefault(entry, Shared(partial(self._service, entry)))()

    async def _service(self, entry: str) -> Service | None:
        found = await self.manager.fields("GET", f"/mcps/{quote(entry, safe='')}", missing_ok=True)
        if found is not None and found.get("id") != entry:
            raise Refused(f"gateway {self.name}: asked for server {entry}, it answered another one")
        return None if found is None else Service(found)

    @override
    async def entry_at(self, id_: str) -> Entered | None:
        service = await self.service(id_)
        return None if service is None else Entered(str(service.fields.get("name") or service.slug), service.enabled)

    @override
    async def busy(self, entry: str) -> int:
        service = await self.service(entry)
        under_way = service.under_way if service else 0
        refused = time.monotonic() - self._refused.get(entry, -math.inf) < _BUSY_FOR
        return max(under_way, 1) if refused else under_way

    @override
    async def held(self, kind: PinKind, entry: str | None = None) -> tuple[Named, ...]:
        entries = [entry] if entry else [str(one["id"]) for one in await self.manager.listed("/mcps")]
        found = [held for one in entries for held in await self._of(kind, one)]
        return tuple(sorted(found, key=lambda held: held.id))

    async def _of(self, kind: PinKind, entry: str) -> tuple[Named, ...]:
        service = await self.service(entry)
        if service is None:
            return ()
        known = await self._definitions(entry, kind)
        on = service.enabled is not False
        found = {
            name: service.held(
                kind, name, enabled=on and (kind is not PinKind.TOOL or service.lets(name)), fields=fields
            )
            for name, fields in known.items()
        }
        if kind is PinKind.TOOL:
            # What is withheld it forgets; a name that stands for nothing is one of a tool that is not there.
            found |= {name: service.held(kind, name, enabled=False) for name in service.withheld if name not in found}
        for held in found.values():
            self.note(held.id, enabled=held.enabled)
        return tuple(found.values())

    async def _definitions(self, entry: str, kind: PinKind) -> dict[str, Fields]:
        """Return what it has of one kind, each with its definition, read anew only where it read its server anew."""
        path = f"/mcps/{quote(entry, safe='')}/capabilities"
        params, names, generation = {"kind": KINDS[kind], "limit": "200"}, list[str](), ""
        for _ in range(_PAGES):
            page = await self.manager.fields("GET", path, params=params) or {}
            items = page.get("items")
            if not isinstance(items, list):
                raise Refused(f"gateway {self.name}: GET {path} answered no list")
            key = "uri" if kind is PinKind.RESOURCE else "name"
            names += [str(item[key]) for item in items if isinstance(item, dict) and isinstance(item.get(key), str)]
            generation, cursor = str(page.get("generation")), page.get("next_cursor")
            if not isinstance(cursor, str) or not cursor or not items:
                break
            params = {**params, "cursor": cursor}
        kept = self._defined.get((entry, kind))
        if kept is not None and generation and kept[0] == generation:
            return kept[1]
        defined = dict(
            zip(names, await asyncio.gather(*(self._defines(path, kind, one) for one in names)), strict=True)
        )
        self._defined[entry, kind] = generation, defined
        return defined

    async def _defines(self, path: str, kind: PinKind, name: str) -> Fields:
        async with self._details:
            found = await self.manager.fields("GET", f"{path}/{KINDS[kind]}/{quote(name)}", missing_ok=True)
        return found or {}

    @override
    async def catalog(self, entry: str, since: float = math.inf) -> tuple[Named, ...]:
        return await self._catalogs.setdefault(entry, Shared(partial(self._catalog, entry)))(since)

    async def _catalog(self, entry: str) -> tuple[Named, ...]:
        kinds = await asyncio.gather(*(self._of(kind, entry) for kind in KINDS))
        return tuple(held for kind in kinds for held in kind)

    @override
    async def tool(self, id_: str, entry: str) -> Named | None:
        return next((held for held in await self._of(PinKind.TOOL, entry) if held.id == id_), None)

    # Changing

    @override
    async def set_enabled(self, kind: PinKind, id_: str, *, enabled: bool, stopping: bool = False) -> None:
        entry, _, tool = id_.partition(":")
        if kind is not PinKind.TOOL:
            raise Refused(f"gateway {self.name}: a {kind} alone cannot be kept from clients there; its server can")

        def changed(service: Service) -> dict[str, Any] | None:
            listed = [one for one in service.listed if one != tool] + ([] if enabled else [tool])
            if (tool in service.listed) is not enabled:
                return None
            config = {key: value for key, value in service.config.items() if key != "disabled_tools"}
            return {"config": {**config, "disabled_tools": listed} if listed else config}

        if not enabled and await self.tool(id_, entry) is None:
            # It would take any name, and say yes.
            raise Gone(f"gateway {self.name} has no tool {tool!r} of that server")
        await self._change(entry, changed, stopping=stopping, releasing=enabled)
        self.note(id_, enabled=enabled)

    @override
    async def set_entry_enabled(self, id_: str, *, enabled: bool | str) -> None:
        mode = "disabled" if enabled is False else "lazy" if enabled is True else enabled

        def changed(service: Service) -> dict[str, Any] | None:
            return None if service.fields.get("mode") == mode else {"mode": mode}

        await self._change(id_, changed, stopping=enabled is False, releasing=enabled is not False)

    async def _change(
        self, entry: str, changed: Callable[[Service], Mapping[str, Any] | None], *, stopping: bool, releasing: bool
    ) -> None:
        """Change a server as it was read a moment ago: whoever changed it meanwhile is not overwritten."""
        path, until = f"/mcps/{quote(entry, safe='')}", time.monotonic() + ENTRY_TIMEOUT - 1
        async with self.precedence.writing():
            while True:
                service = await self._service(entry)
                if service is None:
                    raise Gone(f"gateway {self.name} has no server of the id {entry} any more")
                body = changed(service)
                if body is None:
                    return
                try:
                    read = {"revision": service.fields.get("revision")}
                    await self.manager.request("PATCH", path, body={**body, **read}, within=self._slow)
                except InUse as exc:
                    self._refused[entry] = time.monotonic()
                    if releasing:
                        raise
                    if not stopping:
                        raise Drifted(f"{exc}; to change it takes to stop the server, which breaks them off") from exc
                    if time.monotonic() > until:
                        raise Transient(f"{exc}; it was stopped, and started again by the next call each time") from exc
                    await self.manager.request("POST", f"{path}/stop", within=max(1.0, until - time.monotonic()))
                    await asyncio.sleep(_AGAIN)
                else:
                    self._refused.pop(entry, None)
                    return

    @property
    def _slow(self) -> float:
        # It connects to the server anew before it answers.
        return max(self.patience, _CHANGES)

    @override
    async def ask(self, question: Question, world: World, *, again: bool) -> Asked:
        del again  # one look-up, by one name, stands behind every way in, and remembers nothing of before
        canary = world.reach(Canary, self.name)
        if question.arguments is not None:
            return Asked([await canary.call(PinKind.TOOL, question.names.offered, question.arguments)])
        return Asked([], [unasked(question, canary.endpoint.principal)])

    # Who uses it

    async def user(self, name: str) -> Fields | None:
        """Return a user by the name that it signs in with, or None."""
        found = await self.manager.listed("/users", {"q": name})
        return next((one for one in found if one.get("username") == name), None)

    async def tokens(self, user: str | None = None) -> list[Fields]:
        """Return the API tokens of a user, or of everybody; the disabled included, none with its secret."""
        asked = {"view": "all", **({"username": user} if user else {})}
        found = await self.manager.listed("/tokens", asked)
        return [one for one in found if user is None or one.get("username") == user]

    @override
    async def is_active(self, user: str) -> bool | None:
        found = await self.user(user)
        return None if found is None else found.get("disabled") is False

    @override
    async def set_active(self, user: str, *, active: bool) -> None:
        found = await self.user(user)
        if found is None:
            raise Gone(f"gateway {self.name} has no user {user} any more")
        await self.manager.request("PATCH", f"/users/{quote(str(found['id']), safe='')}", body={"disabled": not active})

    @override
    async def is_revoked(self, token: str, user: str | None) -> bool | None:
        found = next((one for one in await self.tokens(user) if one.get("id") == token), None)
        return None if found is None else found.get("disabled") is True

    @override
    async def revoke(self, token: str) -> None:
        # Deleted, nothing would say any more whose it was.
        await self.manager.request("PATCH", f"/tokens/{quote(token, safe='')}", body={"disabled": True})

    # Evidence

    @override
    async def export_state(self) -> dict[str, Any]:
        services = [await self._service(str(one["id"])) for one in await self.manager.listed("/mcps")]
        held = [held for kind in KINDS for held in await self.held(kind)]
        return {
            "mcps": self.steady(service.fields for service in services if service),
            "capabilities": [{"id": one.id, "enabled": one.enabled, **one.definition} for one in held],
            "users": self.steady(await self.manager.listed("/users")),
            "tokens": self.steady(await self.tokens()),
        }

    @override
    async def logs(self, limit: int = 1000, *, user: str | None = None) -> dict[str, Any]:
        found = {
            "audit_logs": await self.manager.listed("/audit-logs", most=limit),
            "call_logs": await self.manager.listed("/logs", most=limit),
        }
        if user is None:
            return found
        return {name: [one for one in some if one.get("username") == user] for name, some in found.items()}

    @override
    def known_of(self, user: str) -> tuple[Exhibited, ...]:
        return (
            Exhibited("account", partial(self.user, user), "/api/v1/users"),
            Exhibited("tokens", partial(self.tokens, user), "/api/v1/tokens"),
        )
