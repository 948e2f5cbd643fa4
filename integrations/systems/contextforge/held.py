"""A tool, prompt or resource as ContextForge holds it, and which of its fields mean nothing."""

import marshal
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

from integrations.catalogue import Names
from integrations.gateways.administration import Fields
from integrations.hostile import own_name, printable
from playbooks.estate.pins import PinKind
from playbooks.strict import fingerprint

VOLATILE: Final[Mapping[str, str]] = {
    "updatedAt": "every write moves it, the restoring one included",
    "updated_at": "as updatedAt, where the gateway writes snake case",
    "version": "counts writes; a restore is one more write",
    "modifiedBy": "who wrote last: after a restore that is us",
    "modifiedFromIp": "from where the last write came",
    "modifiedVia": "by which interface the last write came",
    "modifiedUserAgent": "which client wrote last",
    "lastSeen": "the health checker sets it at each contact",
    "lastRefreshAt": "the gateway sets it whenever it reads its upstream",
    "reachable": "the health checker sets it, each minute",
    "lastError": "text of the last failed contact",
    "nextRetryAt": "the gateway's own schedule",
    "lifecycleClaimedBy": "which worker of the gateway looks after it now",
    "lifecycleClaimedAt": "as lifecycleClaimedBy",
    "lifecycleClaimExpiresAt": "as lifecycleClaimedBy",
    "metrics": "call counters; our own probes move them",
    "executionCount": "a call counter; our own probes move it",
    "last_used": "a token's last use; our canary uses its own at each verification",
    "last_login": "a user's last sign-in; ours moves at each login",
    "failed_login_attempts": "a counter of sign-ins",
}
"""Fields of a gateway's objects that change without anybody deciding it, each with its reason."""

_AS_CLIENTS_SEE: Final = {
    PinKind.TOOL: ("title", "description", "inputSchema", "outputSchema", "annotations"),
    PinKind.PROMPT: ("title", "description", "arguments"),
    PinKind.RESOURCE: ("title", "description", "mimeType", "uriTemplate", "annotations"),
}
# Beside what clients see: the name that it gives out, the text that the upstream gave last, and where calls go.
_ALSO_HELD: Final = ("name", "originalDescription", "url")

_SHOWN: Final = ("id", "uri", "name", "originalName", "customName", "customNameSlug", "displayName")


@dataclass(frozen=True)
class Held:
    """A tool, prompt or resource as the gateway holds it.

    Args:
        kind: tool, prompt or resource.
        fields: the gateway's own answer.
    """

    kind: PinKind
    fields: Fields

    @property
    def id(self) -> str:
        """Its immutable id."""
        return str(self.fields["id"])

    @property
    def name(self) -> str:
        """Its name at the server (a resource's URI) as it is shown; two objects of a server never share one."""
        return own_name(self.names.original)

    @property
    def offered_as(self) -> str:
        """The name under which clients get it, as the gateway writes it."""
        return str(self.fields["uri" if self.kind is PinKind.RESOURCE else "name"])

    @property
    def names(self) -> Names:
        """Both names, for asking."""
        return Names(self.offered_as, str(self.fields["uri" if self.kind is PinKind.RESOURCE else "originalName"]))

    @cached_property
    def shown_as(self) -> frozenset[str]:
        """Every name by which people see it there: the one it was given, its server's, the one offered, and its id."""
        shown = (self.fields.get(field) for field in _SHOWN)
        return frozenset({self.name, *(printable(name) for name in shown if isinstance(name, str))})

    @property
    def entry(self) -> str | None:
        """The id of the gateway's entry that it belongs to."""
        return self.fields.get("gatewayId")

    @property
    def enabled(self) -> bool:
        """Whether the gateway lets clients use it."""
        return bool(self.fields["enabled"])

    @property
    def definition(self) -> dict[str, Any]:
        """Its definition in the form in which the server would give it, for a diff with the approved one."""
        name = {"uri": self.fields["uri"]} if self.kind is PinKind.RESOURCE else {}
        name["name"] = self.fields.get("originalName") or self.fields["name"]
        return {**name, **{key: self.fields.get(key) for key in _AS_CLIENTS_SEE[self.kind]}}

    @cached_property
    def digest(self) -> str:
        """Of everything that decides what clients get and where their calls go."""
        return _digest({**self.definition, "held": {key: self.fields.get(key) for key in _ALSO_HELD}})


_MOST_KNOWN: Final = 20_000
"""Forms of things of which the digest is kept; a gateway that shows more is one whose things change all the time."""
_known: dict[bytes, str] = {}


def _digest(form: dict[str, Any]) -> str:
    # A list of everything is read again and again, and nearly nothing in it changes. Equality would not do: to Python
    # `true` is 1, and to whoever reads a schema it is not.
    try:
        same = sha256(marshal.dumps(form, 2)).digest()
    except ValueError:  # nested too deep for that
        return fingerprint(form).digest
    if (known := _known.get(same)) is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        known = _known[same] = fingerprint(form).digest
    return known
