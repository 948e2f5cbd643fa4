"""Makes known to a gateway what a deployment starts with: servers, people, tokens. Containment never uses it."""

import base64
import json
import secrets
import shlex
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from integrations import bounded
from integrations.estate import IssuedToken
from integrations.gateways.driver import ID
from integrations.gateways.importing import CANARY_DAYS
from integrations.systems.contextforge.driver import ContextForge
from playbooks.errors import Refused

_CLIENT_ROLE = "mcp-client"

CLIENT_MAY: Final = ("tools.read", "tools.execute", "prompts.read", "resources.read", "servers.use")
"""What an ordinary MCP client may do: it lists and calls, and manages nothing."""


def fresh_password() -> str:
    """Return a random password that the gateway's rules let pass: all four kinds, nothing in sequence or threefold."""
    return "Aa1!" + "".join(secrets.choice("cegikmoqsuwy") + secrets.choice("2468") for _ in range(16))


def ends_at(token: str) -> datetime | None:
    """Return until when a token is good by its own word; None if it does not say (RFC 7519, 4.1.4)."""
    with suppress(ValueError, TypeError, KeyError, OverflowError, OSError, IndexError):
        body = token.split(".")[1]
        claims = bounded.readable(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    return None


async def register(gateway: ContextForge, name: str, url: str) -> str:
    """Put a server behind the gateway and return the id of its entry."""
    body = {"name": name, "url": url, "transport": "STREAMABLEHTTP", "visibility": "public"}
    return str((await gateway.api.request("POST", "/v1/gateways", body=body))["id"])


async def publish(gateway: ContextForge, name: str, tools: tuple[str, ...], *, visibility: str = "public") -> str:
    """Offer tools as a virtual server and return its id; clients reach it at /servers/<id>/mcp."""
    server = {"name": name, "associated_tools": list(tools), "visibility": visibility}
    answer = await gateway.api.request("POST", "/v1/servers", body={"server": server, "visibility": visibility})
    return str(answer["id"])


async def client_user(gateway: ContextForge, email: str) -> None:
    """Make a user who may do what an ordinary MCP client does, unless there is one of that name."""
    if await gateway.user(email):
        return
    await gateway.api.request("POST", "/v1/auth/email/admin/users", body=_user(email, fresh_password()))
    await _entitle(gateway, email)


async def ordinary(gateway: ContextForge, email: str) -> None:
    """See to it that there is such a user with an ordinary client's rights, made now or before.

    Raises:
        Refused: that user manages the gateway, or is not let in.
    """
    user = await gateway.user(email)
    if user is None:
        await client_user(gateway, email)
        return
    if user.get("is_admin"):
        raise Refused(f"{email} is a platform administrator: what a client may reach is not asked as one; name another")
    if user.get("is_active") is False:
        raise Refused(f"{email} is deactivated at gateway {gateway.name}; let it in again, or name another")
    if await lacks(gateway, email):
        await _entitle(gateway, email)


async def lacks(gateway: ContextForge, email: str) -> tuple[str, ...]:
    """Return which of an ordinary client's permissions a user does not have."""
    held = await gateway.api.request("GET", f"/rbac/permissions/user/{email}", missing_ok=True)
    may: Collection[object] = held if isinstance(held, list) else ()
    return () if "*" in may else tuple(one for one in CLIENT_MAY if one not in may)


async def issue(gateway: ContextForge, email: str, name: str, *, days: int = 1) -> IssuedToken:
    """Issue a user an API token.

    Args:
        gateway: where.
        email: the user.
        name: what the token is called; the user has no other of that name.
        days: for how long it is good.
    """
    answer = await gateway.api.request("POST", "/v1/tokens", body=_token(email, name, days))
    token = answer.get("token") if isinstance(answer, dict) else None
    if not isinstance(token, dict) or not isinstance(answer.get("access_token"), str):
        raise Refused(f"gateway {gateway.name}: POST /v1/tokens answered no token")
    return IssuedToken(id=str(token.get("id")), secret=answer["access_token"])


async def canary_commands(gateway: ContextForge, email: str, name: str, *, password: str, file: str) -> tuple[str, ...]:
    """Return the shell lines by which an administrator makes a canary: what is there already is left out.

    Args:
        gateway: where; it is asked what there is, and nothing is changed.
        email: the canary.
        name: of its token.
        password: a shell expression for the administrator's password, such as `$(cat FILE)`.
        file: where the canary's token is written.
    """
    login = f'print(json.dumps({{"email": {json.dumps(gateway.gateway.user)}, "password": os.environ["P"]}}))'
    asking = shlex.quote(f"import json, os; {login}")
    typed = "-H 'Content-Type: application/json'"
    lines = [
        f"export G={shlex.quote(gateway.gateway.url.rstrip('/'))} P={password}",
        """field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }""",
        # The password on standard input, not among the arguments that everybody on the machine can read.
        f'T=$(python3 -c {asking} | curl -fsS "$G/v1/auth/login" {typed} --data @- | field access_token)',
        f'post() {{ curl -fsS "$G$1" -H "Authorization: Bearer $T" {typed} --data "$2"; }}',
    ]
    user = await gateway.user(email)
    if user is None:
        lines.append(_post("/v1/auth/email/admin/users", _user(email, fresh_password())) + " > /dev/null")
    if user is None or await lacks(gateway, email):
        role = await _role(gateway)
        lines.append(f"R={shlex.quote(role)}" if role else f"R=$({_post('/rbac/roles', _ROLE)} | field id)")
        place = shlex.quote(f"/rbac/users/{email}/roles")
        lines.append(f'post {place} \'{{"scope": "global", "role_id": "\'"$R"\'"}}\' > /dev/null')
    token = _post("/v1/tokens", _token(email, name, CANARY_DAYS))
    lines.append(f"(umask 077; {token} | field access_token > {shlex.quote(file)})")
    return tuple(lines)


def _post(path: str, body: object) -> str:
    return f"post {path} {shlex.quote(json.dumps(body))}"


_ROLE: Final = {"name": _CLIENT_ROLE, "scope": "global", "permissions": list(CLIENT_MAY)}


def _user(email: str, password: str) -> dict[str, object]:
    return {"email": email, "full_name": email.partition("@")[0], "password": password}


def _token(email: str, name: str, days: int) -> dict[str, object]:
    scope = {"permissions": list(CLIENT_MAY)}
    return {"name": name, "user_email": email, "expires_in_days": days, "scope": scope}


async def _entitle(gateway: ContextForge, email: str) -> None:
    # Without a role that says so, a new user lists every tool and is denied each call.
    role = await _role(gateway) or str((await gateway.api.request("POST", "/rbac/roles", body=_ROLE))["id"])
    await gateway.api.request("POST", f"/rbac/users/{email}/roles", body={"role_id": role, "scope": "global"})


async def _role(gateway: ContextForge) -> str | None:
    """Return the id of the role of an ordinary client, if the gateway has it; what is no id is none."""
    found = gateway.api.entries("/rbac/roles", await gateway.api.request("GET", "/rbac/roles"))
    ids = (str(role.get("id", "")) for role in found if role.get("name") == _CLIENT_ROLE)
    return next((id_ for id_ in ids if ID.fullmatch(id_)), None)
