"""One request to an outside system, what came back, read within limits, and what a refusal means."""

import asyncio
import ssl
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import httpx

from integrations import bounded
from integrations.tls import trusted
from integrations.waiting import wait_of
from playbooks.errors import Misconfigured, Refused, SoarError, Transient

TIMEOUT: Final = 4.0
"""Seconds for one request: less than the 5 that an action's read or write may take."""

AT_ONCE: Final = 8
"""Requests under way. The other side may be one process: more at once make each slower, and then time out together."""

LONGEST_WAIT: Final = 30.0
"""Seconds after which whoever asked for patience is asked again, however long it asked for."""

_IDLE: Final = 4.0
"""Seconds after which an idle connection is not used again: servers commonly close theirs after five."""

FAULTS: Final = (httpx.HTTPError, httpx.InvalidURL)
"""What its client raises where no answer comes, or none that can be read."""

_LATER: Final = frozenset({408, 425, 429})
_MOST_SAID: Final = 20_000
"""Bytes of an error's text that are looked at."""


class Request(NamedTuple):
    """What is asked.

    Args:
        method: of HTTP.
        path: from the administration's root.
        params: of the query.
        json: the body.
        headers: beside those that the connection has.
        form: the body, where it is one.
        content: the body as it is, whose type a header says.
    """

    method: str
    path: str
    params: Mapping[str, str] | None = None
    json: Any = None
    headers: Mapping[str, str] = {}
    form: Mapping[str, str] | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class Answer:
    """What came back for one request.

    Args:
        status: of HTTP.
        retry_after: what that header says.
        raw: the body.
        challenge: what its `WWW-Authenticate` says; hostile.
        readable_by: whose pages may read it, as `Access-Control-Allow-Origin` says; hostile.
    """

    status: int
    retry_after: str | None
    raw: bytes
    challenge: str = ""
    readable_by: str = ""

    @property
    def success(self) -> bool:
        """Whether it is a yes."""
        return httpx.codes.is_success(self.status)

    @property
    def text(self) -> str:
        """What it says; hostile."""
        return self.raw[:_MOST_SAID].decode(errors="replace")


def connecting(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    base: str = "",
    keep: int = 2 * AT_ONCE,
    verify: ssl.SSLContext | None = None,
) -> httpx.AsyncClient:
    """Return what makes connections, and keeps some of them for the next request; nothing is followed elsewhere.

    Args:
        url: an address there, whose certificate is checked if it has one.
        headers: that go along with every request.
        base: what paths are below; empty if each request names all of its address.
        keep: how many are kept; without any, each request has a connection of its own.
        verify: what its certificate is checked against, if not the public authorities.
    """
    return httpx.AsyncClient(
        base_url=base,
        headers={"Accept-Encoding": bounded.ENCODINGS, **(headers or {})},
        timeout=httpx.Timeout(TIMEOUT, connect=2.0),
        limits=httpx.Limits(max_connections=2 * AT_ONCE, max_keepalive_connections=keep, keepalive_expiry=_IDLE),
        verify=verify or trusted(url),
        trust_env=False,
    )


def refusal(
    message: str, answer: Answer, *, busy: Collection[int] = (), barred: str = "", field: str | None = None
) -> SoarError:
    """Return what a no means.

    Args:
        message: what was asked, and what was said.
        answer: the no.
        busy: further statuses by which this side says that another time it may be a yes.
        barred: why it is one for us, where that is what it says.
        field: of our files, that mends it.
    """
    if answer.status in _LATER or answer.status in busy or answer.status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Transient(message, retry_after=wait_of(answer.retry_after, longest=LONGEST_WAIT))
    return Misconfigured(f"{message}; {barred}", field=field) if barred else Refused(message)


async def send(
    http: httpx.AsyncClient,
    name: str,
    request: Request,
    *,
    within: float,
    turns: asyncio.Semaphore | None,
    largest: int = bounded.LARGEST,
) -> Answer:
    """Send one request.

    Args:
        http: the connections.
        name: what messages call the other side.
        request: what is asked.
        within: seconds that it may take.
        turns: how many may be under way at once.
        largest: bytes that an answer may have.

    Raises:
        Transient: nothing came back.
        Refused: more came back than anybody reads.
    """
    method, path, params, json, headers, form, content = request
    try:
        # The clock starts when it is its turn: a burst of our own is not the gateway's silence.
        async with turns or nullcontext(), asyncio.timeout(within):
            limit = httpx.Timeout(within, connect=2.0)
            asked = http.build_request(
                method, path, params=params, json=json, data=form, content=content, headers=headers, timeout=limit
            )
            try:
                return await _answer(http, asked, name, largest)
            except (httpx.ReadError, httpx.RemoteProtocolError):
                if method != "GET":
                    raise
                # The gateway closed a connection that had been idle just as it was used again. A question may be put
                # twice; whether a change arrived is found out by reading.
                return await _answer(http, asked, name, largest)
    except (httpx.TransportError, TimeoutError) as exc:
        raise Transient(f"{name}: {method} {path}: no answer ({type(exc).__name__})") from exc
    except httpx.HTTPError as exc:
        raise Transient(f"{name}: {method} {path}: {type(exc).__name__}") from exc


async def _answer(http: httpx.AsyncClient, asked: httpx.Request, name: str, largest: int) -> Answer:
    response = await http.send(asked, stream=True)
    try:
        raw = await bounded.body(response, f"{name}: {asked.method} {asked.url.path}", largest=largest)
    finally:
        await response.aclose()
    headers = response.headers
    allowed = headers.get("Access-Control-Allow-Origin", "")
    return Answer(response.status_code, headers.get("Retry-After"), raw, headers.get("WWW-Authenticate", ""), allowed)
