"""The receiver's door: how many connections are let in, from whom, and how long each may take over what.

Everybody can open a connection, so each costs a bounded time whatever its peer does or leaves undone: the TLS
handshake, the headers, the body, a body that nobody wants any more, the answer that is not read. Where there are too
many, one that keeps us waiting gives way: the longest waiting one of whoever has most of them. So a peer that opens all
the connections it can keeps out itself.
"""

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HANDSHAKE_WITHIN = 5.0
"""Seconds in which a TLS handshake must be over."""

HEADERS_WITHIN = 10.0
"""Seconds in which a request's headers must have arrived, from the connection's or the last answer's moment on."""

REQUEST_WITHIN = 30.0
"""Seconds from a request's headers to the end of its answer, which the peer has to read as well."""

UNREAD_WITHIN = 1.0
"""Seconds that a body may still take to arrive after it was answered; it is thrown away."""

CONNECTION_WITHIN = 600.0
"""Seconds after which a connection's next answer is its last."""

_FLUSH_WITHIN = 2.0
_AGAIN = 0.05
_BACKLOG = 2048

LOCAL = "local"
"""The peer that this machine is, by its own name for itself."""

_LOCAL = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))

TurnedAway = Callable[[str], None]
"""Counts a connection that we ended, by our own word for the reason."""


def server(  # all by name
    app: Starlette,
    *,
    host: str,
    port: int,
    certificate: Path | None = None,
    key: Path | None = None,
    limit: int = 400,
    each: int = 100,
) -> "Entrance":
    """Return the server of the receiver: silent about itself, impatient, and bounded.

    Args:
        app: from `flows.service.receiver.create_app`.
        host: the address to bind to, if it is not given sockets.
        port: the port to bind to.
        certificate: the TLS certificate chain, if TLS ends here.
        key: its key.
        limit: connections at once.
        each: of those, how many one peer may have: an IPv4 address, or an IPv6 network of 64 bits; 127.0.0.1 and ::1,
            where a proxy of ours may stand, as many as there are.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ws="none",
        lifespan="off",
        server_header=False,
        # A path or a query could hold what a sender should not have put there.
        access_log=False,
        # A forwarded address or scheme is the sender's claim.
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=15,
        h11_max_incomplete_event_size=16 * 1024,
        ssl_certfile=certificate,
        ssl_keyfile=str(key) if key else None,
        log_config=None,
    )
    return Entrance(config, limit=limit, each=each, turned_away=app.state.turned_away)


class Entrance(uvicorn.Server):
    """uvicorn's server behind a door of our own: it accepts without a limit, and waits for a handshake for a minute.

    Args:
        config: uvicorn's.
        limit: connections at once.
        each: connections of one peer at once.
        turned_away: counts those that we ended.
    """

    def __init__(self, config: uvicorn.Config, *, limit: int, each: int, turned_away: TurnedAway) -> None:
        super().__init__(config)
        self._limit, self._each, self._turned_away = limit, each, turned_away
        # In the order in which they began to keep us waiting.
        self._guests: dict[_Guest, None] = {}
        self._peers: Counter[str] = Counter()
        self._accepting: list[asyncio.Task[None]] = []
        self._own: list[socket.socket] = []

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []
        await self.lifespan.startup()
        if sockets is None:
            self._own = [socket.create_server((self.config.host, self.config.port), backlog=_BACKLOG)]
        for one in sockets or self._own:
            one.settimeout(0)
            one.listen(_BACKLOG)
            self._accepting.append(asyncio.create_task(self._accept(one)))
        self.started = True

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for guest in [guest for guest in self._guests if guest.protocol is None]:
            guest.leave()
        await super().shutdown(sockets or self._own)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError:
                # It broke off before we came, or we have no descriptors left: those inside go on.
                await asyncio.sleep(_AGAIN)
                continue
            self._admit(connection, _peer(address))

    def _admit(self, connection: socket.socket, peer: str) -> None:
        if peer != LOCAL and self._peers[peer] >= self._each and not self._make_room(peer, "peer"):
            self._refuse(connection, "peer")
            return
        if len(self._guests) >= self._limit and not self._make_room(self._greediest(), "full"):
            self._refuse(connection, "full")
            return
        guest = _Guest(self, connection, peer)
        self._guests[guest] = None
        self._peers[peer] += 1
        guest.entering = asyncio.create_task(self._let_in(guest))

    def _refuse(self, connection: socket.socket, reason: str) -> None:
        self._turned_away(reason)
        connection.close()

    def _greediest(self) -> str:
        """Return who has most connections that keep us waiting."""
        waiting = Counter(guest.peer for guest in self._guests if guest.waits)
        return max(waiting, key=lambda peer: waiting[peer], default="")

    def _make_room(self, peer: str, reason: str) -> bool:
        """End the connection of a peer that kept us waiting longest; False if we work on all of them."""
        for guest in self._guests:
            if guest.peer == peer and guest.waits:
                self._turned_away(reason)
                guest.leave()
                self.left(guest)
                return True
        return False

    async def _let_in(self, guest: "_Guest") -> None:
        loop, secure = asyncio.get_running_loop(), self.config.ssl
        within = HANDSHAKE_WITHIN if secure else None
        try:
            await loop.connect_accepted_socket(
                lambda: _Impatient(guest, self.config, self.server_state, self.lifespan.state, loop),
                guest.connection,
                ssl=secure,
                ssl_handshake_timeout=within,
                ssl_shutdown_timeout=within,
            )
        except (OSError, ssl.SSLError) as exc:
            # Whatever was said instead of a handshake, or not said in time.
            if guest in self._guests:
                self._turned_away("slow" if isinstance(exc, TimeoutError | ConnectionAbortedError) else "handshake")
            guest.leave()
            self.left(guest)

    def waits_anew(self, guest: "_Guest") -> None:
        """Put a guest at the end of those who keep us waiting."""
        if guest in self._guests:
            del self._guests[guest]
            self._guests[guest] = None

    def slow(self) -> None:
        """Count a connection that took too long."""
        self._turned_away("slow")

    def left(self, guest: "_Guest") -> None:
        """Forget a guest that has left, or was told to."""
        if guest in self._guests:
            del self._guests[guest]
            self._peers[guest.peer] -= 1
            if not self._peers[guest.peer]:
                del self._peers[guest.peer]


class _Guest:
    """A connection from when it is accepted.

    Args:
        entrance: which it came through.
        connection: its socket.
        peer: whose it is.
    """

    def __init__(self, entrance: Entrance, connection: socket.socket, peer: str) -> None:
        self.entrance, self.connection, self.peer = entrance, connection, peer
        self.entering: asyncio.Task[None] | None = None
        self.protocol: _Impatient | None = None

    @property
    def waits(self) -> bool:
        """Whether it keeps us waiting: for a handshake, a request, the rest of one, or to read its answer."""
        return self.protocol is None or self.protocol.waits

    def leave(self) -> None:
        """End it at once."""
        if self.protocol is not None:
            self.protocol.transport.abort()
            return
        # Its handshake is in somebody else's hands, and ends when nothing more can be read.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        if self.entering is not None and self.entering is not asyncio.current_task():
            self.entering.cancel()


class _Impatient(H11Protocol):
    """uvicorn's HTTP protocol with an end to everything: upstream only ends a connection on which nothing comes.

    Args:
        guest: whose connection it is.
        config: uvicorn's, loaded.
        state: of the server.
        app_state: of the application.
        loop: it runs in.
    """

    def __init__(
        self,
        guest: _Guest,
        config: uvicorn.Config,
        state: uvicorn.server.ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(config=config, server_state=state, app_state=app_state, _loop=loop)
        self._guest = guest
        self._last = loop.time() + CONNECTION_WITHIN
        # How long it may last, and the request that it is about, None before the first.
        self._phase: tuple[float, object] = (0.0, None)
        self._due: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether the peer has to do something before we can go on."""
        request = self._request
        at_work = request is not None and not request.response_complete and not request.more_body
        return not at_work or self.flow.write_paused

    @property
    def _request(self) -> RequestResponseCycle | None:
        # Upstream types it as if there always were one.
        return self.cycle

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as upstream does
        super().connection_made(transport)
        self._guest.protocol = self
        self._time()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._time()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._time()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._due is not None:
            self._due.cancel()
        self._guest.entrance.left(self._guest)
        super().connection_lost(exc)

    def _time(self) -> None:
        """Start the clock of what is to come next; it is not restarted by what comes slowly."""
        request = self._request
        answered = request is None or request.response_complete
        if self.transport.is_closing():
            within = _FLUSH_WITHIN
        elif not answered:
            within = REQUEST_WITHIN
        elif self.conn.their_state is h11.IDLE:
            within = HEADERS_WITHIN
        else:
            within = UNREAD_WITHIN
        # Of a request its own clock, however short the time between two of them.
        phase = (within, request)
        if phase == self._phase:
            return
        if request is not None and request is not self._phase[1] and self.loop.time() > self._last:
            request.default_headers = [*request.default_headers, (b"connection", b"close")]
        self._phase = phase
        if self._due is not None:
            self._due.cancel()
        self._due = self.loop.call_later(within, self._end)
        self._guest.entrance.waits_anew(self._guest)

    def _end(self) -> None:
        self._guest.entrance.slow()
        if self.transport.is_closing():
            # It does not read what we said.
            self.transport.abort()
            return
        self.transport.close()
        self._time()


def listener(descriptor: int) -> socket.socket:
    """Return an inherited listening socket."""
    return socket.socket(fileno=os.dup(descriptor))


def _peer(address: Any) -> str:  # noqa: ANN401  # what a socket says, by its family
    """Return who counts as one peer: an IPv4 address, an IPv6 network of 64 bits, which anybody gets whole."""
    try:
        found = ipaddress.ip_address(str(address[0]).partition("%")[0])
    except (ValueError, IndexError, TypeError):
        return ""
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found in _LOCAL:
        return LOCAL
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
