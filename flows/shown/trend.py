"""How fast the last incidents were contained, as one artifact of the installation. Pure."""

from collections.abc import Sequence
from statistics import median

from flows.report.picture import Contained, trend
from flows.report.words import length
from flows.shown.pages import Page, banner
from flows.shown.text import at, escaped, image, table
from integrations.journal.records import Stop
from playbooks.playbook import Goals
from playbooks.state import Incident

KEY = "times-to-contain"
LAST = 40
"""So many incidents are shown."""


def point(state: Incident, goals: Goals | None) -> Contained | None:
    """Return an incident's place in the trend; None if it never needed to be contained.

    Args:
        state: the incident.
        goals: of its playbook.
    """
    times = state.metrics
    start, held = times["accepted_at"], times["verified_at"]
    if start is None or not state.cuts:
        return None
    seconds = (held - start).total_seconds() if held else None
    return Contained(incident=state.id, at=start, seconds=seconds, goal=goals.verified if goals else None)


def page(points: Sequence[Contained], stops: Sequence[Stop]) -> Page:
    """Return the trend.

    Args:
        points: the incidents, in any order.
        stops: every kill switch that is on.
    """
    shown = sorted(points, key=lambda one: (one.at, one.incident))[-LAST:]
    taken = [one.seconds for one in shown if one.seconds is not None]
    said = f"{len(taken)} of the last {len(shown)} incidents verified as contained"
    if taken:
        said += f", median {length(median(taken))}, longest {length(max(taken))}"
    rows = [
        (
            escaped(one.incident),
            at(one.at),
            escaped(length(one.seconds)) if one.seconds is not None else "not yet",
            escaped(length(one.goal)) if one.goal is not None else "\\-",
            escaped(one.word),
        )
        for one in reversed(shown)
    ]
    parts = [
        f"{banner(stops)}# Times to contain",
        f"From an alert's acceptance to containment that a probe confirmed: {escaped(said)}.",
        image(trend(shown), said),
        table(("Incident", "Accepted (UTC)", "Contained after", "Goal", ""), rows),
    ]
    return Page(KEY, said, "\n\n".join(parts) + "\n")
