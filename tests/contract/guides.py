"""Writes what is known elsewhere: which class runs which step, in the guides; the roles of an account on a cluster.

Run it after a change of a playbook or of a step's permissions: `python -m tests.contract.guides`.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from flows.cli.work.classes import ONLY
from integrations.registry import SYSTEMS
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.kubernetes.rights import CHECKPOINT, NAME, PROBES, REVERTERS, WIDE, role
from integrations.systems.litellm.driver import LiteLLM
from integrations.systems.mcp_manager_gateway.driver import ManagerGateway
from playbooks.action import Action
from playbooks.playbook import shipped

DOCS = Path(__file__).parents[2] / "docs"
MANIFESTS = Path(__file__).parents[2] / "integrations" / "systems" / "kubernetes" / "manifests"
ROLES_FILE = MANIFESTS / "account" / "roles.yaml"
PLACES = {
    "contain-on-kubernetes.md": ("kubernetes",),
    "connect-an-identity-provider.md": ("oidc", "keycloak", "ssf"),
    "deny-tokens.md": ("denylist",),
}
"""Guides, and the kinds of systems whose steps they tell of."""

_MADE = "# What the steps declare: written by `python -m tests.contract.guides`.\n"
ACTIONS_FILE = DOCS / "actions.md"
AS_A_CLIENT = "asked as a client, under every name and door: listing, call, and a control call that works"
NOTHING = "nothing of its own"
_ACTIONS = """\
# Every action

What each does is in the guide of its system, and [which class runs it](../README.md#what-each-class-does) in README.
*Unknown* never counts as contained. A release is proven, too. Written by `python -m tests.contract.guides`.

"""
ROLES = (NAME, PROBES, REVERTERS, WIDE, CHECKPOINT)


def classes(kinds: tuple[str, ...]) -> str:
    """Return which class runs which step of some kinds of systems, and when, as a table in Markdown."""
    lines = ["| Step | Runs in |", "|---|---|"]
    for name in dict.fromkeys(step.name for kind in kinds for step in SYSTEMS.works[kind].steps):
        runs = [
            f"`{incident_class}` ({phase}{ONLY[step.when]})"
            for incident_class, book in shipped().items()
            for phase, step in book.steps()
            if name in {step.action, step.capture, step.check}
        ]
        lines.append(f"| `{name}` | {', '.join(dict.fromkeys(runs)) or 'no playbook that ships'} |")
    return "\n".join(lines)


def actions() -> str:
    """Return every action with its undo, its proof and what it takes, as a page in Markdown."""
    proofs = {name: row for guide in PLACES for name, row in _proofs((DOCS / guide).read_text(encoding="utf-8"))}
    lines = ["| Action | A release gives back | It destroys | Proven by | Takes |", "|---|---|---|---|---|"]
    for name, step in sorted(SYSTEMS.steps.items()):
        if not issubclass(step, Action):
            continue
        back = f"nothing: {step.irreversible.because}" if step.irreversible else "each field, as it was"
        proof = AS_A_CLIENT if name.startswith("gateway.") else proofs[name]
        takes = "<br>".join(_gateways(name) or _permissions(step.permissions) or [NOTHING])
        lines.append(f"| `{name}` | {back} | {', '.join(step.destroys) or 'nothing'} | {proof} | {takes} |")
    return _ACTIONS + "\n".join(lines) + "\n"


def _proofs(guide: str) -> Iterator[tuple[str, str]]:
    """Yield each step of a guide's table with what the column says that proves it."""
    column, before = None, ""
    for line in guide.splitlines():
        cells = [one.strip() for one in line.strip("|").split(" | ")] if line.startswith("|") else []
        if "Proven by" in cells:
            column = cells.index("Proven by")
        elif not cells:
            column = None
        elif column is not None and cells[0].strip().startswith("`") and len(cells) > column:
            before = before if cells[column] == "likewise" else cells[column]
            yield cells[0].strip().strip("`"), before


def _gateways(name: str) -> list[str]:
    """Return what a step takes at each product of a gateway."""
    drivers = (ContextForge, LiteLLM, ManagerGateway)
    return [f"{one.product}: {', '.join(one.rights[name].needs) or NOTHING}" for one in drivers if name in one.rights]


def _permissions(written: Iterable[str]) -> list[str]:
    """Return permissions, what is done to one thing in one line."""
    verbs: dict[str, list[str]] = {}
    for one in written:
        verb, _, what = one.partition(" ")
        verbs.setdefault(what, []).append(verb)
    return [f"{', '.join(dict.fromkeys(some))} {what}" for what, some in verbs.items()]


def roles() -> str:
    """Return the roles of our account, as a file that `kubectl apply` takes."""
    return _MADE + "\n---\n".join(_role(role(name)) for name in ROLES) + "\n"


def _role(one: dict[str, Any]) -> str:
    head = [f"{key}: {one[key]}" for key in ("apiVersion", "kind")]
    head += ["metadata:", f"  name: {one['metadata']['name']}", "  labels: {app.kubernetes.io/managed-by: mcp-soar}"]
    keys = ("apiGroups", "resources", "verbs")
    rules = [f"- {{{', '.join(f'{key}: {json.dumps(rule[key])}' for key in keys)}}}" for rule in one["rules"]]
    return "\n".join([*head, "rules:", *rules])


PARTS: dict[str, Callable[[tuple[str, ...]], str]] = {"steps by class": classes}
"""What stands between two marks of a guide, by their name."""


def written(guide: str) -> str:
    """Return a guide as it has to be."""
    text = (DOCS / guide).read_text(encoding="utf-8")
    for name, part in PARTS.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        if found:
            text = f"{before}{begin}\n{part(PLACES[guide])}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    for guide in PLACES:
        (DOCS / guide).write_text(written(guide), encoding="utf-8")
    ACTIONS_FILE.write_text(actions(), encoding="utf-8")
    ROLES_FILE.write_text(roles(), encoding="utf-8")
