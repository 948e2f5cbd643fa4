"""What `inventory import` asks of a gateway: everything there is, and a canary that can ask as a client."""

from contextlib import suppress
from datetime import timedelta
from typing import Final

from integrations.estate import IssuedToken, Survey, Surveyed
from integrations.gateways.importing import CANARY_DAYS, canary_token, patiently, see_to_canary, token_name
from integrations.systems.contextforge import audit, enrol
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.estate import survey
from playbooks.errors import Misconfigured, SoarError
from playbooks.strict import now

_RENEW: Final = timedelta(days=30)


async def look_through(wanted: Survey) -> Surveyed:
    """Return everything that a gateway has and how the canary stands, which is made if that is asked for.

    Raises:
        SoarError: it does not answer, or does not let us in.
    """
    async with patiently(ContextForge, wanted) as forge:
        seen = Surveyed(await survey(forge))
        try:
            seen.audits = await audit.audited(forge)
        except SoarError as exc:
            seen.estate.partial.append(f"audit settings: {exc}")
        await _canary(forge, wanted, seen)
        await _tried(forge, wanted, seen)
        return seen


async def _canary(forge: ContextForge, wanted: Survey, seen: Surveyed) -> None:
    """See whether the canary can ask, and make it if that is wanted."""
    who, why = forge.gateway.canary.principal, _unusable(wanted)
    if not why:
        lacking = await _lacking(forge, who)
        why = f"it may not do what a client does: {', '.join(lacking)}" if lacking else ""

    async def make(name: str) -> IssuedToken:
        await enrol.ordinary(forge, who)
        return await enrol.issue(forge, who, name, days=CANARY_DAYS)

    if await see_to_canary(wanted, seen, why, make):
        return
    file = str(wanted.canary_path.resolve()) if wanted.canary_path else "/dev/stdout"
    seen.commands = ()
    with suppress(SoarError):
        seen.commands = await enrol.canary_commands(forge, who, token_name(), password=wanted.shell_password, file=file)


async def _tried(forge: ContextForge, wanted: Survey, seen: Surveyed) -> None:
    """Find out what reading alone does not tell: by a token of the canary's and a virtual server, both gone at once."""
    if not wanted.make_canary or not seen.audits:
        return
    try:
        if seen.audits[0].on is None:
            seen.audits = (await audit.changed(forge, f"{token_name()}-tried"), *seen.audits[1:])
        found = await audit.tried(forge, forge.gateway.canary.principal, f"{token_name()}-revoked")
    except SoarError as exc:
        seen.estate.partial.append(f"audit settings: {exc}")
    else:
        seen.audits = (*seen.audits[:1], found)


async def _lacking(forge: ContextForge, email: str) -> tuple[str, ...]:
    try:
        return await enrol.lacks(forge, email)
    except SoarError:
        # Whoever may not ask this may still use the canary; doctor asks as the canary itself.
        return ()


def _unusable(wanted: Survey) -> str:
    """Return why a canary's token cannot be used; empty if it can, as far as one sees without asking."""
    try:
        held = canary_token(wanted)
    except Misconfigured as exc:
        return f"its token is not there ({exc})"
    ends = enrol.ends_at(held)
    if ends is not None and ends < now():
        return f"its token is over since {ends:%Y-%m-%d}"
    return f"its token ends {ends:%Y-%m-%d}" if ends is not None and ends < now() + _RENEW else ""
