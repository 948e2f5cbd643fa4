"""Responses as Prefect flows, with a real Prefect server, a real gateway and a real MCP server."""

import asyncio
import re
import string
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import respond
from flows.shown.pages import overview, pages
from flows.shown.text import escaped
from playbooks.errors import Refused, SoarError
from playbooks.incident import Status
from playbooks.journal import Parsed
from playbooks.plan import Irreversible
from playbooks.projection import project
from playbooks.state import Incident
from playbooks.strict import iso, now
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.flows.report.test_written import tokens
from tests.lab.fixtures import Lab
from tests.lab.house import alert, house
from tests.lab.prefect import PrefectServer, reporting

pytestmark = pytest.mark.timeout(240)


async def finished(prefect: PrefectServer, incident: str, server: str) -> dict[str, Any]:
    """Wait for an incident's artifact and a finished flow run of it, and return the run."""

    def look() -> dict[str, Any] | None:
        runs = prefect.ask("/flow_runs/filter")
        artifacts = prefect.ask("/artifacts/latest/filter")
        ended = [run for run in runs if run["end_time"] and run["name"] == f"{incident} {server}"]
        return ended[-1] if ended and any(item["key"] == incident for item in artifacts) else None

    async with asyncio.timeout(60):
        while not (run := await asyncio.to_thread(look)):  # noqa: ASYNC110  # another process is asked
            await asyncio.sleep(0.1)
    return run


async def task_runs(prefect: PrefectServer, run: dict[str, Any], least: int) -> dict[str, dict[str, Any]]:
    """Wait until a flow run has so many finished task runs, and return them by name."""
    async with asyncio.timeout(60):
        while True:
            found = await asyncio.to_thread(
                prefect.ask, "/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}}
            )
            ended = [item for item in found if item["state_type"] in {"COMPLETED", "FAILED"}]
            if len(ended) >= least and len(ended) == len(found):
                return {item["name"]: item for item in found}
            await asyncio.sleep(0.1)


async def test_a_flow_run_shows_every_step_the_early_cut_at_its_true_time(
    prefect: PrefectServer, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Going on without Prefect, and showing all of it in a later run, is not what is looked at.
    for limit in ("PROBE_WITHIN", "BEGIN_WITHIN", "END_WITHIN"):
        monkeypatch.setattr(respond, limit, 60.0)
    lab.victim.poison()
    async with house(tmp_path / "house", lab.world) as home, reporting(home):
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.settled((await home.reaches(Status.CONTAINED)).id)
        run = await finished(prefect, incident.id, lab.site.server_id)
        assert run["name"] == f"{incident.id} {lab.site.server_id}"
        assert set(run["tags"]) == {"mcp-soar", "tool-poisoning", "high", lab.site.server_id}
        assert (run["state_name"], run["state_type"]) == ("Contained", "COMPLETED")
        flows = prefect.ask("/flows/filter", {"flows": {"id": {"any_": [run["flow_id"]]}}})
        assert [flow["name"] for flow in flows] == ["tool-poisoning"]

        tasks = await task_runs(prefect, run, 7)
        cut = tasks[f"cut: Disable tool get_weather of {lab.site.server_id} at gateway main"]
        step = incident.steps[f"cut-tool@{lab.site.server_id}/get_weather"]
        assert step.intended_at is not None
        assert step.settled_at is not None
        assert datetime.fromisoformat(cut["start_time"]) == step.intended_at
        assert datetime.fromisoformat(cut["end_time"]) == step.settled_at
        assert datetime.fromisoformat(cut["end_time"]) < datetime.fromisoformat(run["start_time"])
        assert any(name.startswith("capture-definitions: server") for name in tasks)
        assert any(name.startswith("Keep alert 1") for name in tasks)

        artifact = next(a for a in prefect.ask("/artifacts/latest/filter") if a["key"] == incident.id)
        for heading in ("In force", "What happened"):
            assert f"## {heading}" in artifact["data"]
        assert "(data:image/svg+xml;base64," in artifact["data"]
        kinds = {a["key"]: a["data"] for a in prefect.ask("/artifacts/latest/filter") if a["flow_run_id"] == run["id"]}
        assert set(kinds) == {incident.id, *(f"{incident.id}-{kind}" for kind in ("plan", "evidence", "report"))}
        assert (
            f"| tool get\\_weather of {lab.site.server_id.replace('-', chr(92) + '-')} | enabled | yes | no |"
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
        run = await finished(absent_prefect, incident.id, lab.site.server_id)
        assert len(await task_runs(absent_prefect, run, 7)) >= 7


@pytest.mark.parametrize("how", ["killed", pytest.param("frozen", marks=pytest.mark.slow)])
async def test_prefect_failing_in_the_middle_changes_nothing(
    prefect: PrefectServer, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    as_task, killed = respond.as_task, asyncio.Event()

    async def killing(title: str, step: Callable[[], Awaitable[None]]) -> None:
        if not killed.is_set():
            killed.set()
            prefect.kill() if how == "killed" else prefect.freeze()
        await as_task(title, step)

    monkeypatch.setattr(respond, "as_task", killing)
    lab.victim.poison()
    async with house(tmp_path / "house", lab.world) as home, reporting(home):
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.settled((await home.reaches(Status.CONTAINED)).id)
        assert killed.is_set()
        intents = [entry.parsed() for entry in await home.journal.read(f"incident/{incident.id}")]
        assert sum(entry.kind == "intended" for entry in intents) == 1
        assert not await asyncio.to_thread(prefect.answers)
        await asyncio.to_thread(prefect.start if how == "killed" else prefect.thaw)
        await finished(prefect, incident.id, lab.site.server_id)


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


async def test_cancelling_a_run_changes_nothing(
    prefect: PrefectServer, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_task, cancelled = respond.as_task, asyncio.Event()

    async def cancelling(title: str, step: Callable[[], Awaitable[None]]) -> None:
        if not cancelled.is_set():
            cancelled.set()
            for run in prefect.ask("/flow_runs/filter"):
                state = {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True}
                prefect.ask(f"/flow_runs/{run['id']}/set_state", state)
        await as_task(title, step)

    monkeypatch.setattr(respond, "as_task", cancelling)
    lab.victim.poison()
    async with house(tmp_path / "house", lab.world) as home, reporting(home):
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.settled((await home.reaches(Status.CONTAINED)).id)
        assert cancelled.is_set()
        assert incident.status is Status.CONTAINED


async def test_a_run_that_nobody_has_work_for_does_nothing() -> None:
    with pytest.raises(Refused, match="only a responder"):
        await respond.respond("inc-2026-000001")


async def test_what_a_step_raises_comes_through_and_what_prefect_raises_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def lost() -> None:
        raise SoarError("ours")

    class Broken:
        def __init__(self, **_: object) -> None: ...

        async def __call__(self) -> None:
            raise RuntimeError("Prefect's")

    done = []

    async def step() -> None:
        done.append(1)

    monkeypatch.setattr(respond, "Task", Broken)
    await respond.as_task("a step", step)
    assert done == [1]
    with pytest.raises(SoarError, match="ours"):
        await respond.as_task("a step", lost)


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
        ({}, "`mcp-soar release inc-1`, which sets tool forecast of weather: enabled no → yes"),
        (
            {"wanted": world.plan().inverse(), "purpose": "release"},
            "`mcp-soar respond inc-1`, which sets tool forecast of weather: enabled yes → no",
        ),
        ({"wanted": world.plan(irreversible=Irreversible(because="it is gone"))}, "it cannot be: it is gone"),
    ],
)
def test_a_question_says_what_why_what_breaks_and_how_it_is_undone(more: dict[str, Any], undone: str) -> None:
    events = enumerate((world.opened(), world.proposed(**more)), 1)
    state = project(
        "inc-1", [Parsed("incident/inc-1", n, iso(now()), e.kind, e.actor, dict(e.body)) for n, e in events]
    )
    shown = re.sub(r"\\(.)", r"\1", overview(state, ())).replace("&gt;", ">")
    (step,) = state.proposals
    assert step.plan is not None
    assert f"### {step.plan.summary}" in shown
    assert "**Why it waits:** no alert of it came from an authenticated source" in shown
    assert f"**It would break:** {step.plan.breaks or 'nothing that is known'}" in shown
    assert f"**It is undone by:** {undone}\n" in shown


def test_each_class_is_a_flow_of_its_own_name() -> None:
    names = [respond.flow_of(one).name for one in IncidentClass]
    assert len(set(names)) == len(IncidentClass)
    assert "tool-poisoning" in names


def test_an_empty_incident_has_its_pages() -> None:
    empty = Incident(id="inc-2026-000001")
    assert "inc" in overview(empty, ())
    assert [page.key for page in pages(empty, ())] == ["inc-2026-000001-plan"]
