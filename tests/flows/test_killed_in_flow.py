"""A responder dies by SIGKILL inside a Prefect flow, once in each phase that a flow runs; another one finishes it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.demo.contextforge import RunningGateway
from flows.engine.case import PREFIX
from playbooks.record.incident import Phase, Status
from playbooks.record.journal import Event
from tests.lab.crowd import Crowd, crowd
from tests.lab.house import alert
from tests.lab.prefect import PrefectServer, publishing
from tests.lab.responder_process import Death, Moment, title
from tests.lab.succession import NAMES, Succession, directly

SEAL = "sealed"
IN_FLOW = (Phase.CAPTURE, Phase.PRESERVE, SEAL, Phase.ERADICATE)


@pytest.fixture(scope="module")
def ring(pretended_gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    with crowd(pretended_gateway, tmp_path_factory.mktemp("crowd"), tools=1) as running:
        yield running


async def boundaries(case: Succession) -> dict[str, str]:
    """Return the first commit of each phase after the cut that the first responder came past, and the seal's."""
    passed = case.orders(NAMES[0]).boundaries.read_text().splitlines()
    (row,) = await case.journal.streams(PREFIX)
    first: dict[str, str] = {}
    for entry in await case.journal.read(row.name):
        parsed = entry.parsed()
        name = title([Event(parsed.kind, parsed.body)])
        phase = SEAL if parsed.kind == SEAL else parsed.body.get("phase")
        if phase in IN_FLOW and name in passed:
            first.setdefault(str(phase), name)
    return first


def runs(prefect: PrefectServer, before: set[str]) -> dict[str, dict[str, Any]]:
    """Return the flow runs that were not there before."""
    return {run["id"]: run for run in prefect.ask("/flow_runs/filter") if run["id"] not in before}


async def ended(prefect: PrefectServer, before: set[str]) -> dict[str, Any]:
    """Wait until the one run that was not there before has ended, and return it."""
    async with asyncio.timeout(120):
        while True:
            found = await asyncio.to_thread(runs, prefect, before)
            if len(found) == 1 and (run := next(iter(found.values())))["end_time"]:
                return run
            await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_flow_is_finished_by_another_responder(ring: Crowd, prefect: PrefectServer, tmp_path: Path) -> None:
    ring.poison()
    (tool,) = ring.tools
    before = set(runs(prefect, set()))
    async with directly(ring) as world:
        async with Succession.opened(ring, tool, tmp_path, world) as case:
            case.prefect = prefect.api, prefect.auth
            await case.home.receive(alert(ring.server_id, tool))
            await case.is_contained(await case.finishes(NAMES[0], Status.CONTAINED))
            deaths = await boundaries(case)
            async with publishing(case.journal):
                assert (await ended(prefect, before))["state_name"] == "Contained"
        assert set(deaths) == set(IN_FLOW)

        for name in deaths.values():
            before |= set(runs(prefect, before))
            async with Succession.opened(ring, tool, tmp_path, world) as case:
                case.prefect = prefect.api, prefect.auth
                await case.home.receive(alert(ring.server_id, tool))
                await case.dies(NAMES[0], Death(Moment.AFTER, name))
                await case.is_contained(await case.finishes(NAMES[1], Status.CONTAINED))
                # Whoever finishes it tells of it in the same run, and nothing shows as running for ever.
                async with publishing(case.journal):
                    assert (await ended(prefect, before))["state_name"] == "Contained", name
