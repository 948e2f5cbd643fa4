"""Whether a gateway writes down who changed what and whom it refused: without that its logs are no evidence.

ContextForge 1.0.7 has no address that says so (`config.py`: `audit_trail_enabled`, `security_logging_enabled`, both off
by default), so it is found out by something that is written down where that is on. Reading a virtual server is
(`server_service.py`, `view_server`); where there is none, making one is, which takes a right to. Of refusals only that
of a revoked token or a deactivated user is, not that of an unknown token or a wrong password (`auth_middleware.py`,
`_HARD_DENY_DETAILS`): so that takes a token to revoke.
"""

import asyncio
from datetime import timedelta
from typing import Any, Final

from integrations.estate import Audited
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.enrol import issue, publish
from integrations.systems.contextforge.estate import moment_of
from integrations.systems.contextforge.needs import EVENTS, TRAIL

_LOOKS: Final = 5
_BETWEEN: Final = 0.2
_APART: Final = timedelta(seconds=5)


async def audited(forge: ContextForge) -> tuple[Audited, Audited]:
    """Return what a gateway writes down.

    Raises:
        SoarError: it does not let us look.
    """
    return await _trail(forge), await _events(forge)


async def _trail(forge: ContextForge) -> Audited:
    what, before = "audit trail", await _newest(forge, "audit-trails")
    doors = await forge.virtual_servers()
    if not doors:
        if before is None:
            return Audited(what, TRAIL, _EMPTY, on=None)
        said = f"its newest entry is of {_when(before)}"
        if await _added_after(forge, before):
            return Audited(what, TRAIL, f"{said}, and a server was added after that", on=False)
        return Audited(what, TRAIL, said, on=True)
    await forge.api.request("GET", f"/v1/servers/{min(doors)}", missing_ok=True)
    if await _comes(forge, "audit-trails", before):
        return Audited(what, TRAIL, "what is read and changed is written down", on=True)
    return Audited(what, TRAIL, "a virtual server was read, and no entry says so", on=False)


async def _added_after(forge: ContextForge, entry: dict[str, Any]) -> bool:
    """Whether a server was added after an entry, which is written down where that is on: it is off by now."""
    path, latest = "/v1/gateways", moment_of(entry.get("timestamp"))
    listed = await forge.api.request("GET", path, params={"include_inactive": "true", "limit": "0"})
    added = (moment_of(one.get("createdAt")) for one in forge.api.entries(path, listed))
    return latest is not None and any(at is not None and at - latest > _APART for at in added)


async def _events(forge: ContextForge) -> Audited:
    what, newest = "security events", await _newest(forge, "security-events")
    if newest:
        return Audited(what, EVENTS, f"the newest is of {_when(newest)}", on=True)
    said = "there is none: switched off, or no revoked token was used yet"
    return Audited(what, EVENTS, said, on=None)


async def changed(forge: ContextForge, name: str) -> Audited:
    """Find out whether changes are written down: make a virtual server that offers nothing, and delete it.

    Args:
        forge: the gateway.
        name: of the virtual server, which nobody but its owner sees; there is no other of that name.

    Raises:
        SoarError: we may not.
    """
    before = await _newest(forge, "audit-trails")
    door = await publish(forge, name, (), visibility="private")
    try:
        comes = await _comes(forge, "audit-trails", before)
    finally:
        await forge.api.request("DELETE", f"/v1/servers/{door}", missing_ok=True)
    if comes:
        return Audited("audit trail", TRAIL, "a change is written down", on=True)
    return Audited("audit trail", TRAIL, "a virtual server was made, and no entry says so", on=False)


async def tried(forge: ContextForge, email: str, name: str) -> Audited:
    """Find out whether refusals are written down: issue a token, revoke it, and use it.

    Args:
        forge: the gateway.
        email: whose token it is, a user of ours.
        name: of the token; that user has no other of that name.

    Raises:
        SoarError: we may not.
    """
    before = await _newest(forge, "security-events")
    token = await issue(forge, email, name)
    await forge.revoke(token.id)
    await forge.api.refused(token.secret)
    if await _comes(forge, "security-events", before):
        return Audited("security events", EVENTS, "a revoked token's use is written down", on=True)
    return Audited("security events", EVENTS, "a revoked token was used, and no event says so", on=False)


_EMPTY: Final = "it is empty: switched off, or nothing happened yet that it records"


async def _comes(forge: ContextForge, log: str, before: dict[str, Any] | None) -> bool:
    for _ in range(_LOOKS):
        after = await _newest(forge, log)
        if after and (before is None or after.get("id") != before.get("id")):
            return True
        await asyncio.sleep(_BETWEEN)
    return False


async def _newest(forge: ContextForge, log: str) -> dict[str, Any] | None:
    path = f"/api/logs/{log}"
    found = forge.api.entries(path, await forge.api.request("GET", path, params={"limit": "1"}))
    return found[0] if found else None


def _when(entry: dict[str, Any]) -> str:
    return str(entry.get("timestamp"))[:19]
