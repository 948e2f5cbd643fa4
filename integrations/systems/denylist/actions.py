"""What puts tokens that nobody can revoke on a list, and takes exactly that out again."""

import asyncio
import hashlib
import time
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Final, NamedTuple

import httpx
from pydantic import JsonValue
from typing_extensions import override

from integrations.hostile import printable
from integrations.places import only_place, places
from integrations.protocol.client import McpEndpoint
from integrations.protocol.reply import Reply
from integrations.secret import secret
from integrations.systems.denylist import KIND, Subject
from integrations.systems.denylist.client import Denied
from integrations.systems.denylist.entries import Claims, Entry, asking, claims_of
from playbooks.action import Action, World
from playbooks.errors import Drifted, Misconfigured, Refused, SoarError
from playbooks.gate.plan import Answer, Change, Finding, Plan, Radius, Target, Verdict
from playbooks.strict import Name, Slug
from playbooks.text.sentences import say

FIELD: Final = "denied"


class Jwt(NamedTuple):
    """A token that is held.

    Args:
        label: what the inventory calls it.
        value: it itself.
        claims: what it says of itself.
    """

    label: str
    value: str
    claims: Claims

    @property
    def id(self) -> str | None:
        """Its `jti`; None if it has none."""
        found = self.claims.get("jti")
        return found if isinstance(found, str) and found else None

    @property
    def field(self) -> str:
        """What says of it, and of no other that is held under its name one day, whether it is denied."""
        return f"{FIELD}-{_short(str(self.id))}"

    def ended(self, skew: float) -> bool:
        """Whether it has ended by itself, whatever clock it meets."""
        end = self.claims.get("exp")
        return isinstance(end, int | float) and end + skew < time.time()


def held(who: str, name: str, at: Subject) -> Iterator[Jwt]:
    """Yield the JWTs that are held of a principal.

    Args:
        who: as the inventory names it.
        name: of the list.
        at: what it is called there.

    Raises:
        Misconfigured: one is not there, or is no JWT.
    """
    for label, place in at.held.items():
        field = f"principals.{who}.places.{name}.held.{label}"
        value = secret(place, what=field)
        claims = claims_of(value)
        if claims is None:
            raise Misconfigured("what is there is no JWT: revoke it at its provider", field=field)
        yield Jwt(label, value, claims)


def is_theirs(one: Jwt, at: Subject, there: Denied) -> None:
    """Refuse a token that is not of whom the inventory says, or of us.

    Raises:
        Refused: so it is.
    """
    says = f"token {one.label}"
    if one.claims.get("iss") != there.settings.issuer:
        raise Refused(f"{says} is of another issuer than {there.settings.issuer}")
    if one.claims.get("sub") in there.settings.spared:
        raise Refused(f"{says} is one that mcp-soar itself comes with: never a target")
    if one.claims.get("sub") != at.user:
        raise Refused(f"{says} is of another subject than {at.user}, whom the inventory says")


def key_of(change: Change) -> str:
    """Return what our entry for something is called."""
    return f"mcp-soar-{_short(change.grip)}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def list_of(target: Target, world: World) -> Denied:
    """Return the list that a plan's target is on."""
    return world.reach(Denied, target.system.removeprefix(f"{KIND}/"))


def _at(world: World, target: Target) -> tuple[str, Subject]:
    """Return whose a target is, and what they are called there.

    Raises:
        Drifted: the inventory has nobody of that place any more.
    """
    who = target.name.partition("/")[0]
    for one, name, at in places(world.inventory, Subject):
        if (one, name) == (who, target.system.removeprefix(f"{KIND}/")):
            return who, at
    raise Drifted(f"the inventory has no {target} any more")


class _Deny(Action):
    """Puts something on a deny list."""

    permissions: ClassVar[tuple[str, ...]] = ("file: write it and its folder", "url: ask it")
    timeout: ClassVar[float] = 10.0

    principal: Name
    system: Slug | None = None

    @abstractmethod
    def means(self, name: str, at: Subject, there: Denied) -> tuple[Target, str, str]:
        """Return what is to be denied on a list, the field that says whether it is, and that in a sentence.

        Raises:
            SoarError: there is no such thing, or it is nobody's to deny.
        """

    @override
    async def plan(self, world: World) -> Plan:
        none, several = "it is on no deny list", "it is on several lists; name one"
        name, at = only_place(world.inventory, Subject, self.principal, self.system, none=none, several=several)
        there = world.reach(Denied, name)
        target, field, said = self.means(name, at, there)
        change = Change(target=target, field=field, before=False, after=True)
        return Plan(
            action=self.name,
            params=self.model_dump(mode="json"),
            summary=said,
            changes=(change.model_copy(update={"before": await _is_on(change, there)}),),
            radius=self.radius,
            breaks=say("Whatever {a} does with this stops wherever that list is asked", a=self.principal) + ".",
        )

    @classmethod
    @abstractmethod
    def entry(cls, change: Change, world: World) -> Entry:
        """Return what denies it from now on.

        Raises:
            Drifted: what the plan means is no longer there.
        """

    @classmethod
    @abstractmethod
    def tried(cls, change: Change, world: World, entry: Entry | None) -> list[Jwt]:
        """Return the tokens that are meant, to be tried."""

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        return await _is_on(change, list_of(change.target, world))

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key  # an entry has one of its own: twice is once
        there = list_of(change.target, world)
        if change.after is not True:
            await there.drop(key_of(change))
        elif not await _is_on(change, there):
            # Once more, and what was issued since would be denied too.
            await there.put(cls.entry(change, world))

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        return await _looked(cls, plan.changes[0], world, denied=True)

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return await _looked(cls, plan.changes[0], world, denied=False)


async def _is_on(change: Change, there: Denied) -> bool:
    return (await there.read()).entries.of(key_of(change)) is not None


class DenyToken(_Deny):
    """Has one JWT of a principal turned away by its id, wherever the list is asked; it can be taken back.

    Args:
        principal: whose, as the inventory names it.
        token: which: by the inventory's name for it, or its id there.
        system: on which list; on the one that it has a place on if None.
    """

    name: ClassVar[str] = "denylist.deny_token"
    radius: ClassVar[Radius] = Radius.TOKEN

    token: Name

    @override
    def means(self, name: str, at: Subject, there: Denied) -> tuple[Target, str, str]:
        id_ = at.token(self.token)
        for one in held(self.principal, name, at):
            if at.tokens[one.label] == id_:
                is_theirs(one, at, there)
                if one.id is None:
                    raise Refused(f"token {one.label} has no id (jti): deny its principal instead")
                # The gate knows a token by the inventory's id of it; which one it is by now says the field.
                target = Target(system=f"{KIND}/{name}", kind="token", id=id_, name=f"{self.principal}/{one.label}")
                said = say("Deny {a} (jti {b}) on deny list {c}, until it ends", a=target, b=printable(one.id), c=name)
                return target, one.field, said
        field = f"principals.{self.principal}.places.{name}.held"
        raise Misconfigured("no JWT of it is held by that name, and its id stands in it", field=field)

    @override
    @classmethod
    def entry(cls, change: Change, world: World) -> Entry:
        settings = list_of(change.target, world).settings
        for one in cls.tried(change, world, None):
            end = one.claims.get("exp")
            until = end if isinstance(end, int | float) else time.time() + settings.longest
            return Entry(key=key_of(change), iss=settings.issuer, jti=one.id, until=int(until + settings.skew) + 1)
        raise Drifted(f"what is held as {change.target} is another one by now")

    @override
    @classmethod
    def tried(cls, change: Change, world: World, entry: Entry | None) -> list[Jwt]:
        who, at = _at(world, change.target)
        found = held(who, change.target.system.removeprefix(f"{KIND}/"), at)
        return [one for one in found if one.id is not None and one.field == change.field]


class DenySubject(_Deny):
    """Has every JWT of a principal turned away that was issued until now, wherever the list is asked.

    What is issued later is taken: keep the principal from signing in where it does, and do that first.

    Args:
        principal: who, as the inventory names it.
        system: on which list; on the one that it has a place on if None.
    """

    name: ClassVar[str] = "denylist.deny_subject"
    radius: ClassVar[Radius] = Radius.PRINCIPAL
    takes: ClassVar[str] = "tokens of before"

    @override
    def means(self, name: str, at: Subject, there: Denied) -> tuple[Target, str, str]:
        if at.user in there.settings.spared:
            raise Refused(f"{at.user} is who mcp-soar comes as: never a target")
        target = Target(system=f"{KIND}/{name}", kind="subject", id=at.user, name=self.principal)
        said = say("Deny whatever {a} ({b}) was issued until now, on deny list {c}", a=target, b=target.id, c=name)
        return target, FIELD, said

    @override
    @classmethod
    def entry(cls, change: Change, world: World) -> Entry:
        settings = list_of(change.target, world).settings
        # The issuer's clock may be ahead of ours: what it dates a little later may be of before.
        at = int(time.time() + settings.skew)
        return Entry(key=key_of(change), iss=settings.issuer, sub=change.target.id, issued_until=at)

    @override
    @classmethod
    def tried(cls, change: Change, world: World, entry: Entry | None) -> list[Jwt]:
        who, at = _at(world, change.target)
        found = held(who, change.target.system.removeprefix(f"{KIND}/"), at)
        # Its owner keeps what is held up to date: what was issued since is none of it.
        return [one for one in found if entry is None or entry.denies(one.claims, time.time())]


async def _looked(kind: type[_Deny], change: Change, world: World, *, denied: bool) -> Verdict:
    """Ask whether a list turns something away, and whether the server that takes its tokens does.

    Args:
        kind: the action.
        change: whether it is denied.
        world: the connections.
        denied: whether it ought to be.
    """
    target = change.target
    there, (who, at) = list_of(target, world), _at(world, target)
    try:
        entry = (await there.read()).entries.of(key_of(change))
        tokens = kind.tried(change, world, entry)
        if denied and target.kind == "token" and tokens and all(one.ended(there.settings.skew) for one in tokens):
            ended = _finding("token", target, say("nobody"), say("it has ended by itself"), denied=denied, holds=True)
            return Verdict.of((ended,))
        jti = {"jti": entry.jti} if entry and entry.jti else {}
        alike = tokens[0].value if tokens else asking(iss=there.settings.issuer, sub=at.user, iat=0, **jti)
        turned_away = await there.asked(alike) is None
    except SoarError as exc:
        return Verdict.of((_finding("list", target, _word(there), str(exc), denied=denied, holds=None),))
    state = say("it turns it away") if turned_away else say("it lets it pass")
    findings = [_finding("list", target, _word(there), state, denied=denied, holds=turned_away is denied)]
    beside: list[Finding] = []
    live = [one for one in tokens if not one.ended(there.settings.skew)]
    if at.resource is None:
        place = f"principals.{who}.places.{there.name}.resource"
        said = say("not asked: name in {a} where its tokens are used", a=place)
        # Nobody knows that any server asks the list.
        nobody = _finding("resource", target, say("nobody"), said, denied=denied, holds=None)
        findings += [nobody] if denied else []
    elif not live:
        said = say("not tried: no token of {a} that is meant is held", a=who)
        beside.append(_finding("resource", target, say("nobody"), said, denied=denied, holds=None))
    else:
        word, url = key_of(change), at.resource
        findings += await asyncio.gather(
            *(_at_resource(one, target, there, url=url, who=who, word=word, denied=denied) for one in live)
        )
    verdict = Verdict.of(tuple(findings))
    return verdict.model_copy(update={"findings": (*verdict.findings, *beside)})


def _word(there: Denied) -> str:
    return f"administrator {there.name}"


async def _at_resource(
    one: Jwt, target: Target, there: Denied, *, url: str, who: str, word: str, denied: bool
) -> Finding:
    """Ask a server with a token, as whoever has it; a 401 counts where it is the list's, or where our own is let in."""
    try:
        reply = await _reply(target.name, url, who, one.value)
        observed = reply.said.replace(one.value, "")
        if reply.status != httpx.codes.UNAUTHORIZED:
            let_in = reply.result is not None or reply.error is not None
            turned_away = False if let_in else None
        elif word.encode() in reply.raw:
            turned_away = True
        elif denied:
            observed, turned_away = await _otherwise(there, url)
        else:
            turned_away = None
    except SoarError as exc:
        observed, turned_away = str(exc), None
    holds = None if turned_away is None else turned_away is denied
    return _finding("resource", target, who, observed, denied=denied, holds=holds)


async def _otherwise(there: Denied, url: str) -> tuple[str, bool | None]:
    """Return what a 401 means that is not the list's: a server that turns everybody away proves nothing."""
    canary = there.settings.canary
    if canary is None:
        return say("it is turned away, and not in the list's own words: name a {a} that is let in", a="canary"), None
    reply = await _reply(there.name, url, there.name, secret(canary, what=f"systems.{there.name}.canary"))
    if reply.status != httpx.codes.UNAUTHORIZED and (reply.result is not None or reply.error is not None):
        return say("it is turned away, and our own token is let in"), True
    return say("it is turned away, and so is our own token"), None


async def _reply(name: str, url: str, who: str, token: str) -> Reply:
    endpoint = McpEndpoint(name, url, principal=who, token=token)
    try:
        return await endpoint.ask("tools/list")
    finally:
        await endpoint.aclose()


def _finding(  # as a row
    check: str, target: Target, asked_as: str, observed: str, *, denied: bool, holds: bool | None
) -> Finding:
    answers = {True: Answer.ESTABLISHED, False: Answer.NOT_ESTABLISHED, None: Answer.UNKNOWN}
    return Finding(
        check=check,
        subject=f"{target.kind} {target.name} ({target.id})",
        asked_as=asked_as,
        expected=say("it is turned away") if denied else say("it is let in"),
        observed=observed[:20_000],
        answer=answers[holds],
    )


ACTIONS: Final = (DenyToken, DenySubject)
