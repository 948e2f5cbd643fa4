"""`release`: what would come back and what not, because of whom, is shown before it is given back."""

import asyncio
from collections.abc import Collection, Sequence

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import NotFound, Out
from flows.cli.work import questions, records, spelled
from flows.cli.work.asking import Look, Person, Seen, allowed, carry, finish
from flows.settings import Configuration
from integrations.journal.store import Journal
from playbooks.action import Action
from playbooks.errors import SoarError
from playbooks.given_back import named
from playbooks.plan import Beside
from playbooks.projection import SAME
from playbooks.request import Verb
from playbooks.state import Incident, LeaseState, Progress, StepState
from playbooks.strict import Json


def release(
    out: Out, config: Configuration, who: Person, *, incident: str, lease: str | None, accept_changed: bool, reason: str
) -> Exit:
    """Give back what an incident holds."""
    out.aside = who.prints

    async def work() -> schema.Act | None:
        async with records.opened(config) as journal:
            name = await records.find(journal, incident)
            await allowed(journal, who, Verb.RELEASE)
            state = await records.load(journal, name)
            parts = [await records.load(journal, part) for part in state.parts]
            held = [(one, key) for one in (state, *parts) for key, item in one.leases.items() if item.open]
            if not held:
                raise NotFound(
                    f"nothing of {name} is in force: there is nothing to give back{_all_of_it(config, state)}"
                )
            if lease is not None and lease not in {key for _, key in held}:
                shown = ", ".join(dict.fromkeys(key for _, key in held))
                raise NotFound(f"{lease} is not in force in {name}; in force: {shown}")
            if state.part_of:
                out.say(f"Only what {name} holds is given back here{_all_of_it(config, state)}")
            meant = [(one, key) for one, key in held if lease in {None, key}]
            await _show_release(out, config, journal, state, meant)
            wanted = [key for one, key in meant if one is state]
            elsewhere = tuple(dict.fromkeys(one.id for one, _ in meant if one is not state))
            seen: list[Json] | None = None
            if accept_changed:
                out.say("even if a definition is not the approved one any more", "warn")
                seen = await _show_unapproved(out, config, meant)
            if not questions.agreed(out, f"Give it back as {who.name}?", does="gives back", yes=who.yes):
                return None
            params: dict[str, Json] = {"accept_changed": accept_changed}
            if lease is not None:
                params["lease"] = lease
            if seen is not None:
                params["shown"] = seen
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

    return finish(out, config, asyncio.run(work()))


def _all_of_it(config: Configuration, state: Incident) -> str:
    """Return where all is given back of which an incident is a part; nothing if it is none."""
    if state.part_of is None:
        return ""
    return f"; it was joined to {state.part_of}: `{records.command(config, 'release', state.part_of)}` gives back all"


async def _show_release(
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
        out.say(f"Give back {key}{where}: {spelled.of(one, config.inventory)(one.leases[key].plan.summary)}")
        others = await _held_by_others(journal, one.leases[key], names)
        for change in one.leases[key].plan.undone:
            out.say(others.get(change.grip, change), "warn" if change.grip in others else "", indent=2)
        stays = stays or bool(others)
    if stays:
        out.say("what another one holds comes back when that is released as well", "dim")


async def _show_unapproved(out: Out, config: Configuration, meant: Sequence[tuple[Incident, str]]) -> list[Json] | None:
    """Show what would come back as nobody approved it, and return it as it is signed for; None if nobody can say.

    Args:
        out: where to.
        config: the configuration.
        meant: each lease, with its incident.
    """
    # What asks a gateway takes long to import.
    from flows.engine.calls import within  # noqa: PLC0415  # only who accepts what is not approved waits for it
    from flows.engine.leases import restoring  # noqa: PLC0415  # likewise
    from integrations import registry  # noqa: PLC0415  # likewise
    from integrations.connections import Connections  # noqa: PLC0415  # likewise

    world = Connections(config.inventory)
    found: list[Beside] = []
    try:
        for one, key in meant:
            action = registry.SYSTEMS.steps.get(one.leases[key].plan.action)
            if isinstance(action, type) and issubclass(action, Action):
                plan = restoring(one.leases[key], action)
                found += (await within(action.timeout, action.unapproved(plan, world), f"reading {key}")).back
    except SoarError as exc:
        out.say(f"what comes back cannot be read here: {exc}; what nobody approved of it stays a leak", "warn")
        return None
    finally:
        await world.aclose()
    lines = named(found)
    for line in lines:
        out.say(line, "warn", indent=2)
    if len(found) > len(lines):
        out.say(f"and {len(found) - len(lines)} more, which another person is asked about", "warn", indent=2)
    return [{"kind": one.kind, "id": one.id, "digest": one.digest} for one in lines.values()]


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
        if who := " and ".join(dict.fromkeys(f"{hold.incident} ({hold.lease})" for hold in holds)):
            found[change.grip] = f"{change.target} stays off, because {who} holds it too"
    return found


def given_back(wanted: tuple[str, ...], elsewhere: tuple[str, ...] = ()) -> Look:
    """Return what says whether leases were given back.

    Args:
        wanted: the leases, in the incident that is looked at.
        elsewhere: incidents that go on in it and give back what they hold themselves.
    """

    def look(state: Incident) -> Seen:
        left = [key for key in wanted if state.leases[key].open]
        if not left:
            return _all_back(state, wanted, elsewhere)
        steps = [state.steps[f"release-{key}"] for key in left if f"release-{key}" in state.steps]
        waiting = [step for step in steps if step.progress is Progress.PROPOSED]
        # What was asked before this very request says how it stood then.
        asked = [step for step in waiting if not _asked_earlier(state, step)]
        if asked:
            return Seen("waiting", "it needs another person, because:", asked[0].reasons)
        if waiting:
            return Seen("pending", f"{waiting[0].instance} waited for another person; it is looked at again")
        failed = [step for step in steps if step.progress in {Progress.FAILED, Progress.RETRYING} and step.message]
        if failed:
            again = ", it is tried again" if failed[0].progress is Progress.RETRYING else ""
            return Seen("pending", f"{failed[0].instance}: {failed[0].message}{again}")
        return Seen("pending", f"releasing {', '.join(left)}")

    return look


def _all_back(state: Incident, wanted: tuple[str, ...], elsewhere: tuple[str, ...]) -> Seen:
    if elsewhere:
        others = ", ".join(elsewhere)
        return Seen(
            "waiting",
            f"what it holds is given back; what {others} holds, there: see `mcp-soar incident {elsewhere[0]}`",
        )
    # What stayed for the sake of another cut of this incident came back with that one.
    leases = [state.leases[key] for key in wanted]
    leases = [one for one in leases if not (one.kept and one.kept_by == (SAME,) and state.given_back)] or leases
    words = list(dict.fromkeys(one.staying or one.returned for one in leases))
    return Seen("done", f"released: {'; '.join(words)}")


def _asked_earlier(state: Incident, step: StepState) -> bool:
    wish = state.release_wanted(step.instance.removeprefix("release-"))
    return wish is not None and wish.seq > step.asked_seq
