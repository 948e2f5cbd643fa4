"""What people approved: definitions of tools, prompts and resources, by digest, each with who signed for it."""

from enum import StrEnum
from functools import cached_property
from typing import Literal

from pydantic import (
    Field,
)

from playbooks.people.request import SignedRequest
from playbooks.strict import Digest, JsonField, Line, Moment, Name, Slug, Strict

Risk = Literal["low", "medium", "high"]
"""What something can do at worst, in its reviewers' view."""


class PinKind(StrEnum):
    """What of a server can be pinned."""

    TOOL = "tool"
    PROMPT = "prompt"
    RESOURCE = "resource"
    INSTRUCTIONS = "instructions"


class SignOff(Strict):
    """One reviewer's yes to a pin."""

    role: Slug
    by: Name
    at: Moment


class Dossier(Strict):
    """Why a definition was approved.

    Args:
        reviewed: what was looked at.
        risk: the reviewers' view of the tool's risk.
        sign_offs: who agreed, in which role.
    """

    reviewed: Line
    risk: Risk = "medium"
    sign_offs: tuple[SignOff, ...] = ()


class Pin(Strict):
    """One approved definition.

    Args:
        kind: tool, prompt, resource or instructions.
        name: its name at the server (a resource's URI).
        digest: of the definition as the server gives it.
        definition: the approved definition itself, for the diff.
        gateway_id: its immutable id at the gateway, if it stands there.
        gateway_name: the name under which the gateway offers it to clients.
        gateway_digest: of the definition as the gateway holds it.
        dossier: why it was approved.
    """

    kind: PinKind
    name: Name
    digest: Digest
    definition: dict[str, JsonField]
    gateway_id: Name | None = None
    gateway_name: Name | None = None
    gateway_digest: Digest | None = None
    dossier: Dossier


class Pins(Strict):
    """Every approved definition, by server.

    Args:
        version: of this format.
        servers: the definitions.
        reviews: what people signed for them; it counts once a responder has journalled it.
    """

    version: Literal[1] = 1
    servers: dict[Slug, tuple[Pin, ...]] = Field(default_factory=dict)
    reviews: tuple[SignedRequest, ...] = ()

    def of(self, server: str, kind: PinKind | None = None) -> tuple[Pin, ...]:
        """Return a server's pins, all or of one kind."""
        return tuple(pin for pin in self.servers.get(server, ()) if kind is None or pin.kind is kind)

    @cached_property
    def offered(self) -> dict[tuple[PinKind, str], tuple[str, Pin] | None]:
        """What a gateway offers under a name, with its server; None where the name could mean another one as well."""
        found: dict[tuple[PinKind, str], tuple[str, Pin] | None] = {}
        for server, pins in self.servers.items():
            for pin in pins:
                for name in {pin.name, pin.gateway_name} - {None}:
                    key = (pin.kind, str(name))
                    found[key] = None if key in found else (server, pin) if name == pin.gateway_name else None
        return found

    def find(self, server: str, kind: PinKind, name: str) -> Pin | None:
        """Return the pin of one definition, or None."""
        return next((pin for pin in self.of(server, kind) if pin.name == name), None)

    @cached_property
    def tool_names(self) -> frozenset[str]:
        """What the approved tools of all servers are called, there and at their gateways."""
        tools = (pin for pins in self.servers.values() for pin in pins if pin.kind is PinKind.TOOL)
        return frozenset(name for pin in tools for name in (pin.name, pin.gateway_name) if name)
