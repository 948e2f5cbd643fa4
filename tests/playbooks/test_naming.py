"""What a person means by a name: one thing, or a question back with all that it could be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.registry import SYSTEMS
from playbooks.errors import Refused
from playbooks.estate import naming
from playbooks.estate.gateway import GatewayAccount
from playbooks.estate.inventory import Inventory, Offers, Principal, Resolved
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.record.incident import Entity, EntityKind
from playbooks.strict import parse_yaml

TEXT = """\
version: 1
systems:
  main:
    kind: contextforge
    url: http://127.0.0.1:9
    user: Soar@example.com
    password: {env: PASSWORD}
    canary: {principal: canary@example.com, token: {env: CANARY}, url: http://127.0.0.1:9/mcp/}
    credential_ids: [t-ours]
servers:
  weather: {title: W, aliases: [wetter], owner: o, environment: prod, places: {main: {id: g-1}}}
  mail: {title: M, owner: o, environment: prod, places: {main: {id: g-2}}, tools: {archive: {}}}
principals:
  agent: {title: A, places: {main: {user: agent@example.com, tokens: {laptop: t-1, ci: t-2}}}}
  bot: {title: B, places: {main: {user: bot@example.com, tokens: {laptop: t-3}}}}
  watcher: {title: C, places: {main: {user: CANARY@example.com, tokens: {probe: t-4}}}}
  robot: {title: R, places: {main: {user: soar@example.com, tokens: {own: t-5}}}}
  thief: {title: T, places: {main: {user: thief@example.com, tokens: {stolen: t-ours}}}}
"""


def pin(name: str, offered: str, kind: PinKind = PinKind.TOOL) -> Pin:
    digest = "sha256:" + "1" * 64
    return Pin(
        kind=kind, name=name, digest=digest, definition={}, gateway_name=offered, dossier=Dossier(reviewed="all of it")
    )


def inventory(**servers: tuple[Pin, ...]) -> Inventory:
    pins = {
        "weather": (pin("forecast", "weather-forecast"), pin("search", "weather-search")),
        "mail": (pin("search", "mail-search"), pin("weather-search", "mail-weather-search")),
        **servers,
    }
    return parse_yaml(Inventory, TEXT, file="inventory.yaml", context=SYSTEMS.context).model_copy(
        update={"pins": Pins(servers=pins)}
    )


def one(kind: str, name: str, server: str | None = None, **more: Any) -> Resolved:  # noqa: ANN401  # of `one`
    return naming.one(inventory(), Entity(kind=EntityKind(kind), name=name, server=server), **more)


@pytest.mark.parametrize(
    ("kind", "name", "server", "key"),
    [
        ("tool", "forecast", None, "tool:weather/forecast"),
        ("tool", "weather-forecast", None, "tool:weather/forecast"),
        ("tool", "weather/forecast", None, "tool:weather/forecast"),
        ("tool", "search", "weather", "tool:weather/search"),
        ("tool", "mail/search", None, "tool:mail/search"),
        ("tool", "archive", None, "tool:mail/archive"),
        # Nobody approved these: whoever says whose they are is believed.
        ("tool", "brand_new", "wetter", "tool:weather/brand_new"),
        ("tool", "weather/a/b", None, "tool:weather/a/b"),
        ("prompt", "weather/ask", None, "prompt:weather/ask"),
        ("resource", "file:///etc/motd", "mail", "resource:mail/file:///etc/motd"),
        ("server", "Wetter", None, "server:weather/weather"),
        ("address", "Wetter/203.0.113.7", None, "address:weather/203.0.113.7/32"),
        ("address", "203.0.113.77/24", "weather", "address:weather/203.0.113.0/24"),
        ("principal", "AGENT@example.com", None, "principal:/agent"),
        ("token", "ci", None, "token:/t-2"),
        ("token", "t-3", None, "token:/t-3"),
        ("token", "bot/laptop", None, "token:/t-3"),
        ("token", "agent@example.com/t-1", None, "token:/t-1"),
    ],
)
def test_a_name_that_means_one_thing_is_that(kind: str, name: str, server: str | None, key: str) -> None:
    assert one(kind, name, server).key == key


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("tool", "search", ["search of weather: write weather/search", "search of mail: write mail/search"]),
        # One server's own name is what the gateway calls another's.
        ("tool", "weather-search", ["search of weather: write weather/search", "write mail/weather-search"]),
        (
            "token",
            "laptop",
            [
                "token laptop of agent at gateway main: write agent/laptop",
                "token laptop of bot at gateway main: write bot/laptop",
            ],
        ),
    ],
)
def test_a_name_that_means_two_things_is_asked_about_with_both(kind: str, name: str, said: list[str]) -> None:
    with pytest.raises(naming.Unclear) as caught:
        one(kind, name)
    for part in said:
        assert part in str(caught.value)


def offering(**offers: str) -> Inventory:
    """Return an inventory in which servers were imported with one tool each that nobody approved."""
    known = inventory()
    servers = {
        name: server.model_copy(update={"offers": Offers(tools={offers[name]: "id"} if name in offers else {})})
        for name, server in known.servers.items()
    }
    return known.model_copy(update={"servers": servers})


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("get-weather", "tool:weather/get_weather"),
        ("get_weather", "tool:weather/get_weather"),
        ("weather/get_weather", "tool:weather/get_weather"),
        # What is called exactly so at a server goes before what is only called so for short there.
        ("weather-forecast", "tool:weather/forecast"),
    ],
)
def test_the_short_form_that_a_gateway_makes_of_a_name_means_it_where_no_server_is_named(name: str, key: str) -> None:
    assert naming.one(offering(weather="get_weather"), Entity(kind=EntityKind.TOOL, name=name)).key == key


@pytest.mark.parametrize(
    ("offers", "name", "both"),
    [
        ({"weather": "get_weather", "mail": "Get Weather"}, "get-weather", ("weather/get_weather", "mail/Get Weather")),
        # Approved at one server, imported at another: nobody can know which of them is meant.
        ({"mail": "forecast"}, "forecast", ("weather/forecast", "mail/forecast")),
        ({"mail": "fore_cast", "weather": "fore-cast"}, "fore-cast", ("weather/fore-cast", "mail/fore_cast")),
    ],
)
def test_a_short_form_that_means_two_things_is_asked_about_with_both(
    offers: dict[str, str], name: str, both: tuple[str, str]
) -> None:
    with pytest.raises(naming.Unclear) as caught:
        naming.one(offering(**offers), Entity(kind=EntityKind.TOOL, name=name))
    for say in both:
        assert f"write {say}" in str(caught.value)


def test_with_its_server_a_name_that_was_signed_means_what_is_called_exactly_so() -> None:
    known = offering(weather="get_weather")
    thing = naming.one(known, Entity(kind=EntityKind.TOOL, name="get-weather", server="weather"))
    assert thing.id == "get-weather"


def test_two_things_of_one_server_are_told_apart_by_the_gateways_name() -> None:
    twins = inventory(weather=(pin("a", "weather-a"), pin("weather-a", "weather-weather-a")))
    with pytest.raises(naming.Unclear, match=r"write weather/a; .*write weather/weather-weather-a"):
        naming.one(twins, Entity(kind=EntityKind.TOOL, name="weather-a", server="weather"))
    for say, own in (("a", "a"), ("weather-weather-a", "weather-a")):
        assert naming.one(twins, Entity(kind=EntityKind.TOOL, name=say, server="weather")).id == own


@pytest.mark.parametrize(
    ("kind", "name", "server", "said"),
    [
        ("tool", "forcast", None, "nothing approved is called tool 'forcast'; say whose it is with --server NAME"),
        ("tool", "x", "wether", "the inventory does not know server wether; did you mean weather?"),
        ("server", "wether", None, "did you mean weather?"),
        ("principal", "agnet", None, "did you mean agent?"),
        ("token", "agent/lapto", None, "did you mean agent/laptop"),
        ("principal", "zzz", None, "it has agent, bot, robot, thief, watcher"),
        ("address", "10.0.0.1", None, "write SERVER/ADDRESS, as weather/203.0.113.7"),
        ("address", "weather/evil.example", None, "no address of a server"),
        ("cloud_resource", "x", None, "nothing here contains a cloud_resource"),
    ],
)
def test_what_is_not_known_is_refused_with_what_comes_close(
    kind: str, name: str, server: str | None, said: str
) -> None:
    with pytest.raises(naming.Nameless) as caught:
        one(kind, name, server)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name", "role"),
    [
        ("principal", "watcher", "our canary"),
        ("principal", "canary@example.com", "our canary"),
        ("token", "watcher/probe", "our canary"),
        ("principal", "robot", "who mcp-soar signs in as"),
        ("token", "own", "who mcp-soar signs in as"),
        ("token", "stolen", "a credential of it"),
        ("token", "t-ours", "a credential of it"),
    ],
)
def test_what_is_our_own_is_refused_under_whatever_name(kind: str, name: str, role: str) -> None:
    with pytest.raises(Refused, match=r"mcp-soar's own at gateway main") as caught:
        naming.chosen(inventory(), [Entity(kind=EntityKind(kind), name=name)])
    assert role in str(caught.value)
    assert not isinstance(caught.value, naming.Unclear)


def test_a_credential_that_no_principal_has_is_refused_as_ours() -> None:
    without = inventory()
    without = without.model_copy(update={"principals": {}})
    for kind, name in ((EntityKind.TOKEN, "t-ours"), (EntityKind.PRINCIPAL, "soar@EXAMPLE.com")):
        with pytest.raises(Refused, match="is mcp-soar's own"):
            naming.chosen(without, [Entity(kind=kind, name=name)])


def test_a_server_beside_its_tool_is_its_home_unless_somebody_means_both() -> None:
    entities = [Entity(kind=EntityKind.SERVER, name="weather"), Entity(kind=EntityKind.TOOL, name="search")]
    things = naming.chosen(inventory(), entities)
    assert [thing.key for thing in naming.meant(things, exact=False)] == ["tool:weather/search"]
    assert [thing.key for thing in naming.meant(things, exact=True)] == [
        "server:weather/weather",
        "tool:weather/search",
    ]
    assert [thing.key for thing in naming.meant(things[:1], exact=False)] == ["server:weather/weather"]


NAMES = st.sampled_from(["search", "forecast", "weather-search", "mail-search", "new", "a/b", "laptop", "t-1", "agent"])


LABELLED = {
    "agent": {"work": "t-1", "t-1": "t-2", "laptop": "t-3"},
    "bot": {"agent/work": "t-4", "agent/t-1": "t-5", "laptop": "t-6", "t-ours": "t-7"},
}
"""Tokens whose owners chose labels like the ids of others, and like what others are called by."""


def labelled() -> Inventory:
    known = parse_yaml(Inventory, TEXT, file="inventory.yaml", context=SYSTEMS.context)
    people = {
        who: Principal(title=who, places={"main": GatewayAccount(user=f"{who}@example.com", tokens=tokens)})
        for who, tokens in LABELLED.items()
    }
    return known.model_copy(update={"principals": people})


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("t-1", "t-1"),
        ("t-2", "t-2"),
        ("work", "t-1"),
        ("agent/work", "t-1"),
        ("agent/t-1", "t-1"),
        ("agent/t-2", "t-2"),
        ("bot/agent/work", "t-4"),
        ("bot/agent/t-1", "t-5"),
    ],
)
def test_a_tokens_id_and_its_owner_mean_that_token_whatever_another_one_is_labelled(name: str, means: str) -> None:
    known = labelled()
    thing = naming.one(known, Entity(kind=EntityKind.TOKEN, name=name))
    assert thing.id == means
    again = naming.one(known, Entity(kind=EntityKind.TOKEN, name=f"{thing.principal}/{thing.id}"))
    assert again == thing, "as `contain` hands it in and the responder reads it"
    for meaning in naming.meanings(known, Entity(kind=EntityKind.TOKEN, name=name)):
        assert naming.one(known, Entity(kind=EntityKind.TOKEN, name=meaning.say)) == thing


def test_a_label_like_the_id_of_our_own_token_does_not_stand_for_it() -> None:
    with pytest.raises(Refused, match="mcp-soar's own"):
        naming.one(labelled(), Entity(kind=EntityKind.TOKEN, name="t-ours"))


@given(st.sampled_from(["tool", "prompt", "resource", "server", "token", "principal"]), NAMES)
def test_how_a_meaning_is_to_be_said_means_just_that(kind: str, name: str) -> None:
    known = inventory()
    for meaning in naming.meanings(known, Entity(kind=EntityKind(kind), name=name)):
        assert naming.one(known, Entity(kind=EntityKind(kind), name=meaning.say)) == meaning.thing
