"""Whoever has Prefect's API can run commands in a worker and read everything there; it must be worth nothing."""

import asyncio
import http.client
import inspect
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from flows.hand_in import INBOX
from integrations.signing import SigningKey
from playbooks.people.request import Verb, draft, sign
from playbooks.record.incident import Status
from playbooks.record.journal import SWITCHES, SYSTEM
from playbooks.strict import now
from tests.flows.report.test_written import tokens
from tests.lab import forger, scenes
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert, house
from tests.lab.prefect import PrefectServer, is_shown, reporting
from tests.lab.workers import deployed, run_to_its_end, worker

pytestmark = [pytest.mark.system("contextforge"), pytest.mark.timeout(900)]


def everything(prefect: PrefectServer) -> str:
    """Return all that the API tells."""
    kinds = (
        "flows",
        "flow_runs",
        "task_runs",
        "artifacts",
        "logs",
        "variables",
        "block_documents",
        "deployments",
        "work_pools",
        "events",
        "flow_run_states",
    )
    answers = {kind: prefect.ask(f"/{kind}/filter", {"filter": {}} if kind == "events" else {}) for kind in kinds}
    settings = prefect.ask("/admin/settings", method="GET")
    return json.dumps([answers, settings])


def secrets_of(lab: Lab, home: House) -> dict[str, str]:
    """Return every secret that there is, by what it is."""
    gateway = lab.site.inventory.gateways["main"]
    found = {
        "the gateway's password": Path(str(gateway.password.file)).read_text(),
        "the canary's token": Path(str(gateway.canary.token.file)).read_text(),
        "the agent's token": lab.site.agent.secret,
    }
    for key in home.folder.glob("*.key"):
        found[f"the key {key.name}"] = "".join(key.read_text().splitlines()[1:-1])
    return found


@pytest.mark.slow
async def test_nothing_secret_reaches_prefect_and_no_password_no_answer(
    prefect: PrefectServer, lab: Lab, tmp_path: Path
) -> None:
    lab.victim.poison()
    async with house(tmp_path / "house", lab.world) as home:
        async with reporting(home):
            await home.receive(alert(lab.site.server_id, "get_weather"))
            incident = await home.settled((await home.reaches(Status.CONTAINED)).id)
            await is_shown(prefect, incident)
        told = everything(prefect)
        assert incident.id in told
        for what, secret in secrets_of(lab, home).items():
            assert secret.strip() not in told, what
        assert "PRIVATE KEY" not in told
        # A poisoned description is shown as text at most, never as something that a browser follows: no HTML.
        pages = [one["data"] for one in prefect.ask("/artifacts/filter") if one["type"] == "markdown"]
        assert any("<IMPORTANT>" in page for page in pages), "the difference is shown as it is"
        for page in pages:
            assert not {"html_block", "html_inline", "link_open", "image"} & tokens(page).keys(), page
        for auth in (None, "mcp-soar:wrong"):
            for path in ("/flow_runs/filter", "/flows/", "/deployments/filter", "/artifacts/filter"):
                assert prefect.ask(path, auth=auth) == http.client.UNAUTHORIZED
        # With the password: a run by hand has no work, so nothing happens; and what a run says counts for nothing.
        before = len(await home.journal.read(f"incident/{incident.id}"))
        flow = next(item for item in prefect.ask("/flows/filter") if item["name"] == "tool-poisoning")
        made = prefect.ask("/flow_runs/", {"flow_id": flow["id"], "parameters": {"incident": incident.id}})
        assert not isinstance(made, int)
        for state in ("RUNNING", "COMPLETED", "FAILED"):
            prefect.ask(f"/flow_runs/{made['id']}/set_state", {"state": {"type": state}, "force": True})
        async with reporting(home):
            assert (await home.incident(incident.id)).status is Status.CONTAINED
        assert len(await home.journal.read(f"incident/{incident.id}")) == before


@pytest.mark.slow
async def test_a_worker_hands_requests_in_and_can_do_nothing_else(
    prefect: PrefectServer, lab: Lab, tmp_path: Path
) -> None:
    lab.victim.poison()
    manual = {
        "class": "tool_poisoning",
        "title": "a person saw it",
        "entities": [{"kind": "tool", "name": "get_weather", "server": lab.site.server_id}],
    }
    request = draft(actor="ann", verb=Verb.RESPOND, subject="new", at=now(), params=manual)  # type: ignore[arg-type]
    async with house(tmp_path / "house", lab.world) as home, home.responding():
        deployment = (await deployed(prefect, tmp_path))["respond"]["id"]
        stranger = SigningKey.generate(tmp_path / "stranger.key")
        forged = sign(request, stranger.sign).model_dump_json()
        genuine = sign(request, home.keys["ann"].sign).model_dump_json()
        with worker(prefect, tmp_path, "requests", inbox_of(home)):
            # Not even in the form of a request.
            refused = await run_to_its_end(prefect, deployment, {"request": {"actor": "ann", "verb": "respond"}})
            assert refused == http.client.CONFLICT
            refused = await run_to_its_end(prefect, deployment, {"request": '{"actor": "ann"}'}, straight=True)
            assert refused["state_type"] == "FAILED"
            run = await run_to_its_end(prefect, deployment, {"request": forged})
            assert run["state_type"] == "COMPLETED", (tmp_path / "worker.log").read_text()[-3000:]
            await home.until(lambda: some(home, "the signature is not one of ann's"), "the forged request is refused")
            assert not await home.incidents()
            assert not lab.proxy.writes
            # A forged one takes the nonce with it; the person signs another.
            fresh = sign(request.model_copy(update={"nonce": "n" * 32}), home.keys["ann"].sign)
            assert genuine != fresh.model_dump_json()
            run = await run_to_its_end(prefect, deployment, {"request": fresh.model_dump_json()}, straight=True)
            assert run["state_type"] == "COMPLETED"
            assert run["name"] == "ann: respond new"
            incident = await home.reaches(Status.AWAITING_APPROVAL)
            assert f"mcp-soar incident {incident.id}" in run["state"]["message"]
            assert incident.requested_by == "ann"
            cut = await scenes.proposed(home, incident.id, scenes.cut_of(lab, "get_weather"))
            await scenes.approve(home, "bob", incident.id, cut)
            await home.reaches(Status.CONTAINED, incident.id)
            await commands_in_a_worker_bring_nothing_about(prefect, lab, home, tmp_path)


def inbox_of(home: House) -> dict[str, str]:
    """Return what the operator of a worker gives it."""
    return {INBOX: f"sqlite:///{home.folder / 'journal.db'}"}


async def some(home: House, words: str) -> bool:
    """Whether something was set aside with these words."""
    return any(words in str(entry.body["reason"]) for entry in await home.system("set_aside"))


async def commands_in_a_worker_bring_nothing_about(
    prefect: PrefectServer, lab: Lab, home: House, tmp_path: Path
) -> None:
    """Deploy a flow of the attacker's own, which a worker runs: it looks for secrets, and writes into the journal."""
    contained, asked = await a_case_of_each(lab, home)
    step = await scenes.proposed(home, asked, scenes.cut_of(lab, "get_forecast"))
    assert step.plan is not None
    await home.ask("ann", Verb.STOP, f"server:{lab.site.server_id}", reason="a change window")
    await scenes.taken_in(home)
    (stop,) = await home.journal.stops()
    approval = {"digest": step.plan.digest, "verb": "approve", "actor": "bob", "reason": "", "behalf": None}
    release = {"verb": "release", "actor": "ann", "nonce": "n" * 32, "accepted": True, "reason": "", "params": {}}
    resume = {"scope": stop.scope, "by": "bob", "reason": "over", "number": stop.seq}
    forged = [
        (f"incident/{asked}", "decided", {**approval, "way": "key", "receipt": ""}, "bob"),
        (f"incident/{contained}", "request", release, "ann"),
        (SYSTEM, "resume_asked", resume, "bob"),
    ]
    writes = len(lab.proxy.writes)
    seen = await stolen(prefect, tmp_path, forged)
    assert INBOX in seen
    for what, secret in secrets_of(lab, home).items():
        assert secret.strip() not in seen, what

    async def noticed() -> bool:
        rows = [await home.journal.stream(f"incident/{name}") for name in (contained, asked)]
        return all(row and row.frozen for row in rows) and len(await home.system("set_apart")) == len(
            {SYSTEM, SWITCHES}
        )

    await home.until(noticed, "what nobody signed is found")
    await home.ask("ann", Verb.RESUME, stop.scope, reason="over")
    await scenes.taken_in(home)
    assert await home.journal.stops() == [stop], "one person is one person"
    assert len(lab.proxy.writes) == writes
    assert not await scenes.enabled(lab, "get_weather")
    assert await scenes.enabled(lab, "get_forecast")
    faults = await home.journal.verify(public_keys=list(home.parts.keys.values()))
    apart = {f"unsigned/1/{SYSTEM}", f"unsigned/2/{SYSTEM}", f"unsigned/1/{SWITCHES}", f"unsigned/2/{SWITCHES}"}
    assert {fault.stream for fault in faults} - apart == {f"incident/{contained}", f"incident/{asked}"}
    assert len(faults) == len(forged) + 1


async def a_case_of_each(lab: Lab, home: House) -> tuple[str, str]:
    """Return the incident that is contained, and one that asks people whether it may be."""
    (contained,) = [incident.id for incident in await home.incidents()]
    # Nothing of ours confirms it: its definition is the approved one.
    await home.receive(alert(lab.site.server_id, "get_forecast"))
    return contained, (await home.reaches(Status.AWAITING_APPROVAL)).id


async def stolen(prefect: PrefectServer, tmp_path: Path, forged: Sequence[object]) -> str:
    """Have a worker run a flow that writes into the journal that it was given; return what it saw of itself."""
    loot = tmp_path / "loot.json"
    (tmp_path / "forger.py").write_text(inspect.getsource(forger))
    code = (
        "import json, os, subprocess, sys\n"
        "from prefect import flow\n"
        "@flow\n"
        "def steal():\n"
        "    parent = open(f'/proc/{os.getppid()}/environ').read()\n"
        f"    database = os.environ[{INBOX!r}].removeprefix('sqlite:///')\n"
        f"    forge = [sys.executable, {str(tmp_path / 'forger.py')!r}, database, {json.dumps(forged)!r}]\n"
        "    subprocess.run(forge, check=True)\n"
        f"    open({str(loot)!r}, 'w').write(json.dumps([dict(os.environ), parent]))\n"
    )
    (tmp_path / "steal.py").write_text(code)
    flow = prefect.ask("/flows/", {"name": "steal"})
    evil = {
        "name": "evil",
        "flow_id": flow["id"],
        "entrypoint": f"{tmp_path}/steal.py:steal",
        "path": str(tmp_path),
        "work_pool_name": "requests",
    }
    deployment = prefect.ask("/deployments/", evil)
    run = await run_to_its_end(prefect, deployment["id"], {})
    assert run["state_type"] == "COMPLETED", (tmp_path / "worker.log").read_text()[-3000:]
    return await asyncio.to_thread(loot.read_text)
