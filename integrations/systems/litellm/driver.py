"""The administrator's side of a LiteLLM proxy, as the steps at gateways need it.

A tool is kept from clients by its server's allow-list of names. An empty list lets everything through
(`server_applies_tool_allowlist` in `mcp_server/utils.py`), so no cut ever writes one. Where there was none, a cut
writes the names of all that the server offers but the one, and only the last cut's release takes the list away again.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import quote

from typing_extensions import override

from integrations.gateways.administration import Fields
from integrations.gateways.driver import (
    EVERYTHING,
    LISTED,
    Asked,
    Entered,
    Exhibited,
    GatewayDriver,
    Question,
    Rights,
    unasked,
)
from integrations.gateways.named import Named, strings
from integrations.hostile import printable
from integrations.precedence import Precedence
from integrations.sharing import Shared
from integrations.systems.litellm.answers import VOLATILE, lets, named, offered, opens, permits, prefix, told
from integrations.systems.litellm.canary import LiteLLMCanary
from integrations.systems.litellm.client import Proxy, key_id
from integrations.systems.litellm.needs import RIGHTS
from playbooks.action import World
from playbooks.errors import Drifted, Gone, Misconfigured, Refused, Transient
from playbooks.estate.gateway import Gateway
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer

_TRIES: Final = 3
"""Times that a list is written: it has no revision, so that somebody else's write in the same moment undoes ours."""

_MOST_ASKED: Final = 8
_SAID: Final = 300
"""Characters of what a server, through the proxy, gives as the reason for having no list."""

_LOGGED: Final = timedelta(days=7)


class LiteLLM(GatewayDriver):
    """One LiteLLM proxy.

    Args:
        name: what the inventory calls it.
        gateway: its address, and whose the key is.
        key: the master key, or one of a proxy administrator.
    """

    product: ClassVar[str] = "LiteLLM"
    rights: ClassVar[Mapping[str, Rights]] = RIGHTS
    unlogged: ClassVar[str] = "Never in its logs: what clients list"
    unknown: ClassVar[str] = ""
    logged_if: ClassVar[str] = "Its audit log takes a licence and store_audit_logs, its spend logs a database"
    state_at: ClassVar[str] = "/v1/mcp"
    logs_at: ClassVar[str] = "/spend/logs/v2"
    volatile: ClassVar[Mapping[str, str]] = VOLATILE

    def __init__(self, name: str, gateway: Gateway, key: str) -> None:
        # A list is written whole: one after the other.
        self.proxy = Proxy(name, gateway, key)
        super().__init__(name, gateway, Precedence(changes=1, verifications=8, looks=2), self.proxy)
        self.processes = gateway.processes or 1
        self._ours = key_id(key)
        self._catalogs: dict[str, Shared[tuple[Named, ...]]] = {}
        self._met: set[str] = set()

    @property
    @override
    def credentials(self) -> frozenset[str]:
        return super().credentials | {self._ours}

    # Reading

    async def registered(self) -> dict[str, Fields]:
        """Return the servers that it offers to clients, by their ids; asks none of them."""
        served: list[Fields] = [*await self.proxy.objects("/v1/mcp/server")]
        found = {str(one.get("server_id")): one for one in served}
        self._met |= found.keys()
        return found

    async def stored(self, entry: str) -> Fields | None:
        """Return a server as it stands in the database, the withheld included; the proxy asks it whether it lives."""
        found = await self.proxy.fields("GET", f"/v1/mcp/server/{quote(entry, safe='')}", missing_ok=True)
        if found is not None and found.get("server_id") != entry:
            raise Refused(f"gateway {self.name}: asked for server {entry}, it answered another one")
        return found

    @override
    async def entry_at(self, id_: str) -> Entered | None:
        found = await self._known(id_, await self.registered())
        return None if found is None else Entered(named(found), offered(found))

    async def _known(self, entry: str, registered: Mapping[str, Fields]) -> Fields | None:
        """Return a server as its one process offers it, or as it stands in the database of several.

        What is registered needs no look into the database, for which the proxy would ask the server itself; but each
        process registers for itself what it read there, some time ago.
        """
        return (registered.get(entry) if self.processes <= 1 else None) or await self.stored(entry)

    @override
    async def held(self, kind: PinKind, entry: str | None = None) -> tuple[Named, ...]:
        if kind is not PinKind.TOOL:
            return ()  # its administration lists no others
        entries = [entry] if entry else sorted(await self.registered())
        found = [held for one in entries for held in await self._tools(one)]
        return tuple(sorted(found, key=lambda held: held.id))

    async def _tools(self, entry: str) -> tuple[Named, ...]:
        registered = await self.registered()
        server = await self._known(entry, registered)
        if server is None:
            return ()
        listed = strings(server.get("allowed_tools"))
        known = await self._offered(entry) if entry in registered else {}
        on = offered(server)
        found = [self._held(server, name, enabled=on and lets(listed, name), fields=known[name]) for name in known]
        if entry not in registered:
            # What is withheld as a whole it asks for nothing: only names are known, where a list has them.
            found += [self._held(server, name, enabled=False, fields={}) for name in listed]
        for held in found:
            self.note(held.id, enabled=held.enabled)
        return tuple(found)

    def _held(self, server: Fields, name: str, *, enabled: bool, fields: Fields) -> Named:
        shown = server.get("tool_name_to_display_name")
        called = shown.get(name) if isinstance(shown, dict) else None
        offered_as = called if isinstance(called, str) and called else f"{prefix(server)}-{name}"
        return Named(PinKind.TOOL, str(server["server_id"]), name, offered_as, enabled, server.get("url"), fields)

    async def _offered(self, entry: str) -> dict[str, Fields]:
        """Return what a server offers at this moment, whatever the list says of it; the proxy asks it.

        Raises:
            Transient: the server does not answer the proxy.
        """
        path, asked = "/mcp-rest/tools/list", {"server_id": entry, "include_disabled_tools": "true"}
        found = await self.proxy.fields("GET", path, params=asked) or {}
        if found.get("error"):
            said = printable(str(found.get("message") or found["error"]), _SAID)
            raise Transient(f"gateway {self.name}: GET {path}: {said}")
        tools = found.get("tools")
        if not isinstance(tools, list):
            raise Refused(f"gateway {self.name}: GET {path} answered no list")
        return {str(one["name"]): one for one in tools if isinstance(one, dict) and isinstance(one.get("name"), str)}

    @override
    async def catalog(self, entry: str, since: float = math.inf) -> tuple[Named, ...]:
        return await self._catalogs.setdefault(entry, Shared(partial(self._tools, entry)))(since)

    @override
    async def tool(self, id_: str, entry: str) -> Named | None:
        return next((held for held in await self.catalog(entry) if held.id == id_), None)

    # Changing

    @override
    async def allows(self, entry: str) -> str | None:
        return LISTED if strings((await self._changeable(entry)).get("allowed_tools")) else EVERYTHING

    @override
    async def is_last(self, id_: str, entry: str) -> bool:
        listed = strings((await self._changeable(entry)).get("allowed_tools"))
        left = [name for name in listed or await self._offered(entry) if f"{entry}:{name}" != id_]
        return not left

    @override
    async def set_enabled(self, kind: PinKind, id_: str, *, enabled: bool, stopping: bool = False) -> None:
        entry, _, tool = id_.partition(":")
        if kind is not PinKind.TOOL:
            raise Refused(f"gateway {self.name}: a {kind} alone cannot be kept from clients there; its server can")
        # It would take any name, and say yes.
        known = await self._offered(entry)
        if not enabled and tool not in known:
            raise Gone(f"gateway {self.name} has no tool {tool!r} of that server")

        def changed(listed: tuple[str, ...]) -> tuple[str, ...]:
            if enabled:
                return listed if lets(listed, tool) else (*listed, tool)
            left = tuple(name for name in listed or sorted(known) if name != tool)
            if not left:
                raise Drifted(
                    f"gateway {self.name}: {tool} is the last tool of its server that clients may use by now, and an"
                    " empty list would let all of them through: the server has to go with it"
                )
            return left

        await self._change(entry, changed)
        self.note(id_, enabled=enabled)

    @override
    async def set_allows(self, entry: str, allows: str) -> None:
        known = await self._offered(entry)

        def changed(listed: tuple[str, ...]) -> tuple[str, ...]:
            if allows == LISTED:
                return listed or tuple(sorted(known))
            if listed and (withheld := sorted(known.keys() - {*listed})):
                # A tool that came meanwhile, or that somebody else took off the list.
                raise Refused(
                    f"gateway {self.name}: without its list clients would also get {', '.join(withheld)[:500]} of"
                    f" server {entry}, which the list keeps from them; put it on the list there, or see why it is not"
                )
            return ()

        await self._change(entry, changed)

    async def _change(self, entry: str, changed: Callable[[tuple[str, ...]], tuple[str, ...]]) -> None:
        """Write a server's list as it was read a moment ago, and see that nobody else wrote another one meanwhile."""
        async with self.precedence.writing():
            for _ in range(_TRIES):
                listed = strings((await self._changeable(entry)).get("allowed_tools"))
                wanted = changed(listed)
                if wanted == listed:
                    return
                body = {"server_id": entry, "allowed_tools": [*wanted]}
                await self.proxy.request("PUT", "/v1/mcp/server", body=body)
        listed = strings((await self._changeable(entry)).get("allowed_tools"))
        if changed(listed) != listed:
            raise Transient(f"gateway {self.name}: somebody else writes the list of server {entry} at the same time")

    async def _changeable(self, entry: str) -> Fields:
        """Return a server that can be changed, as it stands in the database.

        Raises:
            Gone: there is none.
            Refused: it stands in the proxy's configuration.
        """
        found = await self.stored(entry)
        if found is None:
            raise Gone(f"gateway {self.name} has no server of the id {entry} any more")
        self._of_database(found)
        return found

    def _of_database(self, server: Fields) -> None:
        if server.get("is_config") is True:
            raise Refused(
                f"gateway {self.name}: server {named(server)} stands in the proxy's configuration file, where nobody"
                " can change it while it runs; add it to the proxy's database instead"
            )

    @override
    async def set_entry_enabled(self, id_: str, *, enabled: bool | str) -> None:
        path = f"/v1/mcp/server/{quote(id_, safe='')}"
        self._of_database((await self.registered()).get(id_, {}))
        async with self.precedence.writing():
            if enabled is False:
                await self.proxy.request("PUT", f"{path}/reject", body={}, already="already rejected")
            else:
                await self.proxy.request("PUT", f"{path}/approve", already="already active")

    # Asking

    @override
    async def ask(self, question: Question, world: World, *, again: bool) -> Asked:
        del again  # one check stands behind both doors, and remembers nothing of before
        canary = world.reach(LiteLLMCanary, self.name)
        if question.arguments is None:
            return Asked([], [unasked(question, canary.endpoint.principal)])
        entry, _, tool = question.target.id.partition(":")
        # Each process has a list of its own, and reads the database's from time to time.
        times = 1 if self.processes <= 1 else min(2 * self.processes, _MOST_ASKED)
        called, *asked = await asyncio.gather(
            canary.call(PinKind.TOOL, question.names.offered, question.arguments),
            *(canary.beside(entry, tool, question.arguments) for _ in range(times)),
        )
        order = (Answer.NOT_ESTABLISHED, Answer.UNKNOWN, Answer.ESTABLISHED)
        return Asked([called, min(asked, key=lambda one: order.index(one.answer))])

    async def may_use(self, user: str, entry: str) -> bool:
        """Return whether a user's newest key that opens may use a server, by its own permissions.

        Args:
            user: whose key it is.
            entry: the server's id.
        """
        keys = [one for one in await self.keys(user) if opens(one)]
        if not keys:
            return False
        newest = max(keys, key=lambda one: str(one.get("created_at")))
        info = await self.proxy.fields("GET", "/key/info", params={"key": str(newest.get("token"))}) or {}
        server = await self._known(entry, await self.registered())
        about = info.get("info")
        return server is not None and permits(about if isinstance(about, dict) else {}, server)

    # Who uses it

    async def users(self, user: str | None = None) -> list[Fields]:
        """Return the users, or the one of an id."""
        found = await self.proxy.listed("/user/list", {"user_ids": user} if user else {}, under="users")
        return [one for one in found if user is None or one.get("user_id") == user]

    async def keys(self, user: str | None = None) -> list[Fields]:
        """Return the keys of a user, or of everybody; the blocked included, none with its secret."""
        asked = {"return_full_object": "true", **({"user_id": user} if user else {})}
        found = await self.proxy.listed("/key/list", asked, under="keys", size="size")
        return [one for one in found if user is None or one.get("user_id") == user]

    @override
    async def is_active(self, user: str) -> bool | None:
        return True if await self.users(user) else None

    @override
    async def set_active(self, user: str, *, active: bool) -> None:
        raise Refused(f"gateway {self.name}: LiteLLM has no switch for a user; each of its keys can be blocked")

    @override
    async def is_revoked(self, token: str, user: str | None) -> bool | None:
        found = await self.proxy.fields("GET", "/key/info", params={"key": token}, missing_ok=True)
        info = found.get("info") if found else None
        if not isinstance(info, dict) or (user is not None and info.get("user_id") != user):
            return None
        # Deleted keys are told of as well, and open nothing.
        return info.get("blocked") is True or info.get("status") == "deleted"

    @override
    async def revoke(self, token: str) -> None:
        # Deleted, its permissions would be gone from the evidence.
        await self.proxy.request("POST", "/key/block", body={"key": token})

    # Evidence

    @override
    async def export_state(self) -> dict[str, Any]:
        registered = await self.registered()
        servers = [*registered.values()]
        servers += [found for one in sorted(self._met - registered.keys()) if (found := await self.stored(one))]
        held = [one for entry in sorted(registered) for one in await self._listed_or_nothing(entry)]
        return {
            "servers": self.steady(({**told(one), "enabled": offered(one)} for one in servers), "server_id"),
            "tools": [{"id": one.id, "enabled": one.enabled, **one.definition} for one in held],
            "users": self.steady(await self.users(), "user_id"),
            "keys": self.steady(await self.keys(), "token"),
        }

    async def _listed_or_nothing(self, entry: str) -> tuple[Named, ...]:
        try:
            return await self.catalog(entry)
        except Transient:
            return ()  # its server does not answer, and all else is evidence all the same

    @override
    async def logs(self, limit: int = 1000, *, user: str | None = None) -> dict[str, Any]:
        until = datetime.now(UTC)
        asked = {
            "start_date": f"{until - _LOGGED:%Y-%m-%d %H:%M:%S}",
            "end_date": f"{until + timedelta(minutes=1):%Y-%m-%d %H:%M:%S}",
            **({"user_id": user} if user else {}),
        }
        calls = await self.proxy.listed("/spend/logs/v2", asked, under="data", most=limit)
        try:
            changes = await self.changes(user, most=limit)
        except (Misconfigured, Refused):
            changes = []  # without a licence there is none
        return {"audit_logs": changes, "spend_logs": calls}

    async def changes(self, user: str | None = None, *, most: int) -> list[dict[str, Any]]:
        """Return who changed what, the newest first: a user, or everybody.

        Raises:
            Misconfigured: the proxy has no licence for it.
        """
        by = {"changed_by": user} if user else {}
        return await self.proxy.listed("/audit", by, under="audit_logs", most=most)

    @override
    def known_of(self, user: str) -> tuple[Exhibited, ...]:
        async def account() -> Fields | None:
            return next(iter(await self.users(user)), None)

        return (
            Exhibited("account", account, "/user/list"),
            Exhibited("keys", partial(self.keys, user), "/key/list"),
        )
