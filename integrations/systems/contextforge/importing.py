"""What `inventory import` asks of a gateway: everything there is, and a canary that can ask as a client."""

import secrets
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from integrations.estate import Survey, Surveyed
from integrations.secret import secret
from integrations.systems.contextforge import audit, enrol
from integrations.systems.contextforge.client import ContextForge
from integrations.systems.contextforge.estate import survey
from playbooks.errors import Misconfigured, SoarError
from playbooks.inventory import Canary, Secret
from playbooks.strict import now

_PATIENCE: Final = 30.0
_RENEW: Final = timedelta(days=30)


async def look_through(wanted: Survey) -> Surveyed:
    """Return everything that a gateway has and how the canary stands, which is made if that is asked for.

    Raises:
        SoarError: it does not answer, or does not let us in.
    """
    forge = ContextForge(wanted.name, wanted.gateway, wanted.password)
    forge.patience = _PATIENCE
    try:
        seen = Surveyed(await survey(forge))
        try:
            seen.audits = await audit.audited(forge)
        except SoarError as exc:
            seen.estate.partial.append(f"audit settings: {exc}")
        await _canary(forge, wanted, seen)
        await _tried(forge, wanted, seen)
        return seen
    finally:
        await forge.aclose()


async def _canary(forge: ContextForge, wanted: Survey, seen: Surveyed) -> None:
    """See whether the canary can ask, and make it if that is wanted."""
    canary, path = forge.gateway.canary, wanted.canary_path
    why = _unusable(canary, wanted)
    if not why:
        lacking = await _lacking(forge, canary.principal)
        why = f"it may not do what a client does: {', '.join(lacking)}" if lacking else ""
    if not why:
        seen.canary = f"{canary.principal} is there, with a token that is good"
        return
    if wanted.make_canary and path is not None:
        # A name of its own each time, twice in a second too: no user has two tokens of one name.
        await enrol.ordinary(forge, canary.principal)
        seen.made = await enrol.issue(forge, canary.principal, _token_name(), days=enrol.CANARY_DAYS)
        # At once: it is told only this time.
        wanted.keep(seen.made)
        seen.canary = f"{canary.principal} was made, with a token for {enrol.CANARY_DAYS} days in {path} (0600)"
        return
    seen.canary = f"{canary.principal} cannot ask yet: {why}"
    file = str(path.resolve()) if path else "/dev/stdout"
    with suppress(SoarError):
        seen.commands = await enrol.canary_commands(
            forge, canary.principal, _token_name(), password=wanted.shell_password, file=file
        )


async def _tried(forge: ContextForge, wanted: Survey, seen: Surveyed) -> None:
    """Find out what reading alone does not tell: by a token of the canary's and a virtual server, both gone at once."""
    if not wanted.make_canary or not seen.audits:
        return
    try:
        if seen.audits[0].on is None:
            seen.audits = (await audit.changed(forge, f"{_token_name()}-tried"), *seen.audits[1:])
        found = await audit.tried(forge, forge.gateway.canary.principal, f"{_token_name()}-revoked")
    except SoarError as exc:
        seen.estate.partial.append(f"audit settings: {exc}")
    else:
        seen.audits = (*seen.audits[:1], found)


def _token_name() -> str:
    return f"mcp-soar-{now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


async def _lacking(forge: ContextForge, email: str) -> tuple[str, ...]:
    try:
        return await enrol.lacks(forge, email)
    except SoarError:
        # Whoever may not ask this may still use the canary; doctor asks as the canary itself.
        return ()


def _unusable(canary: Canary, wanted: Survey) -> str:
    """Return why a canary's token cannot be used; empty if it can, as far as one sees without asking."""
    token = canary.token
    if token.file is not None:
        token = Secret(file=str(wanted.folder / Path(token.file).expanduser()))
    try:
        held = secret(token, what="canary.token")
    except Misconfigured as exc:
        return f"its token is not there ({exc})"
    ends = enrol.ends_at(held)
    if ends is not None and ends < now():
        return f"its token is over since {ends:%Y-%m-%d}"
    return f"its token ends {ends:%Y-%m-%d}" if ends is not None and ends < now() + _RENEW else ""
