"""Steps as Prefect's task runs: told as often as one likes, by whomever, each is one run with its true times."""

import unicodedata
import uuid
from datetime import datetime

from prefect.events import Event as Told

from flows.pages.steps import shown
from playbooks.record.journal import Event
from playbooks.record.viewing import view
from tests.lab import stories
from tests.lab.stories import Timed

RUN = uuid.UUID(int=7)
CUT = "cut-tool@weather/forecast"


def told(story: list[Timed]) -> dict[str, Told]:
    """Return what Prefect is told of each step, by its task run's id and name."""
    found = shown(RUN, view(stories.told(story)))
    assert len({one.id for one in found}) == len(found)
    return {f"{one.id} {one.event.resource.name}": one.event for one in found}


def of_cut(story: list[Timed]) -> dict[str, Told]:
    return {name: event for name, event in told(story).items() if " cut: " in name}


def failed(at: float, *, again: bool) -> Timed:
    body = {"instance": CUT, "phase": "cut", "action": "gateway.disable_tool", "epoch": 1, "attempt": 1}
    retry = (stories.at(at + 1)).isoformat() if again else None
    return at, Event("failed", {**body, "error": "Transient", "message": "502", "retry_at": retry})


def test_a_step_is_the_same_run_for_whoever_tells_of_it_later() -> None:
    first, later = told(stories.contained()), told(stories.over())
    assert first
    assert first.keys() <= later.keys()
    (cut,) = of_cut(stories.contained()).values()
    state = stories.told(stories.contained()).steps[CUT]
    assert datetime.fromisoformat(str(cut.payload["task_run"]["start_time"])) == state.intended_at
    assert cut.occurred == state.settled_at


def test_what_is_tried_again_and_holds_then_is_one_run_that_turns_green() -> None:
    begun = [one for one in stories.contained() if one[1].kind in {"opened", "alert", "intended"}]
    broke, held = (
        of_cut([*begun, failed(0.4, again=True)]),
        of_cut([*begun, failed(0.4, again=True), (2.0, stories.wrote(2.0)), (2.5, stories.verified(2.5))]),
    )
    assert broke.keys() == held.keys()
    (red,), (green,) = broke.values(), held.values()
    assert (red.event, green.event) == ("prefect.task-run.Failed", "prefect.task-run.Completed")
    # Prefect keeps the later one of two states.
    assert red.id != green.id
    assert red.occurred < green.occurred
    assert of_cut(begun) == {}, "nothing has come of it yet"


def test_evidence_is_shown_from_when_its_source_was_read_and_what_no_playbook_names_in_words() -> None:
    events = {event.resource.name: event for event in told(stories.over()).values()}
    assert "preserve: Seal the evidence" in events
    kept = next(event for name, event in events.items() if name and name.startswith("capture: capture-definitions of"))
    assert datetime.fromisoformat(str(kept.payload["task_run"]["start_time"])) <= kept.occurred


def test_what_an_attacker_wrote_is_one_line_without_controls() -> None:
    words = stories.Words("x\x1b[31m\u202egnp.exe\n<img src=x>")
    for event in told(stories.leaking(words)).values():
        for text in (event.resource.name or "", str(event.payload["validated_state"]["message"])):
            assert not [c for c in text if unicodedata.category(c) in {"Cc", "Cf"}], text
