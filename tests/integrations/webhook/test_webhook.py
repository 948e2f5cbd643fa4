"""A webhook's receiver that is a real HTTP server: what it gets is signed, and what its answers mean."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from integrations.channels.ways import webhook_key
from integrations.channels.webhook.channel import WebhookChannel
from integrations.siem.source import new_secret, verify
from playbooks.errors import Misconfigured, Refused, SoarError, Transient
from playbooks.estate.systems import Secret
from playbooks.people.contacts import Contact, Webhook
from playbooks.people.message import Message
from playbooks.strict import now

KEY = b"0123456789abcdef0123456789abcdef"
SOC = Contact(webhook="pager")


@dataclass
class Receiver:
    """An HTTP server and what it got."""

    url: str = ""
    answer: bytes = b"204 No Content"
    more: bytes = b""
    silent: bool = False
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.got.append((request, headers, body))
            if self.silent:
                await reader.read()
            else:
                writer.write(b"HTTP/1.1 " + self.answer + b"\r\n" + self.more + b"Content-Length: 0\r\n\r\n")
                await writer.drain()
        writer.close()


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/soar?token=in-the-address"
    async with server:
        yield one


@asynccontextmanager
async def channel(one: Receiver, *, patience: float = 30.0) -> AsyncIterator[WebhookChannel]:
    ours = WebhookChannel("pager", Webhook(url=one.url, secret=Secret(env="X")), KEY, patience=patience)
    try:
        yield ours
    finally:
        await ours.aclose()


def message(**more: Any) -> Message:  # noqa: ANN401  # fields of a message
    fields = {"incident": "inc-2026-000001", "page": "opened", "notice": "opened", "urgent": True}
    return Message(**{**fields, "subject": "사고 접수", "text": "line\nline", **more})


async def test_what_arrives_is_signed_and_whole() -> None:
    async with receiver() as one, channel(one) as ours:
        sent = await ours.send(SOC, message())
    ((request, headers, body),) = one.got
    assert request.startswith("POST /soar")
    assert verify(
        [KEY],
        message_id=headers["webhook-id"],
        timestamp=headers["webhook-timestamp"],
        signature=headers["webhook-signature"],
        body=body,
        at=now(),
        window=60.0,
    )
    assert json.loads(body)["type"] == "mcp-soar.page"
    assert json.loads(body)["data"] == {
        "incident": "inc-2026-000001",
        "page": "opened",
        "notice": "opened",
        "urgent": True,
        "subject": "사고 접수",
        "text": "line\nline",
        "update": False,
    }
    # An address may hold a token: nothing of it but the host is ever shown.
    assert sent.where == "webhook pager (127.0.0.1)"
    assert sent.reference == headers["webhook-id"]


async def test_a_message_keeps_its_id_and_another_has_another() -> None:
    async with receiver() as one, channel(one) as ours:
        ids = [(await ours.send(SOC, message(text=text))).reference for text in ("a", "a", "b")]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"429 Too Many Requests", Transient),
        (b"500 Internal Server Error", Transient),
        (b"503 Service Unavailable", Transient),
        (b"400 Bad Request", Refused),
        (b"410 Gone", Refused),
        (b"302 Found", Refused),
    ],
)
async def test_what_an_answer_means(answer: bytes, error: type[Exception]) -> None:
    async with receiver() as elsewhere, receiver() as one, channel(one) as ours:
        one.answer, one.more = answer, b"Retry-After: 7\r\nLocation: " + elsewhere.url.encode() + b"\r\n"
        with pytest.raises(error, match=answer[:3].decode()) as caught:
            await ours.send(SOC, message())
    assert "in-the-address" not in str(caught.value)
    assert elsewhere.got == []
    if isinstance(caught.value, Transient):
        assert caught.value.retry_after == 7.0


AGO = "Sat, 31 Jan 2026 12:00:30 GMT"


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        (lambda: format_datetime(now() + timedelta(seconds=30), usegmt=True), 25, 30),
        (lambda: "1.5", 1.5, 1.5),
        (lambda: " 2 ", 2, 2),
        (lambda: "999999999999", 600, 600),
        (lambda: "9" * 400, 600, 600),
    ],
    ids=["date", "fraction", "space", "long", "longer"],
)
async def test_a_wait_that_is_asked_for_is_kept_and_bounded(
    asked: Callable[[], str], least: float, most: float
) -> None:
    async with receiver() as one, channel(one) as ours:
        one.answer, one.more = b"429 Too Many Requests", b"Retry-After: " + asked().encode() + b"\r\n"
        with pytest.raises(Transient, match="429") as caught:
            await ours.send(SOC, message())
        assert least <= (caught.value.retry_after or 0) <= most
        one.answer, one.more = b"200 OK", b""
        with pytest.raises(Transient, match="asked to wait"):
            await ours.send(SOC, message())
    assert len(one.got) == 1


@pytest.mark.parametrize("asked", [AGO, "0", "-1", "٣", "soon"])
async def test_a_wait_that_is_none_keeps_nothing_back(asked: str) -> None:
    async with receiver() as one, channel(one) as ours:
        one.answer, one.more = b"429 Too Many Requests", b"Retry-After: " + asked.encode() + b"\r\n"
        with pytest.raises(Transient, match="429"):
            await ours.send(SOC, message())
        one.answer, one.more = b"200 OK", b""
        await ours.send(SOC, message())
    assert len(one.got) == 2


async def test_silence_and_absence_may_pass() -> None:
    async with receiver() as one:
        one.silent = True
        async with channel(one, patience=0.5) as ours:
            with pytest.raises(Transient, match="does not answer"):
                await ours.send(SOC, message())
    async with channel(one) as ours:
        with pytest.raises(Transient, match="does not answer"):
            await ours.send(SOC, message())
        with pytest.raises(Transient, match="does not answer"):
            await ours.check()


async def test_a_code_never_travels_by_webhook() -> None:
    async with receiver() as one, channel(one) as ours:
        with pytest.raises(Refused, match="one-time codes"):
            await ours.send(SOC, message(codes=(("approve", "a plan", "7K3M2-QX9AB"),)))
    assert one.got == []


async def test_check_posts_nothing() -> None:
    async with receiver() as one, channel(one) as ours:
        assert "answers" in await ours.check()
    assert [request.split()[0] for request, _, _ in one.got] == ["OPTIONS"]


def test_a_secret_is_strong_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Secret(env="PAGER")
    for good in (new_secret(), "any 24 bytes or more, as they are"):
        monkeypatch.setenv("PAGER", good)
        assert len(webhook_key(place, "channels.webhooks.pager.secret")) >= 24
    for bad in ("short", "whsec_short", "whsec_" + "!" * 40, ""):
        monkeypatch.setenv("PAGER", bad)
        with pytest.raises(Misconfigured, match=r"channels\.webhooks\.pager\.secret") as caught:
            webhook_key(place, "channels.webhooks.pager.secret")
        assert not bad or bad not in str(caught.value)
    assert issubclass(Misconfigured, SoarError)
