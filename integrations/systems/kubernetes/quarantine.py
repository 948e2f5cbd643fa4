"""Shuts a server's pods off from the network, both ways, and leaves them running: by NetworkPolicies.

Policies only add up, so that one which denies is worth nothing beside one which allows. First comes a policy of ours
that isolates the workload's pods and allows nothing; then every policy of the namespace that allows them anything is
made to leave them out, by one requirement more in its selector. Both go by the workload's own selector, which never
changes: whatever pods its controller makes in the place of others are shut off from their first packet, nothing of the
workload itself is touched, and so no pod is replaced for it. (A label on pods would be missing on the next ones; one on
the template would replace every pod at once, with its memory and its log.)

Where the cluster has policies of other kinds, which can deny, one of ours of each of them denies too: see `denials`.
"""

import asyncio
import itertools
from collections.abc import Iterable
from functools import partial
from typing import ClassVar, Final, NamedTuple

from pydantic import JsonValue
from typing_extensions import override

from integrations.systems.kubernetes import Workload, denials, exclusion, isolation
from integrations.systems.kubernetes.actions import api_of
from integrations.systems.kubernetes.client import NAMES, Api
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.own import Own
from integrations.systems.kubernetes.policies import as_sent, denying, excluded, requirements
from integrations.systems.kubernetes.workload import Found, OfServer, groups, placed, same
from playbooks.action import World
from playbooks.errors import SoarError
from playbooks.gate.plan import Answer, Change, Finding, Plan, Verdict, Widening
from playbooks.text.sentences import made_of, say

DENY: Final = "deny-policy"
OURS: Final = Own("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies", "quarantine")


class Quarantine(OfServer):
    """Shuts a server's pods off from the network in both directions, and leaves them running.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.quarantine"
    takes: ClassVar[str] = "network"
    permissions: ClassVar[tuple[str, ...]] = (*exclusion.PERMISSIONS, *denials.PERMISSIONS)
    # A claim that was just taken outlasts it: to renew it would cost a write to disk before the first effect.
    timeout: ClassVar[float] = 25.0

    @override
    async def plan(self, world: World) -> Plan:
        planned = await asyncio.gather(
            *(_planned(cluster, at, self.server, world) for cluster, at in placed(self.server, self.system, world))
        )
        changes = tuple(itertools.chain.from_iterable(one.changes for one in planned))
        named = ", ".join(f"{one.found.target} at cluster {one.found.cluster}" for one in planned)
        others = ", ".join(str(one.target) for one in changes if one.target.kind == exclusion.POLICY)
        kept = sorted(itertools.chain.from_iterable(one.kept for one in planned))
        unread = sorted(set().union(*(one.unread for one in planned)))
        breaks = say("Nobody reaches {a}, and it reaches nobody; its pods go on running", a=self.server)
        if kept:
            breaks = say(
                "Nobody reaches {a}, and it reaches nobody, but by what {b} allows: no one label tells its pods from"
                " others there; its pods go on running",
                a=self.server,
                b=", ".join(kept),
            )
        if unread:
            breaks = made_of(
                breaks,
                lambda id_: f"{id_}. Policies of {{d}} are not read: what they allow may go on",
                d=", ".join(unread),
            )
        return self.plan_of(
            summary=(
                say("Quarantine {a}, and have {b} leave it out", a=named, b=others)
                if others
                else say("Quarantine {a}", a=named)
            ),
            changes=changes,
            breaks=breaks,
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        # What is asked for: in force as a whole, or gone as a whole.
        wanted: JsonValue = change.after if change.after is not None else change.before
        if change.target.kind == exclusion.POLICY:
            return await exclusion.read(change, world)
        if change.field in denials.FIELDS:
            return await denials.read(change, world)
        there = await OURS.there(change.target, world)
        if there is None:
            await same(change.target, world)
            return None
        if change.after is None:
            return wanted
        return wanted if as_sent(there["spec"]) == as_sent(exclusion.raw(wanted)) else None

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        if change.target.kind == exclusion.POLICY:
            await exclusion.write(change, world)
        elif change.field in denials.FIELDS:
            await denials.write(change, world)
        elif change.after is None:
            await OURS.take_away(change.target, world)
        else:
            await same(change.target, world)
            await OURS.put(change.target, exclusion.raw(change.after), world)

    @override
    @classmethod
    def inverse(cls, plan: Plan) -> Plan:
        # What others allow comes back first, while ours still shuts it off: there is no moment without either.
        summary = say("Lift the quarantine: {a}", a=", ".join(map(str, plan.targets)))
        return plan.inverse().model_copy(update={"summary": summary})

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        looks = await asyncio.gather(*(_look(one, plan, world) for one in plan.changes if one.field == DENY))
        denied = await asyncio.gather(
            *(denials.look(one, world) for one in plan.changes if one.field in denials.FIELDS)
        )
        findings = (*itertools.chain.from_iterable(found for found, _ in looks), *denied)
        return Verdict.of(findings, tuple(itertools.chain.from_iterable(more for _, more in looks)))

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return Verdict.of(tuple(await asyncio.gather(*(_back(change, world) for change in plan.changes))))


class _Planned(NamedTuple):
    """What is planned for one workload.

    Args:
        found: it.
        changes: what shuts it off.
        kept: the NetworkPolicies that go on letting something through.
        unread: what else may allow something, and is neither read nor denied.
    """

    found: Found
    changes: list[Change]
    kept: list[str]
    unread: set[str]


async def _planned(cluster: str, at: Workload, server: str, world: World) -> _Planned:
    api = world.reach(Api, cluster)
    # All that is to be known is asked for at once: every round more is a round later.
    one, there = await asyncio.gather(exclusion.around(cluster, at, server, world, pods_as=NAMES), groups(api))
    target, wanted = one.found.target, denying(one.selector)
    present, unread = OURS.among(one.policies, target), exclusion.unread_of(there)
    kinds = await denials.served(api, there)
    denied, without = await denials.planned(kinds, target, at.namespace, one.selector, world)
    inside = present is not None and as_sent(present["spec"]) == as_sent(wanted)
    ours = Change(target=target, field=DENY, before=wanted if inside else None, after=wanted)
    changes, kept = exclusion.leaving_out(one)
    left = {*without, *(unread - denials.beaten(denied))}
    return _Planned(one.found, [ours, *denied, *changes], kept, left)


async def _look(change: Change, plan: Plan, world: World) -> tuple[list[Finding], list[Widening]]:
    """Ask what is in force about one workload, and then the network itself."""
    target, wanted, says = change.target, exclusion.raw(change.after), isolation.of_policies(change.target)
    try:
        says = partial(says, asked_as=say("administrator {a}", a=await api_of(target, world).who()))
        one = await exclusion.seen(OURS, target, wanted["podSelector"], says, world)
    except SoarError as exc:
        return [says(str(exc), Answer.UNKNOWN)], []
    if one.ours is None or as_sent(one.ours["spec"]) != as_sent(wanted):
        return [says(say("ours is not there"), Answer.NOT_ESTABLISHED)], []
    if any(exclusion.through(one, plan)):
        return exclusion.through(one, plan)
    unread = one.unread - denials.beaten(plan.changes)
    none = say("no NetworkPolicy does; those of {a} are not read", a=", ".join(sorted(unread)))
    network = await isolation.tried(one.scene, one.ours, one.policies, world)
    return [says(none if unread else say("none does"), Answer.ESTABLISHED), *network], []


async def held(kind: str, id_: str, field: str, found: Iterable[Found], world: World) -> JsonValue:
    """Return a field that a quarantine changes, as it is now: False where nothing is changed, None if that is gone.

    Args:
        kind: of the object.
        id_: which.
        field: as a plan's change calls it.
        found: the workloads of its cluster.
        world: the connections.
    """
    for one in found:
        selector = one.raw["spec"]["selector"]
        if kind != exclusion.POLICY and one.uid == id_:
            change = Change(target=one.target, field=field, before=None, after=denying(selector))
            return await Quarantine.read(change, world) or False
        if kind == exclusion.POLICY and field == exclusion.field_of(one.uid):
            for policy in await exclusion.policies_of(world.reach(Api, one.cluster), one.at.namespace):
                if policy["metadata"]["uid"] == id_:
                    asked = (each.negated.raw for each in requirements(selector))
                    return next((what for what in asked if excluded(policy, what)), False)
    return None


async def _back(change: Change, world: World) -> Finding:
    """Ask whether what was shut off is not shut off by us any more."""
    target = change.target
    says = partial(finding, "policies", target, say("nothing of ours shuts it off"))
    try:
        says = partial(says, asked_as=say("administrator {a}", a=await api_of(target, world).who()))
        present = await Quarantine.read(change.inverse(), world)
    except SoarError as exc:
        return says(str(exc), Answer.UNKNOWN)
    if present is None or change.before is not None:
        return says(say("nothing does"), Answer.ESTABLISHED)
    return says(say("ours still does"), Answer.NOT_ESTABLISHED)


ACTIONS: Final = (Quarantine,)
