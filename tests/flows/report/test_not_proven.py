"""What is not proven at another door is one sentence: what, why, and what to do."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from integrations.catalogue import Names
from integrations.gateways.driver import SETTLED
from integrations.precedence import Precedence
from integrations.protocol.client import McpEndpoint, Session
from integrations.protocol.reply import Reply
from integrations.registry import SYSTEMS
from integrations.systems.contextforge import canary
from integrations.systems.contextforge.asking import Asking
from integrations.systems.contextforge.canary import ForgeCanary
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.mcp.behaviour import RefusedDirectly
from playbooks.errors import Refused
from playbooks.estate.gateway import Gateway
from playbooks.gate.plan import Answer, Finding, Verdict
from playbooks.people.briefing import brief
from playbooks.people.contacts import Language
from playbooks.people.rendering import render
from playbooks.record.journal import Event
from playbooks.record.proof import proof
from tests.flows.cli import world
from tests.flows.report.test_one_truth import everywhere
from tests.lab import stories
from tests.lab.connected import connected

INVENTORY = world.READ
OWN = "forecast weather inventory yaml safe_arguments sse"
"""Words of ours that are the same in every language."""


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Give the address of a gateway that takes connections and never answers."""
    held: list[asyncio.StreamWriter] = []

    async def keep(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp/"
    finally:
        for writer in held:
            writer.close()
        server.close()


async def at_events(monkeypatch: pytest.MonkeyPatch) -> Finding:
    monkeypatch.setattr(canary, "_EVENTS_WITHIN", 0.05)
    async with silent() as url:
        asker = ForgeCanary(McpEndpoint("the gateway", url, principal="canary"))
        try:
            return await asker.by_events(("forecast", "forecast"))
        finally:
            await asker.aclose()


class Heard:
    """A server that answers a call of what it does not have, and lists these tools."""

    def __init__(self, *tools: str, silent: bool = False) -> None:
        self._tools, self._silent = tools, silent

    async def ask(self, _method: str, _params: dict[str, Any]) -> Reply:
        error = None if self._silent else {"code": -32602, "message": "Unknown tool: mcp-soar-no-such-tool"}
        return Reply(status=200, result=None, error=error, raw=b"")

    async def listed(self, _kind: str) -> list[dict[str, Any]]:
        return [{"name": name} for name in self._tools]


async def past(heard: Heard, monkeypatch: pytest.MonkeyPatch, tool: str | None = "forecast") -> Finding:
    @asynccontextmanager
    async def session(_: McpEndpoint) -> AsyncIterator[Session]:
        yield cast("Session", heard)

    monkeypatch.setattr(McpEndpoint, "session", session)
    reached = connected(INVENTORY)
    try:
        (found,) = (await RefusedDirectly(server="weather", tool=tool).check(reached)).findings
    finally:
        await reached.aclose()
    return found


async def _each(which: str, monkeypatch: pytest.MonkeyPatch) -> Finding:
    match which:
        case "sse":
            return await at_events(monkeypatch)
        case "open":
            return await past(Heard("forecast"), monkeypatch)
        case "server":
            return await past(Heard("a", "b"), monkeypatch, None)
        case "unlisted":
            return await past(Heard("add"), monkeypatch)
    return await past(Heard(silent=True), monkeypatch)


WHAT = {
    "sse": ("that tool forecast at /sse is refused", "no stream came within 0.05 s", "have a client that uses /sse"),
    "open": ("tool forecast at weather's own address", "takes calls from anybody", "let nobody but the gateway reach"),
    "server": ("a call at weather's own address", "lists 2 tools", "let nobody but the gateway reach that address"),
    "unlisted": ("that tool forecast at weather's", "it is no longer listed there", "write safe_arguments for it"),
    "strange": ("that tool forecast at weather's", "tells nothing", "let nobody but the gateway reach that address"),
}


@pytest.mark.parametrize("which", WHAT)
async def test_it_says_what_why_and_what_to_do(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await _each(which, monkeypatch)
    body = {"instance": "refused-directly@weather/forecast", "phase": "capture"}
    checked = Event("checked", {**body, "verdict": Verdict.of((found,)).model_dump(mode="json")})
    story = [*stories.contained(), (3.0, checked)]
    (fact,) = proof(stories.told(story)).lacking
    sentence = str(fact)
    places = [sentence.index(words) for words in WHAT[which]]
    assert places == sorted(places)
    assert "NOT refused" in sentence if found.answer is Answer.NOT_ESTABLISHED else "not proven" in sentence
    assert "mcp-soar-no-such-tool" not in sentence
    assert not re.search(r"[.;] ", sentence), "one sentence"
    for where, text in everywhere(story).items():
        for words in WHAT[which]:
            assert words in text.replace("&#39;", "'"), where


@pytest.mark.parametrize("which", ["sse", "open", "server", "unlisted"])
async def test_it_says_so_in_korean(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await _each(which, monkeypatch)
    body = {"instance": "refused-directly@weather/forecast", "phase": "capture"}
    checked = Event("checked", {**body, "verdict": Verdict.of((found,)).model_dump(mode="json")})
    state = stories.told([*stories.contained(), (3.0, checked)])
    text = render(brief(state, inventory=INVENTORY, at=stories.at(60)), Language.KO, words=SYSTEMS.words).text
    part = text.partition("확인되지 않은 사항")[2].partition("\n\n")[0]
    assert "십시오" in part
    assert set(re.findall(r"[a-z_]{2,}", part)) <= set(OWN.split()), part


@dataclass
class Behind:
    """A gateway with so many processes and virtual servers, of which it may not say which there are."""

    processes: int = 1
    doors: int = 0
    silent: bool = False
    since: float = 0.1
    precedence: Precedence = field(default_factory=lambda: Precedence(changes=1, verifications=1, looks=1))

    @property
    def gateway(self) -> Gateway:
        return INVENTORY.gateways["main"]

    def disabled_for(self, _: str) -> float:
        return self.since

    async def virtual_servers(self) -> dict[str, set[str]]:
        if self.silent:
            raise Refused("403")
        return {f"s{n}": {"t-forecast"} for n in range(self.doors)}


class Refusing:
    """A canary that is refused by whatever name and wherever it asks."""

    endpoint = SimpleNamespace(principal="canary")

    def at(self, _door: object) -> None:
        return None

    async def call(self, *_asked: object, **_how: object) -> Finding:
        return Finding(
            check="call", subject="s", asked_as="canary", expected="e", observed="o", answer=Answer.ESTABLISHED
        )

    look_up = call
    by_events = call


LEFT = {
    "processes": (Behind(processes=2), {"x": 1}, "remembers what it looked up", "wait for the look after that"),
    "silent": (Behind(silent=True), {"x": 1}, "did not say which there are", "run mcp-soar doctor"),
    "not yet": (Behind(doors=9), {"x": 1}, "it was not asked yet", "the next look asks there"),
    "too many": (Behind(doors=30, since=50.0), {"x": 1}, "one look asks no more", "have a client that uses one"),
    "schema": (Behind(doors=1), None, "its schema rejects nothing", "write safe_arguments for it"),
}


@pytest.mark.parametrize("which", LEFT)
async def test_a_door_that_was_left_out_says_why_and_what_to_do(which: str) -> None:
    forge, arguments, why, then = LEFT[which]
    target = stories.plan().targets[0]
    names = Names(original="forecast", offered="weather-forecast")
    settled = forge.since > SETTLED
    asking = Asking(
        cast("ForgeCanary", Refusing()), cast("ContextForge", forge), target, names, arguments, settled=settled
    )
    asked = await asking.everything()
    (found,) = [one for one in (*asked.findings, *asked.beside) if one.answer is Answer.UNKNOWN]
    body = {"instance": "refused-directly@weather/forecast", "phase": "capture"}
    checked = Event("checked", {**body, "verdict": Verdict.of((found,)).model_dump(mode="json")})
    state = stories.told([*stories.contained(), (3.0, checked)])
    (fact,) = proof(state).lacking
    assert str(fact).startswith("it is not proven that tool forecast of weather ")
    assert str(fact).index(why) < str(fact).index(then)
    text = render(brief(state, inventory=INVENTORY, at=stories.at(60)), Language.KO, words=SYSTEMS.words).text
    part = text.partition("확인되지 않은 사항")[2].partition("\n\n")[0]
    assert "십시오" in part
    known = {*OWN.split(), "mcp", "soar", "doctor", "servers"}
    assert set(re.findall(r"[a-z_]{2,}", part)) <= known, part


def test_a_finding_of_an_earlier_release_is_read() -> None:
    finding = Finding(check="call", subject="a", asked_as="b", expected="c", observed="d", answer=Answer.UNKNOWN)
    before = finding.model_dump(mode="json")
    del before["remedy"]
    assert Finding.model_validate(before) == finding
