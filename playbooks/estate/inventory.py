"""Which MCP servers exist, where each can be touched, and what of each is approved.

People write `inventory.yaml`; `mcp-soar pins approve` writes `pins.yaml`. What an alert names is looked up here before
anything is done to it, and what is not found here is never guessed at.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from typing_extensions import override
from yaml import Node

from playbooks.estate import earlier
from playbooks.estate.gateway import Account, Entry, Gateway, GatewayAccount, GatewayEntry
from playbooks.estate.pins import PinKind, Pins
from playbooks.estate.probing import MOST, OwnRange, Probed
from playbooks.estate.spelling import fold, plainly
from playbooks.estate.standing import GROUNDS, Index
from playbooks.estate.systems import AnyPlace, AnySettings, Url, names_of, placed
from playbooks.record.incident import Entity, EntityKind
from playbooks.strict import JsonField, Line, Name, RedactedLine, Seconds, Slug, Strict
from playbooks.text.sentences import named


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
        regimes: the laws that bind us for it, as `playbooks/people/duties.yaml` calls them.
        places: where it stands, by the name of the system: at its gateway, as a workload, on a host.
        found_by: what it stands on, by kind, as alerts name it that know no server: image, workload, host, address …;
            beside what its places say of that.
        probing: what its owner lets a stranger ask it; without it, it is not probed.
    """

    title: Line
    aliases: tuple[Name, ...] = ()
    url: Url | None = None
    command: tuple[Line, ...] = ()
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
    found_by: dict[EntityKind, tuple[Name, ...]] = Field(default_factory=dict)
    probing: Probed | None = Field(default=None, exclude_if=lambda some: some is None)

    @field_validator("found_by")
    @classmethod
    def _are_grounds(cls, value: dict[EntityKind, tuple[str, ...]]) -> dict[EntityKind, tuple[str, ...]]:
        if others := sorted(value.keys() - {*GROUNDS}):
            message = f"{others[0]}: a server does not stand on a {others[0]}; it does on {', '.join(GROUNDS)}"
            raise ValueError(message)
        return value

    @property
    def grounds(self) -> Iterator[tuple[EntityKind, str]]:
        """What it stands on, by kind and name."""
        for known in (self.found_by, *(place.known_by() for place in self.places.values())):
            yield from ((kind, name) for kind, names in known.items() for name in names)

    @property
    def direct(self) -> bool:
        """Whether it can be asked itself, past the gateway."""
        return self.url is not None or bool(self.command)

    @property
    def gateway(self) -> GatewayEntry | None:
        """Its place at a gateway; None if it stands behind none."""
        found = (GatewayEntry(name, at.id) for name, at in self.places.items() if isinstance(at, Entry))
        return next(found, None)


class Principal(Strict):
    """Somebody or something that uses MCP.

    Args:
        title: what people call it.
        aliases: other names that alerts use.
        protected: never cut without a human.
        places: where it is known, by the name of the system: its account at a gateway, at an identity provider.
    """

    title: Line
    aliases: tuple[Name, ...] = ()
    protected: bool = False
    places: dict[Slug, AnyPlace] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _labels_mean_one(self) -> Self:
        labels = Counter(label for account in self.accounts.values() for label in account.tokens)
        if twice := [label for label, count in labels.items() if count > 1]:
            raise ValueError(f"places: {', '.join(twice)} is a token of it in two places: call one of them otherwise")
        return self

    @property
    def gateway(self) -> tuple[str, GatewayAccount] | None:
        """The gateway that knows it, and how; None if none does."""
        return next(((name, at) for name, at in self.places.items() if isinstance(at, GatewayAccount)), None)

    @property
    def accounts(self) -> dict[str, Account]:
        """Its accounts, by the name of the system."""
        return {name: at for name, at in self.places.items() if isinstance(at, Account)}

    @property
    def tokens(self) -> dict[str, str]:
        """All of its tokens: name → immutable id."""
        return {label: id_ for account in self.accounts.values() for label, id_ in account.tokens.items()}

    @property
    def users(self) -> tuple[str, ...]:
        """What it is called at its places."""
        return tuple(dict.fromkeys(names_of(self.places, EntityKind.PRINCIPAL)))

    @property
    def names(self) -> tuple[str, ...]:
        """What alerts call it beside its id."""
        return (*self.aliases, *self.users)

    def token(self, named: str) -> str:
        """Return the id of the token that is called so, as `Account.token` does, wherever it is."""
        tokens = self.tokens
        return named if named in tokens.values() else tokens.get(named, named)

    def sure(self, label: str) -> str:
        """Return how one of its tokens is told from its others: by its label, or by its id if that is another's id."""
        id_ = self.tokens[label]
        return label if self.token(label) == id_ else id_


class Resolved(Strict):
    """An alert's entity, found in the inventory.

    Args:
        kind: what it is.
        id: its one name in the inventory, whatever the alert called it.
        by: what the alert named instead of it, as `image ghcr.io/acme/weather`; None if it named the thing itself.
        server: the server that it belongs to.
        principal: the principal that a token belongs to, or the principal itself.
        label: what its owner calls a token; None if that could mean another one, too.
        gateway: the gateway at which a token or a principal is known.
        system: the system of its place that is meant, where that is one of several.
    """

    kind: EntityKind
    id: Name
    server: Slug | None = None
    principal: Name | None = None
    label: Name | None = None
    gateway: Slug | None = None
    system: Slug | None = Field(default=None, exclude_if=lambda name: name is None)
    by: RedactedLine | None = Field(default=None, exclude_if=lambda name: name is None)

    @property
    def key(self) -> str:
        """The entity as one string, for correlation."""
        return f"{self.kind}:{self.server or ''}/{self.id}"

    def __str__(self) -> str:
        home = self.principal if self.kind is EntityKind.TOKEN else self.server
        whose = [(" of ", home)] if home and self.kind is not EntityKind.SERVER else []
        place = [(" at ", self.system)] if self.system else [(" at gateway ", self.gateway)] if self.gateway else []
        return named((f"{self.kind} ", self.label or self.id), *whose, *place)

    @property
    def said(self) -> str:
        """The entity as people are told of it: with what the alert named instead."""
        return f"{self} ({self.by})" if self.by else str(self)


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
        systems: what is acted on, each by the models of its kind: gateways, and whatever else there is.
        servers: MCP servers by id.
        principals: users and agents by id.
        ranges: addresses of our own, to be looked through for servers that nobody listed.
        pins: the approved definitions; they come from their own file.
        watch_every: how often a containment in force is looked at again; as a client it is asked about so often at
            most.
        watch_share: of a system's time, what asking about all containments there may take.
    """

    version: Literal[1]
    systems: dict[Slug, AnySettings] = Field(default_factory=dict)
    servers: dict[Slug, Server] = Field(default_factory=dict)
    principals: dict[Name, Principal] = Field(default_factory=dict)
    ranges: tuple[OwnRange, ...] = Field(default=(), max_length=16, exclude_if=lambda some: not some)
    watch_every: Seconds = 60.0
    watch_share: float = Field(default=0.1, ge=0.01, le=0.5)
    pins: Pins = Pins()

    @override
    @classmethod
    def as_now(cls, node: Node) -> Node:
        return earlier.as_now(node)

    @field_validator("servers", "principals", mode="wrap")
    @classmethod
    def _places(cls, value: object, rest: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        return placed(value, info.data.get("systems"), info, rest)

    @model_validator(mode="after")
    def _references(self) -> Self:
        for field, things in (("servers", self.servers), ("principals", self.principals)):
            for name, one in things.items():
                if nowhere := sorted(one.places.keys() - self.systems.keys()):
                    raise ValueError(f"{field}.{name}.places: no system is called {', '.join(nowhere)}")
                if len(at := [place for place in one.places if place in self.gateways]) > 1:
                    message = f"{field}.{name}.places: {' and '.join(at)} are gateways, and it is cut at one of them: "
                    raise ValueError(f"{message}write one {field.removesuffix('s')} for each")
        if (size := sum(one.size for one in self.ranges)) > MOST:
            raise ValueError(f"ranges: {size} addresses times ports, and one run asks {MOST} at most: narrow them")
        for name, server in self.servers.items():
            canary = server.probing and server.probing.canary
            if canary and canary.provider not in self.systems:
                raise ValueError(f"servers.{name}.probing.canary.provider: no system is called {canary.provider}")
        _one_meaning("servers", {name: (name, *server.aliases) for name, server in self.servers.items()})
        _one_meaning("principals", {name: (name, *who.names) for name, who in self.principals.items()})
        return self

    @property
    def gateways(self) -> dict[str, Gateway]:
        """The systems that are gateways."""
        return {name: one for name, one in self.systems.items() if isinstance(one, Gateway)}

    def gateways_of(self, kind: str) -> dict[str, Gateway]:
        """Return the gateways that are of one product."""
        return {name: one for name, one in self.gateways.items() if one.kind == kind}

    @cached_property
    def _servers_by_name(self) -> dict[str, str]:
        return {fold(alias): name for name, server in self.servers.items() for alias in (name, *server.aliases)}

    @cached_property
    def _principals_by_name(self) -> dict[str, str]:
        return {fold(alias): name for name, who in self.principals.items() for alias in (name, *who.names)}

    @cached_property
    def token_ids(self) -> frozenset[str]:
        """The ids of all tokens, ours too: whatever is named so is that token, however another one is labelled."""
        ours = (token for gateway in self.gateways.values() for token in gateway.credential_ids)
        accounts = (account for who in self.principals.values() for account in who.accounts.values())
        return frozenset(ours).union(*(account.tokens.values() for account in accounts))

    @cached_property
    def standing(self) -> Index:
        """The servers, by what they stand on; a workload is called as its server is, where nobody says how."""
        found = [(server, *ground) for server, one in self.servers.items() for ground in one.grounds]
        said = {server for server, kind, _ in found if kind is EntityKind.WORKLOAD}
        names = ((name, (name, *one.aliases)) for name, one in self.servers.items() if name not in said)
        return Index((*found, *((server, EntityKind.WORKLOAD, name) for server, some in names for name in some)))

    def at(self, system: str) -> str:
        """Return what a plan's target calls a system of this inventory, such as `gateway/main`."""
        return f"{self.systems[system].sort}/{system}"

    def ours(self, system: str) -> Mapping[str, frozenset[str]] | None:
        """Return what of a system is mcp-soar's own, by each kind of object that it has: ids as `plain` gives them.

        Args:
            system: as a plan's target names it, such as `gateway/main`.

        Returns:
            None if the system is unknown.
        """
        name = system.partition("/")[2]
        if name not in self.systems or self.at(name) != system:
            return None
        own = {at: plainly(one.ours(at, self)) for at, one in self.systems.items()}
        here = self.same_place(name)
        mine = [own[at] for at in here]
        # Who is ours may stand among the principals too, under any name: so is all of them, wherever they stand.
        for who in self.principals.values():
            if any(_meet(plainly(place.objects()), own[at]) for at, place in who.places.items()):
                stands = [who.places[at] for at in here if at in who.places]
                mine += [plainly(some) for place in stands for some in (place.objects(), place.credentials())]
        kinds = self.systems[name].kinds.union(*mine)
        return {kind: frozenset[str]().union(*(some.get(kind, ()) for some in mine)) for kind in kinds}

    def same_place(self, name: str) -> tuple[str, ...]:
        """Return what else a system is called here, its own name first: the same place, listed twice.

        Args:
            name: as the inventory calls it.
        """
        one = self.systems[name]
        alike = (at for at, other in self.systems.items() if (other.kind, other.address()) == (one.kind, one.address()))
        return (name, *(at for at in alike if at != name))

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
        self,
        entity: Entity,
        *,
        server: str | None = None,
        anywhere: bool = False,
        unapproved: bool = False,
        owners: Collection[str] | None = None,
    ) -> Resolved | None:
        """Return what an alert's entity is, or None if the inventory does not know it.

        Args:
            entity: the alert's claim.
            server: the server (inventory id) that the rest of the alert is about, for entities that name none.
            anywhere: whether no server is named at all, so that a name that a gateway offers may say which one it is.
            unapproved: take what a known server is said to offer though nobody approved it: only from a person, or from
                our own comparison, for whoever else names things chooses how many there are.
            owners: the principals (inventory ids) that the rest of the alert names: a token's label is of theirs. None
                if it names none that is known.
        """
        if entity.kind is EntityKind.SERVER:
            found = self._servers_by_name.get(fold(entity.name))
            return Resolved(kind=entity.kind, id=found, server=found) if found else None
        if entity.kind is EntityKind.PRINCIPAL:
            who = self._principals_by_name.get(fold(entity.name))
            return self.principal(who) if who else None
        if entity.kind is EntityKind.TOKEN:
            tokens = self.tokens_called(entity.name, owners)
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

    def tokens_called(self, name: str, owners: Collection[str] | None = None) -> list[Resolved]:
        """Return the tokens that a name can mean: by id, else by owner and id or label, else by the label alone.

        A token's owner chooses its label, and may choose what another one is called by; so the surer way wins.

        Args:
            name: as somebody wrote it.
            owners: whose it is first of all where only its label is given; None if nobody said so.
        """
        people = self.principals
        if name in self.token_ids:
            return [self.token(who, name) for who, one in people.items() if name in one.tokens.values()]
        splits = ((name[:at], name[at + 1 :]) for at, letter in enumerate(name) if letter == "/")
        theirs = [(one, rest) for owner, rest in splits if (one := self._principals_by_name.get(fold(owner)))]
        found = [(who, id_) for who, rest in theirs if (id_ := people[who].token(rest)) in people[who].tokens.values()]
        # An alert may name one person and another's token: the label alone counts where none of theirs is called so.
        for some in (people,) if owners is None else (owners, people):
            found = found or [(who, its) for who in some if (its := people[who].tokens.get(name))]
        return [self.token(who, id_) for who, id_ in found]

    def token_names(self, name: str = "", owners: Collection[str] | None = None) -> list[str]:
        """Return how tokens are told apart, as `agent/laptop`: of those who are named with one, where that is known.

        Args:
            name: what somebody wrote; whose token it is may stand before it.
            owners: as in `tokens_called`.
        """
        who = self._principals_by_name.get(fold(name.partition("/")[0])) if "/" in name else None
        some = [who] if who else self.principals if owners is None else owners
        return [f"{one}/{self.principals[one].sure(label)}" for one in some for label in self.principals[one].tokens]

    def principal(self, who: str) -> Resolved:
        """Return a principal as an incident's entity.

        Args:
            who: its id here.
        """
        known = self.principals[who].gateway
        return Resolved(kind=EntityKind.PRINCIPAL, id=who, principal=who, gateway=known and known[0])

    def token(self, who: str, token: str) -> Resolved:
        """Return a token as an incident's entity, called as its owner calls it where that can mean nothing else.

        Args:
            who: the principal that it belongs to.
            token: its id.
        """
        principal = self.principals[who]
        labels = [label for label, known in principal.tokens.items() if known == token]
        label = labels[0] if len(labels) == 1 and labels[0] not in self.token_ids - {token} else None
        known = principal.gateway
        at = known[0] if known and token in known[1].tokens.values() else None
        return Resolved(kind=EntityKind.TOKEN, id=token, principal=who, label=label, gateway=at)

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


def _meet(some: Mapping[str, frozenset[str]], others: Mapping[str, frozenset[str]]) -> bool:
    return any(ids & others.get(kind, frozenset()) for kind, ids in some.items())
