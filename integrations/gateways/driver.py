"""What a gateway is to those who contain at it, whichever product it is. A driver is this for one product.

Beside reading what it holds (`Catalogue`), a driver sets states, knows principals and tokens, and asks about a cut
what only its product has: other doors, other names, what is remembered for a while.
"""

import re
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

from typing_extensions import override

from integrations.catalogue import Catalogue, Held, Names
from integrations.gateways.administration import Administration
from integrations.precedence import Precedence
from integrations.sharing import Shared
from playbooks.action import World
from playbooks.errors import Misconfigured, Refused
from playbooks.estate.gateway import Gateway, GatewayEntry
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer, Finding, Target
from playbooks.text.sentences import say

FRESH: Final = 1.0
"""Seconds that a list may be old which a verification takes, if nothing of ours was changed since it was asked for."""

SETTLED: Final = 5.0
"""Seconds after a cut from which looking at it is a watch, for which a list may be as old; in a burst the first look
itself may come late, and is none."""

ENTRY_TIMEOUT: Final = 18.0
"""Seconds for enabling an entry: a gateway may ask the server itself meanwhile."""

EVERYTHING: Final = "everything"
LISTED: Final = "listed"
"""Which tools of a server clients may use: all that it offers, what is new included, or what a list names."""

ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,199}")
"""What stands in the path of a request later, or in a command that people copy."""


class Rights(NamedTuple):
    """What a step needs at a product.

    Args:
        asks: the requests that it makes there, each by method and path.
        needs: the rights that our account needs there, beyond reading what clients read.
        tried: what is read to see whether a session has them after all.
    """

    asks: tuple[str, ...]
    needs: tuple[str, ...] = ()
    tried: str = ""


class Entered(NamedTuple):
    """A server as the gateway knows it.

    Args:
        name: what the gateway calls it.
        enabled: whether clients may use it: False, True, or what the gateway calls the way in which they may.
    """

    name: str
    enabled: bool | str


class Exhibited(NamedTuple):
    """One file of evidence.

    Args:
        name: the file, without its ending.
        ask: reads it.
        origin: the path that it is read from.
    """

    name: str
    ask: Callable[[], Awaitable[object]]
    origin: str


class Question(NamedTuple):
    """What is asked about a tool that was cut.

    Args:
        target: the tool.
        names: its names.
        arguments: that its schema rejects; None if it rejects nothing.
        siblings: the ids of other tools of its server.
    """

    target: Target
    names: Names
    arguments: dict[str, Any] | None
    siblings: frozenset[str] = frozenset()


_UNTOLD: Final = say("its schema rejects nothing, so that a call would run it: only the list was asked")


def unasked(question: Question, principal: str) -> Finding:
    """Return that a tool was not called, because nothing can be sent that its schema rejects.

    Args:
        question: which tool.
        principal: who would have asked.
    """
    return Finding(
        check="call",
        subject=str(question.target)[:2000],
        asked_as=principal,
        expected="the gateway itself refuses it",
        observed=_UNTOLD,
        answer=Answer.UNKNOWN,
        remedy=say("write safe_arguments for it in inventory.yaml, and it is asked"),
    )


@dataclass
class Asked:
    """What was asked of one target.

    Args:
        findings: what decides.
        beside: what is named and does not decide: doors that could not be asked.
    """

    findings: list[Finding] = field(default_factory=list)
    beside: list[Finding] = field(default_factory=list)


class GatewayDriver(Catalogue):
    """The administrator's side of one gateway.

    Args:
        name: what the inventory calls it.
        gateway: its address and user.
        precedence: who goes first there.
        administration: the requests to it.
    """

    product: ClassVar[str]
    """What people call it, in messages."""
    rights: ClassVar[Mapping[str, Rights]]
    """What each step needs there, by the step's name; a step that is not among them cannot be done there."""
    unlogged: ClassVar[str]
    """What happens there without a trace in its logs, in a sentence without its full stop."""
    unknown: ClassVar[str]
    """What it never knows of a principal, likewise; empty if nothing."""
    logged_if: ClassVar[str]
    """What has to be so that there is anything in its logs, or how that is found out; {name} is the gateway's."""

    state_at: ClassVar[str]
    """The path below which everything of `export_state` is read."""
    logs_at: ClassVar[str]
    """Likewise of its logs."""

    volatile: ClassVar[Mapping[str, str]]
    """Fields of its objects that change without anybody deciding it, each with the reason; all others are restored."""

    governs: ClassVar[bool] = False
    """Whether enabling an entry enables everything under it, so that each object's own flag is to be restored too."""

    processes: int = 1
    """How many processes answer at its address, as far as is known."""

    def __init__(self, name: str, gateway: Gateway, precedence: Precedence, administration: Administration) -> None:
        self.name = name
        self._administration = administration
        self.gateway = gateway
        self.precedence = precedence
        self._disabled: dict[str, float] = {}
        self._looked: set[str] = set()
        self._listings: dict[str, Shared[Sequence[Held]]] = {}

    @property
    def patience(self) -> float:
        """Seconds for one request."""
        return self._administration.patience

    @patience.setter
    def patience(self, seconds: float) -> None:
        self._administration.patience = seconds

    async def aclose(self) -> None:
        """Close the connections."""
        await self._administration.aclose()

    async def listing(self, entry: str, since: float) -> Sequence[Held]:
        """Return everything that it holds of one server, from what as many as possible share; by default its catalogue.

        Args:
            entry: the server's.
            since: the moment, in monotonic seconds, after which it has to be asked for.
        """
        return await self._listings.setdefault(entry, Shared(partial(self._behind, entry)))(since)

    async def _behind(self, entry: str) -> Sequence[Held]:
        """Return what it holds of a server after what is being cut, or verified for the first time."""
        await self.precedence.give_way()
        return await self.catalog(entry)

    def since(self, ids: Iterable[str], seconds: float) -> float:
        """Return since when, in monotonic seconds, a list says how some objects are that were disabled.

        Args:
            ids: what was disabled.
            seconds: how old it may be at most.
        """
        known = (self.disabled_for(id_) for id_ in ids)
        return time.monotonic() - min([seconds, *(one for one in known if one)])

    @property
    def origin(self) -> str:
        """Its administration's address, as the inventory writes it."""
        return self.gateway.url

    @property
    @override
    def administrator(self) -> str:
        return self.gateway.user

    @property
    def credentials(self) -> frozenset[str]:
        """The ids there of our own credentials: never a target."""
        return frozenset(self.gateway.credential_ids)

    async def sign_in(self) -> None:
        """Sign in ahead of need, where that is something of its own; it takes some gateways a quarter of a second."""
        await self._administration.sign_in()

    async def warm(self) -> None:
        """Do ahead of need what the first containment would wait for; by default nothing."""

    async def one(self, kind: PinKind, id_: str, entry: str) -> Held | None:
        """Return an object of one server by its id, read now; None if there is none."""
        if kind is PinKind.TOOL:
            return await self.tool(id_, entry)
        return next((held for held in await self.held(kind, entry) if held.id == id_), None)

    def foresee(self, id_: str, entry: str) -> None:
        """Ask for a tool now that will be needed in a moment; by default nothing."""

    @abstractmethod
    async def entry_at(self, id_: str) -> Entered | None:
        """Return a server's entry, or None if there is none of that id."""

    async def busy(self, entry: str) -> int:
        """Return how many calls of a server have to break off first, before anything of it can be cut; by default 0."""
        del entry
        return 0

    @abstractmethod
    async def set_enabled(self, kind: PinKind, id_: str, *, enabled: bool, stopping: bool = False) -> None:
        """Let clients use an object, or keep them from it.

        Args:
            kind: what it is.
            id_: its id.
            enabled: whether clients may use it.
            stopping: whether calls of its server that are under way may be broken off for that.

        Raises:
            Drifted: to keep clients from it they would have to be, and may not.
        """

    async def allows(self, entry: str) -> str | None:
        """Return how it is decided which tools of a server clients may use, where that is one list of names.

        `EVERYTHING` if there is no list, `LISTED` if there is one; by default None: each tool has a flag of its own.
        """
        del entry
        return None

    async def set_allows(self, entry: str, allows: str) -> None:
        """Have a list decide which tools of a server clients may use, or take it away.

        Raises:
            Refused: without the list clients would get more than what was given back; or there is no such list.
        """
        raise Refused(f"gateway {self.name}: which tools of {entry} clients may use is no list there: not {allows}")

    async def is_last(self, id_: str, entry: str) -> bool:
        """Return whether a tool cannot be kept from clients without all of its server; by default it always can."""
        del id_, entry
        return False

    @abstractmethod
    async def set_entry_enabled(self, id_: str, *, enabled: bool | str) -> None:
        """Let clients use a server as they could before, or keep them from it and from everything that it offers.

        Args:
            id_: its entry.
            enabled: as `Entered` has it.
        """

    @abstractmethod
    async def ask(self, question: Question, world: World, *, again: bool) -> Asked:
        """Ask about a tool that was cut, as a client: under every name and at every door that the product has.

        Args:
            question: which tool, and what may be sent.
            world: the connections.
            again: whether this is no first look any more.
        """

    def doubt(self, held: Held) -> str:
        """Return why what our canary meets may not be what others meet, in words; empty if nothing speaks for that."""
        del held
        return ""

    @abstractmethod
    async def is_revoked(self, token: str, user: str | None) -> bool | None:
        """Return whether a token is out of use; None if there is no such token.

        Args:
            token: its id.
            user: whose it has to be; anybody's if None.
        """

    @abstractmethod
    async def revoke(self, token: str) -> None:
        """Make a token worthless, for good."""

    @abstractmethod
    async def is_active(self, user: str) -> bool | None:
        """Return whether a user is let in; None if there is no such user."""

    @abstractmethod
    async def set_active(self, user: str, *, active: bool) -> None:
        """Let a user in, or keep that user and all of the user's tokens out."""

    def steady(self, objects: Iterable[Mapping[str, Any]], id_: str = "id") -> list[dict[str, Any]]:
        """Return objects as evidence has them: in one order, less the volatile fields.

        Args:
            objects: as the gateway tells of them.
            id_: the field that has their ids.
        """
        kept = ({key: value for key, value in item.items() if key not in self.volatile} for item in objects)
        return sorted(kept, key=lambda item: str(item.get(id_)))

    @abstractmethod
    async def export_state(self) -> Mapping[str, Any]:
        """Return everything that matters of the gateway, in one order, less the volatile fields and all secrets."""

    @abstractmethod
    async def logs(self, limit: int = 1000, *, user: str | None = None) -> dict[str, Any]:
        """Return its newest logs, each with its entries.

        Args:
            limit: entries of each that are read.
            user: only what this user did, as far as an entry says who.
        """

    @abstractmethod
    def known_of(self, user: str) -> Sequence[Exhibited]:
        """Return how what it knows of a user is read, the account first."""

    def disabled_for(self, id_: str) -> float:
        """Return for how many seconds an object has been disabled, as far as this process has seen; 0 if it is not."""
        since = self._disabled.get(id_)
        return time.monotonic() - since if since is not None else 0.0

    def settled(self, ids: Iterable[str]) -> bool:
        """Return whether objects were disabled some time ago and asked about since: then it is the watch that asks."""
        every = [*ids]
        return bool(every) and all(id_ in self._looked and self.disabled_for(id_) > SETTLED for id_ in every)

    def looked_at(self, ids: Iterable[str]) -> None:
        """Note that disabled objects were asked about."""
        self._looked.update(id_ for id_ in ids if id_ in self._disabled)

    def note(self, id_: str, *, enabled: bool) -> None:
        """Note how an object was found."""
        if enabled:
            self._disabled.pop(id_, None)
            self._looked.discard(id_)
        else:
            self._disabled.setdefault(id_, time.monotonic())


def driver_at(gateway: str, world: World, step: str = "") -> GatewayDriver:
    """Return a gateway of the inventory.

    Args:
        gateway: its name there.
        world: the connections.
        step: what is to be done there.

    Raises:
        Refused: its product cannot do that.
    """
    driver = world.reach(GatewayDriver, gateway)
    if step and step not in driver.rights:
        can = ", ".join(sorted(driver.rights))
        raise Refused(f"gateway {gateway} is a {driver.product}, which has nothing for {step}; it has: {can}")
    return driver


def driver_of(target: Target, world: World) -> GatewayDriver:
    """Return the gateway that a plan's target stands on."""
    return driver_at(target.system.removeprefix("gateway/"), world)


def entry_of(server: str, world: World) -> GatewayEntry:
    """Return where the inventory says that a server stands.

    Raises:
        Misconfigured: if it stands behind no gateway.
    """
    known = world.inventory.servers.get(server)
    if known is None or known.gateway is None:
        what = "the inventory has no such server" if known is None else "the server stands behind no gateway; name one"
        raise Misconfigured(what, field=f"servers.{server}.places")
    return known.gateway
