"""Incidents in Prefect: each a flow run of its class, its steps task runs, its pages artifacts, told of its journal.

Nothing of a response runs there, and nothing that is read from there decides anything. Whatever the API has not got yet
it is told at the next look: so with Prefect away, slow, frozen or killed, or a run cancelled by somebody, all goes on.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from prefect.client.orchestration import PrefectClient, get_client

from flows.engine.case import PREFIX
from flows.engine.opening import FLOW
from flows.pages import runs, trend
from flows.pages.pages import Artifact, concerned, pages
from flows.pages.shelf import Shelf
from flows.report.incident import report
from flows.report.picture import Contained
from flows.report.switches import switches_of
from integrations.journal.records import Stop, StreamInfo
from integrations.journal.store import Journal, Tampered
from playbooks.playbook import Playbook
from playbooks.record.journal import SYSTEM, Entry, Parsed
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.record.view import View
from playbooks.record.viewing import view
from playbooks.taxonomy import IncidentClass

LOG = logging.getLogger("mcp_soar.prefect")

PUBLISH_EVERY = 1.0
"""Seconds between two looks at the journal."""

RECENT = 200
"""So many of the youngest incidents are shown."""

_SELDOMER = 5
"""So many times more seldom an API is told that did not take something."""

_AT_ONCE = 20
"""So many incidents at most are read in one go for the trend."""


class Mark(NamedTuple):
    """How far Prefect knows an incident.

    Args:
        seq: the last journal entry that it was told of.
        stops: the numbers of the kill switches that were on.
        busy: somebody worked on it then.
    """

    seq: int
    stops: frozenset[int]
    busy: bool


class Publisher:
    """Tells Prefect what the journal says.

    Args:
        client: of the API.
        journal: it.
        playbooks: for their goals, by class.
    """

    def __init__(self, client: PrefectClient, journal: Journal, playbooks: Mapping[IncidentClass, Playbook]) -> None:
        self._client = client
        self._journal = journal
        self._playbooks = playbooks
        self._shelf = Shelf(client)
        self._marks: dict[str, Mark] = {}
        self._points: dict[str, tuple[int, Contained | None]] = {}
        self._switched: list[Parsed] = []
        self._system = 0

    async def look(self) -> None:
        """Tell what is new.

        Raises:
            Exception: whatever Prefect's client raises while the API does not answer, or about one of them.
        """
        rows, stops = await self._journal.streams(PREFIX, limit=RECENT), await self._journal.stops()
        failure: Exception | None = None
        for row in rows:
            # What waits for the rest of its response now is shown when that begins.
            waits = _due(row) and row.lane == FLOW
            if not waits and not self.knows(row, stops):
                try:
                    await self._tell(row, stops)
                except Tampered as exc:
                    # It waits for a person; the others go on being shown.
                    LOG.warning("%s is not published: %s", row.name, exc)
                    self._marks[row.name] = Mark(row.seq, _numbers(row, stops), busy=False)
                except Exception as exc:
                    if await self._client.api_healthcheck() is not None:
                        raise
                    # What the API does not take of one hides no other.
                    failure = exc
        await self._tell_trend(rows[: trend.LAST], stops)
        if failure is not None:
            raise failure

    def knows(self, row: StreamInfo, stops: Sequence[Stop]) -> bool:
        """Whether Prefect has an incident as it stands, as far as this process knows.

        Args:
            row: the incident's.
            stops: every kill switch that is on.
        """
        mark = self._marks.get(row.name)
        if mark is None or row.seq > mark.seq or mark.stops != _numbers(row, stops):
            return False
        # What is only looked at, over and over, is no work: a run that has ended begins again with something new.
        return not mark.busy or _busy(row)

    async def _tell(self, row: StreamInfo, stops: Sequence[Stop]) -> None:
        """Tell of one incident what is new of it."""
        busy = _busy(row)
        entries = await self._journal.read(row.name)
        if not entries:
            return
        await self._learn()
        # In a thread of its own: the responses of others share this loop.
        it, made = await asyncio.to_thread(_made, entries, stops, tuple(self._switched), self._playbooks)
        key = f"{it.id}/{entries[0].hash.hex()}"
        run = await runs.run_of(self._client, it, key)
        await self._shelf.put(made, run.id)
        if await runs.tell(self._client, run, it, key, busy=busy):
            self._marks[row.name] = Mark(entries[-1].seq, _numbers(row, stops), busy)
        self._points[row.name] = entries[-1].seq, Contained.of(it)

    async def _learn(self) -> None:
        """Read which kill switches there were, as far as that is new."""
        entries = await self._journal.read(SYSTEM, after=self._system)
        if entries:
            parsed = await asyncio.to_thread(lambda: [entry.parsed() for entry in entries])
            self._switched += [entry for entry in parsed if entry.kind in {"stopped", "resumed"}]
            self._system = entries[-1].seq

    async def _tell_trend(self, rows: Sequence[StreamInfo], stops: Sequence[Stop]) -> None:
        """Publish the trend if it changed and is complete; what this process has not seen yet it reads."""
        missing = [row for row in rows if self._points.get(row.name, (-1, None))[0] < row.seq]
        for row in missing[:_AT_ONCE]:
            try:
                entries = await self._journal.read(row.name)
            except Tampered:
                self._points[row.name] = row.seq, None
                continue
            it = _view(project(row.name.removeprefix(PREFIX), entries), self._playbooks)
            self._points[row.name] = row.seq, Contained.of(it)
        found = [one for row in rows if (one := self._points.get(row.name, (0, None))[1])]
        if found and len(missing) <= _AT_ONCE:
            await self._shelf.put([trend.page(found, stops)])


async def publish(journal: Journal, playbooks: Mapping[IncidentClass, Playbook]) -> None:
    """Show incidents in the Prefect that the environment names, which need not answer, until cancelled.

    Args:
        journal: what it is told of.
        playbooks: for their goals, by class.
    """
    well = True
    async with get_client() as client:
        publisher = Publisher(client, journal, playbooks)
        while True:
            try:
                await publisher.look()
                failure = None
            except Exception as exc:  # noqa: BLE001  # whatever Prefect's client raises, it is only shown later
                # By its kind: its text may quote what it was sent.
                failure = type(exc).__name__
            if well != (failure is None):
                well = not well
                LOG.warning("Prefect shows incidents%s", " again" if well else f" no more, or not all: {failure}")
            await asyncio.sleep(PUBLISH_EVERY * (1 if well else _SELDOMER))


def _view(state: Incident, playbooks: Mapping[IncidentClass, Playbook]) -> View:
    """Return how an incident stood at its last entry: what did not change is not published again."""
    last = state.timeline[-1].at if state.timeline else None
    return view(state, at=last, playbook=state.goes_by(playbooks))


def _made(
    entries: Sequence[Entry],
    stops: Sequence[Stop],
    switched: Sequence[Parsed],
    playbooks: Mapping[IncidentClass, Playbook],
) -> tuple[View, list[Artifact]]:
    """Return an incident, and its artifacts, of which the overview comes last and says how far all of them go."""
    parsed = [entry.parsed() for entry in entries]
    state = project(entries[0].stream.removeprefix(PREFIX), parsed)
    document = report(
        state,
        parsed,
        at=datetime.fromisoformat(parsed[-1].at),
        playbook=state.goes_by(playbooks),
        switches=switches_of(switched, state, state.scopes),
    )
    it = _view(state, playbooks)
    return it, pages(it, concerned(state, stops), document)


def _busy(row: StreamInfo) -> bool:
    """Whether somebody works on an incident, or is to."""
    return _due(row) or (row.owner is not None and (row.claimed_until or 0) > time.time())


def _due(row: StreamInfo) -> bool:
    return row.runnable_at is not None and row.runnable_at <= time.time()


def _numbers(row: StreamInfo, stops: Sequence[Stop]) -> frozenset[int]:
    return frozenset() if row.closed_at is not None else frozenset(stop.seq for stop in stops)
