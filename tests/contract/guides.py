"""Writes what is known elsewhere: which class runs which step, in the guides; the roles of an account on a cluster.

Run it after a change of a playbook or of a step's permissions: `python -m tests.contract.guides`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.cli.work.classes import ONLY
from integrations.registry import SYSTEMS
from integrations.systems.kubernetes.rights import CHECKPOINT, NAME, PROBES, REVERTERS, WIDE, role
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
    ROLES_FILE.write_text(roles(), encoding="utf-8")
