"""What `inventory import` does alike at every gateway: asks with patience, and sees to a canary that can ask."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from integrations.catalogue import Held
from integrations.estate import Entry, Estate, IssuedToken, Survey, Surveyed
from integrations.gateways.driver import ID, GatewayDriver
from integrations.hostile import printable
from integrations.secret import secret
from playbooks.estate.gateway import Gateway
from playbooks.estate.systems import Secret
from playbooks.strict import now

CANARY_DAYS: Final = 365
"""For how long a canary's token is good."""

_PATIENCE: Final = 30.0

D = TypeVar("D", bound=GatewayDriver)


@asynccontextmanager
async def patiently(driver: Callable[[str, Gateway, str], D], wanted: Survey) -> AsyncIterator[D]:
    """Yield the administration of a gateway that may take its time."""
    made = driver(wanted.name, wanted.gateway, wanted.password)
    made.patience = _PATIENCE
    try:
        yield made
    finally:
        await made.aclose()


def entry(id_: str, name: str, *, url: object, enabled: bool, credentials: object) -> Entry:
    """Return a server's entry of what a gateway says of it.

    Args:
        id_: its id.
        name: what it is called there.
        url: where it is; anything else than an address of HTTP is none.
        enabled: whether clients may use it.
        credentials: of which kind those are that the gateway shows there.
    """
    return Entry(
        id=id_,
        name=printable(name),
        url=url if isinstance(url, str) and url.startswith(("http://", "https://")) else None,
        enabled=enabled,
        credentials=printable(credentials, 40) if isinstance(credentials, str) and credentials != "none" else "",
    )


def keep(estate: Estate, id_: str, name: str, held: Iterable[Held]) -> None:
    """Take what a server offers into an estate, but for what cannot be named by an id."""
    every = tuple(held)
    estate.objects[id_] = tuple(one for one in every if ID.fullmatch(one.id))
    if left := len(every) - len(estate.objects[id_]):
        estate.left_out.append(f"{left} things of {printable(name)}: their names cannot be ids")


def canary_token(wanted: Survey) -> str:
    """Return the canary's token.

    Raises:
        Misconfigured: it is not there.
    """
    token = wanted.gateway.canary.token
    if token.file is not None:
        token = Secret(file=str(wanted.folder / Path(token.file).expanduser()))
    return secret(token, what="canary.token")


def token_name() -> str:
    """Return a name of its own each time, twice in a second too: no user has two tokens of one name."""
    return f"mcp-soar-{now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


async def see_to_canary(
    wanted: Survey, seen: Surveyed, why: str, make: Callable[[str], Awaitable[IssuedToken]], *, means: str = "token"
) -> bool:
    """Say how the canary stands, and make it if that is wanted; return whether it can ask now.

    Args:
        wanted: what is asked for.
        seen: what is known by now.
        why: it cannot ask; empty if it can.
        make: makes it, with a token of a name.
        means: what people call the token there.
    """
    who, path = wanted.gateway.canary.principal, wanted.canary_path
    if not why:
        seen.canary = f"{who} is there, with a {means} that is good"
        return True
    if wanted.make_canary and path is not None:
        seen.made = await make(token_name())
        # At once: it is told only this time.
        wanted.keep(seen.made)
        seen.canary = f"{who} was made, with a {means} for {CANARY_DAYS} days in {path} (0600)"
        return True
    seen.canary = f"{who} cannot ask yet: {why}"
    seen.commands = (f"mcp-soar inventory import {wanted.name} --make-canary",)
    return False
