"""What `inventory import` asks of a LiteLLM proxy: everything there is, and a canary that can ask."""

from integrations.estate import Audited, Estate, IssuedToken, Survey, Surveyed, Token, User
from integrations.gateways.administration import Fields
from integrations.gateways.driver import ID
from integrations.gateways.importing import CANARY_DAYS, canary_token, entry, keep, patiently, see_to_canary
from integrations.gateways.named import Named, moment_of
from integrations.hostile import own_name, printable
from integrations.systems.litellm.answers import ALL_SERVERS, named, offered, opens
from integrations.systems.litellm.client import key_id
from integrations.systems.litellm.driver import LiteLLM
from integrations.systems.litellm.needs import ADMIN
from playbooks.errors import Misconfigured, Refused, SoarError


async def look_through(wanted: Survey) -> Surveyed:
    """Return everything that a proxy has and how the canary stands, which is made if that is asked for.

    Raises:
        SoarError: it does not answer, or does not let us in.
    """
    async with patiently(LiteLLM, wanted) as driver:
        seen = Surveyed(await _estate(driver))
        seen.audits = (await _audited(driver),)

        async def make(name: str) -> IssuedToken:
            await ordinary(driver, driver.gateway.canary.principal)
            return await issue(driver, driver.gateway.canary.principal, name)

        await see_to_canary(wanted, seen, await _unusable(driver, wanted), make, means="key")
        return seen


async def _audited(driver: LiteLLM) -> Audited:
    """Return whether it tells who changed what."""
    try:
        changes = await driver.changes(most=1)
    except (Misconfigured, Refused):
        return Audited("changes", "store_audit_logs", "it tells of none: that takes a licence", on=False)
    on = True if changes else None
    return Audited("changes", "store_audit_logs", "it tells of them" if on else "none was written down yet", on=on)


async def _estate(driver: LiteLLM) -> Estate:
    estate, odd = Estate(), 0
    for id_, server in (await driver.registered()).items():
        if not ID.fullmatch(id_):
            odd += 1
            continue
        url, kind = server.get("url"), server.get("auth_type")
        known = entry(id_, named(server), url=url, enabled=offered(server), credentials=kind)
        estate.entries = (*estate.entries, known)
        keep(estate, id_, named(server), await _held(driver, id_, estate))
    estate.left_out += [f"{odd} servers: their ids are none"] if odd else []
    estate.users = tuple(_user(one) for one in await driver.users() if isinstance(one.get("user_id"), str))
    estate.tokens = tuple(token for fields in await driver.keys() if (token := _token(fields)))
    return estate


async def _held(driver: LiteLLM, entry: str, estate: Estate) -> tuple[Named, ...]:
    try:
        return await driver.catalog(entry)
    except SoarError as exc:
        # It holds no catalogue of its own: what a server offers is what it answers now.
        estate.partial.append(f"tools of {entry}: {exc}")
        return ()


def _user(fields: Fields) -> User:
    alias = fields.get("user_alias")
    return User(
        email=str(fields["user_id"]),
        name=printable(alias) if isinstance(alias, str) else "",
        administrator=fields.get("user_role") == ADMIN,
        active=True,
    )


def _token(fields: Fields) -> Token | None:
    id_, user = fields.get("token"), fields.get("user_id")
    name = fields.get("key_alias") or fields.get("key_name")
    if not isinstance(id_, str) or not ID.fullmatch(id_) or not isinstance(user, str) or not opens(fields):
        return None
    return Token(id_, own_name(name) if isinstance(name, str) else id_[:12], user, moment_of(fields.get("expires")))


async def _unusable(driver: LiteLLM, wanted: Survey) -> str:
    try:
        id_ = key_id(canary_token(wanted))
    except Misconfigured as exc:
        return f"its key is not there ({exc})"
    who = driver.gateway.canary.principal
    if not any(one.get("token") == id_ and opens(one) for one in await driver.keys(who)):
        return "its key opens nothing there"
    blind = [one for one in await driver.registered() if not await driver.may_use(who, one)]
    return f"its key may not use {', '.join(blind)}" if blind else ""


async def ordinary(driver: LiteLLM, name: str) -> None:
    """See to it that there is a user who manages nothing.

    Raises:
        Refused: that user manages the proxy.
    """
    found = next(iter(await driver.users(name)), None)
    if found is not None and found.get("user_role") == ADMIN:
        raise Refused(f"{name} manages gateway {driver.name}: name another as canary")
    if found is None:
        body = {"user_id": name, "user_role": "internal_user", "auto_create_key": False}
        await driver.proxy.request("POST", "/user/new", body=body)


async def issue(
    driver: LiteLLM, user: str, name: str, *, days: int = CANARY_DAYS, servers: tuple[str, ...] = (ALL_SERVERS,)
) -> IssuedToken:
    """Issue a key to a user.

    Args:
        driver: the gateway.
        user: whose it is.
        name: its alias, which no other key has.
        days: for which it is good.
        servers: the ids of those that it may use; without a permission a key may use only what every key may.
    """
    body = {
        "user_id": user,
        "key_alias": name,
        "duration": f"{days}d",
        "object_permission": {"mcp_servers": [*servers]},
    }
    made = await driver.proxy.fields("POST", "/key/generate", body=body)
    if made is None or not isinstance(made.get("key"), str):
        raise Refused(f"gateway {driver.name}: POST /key/generate answered no key")
    return IssuedToken(id=key_id(made["key"]), secret=made["key"])
