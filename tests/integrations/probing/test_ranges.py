"""Our own addresses, looked through: who is not listed is found, who is listed is not, and nobody else is asked."""

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from integrations.probing.ranges import At, Pace, listed, looked_through
from playbooks.errors import Misconfigured
from playbooks.estate.inventory import Inventory
from playbooks.estate.probing import MOST, OwnRange
from playbooks.record.check import Found
from playbooks.strict import parse_yaml
from playbooks.taxonomy import EntityKind, IncidentClass, Severity
from tests.integrations.probing.test_certificate import served_by
from tests.integrations.probing.test_manners import closed, good
from tests.lab.rogue import rogue
from tests.lab.served import Asked, serving


def port_of(url: str) -> int:
    return int(url.removesuffix("/mcp").rstrip("/").rpartition(":")[2])


async def sought(*urls: str, cidr: str = "127.0.0.1/32", **servers: str) -> list[Found]:
    """Return what is found on the ports of some addresses, with some servers listed by their addresses."""
    known = {name: {"title": name, "owner": "o", "environment": "test", "url": url} for name, url in servers.items()}
    inventory = Inventory.model_validate({"version": 1, "servers": known})
    one = OwnRange(cidr=cidr, agreed="Kim", ports=tuple(port_of(url) for url in urls))

    async def there() -> frozenset[tuple[At, str]]:
        return await listed(inventory)

    return await looked_through(one, there, Pace(1000.0))


async def test_a_server_that_nobody_listed_is_found_and_told_as_spoofing() -> None:
    async with serving(good) as place, serving(good) as known, serving(lambda _: (200, {}, "a web site")) as site:
        (one,) = await sought(place.url, known.url, site.url, weather=known.url.replace("127.0.0.1", "localhost"))
        at = f"127.0.0.1:{port_of(place.url)}"
        assert one.subject == f"address {at}"
        assert one.observed == f"an MCP server that calls itself 'g', at http://{at}/mcp, and not listed"
        assert one.incident_class is IncidentClass.SERVER_SPOOFING
        assert [(thing.kind, thing.name) for thing in one.about] == [(EntityKind.ADDRESS, at)]
        assert not [asked for asked in place.seen if asked.message.get("method") == "tools/call"]


@pytest.mark.parametrize("depth", [1, 980, 984, 2000])
async def test_whatever_calls_itself_what_nobody_can_read_hides_no_other(depth: int) -> None:
    def unreadable(asked: Asked) -> tuple[int, dict[str, str], object]:
        status, headers, body = good(asked)
        if not isinstance(body, dict) or "serverInfo" not in body.get("result", {}):
            return status, headers, body
        body["result"]["serverInfo"] = {"name": "@"}
        text = json.dumps(body).replace('"@"', "[" * depth + "]" * depth)
        return status, {**headers, "Content-Type": "application/json"}, text

    async with serving(unreadable) as rogue_one, serving(good) as place:
        found = await sought(rogue_one.url, place.url)
        assert {one.subject for one in found} == {f"address 127.0.0.1:{port_of(one.url)}" for one in (rogue_one, place)}


async def test_what_is_packed_or_too_long_to_be_read_is_found_as_that_and_not_left_out() -> None:
    packed = serving(lambda _: (200, {"Content-Encoding": "gzip"}, "x"))
    long = serving(lambda _: (200, {"Content-Type": "application/json"}, " " * 2_000_000))
    async with packed as one, long as other:
        found = await sought(one.url, other.url)
        assert {(each.subject, each.severity) for each in found} == {
            (f"address 127.0.0.1:{port_of(each.url)}", Severity.MEDIUM) for each in (one, other)
        }
        assert all("what cannot be read" in each.observed for each in found)


async def test_it_is_found_over_tls_with_whatever_certificate_behind_a_token_and_over_the_older_sse(
    tmp_path: Path,
) -> None:
    def protected(asked: Asked) -> tuple[int, dict[str, str], object]:
        status, _, body = closed(asked)
        return status, {"WWW-Authenticate": 'Bearer resource_metadata="https://x"'}, body

    def older(asked: Asked) -> tuple[int, dict[str, str], object]:
        streams = asked.method == "GET" and asked.target == "/sse"
        return (200, {"Content-Type": "text/event-stream"}, "") if streams else (405, {}, "")

    tls, _ = served_by(tmp_path)
    async with serving(good, tls=tls) as a, serving(protected) as b, serving(older) as c:
        found = await sought(a.url, b.url, c.url)
    assert {port_of(one.subject) for one in found} == {port_of(one.url) for one in (a, b, c)}


async def test_a_listed_servers_port_may_hide_another_at_another_path() -> None:
    def only(asked: Asked) -> tuple[int, dict[str, str], object]:
        return good(asked) if asked.target == "/mcp" else (404, {}, "")

    async with serving(only) as place, serving(good) as everywhere:
        (one,) = await sought(place.url, weather=place.url.replace("/mcp", "/other"))
        assert one.incident_class is IncidentClass.SERVER_SPOOFING
        # One that takes every path is the same one at each.
        assert await sought(everywhere.url, weather=everywhere.url.replace("/mcp", "/other")) == []


async def test_what_never_answers_costs_its_own_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.probing.stranger.PATIENCE", 0.2)

    async def silent(_: str, writer: Any) -> None:  # noqa: ANN401  # a stream
        del writer
        await asyncio.Event().wait()

    async with rogue(silent) as hole, serving(good) as place:
        (one,) = await sought(f"{hole.url}/", place.url)
        assert str(port_of(place.url)) in one.subject


async def test_no_more_is_asked_than_the_pace_allows() -> None:
    pace, began = Pace(200.0), time.monotonic()
    await asyncio.gather(*(pace.turn() for _ in range(41)))
    assert time.monotonic() - began >= 0.2


async def test_closed_ports_are_nothing_and_many_of_them_take_little() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"http://127.0.0.1:{held.getsockname()[1]}/"
        assert await sought(url, cidr="127.0.0.0/24") == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cidr": "8.8.8.0/28"}, "say so with `public: true`"),
        ({"cidr": "10.0.0.1/24"}, "no range of addresses"),
        ({"cidr": "somewhere"}, "no range of addresses"),
        ({"cidr": "224.0.0.0/28"}, "nobody has a server"),
        ({"cidr": "10.0.0.0/8"}, f"one run asks {MOST} at most"),
        ({"cidr": "fd00::/64"}, f"one run asks {MOST} at most"),
        ({"cidr": "0.0.0.0/0"}, "say so with `public: true`"),
        ({"cidr": "10.0.0.0/28", "ports": []}, "ports"),
        ({"cidr": "10.0.0.0/28", "paths": ["http://evil.example/"]}, "paths"),
    ],
)
def test_a_range_that_is_not_ours_or_too_large_is_refused_where_it_is_written(
    fields: dict[str, Any], said: str
) -> None:
    one = {"agreed": "Kim", "ports": [8000], **fields}
    lines = "".join(f"    {name}: {value}\n" for name, value in one.items())
    text = f"version: 1\nranges:\n  -\n{lines}"
    with pytest.raises(Misconfigured, match="ranges") as refused:
        parse_yaml(Inventory, text, file="inventory.yaml", context={})
    assert said in str(refused.value)


def test_a_public_range_is_taken_where_the_inventory_says_that_it_is_ours() -> None:
    assert OwnRange(cidr="8.8.8.0/28", agreed="Kim", ports=(443,), public=True).size == 16
