"""What a gateway holds whose tools have names and no ids: an id here is the server's, which never changes, and a name.

Nothing of a tool that is withheld may be known but its name: then it has no definition.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from integrations.catalogue import Names
from integrations.hostile import own_name, printable
from playbooks.estate.pins import PinKind
from playbooks.strict import fingerprint

_AS_CLIENTS_SEE: Final = {
    PinKind.TOOL: ("title", "description", "inputSchema", "outputSchema", "annotations"),
    PinKind.PROMPT: ("title", "description", "arguments"),
    PinKind.RESOURCE: ("title", "description", "mimeType", "annotations"),
}


@dataclass(frozen=True)
class Named:
    """A tool, prompt or resource as the gateway holds it.

    Args:
        kind: tool, prompt or resource.
        entry: the id of its server there.
        original: its name at the server; a resource's URI.
        offered_as: the name under which clients get it.
        enabled: whether the gateway lets clients use it.
        url: where calls of it go.
        fields: its definition; empty where the gateway does not say.
    """

    kind: PinKind
    entry: str
    original: str
    offered_as: str
    enabled: bool
    url: object = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its server's id, and its name."""
        return f"{self.entry}:{self.original}"

    @property
    def name(self) -> str:
        """Its name at the server as it is shown."""
        return own_name(self.original)

    @property
    def names(self) -> Names:
        """Both names, for asking."""
        return Names(self.offered_as, self.original)

    @property
    def shown_as(self) -> frozenset[str]:
        """Every name by which people see it there."""
        return frozenset({self.name, printable(self.offered_as), printable(self.id)})

    @property
    def definition(self) -> dict[str, Any]:
        """Its definition in the form in which the server would give it; less than that where it is withheld."""
        name = {"uri": self.original} if self.kind is PinKind.RESOURCE else {}
        name["name"] = self.fields.get("name") or self.original
        return {**name, **{key: self.fields.get(key) for key in _AS_CLIENTS_SEE[self.kind]}}

    @cached_property
    def digest(self) -> str:
        """Of everything that decides what clients get and where their calls go; nothing's where it is withheld."""
        where = {"name": self.offered_as, "url": self.url}
        return fingerprint({**self.definition, "held": {**where, "known": bool(self.fields)}}).digest


def strings(value: object) -> tuple[str, ...]:
    """Return the texts of a list; none if it is no list."""
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def moment_of(value: object) -> datetime | None:
    """Return a time as a gateway writes it, in UTC where it names no zone; None if it is none."""
    with suppress(ValueError, TypeError):
        at = datetime.fromisoformat(value)  # type: ignore[arg-type]  # whatever it is
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return None
