"""A gateway that answers its canary otherwise than its clients: where a client's token is held, that is found out."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typing_extensions import override

from integrations.gateways import clients
from integrations.gateways.actions import DisableTool
from integrations.gateways.canary import Canary
from playbooks.action import World
from playbooks.errors import Refused
from playbooks.estate.pins import PinKind
from playbooks.estate.systems import Secret
from playbooks.gate.plan import Answer, Finding, Verdict
from playbooks.record.proof import Fact
from tests.lab.gateway import Gateway, Place, held


class Lying(Gateway):
    """A gateway that tells its canary whatever is to be heard; a look at it is never the first."""

    @override
    def settled(self, _ids: object) -> bool:
        return True


class Client:
    """A client of that gateway, which tells it what it likes.

    Args:
        listed: what it lists.
        found: whether it finds what is called.
        let_in: whether it answers it at all.
        hangs: whether it keeps it waiting.
    """

    endpoint = SimpleNamespace(principal="principal agent")

    def __init__(
        self, *listed: str, found: Answer = Answer.NOT_ESTABLISHED, let_in: bool = True, hangs: bool = False
    ) -> None:
        self.hangs = hangs
        self.listed, self.found, self.let_in = listed, found, let_in

    async def names(self, _kind: PinKind, _since: float) -> frozenset[str]:
        if self.hangs:
            await asyncio.Event().wait()
        if not self.let_in:
            raise Refused("401")
        return frozenset(self.listed)

    async def finds(self, name: str) -> Finding:
        fields: dict[str, Any] = {"check": "call", "subject": name, "asked_as": "principal agent", "expected": "-"}
        return Finding(**fields, observed="it is found" if self.found is Answer.ESTABLISHED else "-", answer=self.found)


class Around(Place):
    """A world with such a gateway, and a client of it whose token is held."""

    def __init__(self, client: Client | None) -> None:
        super().__init__(Lying(held("forecast", enabled=False)), approved=("forecast",), imported=())
        self.client = client
        agent = self.inventory.principals["agent"]
        place = agent.places["main"]
        token = {"laptop": Secret(env="LAPTOP")} if client else {}
        places = {"main": place.model_copy(update={"held": token})}
        principals = {"agent": agent.model_copy(update={"places": places})}
        self.inventory = self.inventory.model_copy(update={"principals": principals})

    @override
    def reach(self, kind: type[object], name: str) -> Any:
        if "/" in name:
            assert (kind, name) == (Canary, "agent/laptop")
            return self.client
        return super().reach(kind, name)


async def looked(client: Client | None) -> Verdict:
    world = cast("World", Around(client))
    return await DisableTool.verify(await DisableTool(server="weather", tool="forecast").plan(world), world)


def of_client(verdict: Verdict) -> list[Finding]:
    return [finding for finding in verdict.findings if finding.asked_as == "principal agent"]


@pytest.mark.parametrize(
    ("client", "answer", "observed"),
    [
        (Client("weather-forecast"), Answer.NOT_ESTABLISHED, "listed: weather-forecast"),
        (Client(found=Answer.ESTABLISHED), Answer.NOT_ESTABLISHED, "it is found"),
        (Client(), Answer.ESTABLISHED, "-"),
    ],
    ids=["lists it", "finds it", "refuses it"],
)
async def test_what_another_client_is_told_decides_too(client: Client, answer: Answer, observed: str) -> None:
    verdict = await looked(client)
    assert verdict.answer is answer
    (finding,) = of_client(verdict)
    assert (finding.answer, finding.observed) == (answer, observed)


@pytest.mark.parametrize(
    "client", [None, Client(let_in=False), Client(found=Answer.UNKNOWN), Client("weather-forecast", hangs=True)]
)
async def test_without_another_client_it_stands_on_the_canary_and_says_so(
    client: Client | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_WITHIN", 0.05 if client and client.hangs else 60.0)
    verdict = await looked(client)
    assert verdict.answer is Answer.ESTABLISHED
    assert not of_client(verdict)
    for one in verdict.findings:
        said = one.model_dump(include={"check", "subject", "asked_as", "observed", "answer"})
        assert ", asked as canary: " in str(Fact(**said)), "to whom it was answered"
