"""`close`: how an incident ends, said and shown before it does."""

import asyncio

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work import questions, records
from flows.cli.work.asking import Person, allowed, carry, finish
from flows.settings import Configuration
from playbooks.request import Verb
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


def close(out: Out, config: Configuration, who: Person, *, incident: str, params: dict[str, Json], reason: str) -> Exit:
    """Close an incident for good, once the person says yes.

    Args:
        out: for what is shown.
        config: the installation.
        who: the person.
        incident: which.
        params: how it ends, as `ending` returns it.
        reason: why.
    """
    out.aside = who.prints

    async def work() -> schema.Act | None:
        async with records.opened(config) as journal:
            name = await records.find(journal, incident)
            await allowed(journal, who, Verb.CLOSE)
            state = await records.load(journal, name)
            wanted, how = dict(params), str(params["as"])
            if "of" in wanted:
                wanted["of"] = await records.find(journal, str(wanted["of"]))
                how = f"{how} of {wanted['of']}"
            out.say(f"{name} ({state.incident_class}, {state.status}): {state.title}", "head")
            out.say(f"It is closed for good as {how}; a new alert about it opens a new incident, linked to it.")
            if to := state.part_of:
                out.say(f"{name} was joined to {to}: only {name} is closed here. `mcp-soar close {to}` closes both")
            if held := [key for key, lease in state.leases.items() if lease.open]:
                out.say(f"Still in force, so it is refused until that is given back: {', '.join(held)}", "warn")
            if not questions.agreed(out, f"Close it as {who.name}?", does="closes", yes=who.yes):
                return None
            return await carry(out, journal, who, verb=Verb.CLOSE, subject=name, reason=reason, params=wanted)

    return finish(out, config, asyncio.run(work()))
