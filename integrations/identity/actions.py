"""What revokes tokens at a provider: those first that others are issued for; and whether they are worthless then."""

import asyncio
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from pydantic import JsonValue
from typing_extensions import override

from integrations.hostile import printable
from integrations.identity.client import Api, Claims
from integrations.identity.proof import dead, reissue, verdict
from integrations.identity.provider import SORT
from integrations.identity.tokens import Held, held, none_held, one_of, same
from playbooks.action import Action, World
from playbooks.errors import Refused
from playbooks.gate.plan import Answer, Change, Finding, Irreversible, Plan, Radius, Target, Verdict
from playbooks.strict import Name, Slug, iso
from playbooks.text.sentences import say

_SHOWN: Final = 100
"""Characters of what a provider says of a token, in a plan."""


def api_of(target: Target, world: World) -> Api:
    """Return the provider that issued what a plan means."""
    return world.reach(Api, target.system.removeprefix(f"{SORT}/"))


class _Revoke(Action):
    """Makes tokens of a principal worthless."""

    permissions: ClassVar[tuple[str, ...]] = ()
    """Each product has its own names for them."""

    irreversible: ClassVar[Irreversible | None] = Irreversible(
        because=say("a revoked token cannot be made valid again; its owner has to sign in anew")
    )
    timeout: ClassVar[float] = 10.0

    principal: Name
    system: Slug | None = None

    @abstractmethod
    def tokens(self, world: World) -> Sequence[Held]:
        """Return those that are meant, in the order in which they are revoked."""

    @override
    async def plan(self, world: World) -> Plan:
        meant = self.tokens(world)
        said = await asyncio.gather(*(api_of(one.target, world).introspect(one.value) for one in meant))
        for one, claims in zip(meant, said, strict=True):
            if claims is not None:
                is_theirs(one, claims, api_of(one.target, world))
        pairs = list(zip(meant, said, strict=True))
        return self.plan_of(
            summary=say(
                "Revoke at {a}, for good: {b}",
                a=" and ".join(f"provider {name}" for name in dict.fromkeys(one.provider for one in meant)),
                b="; ".join(_shown(one, claims) for one, claims in pairs),
            ),
            changes=tuple(
                Change(target=one.target, field="revoked", before=_revoked(one, claims, world), after=True)
                for one, claims in pairs
            ),
            breaks=say(
                "Whatever {a} does with this, or was issued with it, stops until it signs in anew", a=self.principal
            ),
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        one = same(change.target, world)
        found = _revoked(one, await api_of(change.target, world).introspect(one.value), world)
        if change.before is None:
            # Nobody had heard of it: that it is in use after all is no other than what was planned for.
            return found or None
        # What the plan had heard of is heard of by a process that started since.
        return found is not False

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key  # a state is set: twice is once without a token
        if change.after is not True:
            raise Refused("a revoked token cannot be made valid again; its owner has to sign in anew")
        one, api = same(change.target, world), api_of(change.target, world)
        client = one.client()
        await api.revoke(one.value, one.type, client if client and client.secret else api.ourselves)

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        pairs = [(same(change.target, world), change) for change in plan.changes]
        tokens = [one for one, _ in pairs]
        asked = (dead(one, api_of(change.target, world), seen=change.before is False) for one, change in pairs)
        # What nobody could ask is said, and decides nothing: the token is what the plan is about.
        return verdict(await asyncio.gather(*asked), beside=reissue(tokens))

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        del world
        return Verdict.of(tuple(_stays(target) for target in plan.targets))


class RevokeToken(_Revoke):
    """Makes one token of a principal worthless, an access token or a refresh token that is held.

    Args:
        principal: whose, as the inventory names it.
        token: which: by the inventory's name for it, or its id there.
        system: at which provider; at any if None.
    """

    name: ClassVar[str] = "oidc.revoke_token"
    radius: ClassVar[Radius] = Radius.TOKEN

    token: Name

    @override
    def tokens(self, world: World) -> Sequence[Held]:
        return (one_of(world, self.principal, self.token, self.system),)


class RevokeTokens(_Revoke):
    """Makes every token of a principal that is held worthless, those first that others are issued for.

    Args:
        principal: whose, as the inventory names it.
        system: at which provider; at all if None.
    """

    name: ClassVar[str] = "oidc.revoke_tokens"
    radius: ClassVar[Radius] = Radius.PRINCIPAL
    takes: ClassVar[str] = "tokens"

    @override
    def tokens(self, world: World) -> Sequence[Held]:
        found = tuple(held(world, self.principal, self.system))
        if not found:
            raise none_held(world, self.principal, self.system)
        return tuple(sorted(found, key=lambda one: one.type == "access_token"))


def _revoked(one: Held, claims: Claims | None, world: World) -> bool | None:
    """Return whether a token is revoked; None where its provider never said that it was in use.

    Whoever may not introspect a token is told that it is not active, and so are we of one that goes on: it is revoked
    all the same.
    """
    if claims is not None:
        return False
    return True if api_of(one.target, world).saw(one.value) else None


def is_theirs(one: Held, claims: Claims, api: Api) -> None:
    """Refuse a token that the provider says was issued to somebody else, or to us.

    Raises:
        Refused: so it is, or nobody says whose it is.
    """
    client, subject, username = claims.get("client_id", claims.get("azp")), claims.get("sub"), claims.get("username")
    for said in (client, subject, username):
        if said is not None and not isinstance(said, str):
            raise Refused(
                f"provider {api.name} says of {one.target} that it was issued to {_text(said)}: nobody is that"
            )
    if api.settings.client in {client, subject}:
        raise Refused(f"{one.target} was issued to mcp-soar's own client at provider {api.name}: it is never a target")
    whose = f"provider {api.name} says that {one.target} was issued to"
    if one.at.client is not None and client is not None and client != one.at.client:
        raise Refused(f"{whose} client {_text(client)}, and the inventory says {one.at.client}")
    # By its client alone a token is only of a client that acts for itself: whoever signs in there has one of it, too.
    named = subject if subject is not None else username
    if one.at.user == named or (one.at.user == client and (named is None or api.is_itself(claims))):
        return
    if named is not None:
        raise Refused(f"{whose} subject {_text(named)}, and the inventory says {one.at.user}")
    raise Refused(f"provider {api.name} does not say to whom {one.target} was issued: people look at it there")


def _shown(one: Held, claims: Claims | None) -> str:
    """Return a token as people know it, with what the provider said of it: afterwards it says nothing any more."""
    words = [f"{one.words} {one.target.id}"]
    for claim, word in (("client_id", "of client"), ("scope", "for")):
        if claims and isinstance(claims.get(claim), str) and claims[claim]:
            words.append(f"{word} {_text(claims[claim])}")
    ends = claims.get("exp") if claims else None
    if isinstance(ends, int) and 0 < ends < _LAST:
        words.append(f"until {iso(datetime.fromtimestamp(ends, UTC))}")
    return f"{one.target.name} ({', '.join(words)})"


_LAST: Final = 253_402_300_799
"""The last second that has a date."""


def _text(value: Any) -> str:  # noqa: ANN401  # whatever a provider says
    return printable(str(value))[:_SHOWN]


def _stays(target: Target) -> Finding:
    return Finding(
        check="token",
        subject=f"token {target.name} (id {target.id})",
        asked_as=say("nobody"),
        expected="it is valid again",
        observed=say("a revoked token stays revoked"),
        answer=Answer.NOT_ESTABLISHED,
    )


ACTIONS: Final[Iterable[type[Action]]] = (RevokeToken, RevokeTokens)
