"""A principal that was cut off, asked as itself: by a token of its own that its owner gave us for that."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import httpx

from integrations.gateways.canary import Canary
from integrations.gateways.driver import GatewayDriver, driver_at
from integrations.protocol.client import McpEndpoint
from playbooks.action import World
from playbooks.errors import SoarError
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer, Finding, Target, Verdict
from playbooks.text.sentences import known, say

_TURNED_AWAY: Final = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})
_MOST_LINES: Final = 8


class Affected:
    """The client side of a gateway as a principal sees it that is not ours.

    Args:
        endpoint: the address that clients use, with that principal's token.
    """

    def __init__(self, endpoint: McpEndpoint) -> None:
        self.endpoint = endpoint

    async def aclose(self) -> None:
        """Close the connections."""
        await self.endpoint.aclose()

    async def lists(self, *, out: bool, times: int = 1) -> Finding:
        """Ask for the list of tools, as that principal.

        Args:
            out: whether being turned away is what holds, or being answered.
            times: how often at once, where several processes answer; the worst answer is the answer.
        """
        asked = await asyncio.gather(*(self._list(out=out) for _ in range(times)))
        order = (Answer.NOT_ESTABLISHED, Answer.UNKNOWN, Answer.ESTABLISHED)
        return min(asked, key=lambda finding: order.index(finding.answer))

    async def _list(self, *, out: bool) -> Finding:
        try:
            reply = await self.endpoint.ask("tools/list", ahead=True)
        except SoarError as exc:
            observed, answer = str(exc), Answer.UNKNOWN
        else:
            observed, refused = reply.said, reply.status in _TURNED_AWAY
            answer = Answer.ESTABLISHED if refused is out else Answer.NOT_ESTABLISHED
            if not refused and reply.result is None:
                answer = Answer.UNKNOWN
        return Finding(
            check="principal",
            subject="tools/list",
            asked_as=self.endpoint.principal,
            expected="the gateway turns it away" if out else "the gateway answers it",
            observed=observed,
            answer=answer,
        )


async def verdict(
    name: str, labels: Sequence[str] | None, said: Sequence[Finding], world: World, *, out: bool
) -> Verdict:
    """Return what the findings add up to, with what the affected principal itself meets.

    Args:
        name: the principal, as the inventory names it.
        labels: the tokens that are meant, by name; any of the principal's if None.
        said: what was found besides.
        world: the connections.
        out: whether it should be turned away.
    """
    principal = world.inventory.principals.get(name)
    known = principal.gateway if principal else None
    held = sorted(known[1].held) if known else []
    usable = [label for label in held if labels is None or label in labels]
    if known is None or not usable:
        asked = Verdict.of(tuple(said))
        place = f"{name}.places.{known[0] if known else 'GATEWAY'}"
        unasked = Finding(
            check="principal",
            subject=say("principal {a}", a=name)[:2000],
            asked_as=say("nobody"),
            expected="the gateway turns it away" if out else "the gateway answers it",
            observed=say(
                "not asked as {a} itself: no such token is held; name its place in principals.{b}.held", a=name, b=place
            ),
            answer=Answer.UNKNOWN,
        )
        return asked.model_copy(update={"findings": (*asked.findings, unasked)})
    times = _times(known[0], world)
    questions = (world.reach(Affected, f"{name}/{label}").lists(out=out, times=times) for label in usable[:3])
    asked_as = await asyncio.gather(*questions)
    if not out:
        # One of its tokens that works again is enough: another may have been revoked for good.
        asked_as = sorted(asked_as, key=lambda finding: finding.answer is not Answer.ESTABLISHED)[:1]
    return Verdict.of((*said, *asked_as))


def _times(gateway: str, world: World) -> int:
    processes = driver_at(gateway, world).processes
    return 1 if processes <= 1 else min(2 * processes, _MOST_LINES)


async def canary_control(target: Target, world: World) -> Finding:
    """Show that the gateway answers a client whom nobody cut off."""
    return await world.reach(Canary, target.system.removeprefix("gateway/")).control_by_list(PinKind.TOOL)


async def administrator_says(
    *, check: str, subject: str, expected: str, driver: GatewayDriver, holds: Callable[[], Awaitable[bool]]
) -> Finding:
    """Read back what nobody here can ask as the affected principal: we hold no secret of theirs."""
    try:
        held = await holds()
    except SoarError as exc:
        observed, answer = str(exc), Answer.UNKNOWN
    else:
        # What was read there, in whole words: nobody tried the credential itself, and this must not sound like it.
        observed = expected if held else say("it is not so that {a}", a=known(expected))
        answer = Answer.ESTABLISHED if held else Answer.NOT_ESTABLISHED
    return Finding(
        check=check,
        subject=subject[:2000],
        asked_as=say("administrator {a}", a=driver.administrator),
        expected=expected,
        observed=observed,
        answer=answer,
    )
