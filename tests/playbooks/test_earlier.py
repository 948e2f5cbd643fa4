"""An inventory that an earlier release wrote says what it said; what is half of either form is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.registry import SYSTEMS
from playbooks.errors import Misconfigured
from playbooks.estate.inventory import Inventory
from playbooks.strict import parse_yaml
from tests.flows.cli import world

EARLIER = """\
version: 1
gateways:
  main:
    kind: contextforge
    url: http://127.0.0.1:9
    user: soar@example.com
    password: {file: secrets/gateway}
    canary: {principal: canary@example.com, token: {file: secrets/canary}, url: http://127.0.0.1:9/mcp/}
servers:
  weather:
    title: Weather
    url: http://127.0.0.1:9/mcp
    gateway: {name: main, id: g-1}
    owner: weather-team
    environment: prod
    control_tool: add
    tools: {forecast: {}, add: {}}
principals:
  agent: {title: Agent, gateway: main, user: agent@example.com, tokens: {laptop: t-1}}
"""


def read(text: str) -> Inventory:
    return parse_yaml(Inventory, text, file="inventory.yaml", context=SYSTEMS.context)


def test_it_says_what_is_written_now_in_another_way() -> None:
    assert read(EARLIER) == read(world.INVENTORY)


NAMES = st.sampled_from(["main", "edge", "a.b"])
SECRET = {"env": "X"}
SERVER: dict[str, Any] = {"title": "T", "owner": "o", "environment": "dev"}


@st.composite
def both(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make one inventory in both forms, or in the earlier one only in part."""
    gateways = {
        name: {
            "kind": "contextforge",
            "url": f"https://{name}",
            "user": "u@example.com",
            "password": SECRET,
            "canary": {"principal": "c", "token": SECRET, "url": "https://x/mcp"},
            **draw(st.sampled_from([{}, {"credential_ids": ["t-9"]}, {"remembers": 5}])),
        }
        for name in draw(st.sets(NAMES, min_size=1))
    }
    was: dict[str, Any] = {"version": 1, "servers": {}, "principals": {}}
    now: dict[str, Any] = {"version": 1, "systems": gateways, "servers": {}, "principals": {}}
    old = draw(st.sets(st.sampled_from(sorted(gateways))))
    was["gateways"] = {name: gateways[name] for name in old}
    was["systems"] = {name: gateways[name] for name in gateways.keys() - old}
    for number in range(draw(st.integers(0, 3))):
        gateway, here = draw(st.sampled_from(sorted(gateways))), draw(st.booleans())
        now["servers"][f"s{number}"] = {**SERVER, "places": {gateway: {"id": "g"}}}
        account = {"user": f"p{number}@example.com", "tokens": {"a": f"t-{number}"}, "held": {"a": SECRET}}
        kept = draw(st.sets(st.sampled_from(["tokens", "held"])))
        account = {key: value for key, value in account.items() if key == "user" or kept == {"tokens", "held"}}
        now["principals"][f"p{number}"] = {"title": "P", "places": {gateway: account}}
        if here:
            was["servers"][f"s{number}"] = {**SERVER, "gateway": {"name": gateway, "id": "g"}}
            was["principals"][f"p{number}"] = {"title": "P", "gateway": gateway, **account}
        else:
            was["servers"][f"s{number}"] = now["servers"][f"s{number}"]
            was["principals"][f"p{number}"] = now["principals"][f"p{number}"]
    return was, now


@given(both())
def test_whatever_is_written_in_either_way_means_the_same(forms: tuple[dict[str, Any], dict[str, Any]]) -> None:
    was, now = (read(json.dumps(form)) for form in forms)
    assert was == now


@pytest.mark.parametrize(
    ("instead", "by", "says"),
    [
        ("url: http://127.0.0.1:9\n", "url: nowhere\n", "gateways.main.url: String should match"),
        ("{name: main, id: g-1}", "{name: main, id: ''}", "servers.weather.gateway.id: String should have at least 1"),
        ("{name: main, id: g-1}", "{name: main}", "servers.weather.places.main.id: is missing"),
        ("{name: main, id: g-1}", "{id: g-1}", "a server's gateway is written as {name: GATEWAY, id: ID}"),
        ("{name: main, id: g-1}", "main", "a server's gateway is written as {name: GATEWAY, id: ID}"),
        ("{name: main, id: g-1}", "{name: edge, id: g-1}", "no system is called 'edge'; there is main"),
        ("gateway: main, user", "gateway: edge, user", "no system is called 'edge'; there is main"),
        ("gateway: main, user", "user", "user stands in a place: `places: {GATEWAY: {user: ...}}`"),
        ("user: agent@example.com", "users: agent@example.com", "principals.agent.users: is not a field here"),
        ("tokens: {laptop: t-1}", "tokens: [t-1]", "principals.agent.tokens: Input should be a valid dictionary"),
        (
            "    gateway:",
            "    places: {main: {id: g-2}}\n    gateway:",
            "main stands under gateway, as earlier",
        ),
        ("    gateway:", "    gateway: {name: main, id: g-2}\n    gateway:", "the key 'gateway' is given twice"),
        ("principals:", "systems: {main: {kind: contextforge}}\nprincipals:", "main stands under gateways, as earlier"),
        ("principals:", "gateways: {}\nprincipals:", "the key 'gateways' is given twice"),
        ("servers:", "systems: {}\nsystems: {}\nservers:", "the key 'systems' is given twice"),
    ],
)
def test_what_cannot_be_understood_is_refused_where_it_is_written(instead: str, by: str, says: str) -> None:
    text = EARLIER.replace(instead, by, 1)
    assert text != EARLIER
    with pytest.raises(Misconfigured) as caught:
        read(text)
    assert says in str(caught.value)
    line = text.splitlines()[(caught.value.line or 0) - 1]
    assert line.strip().partition(":")[0] in {by.strip().partition(":")[0], "gateway", "agent", "gateways", "systems"}


def test_a_gateway_of_nothing_is_none() -> None:
    text = EARLIER.replace("gateway: {name: main, id: g-1}", "gateway: null")
    assert read(text).servers["weather"].gateway is None
    assert read("version: 1\ngateways: {}\n").systems == {}
