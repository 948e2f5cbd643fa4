"""`campaign`, and one answer to all that it asks: each plan is shown as if it were answered alone, and signed for."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from flows.cli import schema
from flows.cli.output import BACK, WAITS, Nothing, Out, safe
from flows.cli.work import asking, questions, records, spelled
from flows.cli.work.fitness import free
from flows.cli.work.incidents import listed
from flows.cli.work.releasing import returned, show_release, unapproved_by
from flows.reading import campaigns
from flows.reading.campaigns import Campaign, CampaignRow
from flows.service.settings import Configuration
from integrations.journal.store import Journal
from playbooks.errors import Refused
from playbooks.people.request import Verb
from playbooks.record.campaign import MEMBERS, spread
from playbooks.record.state import Incident
from playbooks.record.viewing import ask_of
from playbooks.record.viewing import row as row_of
from playbooks.strict import Json


def listing(out: Out, config: Configuration) -> None:
    """Show the campaigns that have open incidents."""

    async def work() -> list[CampaignRow]:
        async with records.opened(config) as journal:
            return [one.row() for one in await campaigns.listed(journal)]

    rows = asyncio.run(work())
    out.document({"campaigns": rows})
    out.table(
        ("campaign!", "incidents!", "share"),
        [(row["id"], len(row["incidents"]), f"{row['kind']} {safe(row['value'])}") for row in rows],
        empty="no campaigns: nothing was found at several servers",
    )


def show(out: Out, config: Configuration, given: str) -> None:
    """Show a campaign: its incidents, what each asks and holds, and how all of it is answered at once."""

    async def work() -> tuple[Campaign, list[Incident], list[str]]:
        async with records.opened(config) as journal:
            return await campaigns.meant(journal, given)

    one, states, notes = asyncio.run(work())
    line = partial(records.command, config)
    asks = [{"incident": state.id, **ask_of(state, step, line).dump()} for state, step in campaigns.asked(states)]
    held = campaigns.held(states)
    out.document(
        {
            **one.row(),
            "rows": [row_of(state).dump() for state in states],
            "asks": asks,
            "leases": [{"incident": state.id, "lease": key} for state, key in held],
            "notes": notes,
        }
    )
    where = "at several servers" if spread(one.members) else "is no campaign yet: nothing else at another server has it"
    out.say(f"{one.name}  the same {safe(str(one.mark))} {where}", "head")
    spelling = [spelled.of(state, config.inventory) for state in states]
    listed(out, [each.whole(row_of(state)) for each, state in zip(spelling, states, strict=True)], empty="")
    for note in notes:
        out.say(note, "dim")
    for state, step in campaigns.asked(states):
        out.heading(f"{state.id} waits for a decision")
        ask = spelled.of(state, config.inventory).whole(ask_of(state, step))
        out.say(ask.summary)
        questions.show(out, ask, [("digest, of the plan", ask.digest)])
    for does, verb, some in (("All of these", "approve", asks), ("None of these", "deny", asks)):
        if some:
            out.say(f"{does}, in one answer:")
            out.raw("  " + records.command(config, verb, one.name, "--as", "NAME"))
    if held:
        out.say("Give back what all of them hold:")
        out.raw("  " + records.command(config, "release", one.name, "--as", "NAME"))
    if states:
        out.say("Keep what its rules say out for a while, critical alerts aside:")
        more = ("--for", "2h", "--reason", "REASON", "--as", "NAME")
        out.raw("  " + records.command(config, "suppress", one.name, *more))


@asking.acting
async def decide(
    out: Out, journal: Journal, who: asking.Person, *, verb: Verb, campaign: str, reason: str
) -> schema.Act | None:
    """Answer all that a campaign asks; what its person cannot answer is left out, and said."""
    await asking.allowed(journal, who, verb)
    one, states, _ = await campaigns.meant(journal, campaign)
    items: list[Json] = []
    for state, step in campaigns.asked(states):
        try:
            if verb is Verb.APPROVE:
                free(who.config, who.name, step)
        except Refused as exc:
            out.say(f"left out: {state.id} ({step.instance}): {exc}", "warn")
            continue
        if len(items) >= MEMBERS:
            out.say(f"left out: {state.id}: one answer is to at most {MEMBERS} plans", "warn")
            continue
        out.heading(f"{state.id}: {len(items) + 1}")
        ask = ask_of(state, step)
        stopped = await asking.held_up(journal, verb, ask.digest, state)
        questions.decision(out, spelled.of(state, who.config.inventory).whole(ask), verb, stopped=stopped)
        items.append({"incident": state.id, "digest": ask.digest})
    if not items:
        raise Nothing(WAITS, f"{one.name} asks {who.name} for nothing; `mcp-soar campaign {one.name}` shows it")
    what = f"{verb.value.capitalize()} {_count(items, 'plan')} as {who.name}?"
    return await _carry(out, journal, who, one.name, verb, items, reason, what)


@asking.acting
async def release(
    out: Out, journal: Journal, who: asking.Person, *, campaign: str, accept_changed: bool, reason: str
) -> schema.Act | None:
    """Give back what all incidents of a campaign hold."""
    await asking.allowed(journal, who, Verb.RELEASE)
    one, states, _ = await campaigns.meant(journal, campaign)
    held = campaigns.held(states)[:MEMBERS]
    if not held:
        raise Nothing(BACK, f"nothing of {one.name} is in force; `mcp-soar campaign {one.name}` shows it")
    for state in dict.fromkeys(state.id for state, _ in held):
        out.heading(state)
        mine = [(each, key) for each, key in held if each.id == state]
        await show_release(out, who.config, journal, mine[0][0], mine)
    named = [(state.id, key) for state, key in held]
    shown = await unapproved_by(out, who.config, held) if accept_changed else []
    items = returned(out, named, shown if accept_changed else None)
    what = f"Give back {_count(items, 'containment')} as {who.name}?"
    return await _carry(out, journal, who, one.name, Verb.RELEASE, items, reason, what, accept_changed=accept_changed)


def _count(items: Sequence[Json], what: str) -> str:
    return f"the {what}" if len(items) == 1 else f"all {len(items)} {what}s"


async def _carry(  # noqa: PLR0917  # a request's fields
    out: Out,
    journal: Journal,
    who: asking.Person,
    name: str,
    verb: Verb,
    items: list[Json],
    reason: str,
    question: str,
    *,
    accept_changed: bool = False,
) -> schema.Act | None:
    if not questions.agreed(out, question, does=f"answers for {len(items)}", yes=who.yes):
        return None
    before = len((await campaigns.load(journal, name)).answers)
    params: dict[str, Json] = {"items": items, **({"accept_changed": True} if accept_changed else {})}
    act = await asking.carry(out, journal, who, verb=verb, subject=name, reason=reason, params=params)
    if act["state"] == "done":
        body: dict[str, Any] = (await campaigns.load(journal, name)).answers[before].body
        done = ", ".join(dict.fromkeys(str(one["incident"]) for one in body["done"]))
        act["message"] = f"accepted for {done}"
        act["answer"] = records.command(who.config, "campaign", name)
        act["reasons"] = [f"NOT for {what}: {why}" for what, why in body["refused"].items()]
    return act
