"""What clients have again after a release, and what of that nobody approved."""

import asyncio
from collections.abc import Mapping

from integrations.catalogue import Held
from integrations.gateways.exposure import compared
from integrations.gateways.scene import MOST_CALLED, Scene, as_beside
from playbooks.action import World
from playbooks.errors import SoarError
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer, Finding, Plan, Target, Unapproved, Verdict
from playbooks.text.sentences import say


async def released(plan: Plan, world: World) -> Verdict:
    """Ask whether clients can use again what a plan took away, and whether it is what was approved.

    Args:
        plan: the plan that took it away.
        world: the connections.
    """
    scene = Scene(plan, world)
    kinds = sorted({PinKind(target.kind) for target in scene.targets})
    try:
        catalog, lists = await asyncio.gather(
            scene.driver.catalog(scene.entry), asyncio.gather(*(scene.canary.names(kind) for kind in kinds))
        )
    except SoarError as exc:
        return Verdict.of((scene.finding("list", scene.server, "clients find it in the list", str(exc)),))
    by_id = {held.id: held for held in catalog}
    names = dict(zip(kinds, lists, strict=True))
    back = {change.target.id for change in plan.changes if change.before is True}
    if len(plan.changes) == 1 and scene.whole and plan.changes[0].before is not False:
        # Each has its own flag still, which nobody touched.
        back = {target.id for target in scene.targets if target.id not in by_id or by_id[target.id].enabled}
    taken = [target for target in scene.targets if target.id in back]
    left = [target for target in scene.targets if target.id not in back]
    findings = [
        _found_again(scene, target, by_id, names, back=True) if target.id in by_id else _not_there(scene, target)
        for target in taken
    ]
    findings += [_found_again(scene, target, by_id, names, back=False) for target in left]
    findings += [_as_approved(scene, by_id[target.id]) for target in taken if target.id in by_id]
    present = [target for target in taken if target.id in by_id]
    findings += await asyncio.gather(
        *(_reach(scene, target, by_id[target.id]) for target in present[: MOST_CALLED if scene.whole else None])
    )
    # What came meanwhile has to be approved like anything else.
    exposure, widen = compared(scene, catalog, names, scene.unapproved)
    return Verdict.of((*findings, exposure.model_copy(update={"of_approval": True})), widen)


def _found_again(
    scene: Scene, target: Target, catalog: dict[str, Held], names: Mapping[PinKind, frozenset[str]], *, back: bool
) -> Finding:
    name = scene.offered_as(target, catalog)
    listed = name in names[PinKind(target.kind)]
    expected = "clients find it in the list" if back else "it is disabled, as it was before"
    observed = say("listed") if listed else say("not listed")
    answer = Answer.ESTABLISHED if listed is back else Answer.NOT_ESTABLISHED
    return scene.finding("list", str(target), expected, observed, answer)


def _not_there(scene: Scene, target: Target) -> Finding:
    # Whatever has its name by now is another object: it is not what was taken away.
    expected, observed = "clients find it in the list", f"the gateway holds nothing of the id {target.id} any more"
    return scene.finding("list", str(target), expected, observed, Answer.NOT_ESTABLISHED)


def _as_approved(scene: Scene, held: Held) -> Finding:
    pin, same = scene.pins.find(scene.server, held.kind, held.name), scene.is_approved(held)
    observed = say("the same") if same else say("another") if pin else say("never approved")
    answer = Answer.ESTABLISHED if same else Answer.NOT_ESTABLISHED
    found = scene.finding("definition", f"{held.kind} {held.name}", say("the approved definition"), observed, answer)
    return found.model_copy(update={"of_approval": True})


async def _reach(scene: Scene, target: Target, held: Held) -> Finding:
    kind = PinKind(target.kind)
    arguments = scene.arguments(kind, target.name, held.definition)
    if arguments is not None:
        return await scene.canary.call(kind, held.offered_as, arguments, refused=False)
    # Its schema rejects nothing, so that a call would run it: whether the gateway finds it again is asked all the same.
    return await scene.canary.finds(held.offered_as)


async def unapproved(release: Plan, world: World) -> Unapproved:
    """Return what is not what people approved of what clients get back by a release, and of what they have beside it.

    Args:
        release: the plan that restores what was there.
        world: the connections.
    """
    scene = Scene(release, world)
    ours = {target.id for target in scene.targets}
    back = {change.target.id for change in release.changes if change.after is True}
    imported = {(kind, name) for kind, name, _ in scene.imported}
    other = [held for held in await scene.driver.catalog(scene.entry) if not scene.is_approved(held)]
    # What came, and was imported by nobody, its server's own comparison names.
    came = [held for held in other if held.enabled and held.id not in ours and (held.kind, held.name) in imported]
    return Unapproved(
        back=tuple(scene.as_given_back(held) for held in other if held.id in back),
        beside=tuple(as_beside(held) for held in came if scene.unapproved(held)),
        remedy=scene.driver.rereads(scene.entry),
    )
