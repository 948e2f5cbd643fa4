"""The demonstration: a small MCP estate is broken into, and contained while you watch.

Every part is real: an MCP server, ContextForge in front of it, an agent with the official SDK, a webhook as Elastic
Security sends it, and mcp-soar as `up` runs it. Only the victim is made up.
"""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.demo.kept import offer
from flows.demo.processes import environment
from flows.demo.screen import Screen
from flows.demo.stage import MESSAGES, PERSON, RULE, TOOL, Failed, Stage, administer, reading, set_up
from integrations.hostile import printable
from integrations.journal.store import Journal
from integrations.siem.source import read_keys, read_sources
from integrations.signing import PublicKey
from integrations.vault import bundle
from playbooks.errors import SoarError, Transient
from playbooks.record.journal import Parsed
from playbooks.record.projection import fold
from playbooks.record.state import Incident
from playbooks.strict import now

State = dict[str, list[dict[str, Any]]]

ASKED = "Busan"
"""The city that nobody but the contained agent asks for."""

CONTAINED_WITHIN = 300.0
RELEASED_WITHIN = 300.0
UI_WITHIN = 300.0


def play(screen: Screen, *, keep: bool = False, release: bool = False) -> int:
    """Show it, and return the exit status: 0 only if an independent probe and the evidence say that it worked.

    Args:
        screen: where to.
        keep: leave everything running until Ctrl-C.
        release: go on until everything is as it was before.
    """

    def work(stack: ExitStack, folder: Path) -> Callable[[], None]:
        stage = set_up(stack, screen, folder, forms=keep)
        before = gateway_state(stage)
        incident = _attack(stage, screen, keep=keep)
        if release:
            _release(stage, screen, incident, before)
        return lambda: offer(stage, screen, incident, released=release)

    return shown(screen, work, keep=keep)


def shown(screen: Screen, work: Callable[[ExitStack, Path], Callable[[], None]], *, keep: bool = False) -> int:
    """Have something shown in a folder of its own, and end all that it started; return the exit status.

    Args:
        screen: where to.
        work: shows it; what it starts ends with the stack. It returns what says what to try.
        keep: leave everything running until Ctrl-C.
    """
    # Explicitly: started in a shell's background, a process inherits that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="mcp-soar-demo-"))
    try:
        with ExitStack() as stack, _ending(screen):
            tries = work(stack, folder)
            screen.say("")
            screen.say(f"It all held, in {time.monotonic() - began:.0f} s.", style="good")
            if not keep:
                screen.say(
                    "Every process of it ends now; `make demo ARGS=--keep` leaves them running to try commands on."
                )
            screen.say(f"What was written, demo keys included, stays in {folder}; delete it when you have looked.")
            if keep:
                tries()
                _keep(screen)
    except KeyboardInterrupt:
        screen.say("")
        screen.say("Stopped; nothing is left running.", style="dim")
        return 0 if keep else 130
    except (SoarError, Failed) as exc:
        screen.say("")
        screen.say(f"{'It did not hold' if isinstance(exc, Failed) else 'It could not be tried'}: {exc}", style="bad")
        screen.say(f"The logs are in {folder} (and in config/state/logs there).")
        return 1
    return 0


@contextmanager
def _ending(screen: Screen) -> Iterator[None]:
    """Say that everything is ended now, once somebody wants that; asked twice, it ends no sooner."""
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        screen.say("")
        screen.say("Ending every process of it, which takes some seconds.", style="dim")
        raise


def _refresh(stage: Stage) -> None:
    """Have the gateway read the server anew."""
    asyncio.run(administer(stage.site.inventory, stage.site.server_id, lambda forge, entry: forge.refresh(entry)))


def gateway_state(stage: Stage) -> State:
    """Return all that the gateway has, as its administrator reads it."""
    return asyncio.run(administer(stage.site.inventory, stage.site.server_id, lambda forge, _: forge.export_state()))


# The attack and the response


def _attack(stage: Stage, screen: Screen, *, keep: bool) -> Incident:
    screen.title("2  The rug is pulled")
    stage.server.poison(TOOL)
    _refresh(stage)
    seen = asyncio.run(stage.agent.tools()).get(stage.offered, "")
    screen.say(
        "The server's owner changes a description after it was approved, and the gateway takes it over. The agent's "
        "model now reads:"
    )
    screen.quote(printable(seen, 400))
    screen.say("A model that reads this may do as it says, without anybody calling the tool.")
    screen.title("3  The SIEM notices, mcp-soar responds")
    body = alert(stage, RULE, mcp_tool=TOOL)
    sent = now()
    answer = send(stage, body)
    screen.say(f"Elastic Security sends its alert, with its bearer token: {answer}")
    incident = asyncio.run(_watch(stage, screen, sent))
    screen.title("4  Does it hold?")
    archived = stage.folder / "evidence.tar.gz"
    run_command(stage, "archive", incident.id, "--out", str(archived))
    prove(stage, screen, archived)
    _summary(stage, screen, incident, archived, keep=keep)
    return incident


def alert(stage: Stage, rule: str, **labels: str) -> bytes:
    """Return what Elastic Security sends where a rule of its own fires.

    Args:
        stage: whose server it is about.
        rule: that fires.
        labels: what it names beside the server.
    """
    found = {
        "@timestamp": now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "kibana.alert.uuid": uuid.uuid4().hex * 2,
        "kibana.alert.rule.name": rule,
        "kibana.alert.rule.uuid": str(uuid.uuid4()),
        "kibana.alert.rule.tags": ["MCP"],
        "kibana.alert.severity": "high",
        "kibana.alert.risk_score": 73,
        "kibana.alert.reason": f"configuration event on {stage.site.server_id} created high alert {rule}.",
        "kibana.alert.status": "active",
        "kibana.alert.workflow_status": "open",
        "labels": {"mcp_server": stage.site.server_id, **labels},
    }
    return json.dumps({"rule": {"id": "d1d1", "name": rule}, "alerts": [found]}).encode()


def send(stage: Stage, body: bytes) -> str:
    """Send an alert as Elastic Security does, and return how it was answered."""
    sources = read_sources((stage.config / "sources.yaml").read_text())
    key = read_keys("elastic", sources.sources["elastic"])[0]
    host = stage.status()["receiver"].removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key.decode()}"}
        connection.request("POST", "/v1/alerts/elastic", body, headers)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status != http.HTTPStatus.ACCEPTED:
        raise Failed(f"the receiver answered {response.status}: {text}")
    return f"{response.status} {response.reason}"


async def _watch(stage: Stage, screen: Screen, sent: datetime) -> Incident:
    """Show the incident's journal as it grows, until it is contained and its evidence is sealed."""
    deadline = time.monotonic() + CONTAINED_WITHIN
    async with reading(stage) as journal:
        stream = ""
        while not stream:
            if time.monotonic() > deadline:
                raise Transient(f"no incident was opened within {CONTAINED_WITHIN:.0f} s")
            stream = next((found.name for found in await journal.streams("incident/")), "")
            await asyncio.sleep(0 if stream else 0.05)
        state = Incident(id=stream.removeprefix("incident/"))
        while not (state.sealed and state.sealed_of == (len(state.exhibits), len(state.unavailable))):
            if time.monotonic() > deadline:
                late = f"its evidence was not sealed within {CONTAINED_WITHIN:.0f} s"
                raise Transient(f"{state.id} reads {state.status.value.replace('_', ' ')}, but {late}")
            await show_news(journal, stream, state, screen, sent)
            await asyncio.sleep(0.05)
        return state


async def show_news(journal: Journal, stream: str, state: Incident, screen: Screen, since: datetime) -> None:
    """Print what an incident's journal has more than what is known of it, and know that."""
    for entry in await journal.read(stream, after=state.seq):
        parsed = entry.parsed()
        fold(state, parsed)
        at = (datetime.fromisoformat(parsed.at) - since).total_seconds()
        if at < 0:
            continue
        for line, style in _lines(parsed, state):
            screen.event(at, line, style)


_PHASES = {
    "confirmed": "confirm",
    "exhibit": "capture",
    "unavailable": "capture",
    "sealed": "preserve",
    "page": "notify",
    "lease_checked": "watch",
    "released": "recover",
    "release_intended": "recover",
    "request": "request",
}


def _lines(entry: Parsed, state: Incident) -> Iterator[tuple[str, str]]:  # a line for each kind
    body, line = entry.body, state.timeline[-1] if state.timeline else None
    if line is None or entry.kind in {"told", "page", "code_issued"}:
        return
    step = state.steps.get(str(body.get("instance", "")))
    phase = _PHASES.get(entry.kind) or str(body.get("phase") or (step.phase.value if step else entry.kind))
    label = f"{phase:<11}"
    if entry.kind == "opened":
        yield f"{'incident':<11}{state.id} {line.what}", ""
    elif entry.kind == "alert":
        yield f"{'alert':<11}{line.what}", ""
    elif entry.kind == "intended":
        yield f"{label}{line.what}", "strong"
        yield f"{'':<11}allowed: {line.detail}", "dim"
    elif entry.kind == "wrote":
        yield f"{label}done: {printable(line.detail, 300)}", ""
    elif entry.kind in {"verified", "confirmed", "checked", "lease_checked"}:
        verdict = body["verdict"]
        good = verdict["answer"] == "established"
        yield f"{label}{line.what}", "good" if good else "bad"
        for finding in verdict["findings"]:
            observed = _excerpt(finding["observed"])
            yield f"{'':<11}{finding['check']} as {finding['asked_as']}: {observed}", "dim"
    elif entry.kind in {"failed", "unavailable", "skipped", "interrupted", "lapsed"}:
        yield f"{label}{line.what}: {printable(line.detail, 200)}", "bad"
    else:
        yield f"{label}{line.what}", ""


def _excerpt(observed: str) -> str:
    """Return what a finding saw, in a line; of a difference, what is there now."""
    lines = observed.replace("\\u{a}", "\n").splitlines()
    added = [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")]
    return printable("now reads: " + " ".join(added), 260) if added else printable(" ".join(lines), 160)


def prove(stage: Stage, screen: Screen, archived: Path) -> None:
    """Ask as the agent, which has no part in the response, and verify the evidence with nothing but a public key.

    Args:
        stage: what is there.
        screen: what is told.
        archived: the bundle of the evidence.

    Raises:
        Failed: naming what does not hold.
    """
    before = len(stage.server.calls(TOOL))
    said = asyncio.run(stage.agent.call(stage.offered, {"city": ASKED}))
    # Of other calls there may be some: the responder itself asks what the server answers at its own address.
    if said.worked or any(call["arguments"].get("city") == ASKED for call in stage.server.calls(TOOL)[before:]):
        raise Failed(f"the agent can still call {stage.offered}: {said.text}")
    screen.check(f"the agent calls {stage.offered}: refused ({said.text})")
    listed = asyncio.run(stage.agent.tools())
    if stage.offered in listed:
        raise Failed(f"the agent still sees {stage.offered} in the list")
    screen.check("the agent lists its tools: it is not among them, so no model reads it")
    other = stage.offered.replace("get-weather", "get-forecast")
    said = asyncio.run(stage.agent.call(other, {"city": "Seoul", "days": 1}))
    if not said.worked:
        raise Failed(f"the agent cannot call {other} either, which nobody contained: {said.text}")
    screen.check(f"the agent calls {other}: works, nothing else was taken away")
    public = PublicKey.load(stage.config / "keys" / "responder.pub")
    report = bundle.verify(archived, public)
    if not report.ok:
        raise Failed("the evidence does not verify: " + "; ".join(c.sentence for c in report.checks if not c.ok))
    screen.check(f"the evidence bundle verifies offline, with the public key alone ({len(report.checks)} checks)")


def _summary(stage: Stage, screen: Screen, incident: Incident, archived: Path, *, keep: bool) -> None:
    times = incident.metrics
    accepted, wrote, verified = times["accepted_at"], times["first_effect_at"], times["verified_at"]
    if not (accepted and wrote and verified):
        raise Failed(f"{incident.id} does not say when it was contained: it is {incident.status}")
    screen.title("5  In short")
    screen.fact("verified time to contain", f"{(verified - accepted).total_seconds():.2f} s from the accepted alert")
    screen.fact("  of that, to the first effect", f"{(wrote - accepted).total_seconds():.2f} s")
    for lease in incident.leases.values():
        if lease.in_force:
            screen.fact("in force", lease.plan.summary)
            screen.fact("  until", f"{lease.until:%Y-%m-%d %H:%M} UTC, verified again and again until then")
    screen.fact("evidence", f"{len(incident.exhibits)} exhibits, sealed; with the journal in one bundle:")
    screen.path(str(archived))
    screen.fact("what those on call were told", "")
    screen.path(str(stage.config / MESSAGES))
    if not keep:
        return  # nothing would answer there
    status = _until_ui(stage)
    if status.get("prefect_ready"):
        screen.fact("watch it in Prefect", status["prefect"].removesuffix("/api"))
        screen.fact("  user and password", "")
        screen.path(str(stage.config / "state" / "prefect" / "auth"))


def _until_ui(stage: Stage) -> dict[str, Any]:
    deadline = time.monotonic() + UI_WITHIN
    while not (status := stage.status()).get("prefect_ready") and time.monotonic() < deadline:
        time.sleep(0.1)
    return status


# Giving it back


def _release(stage: Stage, screen: Screen, incident: Incident, before: State) -> None:
    """Heal the server, release through the command line, and compare with what was.

    Raises:
        Failed: naming what is not as it was.
    """
    screen.title("6  Healed and given back")
    stage.server.behave()
    _refresh(stage)
    screen.say("The server's owner undid the change. A person signs the release:")
    command = ("release", incident.id, "--as", PERSON, "--yes")
    screen.path(" ".join(("mcp-soar", *command)))
    asked = now()
    run_command(stage, *command)
    asyncio.run(until_released(stage, screen, incident, asked))
    said = asyncio.run(stage.agent.call(stage.offered, {"city": "Seoul"}))
    if not said.worked:
        raise Failed(f"the agent cannot call {stage.offered} after the release: {said.text}")
    screen.check(f"the agent calls {stage.offered}: {said.text}")
    after = gateway_state(stage)
    differing = [name for name in before if before[name] != after.get(name)]
    if differing:
        raise Failed(f"at the gateway not everything is as it was before: {', '.join(differing)}")
    count = sum(map(len, after.values()))
    screen.check(f"the gateway's state is what it was before: {count} objects, field by field")


def run_command(stage: Stage, *words: str, within: float = RELEASED_WITHIN) -> None:
    """Run a command of ours, as a person does.

    Args:
        stage: with its configuration.
        words: the command's.
        within: seconds that it has.

    Raises:
        Failed: with what it said.
    """
    program = Path(sys.executable).with_name("mcp-soar")
    env = environment(MCP_SOAR_CONFIG=str(stage.config), MCP_SOAR_KEY="")
    try:
        done = subprocess.run(  # noqa: S603  # of our own making
            [program, *words], capture_output=True, text=True, check=False, timeout=within, env=env
        )
    except subprocess.TimeoutExpired as exc:
        raise Failed(f"the {words[0]} did not end within {within:.0f} s") from exc
    if done.returncode:
        raise Failed(f"the {words[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")


async def until_released(
    stage: Stage, screen: Screen, incident: Incident, asked: datetime, *, within: float = RELEASED_WITHIN
) -> None:
    """Show an incident's journal as it grows, until nothing of it is in force."""
    deadline = time.monotonic() + within
    stream = f"incident/{incident.id}"
    async with reading(stage) as journal:
        while any(lease.in_force for lease in incident.leases.values()):
            if time.monotonic() > deadline:
                raise Failed(f"{incident.id} was not released within {within:.0f} s")
            await show_news(journal, stream, incident, screen, asked)
            await asyncio.sleep(0.05)


def _keep(screen: Screen) -> None:
    screen.say("")
    screen.say("Everything goes on running; Ctrl-C ends it.", style="strong")
    while True:
        time.sleep(3600)
