"""A gateway in memory that answers as ContextForge 1.0.7 was seen to: what it holds, and its administration.

It is as exact as tests of the engine need, which `tests/contract/test_pretended.py` holds it to: the laws and drills
that the real one is held to. What only a real one can show is tried on it (`@pytest.mark.system`).

Kept are the habits that make containment hard: each look-up is remembered for a minute under the name that was asked
for, at all doors, and disabling a tool forgets the offered name only; enabling an entry reads its server anew and
enables all that was disabled one by one; a virtual server keeps quiet about its disabled tools.
"""

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flows.demo.contextforge import ADMIN
from tests.lab.http_asked import Asking
from tests.lab.http_served import Request
from tests.lab.pretended.things import KEYS, KINDS, OWN, Fields, Said, detail, fresh, jwt, moment, slug, taken_over

_VIEWER: Final = ("gateways.read", "prompts.read", "resources.read", "servers.read", "servers.use", "tools.read")


@dataclass
class Administration:
    """All that it holds.

    Args:
        password: the administrator's.
    """

    password: str
    entries: dict[str, Fields] = field(default_factory=dict)
    held: dict[str, dict[str, Fields]] = field(default_factory=lambda: {path: {} for path in KINDS})
    doors: dict[str, Fields] = field(default_factory=dict)
    users: dict[str, Fields] = field(default_factory=dict)
    roles: dict[str, Fields] = field(default_factory=dict)
    grants: list[Fields] = field(default_factory=list)
    tokens: dict[str, Fields] = field(default_factory=dict)
    bearers: dict[str, str] = field(default_factory=dict)
    """The secret of each token that was issued → its id; of a session → empty."""
    trail: list[Fields] = field(default_factory=list)
    events: list[Fields] = field(default_factory=list)
    remembered: dict[str, tuple[str, float]] = field(default_factory=dict)
    """A name that was looked up → the tool, and until when that is believed."""

    def __post_init__(self) -> None:
        self._pod = fresh()
        self._user(ADMIN, "Platform Administrator", admin=True)
        self._role("platform_viewer", _VIEWER)

    def whose(self, request: Request, missing: str) -> str:
        """Return who asks, an e-mail address."""
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise detail(401, missing)
        if bearer not in self.bearers:
            raise detail(401, "Invalid authentication credentials")
        if not (token := self.tokens.get(self.bearers[bearer])):
            return ADMIN
        refusal = "Token has been revoked" if token["is_revoked"] else ""
        if not self.users[token["user_email"]]["is_active"]:
            refusal = "Account disabled"
        if refusal:
            self._event(refusal)
            raise detail(401, refusal)
        token["last_used"] = moment()
        return str(token["user_email"])

    def _event(self, why: str) -> None:
        said = f"Authentication failed for user unknown: {why}"
        kind = {"event_type": "authentication_failure", "severity": "MEDIUM", "category": "authentication"}
        self.events.insert(0, {"id": fresh(), "timestamp": moment(), **kind, "user_id": "unknown", "description": said})

    def _wrote(self, action: str, kind: str, id_: str, name: str | None) -> None:
        about = {"action": action, "resource_type": kind, "resource_id": id_, "resource_name": name}
        self.trail.insert(0, {"id": fresh(), "timestamp": moment(), **about, "user_id": ADMIN, "success": True})

    # Its administration

    async def administer(
        self, request: Request, path: str, query: Mapping[str, str], upstream: Asking
    ) -> tuple[int, object]:
        """Answer what is no client's question: to anybody whether it lives, to its administrator all else."""
        parts = path.strip("/").split("/")
        if parts == ["health"]:
            return 200, {"status": "healthy", "mcp_runtime": {"pod_id": self._pod}}
        if parts == ["v1", "auth", "login"]:
            return 200, self._login(request.json())
        who = self.whose(request, "Authorization token required")
        if who != ADMIN and (request.method != "GET" or parts[0] != "v1"):
            raise detail(403, "Access denied")
        match request.method:
            case "GET":
                return 200, self._tells(parts, query, who)
            case "POST":
                return await self._does(parts, query, request, upstream)
            case "PATCH":
                person = self._person(parts[-1])
                person.update(request.json())
                return 200, person
            case _:
                deleted = self._deletes(parts)
                return 204 if deleted is None else 200, deleted

    def _tells(  # noqa: C901, PLR0911, PLR0912  # a line for each address
        self, parts: list[str], query: Mapping[str, str], who: str
    ) -> object:
        match parts:
            case ["v1", "gateways"]:
                return self._listed(self.entries, query)
            case ["v1", "servers"]:
                return [self._shown(door) for door in self.doors.values()]
            case ["v1", "servers", id_]:
                self._wrote("view_server", "server", id_, None)
                return self._shown(self.known(self.doors, id_, "Server"))
            case ["v1", "gateways", id_]:
                return self.known(self.entries, id_, "Gateway")
            case ["v1", "auth", "email", "me"]:
                return self.users[who]
            case ["v1", "auth", "email", "admin", "users"]:
                return [*self.users.values()]
            case ["v1", "auth", "email", "admin", "users", email]:
                return self._person(email)
            case ["v1", "tokens", "admin", "all"]:
                of = query.get("user_email")
                found = [token for token in self.tokens.values() if of in {None, token["user_email"]}]
                first, most = int(query.get("offset", "0")), int(query.get("limit", "50"))
                return {"tokens": found[first : first + most], "total": len(found)}
            case ["v1", kind] if kind in KINDS:
                return self._listed(self.held[kind], query)
            case ["v1", kind, id_] if kind in KINDS:
                return self.known(self.held[kind], id_, KINDS[kind].capitalize())
            case ["rbac", "my", "permissions"]:
                return ["*"]
            case ["rbac", "roles"]:
                return [*self.roles.values()]
            case ["rbac", "users", email, "roles"]:
                return [grant for grant in self.grants if grant["user_email"] == email]
            case ["rbac", "permissions", "user", email]:
                return self._may(email)
            case ["api", "logs", "audit-trails"]:
                of = query.get("user_id")
                return [line for line in self.trail if of in {None, line["user_id"]}][: int(query["limit"])]
            case ["api", "logs", "security-events"]:
                return self.events[: int(query["limit"])]
        raise detail(404, "Not Found")

    async def _does(  # noqa: PLR0911  # a line for each address
        self, parts: list[str], query: Mapping[str, str], request: Request, upstream: Asking
    ) -> tuple[int, object]:
        match parts:
            case ["v1", "gateways"]:
                return 200, await self._register(request.json(), upstream)
            case ["v1", "gateways", id_, "state"]:
                return 200, await self._set_entry(id_, on=query["activate"] == "true", upstream=upstream)
            case ["v1", "gateways", id_, "tools", "refresh"]:
                await self._read(self.known(self.entries, id_, "Gateway"), upstream)
                return 200, {"gatewayId": id_, "success": True}
            case ["v1", "servers"]:
                return 201, self._publish(request.json()["server"])
            case ["v1", kind, id_, "state"] if kind in KINDS:
                return 200, self._set(kind, id_, on=query["activate"] == "true")
            case ["v1", "tokens"]:
                return 201, self._issue(request.json())
            case ["v1", "auth", "email", "admin", "users"]:
                body = request.json()
                return 201, self._user(body["email"], body["full_name"])
            case ["rbac", "roles"]:
                body = request.json()
                return 201, self._role(body["name"], body["permissions"])
            case ["rbac", "users", email, "roles"]:
                return 201, self._grant(email, request.json()["role_id"])
        raise detail(404, "Not Found")

    def _deletes(self, parts: list[str]) -> object:
        match parts:
            case ["v1", "tokens", "admin", id_]:
                self._revoke(id_)
                return None
            case ["v1", "servers", id_]:
                self.doors.pop(id_, None)
                return {"status": "success"}
            case ["v1", "gateways", id_]:
                self._forget(self.entries.pop(id_)["id"])
                self._wrote("delete_gateway", "gateway", id_, None)
                for kind, things in self.held.items():
                    self.held[kind] = {key: one for key, one in things.items() if one["gatewayId"] != id_}
                return {"status": "success"}
            case ["v1", kind, id_] if kind in KINDS:
                self.known(self.held[kind], id_, KINDS[kind].capitalize())
                del self.held[kind][id_]
                self.remembered = {name: seen for name, seen in self.remembered.items() if seen[0] != id_}
                self._wrote(f"delete_{KINDS[kind]}", KINDS[kind], id_, None)
                return {"status": "success"}
        raise detail(404, "Not Found")

    def _login(self, body: Mapping[str, str]) -> Fields:
        if (body["email"], body["password"]) != (ADMIN, self.password):
            raise detail(401, "Invalid email or password")
        token = jwt(sub=ADMIN, exp=int(time.time()) + 3600)
        self.bearers[token] = ""
        return {"access_token": token, "token_type": "bearer", "user": self.users[ADMIN]}

    @staticmethod
    def known(things: Mapping[str, Fields], id_: str, what: str) -> Fields:
        if id_ not in things:
            raise detail(404, f"{what} not found: {id_}")
        return things[id_]

    @staticmethod
    def _listed(things: Mapping[str, Fields], query: Mapping[str, str]) -> list[Fields]:
        of, off = query.get("gateway_id"), query.get("include_inactive") == "true"
        found = [one for one in things.values() if (off or one["enabled"]) and of in {None, one.get("gatewayId")}]
        return found[: int(query.get("limit", "50")) or None]

    def _person(self, email: str) -> Fields:
        if email not in self.users:
            raise detail(404, "User not found")
        return self.users[email]

    def _user(self, email: str, name: str, *, admin: bool = False) -> Fields:
        about = {"email": email, "full_name": name, "is_admin": admin, "is_active": True, "auth_provider": "local"}
        self.users[email] = {**about, "created_at": moment(), "last_login": None, "failed_login_attempts": 0}
        return self.users[email]

    def _role(self, name: str, permissions: object) -> Fields:
        role: Fields = {
            "id": str(uuid.uuid4()),
            "name": name,
            "scope": "global",
            "permissions": permissions,
            "is_active": True,
        }
        self.roles[role["id"]] = role
        return role

    def _grant(self, email: str, role: str) -> Fields:
        known = self.known(self.roles, role, "Role")
        grant = {"id": str(uuid.uuid4()), "user_email": email, "role_id": known["id"], "scope": "global"}
        self.grants.append({**grant, "granted_by": ADMIN, "granted_at": moment(), "is_active": True})
        return self.grants[-1]

    def _may(self, email: str) -> list[str]:
        if self._person(email)["is_admin"]:
            return ["*"]
        given = [self.roles[grant["role_id"]]["permissions"] for grant in self.grants if grant["user_email"] == email]
        return sorted({*_VIEWER, *(one for permissions in given for one in permissions)})

    def _issue(self, body: Mapping[str, Any]) -> Fields:
        email, name = body["user_email"], body["name"]
        if any((token["user_email"], token["name"]) == (email, name) for token in self.tokens.values()):
            raise detail(400, "Invalid request. Please check your input and try again.")
        ends = datetime.now(UTC) + timedelta(days=body["expires_in_days"])
        token: Fields = {
            "id": str(uuid.uuid4()),
            "name": name,
            "description": None,
            "user_email": email,
            "resource_scopes": body["scope"]["permissions"],
            "created_at": moment(),
            "expires_at": ends.replace(tzinfo=None).isoformat(),
            "last_used": None,
            "is_active": True,
            "is_revoked": False,
            "revoked_at": None,
        }
        self.tokens[token["id"]] = token
        secret = jwt(jti=fresh(), exp=int(ends.timestamp()))
        self.bearers[secret] = token["id"]
        return {"token": token, "access_token": secret}

    def _revoke(self, id_: str) -> None:
        if id_ not in self.tokens:
            raise detail(404, "Token not found")
        if self.tokens[id_]["is_revoked"]:
            raise Said(409, {"message": "Unable to complete the operation. Please try again.", "success": False})
        self.tokens[id_].update(is_revoked=True, is_active=False, revoked_at=moment())

    def _publish(self, body: Mapping[str, Any]) -> Fields:
        id_ = fresh()
        about = {"id": id_, "name": body["name"], "enabled": True, "visibility": body["visibility"]}
        self.doors[id_] = {
            **about,
            "createdAt": moment(),
            "updatedAt": moment(),
            "tools": tuple(body["associated_tools"]),
        }
        self._wrote("create_server", "server", id_, None)
        return self._shown(self.doors[id_])

    def _shown(self, door: Fields) -> Fields:
        tools = [self.held["tools"][id_] for id_ in door["tools"] if id_ in self.held["tools"]]
        offered = [tool for tool in tools if tool["enabled"]]
        named = {"associatedTools": [t["name"] for t in offered], "associatedToolIds": [t["id"] for t in offered]}
        return {**{key: value for key, value in door.items() if key != "tools"}, **named}

    # Entries and what is under them

    async def _register(self, body: Mapping[str, str], upstream: Asking) -> Fields:
        if any(entry["name"] == body["name"] for entry in self.entries.values()):
            raise Said(409, {"message": "Gateway name already exists"})
        entry: Fields = {
            "id": fresh(),
            "name": body["name"],
            "slug": slug(body["name"]),
            "url": body["url"].replace("//127.0.0.1:", "//localhost:"),
            "transport": body["transport"],
            "visibility": body["visibility"],
            "enabled": True,
            "reachable": True,
            "createdAt": moment(),
            "updatedAt": moment(),
            "lastSeen": moment(),
        }
        await self._read(entry, upstream)
        self.entries[entry["id"]] = entry
        self._wrote("create_gateway", "gateway", entry["id"], entry["name"])
        return entry

    async def _set_entry(self, id_: str, *, on: bool, upstream: Asking) -> Fields:
        if id_ not in self.entries:
            raise detail(400, f"Failed to set gateway state: Gateway not found: {id_}")
        entry = self.entries[id_]
        if entry["enabled"] is not on:
            if on:
                await self._read(entry, upstream)
            entry.update(enabled=on, updatedAt=moment())
            for things in self.held.values():
                for one in things.values():
                    if one["gatewayId"] == id_:
                        one.update(enabled=on, updatedAt=moment())
            self._forget(id_)
        return {"status": "success", "message": f"Gateway {id_} {'' if on else 'de'}activated"}

    def _forget(self, entry: str) -> None:
        of = {id_ for id_, tool in self.held["tools"].items() if tool["gatewayId"] == entry}
        self.remembered = {name: seen for name, seen in self.remembered.items() if seen[0] not in of}

    def _set(self, kind: str, id_: str, *, on: bool) -> Fields:
        thing = self.known(self.held[kind], id_, KINDS[kind].capitalize())
        thing.update(enabled=on, updatedAt=moment())
        self.remembered.pop(thing["name"], None)
        return {"status": "success", "message": f"{KINDS[kind].capitalize()} {id_} {'' if on else 'de'}activated"}

    async def _read(self, entry: Fields, upstream: Asking) -> None:
        """Take over what a server says of itself now, poison included; what is known stays as enabled as it was."""
        for kind, things in self.held.items():
            try:
                answer = await self.upstream(entry, f"{kind}/list", {}, upstream)
            except OSError as exc:
                text = f"Failed to initialize gateway at {entry['url']}: All connection attempts failed"
                raise Said(502, {"message": text}) from exc
            said = {item[KEYS[kind]]: item for item in answer["result"][kind]}
            mine = {self._original(kind, one): one for one in things.values() if one["gatewayId"] == entry["id"]}
            for name in mine.keys() - said.keys():
                del things[mine[name]["id"]]
            for name, item in said.items():
                fresh = taken_over(kind, item, entry)
                if (known := mine.get(name)) is None:
                    things[fresh["id"]] = fresh
                elif any(known[key] != value for key, value in fresh.items() if key not in OWN):
                    known.update({key: value for key, value in fresh.items() if key not in OWN})
                    known.update(updatedAt=moment(), version=known["version"] + 1)
        self._forget(entry["id"])

    @staticmethod
    def _original(kind: str, thing: Fields) -> str:
        return str(thing["uri" if kind == "resources" else "originalName"])

    @staticmethod
    async def upstream(entry: Fields, method: str, params: object, http: Asking) -> Fields:
        message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        headers = (("content-type", "application/json"), ("accept", "application/json, text/event-stream"))
        url = entry["url"].replace("//localhost:", "//127.0.0.1:")
        answer = await http.ask("POST", url, headers=headers, body=message)
        if answer.status >= 400:
            raise ConnectionError(f"{url} answers {answer.status}")
        lines = [line for line in answer.body.splitlines() if line.startswith(b"data:")]
        found: Fields = json.loads(lines[-1].removeprefix(b"data:") if lines else answer.body)
        return found
