"""At a pretended Keycloak: thousands of sessions, ids that name what is above, and our own account in any spelling."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from integrations.connections import Connections
from integrations.identity.actions import RevokeTokens
from integrations.identity.captures import CaptureTokens
from integrations.identity.provider import Identity
from integrations.registry import SYSTEMS
from integrations.systems.keycloak.actions import DisableUser
from integrations.systems.keycloak.captures import CaptureSessions
from integrations.systems.keycloak.client import Realm
from playbooks.errors import Misconfigured, Refused, Unneeded
from playbooks.estate.inventory import Inventory, Principal
from playbooks.gate.plan import Answer
from tests.contract import laws
from tests.lab import http_served
from tests.lab.exhibits import Gathered, gathered
from tests.lab.oidc import kept

UID, OURS = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
ADMIN = "/admin/realms/lab"


def session(id_: str) -> dict[str, object]:
    """Return a session as Keycloak 26 lists it, of somebody who uses many clients."""
    clients = {f"{number:036d}": f"some-client-of-the-realm-{number}" for number in range(10)}
    return {"id": id_, "username": "alice", "userId": UID, "ipAddress": "10.0.0.1", "start": 1, "clients": clients}


@dataclass
class Pretended:
    """A realm in memory, of one user.

    Args:
        user: its fields.
        sessions: what is listed, by id.
        meanwhile: what signs in while those are ended.
        sent: requests that change something.
    """

    user: dict[str, Any]
    sessions: dict[str, dict[str, object]] = field(default_factory=dict)
    meanwhile: dict[str, dict[str, object]] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    async def answer(self, request: http_served.Request) -> tuple[int, object]:  # noqa: PLR0911  # a table
        path = request.target.partition("?")[0]
        if path.endswith("/openid-configuration"):
            issuer = f"http://{request.headers['host']}/realms/lab"
            names = ("introspection", "revocation", "token")
            return 200, {"issuer": issuer, **{f"{name}_endpoint": f"{issuer}/{name}" for name in names}}
        if path.endswith("/realms/lab/token"):
            return 200, {"access_token": "ours", "expires_in": 300}
        if path.endswith("/introspection"):
            return 200, {"active": True, "sub": OURS}
        if request.method != "GET":
            self.sent.append(f"{request.method} {path}")
        if path == f"{ADMIN}/users/{self.user['id']}":
            if request.method == "PUT":
                self.user |= request.json()
            return 200, self.user
        if path.endswith("/sessions"):
            return 200, list(self.sessions.values())
        if request.method == "DELETE" and path.startswith(f"{ADMIN}/sessions/"):
            known = self.sessions.pop(path.rpartition("/")[2], None)
            self.sessions |= self.meanwhile
            self.meanwhile = {}
            return (404 if known is None else 200), {}
        return 200, []


@asynccontextmanager
async def connected(
    there: Pretended, folder: Path, *, client: str = "soar", at: Identity | None = None
) -> AsyncIterator[Connections]:
    async with http_served.serve(there.answer) as address:
        sso = {"kind": "keycloak", "issuer": f"{address}/realms/lab", "client": client}
        written: Mapping[str, object] = {
            "version": 1,
            "systems": {"sso": {**sso, "secret": kept(folder, "ours", "s3cret" * 3).model_dump()}},
            "principals": {
                "alice": Principal(title="Alice", places={"sso": at or Identity(user=there.user["id"])}).model_dump()
            },
        }
        world = Connections(Inventory.model_validate(written, context=SYSTEMS.context), SYSTEMS)
        yield world
        await world.aclose()


def user(**more: object) -> dict[str, Any]:
    return {"id": UID, "username": "alice", "enabled": True, **more}


async def test_a_user_with_hundreds_of_sessions_is_disabled_and_every_one_is_ended(tmp_path: Path) -> None:
    there = Pretended(user(), {f"s{number}": session(f"s{number}") for number in range(330)}, {"s": session("s")})
    assert len(json.dumps(list(there.sessions.values()))) > 256 * 1024
    async with connected(there, tmp_path) as world:
        plan = await DisableUser(principal="alice").plan(world)
        assert [change.before for change in plan.changes] == [True, True]
        assert plan.destroys == ("user_sessions",)
        await laws.apply(DisableUser, plan, world)
        assert (there.sessions, there.user["enabled"]) == ({}, False), "who signed in meanwhile included"
        assert (await DisableUser.verify(plan, world)).answer is Answer.ESTABLISHED


async def test_a_user_with_more_sessions_than_anybody_reads_is_disabled_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Realm, "largest", 4096)
    there = Pretended(user(), {f"s{number}": session(f"s{number}") for number in range(20)})
    async with connected(there, tmp_path) as world:
        plan = await DisableUser(principal="alice").plan(world)
        enabled, signed_in = plan.changes
        await DisableUser.write(enabled, world, key="drill")
        assert there.user["enabled"] is False
        with pytest.raises(Refused, match="longer than"):
            await DisableUser.write(signed_in, world, key="drill")
        assert (await DisableUser.verify(plan, world)).answer is Answer.UNKNOWN
        with pytest.raises(Refused, match="still has sessions"):
            await DisableUser.write(enabled.inverse(), world, key="drill")


@pytest.mark.parametrize("id_", [".", ".."])
async def test_a_session_that_is_called_like_what_is_above_sends_us_nowhere(tmp_path: Path, id_: str) -> None:
    """`DELETE …/realms/lab/sessions/..` would delete the realm."""
    odd = "../users/x"
    there = Pretended(user(), {one: session(one) for one in (id_, odd, "mine")})
    async with connected(there, tmp_path) as world:
        with pytest.raises(Refused, match="is no path"):
            await world.reach(Realm, "sso").end(UID)
    assert sorted(there.sent) == [f"DELETE {ADMIN}/sessions/..%2Fusers%2Fx", f"DELETE {ADMIN}/sessions/mine"]


@pytest.mark.parametrize(
    ("client", "fields"),
    [
        ("MCP-Soar", {"username": "service-account-mcp-soar"}),
        ("mcp-soar", {"username": "Service-Account-MCP-Soar"}),
        ("MCP-Soar", {"username": "renamed", "serviceAccountClientId": "mcp-soar"}),
        ("mcp-soar", {"username": "renamed", "id": OURS}),
    ],
    ids=["as Keycloak writes it", "as somebody wrote it", "by its client", "by our own token"],
)
async def test_our_own_account_is_never_a_target_however_it_is_spelled(
    tmp_path: Path, client: str, fields: dict[str, str]
) -> None:
    async with connected(Pretended(user(**fields)), tmp_path, client=client) as world:
        with pytest.raises(Refused, match="never a target"):
            await DisableUser(principal="alice").plan(world)


async def test_who_has_no_token_held_lacks_nothing_where_its_sessions_are_ended(tmp_path: Path) -> None:
    async with connected(Pretended(user()), tmp_path) as world:
        for intent in (
            RevokeTokens(principal="alice").plan(world),
            CaptureTokens(principal="alice").collect(world, Gathered()),
        ):
            with pytest.raises(Unneeded, match="no token of alice is held; whatever it was issued ends with"):
                await intent


async def test_a_client_that_acts_for_itself_is_no_user_and_its_token_has_to_be_held(tmp_path: Path) -> None:
    async with connected(Pretended(user()), tmp_path, at=Identity(user="batch", client="batch")) as world:
        for intent in (
            DisableUser(principal="alice").plan(world),
            CaptureSessions(principal="alice").collect(world, Gathered()),
        ):
            with pytest.raises(Unneeded, match="is no user of provider sso, but a client that acts for itself"):
                await intent
        with pytest.raises(Misconfigured, match="no token of it is held"):
            await RevokeTokens(principal="alice").plan(world)


async def test_a_service_account_that_stands_there_as_a_user_is_sent_back(tmp_path: Path) -> None:
    """What a client was issued for itself is of no session: enabled again, its account would have all of it back."""
    async with connected(Pretended(user(serviceAccountClientId="batch")), tmp_path) as world:
        with pytest.raises(Misconfigured, match="is the service account of client batch: write that client's id"):
            await DisableUser(principal="alice").plan(world)


async def test_what_sessions_were_is_a_table_whatever_they_and_their_clients_are_called(tmp_path: Path) -> None:
    """Of each its times in UTC, and nothing that breaks out of its cell; the list beside it is as it came."""
    odd = {**session("s1"), "start": 1_790_000_000_000, "lastAccess": 10**18, "clients": {"a": "a\tb\nc", "b": "agent"}}
    there = Pretended(user(), {"s1": odd, "s2": {"id": "s2"}})
    async with connected(there, tmp_path) as world:
        files = await gathered(CaptureSessions(principal="alice"), world)
    rows = [line.split("\t") for line in files["sso-sessions.tsv"].decode().splitlines()[1:]]
    assert rows == [
        ["", "", "", "no", "", "s2"],
        ["2026-09-21T14:13:20.000Z", "", "10.0.0.1", "no", "a\\u{9}b\\u{a}c, agent", "s1"],
    ]
    assert json.loads(files["sso-sessions.json"]) == [odd, {"id": "s2"}]
    assert there.sent == [], "it only reads"
