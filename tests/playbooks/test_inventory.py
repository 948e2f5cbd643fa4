"""What a name means: one thing, or nothing."""

from typing import Any

import pytest
from pydantic import ValidationError

from integrations.registry import SYSTEMS
from playbooks.estate import naming
from playbooks.estate.inventory import Inventory, Resolved
from playbooks.record.incident import Entity, EntityKind
from tests.flows.cli import world

GATEWAY = {
    "kind": "contextforge",
    "url": "http://127.0.0.1:9",
    "user": "soar@example.com",
    "password": {"env": "PASSWORD"},
    "canary": {"principal": "canary@example.com", "token": {"env": "TOKEN"}, "url": "http://127.0.0.1:9/mcp/"},
}


def principal(name: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # fields of a principal
    account = {key: more.pop(key) for key in ("user", "tokens") if key in more}
    return {"title": name, "places": {"main": {"user": f"{name}@example.com", **account}}, **more}


def server(**more: Any) -> dict[str, Any]:  # noqa: ANN401  # fields of a server
    return {"title": "One", "owner": "a-team", "environment": "test", **more}


def inventory(**parts: Any) -> Inventory:  # noqa: ANN401  # servers and principals
    return Inventory.model_validate({"version": 1, "systems": {"main": GATEWAY}} | parts, context=SYSTEMS.context)


def test_a_token_label_that_two_people_use_means_neither() -> None:
    ann, bob = principal("ann", tokens={"laptop": "t-1", "desk": "t-3"}), principal("bob", tokens={"laptop": "t-2"})
    known = inventory(principals={"ann": ann, "bob": bob})
    assert known.resolve(Entity(kind=EntityKind.TOKEN, name="laptop")) is None
    for name, token, who in (("desk", "t-3", "ann"), ("t-1", "t-1", "ann"), ("t-2", "t-2", "bob")):
        found = known.resolve(Entity(kind=EntityKind.TOKEN, name=name))
        assert found is not None
        assert (found.id, found.principal) == (token, who)


@pytest.mark.parametrize(
    ("name", "owners", "token"),
    [
        ("bob/laptop", None, "t-2"),
        ("BOB/t-2", None, "t-2"),
        ("bob/laptop", ("ann",), "t-2"),
        ("laptop", ("ann",), "t-1"),
        ("laptop", ("ann", "bob"), None),
        ("desk", ("ann", "bob"), "t-3"),
        # None of his is called so: it is of somebody else, who is not named.
        ("desk", ("bob",), "t-3"),
        ("bob/desk", None, None),
        ("nobody/desk", None, None),
    ],
)
def test_whose_a_token_is_may_be_said_with_it_or_beside_it(
    name: str, owners: tuple[str, ...] | None, token: str | None
) -> None:
    ann, bob = principal("ann", tokens={"laptop": "t-1", "desk": "t-3"}), principal("bob", tokens={"laptop": "t-2"})
    known = inventory(principals={"ann": ann, "bob": bob})
    found = known.resolve(Entity(kind=EntityKind.TOKEN, name=name), owners=owners)
    assert (found.id if found else None) == token


def test_a_tokens_id_means_that_token_whatever_another_one_is_labelled() -> None:
    mine = {"work": "t-1", "t-1": "t-2", "t-own": "t-3"}
    people = {"ann": principal("ann", tokens=mine), "bob": principal("bob", tokens={"t-2": "t-4", "own": "own"})}
    known = inventory(systems={"main": {**GATEWAY, "credential_ids": ["t-own"]}}, principals=people)
    means = {"t-1": ("t-1", "ann"), "work": ("t-1", "ann"), "t-2": ("t-2", "ann"), "own": ("own", "bob")}
    for name, meant in means.items():
        found = known.resolve(Entity(kind=EntityKind.TOKEN, name=name))
        assert found is not None, name
        assert (found.id, found.principal) == meant
    assert known.resolve(Entity(kind=EntityKind.TOKEN, name="t-own")) is None, "it is ours, and no other is meant by it"


def test_a_token_is_called_as_its_owner_calls_it_where_that_can_mean_nothing_else() -> None:
    mine = {"laptop": "t-1", "t-3": "t-2", "home": "t-4", "again": "t-4"}
    people = {"ann": principal("ann", tokens=mine), "bob": principal("bob", tokens={"laptop": "t-3"})}
    known = inventory(principals=people)
    said = {
        "t-1": "token laptop of ann at gateway main",
        "t-3": "token laptop of bob at gateway main",
        # Its label is another one's id, or it has two.
        "t-2": "token t-2 of ann at gateway main",
        "t-4": "token t-4 of ann at gateway main",
    }
    for token, words in said.items():
        resolved = known.resolve(Entity(kind=EntityKind.TOKEN, name=token))
        chosen = naming.one(known, Entity(kind=EntityKind.TOKEN, name=token))
        assert resolved == chosen
        assert str(resolved) == words
    assert str(known.resolve(Entity(kind=EntityKind.PRINCIPAL, name="BOB"))) == "principal bob at gateway main"
    # What an earlier release wrote into the journal says neither.
    assert str(Resolved.model_validate({"kind": "token", "id": "t-1", "principal": "ann"})) == "token t-1 of ann"


@pytest.mark.parametrize(
    "bob",
    [
        principal("bob", aliases=["The Agent"]),
        principal("bob", aliases=["ANN"]),
        principal("bob", aliases=["ann@example.com"]),
        principal("bob", user="the agent"),
    ],
    ids=["alias", "id", "user", "own-user"],
)
def test_two_principals_that_answer_to_one_name_are_refused(bob: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="an alert could mean either"):
        inventory(principals={"ann": principal("ann", aliases=["the agent"]), "bob": bob})


def test_two_servers_that_answer_to_one_name_are_refused() -> None:
    one = server(aliases=["meteo"])
    for other in (server(aliases=["METEO"]), server(aliases=["one"])):
        with pytest.raises(ValidationError, match="servers one and two both answer to"):
            inventory(servers={"one": one, "two": other})


def test_a_name_said_twice_about_one_thing_is_one_name() -> None:
    ann = principal("ann", aliases=["Ann", "ann@example.com"])
    known = inventory(principals={"ann": ann}, servers={"one": server(aliases=["ONE", "one"])})
    found = known.resolve(Entity(kind=EntityKind.PRINCIPAL, name="ANN"))
    assert found is not None
    assert found.principal == "ann"


def test_a_copy_of_an_inventory_knows_its_own_servers() -> None:
    inventory = world.READ
    about = Entity(kind=EntityKind.SERVER, name="weather")
    assert inventory.resolve(about) is not None
    servers = {"other": inventory.servers["weather"].model_copy(update={"aliases": ()})}
    copied = inventory.model_copy(update={"servers": servers})
    assert copied.resolve(about) is None
    assert copied.resolve(Entity(kind=EntityKind.SERVER, name="other")) is not None
    assert inventory.resolve(about) is not None, "it is as it was"
