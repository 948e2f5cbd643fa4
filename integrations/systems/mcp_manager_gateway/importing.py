"""What `inventory import` asks of an mcp-manager-gateway: everything there is, and a canary that can ask."""

import secrets
from datetime import UTC, datetime, timedelta

from integrations.estate import Audited, Entry, Estate, IssuedToken, Survey, Surveyed, Token, User
from integrations.gateways.administration import Fields
from integrations.gateways.driver import ID
from integrations.gateways.importing import CANARY_DAYS, canary_token, entry, keep, patiently, see_to_canary
from integrations.gateways.named import moment_of
from integrations.hostile import own_name
from integrations.systems.mcp_manager_gateway.driver import ManagerGateway
from integrations.systems.mcp_manager_gateway.held import Service
from integrations.systems.mcp_manager_gateway.needs import ADMIN
from playbooks.errors import Misconfigured, Refused
from playbooks.strict import now


async def look_through(wanted: Survey) -> Surveyed:
    """Return everything that a gateway has and how the canary stands, which is made if that is asked for.

    Raises:
        SoarError: it does not answer, or does not let us in.
    """
    async with patiently(ManagerGateway, wanted) as driver:
        seen = Surveyed(await _estate(driver))
        seen.audits = (Audited("changes and calls", "log_retention_days", "it writes both down", on=True),)

        async def make(name: str) -> IssuedToken:
            return await issue(driver, await ordinary(driver, driver.gateway.canary.principal), name)

        await see_to_canary(wanted, seen, await _unusable(driver, wanted), make)
        return seen


async def _estate(driver: ManagerGateway) -> Estate:
    estate, services, odd = Estate(), list[Service](), 0
    for one in await driver.manager.listed("/mcps"):
        service = await driver.service(str(one.get("id")))
        if service is None or not ID.fullmatch(service.id):
            odd += 1
            continue
        services.append(service)
    estate.entries = tuple(_entry(service) for service in services)
    for service in services:
        keep(estate, service.id, service.slug, await driver.catalog(service.id))
    estate.left_out += [f"{odd} servers: their ids are none"] if odd else []
    estate.users = tuple(_user(one) for one in await driver.manager.listed("/users"))
    estate.tokens = tuple(token for fields in await driver.tokens() if (token := _token(fields)))
    return estate


def _entry(service: Service) -> Entry:
    name, url, kind = service.fields.get("name"), service.config.get("url"), service.fields.get("auth_type")
    called = name if isinstance(name, str) and name.strip() else service.slug
    return entry(service.id, called, url=url, enabled=service.enabled is not False, credentials=kind)


def _user(fields: Fields) -> User:
    name = str(fields.get("username"))
    return User(email=name, name="", administrator=fields.get("role") == ADMIN, active=fields.get("disabled") is False)


def _token(fields: Fields) -> Token | None:
    id_, name, user = fields.get("id"), fields.get("name"), fields.get("username")
    ends = moment_of(fields.get("expires_at"))
    over = ends is not None and ends < datetime.now(UTC)
    if not isinstance(id_, str) or not ID.fullmatch(id_) or not isinstance(user, str):
        return None
    if fields.get("disabled") is True or over:
        return None
    return Token(id_, own_name(name) if isinstance(name, str) and name else id_, user, ends)


async def _unusable(driver: ManagerGateway, wanted: Survey) -> str:
    try:
        canary_token(wanted)
    except Misconfigured as exc:
        return f"its token is not there ({exc})"
    return "" if await driver.is_active(wanted.gateway.canary.principal) else "it is not let in"


async def ordinary(driver: ManagerGateway, name: str) -> str:
    """See to it that there is a user who may call what everybody may, and return the id.

    Raises:
        Refused: that user manages the gateway, or is not let in.
    """
    found = await driver.user(name)
    if found is not None and (found.get("role") == ADMIN or found.get("disabled") is not False):
        raise Refused(f"{name} manages gateway {driver.name}, or is not let in: name another as canary")
    if found is None:
        password = f"Aa1!{secrets.token_urlsafe(24)}"
        body = {"username": name, "password": password, "role": "user", "scope_mode": "all"}
        found = await driver.manager.fields("POST", "/users", body=body)
    if found is None:
        raise Refused(f"gateway {driver.name} made no user {name}")
    return str(found["id"])


async def issue(driver: ManagerGateway, user: str, name: str, *, days: int = CANARY_DAYS) -> IssuedToken:
    """Issue a token to a user, by id; it sees each tool by its name, as agents do."""
    body = {
        "name": name,
        "user_id": user,
        "scope_mode": "all",
        "discovery_mode": "native",
        "expires_at": (now() + timedelta(days=days)).isoformat(),
    }
    made = await driver.manager.fields("POST", "/tokens", body=body)
    if made is None or not isinstance(made.get("token"), str):
        raise Refused(f"gateway {driver.name}: POST /api/v1/tokens answered no token")
    return IssuedToken(id=str(made["id"]), secret=made["token"])
