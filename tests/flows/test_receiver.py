"""The receiver: what it lets in, and above all what it does not."""

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from flows.service import entrance, receiver, refusals
from flows.service.entrance import server
from flows.service.receiver import create_app
from integrations.siem.source import MAX_BYTES, Source, parse, sign, signed
from playbooks.errors import Misconfigured, Transient
from playbooks.record.check import Ran
from playbooks.record.incident import Severity
from tests.lab.examples import examples

ROOT = Path(__file__).parents[2]
BODY = (ROOT / "tests/fixtures/alerts/generic-tool-poisoning.json").read_bytes()
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
OLD, NEW, TOKEN = bytes(range(32)), bytes(range(32, 64)), "t0ken-t0ken-t0ken-t0ken-t0ken"
JSON = {"content-type": "application/json"}


class Receipt(NamedTuple):
    id: str
    fresh: bool
    conflict: bool
    incident: str | None


@dataclass
class MemoryInbox:
    """What the journal's inbox does, as far as the receiver can tell. `fault` is raised instead."""

    fault: BaseException | None = None
    hangs: bool = False
    incident: str | None = None
    weights: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    refused: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    stored: dict[tuple[str, str], tuple[str, bytes, dict[str, str]]] = field(default_factory=dict)

    async def put(
        self, *, kind: str, source: str, nonce: str, body: bytes, headers: Mapping[str, str], weight: int
    ) -> Receipt:
        if kind == "refused":
            self.refused.append((source, json.loads(body)))
            return Receipt("r", fresh=True, conflict=False, incident=None)
        assert kind in {"alert", "check"}
        self.kinds.append(kind)
        self.weights.append(weight)
        if self.hangs:
            await asyncio.sleep(3600)
        if self.fault:
            raise self.fault
        known = self.stored.get((source, nonce))
        if known is None:
            identity = f"in-{len(self.stored) + 1}"
            self.stored[source, nonce] = (identity, body, dict(headers))
            return Receipt(identity, fresh=True, conflict=False, incident=None)
        return Receipt(known[0], fresh=False, conflict=known[1] != body, incident=self.incident)

    async def ready(self) -> bool:
        if self.hangs:
            await asyncio.sleep(3600)
        if self.fault:
            raise self.fault
        return True


def source(authentication: object, confidence: str = "low") -> Source:
    return Source.model_validate({"format": "generic", "authentication": authentication, "confidence": confidence})


def secret(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


SOURCES = {
    "signed": source({"hmac": {"secrets": [{"env": "SOAR_TEST_NEW"}, {"env": "SOAR_TEST_OLD"}]}}, "high"),
    "bearer": source({"bearer": {"secrets": [{"env": "SOAR_TEST_TOKEN"}]}}),
    "open": source("none"),
}


@pytest.fixture(autouse=True, scope="module")
def _secrets() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOAR_TEST_NEW", secret(NEW))
        patch.setenv("SOAR_TEST_OLD", secret(OLD))
        patch.setenv("SOAR_TEST_TOKEN", TOKEN)
        yield


def app_with(inbox: MemoryInbox) -> Starlette:
    return create_app(SOURCES, inbox, clock=lambda: NOW)


def client_of(inbox: MemoryInbox) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app_with(inbox)), base_url="http://receiver")


def headers_of(body: bytes = BODY, *, key: bytes = NEW, nonce: str = "m1", at: datetime = NOW) -> dict[str, str]:
    return {**JSON, **signed(key, nonce, at, body)}


async def send(
    inbox: MemoryInbox, body: bytes = BODY, *, to: str = "signed", headers: Mapping[str, str] | None = None
) -> httpx.Response:
    proof = headers_of(body) if to == "signed" else {**JSON, "authorization": f"Bearer {TOKEN}"}
    async with client_of(inbox) as client:
        return await client.post(f"/v1/alerts/{to}", content=body, headers=latin(proof | dict(headers or {})))


def latin(headers: Mapping[str, str], *more: tuple[str, str]) -> httpx.Headers:
    """Return headers whose values may be any byte, which httpx would otherwise refuse, and may be given twice."""
    return httpx.Headers(
        [(key.encode(), value.encode("latin-1", "replace")) for key, value in (*headers.items(), *more)]
    )


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert problem["status"] == status
    return problem


async def test_a_signed_alert_is_stored_before_it_is_accepted() -> None:
    inbox = MemoryInbox()
    response = await send(inbox, headers={"user-agent": "scanner/1\x7f" + "x" * 500})
    assert response.status_code == 202
    assert response.json() == {"receipt": "in-1", "accepted_at": "2026-01-31T12:00:00.000Z"}
    ((key, (_, body, kept)),) = inbox.stored.items()
    assert key == ("signed", "m1")
    assert body == BODY
    assert set(kept) == {"content-type", "user-agent", "webhook-id", "webhook-timestamp"}
    assert kept["user-agent"] == "scanner/1?" + "x" * 190
    assert inbox.weights == [int(Severity.HIGH)], "its turn among what this source sends"


async def test_the_old_secret_is_accepted_while_rotating() -> None:
    response = await send(MemoryInbox(), headers=signed(OLD, "m1", NOW, BODY))
    assert response.status_code == 202


async def test_a_repeat_gets_the_same_receipt_and_the_incident_if_known() -> None:
    inbox = MemoryInbox()
    await send(inbox)
    later = signed(NEW, "m1", NOW + timedelta(seconds=60), BODY)
    assert (await send(inbox, headers=later)).json() == {"receipt": "in-1"}
    inbox.incident = "INC-7"
    again = await send(inbox)
    assert (again.status_code, again.json()) == (200, {"receipt": "in-1", "incident": "INC-7"})
    assert len(inbox.stored) == 1


async def test_the_same_id_with_another_body_conflicts() -> None:
    inbox = MemoryInbox()
    await send(inbox)
    assert_problem(await send(inbox, BODY + b" "), 409)
    assert [body for _, body, _ in inbox.stored.values()] == [BODY]


@pytest.mark.parametrize("to", ["bearer", "open"])
async def test_without_an_id_the_body_is_the_nonce(to: str) -> None:
    inbox = MemoryInbox()
    assert [(await send(inbox, to=to)).status_code for _ in range(2)] == [202, 200]
    assert (await send(inbox, BODY + b" ", to=to)).status_code == 202
    assert next(iter(inbox.stored)) == (to, "body:" + hashlib.sha256(to.encode() + b"\0" + BODY).hexdigest())
    assert (await send(inbox, to=to, headers={"webhook-id": "mine"})).status_code == 202
    assert (await send(inbox, BODY + b" ", to=to, headers={"webhook-id": "mine"})).status_code == 409
    assert_problem(await send(inbox, to=to, headers={"webhook-id": "a.b"}), 422)


async def test_the_same_message_at_two_sources_is_two() -> None:
    inbox = MemoryInbox()
    assert (await send(inbox, to="bearer", headers={"webhook-id": "x"})).status_code == 202
    assert (await send(inbox, to="open", headers={"webhook-id": "x"})).status_code == 202


OTHER = bytes(32)
NOT_AUTHENTIC: dict[str, Callable[[], dict[str, str]]] = {
    "no headers": dict,
    "no signature": lambda: _without("webhook-signature"),
    "no timestamp": lambda: _without("webhook-timestamp"),
    "no id": lambda: _without("webhook-id"),
    "unknown key": lambda: signed(OTHER, "m1", NOW, BODY),
    "another body": lambda: signed(NEW, "m1", NOW, BODY + b" "),
    "another id": lambda: signed(NEW, "m1", NOW, BODY) | {"webhook-id": "m2"},
    "another time": lambda: signed(NEW, "m1", NOW, BODY) | {"webhook-timestamp": str(int(NOW.timestamp()) + 1)},
    "too old": lambda: signed(NEW, "m1", NOW - timedelta(seconds=301), BODY),
    "too new": lambda: signed(NEW, "m1", NOW + timedelta(seconds=301), BODY),
    "asymmetric": lambda: _signature("v1a,"),
    "unversioned": lambda: _signature(""),
    "no number": lambda: signed(NEW, "m1", NOW, BODY) | {"webhook-timestamp": "now"},
    "other digits": lambda: signed(NEW, "m1", NOW, BODY) | {"webhook-timestamp": "\N{SUPERSCRIPT TWO}" * 10},
    "endless number": lambda: signed(NEW, "m1", NOW, BODY) | {"webhook-timestamp": "9" * 5000},
    "a bearer token": lambda: {"authorization": f"Bearer {TOKEN}"},
    "the secret itself": lambda: {"authorization": f"Bearer {secret(NEW)}"},
}


def _without(header: str) -> dict[str, str]:
    return {key: value for key, value in signed(NEW, "m1", NOW, BODY).items() if key != header}


def _signature(prefix: str) -> dict[str, str]:
    headers = signed(NEW, "m1", NOW, BODY)
    return headers | {"webhook-signature": prefix + headers["webhook-signature"].removeprefix("v1,")}


@pytest.mark.parametrize("case", NOT_AUTHENTIC)
async def test_what_is_not_authentic_gets_one_answer_without_a_hint(case: str) -> None:
    inbox = MemoryInbox()
    async with client_of(inbox) as client:
        headers = latin(JSON | NOT_AUTHENTIC[case]())
        response = await client.post("/v1/alerts/signed", content=BODY, headers=headers)
    assert assert_problem(response, 401) == {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": "The message is not authentic.",
        "instance": "/v1/alerts/signed",
    }
    assert response.headers["www-authenticate"] == "StandardWebhooks"
    assert not inbox.stored


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
async def test_a_header_given_twice_is_not_chosen_from(header: str) -> None:
    inbox = MemoryInbox()
    headers = latin(headers_of(), (header, headers_of()[header]))
    async with client_of(inbox) as client:
        assert_problem(await client.post("/v1/alerts/signed", content=BODY, headers=headers), 401)
    assert not inbox.stored


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xff"])
async def test_a_wrong_token_is_not_authentic(value: str) -> None:
    inbox = MemoryInbox()
    async with client_of(inbox) as client:
        headers = latin(JSON, ("authorization", value))
        response = await client.post("/v1/alerts/bearer", content=BODY, headers=headers)
    assert_problem(response, 401)
    assert TOKEN not in response.text
    assert not inbox.stored


async def test_an_unauthentic_message_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(receiver, "parse", never)
    assert_problem(await send(MemoryInbox(), b"{", headers=signed(OTHER, "m1", NOW, b"{")), 401)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", ["body"]),
        (b"{", ["body"]),
        (b"[NaN]", ["0"]),
        (b"[" * 100_000, ["body"]),
        (b'{"version": 1, ' + BODY.lstrip(b"{"), ["version"]),
        (BODY.replace(b'"high"', b'"huge"'), ["severity"]),
        (BODY.replace(b'"high"', b'"huge"').replace(b'"rule"', b'"ruler"'), ["rule", "severity", "ruler"]),
    ],
)
async def test_what_is_malformed_is_named(body: bytes, fields: list[str]) -> None:
    inbox = MemoryInbox()
    problem = assert_problem(await send(inbox, body), 422)
    assert [error["field"] for error in problem["errors"]] == fields
    assert all(error["message"] for error in problem["errors"])
    assert not inbox.stored


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/alerts/nobody", 404),
        ("POST", "/v1/alerts/signed/", 404),
        ("POST", "/v1/alerts/", 404),
        ("POST", "/v1/alerts/..%2fmetrics", 404),
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/redoc", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/v1/alerts/signed", 405),
        ("PUT", "/v1/alerts/signed", 405),
        ("DELETE", "/v1/alerts/nobody", 405),
        ("POST", "/metrics", 405),
    ],
)
async def test_other_paths_and_methods(method: str, path: str, status: int) -> None:
    async with client_of(MemoryInbox()) as client:
        response = await client.request(method, path, content=BODY, headers=headers_of())
    assert_problem(response, status)
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": ""},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-encoding": "gzip"},
    ],
)
async def test_other_content_is_refused(headers: dict[str, str]) -> None:
    assert_problem(await send(MemoryInbox(), headers=headers), 415)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json; charset=utf-8",
        'APPLICATION/JSON;charset="UTF-8"',
        "application/cloudevents+json",
        "application/x-ndjson",
    ],
)
async def test_json_by_its_other_names_is_read(kind: str) -> None:
    assert (await send(MemoryInbox(), headers={"content-type": kind})).status_code == 202


@pytest.mark.parametrize("declared", [True, False])
async def test_a_large_body_is_refused_declared_or_not(declared: bool) -> None:  # noqa: FBT001  # a parameter of the table
    inbox = MemoryInbox()
    body = BODY + b" " * (MAX_BYTES + 1 - len(BODY))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    async with client_of(inbox) as client:
        content = body if declared else chunks()
        assert_problem(await client.post("/v1/alerts/signed", content=content, headers=headers_of(body)), 413)
    exact = body[:MAX_BYTES]
    assert (await send(inbox, exact)).status_code == 202
    assert len(inbox.stored) == 1


@pytest.mark.parametrize(("length", "status"), [("9" * 5000, 413), ("-1", 400), ("x", 400), ("\xb2", 400)])
async def test_a_strange_content_length(length: str, status: int) -> None:
    async with client_of(MemoryInbox()) as client:
        headers = latin(headers_of(), ("content-length", length))
        assert_problem(await client.post("/v1/alerts/signed", content=BODY, headers=headers), status)


@pytest.mark.parametrize("fault", [Transient("journal away"), RuntimeError("a fault of ours: " + secret(NEW))])
async def test_what_cannot_be_stored_is_asked_for_again(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    response = await send(MemoryInbox(fault=fault))
    assert_problem(response, 503)
    assert int(response.headers["retry-after"]) > 0
    assert secret(NEW) not in response.text + caplog.text


async def test_an_inbox_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "_STORE_WITHIN", 0.05)
    monkeypatch.setattr(receiver, "_READY_WITHIN", 0.05)
    inbox = MemoryInbox(hangs=True)
    assert_problem(await send(inbox), 503)
    async with client_of(inbox) as client:
        assert_problem(await client.get("/readyz"), 503)
        assert (await client.get("/healthz")).status_code == 200


async def test_health_and_readiness() -> None:
    async with client_of(MemoryInbox()) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
    async with client_of(MemoryInbox(fault=Transient("away"))) as client:
        assert_problem(await client.get("/readyz"), 503)


async def test_metrics_have_no_value_of_a_request() -> None:
    inbox = MemoryInbox()
    async with client_of(inbox) as client:
        for path in ("signed", "signed", "evil-label", "open"):
            headers = headers_of() if path == "signed" else {**JSON, "user-agent": "evil-agent"}
            await client.post(f"/v1/alerts/{path}", content=BODY, headers=headers)
        await client.post("/v1/alerts/open", content=b"evil", headers=JSON)
        inbox.fault = Transient("away")
        await client.post("/v1/alerts/signed", content=BODY, headers=headers_of())
        text = (await client.get("/metrics")).text
    assert 'soar_alerts_accepted_total{source="signed"} 1.0' in text
    assert 'soar_alerts_repeated_total{source="signed"} 1.0' in text
    assert 'soar_alerts_rejected_total{reason="unknown_source",source="-"} 1.0' in text
    assert 'soar_alerts_rejected_total{reason="malformed",source="open"} 1.0' in text
    assert "soar_inbox_failures_total 1.0" in text
    assert "soar_alert_seconds_count 6.0" in text
    assert "evil" not in text


def test_a_token_in_the_clear_is_refused_at_start() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        create_app(SOURCES, MemoryInbox(), clock=lambda: NOW, host=host)
    create_app(SOURCES, MemoryInbox(), clock=lambda: NOW, host="0.0.0.0", tls=True)  # noqa: S104  # bound by nobody
    for host in ("0.0.0.0", "::", "10.1.2.3", "soar.example"):  # noqa: S104
        with pytest.raises(Misconfigured, match="TLS"):
            create_app(SOURCES, MemoryInbox(), clock=lambda: NOW, host=host)


def test_two_sources_with_one_secret_are_refused_at_start() -> None:
    shared = {"a": SOURCES["signed"], "b": source({"hmac": {"secrets": [{"env": "SOAR_TEST_OLD"}]}})}
    with pytest.raises(Misconfigured, match="same secret as a"):
        create_app(shared, MemoryInbox(), clock=lambda: NOW)


def test_the_receiver_loads_no_client_of_a_target_and_no_signing() -> None:
    forbidden = [
        "boto3", "botocore", "kubernetes", "slack_sdk", "mcp", "prefect", "securesystemslib", "cryptography",
        "sqlalchemy", "aiosqlite", "asyncpg",
    ]  # fmt: skip
    code = f"import sys, flows.service.receiver; print(sorted(set({forbidden!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


# What an attacker may do to a request, each a law of its own: none of it is ever accepted.

SECRETS = (secret(NEW), secret(OLD), TOKEN, secret(NEW)[6:], secret(OLD)[6:])
SLOW = settings(
    max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def post(inbox: MemoryInbox, to: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    async def go() -> httpx.Response:
        async with client_of(inbox) as client:
            return await client.post(f"/v1/alerts/{to}", content=body, headers=latin(headers))

    return asyncio.run(go())


def assert_refused(inbox: MemoryInbox, response: httpx.Response, log: str, signature: str = "v1,") -> None:
    assert 400 <= response.status_code < 500
    assert not inbox.stored
    said = response.text + str(response.headers) + log
    assert not any(one in said for one in SECRETS)
    assert signature not in said


HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40).map(
    str.strip
)


@SLOW
@given(body=st.binary(max_size=300), parts=st.tuples(HEADER, HEADER, HEADER), data=st.data())
def test_a_forged_message_is_never_accepted(
    caplog: pytest.LogCaptureFixture, body: bytes, parts: tuple[str, str, str], data: st.DataObject
) -> None:
    caplog.clear()
    message_id, timestamp, signature = parts
    true = signed(NEW, "m1", NOW, BODY)
    headers = {
        **JSON,
        "webhook-id": data.draw(st.sampled_from([message_id, true["webhook-id"]])),
        "webhook-timestamp": data.draw(st.sampled_from([timestamp, true["webhook-timestamp"]])),
        "webhook-signature": data.draw(st.sampled_from([signature, "v1," + signature, true["webhook-signature"]])),
    }
    sent = data.draw(st.sampled_from([body, BODY]))
    if sent == BODY and headers == JSON | true:
        sent = BODY[:-1]
    inbox = MemoryInbox()
    response = post(inbox, "signed", sent, headers)
    assert response.status_code == 401
    assert_refused(inbox, response, caplog.text, true["webhook-signature"][3:])


@SLOW
@given(seconds=st.integers(301, 10**9) | st.integers(-(10**9), -301), key=st.sampled_from([NEW, OLD]))
def test_a_stale_message_is_never_accepted(caplog: pytest.LogCaptureFixture, seconds: int, key: bytes) -> None:
    caplog.clear()
    inbox = MemoryInbox()
    stamp = int(NOW.timestamp()) + seconds
    headers = JSON | {
        "webhook-id": "m1",
        "webhook-timestamp": str(stamp),
        "webhook-signature": sign(key, "m1", stamp, BODY),
    }
    response = post(inbox, "signed", BODY, headers)
    assert response.status_code == 401
    assert_refused(inbox, response, caplog.text, headers["webhook-signature"][3:])


@SLOW
@given(body=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: json.dumps(text).encode()), data=st.data())
def test_a_malformed_message_is_never_accepted(
    caplog: pytest.LogCaptureFixture, body: bytes, data: st.DataObject
) -> None:
    caplog.clear()
    document = json.loads(BODY)
    del document[data.draw(st.sampled_from(["version", "id", "rule", "title", "severity", "detected_at"]))]
    body = data.draw(st.sampled_from([body, json.dumps(document).encode(), BODY[:-3], BODY + BODY]))
    for to in SOURCES:
        inbox = MemoryInbox()
        headers = headers_of(body) if to == "signed" else {**JSON, "authorization": f"Bearer {TOKEN}"}
        response = post(inbox, to, body, headers)
        assert response.status_code == 422
        assert_refused(inbox, response, caplog.text, headers_of(body)["webhook-signature"][3:])


@SLOW
@given(padding=st.binary(min_size=1, max_size=20).map(lambda raw: bytes(b" \t\r\n"[byte % 4] for byte in raw)))
def test_a_replay_with_another_body_is_never_accepted(padding: bytes) -> None:
    inbox = MemoryInbox()
    assert post(inbox, "signed", BODY, headers_of()).status_code == 202
    assert post(inbox, "signed", BODY + padding, headers_of(BODY + padding)).status_code == 409
    assert post(inbox, "signed", BODY, headers_of()).status_code == 200
    assert [body for _, body, _ in inbox.stored.values()] == [BODY]


@SLOW
@given(fault=st.sampled_from([Transient("x"), OSError("x"), ValueError("x"), KeyError("x"), TimeoutError()]))
def test_no_fault_of_ours_is_anything_but_503(fault: Exception) -> None:
    for to in SOURCES:
        headers = headers_of() if to == "signed" else {**JSON, "authorization": f"Bearer {TOKEN}"}
        assert post(MemoryInbox(fault=fault), to, BODY, headers).status_code == 503


# Over real sockets: what only a server can get wrong.


@contextlib.asynccontextmanager
async def served(inbox: MemoryInbox) -> AsyncIterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        running = server(app_with(inbox), host="127.0.0.1", port=port)
        # Signals stay with the test runner.
        task = asyncio.create_task(running._serve(sockets=[listener]))  # noqa: SLF001
        while not running.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield port
        running.should_exit = True
        await task


async def talk(port: int, *parts: bytes, wait: float = 0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def speak() -> None:
        # The server may have heard enough before we are done.
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(wait)

    speaking = asyncio.create_task(speak())
    heard = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(60):
            while more := await reader.read(65536):
                heard += more
    speaking.cancel()
    writer.close()
    return heard


def request_line(length: int, **more: str) -> bytes:
    headers = headers_of() | {"host": "receiver", "content-length": str(length), "connection": "close"} | more
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    return f"POST /v1/alerts/signed HTTP/1.1\r\n{lines}\r\n".encode()


async def test_over_a_socket_an_alert_is_accepted_and_the_server_is_silent_about_itself() -> None:
    inbox = MemoryInbox()
    async with served(inbox) as port:
        answer = await talk(port, request_line(len(BODY)), BODY[:50], BODY[50:])
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert b"server:" not in answer.lower()
    assert b"uvicorn" not in answer.lower()
    assert len(inbox.stored) == 1


async def test_over_a_socket_a_slow_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "BODY_WITHIN", 0.3)
    inbox = MemoryInbox()
    async with served(inbox) as port:
        answer = await talk(port, request_line(len(BODY)), *(BODY[n : n + 1] for n in range(8)), wait=0.1)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    assert not inbox.stored


async def test_over_a_socket_slow_headers_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "HEADERS_WITHIN", 0.3)
    async with served(MemoryInbox()) as port:
        line = request_line(len(BODY))
        assert await talk(port, *(line[n : n + 1] for n in range(8)), wait=0.1) == b""
        # The second request of a connection has no more time than the first.
        first = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
        answer = await talk(port, first, *(line[n : n + 1] for n in range(8)), wait=0.1)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_over_a_socket_a_large_body_is_refused_before_it_is_sent() -> None:
    async with served(MemoryInbox()) as port:
        assert (await talk(port, request_line(MAX_BYTES + 1))).startswith(b"HTTP/1.1 413 ")
        headers = request_line(0).replace(b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n")
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        assert (await talk(port, headers, *[chunk] * 17)).startswith(b"HTTP/1.1 413 ")


async def test_over_a_socket_ambiguous_framing_is_refused() -> None:
    inbox = MemoryInbox()
    async with served(inbox) as port:
        for extra in ({"transfer-encoding": "chunked"}, {"content-length": "1, 2"}, {"content-length": "+5"}):
            answer = await talk(port, request_line(len(BODY), **extra), BODY)
            assert answer.startswith(b"HTTP/1.1 400 "), extra
        assert (await talk(port, b"\x16\x03\x01\0\xff garbage\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert not inbox.stored


async def test_over_a_socket_a_body_that_breaks_off_is_not_stored() -> None:
    inbox = MemoryInbox()
    async with served(inbox) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_line(len(BODY)) + BODY[:20])
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.1)
        assert (await talk(port, request_line(len(BODY)), BODY)).startswith(b"HTTP/1.1 202 ")
    assert len(inbox.stored) == 1


async def test_what_is_larger_than_a_format_s_senders_batch_is_refused_with_what_to_do_and_counted() -> None:
    elastic = Source.model_validate({"format": "elastic", "authentication": "none", "confidence": "low"})
    app = create_app({"elastic": elastic, "open": SOURCES["open"]}, MemoryInbox(), clock=lambda: NOW)
    transport = httpx.ASGITransport(app=app)
    alert = json.loads((ROOT / "tests/fixtures/sent/08-elastic-one-full-alert-8.19.json").read_bytes())["alerts"][0]
    hundred = json.dumps({"alerts": [{**alert, "process.args": ["x" * 30] * 500}] * 100}).encode()
    assert len(hundred) > MAX_BYTES
    async with httpx.AsyncClient(transport=transport, base_url="http://soar.test") as client:
        assert (await client.post("/v1/alerts/elastic", content=hundred, headers=JSON)).status_code == 202
        for to, body in (("open", hundred), ("elastic", b" " * (elastic.largest + 1))):
            problem = assert_problem(await client.post(f"/v1/alerts/{to}", content=body, headers=JSON), 413)
            assert "fewer alerts into a message" in problem["detail"]
        text = (await client.get("/metrics")).text
    assert 'soar_alerts_rejected_total{reason="too_large",source="elastic"} 1.0' in text
    assert 'soar_alerts_rejected_total{reason="too_large",source="open"} 1.0' in text


async def test_what_an_authenticated_source_loses_is_handed_in_once_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusals, "EVERY", 0.05)
    inbox = MemoryInbox()
    async with client_of(inbox) as client:
        for _ in range(5):
            await client.post("/v1/alerts/signed", content=b"[7]", headers=headers_of(b"[7]"))
            await client.post("/v1/alerts/open", content=b"[7]", headers=JSON)
            await client.post("/v1/alerts/signed", content=b"[7]", headers=JSON)
        async with asyncio.timeout(30):
            while sum(body["count"] for _, body in inbox.refused) < 5:  # noqa: ASYNC110  # the report has no event for it
                await asyncio.sleep(0.01)
    assert len(inbox.refused) <= 5
    assert {source for source, _ in inbox.refused} == {"signed"}
    assert inbox.refused[0][1]["said"] == "0: must be an object."
    assert not inbox.stored


async def test_long_messages_of_nobody_in_particular_do_not_hold_up_those_of_senders_with_a_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release, reading, most = threading.Event(), 0, 0
    busy, loop = asyncio.Event(), asyncio.get_running_loop()

    def slow(raw: bytes, name: str, one: Source) -> Any:  # noqa: ANN401  # what it returns
        nonlocal reading, most
        if name == "open":
            reading += 1
            if reading == 2:
                loop.call_soon_threadsafe(busy.set)
            most = max(most, reading)
            release.wait(20)
            reading -= 1
        return parse(raw, name, one)

    monkeypatch.setattr(receiver, "parse", slow)
    long = BODY + b" " * (64 * 1024)
    async with client_of(MemoryInbox()) as client:
        senders = [
            asyncio.create_task(client.post("/v1/alerts/open", content=long + b" " * n, headers=JSON))
            for n in range(40)
        ]
        try:
            await busy.wait()
            proof = headers_of(long)
            async with asyncio.timeout(60):
                answer = await client.post("/v1/alerts/signed", content=long, headers=proof)
        finally:
            release.set()
        answers = await asyncio.gather(*senders)
    assert answer.status_code == 202
    assert {one.status_code for one in answers} == {202}
    assert 1 <= most <= 2


RUN = json.dumps(
    {
        "check": "drift",
        "by": "schedule",
        "began": "2026-01-31T12:00:00Z",
        "ended": "2026-01-31T12:00:01Z",
        "pieces": 1,
        "asked": 1,
        "found": [],
        "differ": 0,
        "unknown": [],
        "left_out": [],
    }
).encode()

ROW = {"key": "0" * 32, "since": "2026-01-31T12:00:00Z", "answer": "unknown", "incident_class": "tool_poisoning"}


def run_of(subject: str, severity: str = "high", found: int = 1) -> bytes:
    """Return what a check says of a run that found something."""
    row = {**ROW, "severity": severity, **dict.fromkeys(("subject", "what", "expected", "observed", "remedy"), subject)}
    return json.dumps({**json.loads(RUN), "found": [row] * found, "differ": found}).encode()


@pytest.mark.parametrize(
    ("who", "named", "body", "status"),
    [
        ("signed", "drift", RUN, 202),
        ("signed", "drift", RUN.replace(b"12:00:01", b"12:04:59"), 202),
        ("signed", "drift", RUN.replace(b"12:00:01", b"12:05:01"), 422),
        ("signed", "drift", run_of("forecast"), 202),
        ("signed", "drift", run_of("forecast", "\x1b[2J"), 422),
        ("signed", "drift", run_of("\x1b[2J"), 422),
        ("signed", "drift", RUN.replace(b'"drift"', b'"../drift"'), 422),
        ("signed", "drift", BODY, 422),
        ("signed", "drift", b'{"asked": "configuration"}', 202),
        ("signed", "drift", b'{"asked": "../x"}', 422),
        ("signed", "drift", b'{"asked": "configuration", "now": true}', 422),
        ("signed", "siem", b'{"asked": "configuration"}', 404),
        ("open", "drift", b'{"asked": "configuration"}', 404),
        ("forged", "drift", b'{"asked": "configuration"}', 401),
        ("signed", "siem", RUN, 404),
        ("open", "drift", RUN, 404),
        ("forged", "drift", RUN, 401),
    ],
)
async def test_only_our_own_checks_say_that_they_ran(who: str, named: str, body: bytes, status: int) -> None:
    inbox, key = MemoryInbox(), OLD if who == "forged" else NEW
    one = SOURCES["open"] if who == "open" else source({"hmac": {"secrets": [{"env": "SOAR_TEST_NEW"}]}}, "high")
    app = create_app({named: one}, inbox, clock=lambda: NOW)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://receiver") as client:
        answer = await client.post(f"/v1/checks/{named}", content=body, headers=headers_of(body, key=key))
    assert answer.status_code == status, answer.text
    assert inbox.kinds == (["check"] if status == 202 else [])


async def test_a_long_record_of_a_run_is_read_beside_what_everybody_else_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    release, begun, loop = threading.Event(), asyncio.Event(), asyncio.get_running_loop()

    class Slow:
        """Reads a run for as long as it is made to."""

        @staticmethod
        def validate_json(body: bytes) -> Any:  # noqa: ANN401  # a run
            loop.call_soon_threadsafe(begun.set)
            release.wait(5)
            return Ran.model_validate_json(body)

    monkeypatch.setattr(receiver, "SAID", Slow)
    monkeypatch.setenv("SOAR_TEST_DRIFT", TOKEN[::-1])
    inbox, body = MemoryInbox(), run_of("x" * 300, found=100)
    drift = source({"bearer": {"secrets": [{"env": "SOAR_TEST_DRIFT"}]}})
    app = create_app({**SOURCES, "drift": drift}, inbox, clock=lambda: NOW)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://receiver") as client:
        known = {**JSON, "authorization": f"Bearer {TOKEN[::-1]}"}
        long = asyncio.create_task(client.post("/v1/checks/drift", content=body, headers=known))
        await begun.wait()
        assert (await client.post("/v1/alerts/signed", content=BODY, headers=headers_of())).status_code == 202
        assert not long.done(), "whoever holds that one secret would keep every alert out"
        release.set()
        assert (await long).status_code == 202
