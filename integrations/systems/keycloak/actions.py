"""What keeps a user out of a realm, and a secret of its client from letting anybody in."""

import asyncio
from typing import ClassVar, Final

from pydantic import JsonValue
from typing_extensions import override

from integrations.hostile import printable
from integrations.identity.client import Credentials
from integrations.identity.proof import dead, verdict
from integrations.identity.provider import SORT, Identity
from integrations.identity.tokens import held
from integrations.places import only_place, places
from integrations.secret import secret
from integrations.systems.keycloak import Keycloak
from integrations.systems.keycloak.client import Fields, Realm
from playbooks.action import Action, World
from playbooks.errors import Misconfigured, Refused, SoarError, Unneeded
from playbooks.gate.plan import Answer, Change, Finding, Irreversible, Plan, Radius, Target, Verdict
from playbooks.strict import Name, Slug
from playbooks.text.sentences import say

SESSIONS: Final = "user_sessions"
"""The exhibit that is lost with a user's sessions: since when each was, from where, and at which clients."""

ENABLED: Final = "enabled"
SIGNED_IN: Final = "signed_in"
WORKS: Final = "known_secret_works"
OUTLIVES: Final = "issued_before_counts"


def realm_of(target: Target, world: World) -> Realm:
    """Return the realm that a plan's target is in."""
    return world.reach(Realm, target.system.removeprefix(f"{SORT}/"))


def place_of(who: str, system: str | None, world: World) -> tuple[str, Identity]:
    """Return the realm in which a principal is a user, and how.

    Raises:
        Misconfigured: in none, or in several and nobody says which.
    """
    systems = world.inventory.systems
    return only_place(
        world.inventory,
        Identity,
        who,
        system,
        none="it is in no realm of a Keycloak",
        several="it is in several realms; name one",
        among=lambda name: isinstance(systems.get(name), Keycloak),
    )


def user_of(who: str, system: str | None, world: World) -> tuple[str, Identity]:
    """Return likewise, of a principal that signs in.

    Raises:
        Unneeded: it is a client that acts for itself.
    """
    name, at = place_of(who, system, world)
    if at.for_itself:
        raise Unneeded(say("{a} is no user of provider {b}, but a client that acts for itself", a=who, b=name))
    return name, at


class DisableUser(Action):
    """Keeps a user out of a realm, and ends all of its sessions, those too that go on offline.

    Disabled alone, it would come back with every token that it had: a release enables it, and no session is left by
    then. While sessions are left, nothing is given back.

    Args:
        principal: who, as the inventory names it.
        system: in which realm; in the one that it is in if None.
    """

    name: ClassVar[str] = "keycloak.disable_user"
    radius: ClassVar[Radius] = Radius.PRINCIPAL
    permissions: ClassVar[tuple[str, ...]] = ("role view-users", "role manage-users")
    destroys: ClassVar[tuple[str, ...]] = (SESSIONS,)
    timeout: ClassVar[float] = 10.0

    principal: Name
    system: Slug | None = None

    @override
    async def plan(self, world: World) -> Plan:
        target, user, signed_in = await _found(self.principal, self.system, world)
        name = target.system.removeprefix(f"{SORT}/")
        return self.plan_of(
            summary=say(
                "Disable {a} ({b}) at provider {c}, and end its sessions for good", a=target, b=target.id, c=name
            ),
            changes=(
                Change(target=target, field=ENABLED, before=user["enabled"], after=False),
                Change(target=target, field=SIGNED_IN, before=signed_in, after=False),
            ),
            destroys=self.destroys if signed_in else (),
            breaks=say(
                "{a} is let in nowhere by provider {b}, and signs in anew after a release", a=self.principal, b=name
            ),
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        realm, id_ = realm_of(change.target, world), change.target.id
        if change.field == ENABLED:
            return bool((await realm.user(id_))["enabled"])
        return await realm.signed_in(id_)

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key  # a state is set, not toggled: twice is once without a token
        realm, id_ = realm_of(change.target, world), change.target.id
        if change.field == SIGNED_IN:
            if change.after is not False:
                raise Refused("a session that was ended does not come back; whose it was signs in anew")
            await realm.end(id_)
            return
        if change.after is True and await realm.signed_in(id_):
            raise Refused(f"{change.target} still has sessions: enabled now, tokens of before would be good again")
        await realm.enable(id_, enabled=change.after is True)

    @override
    @classmethod
    def inverse(cls, plan: Plan) -> Plan:
        """Return the plan that enables it as it was; its sessions stay ended, and are seen to be before that."""
        enabled, signed_in = plan.changes
        target = enabled.target
        return plan.model_copy(
            update={
                "summary": say(
                    "Give back {a} ({b}) at provider {c} as it was; its sessions stay ended",
                    a=target,
                    b=target.id,
                    c=target.system.removeprefix(f"{SORT}/"),
                ),
                "changes": (signed_in.model_copy(update={"before": False, "after": False}), enabled.inverse()),
                "breaks": "",
            }
        )

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        target = plan.changes[0].target
        return await _out(target, await _administrator(target, world, enabled=False), world)

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        enabled = next(change for change in plan.changes if change.field == ENABLED)
        return Verdict.of(await _administrator(enabled.target, world, enabled=enabled.before is True))


class SignOut(Action):
    """Ends all sessions of a user, those too that go on offline, and keeps it from nothing: it has to sign in anew.

    For whoever is no suspect, and had its tokens taken. Who has its password, too, is kept out by `DisableUser` alone.

    Args:
        principal: who, as the inventory names it.
        system: in which realm; in the one that it is in if None.
    """

    name: ClassVar[str] = "keycloak.sign_out"
    radius: ClassVar[Radius] = Radius.PRINCIPAL
    takes: ClassVar[str] = "sessions"
    permissions: ClassVar[tuple[str, ...]] = ("role view-users", "role manage-users")
    irreversible: ClassVar[Irreversible | None] = Irreversible(
        because=say("a session that was ended does not come back; whose it was signs in anew")
    )
    destroys: ClassVar[tuple[str, ...]] = (SESSIONS,)
    timeout: ClassVar[float] = 10.0

    principal: Name
    system: Slug | None = None

    @override
    async def plan(self, world: World) -> Plan:
        target, _, signed_in = await _found(self.principal, self.system, world)
        name = target.system.removeprefix(f"{SORT}/")
        return self.plan_of(
            summary=say("Sign {a} ({b}) out everywhere at provider {c}", a=target, b=target.id, c=name),
            changes=(Change(target=target, field=SIGNED_IN, before=signed_in, after=False),),
            destroys=self.destroys if signed_in else (),
            breaks=say("{a} signs in anew at provider {b}, and whatever it runs stops until then", a=target, b=name),
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        return await DisableUser.read(change, world)

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        await DisableUser.write(change, world, key=key)

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        (target,) = plan.targets
        return await _out(target, await _administrator(target, world, enabled=None), world)

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        del world
        (target,) = plan.targets
        observed = say("a session that was ended stays so")
        return Verdict.of((_finding(target, "it is signed in again", observed, Answer.NOT_ESTABLISHED),))


async def _found(who: str, system: str | None, world: World) -> tuple[Target, Fields, bool]:
    """Return a user as a target, what the realm says of it, and whether it has a session.

    Raises:
        Refused: it is who we come as.
        Misconfigured: it is no user.
    """
    name, at = user_of(who, system, world)
    target = Target(system=f"{SORT}/{name}", kind="user", id=at.user, name=who)
    realm = realm_of(target, world)
    user, signed_in, ourselves = await asyncio.gather(
        realm.user(at.user), realm.signed_in(at.user), realm.ourselves_there()
    )
    if at.user == ourselves or _is_ours(user, realm.settings.client):
        raise Refused(f"{target} is who mcp-soar comes as at provider {name}: never a target")
    if client := user.get("serviceAccountClientId"):
        # What it was issued is of no session: enabled again, it would have all of it back.
        raise Misconfigured(
            f"user {at.user} is the service account of client {printable(str(client))}: write that client's id",
            field=f"principals.{who}.places.{name}.user",
        )
    return target, user, signed_in


async def _out(target: Target, said: tuple[Finding, ...], world: World) -> Verdict:
    """Try every token of a user that is held, beside what the administration says of it."""
    tokens = list(held(world, target.name, target.system.removeprefix(f"{SORT}/")))
    asked = await asyncio.gather(*(dead(one, realm_of(target, world), seen=False) for one in tokens))
    # It decides nothing: the user is what the plan is about.
    untried = _finding(target, _OUT, say("not tried: no token of {a} is held", a=target.name), Answer.UNKNOWN)
    return verdict(asked, said, () if tokens else (untried,))


def _is_ours(user: Fields, client: str) -> bool:
    """Return whether a user is a client's service account: Keycloak writes its name in lower case."""
    named = (("serviceAccountClientId", client), ("username", f"service-account-{client}"))
    return any(str(user.get(field)).casefold() == name.casefold() for field, name in named)


_OUT: Final = say("the provider turns it away as invalid")


_WANTED: Final = {
    True: say("the user is enabled"),
    False: say("the user is disabled, and has no session"),
    None: say("the user has no session"),
}


async def _administrator(target: Target, world: World, *, enabled: bool | None) -> tuple[Finding, ...]:
    """Ask the administration how a user stands, and whether anything lives on of its sessions.

    Args:
        target: the user.
        world: the connections.
        enabled: whether it ought to be; either is well if None.
    """
    realm = realm_of(target, world)
    asked_as = f"administrator {realm.settings.client}"
    expected = _WANTED[enabled]
    try:
        user, sessions = await asyncio.gather(realm.user(target.id), realm.sessions(target.id))
    except SoarError as exc:
        return (_finding(target, expected, str(exc), Answer.UNKNOWN, asked_as),)
    is_, count = user["enabled"], len(sessions)
    holds = is_ is True if enabled else enabled in {None, is_} and not sessions
    state = say("enabled, {a} sessions", a=count) if is_ else say("disabled, {a} sessions", a=count)
    return (_finding(target, expected, state, Answer.ESTABLISHED if holds else Answer.NOT_ESTABLISHED, asked_as),)


class ReplaceSecret(Action):
    """Gives a client that acts for itself another secret, and has no token count that it was issued before.

    With the secret that is known nobody is issued a token any more; the new one stays at the provider, where its owner
    takes it from. Replaced alone, what was issued before would go on until it ends.

    Args:
        principal: the client, as the inventory names it.
        system: in which realm; in the one that it is in if None.
    """

    name: ClassVar[str] = "keycloak.replace_secret"
    radius: ClassVar[Radius] = Radius.PRINCIPAL
    takes: ClassVar[str] = "secret"
    permissions: ClassVar[tuple[str, ...]] = ("role view-clients", "role manage-clients")
    irreversible: ClassVar[Irreversible | None] = Irreversible(
        because=say("the secret that was replaced is not taken again; whatever used it needs the new one")
    )
    timeout: ClassVar[float] = 10.0

    principal: Name
    system: Slug | None = None

    @override
    async def plan(self, world: World) -> Plan:
        name, at = place_of(self.principal, self.system, world)
        if at.client is None or not at.for_itself:
            # Everybody who signs in there has tokens of that client, and comes by its secret.
            raise Unneeded(
                say(
                    "{a} is a user of provider {b}, and no client that has a secret of its own",
                    a=self.principal,
                    b=name,
                )
            )
        if at.secret is None:
            field = f"principals.{self.principal}.places.{name}.secret"
            raise Misconfigured("say where the known secret is", field=field)
        realm = world.reach(Realm, name)
        if at.client == realm.settings.client:
            raise Refused(f"client {at.client} is who mcp-soar comes as at provider {name}: never a target")
        id_ = await realm.client(at.client)
        # By what the inventory calls it and tokens do: so the gate knows whose it is, and ours.
        target = Target(system=f"{SORT}/{name}", kind="client", id=at.client, name=at.client)
        works, outlives = await asyncio.gather(_works(target, world), realm.outlives(id_))
        return self.plan_of(
            summary=say(
                "Replace the secret of {a} ({b}) at provider {c}, and have nothing count that it was issued before",
                a=target,
                b=id_,
                c=name,
            ),
            # First what it would be issued the next one for.
            changes=(
                Change(target=target, field=WORKS, before=works, after=False),
                # What a secret that is replaced lets in for the last time counts, too.
                Change(target=target, field=OUTLIVES, before=works or outlives, after=False),
            ),
            breaks=say(
                "Nobody signs in as {a} until it is given the new secret, which its owner takes from the provider",
                a=target,
            ),
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        works = await _works(change.target, world)
        if change.field == OUTLIVES:
            realm = realm_of(change.target, world)
            return works or await realm.outlives(await realm.client(change.target.id))
        return works

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key
        if change.after is not False:
            raise Refused("the secret that was replaced is not taken again; whatever used it needs the new one")
        realm = realm_of(change.target, world)
        id_ = await realm.client(change.target.id)
        if change.field == OUTLIVES:
            await realm.end_issued(id_)
        # Once more, and what its owner was given meanwhile would be worthless too.
        elif await _works(change.target, world):
            await realm.replace_secret(id_)

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        (target,) = plan.targets
        expected = say("the provider does not let the client in with the known secret")
        who = str(plan.params["principal"])
        try:
            taken = await realm_of(target, world).takes(_known(target, world))
        except SoarError as exc:
            return Verdict.of((_finding(target, expected, str(exc), Answer.UNKNOWN, who),))
        if taken is None:
            observed, answer = say("it does not say"), Answer.UNKNOWN
        elif taken:
            observed, answer = say("it is let in"), Answer.NOT_ESTABLISHED
        else:
            observed, answer = say("it is turned away"), Answer.ESTABLISHED
        secret_ = _finding(target, expected, observed, answer, who)
        asked = [*await _issued(target, world), *await _tried(target, who, world)]
        # The token that is held may have been worthless before: that says nothing, and decides nothing.
        beside = [one for one in asked if one.check != target.kind and one.answer is Answer.UNKNOWN]
        found = Verdict.of((secret_, *(one for one in asked if one not in beside)))
        return found.model_copy(update={"findings": (*found.findings, *beside)})

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        del world
        (target,) = plan.targets
        observed = say("a secret that was replaced stays so")
        return Verdict.of((_finding(target, "it is taken again", observed, Answer.NOT_ESTABLISHED),))


async def _issued(target: Target, world: World) -> list[Finding]:
    """Ask the administration whether what a client was issued before its secret counts."""
    realm = realm_of(target, world)
    expected, asked_as = (
        say("nothing counts that was issued before its secret"),
        f"administrator {realm.settings.client}",
    )
    try:
        outlives = await realm.outlives(await realm.client(target.id))
    except SoarError as exc:
        return [_finding(target, expected, str(exc), Answer.UNKNOWN, asked_as)]
    if outlives:
        return [
            _finding(
                target,
                expected,
                say("what was issued before its secret still counts"),
                Answer.NOT_ESTABLISHED,
                asked_as,
            )
        ]
    return [_finding(target, expected, say("nothing of before counts"), Answer.ESTABLISHED, asked_as)]


async def _tried(target: Target, who: str, world: World) -> list[Finding]:
    """Try the tokens of a client that are held."""
    realm = realm_of(target, world)
    tokens = held(world, who, realm.name)
    asked = await asyncio.gather(*(dead(one, realm, seen=realm.saw(one.value)) for one in tokens))
    return [finding for one in asked for finding in (*one.decides, *one.beside)]


def _known(target: Target, world: World) -> Credentials:
    """Return a client with the secret that is known of it.

    Raises:
        Misconfigured: the inventory has no such client any more, or no secret of it.
    """
    system = target.system.removeprefix(f"{SORT}/")
    for who, name, at in places(world.inventory, Identity):
        if name == system and at.client == target.name and at.secret is not None:
            field = f"principals.{who}.places.{name}.secret"
            return Credentials(target.name, secret(at.secret, what=field), field)
    raise Misconfigured(f"the known secret of client {target.name} stands nowhere", field=f"systems.{system}")


async def _works(target: Target, world: World) -> bool:
    realm = realm_of(target, world)
    return await realm.secret_of(await realm.client(target.id)) == _known(target, world).secret


def _finding(target: Target, expected: str, observed: str, answer: Answer, asked_as: str = say("nobody")) -> Finding:
    return Finding(
        check=target.kind,
        subject=f"{target.kind} {target.name} ({target.id})",
        asked_as=asked_as,
        expected=expected,
        observed=observed[:20_000],
        answer=answer,
    )


ACTIONS: Final = (DisableUser, SignOut, ReplaceSecret)
