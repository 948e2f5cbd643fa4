"""Our own names: what people of the house wrote, approved or are called. Pure.

Whatever looks like an address is broken up where people read it, so that nothing becomes a link. What is ours stands as
it is: a server called `api.example.com` is looked for under that name. A tool that nobody approved is not ours, nor is
what a server, a principal or a token is called at a gateway: whoever registers it there chooses that, and
`mcp-soar inventory import` writes it down as titles, aliases, users and labels.
"""

import re
from collections.abc import Callable, Collection
from functools import lru_cache

from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind
from playbooks.record.state import Incident
from playbooks.text.escaping import Escape

FILES = frozenset(
    f"{name}.yaml" for name in ("mcp-soar", "policy", "inventory", "pins", "people", "sources", "contacts")
)
"""The configuration's."""

_GUIDES = (
    *("README", "add-a-system", "architecture", "connect-a-gateway", "connect-a-siem", "connect-an-identity-provider"),
    *("contain-on-kubernetes",),
    *("evidence", "how-it-works", "people", "production", "screening", "what-is-automatic", "write-a-playbook"),
)
GUIDES = frozenset(f"docs/{name}.md" for name in _GUIDES)
"""What people are told to read."""

_FILE = re.compile(r"[A-Za-z0-9_-]{1,100}\.(json|jsonl|txt|log|diff|bin|gz)")
"""An exhibit's file whose name holds nothing that somebody else could have made look like a host's."""

_APPROVED = frozenset({PinKind.TOOL, PinKind.PROMPT})
"""What of a server has a name; a resource has an address, which stays broken up."""


_GOES_ON = "?:#&=%@\\+~!$*;\u3002"
"""What makes a longer address of a name when more stands right behind it: `name?next=x`, `name:443`, `name@host`."""


def of_inventory(inventory: Inventory) -> frozenset[str]:
    """Return what people call things by in an inventory, or approved, as names; and what we tell them to look into."""
    found = {*inventory.systems, *inventory.servers, *inventory.principals, *GUIDES}
    held = (f"principals.{who}.places.{at}.held" for who, one in inventory.principals.items() for at in one.accounts)
    # What earlier releases wrote has the other one.
    found |= {*held, *(f"principals.{name}.held" for name in inventory.principals)}
    for name, server in inventory.servers.items():
        found |= {server.owner, *server.tools}
        for pin in inventory.pins.of(name):
            found |= {pin.name, pin.gateway_name or ""} if pin.kind in _APPROVED else set()
    return frozenset(found - {""})


def of_incident(state: Incident) -> frozenset[str]:
    """Return the servers that an incident is about, its actions and files, and who signed for something in it."""
    steps, leases = state.steps.values(), state.leases.values()
    people = {state.requested_by, state.assigned_to}
    people |= {wish.by for wish in state.wishes} | {note.by for note in state.notes}
    people |= {step.requested_by for step in steps} | {name for step in steps for name in step.approved_by}
    people |= {lease.released_by for lease in leases} | {*state.chosen.values()}
    files = (file["name"] for item in state.exhibits for file in item["files"])
    found = {*state.servers, *state.bundles, *(name for name in files if _FILE.fullmatch(name))}
    return frozenset(found | {step.action for step in steps if step.action} | {name for name in people if name})


def kept(names: Collection[str], escape: Escape, bare: Escape) -> Callable[[str], str]:
    """Return what puts our own names back as they are into text that was made fit to be read.

    Args:
        names: ours.
        escape: what made the text fit.
        bare: the same without breaking up what looks like an address.
    """
    return _kept(frozenset(names), escape, bare)


@lru_cache(maxsize=64)
def _kept(names: frozenset[str], escape: Escape, bare: Escape) -> Callable[[str], str]:
    own = {escape(name): bare(name) for name in names}
    own = {shown: name for shown, name in own.items() if shown != name}
    if not own:
        return str
    longest = sorted(own, key=len, reverse=True)
    # Only a whole name: in `weather[.]json[.]example` it is somebody else's. Nor does a path make an address of it, but
    # in a step's name: `cut-tool@api.example.com/forecast`.
    any_of = "|".join(map(re.escape, longest))
    more = "|".join([re.escape(escape("a.bc")[1:-2]), rf"{_written('.', escape)}(?=\w)"])
    # What goes on at once; a sentence goes on after a space.
    goes_on = "|".join(_written(character, escape) for character in _GOES_ON)
    # A particle of Korean stands at the word; it makes another name of nothing.
    end = rf"(?![^\W\uac00-\ud7a3]|-|{more}|(?:{goes_on})(?=\S))"
    pattern = re.compile(rf"(?<=@)(?:{any_of}){end}|(?<![\w.\]@-])(?:{any_of})(?!\\?/){end}")
    return lambda text: pattern.sub(lambda one: own[one[0]], text)


def _written(character: str, escape: Escape) -> str:
    return re.escape(escape(f"a{character}b")[1:-1])
