"""Which MCP servers exist, where each can be touched, and what of each is approved.

People write `inventory.yaml`; `mcp-soar pins approve` writes `pins.yaml`. What an alert names is looked up here before
anything is done to it, and what is not found here is never guessed at.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from typing_extensions import override

from playbooks.incident import Entity, EntityKind
from playbooks.request import SignedRequest
from playbooks.strict import Digest, JsonField, Line, Moment, Name, Seconds, Slug, Strict
from playbooks.systems import AnyPlace, AnySettings, SystemSettings, placed

Url = Annotated[str, Field(pattern=r"^https?://[^\s@]+$", max_length=2000)]
"""An http or https address without credentials in it."""


class Secret(Strict):
    """Where a secret is found: an environment variable or a file. Its value never stands in a configuration file."""

    env: Name | None = None
    file: Line | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.file is None):
            message = "write exactly one of `env: VARIABLE` or `file: path`"
            raise ValueError(message)
        return self


class Criticality(IntEnum):
    """What it costs when it is away."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


def _criticality(value: object) -> object:
    return Criticality[value.upper()] if isinstance(value, str) and value.upper() in Criticality.__members__ else value


class Environment(StrEnum):
    """Where it runs."""

    DEV = "dev"
    TEST = "test"
    PROD = "prod"


DataKind = Literal["personal", "health", "payment", "secret"]
"""A kind of data whose loss somebody has to be told of."""


class Canary(Strict):
    """A principal of ours with the grants that an ordinary client has, used to ask whether something is reachable.

    Args:
        principal: what it is called in findings.
        token: its bearer token for the gateway's client side.
        url: the MCP address that clients use.
    """

    principal: Name
    token: Secret
    url: Url


class Gateway(SystemSettings):
    """An MCP gateway that we may act on.

    Args:
        kind: which product it is.
        url: its administration address.
        user: the administrator that we sign in as.
        password: that user's password.
        canary: who asks for us on the client side.
        credential_ids: ids at the gateway of our own credentials; never a target.
        processes: how many processes answer at its address, workers times replicas; if None, as many as show.
        remembers: for how long each of them remembers what it looked up (its `TOOL_LOOKUP_CACHE_TTL_SECONDS`).
    """

    kind: Literal["contextforge"]
    url: Url
    user: Name
    password: Secret
    canary: Canary
    credential_ids: tuple[Name, ...] = ()
    processes: Annotated[int, Field(ge=1, le=1000)] | None = None
    remembers: Seconds = 60.0

    @override
    def ours(self, name: str, inventory: "Inventory") -> Mapping[str, frozenset[str]]:
        users = {self.user, self.canary.principal}
        # Who is ours may stand among the principals too, under any name: so do their tokens.
        mine = [p for p in inventory.principals.values() if p.gateway == name and fold(p.user) in map(fold, users)]
        tokens = {*self.credential_ids, *(token for p in mine for token in p.tokens.values())}
        return {"user": frozenset(users), "token": frozenset(tokens)}


class GatewayEntry(Strict):
    """How a gateway knows a server.

    Args:
        name: the gateway, as this inventory names it.
        id: the server's immutable id there.
    """

    name: Slug
    id: Name


class ToolNotes(Strict):
    """What people know of a tool.

    Args:
        risk: what it can do at worst.
        physical_effects: it moves something in the real world: never contained automatically.
        safe_arguments: a call with these changes nothing, so a probe may send them.
    """

    risk: Literal["low", "medium", "high"] = "medium"
    physical_effects: bool = False
    safe_arguments: dict[str, JsonField] | None = None


class Offers(Strict):
    """What a gateway held of a server when it was looked through: name there → immutable id. Nobody approved any of it.

    Args:
        tools: by the name that the server gives them.
        prompts: likewise.
        resources: by their URI.
    """

    tools: dict[Name, Name] = Field(default_factory=dict)
    prompts: dict[Name, Name] = Field(default_factory=dict)
    resources: dict[Name, Name] = Field(default_factory=dict)

    def of(self, kind: "PinKind") -> dict[Name, Name]:
        """Return what there is of one kind."""
        return {PinKind.TOOL: self.tools, PinKind.PROMPT: self.prompts, PinKind.RESOURCE: self.resources}.get(kind, {})


class Server(Strict):
    """One MCP server.

    Args:
        title: what people call it.
        aliases: other names that alerts use for it.
        url: its own MCP address, past the gateway.
        command: what starts it, program and arguments, where it speaks over stdio and has no address. Whoever asks it
            runs it, on the responder's machine and with its rights, but none of its secrets: name only what may.
        gateway: how the gateway knows it.
        owner: who answers for it.
        criticality: what it costs when it is away.
        environment: dev, test or prod.
        protected: never contained without a human.
        physical_effects: some tool of it moves something in the real world.
        control_tool: a harmless tool whose call proves that the path works.
        tools: notes on single tools.
        offers: what its gateway held of it, as `mcp-soar inventory import` found it: alerts may name it, and nothing of
            it is approved.
        stakeholders: role → contact of `contacts.yaml`, where it is another one than there.
        data: what kinds of data it handles; with the class they decide which duties to report there are.
        regimes: the laws that bind us for it, as `playbooks/duties.yaml` calls them.
        places: where it stands on other systems, by the name of the system.
    """

    title: Line
    aliases: tuple[Name, ...] = ()
    url: Url | None = None
    command: tuple[Line, ...] = ()
    gateway: GatewayEntry | None = None
    owner: Name
    criticality: Annotated[Criticality, BeforeValidator(_criticality)] = Criticality.MEDIUM
    environment: Environment
    protected: bool = False
    physical_effects: bool = False
    control_tool: Name | None = None
    tools: dict[Name, ToolNotes] = Field(default_factory=dict)
    offers: Offers = Offers()
    stakeholders: dict[Slug, Name] = Field(default_factory=dict)
    data: tuple[DataKind, ...] = ()
    regimes: tuple[Slug, ...] = ()
    places: dict[Slug, AnyPlace] = Field(default_factory=dict)

    @property
    def direct(self) -> bool:
        """Whether it can be asked itself, past the gateway."""
        return self.url is not None or bool(self.command)


class Principal(Strict):
    """Somebody or something that uses MCP.

    Args:
        title: what people call it.
        aliases: other names that alerts use.
        gateway: the gateway that knows it.
        user: its user (e-mail) there.
        tokens: its API tokens there: name → immutable id.
        protected: never cut without a human.
        held: tokens of it that we hold, by their name in `tokens`: a cut is then asked about as this principal itself.
    """

    title: Line
    aliases: tuple[Name, ...] = ()
    gateway: Slug
    user: Name
    tokens: dict[Name, Name] = Field(default_factory=dict)
    protected: bool = False
    held: dict[Name, Secret] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _held_are_its_own(self) -> Self:
        if unknown := sorted(self.held.keys() - self.tokens.keys()):
            message = f"held: {', '.join(unknown)} is none of its tokens; name it in `tokens` with its id"
            raise ValueError(message)
        return self

    def token(self, named: str) -> str:
        """Return the id of the token that is called so: an id stands for itself, whatever a token is labelled.

        Its owner chooses a token's label, and may choose another one's id; a gateway chooses ids. What is neither is
        returned as it is: an id that is not known here.
        """
        return named if named in self.tokens.values() else self.tokens.get(named, named)

    def sure(self, label: str) -> str:
        """Return how one of its tokens is told from its others: by its label, or by its id if that is another's id."""
        id_ = self.tokens[label]
        return label if self.token(label) == id_ else id_


class PinKind(StrEnum):
    """What of a server can be pinned."""

    TOOL = "tool"
    PROMPT = "prompt"
    RESOURCE = "resource"
    INSTRUCTIONS = "instructions"


Risk = Literal["low", "medium", "high"]
"""What something can do at worst, in its reviewers' view."""


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


class Resolved(Strict):
    """An alert's entity, found in the inventory.

    Args:
        kind: what it is.
        id: its one name in the inventory, whatever the alert called it.
        server: the server that it belongs to.
        principal: the principal that a token belongs to, or the principal itself.
        label: what its owner calls a token; None if that could mean another one, too.
        gateway: the gateway at which a token or a principal is known.
    """

    kind: EntityKind
    id: Name
    server: Slug | None = None
    principal: Name | None = None
    label: Name | None = None
    gateway: Slug | None = None

    @property
    def key(self) -> str:
        """The entity as one string, for correlation."""
        return f"{self.kind}:{self.server or ''}/{self.id}"

    def __str__(self) -> str:
        home = self.principal if self.kind is EntityKind.TOKEN else self.server
        whose = f" of {home}" if home and self.kind is not EntityKind.SERVER else ""
        place = f" at gateway {self.gateway}" if self.gateway else ""
        return f"{self.kind} {self.label or self.id}{whose}{place}"


def named_servers(known: Iterable[Resolved], unknown: Iterable[Entity] = ()) -> frozenset[str]:
    """Return the keys of the servers that are named themselves, and not as the home of something that is named too.

    Args:
        known: what one message names and the inventory knows.
        unknown: what it names beside; something that a server is said to offer makes that one its home.
    """
    known = list(known)
    homes = {item.server for item in known if item.kind is not EntityKind.SERVER}
    if any(entity.kind in ON_SERVER for entity in unknown):
        # Whose it is, nobody knows: it may be any of them.
        return frozenset()
    return frozenset(item.key for item in known if item.kind is EntityKind.SERVER and item.id not in homes)


ON_SERVER = {EntityKind.TOOL: PinKind.TOOL, EntityKind.PROMPT: PinKind.PROMPT, EntityKind.RESOURCE: PinKind.RESOURCE}
"""The kinds of things that a server offers, and how each is pinned."""


def _one_meaning(what: str, names: dict[str, tuple[str, ...]]) -> None:
    claimed: dict[str, str] = {}
    for name, aliases in names.items():
        for alias in {fold(item) for item in aliases}:
            if claimed.setdefault(alias, name) != name:
                message = f"{what} {claimed[alias]} and {name} both answer to {alias!r}; an alert could mean either"
                raise ValueError(message)


class Inventory(Strict):
    """Everything that may be acted on.

    Args:
        gateways: connections to gateways.
        systems: what else is acted on, each by the models of its kind.
        servers: MCP servers by id.
        principals: users and agents by id.
        pins: the approved definitions; they come from their own file.
        watch_every: how often a containment in force is verified again.
    """

    version: Literal[1]
    gateways: dict[Slug, Gateway] = Field(default_factory=dict)
    systems: dict[Slug, AnySettings] = Field(default_factory=dict)
    servers: dict[Slug, Server] = Field(default_factory=dict)
    principals: dict[Name, Principal] = Field(default_factory=dict)
    watch_every: Seconds = 60.0
    pins: Pins = Pins()

    @field_validator("servers", mode="before")
    @classmethod
    def _places(cls, value: object, info: ValidationInfo) -> object:
        return placed(value, info.data.get("systems", {}), info)

    @model_validator(mode="after")
    def _references(self) -> Self:
        for name, server in self.servers.items():
            if server.gateway and server.gateway.name not in self.gateways:
                message = (
                    f"server {name}: no gateway is called {server.gateway.name!r}; there is {sorted(self.gateways)}"
                )
                raise ValueError(message)
        for name, principal in self.principals.items():
            if principal.gateway not in self.gateways:
                message = (
                    f"principal {name}: no gateway is called {principal.gateway!r}; there is {sorted(self.gateways)}"
                )
                raise ValueError(message)
        _one_meaning("servers", {name: (name, *server.aliases) for name, server in self.servers.items()})
        _one_meaning("principals", {name: (name, p.user, *p.aliases) for name, p in self.principals.items()})
        return self

    @cached_property
    def _servers_by_name(self) -> dict[str, str]:
        return {fold(alias): name for name, server in self.servers.items() for alias in (name, *server.aliases)}

    @cached_property
    def _principals_by_name(self) -> dict[str, str]:
        names = ((alias, name) for name, p in self.principals.items() for alias in (name, p.user, *p.aliases))
        return {fold(alias): name for alias, name in names}

    @cached_property
    def token_ids(self) -> frozenset[str]:
        """The ids of all tokens, ours too: whatever is named so is that token, however another one is labelled."""
        ours = (token for gateway in self.gateways.values() for token in gateway.credential_ids)
        return frozenset(ours).union(*(principal.tokens.values() for principal in self.principals.values()))

    def ours(self, system: str) -> Mapping[str, frozenset[str]] | None:
        """Return what of a system is mcp-soar's own, by kind of object: ids as `fold` gives them; None if unknown.

        Args:
            system: as a plan's target names it, such as `gateway/main`.
        """
        kind, _, name = system.partition("/")
        found = self.gateways.get(name) if kind == "gateway" else self.systems.get(name)
        if found is None or kind not in {"gateway", found.kind}:
            return None
        # No system is trusted to have thought of case: an id that is ours in any spelling is.
        return {kind: frozenset(map(fold, ids)) for kind, ids in found.ours(name, self).items()}

    def unapproved(self, server: str) -> frozenset[tuple[PinKind, str, str]]:
        """Return kind, name and id of what a server's gateway held when it was imported, and nobody approved.

        Args:
            server: as the inventory calls it.
        """
        offers = self.servers[server].offers
        return frozenset(
            (kind, name, id_)
            for kind in (PinKind.TOOL, PinKind.PROMPT, PinKind.RESOURCE)
            for name, id_ in offers.of(kind).items()
            if self.pins.find(server, kind, name) is None
        )

    def resolve(
        self, entity: Entity, *, server: str | None = None, anywhere: bool = False, unapproved: bool = False
    ) -> Resolved | None:
        """Return what an alert's entity is, or None if the inventory does not know it.

        Args:
            entity: the alert's claim.
            server: the server (inventory id) that the rest of the alert is about, for entities that name none.
            anywhere: whether no server is named at all, so that a name that a gateway offers may say which one it is.
            unapproved: take what a known server is said to offer though nobody approved it: only from a person, or from
                our own comparison, for whoever else names things chooses how many there are.
        """
        if entity.kind is EntityKind.SERVER:
            found = self._servers_by_name.get(fold(entity.name))
            return Resolved(kind=entity.kind, id=found, server=found) if found else None
        if entity.kind is EntityKind.PRINCIPAL:
            who = self._principals_by_name.get(fold(entity.name))
            return self.principal(who) if who else None
        if entity.kind is EntityKind.TOKEN:
            tokens = list(self._tokens(entity.name))
            # A label that two people use means neither.
            return tokens[0] if len(tokens) == 1 else None
        if entity.kind in ON_SERVER:
            home = self._servers_by_name.get(fold(entity.server)) if entity.server else server
            if home is None and entity.server is None and anywhere:
                offered = self.pins.offered.get((ON_SERVER[entity.kind], entity.name))
                home = offered[0] if offered and offered[0] in self.servers else None
            found_there = self._on_server(home, entity) if home else None
            if found_there is None and home and unapproved and entity.name:
                return Resolved(kind=entity.kind, id=entity.name, server=home)
            return found_there
        return None

    def _tokens(self, name: str) -> Iterator[Resolved]:
        by_id = name in self.token_ids
        for who, principal in self.principals.items():
            if by_id and name in principal.tokens.values():
                yield self.token(who, name)
            elif not by_id and name in principal.tokens:
                yield self.token(who, principal.tokens[name])

    def principal(self, who: str) -> Resolved:
        """Return a principal as an incident's entity.

        Args:
            who: its id here.
        """
        gateway = self.principals[who].gateway
        return Resolved(kind=EntityKind.PRINCIPAL, id=who, principal=who, gateway=gateway)

    def token(self, who: str, token: str) -> Resolved:
        """Return a token as an incident's entity, called as its owner calls it where that can mean nothing else.

        Args:
            who: the principal that it belongs to.
            token: its id.
        """
        principal = self.principals[who]
        labels = [label for label, known in principal.tokens.items() if known == token]
        label = labels[0] if len(labels) == 1 and labels[0] not in self.token_ids - {token} else None
        return Resolved(kind=EntityKind.TOKEN, id=token, principal=who, label=label, gateway=principal.gateway)

    def _on_server(self, server: str, entity: Entity) -> Resolved | None:
        kind = ON_SERVER[entity.kind]
        # Names of tools are case-sensitive in MCP; the name that the gateway gives a tool counts as well.
        for pin in self.pins.of(server, kind):
            if entity.name in (pin.name, pin.gateway_name):
                return Resolved(kind=entity.kind, id=pin.name, server=server)
        noted = self.servers[server].tools if kind is PinKind.TOOL else {}
        if entity.name in noted or entity.name in self.servers[server].offers.of(kind):
            return Resolved(kind=entity.kind, id=entity.name, server=server)
        return None


def slug(name: str, otherwise: str = "server") -> str:
    """Return a name as an identifier of ours: what is unsafe in it becomes a hyphen, and so does what makes an address.

    Args:
        name: whatever somebody else chose.
        otherwise: what it is if nothing is left.
    """
    found = re.sub(r"[^a-z0-9_-]+", "-", fold(name[:200])).strip("-_")[:60].rstrip("-_")
    return found or otherwise


def fold(name: str) -> str:
    """Return a name as systems compare it that know no case."""
    return unicodedata.normalize("NFKC", name).casefold()
