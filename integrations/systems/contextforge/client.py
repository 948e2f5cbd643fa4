"""ContextForge's administration: one kept-alive connection pool, one login, and its errors as ours."""

import asyncio
import math
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import files
from typing import Any, Final, Literal

import httpx
from typing_extensions import override

from integrations import bounded
from integrations.catalogue import Catalogue, Names
from integrations.hostile import own_name, printable
from integrations.precedence import Precedence
from integrations.sharing import Shared
from integrations.tls import trusted
from integrations.waiting import wait_of
from playbooks.errors import Misconfigured, Refused, SoarError, Transient
from playbooks.inventory import Gateway, PinKind
from playbooks.strict import Line, Strict, fingerprint, parse_yaml

Fields = Mapping[str, Any]

IDLE = 4.0
"""Seconds after which an idle connection is not used again: servers commonly close theirs after five."""

TIMEOUT: Final = 4.0
"""Seconds for one request: less than the 5 that an action's read or write may take."""

ENTRY_TIMEOUT: Final = 18.0
"""Seconds for enabling an entry: the gateway asks the server itself meanwhile."""

LONGEST_WAIT: Final = 30.0
"""Seconds after which a gateway that asked for patience is asked again, however long it asked for."""

_MOST_SINGLE: Final = 2
_FORESEEN: Final = 0.25
"""Seconds for which what was asked ahead of a plan is the answer to it."""

FRESH: Final = 1.0
"""Seconds that a list may be old which a verification takes, if nothing of ours was changed since it was asked for."""

SETTLED: Final = 5.0
"""Seconds after a cut from which looking at it is a watch, for which a list may be as old; in a burst the first look
itself may come late, and is none."""

_WATCHED_AT_ONCE: Final = 2
"""Looks of the watch under way: whatever is to be cut waits behind no more of them."""

_AT_ONCE: Final = 8
"""Requests under way. The gateway is one process: more at once make each slower, and then time out together."""

_CHANGES_AT_ONCE: Final = 2
"""Changes under way. They meet in one table: eight at once take three times as long as one after the other."""

_VERIFIED_AT_ONCE: Final = 16
"""Verifications under way. They share their lists, so some together cost least; a hundred would time out together."""

_MOST_SAID: Final = 20_000
"""Bytes of an error's text that are looked at."""

_PAGE: Final = 500
"""Tokens of one page: as many as it gives."""

_MOST_PAGES: Final = 200
"""Pages of one list."""

_MOST_OBJECTS: Final = 100_000
"""Entries of one list."""

_PIDS: Final = 8
"""Questions for a process's number, at most."""

_BEGINS: Final = 0.1
"""Seconds after which a process that was asked for its number answers nobody else, until it has answered that."""

_PROBES: Final = 4
"""Questions that find out whether another process answers: a proxy may give some of them to the one that is busy."""

_DOORS_FOR: Final = 60.0
"""Seconds for which it is believed which virtual servers there are: they are doors to the same look-up."""

ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,199}")
"""What stands in the path of a request later, or in a command that people copy."""

_PLAIN = re.compile(r"[0-9A-Za-z_-]{1,64}")
_SECRET = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*|(?i:bearer)\s+\S+")
_PATHS: Final = {PinKind.TOOL: "tools", PinKind.PROMPT: "prompts", PinKind.RESOURCE: "resources"}
_AS_CLIENTS_SEE: Final = {
    PinKind.TOOL: ("title", "description", "inputSchema", "outputSchema", "annotations"),
    PinKind.PROMPT: ("title", "description", "arguments"),
    PinKind.RESOURCE: ("title", "description", "mimeType", "uriTemplate", "annotations"),
}
# Beside what clients see: the name that it gives out, the text that the upstream gave last, and where calls go.
_ALSO_HELD: Final = ("name", "originalDescription", "url")


_SHOWN: Final = ("id", "uri", "name", "originalName", "customName", "customNameSlug", "displayName")


@dataclass(frozen=True)
class Held:
    """A tool, prompt or resource as the gateway holds it.

    Args:
        kind: tool, prompt or resource.
        fields: the gateway's own answer.
    """

    kind: PinKind
    fields: Fields

    @property
    def id(self) -> str:
        """Its immutable id."""
        return str(self.fields["id"])

    @property
    def name(self) -> str:
        """Its name at the server (a resource's URI) as it is shown; two objects of a server never share one."""
        return own_name(self.names.original)

    @property
    def offered_as(self) -> str:
        """The name under which clients get it, as the gateway writes it."""
        return str(self.fields["uri" if self.kind is PinKind.RESOURCE else "name"])

    @property
    def names(self) -> Names:
        """Both names, for asking."""
        return Names(self.offered_as, str(self.fields["uri" if self.kind is PinKind.RESOURCE else "originalName"]))

    @cached_property
    def shown_as(self) -> frozenset[str]:
        """Every name by which people see it there: the one it was given, its server's, the one offered, and its id."""
        shown = (self.fields.get(field) for field in _SHOWN)
        return frozenset({self.name, *(printable(name) for name in shown if isinstance(name, str))})

    @property
    def entry(self) -> str | None:
        """The id of the gateway's entry that it belongs to."""
        return self.fields.get("gatewayId")

    @property
    def enabled(self) -> bool:
        """Whether the gateway lets clients use it."""
        return bool(self.fields["enabled"])

    @property
    def definition(self) -> dict[str, Any]:
        """Its definition in the form in which the server would give it, for a diff with the approved one."""
        name = {"uri": self.fields["uri"]} if self.kind is PinKind.RESOURCE else {}
        name["name"] = self.fields.get("originalName") or self.fields["name"]
        return {**name, **{key: self.fields.get(key) for key in _AS_CLIENTS_SEE[self.kind]}}

    @cached_property
    def digest(self) -> str:
        """Of everything that decides what clients get and where their calls go."""
        return fingerprint({**self.definition, "held": {key: self.fields.get(key) for key in _ALSO_HELD}}).digest


class _Volatile(Strict):
    field: str
    because: Line


class _VolatileFile(Strict):
    version: Literal[1]
    fields: tuple[_Volatile, ...]


def volatile() -> dict[str, str]:
    """Return the fields that a release does not restore, each with the reason."""
    file = files("integrations.systems.contextforge") / "volatile.yaml"
    read = parse_yaml(
        _VolatileFile, file.read_text(encoding="utf-8"), file="integrations/systems/contextforge/volatile.yaml"
    )
    return {entry.field: entry.because for entry in read.fields}


@dataclass(frozen=True)
class _Answer:
    """What came back for one request, read within limits."""

    status: int
    retry_after: str | None
    raw: bytes

    @property
    def success(self) -> bool:
        return httpx.codes.is_success(self.status)

    @property
    def text(self) -> str:
        return self.raw[:_MOST_SAID].decode(errors="replace")


class ContextForge(Catalogue):
    """The administrator's side of one gateway.

    Args:
        name: what the inventory calls it.
        gateway: its address and user.
        password: that user's password.
    """

    def __init__(self, name: str, gateway: Gateway, password: str) -> None:
        self.name = name
        self.gateway = gateway
        self.patience = TIMEOUT
        """Seconds for one request."""
        self._password = password
        self._token: str | None = None
        self._signing_in = asyncio.Lock()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self.precedence = Precedence(changes=_CHANGES_AT_ONCE, verifications=_VERIFIED_AT_ONCE, looks=_WATCHED_AT_ONCE)
        self._single: dict[str, int] = {}
        self._tools: dict[str, Shared[Held | None]] = {}
        self._ahead: dict[str, tuple[float, int, asyncio.Task[Held | None]]] = {}
        self._lists: dict[str, Shared[tuple[Held, ...]]] = {}
        self._disabled: dict[str, float] = {}
        self._looked: set[str] = set()
        self._virtual = Shared(self._virtual_servers)
        self._doors: tuple[float, dict[str, frozenset[str]]] | None = None
        self.processes = gateway.processes or 1
        """How many processes answer at its address: as many as the inventory says, and no fewer than were seen."""
        self._catalogs: dict[str, Shared[tuple[Held, ...]]] = {}
        self._tokens: dict[str, Shared[tuple[Fields, ...]]] = {}
        self._http = self._connecting(keep=2 * _AT_ONCE)

    def _connecting(self, keep: int) -> httpx.AsyncClient:
        """Return what makes connections to the gateway and keeps some of them for the next request.

        Args:
            keep: how many; without any, each request has a connection of its own.
        """
        return httpx.AsyncClient(
            base_url=self.gateway.url.rstrip("/"),
            headers={"Accept-Encoding": bounded.ENCODINGS},
            timeout=httpx.Timeout(TIMEOUT, connect=2.0),
            limits=httpx.Limits(max_connections=2 * _AT_ONCE, max_keepalive_connections=keep, keepalive_expiry=IDLE),
            verify=trusted(self.gateway.url),
            trust_env=False,
        )

    @property
    def account(self) -> str:
        """Whom we sign in as, for messages: they mask e-mail addresses, and this one is what has to be looked up."""
        return self.gateway.user.replace("@", " at ")

    @property
    @override
    def administrator(self) -> str:
        return self.gateway.user

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def warm(self) -> None:
        """Sign in ahead of need: hashing the password takes the gateway a quarter of a second."""
        await self._sign_in(None)
        with suppress(SoarError):
            await asyncio.gather(self.count_processes(), self.virtual_servers())

    async def count_processes(self) -> int:
        """Look how many processes answer, and return how many there are at least.

        Each names itself at `/health`; those of one machine name themselves alike where `HOSTNAME` is set, so that only
        the inventory knows their number for certain.
        """
        answers = await asyncio.gather(*(self._pod() for _ in range(_AT_ONCE // 2)))
        self.processes = max(self.processes, len({pod for pod in answers if pod}))
        return self.processes

    async def _pod(self, over: httpx.AsyncClient | None = None) -> str | None:
        answer = await self._send("GET", "/health", over=over)
        what = f"gateway {self.name}: GET /health"
        found = bounded.parsed(answer.raw, what) if answer.success and answer.raw else None
        runtime = found.get("mcp_runtime") if isinstance(found, dict) else None
        pod = runtime.get("pod_id") if isinstance(runtime, dict) else None
        return pod if isinstance(pod, str) else None

    async def count_pids(self) -> int:
        """Look how many processes answer, each by its host and number, and return how many there are at least.

        To say it takes a process almost half a second, in which it answers nobody else; so another is asked only while
        all that were asked are busy and somebody answers all the same. Where one process answers at all, that is once.
        For `doctor`, never for a containment.
        """
        asked: list[asyncio.Task[tuple[str, int] | None]] = []
        async with self._connecting(keep=0) as fresh:
            try:
                while len(asked) < _PIDS:
                    asked.append(one := asyncio.create_task(self._pid(fresh)))
                    await asyncio.wait({one}, timeout=_BEGINS)
                    if one.done():  # it keeps nobody busy, or does not say
                        if one.exception() or one.result() is None:
                            break
                    elif any(other.done() for other in asked) or not await self._answers_beside(asked, fresh):
                        break
                answers = await asyncio.gather(*asked, return_exceptions=True)
            finally:
                for one in asked:
                    one.cancel()
        seen = {answer for answer in answers if isinstance(answer, tuple)}
        self.processes = max(self.processes, len(seen), await self.count_processes())
        return self.processes

    async def _pid(self, over: httpx.AsyncClient) -> tuple[str, int] | None:
        """Return the host and the number of the process that answers; None if it does not say."""
        answer = await self._send("GET", "/version", token=self._token or await self._sign_in(None), over=over)
        found = bounded.parsed(answer.raw, f"gateway {self.name}: GET /version") if answer.success else None
        system = found.get("system") if isinstance(found, dict) else None
        process = system.get("process") if isinstance(system, dict) else None
        pid = process.get("pid") if isinstance(process, dict) else None
        return (str(found.get("host")), pid) if isinstance(found, dict) and isinstance(pid, int) else None

    async def _answers_beside(self, asked: Iterable["asyncio.Task[Any]"], fresh: httpx.AsyncClient) -> bool:
        """Return whether somebody answers, on a connection of its own, before any of those that were asked has.

        Args:
            asked: the questions, each of which keeps a process busy.
            fresh: makes a connection for each request: one that is busy takes none, wherever no proxy gives it some.
        """
        busy = set(asked)
        probes: set[asyncio.Task[Any]] = {asyncio.create_task(self._pod(fresh)) for _ in range(_PROBES)}
        try:
            waits = probes | busy
            while probes & waits and not any(one.done() for one in busy):
                done, waits = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if any(not one.exception() for one in done & probes) and not done & busy:
                    return True
            return False
        finally:
            for one in probes:
                one.cancel()
            await asyncio.gather(*probes, return_exceptions=True)

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
        for found in await self._list("/v1/servers", {"include_inactive": "true", "limit": "0"}):
            id_, tools = found.get("id"), found.get("associatedToolIds")
            if isinstance(id_, str) and _PLAIN.fullmatch(id_) and isinstance(tools, list):
                seen = frozenset(tool for tool in tools if isinstance(tool, str))
                doors[id_] = seen | before.get(id_, frozenset())
        self._doors = at, doors

    def disabled_for(self, id_: str) -> float:
        """Return for how many seconds an object has been disabled, as far as this process has seen; 0 if it is not."""
        since = self._disabled.get(id_)
        return time.monotonic() - since if since is not None else 0.0

    def settled(self, ids: Iterable[str]) -> bool:
        """Return whether objects were disabled some time ago and asked about since: then it is the watch that asks."""
        every = [*ids]
        return bool(every) and all(id_ in self._looked and self.disabled_for(id_) > SETTLED for id_ in every)

    def looked_at(self, ids: Iterable[str]) -> None:
        """Note that disabled objects were asked about."""
        self._looked.update(id_ for id_ in ids if id_ in self._disabled)

    def _note(self, held: Held) -> None:
        if held.enabled:
            self._disabled.pop(held.id, None)
            self._looked.discard(held.id)
        else:
            self._disabled.setdefault(held.id, time.monotonic())

    @override
    async def held(self, kind: PinKind, entry: str | None = None) -> tuple[Held, ...]:
        """Return what the gateway holds of one kind from one server or all, the disabled included, in order of id."""
        # limit=0 is "all of them"; without it the answer ends after 50 without a word.
        params = {"include_inactive": "true", "limit": "0"} | ({"gateway_id": entry} if entry else {})
        found = [self.held_of(kind, fields) for fields in await self._list(f"/v1/{_PATHS[kind]}", params)]
        return tuple(sorted(found, key=lambda held: held.id))

    async def _list(self, path: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        return self.entries(path, await self.request("GET", path, params=params))

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
        self._note(held)
        return held

    def entries(self, path: str, found: object) -> list[dict[str, Any]]:
        """Return the objects of a list that the gateway answered.

        Raises:
            Refused: it is no list of objects, or longer than any.
        """
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise Refused(f"gateway {self.name}: GET {path} answered no list of objects")
        if len(found) > _MOST_OBJECTS:
            raise Refused(f"gateway {self.name}: GET {path} answered {len(found)} objects, more than {_MOST_OBJECTS}")
        return found

    @override
    async def catalog(self, entry: str, since: float = math.inf) -> tuple[Held, ...]:
        """Return everything that the gateway holds from one server; calls that wait at the same time share an answer.

        Args:
            entry: the server's.
            since: the moment, in monotonic seconds, after which it has to be asked for; else after this call began.
        """
        return await self._catalogs.setdefault(entry, Shared(lambda: self._catalog(entry)))(since)

    async def _catalog(self, entry: str) -> tuple[Held, ...]:
        kinds = await asyncio.gather(*(self.held(kind, entry) for kind in _PATHS))
        return tuple(held for kind in kinds for held in kind)

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

    def foresee(self, id_: str, entry: str) -> None:
        """Ask for a tool now that will be needed in a moment, unless others are being asked for: those wait for a list.

        Args:
            id_: its id.
            entry: the entry that it should belong to.
        """
        moment = time.monotonic()
        self._ahead = {other: kept for other, kept in self._ahead.items() if moment - kept[0] < _FORESEEN}
        self.precedence.plans_for(_FORESEEN)
        if self._token is None or self._single.get(entry, 0) or id_ in self._ahead:
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
        found = await self.request("GET", f"/v1/tools/{id_}", missing_ok=True)
        held = self.held_of(PinKind.TOOL, found) if found else None
        if held is not None and held.id != id_:
            raise Refused(f"gateway {self.name}: asked for tool {id_}, it answered another one, {held.id[:100]!r}")
        return held

    async def entry(self, id_: str) -> Fields | None:
        """Return the gateway's entry of a server, or None if there is none of that id."""
        found: Fields | None = await self.request("GET", f"/v1/gateways/{id_}", missing_ok=True)
        return found

    async def set_enabled(self, kind: PinKind, id_: str, *, enabled: bool) -> None:
        """Let clients use an object, or keep them from it."""
        params = {"activate": str(enabled).lower()}
        self._disabled.pop(id_, None)
        self._looked.discard(id_)
        async with self.precedence.writing():
            await self.request("POST", f"/v1/{_PATHS[kind]}/{id_}/state", params=params)
        if not enabled:
            self._disabled[id_] = time.monotonic()

    async def set_entry_enabled(self, id_: str, *, enabled: bool) -> None:
        """Let clients use a server, or keep them from it, and with it everything that the gateway holds from it.

        Enabling reads the server's definitions anew and enables every tool, also those disabled one by one before.
        """
        params = {"activate": str(enabled).lower()}
        async with self.precedence.writing():
            await self.request("POST", f"/v1/gateways/{id_}/state", params=params, within=ENTRY_TIMEOUT)

    async def refresh(self, entry: str) -> Fields:
        """Have the gateway read a server's definitions anew. It imports whatever the server says, poison included."""
        params = {"include_resources": "true", "include_prompts": "true"}
        answer: Fields = await self.request("POST", f"/v1/gateways/{entry}/tools/refresh", params=params)
        return answer

    async def tokens(self, user: str | None = None) -> tuple[Fields, ...]:
        """Return the API tokens of a user, or of everybody; the revoked included, none with its secret."""
        return await self._tokens.setdefault(user or "", Shared(partial(self._all_tokens, user)))()

    async def _all_tokens(self, user: str | None) -> tuple[Fields, ...]:
        found: dict[str, Fields] = {}
        path = "/v1/tokens/admin/all"
        for number in range(_MOST_PAGES):
            page = {"include_inactive": "true", "limit": str(_PAGE), "offset": str(_PAGE * number)}
            answer = await self.request("GET", path, params={**page, "user_email": user} if user else page)
            tokens = self.entries(path, answer.get("tokens") if isinstance(answer, dict) else None)
            known = len(found)
            found |= {str(token["id"]): token for token in tokens if "id" in token}
            # Its own total is not believed: a page that is not full, or brings nothing new, is the last one.
            if len(tokens) < _PAGE or len(found) == known:
                return tuple(found.values())
        raise Refused(f"gateway {self.name}: GET {path} does not end after {_MOST_PAGES} pages")

    async def revoke(self, token: str) -> None:
        """Make an API token worthless, for good."""
        await self.request("DELETE", f"/v1/tokens/admin/{token}")

    async def user(self, email: str) -> Fields | None:
        """Return a user, or None."""
        found: Fields | None = await self.request("GET", f"/v1/auth/email/admin/users/{email}", missing_ok=True)
        return found

    async def roles(self, email: str) -> list[dict[str, Any]]:
        """Return the roles that a user was given, each with who gave it, where it holds, and what it permits."""
        given, known = await asyncio.gather(
            self._list(f"/rbac/users/{email}/roles", {}), self._list("/rbac/roles", {"active_only": "false"})
        )
        by_id = {str(role.get("id")): role for role in known}
        # The grant alone names a role by its id.
        return [{**one, "role": by_id.get(str(one.get("role_id")))} for one in given]

    async def set_active(self, email: str, *, active: bool) -> None:
        """Let a user in, or keep that user and all of the user's tokens out."""
        await self.request("PATCH", f"/v1/auth/email/admin/users/{email}", json={"is_active": active})

    async def logs(self, limit: int = 1000, *, user: str | None = None) -> dict[str, Any]:
        """Return the newest audit trails and security events. Tool calls are in neither: it does not audit them.

        Args:
            limit: entries of each that are read.
            user: only what this user did; of the security events those among the newest that name them.
        """
        paths = {"audit_trails": "/api/logs/audit-trails", "security_events": "/api/logs/security-events"}
        params = {"limit": str(limit)}
        asked = {"audit_trails": {**params, "user_id": user} if user else params, "security_events": params}
        # One after the other: nobody waits for this, and a cut meanwhile waits behind no more than one of them.
        found = {
            name: self.entries(path, await self.request("GET", path, params=asked[name]))
            for name, path in paths.items()
        }
        if user is not None:
            # It filters these by nothing that says who.
            found["security_events"] = [item for item in found["security_events"] if item.get("user_id") == user]
        return found

    async def export_state(self) -> dict[str, list[dict[str, Any]]]:
        """Return everything that matters of the gateway, in one order, less the volatile fields and all secrets."""
        params = {"include_inactive": "true", "limit": "0"}
        names = ("gateways", "tools", "prompts", "resources", "servers")
        # One after the other, as with the logs.
        everything: dict[str, Iterable[Fields]] = {name: await self._list(f"/v1/{name}", params) for name in names}
        everything["users"] = await self._list("/v1/auth/email/admin/users", {"limit": "0"})
        everything["tokens"] = await self.tokens()
        leave_out = set(volatile())
        return {name: _settled(objects, leave_out) for name, objects in everything.items()}

    async def refused(self, token: str) -> None:
        """Ask with a token that was revoked: the gateway turns it away, and writes that down where it is told to."""
        await self._send("GET", "/v1/tools", params={"limit": "1"}, token=token)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: object = None,
        missing_ok: bool = False,
        within: float | None = None,
    ) -> Any:  # noqa: ANN401  # each endpoint's own JSON
        """Send one request as the administrator and return its JSON.

        Args:
            method: the HTTP method.
            path: from the gateway's root.
            params: of the query.
            json: the body.
            missing_ok: return None when the gateway has no such object.
            within: seconds that it may take; `patience` if None.

        Raises:
            Transient: it did not answer, is busy, or broke.
            Refused: it said no.
            Misconfigured: our user may not do this.
        """
        token = self._token or await self._sign_in(None)
        response = await self._send(method, path, params=params, json=json, token=token, within=within)
        if response.status == httpx.codes.UNAUTHORIZED:
            token = await self._sign_in(token)
            response = await self._send(method, path, params=params, json=json, token=token, within=within)
        if response.status == httpx.codes.NOT_FOUND and missing_ok and "not found" in response.text.lower():
            return None
        if not response.success:
            raise self._error(method, path, response)
        return bounded.parsed(response.raw, f"gateway {self.name}: {method} {path}") if response.raw else None

    async def _sign_in(self, stale: str | None) -> str:
        async with self._signing_in:
            # Whoever waited here while another signed in takes that one's token: logins are slow, and rate-limited.
            if self._token and self._token != stale:
                return self._token
            body = {"email": self.gateway.user, "password": self._password}
            response = await self._send("POST", "/v1/auth/login", json=body)
            if response.status == httpx.codes.FORBIDDEN and "password change" in response.text.lower():
                # A fresh administrator, or a password that is older than the gateway lets one be.
                raise Misconfigured(
                    f"gateway {self.name} wants the password of {self.account} changed before it lets it in: sign in at"
                    f" {self.gateway.url.rstrip('/')}/admin and change it there, then write the new one to the secret"
                    f" that gateways.{self.name}.password names"
                )
            if response.status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
                raise Misconfigured(
                    f"gateway {self.name} does not accept the password of {self.account}; mend the secret that"
                    f" gateways.{self.name}.password names"
                )
            if not response.success:
                raise self._error("POST", "/v1/auth/login", response)
            what = f"gateway {self.name}: POST /v1/auth/login"
            answer = bounded.parsed(response.raw, what)
            if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str):
                raise Transient(f"{what} answered no token")
            self._token = answer["access_token"]
            return self._token

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: object = None,
        token: str | None = None,
        within: float | None = None,
        over: httpx.AsyncClient | None = None,
    ) -> "_Answer":
        within, http = within or self.patience, over or self._http
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            # The clock starts when it is its turn: a burst of our own is not the gateway's silence.
            async with self._turns if over is None else nullcontext(), asyncio.timeout(within):
                limit = httpx.Timeout(within, connect=2.0)
                asked = http.build_request(method, path, params=params, json=json, headers=headers, timeout=limit)
                try:
                    return await self._answer(asked, http)
                except (httpx.ReadError, httpx.RemoteProtocolError):
                    if method != "GET":
                        raise
                    # The gateway closed a connection that had been idle just as it was used again. A question may be
                    # put twice; whether a change arrived is found out by reading.
                    return await self._answer(asked, http)
        except (httpx.TransportError, TimeoutError) as exc:
            raise Transient(f"gateway {self.name}: {method} {path}: no answer ({type(exc).__name__})") from exc
        except httpx.HTTPError as exc:
            raise Transient(f"gateway {self.name}: {method} {path}: {type(exc).__name__}") from exc

    async def _answer(self, asked: httpx.Request, http: httpx.AsyncClient) -> "_Answer":
        response = await http.send(asked, stream=True)
        try:
            raw = await bounded.body(response, f"gateway {self.name}: {asked.method} {asked.url.path}")
        finally:
            await response.aclose()
        return _Answer(response.status_code, response.headers.get("Retry-After"), raw)

    def _error(self, method: str, path: str, response: "_Answer") -> SoarError:
        status = response.status
        said = printable(_SECRET.sub("[secret]", response.text))[:300]
        message = f"gateway {self.name}: {method} {path} answered {status}: {said}"
        if status in {409, 425, 429} or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            # 409: another writer holds the row.
            return Transient(message, retry_after=wait_of(response.retry_after, longest=LONGEST_WAIT))
        if status == httpx.codes.BAD_REQUEST and "locked" in said.lower():
            # It wraps whatever goes wrong in a state change as 400, its own database's lock included.
            return Transient(message)
        if status in {401, 403}:
            return Misconfigured(
                f"{message}; our account there, {self.account}, lacks the right: give it the role platform_admin;"
                f" `mcp-soar doctor` says what it lacks"
            )
        return Refused(message)


def _settled(objects: Iterable[Fields], leave_out: set[str]) -> list[dict[str, Any]]:
    kept = ({key: value for key, value in item.items() if key not in leave_out} for item in objects)
    return sorted(kept, key=lambda item: str(item.get("id") or item.get("email")))
