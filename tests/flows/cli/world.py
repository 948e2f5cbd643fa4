"""An installation to try the command line on: a folder from `init`, a real journal, and a real responder's intake."""

import asyncio
import contextlib
import functools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer.testing
from typer.main import get_command
from typer.testing import CliRunner, Result

from flows.cli.main import app
from flows.engine.intake import intake
from flows.engine.parts import Parts
from flows.service.access import open_journal
from flows.service.assembly import assembled
from flows.service.settings import Configuration, read
from integrations.journal.store import Journal
from integrations.registry import SYSTEMS
from playbooks.estate.inventory import Inventory, Resolved
from playbooks.gate.plan import Answer, Change, Finding, Plan, Radius, Target, Verdict
from playbooks.playbook import shipped
from playbooks.record.incident import EntityKind, Phase
from playbooks.record.journal import Event
from playbooks.strict import iso, now, parse_yaml
from playbooks.taxonomy import IncidentClass
from playbooks.text.sentences import say
from tests.lab.journals import laid

# It builds all commands anew for every command line, which takes longer than most of them.
typer.testing._get_command = functools.cache(get_command)  # type: ignore[attr-defined]  # noqa: SLF001  # no other way in

INVENTORY = """\
version: 1
systems:
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
    places: {main: {id: g-1}}
    owner: weather-team
    environment: prod
    control_tool: add
    tools: {forecast: {}, add: {}}
principals:
  agent: {title: Agent, places: {main: {user: agent@example.com, tokens: {laptop: t-1}}}}
"""
READ = parse_yaml(Inventory, INVENTORY, file="inventory.yaml", context=SYSTEMS.context)
"""The same, as the parts of an installation get it."""
BOUND = INVENTORY.replace("    owner:", "    data: [personal]\n    regimes: [gdpr, nis2]\n    owner:")
"""The same where laws want some incidents reported."""
PATIENCE = 200
"""Seconds that a responder beside us may take for whatever it is, on a machine however loaded."""
ID = "inc-2026-000001"
INSTANCE = "cut-tool@weather/forecast"


@dataclass(frozen=True)
class Installation:
    """A configuration folder with people, and what is done with it.

    Args:
        folder: the configuration.
        home: where people's keys are.
    """

    folder: Path
    home: Path

    @property
    def config(self) -> Configuration:
        return read(self.folder)

    def run(self, *words: str, env: dict[str, str | None] | None = None, text: str | None = None) -> Result:
        """Run a command line in this process."""
        runner = CliRunner(
            env={"MCP_SOAR_CONFIG": str(self.folder), "XDG_CONFIG_HOME": str(self.home), "COLUMNS": "80"}
        )
        return runner.invoke(app, list(words), env=env, input=text)

    def json(self, *words: str, code: int = 0) -> Any:  # noqa: ANN401  # a document
        """Run a command with --json and return its document."""
        result = self.run(*words, "--json")
        assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr, result.exception)
        return json.loads(result.stdout)

    def error(self, *words: str, code: int) -> dict[str, Any]:
        """Run a command with --json that fails, and return its error."""
        result = self.run(*words, "--json")
        assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr, result.exception)
        assert result.stdout == ""
        error: dict[str, Any] = json.loads(result.stderr)["error"]
        assert error["code"] == code
        return error

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition that a responder beside us brings about; `what` names it if it never comes."""
        late = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < late, f"not within {PATIENCE} s: {what}"
            time.sleep(0.02)

    def append(self, *events: Event, incident: str = ID, correlation: str | None = None) -> str:
        """Append to an incident's stream, as a responder would; the first time opens it."""
        self._laid()

        async def work() -> str:
            journal = await open_journal(self.config, name="test", writing=True)
            try:
                return await append_to(journal, incident, events, correlation)
            finally:
                await journal.aclose()

        return asyncio.run(work())

    def hold(self, grip: str, *, before: Any, after: Any) -> None:  # noqa: ANN401  # a field's values
        """Take a hold, as a responder does with its intent."""
        self._laid()

        async def work() -> None:
            journal = await open_journal(self.config, name="test", writing=True)

            async def unit(tx: Any) -> None:  # noqa: ANN401  # a Tx
                await tx.hold(grip, incident=ID, lease="cut", server="weather", before=before, after=after)

            try:
                await journal.submit(unit)
            finally:
                await journal.aclose()

        asyncio.run(work())

    def _laid(self) -> None:
        """Put the journal there, as whoever writes to it first would make it."""
        if (url := self.config.journal_url).startswith("sqlite"):
            path = Path(url.partition(":///")[2])
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            laid(path)

    @contextlib.contextmanager
    def responder(self, after: Callable[[Parts], Any] | None = None) -> Iterator[None]:
        """Have a responder take in requests meanwhile: the real intake on the real journal.

        Args:
            after: a coroutine function that plays the engine's effects; called after every intake.
        """
        stop, ready = threading.Event(), threading.Event()
        self._laid()
        faults: list[BaseException] = []

        async def work() -> None:
            async with assembled(self.config) as parts:
                ready.set()
                while not stop.is_set():
                    await intake(parts)
                    if after is not None:
                        await after(parts)
                    await asyncio.sleep(0.02)

        def run() -> None:
            try:
                asyncio.run(work())
            except BaseException as exc:  # noqa: BLE001  # shown in the test's thread
                faults.append(exc)
                ready.set()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert ready.wait(PATIENCE)
            yield
        finally:
            stop.set()
            thread.join(PATIENCE)
            if faults:
                raise faults[0]


async def append_to(journal: Journal, incident: str, events: Sequence[Event], correlation: str | None = None) -> str:
    """Append to an incident's stream, opening it if it is not there."""
    stream = f"incident/{incident}"

    async def unit(tx: Any) -> str:  # noqa: ANN401  # a Tx
        name = stream
        if await tx.stream(stream) is None:
            name, claim = await tx.open_stream(
                "incident/inc", correlation=correlation, lane="cut", owner="test", claim_seconds=30
            )
            await tx.release(claim, runnable_at=None)
        await tx.append(name, list(events))
        return str(name).removeprefix("incident/")

    return await journal.submit(unit)


# What a stream holds; the readers are in playbooks.record.projection.

PLAYBOOK = shipped()[IncidentClass.TOOL_POISONING]
TOOL = Resolved(kind=EntityKind.TOOL, id="forecast", server="weather")
TARGET = Target(system="gateway/main", kind="tool", id="t-42", name="forecast", server="weather")


def plan(
    summary: str = "Take the tool forecast of weather away from all clients of gateway main.",
    **more: Any,  # noqa: ANN401  # fields of a plan
) -> Plan:
    fields: dict[str, Any] = {
        "action": "gateway.disable_tool",
        "params": {"server": "weather", "tool": "forecast"},
        "summary": summary,
        "changes": (Change(target=TARGET, field="enabled", before=True, after=False),),
        "radius": Radius.TOOL,
        "breaks": "Nobody can use forecast.",
    }
    return Plan(**{**fields, **more})


def verdict(answer: Answer = Answer.ESTABLISHED, observed: str = "Tool not found: forecast") -> Verdict:
    finding = Finding(
        check="call", subject="tool forecast", asked_as="canary", expected="refused", observed=observed, answer=answer
    )
    return Verdict(answer=answer, findings=(finding,))


def opened(title: str = "The description asks for files", requested_by: str | None = None, **more: Any) -> Event:  # noqa: ANN401  # fields of the body
    body: dict[str, Any] = {
        "class": "tool_poisoning",
        "severity": 4,
        "title": title,
        "key": "tool_poisoning|tool:weather/forecast",
        "entities": [TOOL.model_dump(mode="json")],
        "unresolved": [],
        "playbook": {"id": "tool_poisoning", "digest": PLAYBOOK.digest},
        "linked": [],
        "requested_by": requested_by,
        "triage": None,
    }
    return Event("opened", {**body, **more})


def alert(title: str = "The description asks for files", rule: str = "Tool description changed") -> Event:
    at = now()
    return Event(
        "alert",
        {
            "receipt": "r-1",
            "source": "generic",
            "external_id": "scan-17",
            "state": "new",
            "severity": 4,
            "rule": rule,
            "title": title,
            "authenticated": True,
            "confidence": 2,
            "detected_at": iso(at - timedelta(seconds=3)),
            "accepted_at": iso(at - timedelta(seconds=2)),
            "digest": "sha256:" + "1" * 64,
            "entities": [TOOL.model_dump(mode="json")],
        },
        "generic",
    )


def intended(wanted: Plan | None = None) -> Event:
    wanted = wanted or plan()
    body = {
        "instance": INSTANCE,
        "phase": Phase.CUT.value,
        "action": wanted.action,
        "attempt": 0,
        "epoch": 1,
        "key": "sha256:" + "2" * 64,
        "plan": wanted.model_dump(mode="json"),
        "decision": {"outcome": "allow", "reasons": ["within the policy's automatic limits"]},
        "until": iso(now() + timedelta(hours=24)),
        "purpose": "contain",
        "originals": {wanted.changes[0].grip: True},
    }
    return Event("intended", body)


def wrote() -> Event:
    writes = [{"change": str(plan().changes[0]), "at": iso(now())}]
    return Event("wrote", {"instance": INSTANCE, "epoch": 1, "writes": writes, "found": []})


def verified(answer: Answer = Answer.ESTABLISHED, observed: str = "Tool not found: forecast") -> Event:
    body = {"instance": INSTANCE, "epoch": 1, "attempt": 1, "at": iso(now())}
    return Event("verified", {**body, "verdict": verdict(answer, observed).model_dump(mode="json")})


def proposed(wanted: Plan | None = None, *, quorum: int = 1, requested_by: str | None = None, **more: Any) -> Event:  # noqa: ANN401  # fields of the body
    body = {
        "instance": INSTANCE,
        "phase": Phase.CUT.value,
        "epoch": 1,
        "plan": (wanted or plan()).model_dump(mode="json"),
        "reasons": [say("no alert of it came from an authenticated source")],
        "quorum": quorum,
        "expires_at": iso(now() + timedelta(minutes=15)),
        "purpose": "contain",
        "requested_by": requested_by,
        "differs": "",
    }
    return Event("proposed", {**body, **more})


def release_intended(by: str) -> Event:
    undo = plan().inverse()
    body = {
        "instance": INSTANCE,
        "release": f"release-{INSTANCE}",
        "phase": Phase.RECOVER.value,
        "epoch": 1,
        "plan": undo.model_dump(mode="json"),
        "decision": {"outcome": "allow", "reasons": ["a responder's signed request"]},
        "key": "sha256:" + "3" * 64,
        "kept": [],
        "requested_by": by,
    }
    return Event("release_intended", body)


def released() -> Event:
    body = {"instance": INSTANCE, "release": f"release-{INSTANCE}", "epoch": 1, "kept": []}
    writes = [{"change": str(plan().inverse().changes[0]), "at": iso(now())}]
    return Event("released", {**body, "writes": writes, "verdict": verdict().model_dump(mode="json")})


CONTAINED = (opened, alert, intended, wrote, verified)
