"""What prefect.yaml deploys, judged by what the server has and by what a stock worker's runs come to."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.checks import asked
from flows.cli.main import app
from flows.demo.mcp_server import McpServer
from flows.demo.processes import free_port
from flows.engine.intake import intake
from flows.hand_in import INBOX
from flows.pages.scheduled import CONFIG
from flows.pages.waiting import WAITING
from flows.reading import checks
from flows.service.access import open_journal
from flows.service.assembly import assembled
from flows.service.entrance import server
from flows.service.receiver import create_app
from integrations.journal.store import Journal
from integrations.siem.source import new_secret
from integrations.signing import SigningKey
from playbooks.people.code import CodeAnswer
from playbooks.people.request import Verb, draft, sign
from playbooks.strict import now
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation
from tests.lab.prefect import PrefectServer
from tests.lab.workers import deploy, deployed, run_to_its_end, worker

pytestmark = pytest.mark.timeout(900)

INVENTORY = """\
version: 1
servers:
  weather: {{title: Weather, url: "{url}", owner: weather-team, environment: prod}}
"""
SOURCES = """\
version: 1
sources:
  drift:
    format: generic
    authentication: {hmac: {secrets: [{env: DRIFT_SECRET}]}}
    confidence: high
    default_class: tool_poisoning
"""
DIGEST = "3fa9c2d41b07" + "0" * 52
OTHER = "88aa55ee1122"
SWITCHED = "> **KILL SWITCH ON: everything.** Since "


@pytest.fixture
def site(tmp_path: Path, victim: McpServer) -> Installation:
    """An installation with one real server, approved as it is, and an incident in its journal."""
    site = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    assert site.run("init", str(site.folder)).exit_code == 0
    (site.folder / "inventory.yaml").write_text(INVENTORY.format(url=victim.url), encoding="utf-8")
    (site.folder / "sources.yaml").write_text("version: 1\n", encoding="utf-8")
    assert site.run("enroll", "kim", "--role", "responder", "--role", "reviewer").exit_code == 0
    approved = site.run("pins", "approve", "weather", "--reviewed", "all", "--as", "kim", "--yes")
    assert approved.exit_code == 0, approved.output
    site.append(world.opened(), world.alert(), world.intended(), world.wrote(), world.verified())
    return site


@asynccontextmanager
async def receiving(site: Installation, journal: Journal) -> AsyncIterator[str]:
    """Run the receiver, and yield its address."""
    port = free_port()
    app = create_app(site.config.sources.sources, journal, clock=now, tls=False, host="127.0.0.1")
    running = server(app, host="127.0.0.1", port=port)
    task = asyncio.create_task(running.serve())
    try:
        async with asyncio.timeout(240):
            while not running.started:  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.should_exit = True
        await task


def stopped(site: Installation) -> None:
    """Turn the kill switch on, as a person does."""
    with site.responder():
        assert site.json("stop", "everything", "--reason", "we look", "--as", "kim")["state"] == "done"


def said(prefect: PrefectServer, key: str) -> str:
    """Return the newest version of an artifact."""
    return next(str(a["data"]) for a in prefect.ask("/artifacts/latest/filter") if a["key"] == key)


@pytest.mark.slow
async def test_the_server_has_what_prefect_yaml_says(prefect: PrefectServer, tmp_path: Path) -> None:
    found = await deploy(prefect, tmp_path)
    by_hand = {name for name, one in found.items() if one["work_pool_name"] == "requests"}
    assert by_hand == {"respond", "approve", "deny", "answer", "release", "stop", "resume", "hand-in"}
    # A form is called as the command is, and so is what runs: no name has to be looked up.
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert by_hand <= commands
    flows = {one["id"]: one["name"] for one in prefect.ask("/flows/filter")}
    assert all(flows[one["flow_id"]] == name for name, one in found.items())
    for name, one in found.items():
        assert one["description"], name
        assert one["enforce_parameter_schema"] is True
        # Nothing runs in a pool that is given more than it needs.
        assert one["entrypoint"].startswith("flows.hand_in.") == (name in by_hand)
    schemas = {name: found[name]["parameter_openapi_schema"] for name in by_hand}
    for name in by_hand - {"answer"}:
        (field,) = schemas[name]["properties"].values()
        assert "--print" in field["description"], name
    forms = schemas["answer"]["definitions"]
    assert {form["title"] for form in forms.values()} == {"With a one-time code"}
    for form in forms.values():
        for name, field in form["properties"].items():
            assert field["description"], name
    scheduled = {
        name: [one["schedule"]["cron"] for one in found[name]["schedules"] if one["active"]]
        for name in set(found) - by_hand
    }
    assert scheduled == {
        "verify-journal": ["17 3 * * *"],
        "pin-drift": ["7 * * * *"],
        "configuration": ["37 4 * * *"],
        "probing": ["23 2 * * *"],
        "behaviour": ["13 2 * * *"],
        "hardening": ["27 4 * * *"],
        "drills": ["7 1 * * 0"],
        "clients": ["47 4 * * *"],
        "hosts": ["57 4 * * *"],
        "report-of-the-week": ["0 6 * * 1"],
    }
    assert all(found[name]["work_pool_name"] == "reading" for name in scheduled)
    # That a schedule is active does not mean that anything comes of it: the server has to plan its runs.
    deadline = asyncio.get_running_loop().time() + 150
    planned: set[str] = set()
    while len(planned) < len(scheduled):
        assert asyncio.get_running_loop().time() < deadline, (prefect.folder / "prefect.log").read_text()[-3000:]
        await asyncio.sleep(1)
        runs = prefect.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
        planned = {run["deployment_id"] for run in runs if run["auto_scheduled"]}
    assert planned == {found[name]["id"] for name in scheduled}


@pytest.mark.slow
async def test_a_one_time_code_reaches_the_inbox_and_stays_nowhere_else(
    prefect: PrefectServer, site: Installation, tmp_path: Path
) -> None:
    plan = {"key": f"{ID}-plan", "type": "markdown", "data": "#", "description": f"{WAITING}{DIGEST[:12]}"}
    assert isinstance(prefect.ask("/artifacts/", plan), dict)
    deployments = await deployed(prefect, tmp_path)
    deployment = deployments["answer"]["id"]
    answer = {"incident": ID, "plan": DIGEST[:12].upper(), "person": "kim", "code": "7K3M2-QX9AB"}
    async with await open_journal(site.config, name="test", writing=True) as journal:
        with worker(prefect, tmp_path, "requests", {INBOX: f"sqlite:///{site.folder / 'state/journal.db'}"}):
            taking = asyncio.create_task(taken(journal, 3))
            run = await run_to_its_end(prefect, deployment, {"answer": answer})
            assert run["state_type"] == "COMPLETED", (tmp_path / "worker.log").read_text()[-3000:]
            assert f"mcp-soar incident {ID}" in run["state"]["message"]
            other = await run_to_its_end(
                prefect, deployment, {"answer": {**answer, "plan": OTHER, "code": "9" * 10}}, straight=True
            )
            # The form says which plan is current; whether the code counts is not its business.
            assert other["state_type"] == "FAILED"
            assert f"plan {DIGEST[:12]} is what waits" in other["state"]["message"]
            key = SigningKey.load(next(site.home.rglob("kim.key")))
            request = draft(actor="kim", verb=Verb.DENY, subject=ID, at=now(), digest=f"sha256:{DIGEST}")
            signed = sign(request, key.sign).model_dump_json()
            run = await run_to_its_end(prefect, deployments["deny"]["id"], {"request": signed}, straight=True)
            assert (run["state_type"], run["name"]) == ("COMPLETED", f"kim: deny {ID}")
            late = draft(
                actor="kim", verb=Verb.DENY, subject=ID, at=now() - timedelta(hours=1), digest=f"sha256:{DIGEST}"
            )
            for where, given, why in (
                ("release", {"request": signed}, "yours is to deny: use the form for that, or hand-in"),
                ("deny", {"request": sign(late, key.sign).model_dump(mode="json")}, "sign it anew"),
            ):
                run = await run_to_its_end(prefect, deployments[where]["id"], given, straight=True)
                assert run["state_type"] == "FAILED"
                assert why in run["state"]["message"]
            wrong = await run_to_its_end(prefect, deployment, {"answer": {**answer, "incident": "../1"}})
            assert wrong == 409
            # What only we find fault with: nothing of it stays, for its code is still good.
            for fault, named in (({"incident": f"{ID}\n"}, "incident"), ({"person": "kim\u202e"}, "actor")):
                wrong = await run_to_its_end(prefect, deployment, {"answer": {**answer, **fault}}, straight=True)
                assert wrong["state_type"] == "FAILED"
                assert wrong["parameters"] == {"answer": {}}
                assert f"look at {named} again" in wrong["state"]["message"]
            bodies = await taking
    assert [kind for kind, _ in bodies] == ["code", "code", "request"]
    assert CodeAnswer.model_validate_json(bodies[0][1]) == CodeAnswer(
        incident=ID, digest=DIGEST[:12], actor="kim", code="7K3M2-QX9AB"
    )
    kinds = ("flow_runs", "flow_run_states", "logs", "artifacts", "events")
    shown = json.dumps([prefect.ask(f"/{kind}/filter", {"filter": {}} if kind == "events" else {}) for kind in kinds])
    assert "handed in" in shown
    assert "7K3M2-QX9AB" not in shown
    assert "9999999999" not in shown
    assert "7K3M2-QX9AB" not in (tmp_path / "worker.log").read_text()


async def taken(journal: Journal, many: int) -> list[tuple[str, bytes]]:
    """Play the responder: move so many entries into the incident, and return what they were."""
    found: list[tuple[str, bytes]] = []
    async with asyncio.timeout(240):
        while len(found) < many:
            for item in await journal.waiting(1):
                name = item.id
                await journal.submit(lambda tx: tx.move(name, f"incident/{ID}"))  # noqa: B023  # awaited at once
                found.append((item.kind, item.body))
            await asyncio.sleep(0.05)
    return found


@pytest.mark.slow
async def test_the_journal_is_verified_and_a_tampered_one_is_red(
    prefect: PrefectServer, site: Installation, tmp_path: Path
) -> None:
    deployments = await deployed(prefect, tmp_path)
    deployment = deployments["verify-journal"]["id"]
    with worker(prefect, tmp_path, "reading", {CONFIG: str(site.folder)}):
        run = await run_to_its_end(prefect, deployment, {})
        assert run["state_type"] == "COMPLETED", (
            run["state"]["message"],
            (tmp_path / "worker.log").read_text()[-3000:],
        )
        assert said(prefect, "journal-verification").startswith("# Journal: as it was written")
        await asyncio.to_thread(stopped, site)
        run = await run_to_its_end(prefect, deployments["report-of-the-week"]["id"], {}, straight=True)
        assert run["state_type"] == "COMPLETED", (
            run["state"]["message"],
            (tmp_path / "worker.log").read_text()[-3000:],
        )
        # Markdown says a picture in words; the trend itself is an artifact of its own.
        assert "data:image" not in said(prefect, "report-of-the-week")
        assert "## Containments older than 7 d" in said(prefect, "report-of-the-week")
        assert said(prefect, "report-of-the-week").startswith(SWITCHED)
        with sqlite3.connect(site.folder / "state" / "journal.db") as database:
            database.execute(
                "UPDATE entry SET data = replace(data, 'forecast', 'harmless') WHERE stream LIKE 'incident/%'"
            )
        database.close()
        run = await run_to_its_end(prefect, deployment, {}, straight=True)
        assert run["state_type"] == "FAILED"
        assert f"incident/{ID}, entry 1" in run["state"]["message"]
        assert said(prefect, "journal-verification").startswith(SWITCHED)
        assert "**NOT OK, journal:**" in said(prefect, "journal-verification")
        assert "mcp-soar verify" in said(prefect, "journal-verification")


@pytest.mark.slow
async def test_a_definition_that_drifts_is_red_and_reported(
    prefect: PrefectServer, site: Installation, victim: McpServer, tmp_path: Path
) -> None:
    deployment = (await deployed(prefect, tmp_path))["pin-drift"]["id"]
    secret = new_secret()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFT_SECRET", secret)
        (site.folder / "sources.yaml").write_text(SOURCES, encoding="utf-8")
        async with (
            await open_journal(site.config, name="test", writing=True) as journal,
            receiving(site, journal) as url,
        ):
            given = {CONFIG: str(site.folder), "MCP_SOAR_RECEIVER": url, "DRIFT_SECRET": secret}
            with worker(prefect, tmp_path, "reading", given):
                run = await run_to_its_end(prefect, deployment, {})
                assert run["state_type"] == "COMPLETED", (
                    run["state"]["message"],
                    (tmp_path / "worker.log").read_text()[-3000:],
                )
                (ran,) = await journal.waiting(10)
                assert (ran.kind, ran.source, journal.genuine(ran)) == ("check", "drift", True)
                assert json.loads(ran.body)["differ"] == 0
                assert said(prefect, "pin-drift").startswith("# Definitions: as they were approved")
                await asyncio.to_thread(stopped, site)
                victim.poison()
                for _ in range(2):  # the second time it was reported before
                    run = await run_to_its_end(prefect, deployment, {}, straight=True)
                    assert run["state_type"] == "FAILED"
                    assert "tool get_weather of weather is changed" in run["state"]["message"]
                    assert "1 of 1 were reported to the receiver as drift." in run["state"]["message"]
            (alert,) = await journal.waiting(10, ["alert"])
            # The first was taken in by the responder that took in the kill switch.
            kept = await checks.last(journal, "drift")
            assert (kept and kept.differ) == 0
            assert [json.loads(one.body)["differ"] for one in await journal.waiting(10, ["check"])] == [1, 1]
    (shown,) = {a["key"] for a in prefect.ask("/artifacts/filter") if a["type"] == "progress"}
    assert shown == "pin-drift-progress"
    body: dict[str, Any] = json.loads(alert.body)
    assert (alert.source, body["entities"]) == ("drift", [{"kind": "tool", "name": "get_weather", "server": "weather"}])
    page = said(prefect, "pin-drift")
    assert "mcp-soar pins diff" in page
    assert page.startswith(SWITCHED)
    # What the server says is shown as text at most.
    assert "<IMPORTANT>" not in page
    assert "IMPORTANT" in page


@pytest.mark.slow
async def test_what_takes_credentials_is_asked_by_who_has_them_and_shown(
    prefect: PrefectServer, site: Installation, tmp_path: Path
) -> None:
    deployment = (await deployed(prefect, tmp_path))["configuration"]["id"]
    secret, stop = new_secret(), asyncio.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFT_SECRET", secret)
        (site.folder / "sources.yaml").write_text(SOURCES, encoding="utf-8")
        (site.folder / "inventory.yaml").write_text(world.INVENTORY, encoding="utf-8")
        async with (
            await open_journal(site.config, name="test", writing=True) as journal,
            receiving(site, journal) as url,
        ):
            patch.setenv("MCP_SOAR_RECEIVER", url)
            given = {CONFIG: str(site.folder), "MCP_SOAR_RECEIVER": url, "DRIFT_SECRET": secret}
            async with assembled(site.config, name="test-flows") as parts:

                async def taking_in() -> None:
                    while True:
                        await intake(parts)
                        await asyncio.sleep(0.1)

                beside = [
                    asyncio.create_task(asked.attend(site.folder, lambda: parts, stop, look=0.1)),
                    asyncio.create_task(taking_in()),
                ]
                try:
                    with worker(prefect, tmp_path, "reading", given):
                        run = await run_to_its_end(prefect, deployment, {})
                finally:
                    for one in beside:
                        one.cancel()
                    await asyncio.gather(*beside, return_exceptions=True)
            ran = await checks.last(journal, "configuration")
    assert ran, (run["state"]["message"], (tmp_path / "worker.log").read_text()[-3000:])
    assert (ran.by, ran.asked, len(ran.left_out)) == ("schedule", 0, 0)
    assert ran.unknown, "there is no gateway at that address"
    assert run["state_type"] == "FAILED"
    assert "could not be asked" in run["state"]["message"]
    assert said(prefect, "configuration").startswith("# Configuration: nothing was asked")
    assert "## Not asked" in said(prefect, "configuration")
    (shown,) = {a["key"] for a in prefect.ask("/artifacts/filter") if a["type"] == "progress"}
    assert shown == "configuration-progress"


@pytest.mark.slow
async def test_a_server_that_cannot_be_asked_is_not_called_unchanged(
    prefect: PrefectServer, site: Installation, tmp_path: Path
) -> None:
    deployment = (await deployed(prefect, tmp_path))["pin-drift"]["id"]
    (site.folder / "inventory.yaml").write_text(INVENTORY.format(url=f"http://127.0.0.1:{free_port()}/mcp"))
    with worker(prefect, tmp_path, "reading", {CONFIG: str(site.folder)}):
        run = await run_to_its_end(prefect, deployment, {}, straight=True)
    assert run["state_type"] == "FAILED"
    assert "weather does not answer" in run["state"]["message"]
