"""A real MCP server behind a door that checks JWTs and asks the deny list, as Envoy's ext_authz filter does."""

import base64
import hashlib
import hmac
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from flows.demo.mcp_server import McpServer
from integrations.connections import Connections
from integrations.registry import SYSTEMS
from integrations.systems.denylist.__main__ import serving
from integrations.systems.denylist.client import Denied
from integrations.systems.denylist.entries import claims_of
from playbooks.estate.inventory import Inventory
from playbooks.strict import canonical
from tests.lab import http_served
from tests.lab.connected import connected
from tests.lab.oidc import kept

ISSUER, KEY = "https://id.example.com", b"k" * 32


def signed(**claims: object) -> str:
    """Return a JWT of the issuer's."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    head = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'iss': ISSUER, **claims})}"
    signature = hmac.new(KEY, head.encode(), hashlib.sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def issued(subject: str, *, ago: float = 60.0, lasts: float = 3600.0, **more: object) -> str:
    """Return a token that a subject was issued a while ago."""
    now = int(time.time())
    return signed(**{"sub": subject, "jti": uuid.uuid4().hex, "iat": now - int(ago), "exp": now + int(lasts), **more})


@dataclass
class Door:
    """What stands before the server.

    Args:
        asks: where the list is served.
        server: the server's address.
        says: what a denied request is answered instead of what the list answered; that itself if None.
        closed: it turns anybody away.
        never_asks: it takes every token that is signed and has not ended.
    """

    asks: str
    server: str
    says: object = None
    closed: bool = False
    never_asks: bool = False

    async def answer(self, request: http_served.Request) -> tuple[int, object]:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            authorization = {"Authorization": request.headers.get("authorization", "")}
            if self.closed:
                return 401, {"error": "down"}
            if not self.never_asks:
                found = await http.request(request.method, f"{self.asks}{request.target}", headers=authorization)
                if found.status_code != httpx.codes.OK:
                    return found.status_code, self.says or found.json()
            if not _good(authorization["Authorization"].removeprefix("Bearer ")):
                return 401, {"error": "invalid_token"}
            headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
            reply = await http.post(self.server, content=request.body, headers=headers)
            data = [line.removeprefix("data:") for line in reply.text.splitlines() if line.startswith("data:")]
            return reply.status_code, json.loads(data[0] if data else reply.text)


def _good(token: str) -> bool:
    head, _, signature = token.rpartition(".")
    right = base64.urlsafe_b64encode(hmac.new(KEY, head.encode(), hashlib.sha256).digest()).decode().rstrip("=")
    claims = claims_of(token)
    return hmac.compare_digest(signature, right) and claims is not None and claims["exp"] > time.time()


@dataclass
class Lab:
    """A principal with tokens that its server takes, and a list that the server asks.

    Args:
        name: what the inventory calls it.
        folder: where tokens and the list are.
        url: where the list is served.
        door: before the server.
        resource: the door's address.
        settings: more of the list's.
        held: names of its tokens.
    """

    name: str
    folder: Path
    url: str
    door: Door
    resource: str
    settings: dict[str, object] = field(default_factory=dict)
    held: tuple[str, ...] = ("session",)

    @property
    def subject(self) -> str:
        return f"s-{self.name}"

    @property
    def file(self) -> Path:
        return self.folder / "denied.json"

    def keep(self, label: str, token: str) -> str:
        kept(self.folder, label, token)
        return token

    def token(self, label: str = "session") -> str:
        return (self.folder / label).read_text()

    @property
    def inventory(self) -> Inventory:
        place: dict[str, object] = {"user": self.subject, "resource": self.resource}
        place |= {"held": {label: {"file": str(self.folder / label)} for label in self.held}}
        denied = {"kind": "denylist", "file": str(self.file), "url": self.url, "issuer": ISSUER, **self.settings}
        written = {
            "version": 1,
            "systems": {"denied": denied},
            "principals": {self.name: {"title": "The agent", "places": {"denied": place}}},
        }
        return Inventory.model_validate(written, context=SYSTEMS.context)

    @asynccontextmanager
    async def world(self) -> AsyncIterator[Connections]:
        world = connected(self.inventory)
        # A machine of two cores that runs other tests as well.
        world.reach(Denied, "denied").patience = 30.0
        yield world
        await world.aclose()

    async def state(self) -> bytes:
        return canonical(json.loads(self.file.read_text())["denied"] if self.file.exists() else [])

    async def status(self, token: str) -> int:
        """Return what the server answers whoever comes with a token."""
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
            return (await http.post(self.resource, json=body, headers={"Authorization": f"Bearer {token}"})).status_code


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Serve the list of a test's folder; yield where."""
    with serving(tmp_path / "denied.json", "127.0.0.1", 0) as server:
        running = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        running.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        running.join()


@pytest.fixture
async def lab(served: str, victim: McpServer, tmp_path: Path) -> AsyncIterator[Lab]:
    """Give the lab, with one token that the server takes."""
    door = Door(served, victim.url)
    async with http_served.serve(door.answer) as address:
        made = Lab("agent", tmp_path, served, door, f"{address}/mcp")
        made.keep("session", issued(made.subject))
        yield made
