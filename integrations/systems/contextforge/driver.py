"""The administrator's side of a ContextForge, as the steps at gateways need it."""

import asyncio
import math
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final

from typing_extensions import override

from integrations.catalogue import Held as AnyHeld
from integrations.gateways.administration import Fields
from integrations.gateways.driver import ENTRY_TIMEOUT, Asked, Entered, Exhibited, GatewayDriver, Question, Rights
from integrations.precedence import Precedence
from integrations.sharing import Shared
from integrations.systems.contextforge.asking import Asking
from integrations.systems.contextforge.canary import ForgeCanary
from integrations.systems.contextforge.client import Forge
from integrations.systems.contextforge.held import VOLATILE, Held
from integrations.systems.contextforge.needs import EVENTS, NEVER, RIGHTS, TRAIL
from integrations.systems.contextforge.processes import by_number, names, tells_apart
from playbooks.action import World
from playbooks.errors import Refused, SoarError
from playbooks.estate.gateway import Gateway
from playbooks.estate.pins import PinKind
from playbooks.text.sentences import say

_MOST_SINGLE: Final = 2
_FORESEEN: Final = 0.25
"""Seconds for which what was asked ahead of a plan is the answer to it."""

_WATCHED_AT_ONCE: Final = 2
"""Looks of the watch under way: whatever is to be cut waits behind no more of them."""

_CHANGES_AT_ONCE: Final = 2
"""Changes under way. They meet in one table: eight at once take three times as long as one after the other."""

_VERIFIED_AT_ONCE: Final = 16
"""Verifications under way. They share their lists, so some together cost least; a hundred would time out together."""

_PAGE: Final = 500
"""Tokens of one page: as many as it gives."""

_MOST_PAGES: Final = 200
"""Pages of one list."""

_WHOLE: Final = 3
"""Servers that are looked at, from which on one list of everything tells of all of them: it costs the gateway less than
three lists of each."""
_LOOKED_INTO: Final = 120.0
"""Seconds for which a server counts as one that is looked at."""
_PARTIAL: Final = 600.0
"""Seconds for which a gateway that has more than can be read at once is read server by server."""

_DOORS_FOR: Final = 60.0
"""Seconds for which it is believed which virtual servers there are: they are doors to the same look-up."""

_PLAIN = re.compile(r"[0-9A-Za-z_-]{1,64}")
_PATHS: Final = {PinKind.TOOL: "tools", PinKind.PROMPT: "prompts", PinKind.RESOURCE: "resources"}


class ContextForge(GatewayDriver):
    """The administrator's side of one gateway.

    Args:
        name: what the inventory calls it.
        gateway: its address and user.
        password: that user's password.
    """

    product: ClassVar[str] = "ContextForge"
    rights: ClassVar[Mapping[str, Rights]] = RIGHTS
    unlogged: ClassVar[str] = NEVER
    governs: ClassVar[bool] = True
    state_at: ClassVar[str] = "/v1"
    logs_at: ClassVar[str] = "/api/logs"
    unknown: ClassVar[str] = "tool calls: this gateway writes none of them down; ask the servers that were called"
    volatile: ClassVar[Mapping[str, str]] = VOLATILE
    logged_if: ClassVar[str] = (
        f"`mcp-soar inventory import {{name}} --make-canary` tries out which; {TRAIL}=true and {EVENTS}=true where it"
        " is started switch them on"
    )

    def __init__(self, name: str, gateway: Gateway, password: str) -> None:
        precedence = Precedence(changes=_CHANGES_AT_ONCE, verifications=_VERIFIED_AT_ONCE, looks=_WATCHED_AT_ONCE)
        self.api = Forge(name, gateway, password)
        super().__init__(name, gateway, precedence, self.api)
        self._single: dict[str, int] = {}
        self._tools: dict[str, Shared[Held | None]] = {}
        self._ahead: dict[str, tuple[float, int, asyncio.Task[Held | None]]] = {}
        self._lists: dict[str, Shared[tuple[Held, ...]]] = {}
        self._virtual = Shared(self._virtual_servers)
        self._doors: tuple[float, dict[str, frozenset[str]]] | None = None
        # As many as the inventory says, and no fewer than were seen.
        self.processes = gateway.processes or 1
        self._catalogs: dict[str, Shared[tuple[Held, ...]]] = {}
        self._everything = Shared(self._all)
        self._looked_into: dict[str, float] = {}
        self._too_much = 0.0
        self._tokens: dict[str, Shared[tuple[Fields, ...]]] = {}

    @override
    async def warm(self) -> None:
        await self.sign_in()
        with suppress(SoarError):
            await asyncio.gather(self.count_processes(), self.virtual_servers())

    async def count_processes(self) -> int:
        """Look how many processes answer, by their names, and return how many there are at least."""
        self.processes = max(self.processes, len(await names(self.api)))
        return self.processes

    async def count_pids(self) -> int:
        """Look likewise, and by their numbers where names do not tell them apart: for `doctor`, never for a cut.

        To say its number takes a process half a second.
        """
        found = await names(self.api)
        numbers = 0 if found and all(map(tells_apart, found)) else await by_number(self.api)
        self.processes = max(self.processes, len(found), numbers)
        return self.processes

    async def virtual_servers(self) -> dict[str, frozenset[str]]:
        """Return the virtual servers with the ids of the tools that each was seen to offer; read anew each minute.

        What was seen before stays: a virtual server says no longer that a tool is its own once that is disabled.
        """
        if self._doors is None or time.monotonic() - self._doors[0] > _DOORS_FOR:
            await self._virtual()
        return self._doors[1] if self._doors else {}

    async def _virtual_servers(self) -> None:
        at, before = time.monotonic(), self._doors[1] if self._doors else {}
        doors: dict[str, frozenset[str]] = {}
        # The disabled as well: this gateway serves them on.
        for found in await self.api.objects("/v1/servers", {"include_inactive": "true", "limit": "0"}):
            id_, tools = found.get("id"), found.get("associatedToolIds")
            if isinstance(id_, str) and _PLAIN.fullmatch(id_) and isinstance(tools, list):
                seen = frozenset(tool for tool in tools if isinstance(tool, str))
                doors[id_] = seen | before.get(id_, frozenset())
        self._doors = at, doors

    @override
    async def held(self, kind: PinKind, entry: str | None = None) -> tuple[Held, ...]:
        """Return what the gateway holds of one kind from one server or all, the disabled included, in order of id."""
        # limit=0 is "all of them"; without it the answer ends after 50 without a word.
        params = {"include_inactive": "true", "limit": "0"} | ({"gateway_id": entry} if entry else {})
        found = [self.held_of(kind, fields) for fields in await self.api.objects(f"/v1/{_PATHS[kind]}", params)]
        return tuple(sorted(found, key=lambda held: held.id))

    def held_of(self, kind: PinKind, fields: object) -> Held:
        """Return an object of the gateway's answer.

        Raises:
            Refused: it lacks what every such object has.
        """
        needed = {"id", "enabled", "uri" if kind is PinKind.RESOURCE else "originalName", "name"}
        if not isinstance(fields, dict) or not needed <= fields.keys():
            raise Refused(
                f"gateway {self.name}: its answer holds something that is no {kind}: it lacks {sorted(needed)}"
            )
        held = Held(kind, fields)
        self.note(held.id, enabled=held.enabled)
        return held

    @override
    async def catalog(self, entry: str, since: float = math.inf) -> tuple[Held, ...]:
        # Calls that wait at the same time share an answer.
        return await self._catalogs.setdefault(entry, Shared(lambda: self._catalog(entry)))(since)

    async def _catalog(self, entry: str) -> tuple[Held, ...]:
        # One after the other: this gateway takes a sixth longer for all three at once, and the calls beside them wait.
        return tuple([held for kind in _PATHS for held in await self.held(kind, entry)])

    @override
    async def listing(self, entry: str, since: float) -> Sequence[AnyHeld]:
        moment = time.monotonic()
        self._looked_into = {one: at for one, at in self._looked_into.items() if moment - at < _LOOKED_INTO}
        self._looked_into[entry] = moment
        if len(self._looked_into) < _WHOLE or moment < self._too_much:
            return await super().listing(entry, since)
        try:
            everything = await self._everything(since)
        except Refused:
            # Read in part, it says nothing of the rest: each server is read by itself for a while.
            self._too_much = moment + _PARTIAL
            return await super().listing(entry, since)
        return tuple(held for held in everything if held.entry == entry)

    async def _all(self) -> tuple[Held, ...]:
        found: list[Held] = []
        for kind in _PATHS:
            # One after the other: what is to be cut meanwhile waits for no more than one of them.
            await self.precedence.give_way()
            found += await self.held(kind)
        return tuple(found)

    @override
    async def tool(self, id_: str, entry: str) -> Held | None:
        """Return one tool, or None if the gateway has none of that id.

        Args:
            id_: its id.
            entry: the entry that it should belong to. When many ask for tools of one entry at once, one list answers
                them all: it costs the gateway less than two single questions.
        """
        if (ahead := self._ahead.get(id_)) is not None:
            at, writes, asked = ahead
            if time.monotonic() - at < _FORESEEN and writes == self.precedence.writes:
                return await asyncio.shield(asked)
        if self._single.get(entry, 0) >= _MOST_SINGLE:
            tools = self._lists.setdefault(entry, Shared(lambda: self.held(PinKind.TOOL, entry)))
            listed = next((held for held in await tools() if held.id == id_), None)
            if listed is not None:
                return listed
        return await self._one(id_, entry)

    @override
    def foresee(self, id_: str, entry: str) -> None:
        # Unless others are being asked for: those wait for a list.
        moment = time.monotonic()
        self._ahead = {other: kept for other, kept in self._ahead.items() if moment - kept[0] < _FORESEEN}
        self.precedence.plans_for(_FORESEEN)
        if not self.api.session or self._single.get(entry, 0) or id_ in self._ahead:
            return
        # Counted at once: a hundred are foreseen before the first of them is asked for.
        self._single[entry] = self._single.get(entry, 0) + 1
        asked = asyncio.create_task(self._shared(id_))

        def answered(task: asyncio.Task[Held | None]) -> None:
            self._single[entry] -= 1
            # Where nobody comes to ask, nobody is told of a failure either.
            if not task.cancelled():
                task.exception()

        asked.add_done_callback(answered)
        self._ahead[id_] = (moment, self.precedence.writes, asked)

    @override
    def foreseen(self, id_: str) -> asyncio.Future[Any] | None:
        _, _, asked = self._ahead.get(id_, (0.0, 0, None))
        return asked

    async def _one(self, id_: str, entry: str) -> Held | None:
        self._single[entry] = self._single.get(entry, 0) + 1
        try:
            return await self._shared(id_)
        finally:
            self._single[entry] -= 1

    async def _shared(self, id_: str) -> Held | None:
        # Planning a cut and confirming its alert ask for the same tool at the same moment: one request serves both.
        return await self._tools.setdefault(id_, Shared(lambda: self._tool(id_)))()

    async def _tool(self, id_: str) -> Held | None:
        found = await self.api.request("GET", f"/v1/tools/{id_}", missing_ok=True)
        held = self.held_of(PinKind.TOOL, found) if found else None
        if held is not None and held.id != id_:
            raise Refused(f"gateway {self.name}: asked for tool {id_}, it answered another one, {held.id[:100]!r}")
        return held

    async def entry(self, id_: str) -> Fields | None:
        """Return the gateway's entry of a server, or None if there is none of that id."""
        found: Fields | None = await self.api.request("GET", f"/v1/gateways/{id_}", missing_ok=True)
        return found

    @override
    async def entry_at(self, id_: str) -> Entered | None:
        fields = await self.entry(id_)
        return Entered(str(fields["name"]), bool(fields["enabled"])) if fields is not None else None

    @override
    async def set_enabled(self, kind: PinKind, id_: str, *, enabled: bool, stopping: bool = False) -> None:
        del stopping  # it changes what is in use, too
        params = {"activate": str(enabled).lower()}
        self._disabled.pop(id_, None)
        self._looked.discard(id_)
        async with self.precedence.writing():
            await self.api.request("POST", f"/v1/{_PATHS[kind]}/{id_}/state", params=params)
        if not enabled:
            self._disabled[id_] = time.monotonic()

    @override
    async def set_entry_enabled(self, id_: str, *, enabled: bool | str) -> None:
        # Enabling reads the server's definitions anew and enables every tool, also those disabled one by one before.
        params = {"activate": str(enabled is not False).lower()}
        async with self.precedence.writing():
            await self.api.request("POST", f"/v1/gateways/{id_}/state", params=params, within=ENTRY_TIMEOUT)

    @override
    def rereads(self, entry: str) -> str:
        return say(
            "gateway {a} hands out what it read last: once the server offers the approved definition again, have it "
            "read that anew, as its administrator: POST {b} with include_resources=true&include_prompts=true",
            a=self.name,
            b=f"/v1/gateways/{entry}/tools/refresh",
        )

    async def refresh(self, entry: str) -> Fields:
        """Have the gateway read a server's definitions anew. It imports whatever the server says, poison included."""
        params = {"include_resources": "true", "include_prompts": "true"}
        answer: Fields = await self.api.request("POST", f"/v1/gateways/{entry}/tools/refresh", params=params)
        return answer

    async def tokens(self, user: str | None = None) -> tuple[Fields, ...]:
        """Return the API tokens of a user, or of everybody; the revoked included, none with its secret."""
        return await self._tokens.setdefault(user or "", Shared(partial(self._all_tokens, user)))()

    async def _all_tokens(self, user: str | None) -> tuple[Fields, ...]:
        found: dict[str, Fields] = {}
        path = "/v1/tokens/admin/all"
        for number in range(_MOST_PAGES):
            page = {"include_inactive": "true", "limit": str(_PAGE), "offset": str(_PAGE * number)}
            answer = await self.api.request("GET", path, params={**page, "user_email": user} if user else page)
            tokens = self.api.entries(path, answer.get("tokens") if isinstance(answer, dict) else None)
            known = len(found)
            found |= {str(token["id"]): token for token in tokens if "id" in token}
            # Its own total is not believed: a page that is not full, or brings nothing new, is the last one.
            if len(tokens) < _PAGE or len(found) == known:
                return tuple(found.values())
        raise Refused(f"gateway {self.name}: GET {path} does not end after {_MOST_PAGES} pages")

    @override
    async def is_revoked(self, token: str, user: str | None) -> bool | None:
        fields = next((one for one in await self.tokens(user) if one["id"] == token), None)
        return bool(fields["is_revoked"]) and not fields["is_active"] if fields is not None else None

    @override
    async def revoke(self, token: str) -> None:
        await self.api.request("DELETE", f"/v1/tokens/admin/{token}")

    async def user(self, email: str) -> Fields | None:
        """Return a user, or None."""
        found: Fields | None = await self.api.request("GET", f"/v1/auth/email/admin/users/{email}", missing_ok=True)
        return found

    async def roles(self, email: str) -> list[dict[str, Any]]:
        """Return the roles that a user was given, each with who gave it, where it holds, and what it permits."""
        given, known = await asyncio.gather(
            self.api.objects(f"/rbac/users/{email}/roles"),
            self.api.objects("/rbac/roles", {"active_only": "false"}),
        )
        by_id = {str(role.get("id")): role for role in known}
        # The grant alone names a role by its id.
        return [{**one, "role": by_id.get(str(one.get("role_id")))} for one in given]

    @override
    async def is_active(self, user: str) -> bool | None:
        fields = await self.user(user)
        return bool(fields["is_active"]) if fields is not None else None

    @override
    async def set_active(self, user: str, *, active: bool) -> None:
        await self.api.request("PATCH", f"/v1/auth/email/admin/users/{user}", body={"is_active": active})

    @override
    async def logs(self, limit: int = 1000, *, user: str | None = None) -> dict[str, Any]:
        # Tool calls are in neither: it does not audit them.
        paths = {"audit_trails": "/api/logs/audit-trails", "security_events": "/api/logs/security-events"}
        params = {"limit": str(limit)}
        asked = {"audit_trails": {**params, "user_id": user} if user else params, "security_events": params}
        # One after the other: nobody waits for this, and a cut meanwhile waits behind no more than one of them.
        found = {
            name: self.api.entries(path, await self.api.request("GET", path, params=asked[name]))
            for name, path in paths.items()
        }
        if user is not None:
            # It filters these by nothing that says who.
            found["security_events"] = [item for item in found["security_events"] if item.get("user_id") == user]
        return found

    @override
    async def export_state(self) -> dict[str, list[dict[str, Any]]]:
        params = {"include_inactive": "true", "limit": "0"}
        names = ("gateways", "tools", "prompts", "resources", "servers")
        # One after the other, as with the logs.
        everything = {name: self.steady(await self.api.objects(f"/v1/{name}", params)) for name in names}
        users = await self.api.objects("/v1/auth/email/admin/users", {"limit": "0"})
        return {**everything, "users": self.steady(users, "email"), "tokens": self.steady(await self.tokens())}

    @override
    def known_of(self, user: str) -> tuple[Exhibited, ...]:
        users = "/v1/auth/email/admin/users"
        return (
            Exhibited("account", partial(self.user, user), users),
            Exhibited("roles", partial(self.roles, user), "/rbac/users"),
            Exhibited("tokens", partial(self.tokens, user), "/v1/tokens/admin/all"),
        )

    @override
    def doubt(self, held: AnyHeld) -> str:
        # Whoever may not see it is told *not found*, whatever is remembered of it for those who may.
        visibility = held.fields.get("visibility") if isinstance(held, Held) else None
        remembers = self.gateway.remembers
        if held.kind is not PinKind.TOOL or visibility in {None, "public"}:
            return ""
        if self.disabled_for(held.id) > remembers + 1:
            return ""
        return (
            f"its visibility is {visibility}: what the gateway remembers of it for {remembers:g} s is not the canary's"
        )

    @override
    async def ask(self, question: Question, world: World, *, again: bool) -> Asked:
        canary = world.reach(ForgeCanary, self.name)
        return await Asking(
            canary, self, question.target, question.names, question.arguments, question.siblings, again
        ).everything()
