"""What a person wants responded to, as they write it: what a playbook is started about, or what is contained itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.cli.output import Usage
from playbooks.chosen import containable
from playbooks.estate.inventory import ON_SERVER
from playbooks.record.incident import Entity, EntityKind
from playbooks.strict import Json
from playbooks.taxonomy import IncidentClass

OFFERED = frozenset(kind.value for kind in ON_SERVER)
"""The words for what a server offers, and what `--server` is therefore for."""


@dataclass(frozen=True)
class Wish:
    """What a person wants responded to.

    Args:
        incident: an open one, to have it tried again, or to contain more in it; None for a new one.
        incident_class: of a new one, as of the taxonomy.
        title: of a new one; made up if None.
        severity: of a new one, as a word.
        reason: why.
        named: what a class's playbook is started about, each a kind, a name, and its server if it is named.
        chosen: the things that are to be contained themselves, as they wrote them.
        only: the systems that they are to be contained at; wherever they have a place if none is said.
    """

    incident: str | None
    incident_class: str | None
    title: str | None
    severity: str
    reason: str
    named: Sequence[tuple[str, str, str | None]] = ()
    chosen: tuple[Entity, ...] = ()
    only: tuple[str, ...] = ()

    def started(self, who: str) -> dict[str, Json]:
        """Return what a playbook is asked for with; nothing for an incident that is open already.

        Args:
            who: asks for it.

        Raises:
            Usage: it says too little, or two things.
        """
        if (self.incident is None) == (self.incident_class is None):
            raise Usage("write either an incident's ID, or --class with what it is about (--server, --tool, ...)")
        if self.incident_class is None:
            if self.named:
                raise Usage("an incident that is open already says what it is about: leave --server, --tool, ... out")
            return {}
        classes = [known.value for known in IncidentClass]
        if self.incident_class not in classes:
            raise Usage(f"{self.incident_class} is no class; write one of {', '.join(classes)}")
        if not self.named:
            raise Usage(
                "say what it is about: --server NAME, --tool NAME, --prompt, --resource, --token or --principal"
            )
        named: list[Json] = [
            {"kind": kind, "name": name, **({"server": home} if home else {})} for kind, name, home in self.named
        ]
        return {
            "class": self.incident_class,
            "severity": self.severity,
            "entities": named,
            "title": self.title or f"started by {who}",
        }

    @property
    def narrowed(self) -> dict[str, Json]:
        """What a request says of where it is to be contained; nothing where that is everywhere."""
        return {"only": list(self.only)} if self.only else {}


def entity(kind: str, name: str, server: str | None = None) -> Entity:
    """Return what somebody wrote as an entity.

    Raises:
        Usage: nothing of that kind can be contained, or the name is none.
    """
    kinds = containable()
    if kind not in kinds:
        raise Usage(f"{kind!r} cannot be contained; write one of {', '.join(kinds)}")
    try:
        return Entity(kind=EntityKind(kind), name=name, server=server)
    except ValueError as exc:
        raise Usage(f"{name!r} is no name: 1 to 200 characters, without control characters") from exc


def choose(words: Sequence[str], server: str | None = None) -> tuple[Entity, ...]:
    """Return what `--about KIND:NAME` names.

    Raises:
        Usage: naming what to write.
    """
    found = []
    for word in words:
        kind, colon, name = word.partition(":")
        if not colon or not name:
            raise Usage(
                f"{word!r}: write --about KIND:NAME, as --about tool:weather/forecast or --about server:weather"
            )
        # A server is not its own home.
        home = server if kind in OFFERED else None
        found.append(entity(kind, name, home))
    return tuple(found)
