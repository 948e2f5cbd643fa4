"""`close`: how an incident ends, said and shown before it does."""

from flows.cli import schema
from flows.cli.output import Out, Usage
from flows.cli.work import questions
from flows.cli.work.asking import Person, acting, allowed, carry
from flows.engine import joining
from flows.reading import streams
from integrations.journal.store import Journal
from playbooks.people.request import Verb
from playbooks.strict import Json

WAYS = ("resolved", "false-positive", "duplicate")
"""How an incident can be closed."""


def ending(who: str | None, how: str, of: str | None) -> dict[str, Json]:
    """Return what the end of an incident is asked for with.

    Args:
        who: asks for it.
        how: one of `WAYS`.
        of: of which other incident it is a duplicate.

    Raises:
        Usage: with what would be right.
    """
    if how not in WAYS:
        raise Usage(f"--outcome {how}: write one of {', '.join(WAYS)}")
    if who in WAYS:
        raise Usage(f"--as says who you are; how it ends is said with --outcome {who}")
    if (of is not None) is not (how == "duplicate"):
        raise Usage("--of says of which incident it is a duplicate: write it with --outcome duplicate, and only then")
    return {"as": how} if of is None else {"as": how, "of": of}


@acting
async def close(
    out: Out, journal: Journal, who: Person, *, incident: str, params: dict[str, Json], reason: str
) -> schema.Act | None:
    """Close an incident for good, once the person says yes.

    Args:
        out: for what is shown.
        journal: of the installation.
        who: the person.
        incident: which.
        params: how it ends, as `ending` returns it.
        reason: why.
    """
    name = await streams.find(journal, incident)
    await allowed(journal, who, Verb.CLOSE)
    state = await streams.load(journal, name)
    wanted, how = dict(params), str(params["as"])
    if "of" in wanted:
        wanted["of"] = await streams.find(journal, str(wanted["of"]))
        how = f"{how} of {wanted['of']}"
    parts = [await streams.load(journal, part) for part in state.parts]
    # What is handed in for later may find it given back by then.
    if (why := joining.in_force([state, *parts])) and who.wait > 0 and not who.prints:
        raise why
    out.say(f"{name} ({state.incident_class}, {state.status}): {state.title}", "head")
    out.say(f"It is closed for good as {how}; a new alert about it opens a new incident, linked to it.")
    if to := state.part_of:
        out.say(f"{name} was joined to {to}: only {name} is closed here. `mcp-soar close {to}` closes both")
    if not questions.agreed(out, f"Close it as {who.name}?", does="closes", yes=who.yes):
        return None
    return await carry(out, journal, who, verb=Verb.CLOSE, subject=name, reason=reason, params=wanted)
