"""Incidents in Prefect: each a flow run of its class, its steps task runs, its pages artifacts, told of its journal.

Nothing of a response runs there, and nothing that is read from there decides anything. Whatever the API has not got yet
it is told at the next look: so with Prefect away, slow, frozen or killed, or a run cancelled by somebody, all goes on.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from json import JSONDecodeError
from typing import NamedTuple

from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectException
from pydantic import ValidationError

from flows.engine.case import PREFIX
from flows.engine.opening import FLOW
from flows.pages import runs, trend
from flows.pages.pages import Artifact, concerned, pages
from flows.pages.shelf import Shelf
from flows.report.incident import report
from flows.report.picture import Contained
from flows.report.switches import switches_of
from integrations.http import FAULTS
from integrations.journal.records import Stop, StreamInfo
from integrations.journal.store import Journal
from playbooks.errors import SoarError, Transient
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


_PREFECTS = (*FAULTS, PrefectException, OSError, JSONDecodeError, ValidationError)
"""What Prefect's client raises where its API is away, refuses, or answers what nobody can read. All else is ours."""


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


class _Made(NamedTuple):
    """What Prefect is to be told of an incident.

    Args:
        it: the incident.
        artifacts: its pages; the overview comes last and says how far all of them go.
        key: tells it from one of that id in another journal.
        seq: the last journal entry that it says.
    """

    it: View
    artifacts: Sequence[Artifact]
    key: str
    seq: int


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
        """Tell what is new. What is wrong with one incident keeps no other from being shown.

        Raises:
            Exception: whatever Prefect's client raises while the API does not answer, or about one of them.
            Transient: the journal cannot be read now.
        """
        rows, stops = await self._journal.streams(PREFIX, limit=RECENT), await self._journal.stops()
        failure: Exception | None = None
        for row in rows:
            # What waits for the rest of its response now is shown when that begins.
            waits = _due(row) and row.lane == FLOW
            if waits or not row.seq or self.knows(row, stops):
                continue
            try:
                made = await self._made(row, stops)
            except Transient:
                raise
            except Exception as exc:  # noqa: BLE001  # the others go on being shown
                self._pass_over(row, stops, exc)
                continue
            try:
                await self._show(row, stops, made)
            except _PREFECTS as exc:
                if await self._client.api_healthcheck() is not None:
                    raise
                # What the API does not take of one hides no other.
                failure = exc
            except Exception as exc:  # noqa: BLE001  # a fault of ours hides no other either
                self._pass_over(row, stops, exc)
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

    async def _made(self, row: StreamInfo, stops: Sequence[Stop]) -> _Made:
        entries = await self._journal.read(row.name)
        await self._learn()
        # In a thread of its own: the responses of others share this loop.
        made = await asyncio.to_thread(_made, entries, stops, tuple(self._switched), self._playbooks)
        self._points[row.name] = made.seq, Contained.of(made.it)
        return made

    async def _show(self, row: StreamInfo, stops: Sequence[Stop], made: _Made) -> None:
        busy = _busy(row)
        run = await runs.run_of(self._client, made.it, made.key)
        await self._shelf.put(made.artifacts, run.id)
        if await runs.tell(self._client, run, made.it, made.key, busy=busy):
            self._marks[row.name] = Mark(made.seq, _numbers(row, stops), busy)

    def _pass_over(self, row: StreamInfo, stops: Sequence[Stop], exc: Exception) -> None:
        """Leave one out until there is something new of it: it waits for a person."""
        if isinstance(exc, SoarError):
            LOG.warning("%s is not published: %s", row.name, exc)
        else:
            LOG.error("%s is not published, by a fault of mcp-soar", row.name, exc_info=exc)
        self._marks[row.name] = Mark(row.seq, _numbers(row, stops), busy=False)
        self._points[row.name] = row.seq, None

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
                state = project(row.name.removeprefix(PREFIX), await self._journal.read(row.name))
                self._points[row.name] = row.seq, Contained.of(_view(state, self._playbooks))
            except Transient:
                raise
            except Exception as exc:  # noqa: BLE001  # the trend of the others goes on
                self._pass_over(row, stops, exc)
        found = [one for row in rows if (one := self._points.get(row.name, (0, None))[1])]
        if found and len(missing) <= _AT_ONCE:
            await self._shelf.put([trend.page(found, stops)])


async def publish(journal: Journal, playbooks: Mapping[IncidentClass, Playbook]) -> None:
    """Show incidents in the Prefect that the environment names, which need not answer, until cancelled.

    Args:
        journal: what it is told of.
        playbooks: for their goals, by class.
    """
    said = ""
    async with get_client() as client:
        publisher = Publisher(client, journal, playbooks)
        while True:
            wrong: Exception | None = None
            try:
                await publisher.look()
            except Exception as exc:  # noqa: BLE001  # whatever it is, it is only shown later
                wrong = exc
            whose = "" if wrong is None else "theirs" if isinstance(wrong, (*_PREFECTS, SoarError)) else "ours"
            if whose != said:
                said = whose
                if wrong is None:
                    LOG.warning("Prefect shows incidents again")
                elif whose == "theirs":
                    # By its kind: its text may quote what it was sent.
                    LOG.warning("Prefect shows incidents no more, or not all: %s", type(wrong).__name__)
                else:
                    LOG.error("Prefect is not told of incidents, by a fault of mcp-soar", exc_info=wrong)
            await asyncio.sleep(PUBLISH_EVERY * (_SELDOMER if wrong else 1))


def _view(state: Incident, playbooks: Mapping[IncidentClass, Playbook]) -> View:
    """Return how an incident stood at its last entry: what did not change is not published again."""
    last = state.timeline[-1].at if state.timeline else None
    return view(state, at=last, playbook=state.goes_by(playbooks))


def _made(
    entries: Sequence[Entry],
    stops: Sequence[Stop],
    switched: Sequence[Parsed],
    playbooks: Mapping[IncidentClass, Playbook],
) -> _Made:
    parsed = [entry.parsed() for entry in entries]
    state = project(entries[0].stream.removeprefix(PREFIX), parsed)
    document = report(
        state,
        parsed,
        at=datetime.fromisoformat(parsed[-1].at),
        playbook=state.goes_by(playbooks),
        switches=switches_of(switched, state, state.scopes),
    )
    it, key = _view(state, playbooks), f"{state.id}/{entries[0].hash.hex()}"
    return _Made(it, pages(it, concerned(state, stops), document), key, entries[-1].seq)


def _busy(row: StreamInfo) -> bool:
    """Whether somebody works on an incident, or is to."""
    return _due(row) or (row.owner is not None and (row.claimed_until or 0) > time.time())


def _due(row: StreamInfo) -> bool:
    return row.runnable_at is not None and row.runnable_at <= time.time()


def _numbers(row: StreamInfo, stops: Sequence[Stop]) -> frozenset[int]:
    return frozenset() if row.closed_at is not None else frozenset(stop.seq for stop in stops)
