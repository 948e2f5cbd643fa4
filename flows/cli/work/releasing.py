"""`release`: what would come back and what not, because of whom, is shown before it is given back."""

from collections.abc import Collection, Sequence

from flows.cli import schema
from flows.cli.output import BACK, NotFound, Nothing, Out
from flows.cli.work import questions, records, spelled
from flows.cli.work.asking import Effect, Look, Person, acting, allowed, carry
from flows.reading import streams
from flows.service.settings import Configuration
from integrations.journal.store import Journal
from playbooks.action import Action
from playbooks.errors import SoarError
from playbooks.gate.plan import Beside, undoing
from playbooks.gate.policy import CHANGED
from playbooks.people.request import Verb
from playbooks.record.campaign import ACCEPTED
from playbooks.record.given_back import NAMED, named
from playbooks.record.projection import SAME
from playbooks.record.state import Incident
from playbooks.record.step import LeaseState, Progress, StepState, stays_off
from playbooks.strict import Json


@acting
async def release(
    out: Out, journal: Journal, who: Person, *, incident: str, lease: str | None, accept_changed: bool, reason: str
) -> schema.Act | None:
    """Give back what an incident holds."""
    name = await streams.find(journal, incident)
    await allowed(journal, who, Verb.RELEASE)
    state = await streams.load(journal, name)
    parts = [await streams.load(journal, part) for part in state.parts]
    held = [(one, key) for one in (state, *parts) for key, item in one.leases.items() if item.open]
    if not held:
        raise Nothing(BACK, f"nothing of {name} ({state.stands}) is in force{_all_of_it(who.config, state)}")
    if lease is not None and lease not in {key for _, key in held}:
        shown = ", ".join(dict.fromkeys(key for _, key in held))
        raise NotFound(f"{lease} is not in force in {name}; in force: {shown}")
    if state.part_of:
        out.say(f"Only what {name} holds is given back here{_all_of_it(who.config, state)}")
    meant = [(one, key) for one, key in held if lease in {None, key}]
    await show_release(out, who.config, journal, state, meant)
    wanted = [key for one, key in meant if one is state]
    elsewhere = tuple(dict.fromkeys(one.id for one, _ in meant if one is not state))
    params: dict[str, Json] = {"accept_changed": accept_changed}
    if accept_changed:
        out.say("even if a definition is not the approved one any more", "warn")
        found = await unapproved_by(out, who.config, meant)
        params["shown"] = show_unapproved(out, [thing for one in found for thing in one])
    if not questions.agreed(out, f"Give it back as {who.name}?", does="gives back", yes=who.yes):
        return None
    if lease is not None:
        params["lease"] = lease
    return await carry(
        out,
        journal,
        who,
        verb=Verb.RELEASE,
        subject=name,
        reason=reason,
        params=params,
        look=given_back(tuple(wanted), elsewhere),
    )


def _all_of_it(config: Configuration, state: Incident) -> str:
    """Return where all is given back of which an incident is a part; nothing if it is none."""
    if state.part_of is None:
        return ""
    return f"; it was joined to {state.part_of}: `{records.command(config, 'release', state.part_of)}` gives back all"


async def show_release(
    out: Out, config: Configuration, journal: Journal, state: Incident, meant: Sequence[tuple[Incident, str]]
) -> None:
    """Show what would come back, and what would not because of whom.

    Args:
        out: where to.
        config: whose principals are spelled out.
        journal: says who holds what.
        state: the incident that is released.
        meant: each lease, with the incident that has it: that one, or one that goes on in it.
    """
    names = {(one.id, key) for one, key in meant}
    stays = False
    for one, key in meant:
        where = "" if one is state else f" in {one.id}, which goes on here"
        lease = one.leases[key].plan
        does = f"End the watch over: {lease.summary}" if lease.irreversible else undoing(lease.summary)
        out.say(f"{key}{where}: {spelled.of(one, config.inventory)(does)}")
        others = await _held_by_others(journal, one.leases[key], names)
        for change in one.leases[key].plan.undone:
            out.say(others.get(change.grip, change), "warn" if change.grip in others else "", indent=2)
        stays = stays or bool(others)
    if stays:
        out.say("what another one holds comes back when that is released as well", "dim")


async def unapproved_by(
    out: Out, config: Configuration, meant: Sequence[tuple[Incident, str]]
) -> list[Sequence[Beside]]:
    """Return what would come back by each lease as nobody approved it; nothing, and say so, if nobody can say.

    Args:
        out: where to say it.
        config: the configuration.
        meant: each lease, with its incident.
    """
    # What asks a gateway takes long to import.
    from flows.engine.calls import within  # noqa: PLC0415  # only who accepts what is not approved waits for it
    from flows.engine.releasing import restoring  # noqa: PLC0415  # likewise
    from integrations.connections import Connections  # noqa: PLC0415  # likewise

    world = Connections(config.inventory, config.systems)
    found: list[Sequence[Beside]] = []
    try:
        for one, key in meant:
            back: Sequence[Beside] = ()
            action = config.systems.steps.get(one.leases[key].plan.action)
            if isinstance(action, type) and issubclass(action, Action):
                plan = restoring(one.leases[key], action)
                try:
                    back = (await within(action.timeout, action.unapproved(plan, world), f"reading {key}")).back
                except SoarError as exc:
                    out.say(f"what comes back cannot be read here: {exc}; another person is asked about it", "warn")
            found.append(back)
    finally:
        await world.aclose()
    return found


def show_unapproved(out: Out, found: Sequence[Beside], most: int = NAMED) -> list[Json]:
    """Show what would come back as nobody approved it, and return it as it is signed for: nothing else is accepted.

    Args:
        out: where to.
        found: all of it.
        most: that one request accepts.
    """
    lines = named(found[:most])
    for line in lines:
        out.say(line, "warn", indent=2)
    if len(found) > len(lines):
        out.say(f"and {len(found) - len(lines)} more, which another person is asked about", "warn", indent=2)
    return [{"kind": one.kind, "id": one.id, "digest": one.digest} for one in lines.values()]


def returned(out: Out, named: Sequence[tuple[str, str]], unapproved: Sequence[Sequence[Beside]] | None) -> list[Json]:
    """Return what is given back as it is signed for; of what nobody approved, what was shown.

    Args:
        out: where to show it.
        named: each incident, and each lease of it.
        unapproved: of each what nobody approved; None if nothing of that is accepted.
    """
    if unapproved is None:
        return [{"incident": incident, "lease": lease} for incident, lease in named]
    out.say("even if a definition is not the approved one any more", "warn")
    items: list[Json] = []
    room = ACCEPTED
    for (incident, lease), things in zip(named, unapproved, strict=True):
        if things:
            out.say(f"{incident} ({lease}):")
        shown = show_unapproved(out, things, room)
        room -= len(shown)
        items.append({"incident": incident, "lease": lease, "shown": shown})
    return items


async def _held_by_others(journal: Journal, lease: LeaseState, meant: Collection[tuple[str, str]]) -> dict[str, str]:
    """Return what of a lease does not come back, and because of whom: grip → a sentence.

    Args:
        journal: says who holds it.
        lease: what is to be given back.
        meant: incident and name of each lease that is to be given back now.
    """
    found: dict[str, str] = {}
    for change in lease.plan.changes:
        holds = [hold for hold in await journal.holds(grip=change.grip) if (hold.incident, hold.lease) not in meant]
        if who := list(dict.fromkeys(f"{hold.incident} ({hold.lease})" for hold in holds)):
            found[change.grip] = stays_off((str(change.target),), who)
    return found


def given_back(wanted: tuple[str, ...], elsewhere: tuple[str, ...] = ()) -> Look:
    """Return what says whether leases were given back.

    Args:
        wanted: the leases, in the incident that is looked at.
        elsewhere: incidents that go on in it and give back what they hold themselves.
    """

    def look(state: Incident) -> Effect:
        left = [key for key in wanted if state.leases[key].open]
        if not left:
            return _all_back(state, wanted, elsewhere)
        steps = [state.steps[f"release-{key}"] for key in left if f"release-{key}" in state.steps]
        waiting = [step for step in steps if step.progress is Progress.PROPOSED]
        # What was asked before this very request says how it stood then.
        asked = [step for step in waiting if not _asked_earlier(state, step)]
        if asked:
            healed = "; healed meanwhile, it is given back on your word alone, unless somebody denies it"
            alone = healed if CHANGED in asked[0].reasons else ""
            return Effect("waiting", f"it needs another person, for as long as this is so{alone}:", asked[0].reasons)
        if waiting:
            return Effect("pending", f"{waiting[0].instance} waited for another person; it is looked at again")
        failed = [step for step in steps if step.progress in {Progress.FAILED, Progress.RETRYING} and step.message]
        if failed:
            again = ", it is tried again" if failed[0].progress is Progress.RETRYING else ""
            return Effect("pending", f"{failed[0].instance}: {failed[0].message}{again}")
        return Effect("pending", f"releasing {', '.join(left)}")

    return look


def _all_back(state: Incident, wanted: tuple[str, ...], elsewhere: tuple[str, ...]) -> Effect:
    if elsewhere:
        others = ", ".join(elsewhere)
        return Effect(
            "waiting",
            f"what it holds is given back; what {others} holds, there: see `mcp-soar incident {elsewhere[0]}`",
        )
    # What stayed for the sake of another cut of this incident came back with that one.
    leases = [state.leases[key] for key in wanted]
    leases = [one for one in leases if not (one.kept and one.kept_by == (SAME,) and state.given_back)] or leases
    words = list(dict.fromkeys(one.returned for one in leases))
    return Effect("done", f"released: {'; '.join(words)}")


def _asked_earlier(state: Incident, step: StepState) -> bool:
    wish = state.release_wanted(step.instance.removeprefix("release-"))
    return wish is not None and wish.seq > step.asked_seq
