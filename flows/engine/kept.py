"""What of a release stays as it is, because others hold it too; the strictest of them is in force."""

from flows.engine import calls
from flows.engine.case import Case
from integrations.journal.store import Tx
from playbooks.gate.plan import Change, Plan
from playbooks.record.step import stays_off

Kept = dict[str, list[str]]
"""The grips of a release that others hold → those incidents, its own among them if another of its leases does."""


async def as_before(tx: Tx, case: Case, instance: str, whole: Plan) -> tuple[Plan, Kept]:
    """Return what of a release is given back while others hold some of it, and which grips are held by whom.

    The strictest of those that remain stays in force.
    """
    kept: Kept = {}
    changes: list[Change] = []
    action = calls.action_of(case, whole)
    for change in whole.changes:
        others = [h for h in await tx.holds(grip=change.grip) if (h.incident, h.lease) != (case.id, instance)]
        if others:
            kept[change.grip] = list(dict.fromkeys(hold.incident for hold in others))
            wishes = [change.model_copy(update={"after": hold.after}) for hold in others]
            strictest = next((w.after for w in wishes if all(action.holds(o, w.after) for o in wishes)), change.before)
            ours = change.model_copy(update={"after": change.before})
            # Ours was the strictest: what the others want is less, and is enough now.
            loosened = not action.holds(ours, strictest) and action.holds(wishes[0], change.before)
            changes.append(change.model_copy(update={"after": strictest if loosened else change.before}))
        else:
            changes.append(change)
    # What stays contained comes right after the first: giving that back (a gateway's entry) may have freed it.
    first, *rest = changes
    rest.sort(key=lambda change: change.grip not in kept)
    return whole.model_copy(update={"changes": (first, *rest)}), kept


def comes_later(case: Case, plan: Plan, kept: Kept) -> tuple[str, ...]:
    """Return why nobody is asked about a release, as a reason; nothing if people are.

    What other leases of the same incident hold comes back with those, and they ask what this one would. Another
    incident's release may ask less: there whoever accepts that a definition differs is asked here.
    """
    if plan.pending or not kept or any(holders != [case.id] for holders in kept.values()):
        return ()
    return ("nothing comes back by it: another cut of this incident holds it too",)


def stays(case: Case, plan: Plan, kept: Kept) -> tuple[str, ...]:
    """Return what of a release does not come back, and because of whom, a line for each of those."""
    found: dict[str, list[str]] = {}
    for change in plan.changes:
        for holder in kept.get(change.grip, ()):
            who = "another cut of this incident" if holder == case.id else holder
            found.setdefault(who, []).append(str(change.target))
    return tuple(stays_off(list(dict.fromkeys(things)), (who,)) for who, things in found.items())


async def want_back(tx: Tx, case: Case, instance: str, plan: Plan) -> None:
    """From here on a grip is wanted as it was: whoever wants to take it now waits until that is done."""
    for change in plan.changes:
        if change.pending:
            await tx.hold(
                change.grip,
                incident=case.id,
                lease=instance,
                server=change.target.server or "",
                before=change.before,
                after=change.after,
            )
