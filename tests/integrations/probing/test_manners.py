"""What a stranger is told by servers that are good, bad, and hostile: each fault is found by its name, and no other."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import pytest

from integrations.probing import manners
from integrations.probing.faults import Fault
from integrations.probing.manners import NOBODYS, PROBES, many_calls, stranger
from integrations.probing.stranger import Stranger
from playbooks.errors import Refused, SoarError, Transient
from playbooks.estate.probing import Probed
from playbooks.taxonomy import IncidentClass
from tests.lab.rogue import answer, rogue
from tests.lab.served import Asked, serving

AGREED = Probed(agreed="Kim, 2026-11-30")
OPEN = Probed(agreed="Kim, 2026-11-30", open=True)
Served = Callable[[Asked], tuple[int, dict[str, str], object]]


def result(asked: Asked, value: object) -> tuple[int, dict[str, str], object]:
    return 200, {}, {"jsonrpc": "2.0", "id": asked.message.get("id"), "result": value}


def error(asked: Asked, status: int = 200, message: str = "no") -> tuple[int, dict[str, str], object]:
    return status, {}, {"jsonrpc": "2.0", "id": asked.message.get("id"), "error": {"code": -32602, "message": message}}


def good(asked: Asked) -> tuple[int, dict[str, str], object]:
    """Answer as a server that serves anybody, and is well made otherwise."""
    if asked.headers.get("origin"):
        return error(asked, 403)
    method = asked.message.get("method")
    if method == "initialize":
        able = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "g"}}
        return result(asked, able)
    if method == "tools/list":
        return result(asked, {"tools": [{"name": "add", "inputSchema": {"type": "object"}}]})
    return error(asked, 400 if not asked.message else 200)


def closed(asked: Asked) -> tuple[int, dict[str, str], object]:
    """Answer as a server that wants a token, and knows one."""
    if asked.headers.get("authorization") == "Bearer the-real-one":
        return good(asked)
    return 401, {"WWW-Authenticate": 'Bearer realm="lab"'}, {"error": "invalid_token"}


async def found(served: Served, agreed: Probed = OPEN, *, only: str = "") -> set[tuple[str, str]]:
    """Return what all probes find, or one: which property, and what it is."""
    async with serving(served) as place, Stranger("server lab", place.url) as asking:
        probes = [PROBES[only]] if only else list(PROBES.values())
        faults = [one for probe in probes for one in await probe("lab", agreed, asking)]
        called = [asked for asked in place.seen if asked.message.get("method") == "tools/call"]
        assert all(asked.message["params"] == {"name": NOBODYS, "arguments": {}} for asked in called), (
            "could run a tool"
        )
    return {(one.what, one.observed) for one in faults}


async def test_a_good_server_gives_nothing_open_or_closed() -> None:
    assert await found(good) == set()
    assert await found(closed, AGREED) == set()


def without_origin(asked: Asked) -> tuple[int, dict[str, str], object]:
    asked.headers.pop("origin", None)
    return good(asked)


def traced(asked: Asked) -> tuple[int, dict[str, str], object]:
    trace = 'Traceback (most recent call last):\n  File "/srv/app.py", line 3, in call\nKeyError'
    return error(asked, message=trace) if asked.message.get("method") == "tools/call" else good(asked)


def node_traced(asked: Asked) -> tuple[int, dict[str, str], object]:
    if asked.message:
        return good(asked)
    return 500, {}, "SyntaxError: Unexpected end\n    at JSON.parse (<anonymous>)\n    at body (/srv/server.mjs:42:17)"


def broken(asked: Asked) -> tuple[int, dict[str, str], object]:
    return good(asked) if asked.message else (500, {}, "Internal Server Error")


def runs(asked: Asked) -> tuple[int, dict[str, str], object]:
    if asked.message.get("method") == "tools/call":
        return result(asked, {"content": [{"type": "text", "text": "done"}]})
    return good(asked)


def readable(asked: Asked) -> tuple[int, dict[str, str], object]:
    status, headers, body = good(asked)
    return status, {**headers, "Access-Control-Allow-Origin": "*"}, body


def echoing(asked: Asked) -> tuple[int, dict[str, str], object]:
    status, headers, body = good(asked)
    return status, {**headers, "Access-Control-Allow-Origin": asked.headers.get("origin", "")}, body


def guessing(asked: Asked) -> tuple[int, dict[str, str], object]:
    return good(asked) if asked.message else (200, {}, {"jsonrpc": "2.0", "id": 1, "result": {}})


@pytest.mark.parametrize(
    ("served", "agreed", "named"),
    [
        (good, AGREED, ("authentication", "not asked for: 1 tools are listed to anybody")),
        (without_origin, OPEN, ("a request from a strange web page", "answered")),
        (traced, OPEN, ("its answer to a bad request", "a stack trace, to a call of a tool that there is not")),
        (node_traced, OPEN, ("its answer to a bad request", "a stack trace, to half a request")),
        (broken, OPEN, ("its answer to a bad request", "500, to half a request")),
        (guessing, OPEN, ("a request that is no JSON", "answered")),
        (runs, OPEN, ("a call of a tool that it does not have", "answered as if it had run")),
        (readable, OPEN, ("Access-Control-Allow-Origin", "any page")),
        (echoing, OPEN, ("Access-Control-Allow-Origin", "whatever page asks")),
    ],
)
async def test_every_fault_is_found_and_named(served: Served, agreed: Probed, named: tuple[str, str]) -> None:
    assert await found(served, agreed) == {named}


@pytest.mark.parametrize(
    ("takes", "what"),
    [
        (lambda token: token == "mcp-soar-probe-no-token", "any text"),  # noqa: S105  # nobody's
        (lambda token: token.count(".") == 2 and token.endswith("."), "a JWT without a signature"),
        (lambda token: token.count(".") == 2 and not token.endswith("."), "a JWT with a made-up signature"),
    ],
)
async def test_a_token_that_nobody_issued_is_found_taken(takes: Callable[[str], bool], what: str) -> None:
    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        return good(asked) if token and takes(token) else closed(asked)

    assert await found(served, AGREED) == {("a token that nobody issued", f"taken: {what}")}


async def test_a_server_that_lists_for_nobody_but_calls_for_anybody_is_found() -> None:
    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        return closed(asked) if asked.message.get("method") == "tools/list" else good(asked)

    ((what, observed),) = await found(served, AGREED, only="stranger")
    assert (what, observed.startswith("let through")) == ("tools/call without credentials", True)


async def test_a_refusal_without_a_challenge_is_found() -> None:
    assert await found(lambda _: (401, {}, "no"), AGREED) == {("the challenge in its refusal", "missing")}


async def test_being_sent_elsewhere_is_found_and_not_followed() -> None:
    async with rogue(lambda _, writer: _write(writer, answer(b"{}"))) as other:

        def served(_: Asked) -> tuple[int, dict[str, str], object]:
            return 307, {"Location": f"{other.url}/mcp"}, ""

        async with serving(served) as place, Stranger("server lab", place.url) as asking:
            (one,) = await stranger("lab", AGREED, asking)
        assert one.incident_class is IncidentClass.SERVER_SPOOFING
        assert other.url in one.observed
        assert other.seen == []


async def test_a_server_that_is_elsewhere_on_its_own_host_is_unknown_and_says_where() -> None:
    async with serving(lambda _: (307, {"Location": "/mcp/"}, "")) as place, Stranger("lab", place.url) as asking:
        with pytest.raises(Refused, match="write that address"):
            await stranger("lab", AGREED, asking)


@pytest.mark.parametrize(
    ("again", "named"),
    [
        (True, ("its answer to a bad request", "none, to half a request")),
        (False, ("half a request", "its end: since then it answers nobody")),
    ],
)
async def test_a_server_that_half_a_request_cuts_off_or_ends_is_found(again: bool, named: tuple[str, str]) -> None:  # noqa: FBT001  # a parameter
    gone = False

    async def respond(_: str, writer: asyncio.StreamWriter) -> None:
        nonlocal gone
        asked = len(place.seen)
        if asked == 2 or gone:
            gone = not again
            writer.close()
            return
        body = {"jsonrpc": "2.0", "id": asked, "error": {"code": 1, "message": "no"}}
        writer.write(answer(json.dumps(body).encode()))

    async with rogue(respond) as place, Stranger("server lab", place.url) as asking:
        (one,) = await PROBES["bad requests"]("lab", OPEN, asking)
    assert (one.what, one.observed) == named


async def _write(writer: asyncio.StreamWriter, raw: bytes) -> None:
    writer.write(raw)


@pytest.mark.parametrize(("limit", "faults"), [(5, 0), (10_000, 1)])
async def test_a_limit_is_sought_with_no_more_calls_than_were_agreed(limit: int, faults: int) -> None:
    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        served.calls += 1  # type: ignore[attr-defined]
        return (429, {}, "") if served.calls > limit else good(asked)  # type: ignore[attr-defined]

    served.calls = 0  # type: ignore[attr-defined]
    agreed = Probed(agreed="Kim", calls=12)
    async with serving(served) as place, Stranger("server lab", place.url) as asking:
        began = time.monotonic()
        assert len(await many_calls("lab", agreed, asking)) == faults
        took = time.monotonic() - began
    asked = served.calls  # type: ignore[attr-defined]
    assert asked == (6 if not faults else 12)
    assert took >= (asked - 1) / 50 * 0.9, "no more than fifty a second"


async def test_many_calls_that_break_it_are_unknown_and_end_there() -> None:
    async with serving(lambda _: (503, {}, "")) as place, Stranger("server lab", place.url) as asking:
        with pytest.raises(Transient, match="503"):
            await many_calls("lab", Probed(agreed="Kim", calls=12), asking)
        assert len(place.seen) == 1


async def dripping(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 x\r\nContent-Type: application/json\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 x\r\nContent-Type: text/event-stream\r\n\r\n")
    while True:
        writer.write(b"data: " + b"x" * 50_000 + b"\n\n")
        await writer.drain()


async def silent(_: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()
    writer.close()


@pytest.mark.parametrize("respond", [dripping, endless, silent])
@pytest.mark.parametrize("probe", sorted(PROBES))
async def test_a_server_without_an_end_is_unknown_within_its_time(
    respond: Callable[[str, asyncio.StreamWriter], Awaitable[None]], probe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integrations.probing.stranger.PATIENCE", 0.3)
    async with rogue(respond) as place, Stranger("server lab", place.url) as asking:
        with pytest.raises(SoarError):
            await PROBES[probe]("lab", AGREED, asking)


FRAMES = [
    'Traceback (most recent call last):\n  File "/srv/app.py", line 3, in call',
    '  File "/srv/app.py", line 3, in call',
    "    at JSON.parse (<anonymous>)\n    at body (/srv/server.mjs:42:17)",
    "\tat com.acme.Weather.call(Weather.java:42)",
    "   at Acme.Weather.Call() in /srv/Weather.cs:line 42",
    "goroutine 17 [running]:\nmain.main()",
    "thread 'main' panicked at src/main.rs:4:5:",
    "\tfrom /srv/app.rb:12:in `call'",
    "#0 /srv/app.php(12): call()",
]


@pytest.mark.parametrize("trace", FRAMES)
@pytest.mark.parametrize("written", [str, json.dumps])
def test_a_stack_is_known_in_every_language_plain_and_within_json(trace: str, written: Callable[[str], str]) -> None:
    assert manners._traced(written(f"oops:\n{trace}").encode())  # noqa: SLF001  # what both askers go by
    assert not manners._traced(written("at noon, from the file, line 3: no tool is called that").encode())  # noqa: SLF001  # likewise


@pytest.mark.parametrize("hostile", [b"at " * 400_000, b"at (" * 300_000, b"at .js" * 200_000, b'File "' * 200_000])
def test_looking_for_a_stack_takes_no_time_whatever_is_sent(hostile: bytes) -> None:
    began = time.process_time()
    for way in (hostile, hostile.replace(b" ", b"\n"), hostile.replace(b" ", b" \\n")):
        manners._traced(way)  # noqa: SLF001  # likewise
    assert time.process_time() - began < 1.0


async def test_a_session_that_is_begun_is_given_back() -> None:
    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        status, headers, body = without_origin(asked)
        return status, {**headers, "Mcp-Session-Id": "s-1"} if asked.message.get("method") == "initialize" else {}, body

    async with serving(served) as place, Stranger("server lab", place.url) as asking:
        for probe in PROBES.values():
            await probe("lab", OPEN, asking)
        begun = [one for one in place.seen if one.message.get("method") == "initialize"]
        ended = [one for one in place.seen if one.method == "DELETE"]
    assert len(begun) == len(ended) > 0


async def test_whatever_a_server_answers_with_is_one_finding_and_one_line() -> None:
    evil = "\x1b[2J\n" + "x" * 10_000

    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        method = asked.message.get("method")
        return (
            error(asked, message=evil)
            if method == "tools/call"
            else closed(asked)
            if method == "tools/list"
            else good(asked)
        )

    async with serving(served) as place, Stranger("server lab", place.url) as asking:
        (one,) = await stranger("lab", AGREED, asking)
        again = Fault.CALLS.of("lab", "otherwise")
    assert "\x1b" not in one.observed
    assert "\n" not in one.observed
    assert len(one.observed) <= 300
    assert one.key == again.key, "each wording would be news"
