"""What tells a receiver that somebody's sessions were revoked, so that it ends those that it keeps itself."""

import time
from typing import ClassVar, Final

from pydantic import JsonValue
from typing_extensions import override

from integrations.places import only_place, places
from integrations.systems.ssf import KIND, USER, Subject
from integrations.systems.ssf.client import Listener
from playbooks.action import Action, World
from playbooks.errors import Drifted, Refused, SoarError
from playbooks.gate.plan import Answer, Change, Finding, Irreversible, Plan, Radius, Target, Verdict
from playbooks.strict import Name, Slug, iso
from playbooks.text.sentences import say

FIELD: Final = "told"
_NEWS: Final = 60.0
"""Seconds for which the same is no news. A session that begins in between is told of with the next one."""


class TellSessionRevoked(Action):
    """Tells a receiver of security events that all sessions of a principal were revoked (CAEP session-revoked).

    It comes after whatever revokes them: who can still sign in does so anew. What the receiver then does is its own.

    Args:
        principal: whose, as the inventory names it.
        system: which receiver; the one that it has a place on if None.
    """

    name: ClassVar[str] = "ssf.tell_session_revoked"
    radius: ClassVar[Radius] = Radius.PRINCIPAL
    takes: ClassVar[str] = "sessions elsewhere"
    permissions: ClassVar[tuple[str, ...]] = (
        "url: push events of the type session-revoked, each once more to see that it is there",
        "folder: write it",
    )
    irreversible: ClassVar[Irreversible | None] = Irreversible(
        because=say("what was told stays told; whose session ended signs in anew")
    )
    timeout: ClassVar[float] = 10.0

    principal: Name
    system: Slug | None = None

    @override
    async def plan(self, world: World) -> Plan:
        none, several = "no receiver of security events knows it", "several receivers know it; name one"
        name, at = only_place(world.inventory, Subject, self.principal, self.system, none=none, several=several)
        there = world.reach(Listener, name)
        if at.id in there.settings.spared:
            raise Refused(f"{at.id} is who mcp-soar comes as: never a target")
        # Before anybody is asked: what is wrong with them would be found when it is too late.
        await there.signer()
        await there.token()
        target = Target(system=f"{KIND}/{name}", kind=USER, id=at.id, name=self.principal)
        change = Change(target=target, field=FIELD, before=False, after=True)
        return self.plan_of(
            summary=say("Tell receiver {a} that all sessions of {b} ({c}) were revoked", a=name, b=target, c=at.id),
            changes=(change.model_copy(update={"before": await self.read(change, world)}),),
            breaks=say("Whatever listens at {a} may end the sessions of {b} there", a=name, b=self.principal),
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        there, at = _at(change.target, world)
        told = await there.told(at)
        return told is not None and told.taken is not None and time.time() - told.taken < _NEWS

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        if change.after is not True:
            raise Refused("what was told stays told; whose session ended signs in anew")
        there, at = _at(change.target, world)
        await there.tell(at, key)

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        (target,) = plan.targets
        there, at = _at(target, world)
        try:
            told = await there.told(at)
            if told is None:
                never = say("it never said that it has such an event")
                return Verdict.of((_has_it(target, there, never, Answer.NOT_ESTABLISHED),))
            await there.again(told)
        except SoarError as exc:
            # It said once that it has it: what it says no to now may be our key of today.
            return Verdict.of((_has_it(target, there, str(exc), Answer.UNKNOWN),))
        observed = say("presented once more, it takes event {a} of {b}", a=told.jti, b=iso(told.moment))
        verdict = Verdict.of((_has_it(target, there, observed, Answer.ESTABLISHED),))
        # It decides nothing: nobody but whoever runs it can say.
        ended = Finding(
            check="sessions",
            subject=_subject(target),
            asked_as=say("nobody"),
            expected=say("its sessions there have ended"),
            observed=say("not asked: 202 says that the event arrived, not that it is kept, or that any session ended"),
            answer=Answer.UNKNOWN,
            remedy=f"ask whoever runs receiver {there.name} for event {told.jti}",
        )
        return verdict.model_copy(update={"findings": (*verdict.findings, ended)})

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        (target,) = plan.targets
        there, _ = _at(target, world)
        return Verdict.of((_has_it(target, there, say("what was told stays told"), Answer.NOT_ESTABLISHED),))


def _at(target: Target, world: World) -> tuple[Listener, Subject]:
    """Return the receiver that a plan means, and whom it is told of.

    Raises:
        Drifted: the inventory has nobody of that place any more, or somebody else.
    """
    name = target.system.removeprefix(f"{KIND}/")
    for who, where, at in places(world.inventory, Subject):
        if (who, where, at.id) == (target.name, name, target.id):
            return world.reach(Listener, name), at
    raise Drifted(f"the inventory has no {target} any more")


def _subject(target: Target) -> str:
    return f"{target.kind} {target.name} ({target.id})"


def _has_it(target: Target, there: Listener, observed: str, answer: Answer) -> Finding:
    # By its own word: nobody but the receiver knows what it has.
    return Finding(
        check=FIELD,
        subject=_subject(target),
        asked_as=f"administrator {there.name}",
        expected=say("it has the event"),
        observed=observed[:20_000],
        answer=answer,
    )


ACTIONS: Final = (TellSessionRevoked,)
