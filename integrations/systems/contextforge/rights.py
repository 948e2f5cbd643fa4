"""What our account at a gateway may do, permission by permission, asked without changing anything.

Whoever is no platform administrator may besides change only what is its own (`check_resource_ownership`), and no token
or user at all (`tokens.py`, `email_auth.py`; ContextForge 1.0.7).
"""

import asyncio
from typing import Final, NamedTuple

from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.needs import ADMINISTRATOR, RIGHTS
from playbooks.errors import Misconfigured, Refused, SoarError

ROLE: Final = "platform_admin"
"""The gateway's role that has everything that the actions need."""


class Right(NamedTuple):
    """Whether our account may do what a step needs.

    Args:
        step: the step's name.
        lacks: what it lacks for it, in words; empty if nothing.
    """

    step: str
    lacks: tuple[str, ...]


async def rights(forge: ContextForge) -> tuple[Right, ...]:
    """Return for each step whether the account may do what it needs. Asks; changes nothing.

    Raises:
        SoarError: the gateway does not say.
    """
    account, held = await asyncio.gather(
        forge.api.request("GET", "/v1/auth/email/me"), forge.api.request("GET", "/rbac/my/permissions")
    )
    if not isinstance(account, dict) or not isinstance(held, list):
        raise Refused(f"gateway {forge.name} does not say what our account may do")
    administrator, everything = bool(account.get("is_admin")), "*" in held
    # Several steps need the same.
    asked = sorted({tried for _, _, tried in RIGHTS.values() if tried}) if administrator else []
    refusals = dict(zip(asked, await asyncio.gather(*(_refusal(forge, path) for path in asked)), strict=True))
    found = []
    for step, (_, needs, tried) in RIGHTS.items():
        lacks = [need for need in needs if need != ADMINISTRATOR and not everything and need not in held]
        if not administrator:
            if ADMINISTRATOR in needs:
                lacks.append(f"being a {ADMINISTRATOR}")
            elif any(need.endswith(".update") for need in needs) and not lacks:
                lacks.append(f"being a {ADMINISTRATOR}, to change what others own")
        elif refused := refusals.get(tried):
            lacks.append(refused)
        found.append(Right(step, tuple(lacks)))
    return tuple(found)


async def _refusal(forge: ContextForge, path: str) -> str:
    try:
        await forge.api.request("GET", path, params={"limit": "1"})
    except Misconfigured:
        return f"an unrestricted session: GET {path} is refused"
    except SoarError:
        # Another failure than a refusal has a line of its own elsewhere.
        return ""
    return ""
