"""The artifacts in Prefect: which are there, and putting there what changed. Keys keep their versions.

The overview of an incident comes last and says how far all of them go, so that what broke off is done again.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey

from flows.engine.case import PREFIX
from flows.report.incident import report
from flows.report.picture import Contained, timeline
from flows.report.switches import switches_of
from flows.report.written import markdown
from flows.shown import trend
from flows.shown.pages import EVIDENCE, PLAN, REPORT, Page, banner, concerned, overview, pages
from flows.shown.text import image
from integrations.journal.records import Stop, StreamInfo
from integrations.journal.store import Journal, Tampered
from playbooks.journal import SYSTEM, Entry, Parsed
from playbooks.playbook import Goals, Playbook
from playbooks.projection import project
from playbooks.state import Incident
from playbooks.strict import sha256
from playbooks.taxonomy import IncidentClass

_THROUGH = "journal entry "
_STOPPED = "kill switch on"
_WITHOUT = "Duties to report, and their clocks, need the inventory: `mcp-soar report` has them, and other forms."
_AT_ONCE = 20
"""So many incidents at most are read in one go for the trend."""


class Mark(NamedTuple):
    """How far an incident's artifacts go.

    Args:
        seq: the last journal entry that they know.
        stops: the numbers of the kill switches that were on; None if that is not known.
    """

    seq: int
    stops: frozenset[int] | None = frozenset()


class Shelf:
    """What the API has of us.

    Args:
        client: of the API.
        playbooks: for their goals.
    """

    def __init__(self, client: PrefectClient, playbooks: Mapping[IncidentClass, Playbook]) -> None:
        self._client = client
        self._playbooks = playbooks
        self._marks: dict[str, Mark] = {}
        self._written: dict[str, str] = {}
        self._points: dict[str, tuple[int, Contained | None]] = {}
        self._switched: list[Parsed] = []
        self._system = 0

    def has(self, row: StreamInfo, stops: Sequence[Stop]) -> bool:
        """Whether an incident was published as it stands, as far as this process knows."""
        mark = self._marks.get(row.name)
        return mark is not None and row.seq <= mark.seq and mark.stops == _numbers(row, stops)

    async def known(self, row: StreamInfo) -> int:
        """Return the last entry that the API has of an incident: any responder, started at any time, can tell."""
        mark = self._marks.get(row.name)
        if mark is None:
            await self._look(row.name.removeprefix(PREFIX))
            mark = self._marks.setdefault(row.name, Mark(0))
        return mark.seq

    async def put(self, journal: Journal, stream: str, flow_run: uuid.UUID | None) -> None:
        """Publish what changed of an incident.

        Args:
            journal: to read it from.
            stream: the incident's.
            flow_run: that it belongs to.
        """
        incident = stream.removeprefix(PREFIX)
        if stream not in self._marks:
            await self._look(incident)
        entries, stops = await journal.read(stream), await journal.stops()
        await self._learn(journal)
        # In a thread of its own: cuts share this loop.
        made = await asyncio.to_thread(_made, incident, entries, stops, tuple(self._switched), self._playbooks)
        for page in made.pages:
            await self._write(page, flow_run)
        self._marks[stream] = Mark(made.state.seq, made.stops)
        self._points[stream] = made.state.seq, trend.point(made.state, self._goals(made.state))

    async def _learn(self, journal: Journal) -> None:
        """Read which kill switches there were, as far as that is new."""
        entries = await journal.read(SYSTEM, after=self._system)
        if entries:
            parsed = await asyncio.to_thread(lambda: [entry.parsed() for entry in entries])
            self._switched += [entry for entry in parsed if entry.kind in {"stopped", "resumed"}]
            self._system = entries[-1].seq

    async def put_trend(self, journal: Journal, rows: Sequence[StreamInfo], stops: Sequence[Stop]) -> None:
        """Publish the trend if it changed and is complete.

        Args:
            journal: to read what this process has not seen yet.
            rows: the incidents that it consists of.
            stops: every kill switch that is on.
        """
        missing = [row for row in rows if self._points.get(row.name, (-1, None))[0] < row.seq]
        for row in missing[:_AT_ONCE]:
            try:
                state = project(row.name.removeprefix(PREFIX), await journal.read(row.name))
            except Tampered:
                self._points[row.name] = row.seq, None
                continue
            self._points[row.name] = state.seq, trend.point(state, self._goals(state))
        found = [one for row in rows if (one := self._points.get(row.name, (0, None))[1])]
        if not found or len(missing) > _AT_ONCE:
            return
        page = trend.page(found, stops)
        if page.key not in self._written:
            await self._latest([page.key])
        await self._write(page, None)

    def _goals(self, state: Incident) -> Goals | None:
        playbook = state.goes_by(self._playbooks)
        return playbook.goals_of(state.playbook_digest) if playbook else None

    async def _look(self, incident: str) -> None:
        said = await self._latest([incident, *(incident + kind for kind in (PLAN, EVIDENCE, REPORT))])
        _, _, number = said.get(incident, "").rpartition(_THROUGH)
        if number.isdecimal():
            stops = None if _STOPPED in said[incident] else frozenset[int]()
            self._marks[PREFIX + incident] = Mark(int(number), stops)

    async def _latest(self, keys: list[str]) -> dict[str, str]:
        wanted = ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=keys))
        found = await self._client.read_latest_artifacts(artifact_filter=wanted)
        for one in found:
            self._written[one.key] = _stamp(one.description, one.data)
        return {one.key: one.description or "" for one in found}

    async def _write(self, page: Page, flow_run: uuid.UUID | None) -> None:
        stamp = _stamp(page.description, page.data)
        if self._written.get(page.key) == stamp:
            return
        artifact = ArtifactCreate(
            key=page.key, type="markdown", description=page.description, data=page.data, flow_run_id=flow_run
        )
        await self._client.create_artifact(artifact)
        self._written[page.key] = stamp


class _Made(NamedTuple):
    """What is to be published of an incident, the overview last."""

    state: Incident
    stops: frozenset[int]
    pages: tuple[Page, ...]


def _made(
    incident: str,
    entries: Sequence[Entry],
    stops: Sequence[Stop],
    switched: Sequence[Parsed],
    playbooks: Mapping[IncidentClass, Playbook],
) -> _Made:
    parsed = [entry.parsed() for entry in entries]
    state = project(incident, parsed)
    playbook, held = state.goes_by(playbooks), concerned(state, stops)
    made = list(pages(state, held))
    if parsed:
        document = report(
            state,
            parsed,
            # The last entry's time, not now: what did not change is not published again.
            at=datetime.fromisoformat(parsed[-1].at),
            playbook=playbook,
            switches=switches_of(switched, state, state.scopes),
        )
        text = f"{banner(held)}{markdown(document)}\n\n{_WITHOUT}\n"
        made.append(Page(state.id + REPORT, f"up to journal entry {state.seq}", text))
    goals = playbook.goals_of(state.playbook_digest) if playbook else None
    picture = image(timeline(state), f"Timeline of {state.id}; the list below says the same")
    said = f"{state.stands}, {f'{_STOPPED}, ' if held else ''}{_THROUGH}{state.seq}"
    made.append(Page(state.id, said, overview(state, held, picture=picture, goals=goals)))
    numbers = frozenset() if state.closed_at else frozenset(stop.seq for stop in stops)
    return _Made(state, numbers, tuple(made))


def _numbers(row: StreamInfo, stops: Sequence[Stop]) -> frozenset[int]:
    return frozenset() if row.closed_at is not None else frozenset(stop.seq for stop in stops)


def _stamp(description: str | None, data: object) -> str:
    return sha256(f"{description}\n{data}".encode())
