"""What there is at a gateway, whichever product it is, as `inventory import` reads it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from integrations.catalogue import Held
from playbooks.estate.gateway import Gateway


@dataclass(frozen=True)
class Entry:
    """A server behind the gateway.

    Args:
        id: its immutable id.
        name: what the gateway calls it, printable.
        url: its own address, if it has a usable one.
        enabled: whether clients may use it.
        credentials: the kind of credentials that the gateway uses there; empty if none.
    """

    id: str
    name: str
    url: str | None
    enabled: bool
    credentials: str


@dataclass(frozen=True)
class User:
    """Somebody whom the gateway lets in.

    Args:
        email: the user's name there.
        name: the full name, printable; empty if there is none.
        administrator: whether it is a platform administrator.
        active: whether it is let in.
    """

    email: str
    name: str
    administrator: bool
    active: bool


@dataclass(frozen=True)
class Token:
    """An API token that opens something now.

    Args:
        id: its immutable id.
        name: what its owner called it; no two of one user share one.
        user: whose it is.
        ends: until when it is good; None if for ever.
    """

    id: str
    name: str
    user: str
    ends: datetime | None


@dataclass
class Estate:
    """What there is.

    Args:
        entries: the servers.
        objects: their tools, prompts and resources, by the id of the server's entry.
        users: everybody.
        tokens: everybody's, those that are revoked or over left out.
        strays: how many objects belong to no server, as tools that call REST.
        partial: what could not be read to the end, and why.
        left_out: what was read and cannot be written down, and why.
    """

    entries: tuple[Entry, ...] = ()
    objects: dict[str, tuple[Held, ...]] = field(default_factory=dict)
    users: tuple[User, ...] = ()
    tokens: tuple[Token, ...] = ()
    strays: int = 0
    partial: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class IssuedToken:
    """An API token, with the secret that the gateway tells only once.

    Args:
        id: its immutable id.
        secret: what its bearer sends.
    """

    id: str
    secret: str = field(repr=False)


class Audited(NamedTuple):
    """Whether one kind of thing is written down.

    Args:
        what: the log.
        setting: the gateway's setting.
        said: what was found.
        on: whether it is; None if there is no telling.
    """

    what: str
    setting: str
    said: str
    on: bool | None


class Survey(NamedTuple):
    """What an import asks for.

    Args:
        name: what the inventory calls the gateway.
        gateway: it.
        password: the administrator's.
        shell_password: the same, as a shell finds it.
        folder: the configuration's, from which paths of secrets are taken.
        canary_path: the file that holds the canary's token; None if a variable does.
        make_canary: whether the canary is made, if it cannot ask yet.
        keep: keeps a token that was made, which is told only once.
    """

    name: str
    gateway: Gateway
    password: str
    shell_password: str
    folder: Path
    canary_path: Path | None
    make_canary: bool
    keep: Callable[[IssuedToken], None]


@dataclass
class Surveyed:
    """What a gateway said.

    Args:
        estate: what there is.
        audits: what it writes down.
        canary: how the canary stands, in words.
        commands: what makes it, where it is not made by us.
        made: the token that was made for it.
    """

    estate: Estate
    audits: tuple[Audited, ...] = ()
    canary: str = ""
    commands: tuple[str, ...] = ()
    made: IssuedToken | None = None
