"""Incidents as runs in a real Prefect: whatever becomes of it, what is done is done, and shown when it answers."""

import asyncio
import re
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.engine import response
from flows.engine.case import Case
from flows.engine.schedule import Todo
from flows.pages.pages import overview, pages
from flows.pages.text import escaped
from flows.report.document import Document
from playbooks.gate.plan import Irreversible
from playbooks.record.incident import Status
from playbooks.record.journal import Parsed
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.record.viewing import view
from playbooks.strict import iso, now
from tests.flows.cli import world
from tests.flows.report.test_written import tokens
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert, house
from tests.lab.prefect import PrefectServer, is_shown, reporting

pytestmark = pytest.mark.timeout(900)


async def finished(prefect: PrefectServer, incident: Incident, server: str) -> dict[str, Any]:
    """Wait until Prefect knows all of an incident and shows it as ended, and return its run."""
    await is_shown(prefect, incident)

    def look() -> dict[str, Any] | None:
        runs = prefect.ask("/flow_runs/filter", {"flow_runs": {"name": {"any_": [f"{incident.id} {server}"]}}})
        return next((run for run in runs if run["end_time"] and run["state_name"] == "Contained"), None)

    async with asyncio.timeout(120):
        while not (run := await asyncio.to_thread(look)):  # noqa: ASYNC110  # another process is asked
            await asyncio.sleep(0.1)
    return run


async def ends(prefect: PrefectServer, run: str) -> dict[str, Any]:
    """Wait until a flow run stands as something that has ended of itself, and return it."""
    async with asyncio.timeout(120):
        while True:
            found: dict[str, Any] = await asyncio.to_thread(prefect.ask, f"/flow_runs/{run}", method="GET")
            if found["end_time"] and found["state_type"] != "CANCELLED":
                return found
            await asyncio.sleep(0.1)


async def task_runs(prefect: PrefectServer, run: dict[str, Any], least: int) -> dict[str, dict[str, Any]]:
    """Wait until a flow run has so many finished task runs, and return them by name."""
    async with asyncio.timeout(120):
        while True:
            found = await asyncio.to_thread(
                prefect.ask, "/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}}
            )
            ended = [item for item in found if item["state_type"] in {"COMPLETED", "FAILED"}]
            if len(ended) >= least and len(ended) == len(found):
                return {item["name"]: item for item in found}
            await asyncio.sleep(0.1)


@asynccontextmanager
async def at_work(prefect: PrefectServer, home: House, lab: Lab) -> AsyncIterator[dict[str, Any]]:
    """Yield the flow run that Prefect shows while a response is at work, which goes on afterwards."""
    go = asyncio.Event()
    capture = response.STEPS["capture"]

    async def held(case: Case, todo: Todo) -> None:
        await go.wait()
        await capture(case, todo)

    def look() -> list[dict[str, Any]]:
        wanted = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}, "tags": {"all_": ["mcp-soar"]}}}
        # Other tests' runs may be left as they were.
        return [run for run in prefect.ask("/flow_runs/filter", wanted) if lab.site.server_id in run["tags"]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(response.STEPS, "capture", held)
        await home.receive(alert(lab.site.server_id, "get_weather"))
        async with asyncio.timeout(120):
            while not (runs := await asyncio.to_thread(look)):  # noqa: ASYNC110  # another process is asked
                await asyncio.sleep(0.1)
        (run,) = runs
        yield run
        go.set()


async def test_a_run_shows_every_step_the_early_cut_at_its_true_time(
    prefect: PrefectServer, lab: Lab, tmp_path: Path
) -> None:
    lab.victim.poison()
    async with house(tmp_path / "house", lab.world) as home, reporting(home):
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.settled((await home.reaches(Status.CONTAINED)).id)
        run = await finished(prefect, incident, lab.site.server_id)
        assert run["name"] == f"{incident.id} {lab.site.server_id}"
        assert set(run["tags"]) == {"mcp-soar", "tool-poisoning", "high", lab.site.server_id}
        assert (run["state_name"], run["state_type"]) == ("Contained", "COMPLETED")
        flows = prefect.ask("/flows/filter", {"flows": {"id": {"any_": [run["flow_id"]]}}})
        assert [flow["name"] for flow in flows] == ["tool-poisoning"]

        tasks = await task_runs(prefect, run, sum(step.settled_at is not None for step in incident.steps.values()))
        cut = tasks[f"cut: Disable tool get_weather of {lab.site.server_id} at gateway main"]
        step = incident.steps[f"cut-tool@{lab.site.server_id}/get_weather"]
        assert step.intended_at is not None
        assert step.settled_at is not None
        assert datetime.fromisoformat(cut["start_time"]) == step.intended_at
        assert datetime.fromisoformat(cut["end_time"]) == step.settled_at
        kept = tasks[f"capture: capture-definitions of {lab.site.server_id}"]
        assert kept["start_time"] < kept["end_time"], "from when its source was read"
        assert {"preserve: Seal the evidence", "capture: Keep alert 1 from siem as it came"} <= tasks.keys()

        artifact = next(a for a in prefect.ask("/artifacts/latest/filter") if a["key"] == incident.id)
        for heading in ("In force", "What happened"):
            assert f"## {heading}" in artifact["data"]
        assert "(data:image/svg+xml;base64," in artifact["data"]
        kinds = {a["key"]: a["data"] for a in prefect.ask("/artifacts/latest/filter") if a["flow_run_id"] == run["id"]}
        assert set(kinds) == {incident.id, *(f"{incident.id}-{kind}" for kind in ("plan", "evidence", "report"))}
        assert (
            f"| tool get\\_weather of {lab.site.server_id.replace('-', chr(92) + '-')} | enabled | true | false |"
            in (kinds[f"{incident.id}-plan"])
        )
        digests = {file["sha256"].removeprefix("sha256:") for item in incident.exhibits for file in item["files"]}
        assert digests
        assert all(digest in kinds[f"{incident.id}-evidence"] for digest in digests)
        # What a hostile server says is text on every page, never HTML or a link.
        for data in kinds.values():
            assert not {"html_block", "html_inline", "link_open"} & tokens(data).keys(), data


async def test_with_no_prefect_everything_is_done_and_published_when_it_comes(
    absent_prefect: PrefectServer, lab: Lab, tmp_path: Path
) -> None:
    lab.victim.poison()
    async with house(tmp_path / "house", lab.world) as home, reporting(home):
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.settled((await home.reaches(Status.CONTAINED)).id)
        await asyncio.to_thread(absent_prefect.start)
        run = await finished(absent_prefect, incident, lab.site.server_id)
        assert len(await task_runs(absent_prefect, run, 7)) >= 7


@pytest.mark.parametrize("how", ["killed", pytest.param("frozen", marks=pytest.mark.slow)])
async def test_prefect_failing_in_the_middle_changes_nothing(
    prefect: PrefectServer, lab: Lab, tmp_path: Path, how: str
) -> None:
    lab.victim.poison()
    async with house(tmp_path / "house", lab.world) as home, reporting(home):
        async with at_work(prefect, home, lab) as run:
            prefect.kill() if how == "killed" else prefect.freeze()
        incident = await home.settled((await home.reaches(Status.CONTAINED)).id)
        intents = [entry.parsed() for entry in await home.journal.read(f"incident/{incident.id}")]
        assert sum(entry.kind == "intended" for entry in intents) == 1
        assert not await asyncio.to_thread(prefect.answers)
        await asyncio.to_thread(prefect.start if how == "killed" else prefect.thaw)
        # The same run goes on where it was.
        assert (await ends(prefect, run["id"]))["state_name"] == "Contained"
        assert len(await task_runs(prefect, run, 7)) >= 7


async def test_a_frozen_prefect_holds_nothing_up(prefect: PrefectServer, lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    prefect.freeze()
    try:
        async with house(tmp_path / "house", lab.world) as home, reporting(home):
            await home.receive(alert(lab.site.server_id, "get_weather"))
            incident = await home.settled((await home.reaches(Status.CONTAINED)).id)
            assert incident.bundle
    finally:
        prefect.thaw()


async def test_cancelling_a_run_changes_nothing(prefect: PrefectServer, lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with house(tmp_path / "house", lab.world) as home, reporting(home):
        async with at_work(prefect, home, lab) as run:
            state = {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True}
            assert isinstance(await asyncio.to_thread(prefect.ask, f"/flow_runs/{run['id']}/set_state", state), dict)
        incident = await home.settled((await home.reaches(Status.CONTAINED)).id)
        assert incident.bundle
        # And what it says of itself is not what somebody made it say.
        assert (await ends(prefect, run["id"]))["state_name"] == "Contained"


@given(st.text())
def test_no_text_is_more_than_text_in_markdown(text: str) -> None:
    shown = escaped(text, 10_000)
    plain = set(string.punctuation) - set(",;'\"")
    escapes = shown.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "")
    while "\\" in escapes:
        place = escapes.index("\\")
        assert escapes[place + 1] in plain
        escapes = escapes[:place] + escapes[place + 2 :]
    assert not set(escapes) & plain
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("more", "undone"),
    [
        ({}, "a release, which sets tool forecast of weather: enabled false → true: `mcp-soar release inc-1`"),
        (
            {"wanted": world.plan().inverse(), "purpose": "release"},
            "responding again, which sets tool forecast of weather: enabled true → false: `mcp-soar respond inc-1`",
        ),
        ({"wanted": world.plan(irreversible=Irreversible(because="it is gone"))}, "it cannot be: it is gone"),
    ],
)
def test_a_question_says_what_why_what_breaks_and_how_it_is_undone(more: dict[str, Any], undone: str) -> None:
    events = enumerate((world.opened(), world.proposed(**more)), 1)
    state = project(
        "inc-1", [Parsed("incident/inc-1", n, iso(now()), e.kind, e.actor, dict(e.body)) for n, e in events]
    )
    shown = re.sub(r"\\(.)", r"\1", overview(view(state), ())).replace("&gt;", ">")
    (step,) = state.proposals
    assert step.plan is not None
    assert f"### {step.plan.summary}" in shown
    assert "**Why it waits:** no alert of it came from an authenticated source" in shown
    assert f"**It would break:** {step.plan.breaks or 'nothing that is known'}" in shown
    assert f"**It is undone by:** {undone}\n" in shown


def test_an_empty_incident_has_its_pages() -> None:
    empty = view(Incident(id="inc-2026-000001"))
    assert "inc" in overview(empty, ())
    keys = [page.key for page in pages(empty, (), Document("Incident report", [], [], []))]
    assert keys == ["inc-2026-000001-plan", "inc-2026-000001-report", "inc-2026-000001"]
