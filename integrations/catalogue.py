"""What a gateway holds of the servers behind it, whichever product it is: how others than its own folder read it."""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from playbooks.estate.pins import PinKind


class Names(NamedTuple):
    """An object's names at the gateway, as they are on the wire.

    Args:
        offered: under which clients list it.
        original: that its server gave it.
    """

    offered: str
    original: str


class Held(Protocol):
    """A tool, prompt or resource as the gateway holds it."""

    @property
    def kind(self) -> PinKind:
        """Tool, prompt or resource."""
        ...

    @property
    def id(self) -> str:
        """Its immutable id."""
        ...

    @property
    def name(self) -> str:
        """Its name at the server (a resource's URI) as it is shown; two objects of a server never share one."""
        ...

    @property
    def offered_as(self) -> str:
        """The name under which clients get it, as the gateway writes it."""
        ...

    @property
    def names(self) -> Names:
        """Both names, for asking."""
        ...

    @property
    def shown_as(self) -> frozenset[str]:
        """Every name by which people see it there: the one it was given, its server's, the one offered, and its id."""
        ...

    @property
    def entry(self) -> str | None:
        """The id of the gateway's entry that it belongs to."""
        ...

    @property
    def enabled(self) -> bool:
        """Whether the gateway lets clients use it."""
        ...

    @property
    def definition(self) -> dict[str, Any]:
        """Its definition in the form in which the server would give it, for a diff with the approved one."""
        ...

    @property
    def digest(self) -> str:
        """Of everything that decides what clients get and where their calls go."""
        ...


class Catalogue(ABC):
    """What one gateway holds, read by its administration."""

    name: str
    """What the inventory calls the gateway."""

    @property
    @abstractmethod
    def administrator(self) -> str:
        """Who reads it."""

    def rereads(self, entry: str) -> str:
        """Return what makes it hand out what a server offers now, as a clause; by default nothing has to be done.

        Args:
            entry: the server's.
        """
        del entry
        return ""

    @abstractmethod
    async def held(self, kind: PinKind, entry: str | None = None) -> Sequence[Held]:
        """Return what it holds of one kind from one server or all, the disabled included, in order of id."""

    @abstractmethod
    async def catalog(self, entry: str, since: float = math.inf) -> Sequence[Held]:
        """Return everything that it holds of one server, the disabled included.

        Args:
            entry: the server's.
            since: the moment, in monotonic seconds, after which it has to be asked for; else after this call began.
        """

    @abstractmethod
    async def tool(self, id_: str, entry: str) -> Held | None:
        """Return a tool of one server by its id, or None if there is none."""

    def foreseen(self, id_: str) -> asyncio.Future[Any] | None:
        """Return the answer about a tool that was asked for ahead, where one is on its way; by default None."""
        del id_
        return None
