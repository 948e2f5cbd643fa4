"""A server behind an mcp-manager-gateway: how it is reached, and what of it is withheld.

What a server is configured to withhold, the gateway forgets: then only the name is known, and no definition.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from integrations.gateways.administration import Fields
from integrations.gateways.named import Named, strings
from playbooks.estate.pins import PinKind

KINDS: Final = {PinKind.TOOL: "tools", PinKind.PROMPT: "prompts", PinKind.RESOURCE: "resources"}


@dataclass(frozen=True)
class Service:
    """A server behind the gateway.

    Args:
        fields: the gateway's own answer.
    """

    fields: Fields

    @property
    def id(self) -> str:
        """Its immutable id."""
        return str(self.fields["id"])

    @property
    def slug(self) -> str:
        """What its tools' names begin with for clients."""
        return str(self.fields.get("slug"))

    @property
    def enabled(self) -> bool | str:
        """Whether clients may use it: False, or whether it is kept running for them (`eager`) or not (`lazy`)."""
        mode = self.fields.get("mode")
        return False if mode == "disabled" else mode if isinstance(mode, str) else True

    @property
    def config(self) -> dict[str, Any]:
        """How it is reached and what of it is withheld; secrets are masked, and survive being sent back so."""
        config = self.fields.get("config")
        return dict(config) if isinstance(config, dict) else {}

    @property
    def listed(self) -> tuple[str, ...]:
        """Names in its list of disabled tools; some may stand for nothing."""
        return strings(self.config.get("disabled_tools"))

    @property
    def withheld(self) -> tuple[str, ...]:
        """Names of tools that its configuration keeps clients from, and nobody can look up any more."""
        noted = self.config.get("tools")
        return (*self.listed, *(noted if isinstance(noted, dict) else ()))

    @property
    def under_way(self) -> int:
        """How many calls of it are under way."""
        running = self.fields.get("runtime")
        counts = [one.get("in_flight") for one in running if isinstance(one, dict)] if isinstance(running, list) else []
        return sum(count for count in counts if isinstance(count, int))

    def lets(self, tool: str) -> bool:
        """Return whether it lets clients use a tool, as far as its configuration goes (`transports.py`)."""
        config = self.config
        allowed, noted = config.get("enabled_tools"), config.get("tools")
        one = noted.get(tool) if isinstance(noted, dict) else None
        off = isinstance(one, dict) and one.get("enabled") is False
        return not off and tool not in self.listed and (allowed is None or tool in strings(allowed))

    def held(self, kind: PinKind, name: str, *, enabled: bool, fields: Mapping[str, Any] | None = None) -> Named:
        """Return something of it, as the gateway holds it.

        Args:
            kind: tool, prompt or resource.
            name: its name at the server; a resource's URI.
            enabled: whether clients may use it.
            fields: its definition, where it is told.
        """
        offered = f"mcp-manager://{self.id}/{name}" if kind is PinKind.RESOURCE else f"{self.slug}__{name}"
        return Named(kind, self.id, name, offered, enabled, self.config.get("url"), fields or {})
