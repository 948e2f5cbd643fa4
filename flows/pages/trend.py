"""How fast the last incidents were contained, as one artifact of the installation. Pure."""

from collections.abc import Sequence
from statistics import median

from flows.pages.pages import Artifact, banner
from flows.pages.text import at, escaped, image, table
from flows.report.picture import Contained, trend
from flows.report.words import length
from integrations.journal.records import Stop

KEY = "times-to-contain"
LAST = 40
"""So many incidents are shown."""


def page(points: Sequence[Contained], stops: Sequence[Stop]) -> Artifact:
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
        f"From an alert's acceptance to verified containment: {escaped(said)}.",
        image(trend(shown), said),
        table(("Incident", "Accepted (UTC)", "Contained after", "Goal", ""), rows),
    ]
    return Artifact(KEY, said, "\n\n".join(parts) + "\n")
