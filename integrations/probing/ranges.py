"""Address ranges of our own, looked through for MCP servers that nobody listed. Nothing outside of them is asked."""

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from integrations.hostile import printable
from integrations.probing.certificate import any_certificate
from integrations.probing.stranger import Stranger, answered
from integrations.protocol.wire import STREAM, Carried
from playbooks.errors import Misconfigured, Transient
from playbooks.estate.inventory import Inventory
from playbooks.estate.probing import OwnRange
from playbooks.record.check import About, Found
from playbooks.taxonomy import EntityKind, IncidentClass, Severity

A_SECOND: Final = 300.0
"""Connections a second at most, of all ranges together."""

_AT_ONCE: Final = 64
"""Addresses that are asked side by side."""

_KNOCKS: Final = 1.0
"""Seconds that a connection may take: the addresses are our own, and near."""

_LOOKS: Final = 12.0
"""Seconds that one open port may take, whatever stands there."""

_NOBODYS: Final = "/mcp-soar-no-such-path"

_NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL})
"""That we cannot get there at all says nothing of what is there."""


class At(NamedTuple):
    """A place that may be a server's.

    Args:
        address: IPv4 or IPv6, in its shortest spelling.
        port: of TCP.
    """

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Pace:
    """Turns, so many a second at most.

    Args:
        a_second: how many.
    """

    def __init__(self, a_second: float) -> None:
        self._every = 1 / a_second
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next one."""
        moment = time.monotonic()
        self._next = max(self._next + self._every, moment)
        await asyncio.sleep(self._next - moment)


async def listed(inventory: Inventory) -> frozenset[tuple[At, str]]:
    """Return where the servers and systems of an inventory are: address, port and path.

    Args:
        inventory: what is known. Names that cannot be resolved are nowhere.
    """
    urls = [one.url for one in inventory.servers.values() if one.url]
    urls += [url for system in inventory.systems.values() for url in _urls(system.model_dump(mode="json"))]
    found = await asyncio.gather(*map(_resolved, urls))
    return frozenset(place for places in found for place in places)


def _urls(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if value.startswith(("http://", "https://")) else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [url for part in parts for url in _urls(part)]


async def _resolved(url: str) -> list[tuple[At, str]]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(_KNOCKS * 4):
            known = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return []
    return [(At(str(ip_address(where[0])), port), parts.path.rstrip("/")) for *_, where in known]


async def looked_through(
    one: OwnRange, known: Callable[[], Awaitable[frozenset[tuple[At, str]]]], pace: Pace
) -> list[Found]:
    """Return the MCP servers in a range that nobody listed.

    Args:
        one: the range.
        known: tells where what is listed is.
        pace: of all ranges together.

    Raises:
        Transient: there is no way there.
    """
    listed_there = await known()
    places = (At(str(address), port) for address in one.network for port in one.ports)
    found: list[Found] = []
    barred: list[str] = []
    tried = 0

    async def some() -> None:
        nonlocal tried
        for at in places:
            await pace.turn()
            tried += 1
            try:
                is_open = await _open(at)
            except Transient as exc:
                barred.append(str(exc))
                continue
            try:
                if is_open and (server := await _server(at, one.paths, listed_there)):
                    found.append(server)
            except Exception:  # noqa: BLE001  # who chooses what is read chooses what it breaks: theirs alone
                unread = _unlisted(at, f"{at}", "something that answers a client of MCP with what cannot be read")
                # It may be a web site like any other.
                found.append(unread._replace(severity=Severity.MEDIUM))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_AT_ONCE, one.size)):
            group.create_task(some())
    if len(barred) == tried:
        raise Transient(f"there is no way to {one.cidr} from here ({barred[0]})")
    return sorted(found, key=lambda each: each.id)


async def _open(at: At) -> bool:
    try:
        async with asyncio.timeout(_KNOCKS):
            _, writer = await asyncio.open_connection(at.address, at.port)
    except TimeoutError:
        return False
    except OSError as exc:
        if exc.errno in _NO_WAY:
            raise Transient(str(exc)) from exc
        return False
    writer.transport.abort()
    await asyncio.sleep(0)  # it is closed in the next turn
    return True


async def _server(at: At, paths: Sequence[str], known: frozenset[tuple[At, str]]) -> Found | None:
    """Return that an MCP server stands somewhere unlisted; None if there is none, or only what is listed."""
    listed_here = {path for where, path in known if where == at}
    strange = [] if "" in listed_here else [path for path in paths if path.rstrip("/") not in listed_here]
    # What speaks neither in time is no MCP server to any client, either. What cannot be read may be one.
    with contextlib.suppress(Transient, Misconfigured, OSError, TimeoutError):
        async with asyncio.timeout(_LOOKS):
            for scheme in ("http", "https"):
                with contextlib.suppress(Transient):
                    found = await _speaks(at, scheme, strange)
                    # What takes every path is the one that is listed, however it is called.
                    if found and listed_here and await _speaks(at, scheme, [_NOBODYS]):
                        return None
                    return found
    return None


async def _speaks(at: At, scheme: str, paths: Sequence[str]) -> Found | None:
    """Return likewise, by one scheme.

    Raises:
        Transient: it is not spoken there.
    """
    for path in paths:
        url = f"{scheme}://{at}{path}"
        if said := await _initialized(url) or await _streams(url):
            return _unlisted(at, url, said)
    return None


async def _initialized(url: str) -> str:
    async with Stranger(url, url, any_certificate()) as asking:
        carried = await asking.initialize()
    result = carried.answer.get("result") if answered(carried) else None
    if isinstance(result, dict) and "protocolVersion" in result:
        named = result.get("serverInfo")
        name = named.get("name") if isinstance(named, dict) else None
        # Whatever else it is, it is long or deep at its own choice.
        called = f"calls itself {printable(name, 100)!r}" if isinstance(name, str) else "has no name"
        return f"an MCP server that {called}"
    if "resource_metadata=" in carried.headers.get("WWW-Authenticate", ""):
        return "an MCP server that asks for a token"
    if not carried.answer and b'"protocolVersion"' in carried.raw:
        # Nested deeper than anybody reads: who answers so would otherwise not be seen.
        return "an MCP server whose answer cannot be read"
    error = carried.answer.get("error")
    return "a server that speaks JSON-RPC" if isinstance(error, dict) and _versions(carried) else ""


def _versions(carried: Carried) -> bool:
    """Return whether an error is one of a server of a revision without a handshake."""
    return b"rotocol" in carried.raw and b"ersion" in carried.raw


async def _streams(url: str) -> str:
    async with Stranger(url, url, any_certificate()) as asking:
        carried = await asking.send("GET", headers={"Accept": STREAM}, begun=True)
    streams = carried.status == 200 and STREAM in carried.headers.get("Content-Type", "")  # noqa: PLR2004  # of HTTP
    return "an MCP server of the older kind (SSE)" if streams else ""


def _unlisted(at: At, url: str, said: str) -> Found:
    return Found(
        id=f"address {at}",
        subject=f"address {at}",
        what="",
        expected="listed in inventory.yaml, or nothing",
        observed=f"{said}, at {url}, and not listed",
        severity=Severity.HIGH,
        incident_class=IncidentClass.SERVER_SPOOFING,
        remedy="find whoever runs it: list it in inventory.yaml if it is yours, and else have it taken down",
        # Not with what it says of itself: that is its own to choose, and each choice would be news.
        state=f"unlisted\n{at}",
        rule="MCP server that nobody listed",
        about=(About(EntityKind.ADDRESS, str(at)),),
        tags=(IncidentClass.SERVER_SPOOFING.value, "unlisted"),
    )
