"""What may be probed: of a server what its owner agreed to, and the address ranges that are our own.

Without a word of it in inventory.yaml nothing is probed. A probe asks as a stranger would; it runs no tool.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from playbooks.estate.systems import Secret, Url
from playbooks.strict import Digest, Line, Name, Slug, Strict

MOST: Final = 65_536
"""Addresses times ports of all ranges together: what one run asks, at a bounded rate."""

_KEYS: Final = {"OKP": {"crv", "x"}, "EC": {"crv", "x", "y"}, "RSA": {"n", "e"}}
"""What a public key of each type has."""

_PLAIN: Final = r"^/[!-~]{0,199}$"


class SignIn(Strict):
    """A client of a server's authorization server, for the requests there that a good one refuses.

    Args:
        client: its id there.
        redirect: an address that it is registered with; whether PKCE can be left out is asked with it.
    """

    client: Name
    redirect: Url | None = None


class TrialClient(Strict):
    """A client that is there for nothing but probing: a server that is asked sees its tokens.

    Args:
        provider: the system that issues them, by its name here.
        client: its id there; it may come with its secret alone (client credentials), and do nothing anywhere.
        secret: the client's.
        expired: a token of it that has ended.
    """

    provider: Slug
    client: Name
    secret: Secret
    expired: Secret | None = None


class Manifest(Strict):
    """Where a server has its signed list of tools, and who may sign it.

    Args:
        path: at its own host.
        keys: public keys, as JSON Web Keys (RFC 7517).
    """

    path: Annotated[str, Field(pattern=_PLAIN)] = "/.well-known/mcp-tools.jws"
    keys: Annotated[tuple[dict[Name, Line], ...], Field(min_length=1, max_length=5)]

    @field_validator("keys")
    @classmethod
    def _are_public(cls, value: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
        for one in value:
            if lacking := sorted(_KEYS.get(one.get("kty", ""), {"kty: OKP, EC or RSA"}) - one.keys()):
                message = f"a public key has {', '.join(lacking)} (RFC 7517); this one does not"
                raise ValueError(message)
            if "d" in one:
                message = "this is a private key: write its public half, and see who has read this one"
                raise ValueError(message)
        return value


class Probed(Strict):
    """What the owner of a server agreed to.

    Args:
        agreed: who agreed, and when.
        open: it is meant to answer whoever asks; otherwise, that it does is a finding.
        tls: the oldest version that it may take.
        certificate: SHA-256 of its certificate (DER); also trusted where no public authority vouches for it.
        calls: of how many calls within some seconds it must turn one away; not tried without.
        sign_in: a client at its authorization server.
        manifest: its signed list of tools.
        canary: a client whose tokens it must refuse, where they are for somebody else or have ended.
    """

    agreed: Line
    open: bool = False
    tls: Literal["1.2", "1.3"] = "1.2"
    certificate: Digest | None = None
    calls: Annotated[int, Field(ge=2, le=1000)] | None = None
    sign_in: SignIn | None = None
    manifest: Manifest | None = None
    canary: TrialClient | None = None


class OwnRange(Strict):
    """Addresses that are ours, to be looked through for MCP servers that nobody listed.

    Args:
        cidr: as 10.0.5.0/24.
        agreed: who answers for them agreed, and when.
        ports: that are tried.
        paths: at which a server is sought.
        public: it is one on the internet, and still ours: without this word only private addresses are asked.
    """

    cidr: Line
    agreed: Line
    ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65_535)], ...], Field(min_length=1, max_length=100)]
    paths: Annotated[tuple[Annotated[str, Field(pattern=_PLAIN)], ...], Field(min_length=1, max_length=5)] = (
        "/mcp",
        "/sse",
    )
    public: bool = False

    @field_validator("cidr")
    @classmethod
    def _is_one(cls, value: str) -> str:
        try:
            ip_network(value)
        except ValueError as exc:
            message = f"{value} is no range of addresses: write it as 10.0.5.0/24 ({exc})"
            raise ValueError(message) from exc
        return value

    @model_validator(mode="after")
    def _is_ours(self) -> Self:
        network = self.network
        if network.is_multicast:
            message = f"cidr: nobody has a server at {self.cidr}"
            raise ValueError(message)
        if not network.is_private and not self.public:
            message = f"cidr: {self.cidr} is not private; if all of it is yours, say so with `public: true`"
            raise ValueError(message)
        return self

    @property
    def network(self) -> IPv4Network | IPv6Network:
        """The addresses."""
        return ip_network(self.cidr)

    @property
    def size(self) -> int:
        """Addresses times ports."""
        return self.network.num_addresses * len(self.ports)
