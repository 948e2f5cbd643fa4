"""How a deny list is reached, what can be put on it, and what `doctor` looks at."""

from collections.abc import AsyncIterator, Iterator
from typing import Final

from integrations.places import places
from integrations.system import Connection, Holders, Looked, Works
from integrations.systems.denylist import DenyList, Subject
from integrations.systems.denylist.actions import ACTIONS, held, is_theirs
from integrations.systems.denylist.client import Denied
from integrations.systems.denylist.entries import asking
from playbooks.action import World
from playbooks.errors import Misconfigured, SoarError
from playbooks.estate.inventory import Inventory


def _settings(inventory: Inventory, name: str) -> DenyList | None:
    found = inventory.systems.get(name)
    return found if isinstance(found, DenyList) else None


def _made(inventory: Inventory, name: str) -> Denied:
    found = _settings(inventory, name)
    if found is None:
        raise Misconfigured(f"the inventory has no deny list {name!r}")
    return Denied(name, found)


async def _looked(world: World, name: str) -> AsyncIterator[Looked]:
    check, there = f"deny list {name}", world.reach(Denied, name)
    listed = await there.read()
    # Nobody is called that: it is asked as a token is, and which list answers is compared.
    served = await there.asked(asking(iss="mcp-soar doctor", sub="nobody", iat=0))
    if served != listed.mark:
        remedy = f"have whoever serves it read {there.settings.file}, which responders write"
        yield Looked(check, "fail", f"what {there.settings.url} serves is another list than ours", remedy)
    else:
        yield Looked(check, "ok", f"{there.settings.url} serves it, {len(listed.entries.denied)} entries")
    for who, where, at in places(world.inventory, Subject):
        if where != name:
            continue
        place = f"principals.{who}.places.{name}"
        if at.resource is None:
            remedy = f"name in {place}.resource where its tokens are used"
            yield Looked(check, "warn", f"whether any server asks the list about {who} is not known", remedy)
        try:
            for one in held(who, name, at):
                is_theirs(one, at, there)
                ended = one.ended(0.0)
                said = f"the token {who}/{one.label} is theirs" + (", and has ended" if ended else "")
                lacks = one.id is None
                said += ", and has no id (jti): it is denied with its principal only" if lacks else ""
                remedy = "put the present one in its place" if ended else ""
                yield Looked(check, "warn" if ended or lacks else "ok", said, remedy)
        except SoarError as exc:
            yield Looked(check, "fail", str(exc), f"mend {place}")


def _doctor(world: World, holders: Holders) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
    del holders  # an entry is there for an incident's sake, and is no fault
    names = [name for name in world.inventory.systems if _settings(world.inventory, name)]
    yield from ((f"deny list {name}", _looked(world, name)) for name in names)


WORKS: Final = Works(steps=ACTIONS, connections={Denied: Connection(_made, _settings)}, doctor=_doctor)
