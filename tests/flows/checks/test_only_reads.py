"""The law of every check: it only reads. What it sends to whom is kept, and its machine's files are as they were."""

import asyncio
import contextlib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from flows.checks.every import CHECKS
from flows.checks.running import run
from integrations.probing.manners import NOBODYS
from playbooks.errors import SoarError
from tests.flows.cli.world import INVENTORY, Installation

KEYCLOAK = """\
  login:
    kind: keycloak
    issuer: http://127.0.0.1:9/realms/mcp
    client: soar
    secret: {file: secrets/login}
"""
PLACE = ", login: {user: u-1, client: agent, secret: {file: secrets/agent}}"
SIGNS_IN = re.compile(r"/(token|introspection|login)$")
READS = frozenset({"initialize", "notifications/initialized", "server/discover", "ping"})
REALM = "http://127.0.0.1:9/realms/mcp"
ENDPOINTS = ("token", "introspection", "revocation", "userinfo", "authorization")
ANSWER = {
    "access_token": "a",
    "expires_in": 60,
    "token_type": "Bearer",
    "active": True,
    "id": "1",
    "issuer": REALM,
    "jwks_uri": f"{REALM}/certs",
    **{f"{name}_endpoint": f"{REALM}/{name}" for name in ENDPOINTS},
}

OFFERED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "weather", "version": "1"},
    "tools": [],
}


def reads(request: httpx.Request, body: bytes) -> bool:
    """Return whether a request changes nothing where it goes."""
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return True
    if request.method != "POST":
        return False
    if SIGNS_IN.search(urlsplit(str(request.url)).path):
        return True
    try:
        said = json.loads(body)
        method, params = said["method"], said.get("params") or {}
    except ValueError:
        # What nobody can read asks for nothing: half a request, which a good server refuses.
        return body.startswith(b'{"jsonrpc"')
    except (KeyError, TypeError):
        return False
    return method in READS or str(method).endswith("/list") or (method == "tools/call" and params["name"] == NOBODYS)


def answer(body: bytes) -> httpx.Response:
    """Return what a server, a gateway and a provider may answer, each to its own question."""
    said: dict[str, Any] = ANSWER
    try:
        asked = json.loads(body)
        said = {"jsonrpc": "2.0", "id": asked["id"], "result": OFFERED}
    except (ValueError, KeyError, TypeError):
        pass
    headers = {"Content-Type": "application/json"}
    return httpx.Response(200, headers=headers, stream=httpx.ByteStream(json.dumps(said).encode()))


def stats(*folders: Path) -> dict[Path, tuple[int, ...]]:
    """Return what tells whether something was written."""
    there = {path: path.lstat() for folder in folders for path in folder.rglob("*")}
    return {path: (one.st_ino, one.st_mtime_ns, one.st_size, one.st_mode) for path, one in there.items()}


ELSEWHERE = frozenset({"hardening", "drills"})
"""Asks clusters alone, by another client: `test_hardening.py`. Reaches nothing of ours: `test_drills.py`."""


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in ELSEWHERE])
async def test_a_check_writes_nothing_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, home, sent, strange = (
        Installation(tmp_path / "mcp-soar", tmp_path / "people"),
        tmp_path / "home",
        0,
        list[str](),
    )
    assert site.run("init", str(site.folder)).exit_code == 0
    text = INVENTORY.replace("servers:", f"{KEYCLOAK}servers:", 1).replace("{laptop: t-1}}", "{laptop: t-1}}" + PLACE)
    text = text.replace("    owner:", "    probing: {agreed: 'Kim, 2026-11-30'}\n    owner:", 1)
    (site.folder / "inventory.yaml").write_text(text)
    for secret in ("gateway", "canary", "login", "agent"):
        (site.folder / "secrets" / secret).write_text("kept-by-the-responder")
    home.mkdir()
    (home / ".claude.json").write_text('{"mcpServers": {"evil": {"command": "sh"}}}')
    monkeypatch.setattr(Path, "home", lambda: home)
    for one in CHECKS.values():
        if one.name == name and one.write:
            with contextlib.suppress(SoarError):  # nobody is there whose answers could be recorded
                await asyncio.to_thread(one.write, site.folder)

    async def answered(_self: Any, request: httpx.Request) -> httpx.Response:  # noqa: ANN401  # the transport
        nonlocal sent
        sent, body = sent + 1, await request.aread()
        if not reads(request, body):
            strange.append(f"{request.method} {request.url} {body[:100]!r}")
        return answer(body)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answered)
    before = stats(site.folder, home)
    done = await run(CHECKS[name], site.config)
    assert done.pieces
    assert not strange
    assert stats(site.folder, home) == before
    assert sent or CHECKS[name].write, "it asked somebody"
