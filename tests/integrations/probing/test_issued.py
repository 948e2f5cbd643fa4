"""Tokens that a real provider did issue, to a client that may do nothing: who takes it is found."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from integrations.connections import Connections
from integrations.identity.client import Api
from integrations.probing.issued import issued_tokens
from integrations.probing.stranger import Stranger
from integrations.registry import SYSTEMS
from playbooks.errors import SoarError
from playbooks.estate.inventory import Inventory
from playbooks.estate.probing import Probed
from tests.integrations.probing.test_manners import closed, good
from tests.lab.oidc import OTHER, RunningProvider, kept, secret_of
from tests.lab.served import Asked, serving

Takes = Callable[[str], bool]


@pytest.fixture
async def world(identity_provider: RunningProvider, tmp_path: Path) -> AsyncIterator[Connections]:
    identity_provider.lies()
    systems = {"sso": identity_provider.settings(tmp_path).model_dump()}
    inventory = Inventory.model_validate({"version": 1, "systems": systems}, context=SYSTEMS.context)
    made = Connections(inventory, SYSTEMS)
    yield made
    await made.aclose()
    identity_provider.lies()


def agreed(folder: Path, *, expired: str = "", secret: str = secret_of(OTHER)) -> Probed:
    canary: dict[str, Any] = {"provider": "sso", "client": OTHER, "secret": kept(folder, "probe", secret).model_dump()}
    if expired:
        canary["expired"] = kept(folder, "ended", expired).model_dump()
    return Probed.model_validate({"agreed": "Kim", "canary": canary})


async def found(world: Connections, probed: Probed, takes: Takes) -> tuple[set[tuple[str, str]], list[str]]:
    """Return what is found of a server that takes some tokens, and the tokens that it was sent."""
    sent: list[str] = []

    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if token:
            sent.append(token)
        return good(asked) if token and takes(token) else closed(asked)

    async with serving(served) as place, Stranger("server lab", place.url) as asking:
        faults = await issued_tokens("lab", probed, asking, world)
    return {(one.what, one.observed) for one in faults}, sent


async def test_a_server_that_refuses_it_gives_nothing_and_the_token_is_revoked(
    world: Connections, identity_provider: RunningProvider, tmp_path: Path
) -> None:
    faults, sent = await found(world, agreed(tmp_path), lambda _: False)
    assert faults == set()
    assert len(sent) == 1
    assert not identity_provider.active(sent[0])


async def test_a_token_for_somebody_else_that_is_taken_is_found(world: Connections, tmp_path: Path) -> None:
    faults, _ = await found(world, agreed(tmp_path), lambda _: True)
    assert faults == {("a token for somebody else", "taken: one for nobody in particular")}


async def test_a_token_that_has_ended_and_is_taken_is_found(world: Connections, tmp_path: Path) -> None:
    faults, sent = await found(
        world, agreed(tmp_path, expired="ended-long-ago"), lambda token: token.startswith("ended")
    )
    assert faults == {("a token that has ended", "taken")}
    assert len(sent) == 2


@pytest.mark.parametrize("looks", [False, True])
async def test_a_token_of_its_own_that_is_taken_after_it_was_revoked_is_found(
    world: Connections,
    identity_provider: RunningProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: Any,  # noqa: ANN401  # a parameter
) -> None:
    introspect, place_of = Api.introspect, list[str]()

    async def meant(self: Api, token: str) -> Any:  # noqa: ANN401  # claims
        claims = await introspect(self, token)
        return claims and {**claims, "aud": place_of}

    monkeypatch.setattr(Api, "introspect", meant)

    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        return good(asked) if token and (not looks or identity_provider.active(token)) else closed(asked)

    async with serving(served) as place, Stranger("server lab", place.url) as asking:
        place_of.append(place.url)
        faults = await issued_tokens("lab", agreed(tmp_path), asking, world)
    assert {one.what for one in faults} == (set() if looks else {"a token that was revoked"})


async def test_a_client_that_gets_none_is_unknown_and_an_open_server_is_sent_none(
    world: Connections, tmp_path: Path
) -> None:
    with pytest.raises(SoarError, match="client credentials"):
        await found(world, agreed(tmp_path, secret="wrong-wrong-wrong"), lambda _: False)  # noqa: S106  # nobody's
    async with serving(good) as place, Stranger("server lab", place.url) as asking:
        assert await issued_tokens("lab", agreed(tmp_path), asking, world) == []
        assert all("authorization" not in one.headers for one in place.seen)
