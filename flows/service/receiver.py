"""The webhook receiver: the only part that faces the outside, and it holds nothing worth taking.

It authenticates the raw bytes, checks that they are an alert, puts them into the inbox and answers. It imports no
client of a target and no signing key; what an alert means for anybody is the responder's business.

POST /v1/alerts/{source}, and for what a check of ours says of its run, or asks for, POST /v1/checks/drift
    202 accepted, durably · 200 accepted before · 401 not authentic · 404 no such source · 405 · 408 the body took too
    long · 409 same id, other body · 413 too large · 415 not JSON · 422 not the source's format · 503 try again later
GET /healthz, /readyz, /metrics

Errors are problem details (RFC 9457). 503 is the only 5xx; whoever gets it, or no answer, sends the same message with
the same `webhook-id` again.
"""

import asyncio
import hashlib
import ipaddress
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flows.service.refusals import Refusals
from integrations.siem.source import (
    Bearer,
    Hmac,
    Key,
    Malformed,
    Source,
    parse,
    read_keys,
    same_token,
    verify,
)
from playbooks.errors import Misconfigured, Transient
from playbooks.gate.corroboration import OWN_COMPARISON
from playbooks.record.check import KIND, SAID, Asked, Ran
from playbooks.record.incident import Alert, AlertState
from playbooks.record.journal import BY_BODY
from playbooks.strict import iso

log = logging.getLogger(__name__)

_Read = Callable[[bytes, str, Source], Awaitable[tuple[str, int]]]
"""Reads a body of a source; returns what kind of entry it is, and how grave."""

BODY_WITHIN = 10.0
"""Seconds in which a whole body must have arrived."""

_STORE_WITHIN = 10.0
_READY_WITHIN = 2.0
_RETRY_AFTER = 5
_KEPT = ("content-type", "user-agent", "webhook-id", "webhook-timestamp")
_MAX_HEADER = 200
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_JSON = re.compile(r"(?ia)application/(?:(?:x-)?(?:nd)?json|[a-z0-9.-]+\+json)(?:\s*;\s*charset=\"?utf-8\"?)?\s*")
_LONG = 64 * 1024
_AHEAD = timedelta(minutes=5)
"""How much later than ours the clock of a check of ours may be."""

_UNPROVEN_AT_ONCE = 2
"""Long messages of unauthenticated sources that are read at the same time."""


class Stored(Protocol):
    """What the inbox says about an entry. `integrations.journal.records.Receipt` is one."""

    @property
    def id(self) -> str:
        """The entry; a repeat gets that of the first."""

    @property
    def fresh(self) -> bool:
        """Whether it was not there before."""

    @property
    def conflict(self) -> bool:
        """Whether another body stands under the same source and nonce; then nothing was stored."""

    @property
    def incident(self) -> str | None:
        """What the entry became, once a responder has seen it."""


class Inbox(Protocol):
    """Where everything from outside arrives. Insert-only: the receiver cannot read what others sent."""

    async def put(
        self, *, kind: str, source: str, nonce: str, body: bytes, headers: Mapping[str, str], weight: int
    ) -> Stored:
        """Store an entry once per source and nonce, and return after it is durable.

        Args:
            kind: what it is; `alert` here, or `check`.
            source: the configured source.
            nonce: the sender's id of the message.
            body: the message as it came.
            headers: those that may be kept; never one that authenticates.
            weight: how grave it is, among what the source sent.

        Raises:
            Transient: the journal cannot be reached.
        """

    async def ready(self) -> bool:
        """Return whether an entry could be stored now."""


class _Rejected(Exception):
    """A request that is answered with a problem."""

    def __init__(
        self,
        status: HTTPStatus,
        reason: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(reason)
        self.status, self.reason, self.detail, self.errors = status, reason, detail, errors
        self.headers = dict(headers or {})


class _Metrics:
    """What can be counted without a value of the sender's choice: labels are configured names and our own words."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.registry = CollectorRegistry()
        self.accepted = Counter("soar_alerts_accepted", "Messages stored.", ["source"], registry=self.registry)
        self.repeated = Counter("soar_alerts_repeated", "Messages stored before.", ["source"], registry=self.registry)
        self.rejected = Counter(
            "soar_alerts_rejected", "Messages refused.", ["source", "reason"], registry=self.registry
        )
        self.turned_away = Counter(
            "soar_connections_turned_away", "Connections that were ended by us.", ["reason"], registry=self.registry
        )
        self.failures = Counter("soar_inbox_failures", "Messages that could not be stored.", registry=self.registry)
        self.seconds = Histogram("soar_alert_seconds", "From the headers to the answer.", registry=self.registry)
        for name in sources:
            self.accepted.labels(name)
            self.repeated.labels(name)


def create_app(
    sources: Mapping[str, Source],
    inbox: Inbox,
    *,
    clock: Callable[[], datetime],
    tls: bool = False,
    host: str = "127.0.0.1",
    whose: Mapping[str, str] = MappingProxyType({}),
) -> Starlette:
    """Return the receiver as an ASGI application.

    Args:
        sources: who may send, by name.
        inbox: where messages go.
        clock: the present moment.
        tls: whether senders reach us over TLS, here or at a proxy of ours in front.
        host: the address that it will be bound to.
        whose: headers in which `/readyz` says to `doctor` whose it is.

    Raises:
        Misconfigured: a secret is missing, weak or shared by two sources, or a bearer token would travel in the clear.
    """
    receiver = _Receiver(sources, inbox, clock, tls=tls, loopback=_is_loopback(host), whose=whose)
    # Nothing around it: each message of a flood would pay for what no route here needs.
    routes = [
        Route("/v1/alerts/{source}", receiver.alert, methods=["POST"]),
        Route("/v1/checks/{source}", receiver.check, methods=["POST"]),
        Route("/healthz", receiver.healthz),
        Route("/readyz", receiver.readyz),
        Route("/metrics", receiver.metrics),
    ]
    app = Starlette(routes=routes)
    # No redirect that would repeat a path of the sender's.
    app.router.redirect_slashes = False
    app.add_exception_handler(HTTPException, _no_route)
    app.state.turned_away = receiver.turned_away
    return app


class _Receiver:
    """The routes, and what they share."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        inbox: Inbox,
        clock: Callable[[], datetime],
        *,
        tls: bool,
        loopback: bool,
        whose: Mapping[str, str],
    ) -> None:
        self._whose = dict(whose)
        self._sources = dict(sources)
        self._inbox = inbox
        self._clock = clock
        self._keys = {name: read_keys(name, source) for name, source in sources.items()}
        self._metrics = _Metrics(sources)
        self._refusals = Refusals(inbox, clock)
        # Threads of their own, not a semaphore: one that is given up leaves its thread at work, and still counts here.
        self._unproven = ThreadPoolExecutor(_UNPROVEN_AT_ONCE, thread_name_prefix="unproven")
        _refuse_clear_tokens(sources, safe=tls or loopback)
        _refuse_shared_keys(self._keys)

    async def alert(self, request: Request) -> Response:
        """Take in one message.

        Args:
            request: as it came.
        """
        return await self._answered(request, self._weighed, "alerts")

    async def check(self, request: Request) -> Response:
        """Take in what a check of ours says of its run, or that one is asked for.

        Args:
            request: as it came.
        """
        return await self._answered(request, self._ran, "checks")

    async def _answered(self, request: Request, read: _Read, where: str) -> Response:
        began = time.perf_counter()
        name = request.path_params["source"]
        known = name in self._sources
        instance = f"/v1/{where}/{name}" if known else None
        try:
            return await self._take(request, name, read)
        except _Rejected as exc:
            self._metrics.rejected.labels(name if known else "-", exc.reason).inc()
            log.info("alert refused", extra={"source": name if known else "-", "reason": exc.reason})
            return _problem(exc.status, exc.detail, instance=instance, headers=exc.headers, errors=exc.errors)
        except Transient:
            self._metrics.failures.inc()
            log.warning("inbox unreachable", extra={"source": name})
            return _unavailable("The message was not stored. Send it again.", instance)
        except Exception as exc:  # noqa: BLE001  # a fault of ours must not lose the alert: the sender tries again
            self._metrics.failures.inc()
            # Its type only: its text could quote the message.
            log.error("alert not stored", extra={"source": name if known else "-", "fault": type(exc).__name__})  # noqa: TRY400
            return _unavailable("The message was not stored. Send it again.", instance)
        finally:
            self._metrics.seconds.observe(time.perf_counter() - began)

    async def _take(self, request: Request, name: str, read: _Read) -> Response:
        source = self._sources.get(name)
        if source is None:
            raise _Rejected(HTTPStatus.NOT_FOUND, "unknown_source", "There is no such source.")
        _require_json(request)
        body = await _read_body(request, source.largest)
        nonce = self._authenticate(request, name, source, body)
        try:
            kind, weight = await read(body, name, source)
        except Malformed as exc:
            if source.authenticated:
                # Its sender proved who it is, and few send a second time: people have to hear of it.
                self._refusals.note(name, f"{exc}.")
            detail = "The message is not what this source's format says."
            raise _Rejected(HTTPStatus.UNPROCESSABLE_ENTITY, "malformed", detail, errors=exc.faults) from exc
        receipt = await self._store(kind, name, nonce, body, request, weight)
        if receipt.conflict:
            detail = "Another message was accepted under this id."
            raise _Rejected(HTTPStatus.CONFLICT, "conflict", detail)
        if not receipt.fresh:
            self._metrics.repeated.labels(name).inc()
            known = {"incident": receipt.incident} if receipt.incident else {}
            return _json(HTTPStatus.OK, {"receipt": receipt.id, **known})
        self._metrics.accepted.labels(name).inc()
        return _json(HTTPStatus.ACCEPTED, {"receipt": receipt.id, "accepted_at": iso(self._clock())})

    async def _weighed(self, body: bytes, name: str, source: Source) -> tuple[str, int]:
        alerts = await self._parsed(body, name, source)
        return "alert", max((alert.severity for alert in alerts if alert.state is AlertState.NEW), default=0)

    async def _ran(self, body: bytes, name: str, source: Source) -> tuple[str, int]:
        if name != OWN_COMPARISON or not source.authenticated:
            raise _Rejected(HTTPStatus.NOT_FOUND, "unknown_source", "No check of ours reports by that name.")
        said = _run(body) if len(body) <= _LONG else await asyncio.to_thread(_run, body)
        if isinstance(said, Ran) and said.ended > self._clock() + _AHEAD:
            # Nobody would see that nothing runs any more.
            raise Malformed("ended", "lies in the future")
        return KIND, 0

    async def _parsed(self, body: bytes, name: str, source: Source) -> Sequence[Alert]:
        if len(body) <= _LONG:
            return parse(body, name, source)
        # In a thread, what takes long: everybody else is answered meanwhile.
        threads = None if source.authenticated else self._unproven
        return await asyncio.get_running_loop().run_in_executor(threads, parse, body, name, source)

    async def _store(  # noqa: PLR0917  # in the order of `put`
        self, kind: str, name: str, nonce: str, body: bytes, request: Request, weight: int
    ) -> Stored:
        kept = {key: _fit(value) for key in _KEPT if (value := _only(request, key))}
        try:
            async with asyncio.timeout(_STORE_WITHIN):
                return await self._inbox.put(
                    kind=kind, source=name, nonce=nonce, body=body, headers=kept, weight=weight
                )
        except TimeoutError as exc:
            # It may have been stored after all; the repeat then finds it under its nonce.
            raise Transient("the inbox did not answer in time") from exc

    def _authenticate(self, request: Request, name: str, source: Source, body: bytes) -> str:
        """Return the message's nonce, or refuse it without saying why."""
        keys = self._keys[name]
        message_id = _only(request, "webhook-id")
        if isinstance(source.authentication, Hmac):
            authentic = verify(
                keys,
                message_id=message_id,
                timestamp=_only(request, "webhook-timestamp"),
                signature=_only(request, "webhook-signature"),
                body=body,
                at=self._clock(),
                window=source.authentication.window,
            )
        elif isinstance(source.authentication, Bearer):
            scheme, _, token = _only(request, "authorization").partition(" ")
            authentic = same_token(keys, token.strip()) and scheme.lower() == "bearer"
        else:
            authentic = True
        if not authentic:
            scheme = "Bearer" if isinstance(source.authentication, Bearer) else "StandardWebhooks"
            raise _Rejected(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "The message is not authentic.",
                headers={"WWW-Authenticate": scheme},
            )
        if message_id and not _ID.fullmatch(message_id):
            # Signed ones were refused above: only senders without signatures come here.
            fault = ("webhook-id", "must be 1 to 100 letters, digits, _ or -")
            raise _Rejected(HTTPStatus.UNPROCESSABLE_ENTITY, "malformed", "A header is malformed.", errors=[fault])
        # Known by its body alone, and for as long as its incident is open: no sender's id has a colon.
        return message_id or BY_BODY + hashlib.sha256(name.encode() + b"\0" + body).hexdigest()

    async def healthz(self, _request: Request) -> Response:
        """Say that the process answers."""
        return _json(HTTPStatus.OK, {"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        """Say whether an alert could be stored now."""
        try:
            async with asyncio.timeout(_READY_WITHIN):
                ready = await self._inbox.ready()
        except Exception:  # noqa: BLE001  # whatever keeps it from answering, it is not ready
            ready = False
        answer = _json(HTTPStatus.OK, {"status": "ready"})
        if not ready:
            answer = _unavailable("Nothing can be put into the inbox now.", "/readyz")
        answer.headers.update(self._whose)
        return answer

    def turned_away(self, reason: str) -> None:
        """Count a connection that was ended before it was answered, or not in time."""
        self._metrics.turned_away.labels(reason).inc()

    async def metrics(self, _request: Request) -> Response:
        """Show the counts."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _refuse_clear_tokens(sources: Mapping[str, Source], *, safe: bool) -> None:
    for name, source in sources.items():
        if isinstance(source.authentication, Bearer) and not safe:
            raise Misconfigured(
                "a bearer token off loopback needs TLS: configure a certificate, or sign with hmac instead",
                field=f"sources.{name}.authentication",
            )


def _refuse_shared_keys(keys: Mapping[str, Sequence[Key]]) -> None:
    # The signed text does not name the source: with one key, a message for one could be sent to the other.
    owner: dict[Key, str] = {}
    for name, own in keys.items():
        for key in own:
            if owner.setdefault(key, name) != name:
                raise Misconfigured(
                    f"uses the same secret as {owner[key]}; give each source its own",
                    field=f"sources.{name}.authentication",
                )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _only(request: Request, header: str) -> str:
    """Return a header that is there once; one given twice counts as absent, whichever a proxy would have taken."""
    values = request.headers.getlist(header)
    return values[0] if len(values) == 1 else ""


def _fit(value: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in value[:_MAX_HEADER])


def _run(body: bytes) -> Ran | Asked:
    try:
        return SAID.validate_json(body)
    except ValidationError as exc:
        raise Malformed("body", "is no run of a check of this release, and asks for none") from exc


def _require_json(request: Request) -> None:
    encoded = request.headers.get("content-encoding", "identity").lower() != "identity"
    if encoded or not _JSON.fullmatch(_only(request, "content-type")):
        detail = (
            "The body must be JSON in UTF-8, not compressed, sent with the header Content-Type: application/json "
            "(in Kibana, a header of the Webhook connector)."
        )
        raise _Rejected(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media_type", detail, headers={"Accept": "application/json"})


async def _read_body(request: Request, largest: int) -> bytes:
    too_large = _Rejected(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too_large",
        f"The body may have {largest} bytes: let the sender put fewer alerts into a message.",
        headers={"Connection": "close"},
    )
    declared = request.headers.get("content-length", "")
    if declared and "transfer-encoding" in request.headers:
        # RFC 9112, 6.1: two lengths are how a request is smuggled past a proxy that believes the other one.
        raise _Rejected(HTTPStatus.BAD_REQUEST, "framing", "A body has one length.", headers={"Connection": "close"})
    if declared and (not declared.isascii() or not declared.isdigit()):
        raise _Rejected(HTTPStatus.BAD_REQUEST, "framing", "Content-Length must be a number.")
    # The first condition spares us from reading a number of any length.
    if declared and (len(declared) > len(str(largest)) or int(declared) > largest):
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > largest:
                    raise too_large
    except TimeoutError as exc:
        detail = f"The body must arrive within {BODY_WITHIN:g} seconds."
        raise _Rejected(HTTPStatus.REQUEST_TIMEOUT, "timeout", detail, headers={"Connection": "close"}) from exc
    except ClientDisconnect as exc:
        raise _Rejected(HTTPStatus.BAD_REQUEST, "disconnected", "The body broke off.") from exc
    return bytes(body)


_SAFE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def _json(status: HTTPStatus, content: dict[str, Any]) -> Response:
    return JSONResponse(content, status_code=status, headers=_SAFE)


def _problem(
    status: HTTPStatus,
    detail: str,
    *,
    instance: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[tuple[str, str]] = (),
) -> JSONResponse:
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
    }
    if instance:
        content["instance"] = instance
    if errors:
        content["errors"] = [{"field": field, "message": message} for field, message in errors]
    return JSONResponse(
        content, status_code=status, headers={**_SAFE, **(headers or {})}, media_type="application/problem+json"
    )


def _unavailable(detail: str, instance: str | None) -> Response:
    headers = {"Retry-After": str(_RETRY_AFTER)}
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, instance=instance, headers=headers)


async def _no_route(_: Request, exc: Exception) -> Response:
    status = HTTPStatus(exc.status_code) if isinstance(exc, HTTPException) else HTTPStatus.NOT_FOUND
    headers = exc.headers if isinstance(exc, HTTPException) else None
    detail = "The method is not allowed here." if status is HTTPStatus.METHOD_NOT_ALLOWED else "There is nothing here."
    return _problem(status, detail, headers=headers)
