"""What a gateway that was taken over can cost us: one question, and no more memory and time than one is given."""

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from integrations.bounded import DEEPEST, LARGEST, MOST_VALUES, deep, parsed
from integrations.http import LONGEST_WAIT
from integrations.sharing import Shared
from integrations.systems.contextforge.driver import ContextForge
from playbooks.errors import Refused, SoarError, Transient
from playbooks.estate.gateway import Canary, Gateway
from playbooks.estate.pins import PinKind
from playbooks.estate.systems import Secret
from tests.lab.rogue import Answer, Rogue, answer, rogue

GZIP = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"


@asynccontextmanager
async def taken_over(respond: Answer) -> AsyncIterator[tuple[ContextForge, Rogue]]:
    async with rogue(respond) as place:
        secret = Secret(env="LAB")
        canary = Canary(principal="canary", token=secret, url=f"{place.url}/mcp/")
        gateway = Gateway(kind="contextforge", url=place.url, user="soar@example.com", password=secret, canary=canary)
        forge = ContextForge("main", gateway, "unused")
        forge.api.session = "signed-in"  # signing in is not what is tried
        try:
            yield forge, place
        finally:
            await forge.aclose()


def always(raw: bytes) -> Answer:
    async def respond(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    return respond


async def test_a_compressed_answer_that_unpacks_to_gigabytes_costs_what_one_answer_may() -> None:
    bomb = gzip.compress(b"[" + b" " * (200 << 20) + b"]", 9)
    async with taken_over(always(answer(bomb, headers=GZIP))) as (forge, _):
        tracemalloc.start()
        try:
            with pytest.raises(Refused, match="longer than"):
                await forge.held(PinKind.TOOL)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 3 * LARGEST, f"{peak >> 20} MiB"


async def test_a_compressed_answer_of_ordinary_size_is_read() -> None:
    async with taken_over(always(answer(gzip.compress(b"[]"), headers=GZIP))) as (forge, _):
        assert await forge.held(PinKind.TOOL) == ()


@pytest.mark.parametrize(
    "raw",
    [
        answer(gzip.compress(b"[]")[:-4], headers=GZIP),
        answer(b"[]", headers=GZIP),
        answer(b"[]", headers=GZIP.replace("gzip", "br")),
    ],
    ids=["broken off", "not compressed", "unasked for"],
)
async def test_an_answer_that_is_not_what_it_says_is_an_error_of_ours(raw: bytes) -> None:
    async with taken_over(always(raw)) as (forge, _):
        with pytest.raises(SoarError):
            await forge.held(PinKind.TOOL)


async def test_pages_that_never_end_end_and_their_total_is_not_believed() -> None:
    asked = 0

    async def respond(_: str, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        page = [{"id": f"{asked}-{number}"} for number in range(500)]
        writer.write(answer(json.dumps({"tokens": page, "total": 10**9}).encode()))

    async with taken_over(respond) as (forge, place):
        with pytest.raises(SoarError):
            async with asyncio.timeout(60):
                await forge.tokens()
        await asyncio.sleep(0)
        before = len(place.seen)
        assert before <= 200  # pages
    assert len(place.seen) == before


async def test_a_page_that_comes_again_and_again_is_read_once() -> None:
    page = json.dumps({"tokens": [{"id": str(number)} for number in range(500)], "total": 10**9}).encode()
    async with taken_over(always(answer(page))) as (forge, place):
        assert len(await forge.tokens()) == 500  # as served
        assert len(place.seen) == 2  # the second brought nothing new


async def test_a_shared_question_ends_for_everybody_and_is_not_asked_on() -> None:
    ended = asyncio.Event()

    async def ask() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 1

    shared = Shared(ask, within=0.05)
    found = await asyncio.gather(shared(), shared(), return_exceptions=True)
    assert [type(one) for one in found] == [Transient, Transient]
    assert ended.is_set()


@pytest.mark.parametrize(
    "said",
    ["86400", "999999999999", "9" * 300, "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT", "1e400"],
    ids=["day", "30,000 years", "300 digits", "5,000 digits", "date", "exponent"],
)
async def test_a_gateway_is_waited_for_no_longer_than_we_wait_by_ourselves(said: str) -> None:
    busy = answer(b"{}", status=503, headers=f"Retry-After: {said}\r\n")
    async with taken_over(always(busy)) as (forge, _):
        with pytest.raises(Transient) as caught:
            await forge.set_enabled(PinKind.TOOL, "1", enabled=False)
    wait = caught.value.retry_after
    assert wait is None or 0 <= wait <= LONGEST_WAIT


async def test_a_wait_of_a_second_and_a_half_is_honoured() -> None:
    async with taken_over(always(answer(b"{}", status=429, headers="Retry-After: 1.5\r\n"))) as (forge, _):
        with pytest.raises(Transient) as caught:
            await forge.set_enabled(PinKind.TOOL, "1", enabled=False)
    assert caught.value.retry_after == 1.5  # as said


@pytest.mark.parametrize(
    "said",
    [
        b'{"tools": []}',
        b"[1, 2]",
        b'[{"id": "1"}]',
        b'[{"id": "1", "enabled": true, "name": "x"}]',
        b"[" * 100_000 + b"]" * 100_000,
        b"[" + b"{}," * MOST_VALUES + b"{}]",
        b"null",
        b"\xff\xfe",
    ],
    ids=["object", "numbers", "bare", "nameless", "deep", "many", "null", "bytes"],
)
async def test_an_answer_of_another_form_is_an_error_of_ours(said: bytes) -> None:
    async with taken_over(always(answer(said))) as (forge, _):
        with pytest.raises(SoarError):
            await forge.held(PinKind.TOOL)


async def test_a_gateway_that_trickles_is_given_up_in_time() -> None:
    async def respond(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 x\r\nContent-Length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with taken_over(respond) as (forge, _):
        forge.patience = 0.2
        with pytest.raises(Transient, match="no answer"):
            await forge.held(PinKind.TOOL)


def test_depth_is_counted_outside_of_texts() -> None:
    assert not deep(b'["' + b"[{" * 1000 + b'"]')
    assert deep(b'["]",' * (DEEPEST + 1) + b"1" + b"]" * (DEEPEST + 1)), "what closes in a text closes nothing"
    assert not deep(b"[" * DEEPEST + b"]" * DEEPEST)
    assert parsed(b'{"a": ["\\"]"]}', "x") == {"a": ['"]']}
