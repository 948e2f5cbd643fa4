"""A responder dies by SIGKILL at every boundary of a response and of a release; another one finishes the job.

The boundaries are those that an undisturbed run comes past, so that a new step is covered without a word here. All are
tried at a gateway that pretends; those that leave open whether a change arrived also at a real one.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from flows.demo.contextforge import RunningGateway
from flows.engine.case import PREFIX, Case
from flows.engine.opening import CUT
from flows.engine.parts import Timing
from playbooks.errors import SoarError
from playbooks.estate.inventory import Inventory
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.journal import Event
from tests.lab.connected import connected
from tests.lab.crowd import Crowd, crowd
from tests.lab.house import alert, house
from tests.lab.responder_process import Death, Moment
from tests.lab.succession import NAMES, Succession, directly

AT_ONCE = 6
"""Cases side by side, each about a tool of its own: most of one is waiting until a dead responder's claim runs out."""


PRETENDED, REAL = "pretended_gateway", "gateway"
# The quick part has the deaths that leave open whether there was an effect, at the gateway that pretends; the complete
# set takes longer than it may.
_COMPLETE = [pytest.param(PRETENDED, moment, marks=pytest.mark.slow) for moment in (Moment.BEFORE, Moment.AFTER)]
_REAL = pytest.param(REAL, Moment.SENT, marks=[pytest.mark.system("contextforge"), pytest.mark.slow])
moments = pytest.mark.parametrize(
    ("ring", "moment"), [(PRETENDED, Moment.SENT), _REAL, *_COMPLETE], indirect=["ring"], scope="module"
)


@pytest.fixture(scope="module")
def ring(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """Tools behind the gateway of the fixture that is named."""
    gateway: RunningGateway = request.getfixturevalue(request.param)
    with crowd(gateway, tmp_path_factory.mktemp("crowd"), tools=AT_ONCE) as running:
        yield running


async def _undisturbed(ring: Crowd, folder: Path) -> tuple[list[str], list[str]]:
    ring.poison()
    async with directly(ring) as world, Succession.opened(ring, ring.tools[0], folder, world) as case:
        await case.home.receive(alert(ring.server_id, case.tool))
        incident = await case.finishes(NAMES[0], Status.CONTAINED)
        await case.is_contained(incident)
        ring.server.behave()
        await case.home.ask("ann", Verb.RELEASE, incident.id, reason="healed")
        await case.is_given_back(await case.finishes(NAMES[1], Status.RELEASED))
        response, release = (case.orders(name).boundaries.read_text().splitlines() for name in NAMES[:2])
        return response, release


@pytest.fixture(scope="module")
def boundaries(ring: Crowd, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """Those of a response and those of a release, as an undisturbed run comes past them."""
    return asyncio.run(_undisturbed(ring, tmp_path_factory.mktemp("undisturbed")))


def _deaths(moment: Moment, boundaries: Sequence[str]) -> list[Death]:
    return [Death(moment, name) for name in boundaries if moment is not Moment.SENT or name.startswith("POST ")]


@pytest.mark.timeout(600)
@moments
async def test_a_response_is_finished_by_another_responder(
    ring: Crowd, boundaries: tuple[list[str], list[str]], moment: Moment, tmp_path: Path
) -> None:
    ring.poison()
    tools: asyncio.Queue[str] = asyncio.Queue()
    for tool in ring.tools:
        tools.put_nowait(tool)
    failures: dict[str, str] = {}
    never: list[Death] = []

    async def attempt(death: Death) -> None:
        tool = await tools.get()
        try:
            async with Succession.opened(ring, tool, tmp_path, world) as case:
                await case.home.receive(alert(ring.server_id, tool))
                if not await case.dies(NAMES[0], death):
                    never.append(death)
                await case.is_contained(await case.finishes(NAMES[1], Status.CONTAINED))
        except (AssertionError, SoarError) as exc:
            failures[str(death)] = str(exc)
        finally:
            tools.put_nowait(tool)

    deaths = _deaths(moment, boundaries[0])
    async with directly(ring) as world, asyncio.TaskGroup() as group:
        for death in deaths:
            group.create_task(attempt(death))
    assert len(never) < len(deaths) / 2, never
    assert not failures, _shown(failures, deaths)


# A response is in the quick part; a release goes the same way through the engine.
@pytest.mark.slow
@pytest.mark.timeout(600)
@moments
async def test_a_release_is_finished_by_another_responder(
    ring: Crowd, boundaries: tuple[list[str], list[str]], moment: Moment, tmp_path: Path
) -> None:
    failures: dict[str, str] = {}
    never: list[Death] = []

    async def attempt(case: Succession, incident: str, death: Death) -> None:
        try:
            await case.home.ask("ann", Verb.RELEASE, incident, reason="healed")
            if not await case.dies(NAMES[1], death):
                never.append(death)
            await case.is_given_back(await case.finishes(NAMES[2], Status.RELEASED))
        except (AssertionError, SoarError) as exc:
            failures[str(death)] = str(exc)

    deaths = _deaths(moment, boundaries[1])
    for start in range(0, len(deaths), AT_ONCE):
        batch = deaths[start : start + AT_ONCE]
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(directly(ring))
            ring.poison()
            opened = [
                await stack.enter_async_context(Succession.opened(ring, tool, tmp_path, world))
                for _, tool in zip(batch, ring.tools, strict=False)
            ]
            for case in opened:
                await case.home.receive(alert(ring.server_id, case.tool))
            async with asyncio.TaskGroup() as group:
                contained = [group.create_task(case.finishes(NAMES[0], Status.CONTAINED)) for case in opened]
            ring.server.behave()
            async with asyncio.TaskGroup() as group:
                for case, incident, death in zip(opened, contained, batch, strict=True):
                    group.create_task(attempt(case, incident.result().id, death))
    assert len(never) < len(deaths) / 2, never
    assert not failures, _shown(failures, deaths)


def _shown(failures: dict[str, str], deaths: Sequence[Death]) -> str:
    lines = (f"{death}:\n{why[:3000]}" for death, why in failures.items())
    return "\n\n".join([f"{len(failures)} of {len(deaths)} deaths", *lines])


async def test_a_claim_never_becomes_shorter_than_an_effect_needs(tmp_path: Path) -> None:
    world = connected(Inventory(version=1))
    async with house(tmp_path, world) as home:
        (entry,) = await home.journal.append(f"{PREFIX}inc-1", [Event("page", {"id": "a", "notice": "a", "text": "a"})])
        await home.journal.submit(lambda tx: tx.make_runnable(entry.stream, lane=CUT))
        (claim,) = await home.journal.claim("test", lane=CUT, limit=1, seconds=30.0)
        case = await Case.take(replace(home.parts, timing=Timing(claim=1.0)), claim)
        await case.outlast(20.0)
        until = case.claim.until
        await case.renew()
        assert case.claim.until > until - 1.0
