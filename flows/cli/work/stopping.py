"""`stop` and `resume`: the kill switch, and what it stops."""

import asyncio

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import NotFound, Out, Usage
from flows.cli.work import records
from flows.cli.work.asking import Person, carry, finish
from flows.settings import Configuration
from integrations.journal.store import Journal
from playbooks import naming
from playbooks.request import Verb


def stop(out: Out, config: Configuration, who: Person, *, scope: str, reason: str) -> Exit:
    """Turn a kill switch on."""

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            where = await _scope(journal, config, scope)
            act = await carry(out, journal, who, verb=Verb.STOP, subject=where, reason=reason)
            act["incident"] = None
            if act["state"] == "done":
                running = [row for row in await journal.streams(records.PREFIX, open_only=True) if row.owner]
                names = ", ".join(row.name.removeprefix(records.PREFIX) for row in running[:10])
                act["message"] = f"no new effect begins for {where}. Evidence, notices and a person's release go on"
                act["message"] += (
                    f". A responder has these in hand, one call of each may still end: {names}" if names else ""
                )
            return act

    return finish(out, config, asyncio.run(work()))


def resume(out: Out, config: Configuration, who: Person, *, scope: str, reason: str) -> Exit:
    """Ask for a kill switch to be turned off; two people have to."""

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            where = await _scope(journal, config, scope)
            act = await carry(out, journal, who, verb=Verb.RESUME, subject=where, reason=reason)
            act["incident"] = None
            if act["state"] == "done":
                if any(one.scope == where for one in await journal.stops()):
                    act["state"] = "waiting"
                    act["message"] = "a second person is needed: it stays stopped until another approver runs"
                    act["answer"] = records.command(config, "resume", where, "--as", "NAME")
                else:
                    act["message"] = f"{where} goes on"
            return act

    return finish(out, config, asyncio.run(work()))


async def _scope(journal: Journal, config: Configuration, given: str) -> str:
    """Return a scope with its incident's id written out; the responder judges the rest."""
    kind, colon, name = given.partition(":")
    if kind == "incident" and name:
        return f"incident:{await records.find(journal, name)}"
    if given == "everything":
        return given
    if kind == "server" and colon and name not in config.inventory.servers:
        raise NotFound(f"the inventory has no server {name}; {naming.near(name, config.inventory.servers)}")
    if kind == "class" and colon and name not in {known.value for known in config.playbooks}:
        raise NotFound(f"there is no playbook for a class {name}; there is {', '.join(sorted(config.playbooks))}")
    if kind in {"server", "class"} and name:
        return given
    raise Usage("write a scope: everything, class:NAME, server:NAME or incident:ID")
