"""What alerts name beside servers means the server that stands on it, or nothing: it is never guessed which."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.engine.opening import resolve
from integrations.registry import SYSTEMS
from integrations.siem.reading import image
from playbooks.errors import Misconfigured
from playbooks.estate import naming
from playbooks.estate.inventory import Inventory
from playbooks.estate.naming import Unclear
from playbooks.estate.standing import GROUNDS
from playbooks.record.incident import Entity, EntityKind
from playbooks.strict import parse_yaml

TEXT = """\
version: 1
systems:
  eu: {kind: kubernetes, kubeconfig: {file: secrets/kubeconfig}}
servers:
  shop:
    title: Shop
    owner: ann
    environment: prod
    places: {eu: {namespace: store, name: shop-mcp}}
  weather:
    title: Weather
    aliases: [weather-mcp]
    owner: ann
    environment: prod
    tools: {forecast: {}}
    found_by:
      image: [ghcr.io/acme/weather, "docker.io/library/mcp:1.2", "acme/pinned@sha256:ab"]
      workload: [prod/weather]
      package: [pkg:pypi/weather-mcp, "pkg:npm/%40acme/pinned@1.2.3", Weather Tools]
      host: [node-7]
      address: [10.0.3.7, "2001:db8::7"]
      cloud_resource: ["arn:aws:ec2:eu-west-1:1:instance/i-0abc"]
      workspace: [ann/laptop]
  letters: {title: L, aliases: [letters-mcp], owner: ann, environment: prod}
  mail:
    title: Mail
    owner: ann
    environment: prod
    tools: {send: {}}
    found_by: {image: [ghcr.io/acme/mail], workload: [prod/mail, test/weather], host: [node-7, node-8]}
"""


def read(text: str = TEXT) -> Inventory:
    return parse_yaml(Inventory, text, file="inventory.yaml", context=SYSTEMS.context)


def named(*said: str) -> list[Entity]:
    """Return what an alert names, each written as `kind name`."""
    return [Entity(kind=EntityKind(kind), name=name) for kind, _, name in (one.partition(" ") for one in said)]


@pytest.mark.parametrize(
    ("said", "server"),
    [
        (["image ghcr.io/acme/weather"], "weather"),
        (["image ghcr.io/acme/weather:9@sha256:cd"], "weather"),
        (["image mcp:1.2"], "weather"),
        (["image docker.io/library/mcp:1.2@sha256:cd"], "weather"),
        (["image mcp:1.3"], None),
        (["image mcp"], None),
        (["image acme/pinned:1@sha256:ab"], "weather"),
        (["image acme/pinned@sha256:cd"], None),
        (["image evil.example/ghcr.io/acme/weather"], None),
        (["workload prod/weather"], "weather"),
        (["workload eu-1/prod/Weather"], "weather"),
        (["workload prod/mail"], "mail"),
        (["workload mail"], "mail"),
        (["workload letters-mcp"], "letters"),
        # Its place on a system says it as well.
        (["workload store/shop-mcp", "workload store/shop-mcp-7d4b9-x2k4z"], "shop"),
        (["workload test/shop-mcp"], None),
        (["workload any/letters"], "letters"),
        # Where it runs is written: one that is called so elsewhere is another.
        (["workload weather-mcp"], None),
        (["workload staging/weather"], None),
        (["workload staging/mailer"], None),
        # A kind of package spells its names in one way, and has names of its own.
        (["package pkg:pypi/Weather_MCP@9"], "weather"),
        (["package pkg:npm/weather-mcp@9"], None),
        (["package pkg:npm/@acme/pinned@1.2.3?arch=x86#lib"], "weather"),
        (["package pkg:npm/%40acme/pinned@1.2.4"], None),
        (["package pkg:npm/%40acme/pinned"], None),
        (["package weather tools"], "weather"),
        (["package pkg:npm/left-pad@1.0.0"], None),
        (["address 10.0.3.7"], "weather"),
        (["address ::ffff:10.0.3.7"], "weather"),
        (["address 2001:0db8:0::0007"], "weather"),
        (["address 10.0.3.70"], None),
        (["host NODE-8"], "mail"),
        (["cloud_resource arn:aws:ec2:eu-west-1:1:instance/i-0abc"], "weather"),
        (["workspace ann/laptop"], "weather"),
        # Two stand there; a workload of one of them says which.
        (["host node-7"], None),
        (["host node-7", "workload prod/weather"], "weather"),
        # In `test` another one is called so.
        (["workload weather"], None),
        (["workload weather", "image ghcr.io/acme/weather"], "weather"),
        # What contradicts itself means neither.
        (["workload prod/mail", "image ghcr.io/acme/weather"], None),
        # Names that nobody wrote down, of what is known by another one.
        (["workload prod/weather-7d4b9-x2k4z", "workload main", "image ghcr.io/acme/weather:1"], "weather"),
        # A stranger that runs beside a server, or talks to one, is not that server.
        (["workload prod/evil", "host node-8"], None),
        (["image evil.example/x", "address 10.0.3.7"], None),
        (["host node-9", "address 10.0.3.7"], None),
        # Whoever names a server means that one.
        (["server mail", "image ghcr.io/acme/weather"], "mail"),
        (["server shadow", "workload prod/weather"], None),
    ],
    ids=str,
)
def test_what_a_server_stands_on_means_that_server(said: list[str], server: str | None) -> None:
    known, _ = resolve(read(), named(*said))
    assert [thing.id for thing in known] == ([server] if server else [])


def test_a_tool_is_that_of_the_server_that_stands_there() -> None:
    known, unknown = resolve(read(), named("tool forecast", "workload prod/weather", "image ghcr.io/acme/weather"))
    assert {thing.key for thing in known} == {"tool:weather/forecast", "server:weather/weather"}
    assert unknown == []
    assert {thing.by for thing in known} == {"workload prod/weather"}
    known, unknown = resolve(read(), named("tool send", "workload prod/weather"))
    assert [thing.key for thing in known] == ["server:weather/weather"]
    assert unknown == named("tool send"), "it is another server's"


def test_a_person_who_names_what_two_stand_on_is_asked_which() -> None:
    assert naming.one(read(), *named("host node-8")).id == "mail"
    with pytest.raises(Unclear, match="write weather; server mail: write mail"):
        naming.one(read(), *named("host node-7"))


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("found_by: {pod: [x]}", "found_by.pod"),
        ("found_by: {tool: [x]}", "tool: a server does not stand on a tool; it does on workload, image"),
        ("found_by: {image: x}", "found_by.image"),
    ],
)
def test_what_no_server_stands_on_is_refused(written: str, says: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        read(f"version: 1\nservers:\n  one:\n    title: T\n    owner: o\n    environment: dev\n    {written}\n")
    assert says in f"{caught.value.field}: {caught.value}"
    assert caught.value.line == 7


NAMES = st.sampled_from(
    ["a", "prod/a", "eu/prod/a", "test/a", "x:1", "x:2", "x:1@d", "r/x", "10.0.0.1", "::ffff:10.0.0.1"]
)
FOUND_BY = st.dictionaries(st.sampled_from(GROUNDS), st.lists(NAMES, max_size=3, unique=True), max_size=4)


@given(st.lists(FOUND_BY, min_size=1, max_size=3), st.lists(st.tuples(st.sampled_from(GROUNDS), NAMES), max_size=4))
def test_whatever_is_written_and_said_means_one_server_that_it_is_true_of_or_none(
    written: list[dict[EntityKind, list[str]]], said: list[tuple[EntityKind, str]]
) -> None:
    server: dict[str, Any] = {"title": "T", "owner": "o", "environment": "dev"}
    servers = {f"s{n}": {**server, "found_by": found_by} for n, found_by in enumerate(written)}
    inventory = Inventory.model_validate({"version": 1, "servers": servers})
    entities = [Entity(kind=kind, name=name) for kind, name in said]
    known, unknown = resolve(inventory, entities)
    assert len(known) <= 1
    assert {entity for entity in entities if entity not in unknown} <= set(entities)
    for thing in known:
        others = [name for name in servers if name != thing.id]
        meant = [entity for entity in entities if entity not in unknown]
        assert meant
        for entity in meant:
            assert thing.id in inventory.standing.servers(entity)
        for other in others:
            assert not all(other in inventory.standing.servers(entity) for entity in meant), "it could be that one"
    if not known and not inventory.standing.stands(entities).servers:
        assert unknown == entities


@given(st.sampled_from(["ghcr.io/acme/weather", "x", "r:5000/x"]), st.sampled_from([None, "1.4"]))
def test_an_image_is_written_as_precisely_as_it_is_said(name: str, tag: str | None) -> None:
    (said,) = image(name, tag, "sha256:ab")
    assert said.name == f"{name}{f':{tag}' if tag else ''}@sha256:ab"
