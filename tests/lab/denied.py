"""A door before a real MCP server that checks JWTs and asks a deny list, as Envoy's ext_authz filter does."""

import base64
import hashlib
import hmac
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from integrations.systems.denylist.__main__ import serving
from integrations.systems.denylist.entries import claims_of
from tests.lab import http_served

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


@contextmanager
def listed(file: Path) -> Iterator[str]:
    """Serve a list; yield where."""
    with serving(file, "127.0.0.1", 0) as server:
        running = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        running.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        running.join()


async def status(resource: str, token: str) -> int:
    """Return what a server answers whoever comes with a token."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        return (await http.post(resource, json=body, headers={"Authorization": f"Bearer {token}"})).status_code
