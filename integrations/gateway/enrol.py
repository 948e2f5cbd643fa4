"""Makes known to a gateway what a deployment starts with: servers, people, tokens. Containment never uses it."""

import secrets
from dataclasses import dataclass, field

from integrations.gateway.client import ContextForge

_CLIENT_ROLE = "mcp-client"
_CLIENT_MAY = ("tools.read", "tools.execute", "prompts.read", "resources.read", "servers.use")


@dataclass(frozen=True)
class IssuedToken:
    """An API token, with the secret that the gateway tells only once.

    Args:
        id: its immutable id.
        secret: what its bearer sends.
    """

    id: str
    secret: str = field(repr=False)


def fresh_password() -> str:
    """Return a random password that the gateway's rules let pass: all four kinds, nothing in sequence or threefold."""
    return "Aa1!" + "".join(secrets.choice("cegikmoqsuwy") + secrets.choice("2468") for _ in range(16))


async def register(gateway: ContextForge, name: str, url: str) -> str:
    """Put a server behind the gateway and return the id of its entry."""
    body = {"name": name, "url": url, "transport": "STREAMABLEHTTP", "visibility": "public"}
    return str((await gateway.request("POST", "/v1/gateways", json=body))["id"])


async def publish(gateway: ContextForge, name: str, tools: tuple[str, ...]) -> str:
    """Offer tools as a virtual server and return its id; clients reach it at /servers/<id>/mcp."""
    server = {"name": name, "associated_tools": list(tools), "visibility": "public"}
    answer = await gateway.request("POST", "/v1/servers", json={"server": server, "visibility": "public"})
    return str(answer["id"])


async def client_user(gateway: ContextForge, email: str) -> None:
    """Make a user who may do what an ordinary MCP client does, unless there is one of that name."""
    if await gateway.user(email):
        return
    body = {"email": email, "full_name": email.partition("@")[0], "password": fresh_password()}
    await gateway.request("POST", "/v1/auth/email/admin/users", json=body)
    # Without a role that says so, a new user lists every tool and is denied each call.
    role = {"role_id": await _client_role(gateway), "scope": "global"}
    await gateway.request("POST", f"/rbac/users/{email}/roles", json=role)


async def issue(gateway: ContextForge, email: str, name: str) -> IssuedToken:
    """Issue a user an API token for a day."""
    scope = {"permissions": list(_CLIENT_MAY)}
    body = {"name": name, "user_email": email, "expires_in_days": 1, "scope": scope}
    answer = await gateway.request("POST", "/v1/tokens", json=body)
    return IssuedToken(id=str(answer["token"]["id"]), secret=str(answer["access_token"]))


async def _client_role(gateway: ContextForge) -> str:
    for role in await gateway.request("GET", "/rbac/roles"):
        if role["name"] == _CLIENT_ROLE:
            return str(role["id"])
    body = {"name": _CLIENT_ROLE, "scope": "global", "permissions": list(_CLIENT_MAY)}
    return str((await gateway.request("POST", "/rbac/roles", json=body))["id"])
