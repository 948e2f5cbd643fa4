"""`stop` and `resume`: the kill switch, and what it stops."""

from flows.cli import schema
from flows.cli.output import NotFound, Out, Usage
from flows.cli.work import records
from flows.cli.work.asking import Person, acting, carry
from flows.reading import streams
from flows.service.settings import Configuration
from integrations.journal.store import Journal
from playbooks.estate import naming
from playbooks.people.request import Verb
from playbooks.record.journal import INCIDENT


@acting
async def stop(out: Out, journal: Journal, who: Person, *, scope: str, reason: str) -> schema.Act:
    """Turn a kill switch on."""
    where = await _scope(journal, who.config, scope)
    act = await carry(out, journal, who, verb=Verb.STOP, subject=where, reason=reason)
    act["incident"] = None
    if act["state"] == "done":
        running = [row for row in await journal.streams(INCIDENT, open_only=True) if row.owner]
        names = ", ".join(row.name.removeprefix(INCIDENT) for row in running[:10])
        act["message"] = f"no new effect begins for {where}. Evidence, notices and a person's release go on"
        act["message"] += f". A responder has these in hand, one call of each may still end: {names}" if names else ""
    return act


@acting
async def resume(out: Out, journal: Journal, who: Person, *, scope: str, reason: str) -> schema.Act:
    """Ask for a kill switch to be turned off; two people have to."""
    where = await _scope(journal, who.config, scope)
    act = await carry(out, journal, who, verb=Verb.RESUME, subject=where, reason=reason)
    act["incident"] = None
    if act["state"] == "done":
        if any(one.scope == where for one in await journal.stops()):
            act["state"] = "waiting"
            act["message"] = "a second person is needed: it stays stopped until another approver runs"
            act["answer"] = records.command(who.config, "resume", where, "--as", "NAME")
        else:
            act["message"] = f"{where} goes on"
    return act


async def _scope(journal: Journal, config: Configuration, given: str) -> str:
    """Return a scope with its incident's id written out; the responder judges the rest."""
    kind, colon, name = given.partition(":")
    if kind == "incident" and name:
        return f"incident:{await streams.find(journal, name)}"
    if given == "everything":
        return given
    if kind == "server" and colon and name not in config.inventory.servers:
        raise NotFound(f"the inventory has no server {name}; {naming.near(name, config.inventory.servers)}")
    if kind == "class" and colon and name not in {known.value for known in config.playbooks}:
        raise NotFound(f"there is no playbook for a class {name}; there is {', '.join(sorted(config.playbooks))}")
    if kind in {"server", "class"} and name:
        return given
    raise Usage("write a scope: everything, class:NAME, server:NAME or incident:ID")
