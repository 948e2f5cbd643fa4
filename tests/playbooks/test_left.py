"""What is left to people is what there is to do for what was really done; after a no it says whose, and what now."""

import re

import pytest

from flows.report.open_ends import tasks
from integrations.registry import SYSTEMS
from playbooks.gate.plan import Answer
from playbooks.people.briefing import brief
from playbooks.people.contacts import Language
from playbooks.people.rendering import render
from playbooks.playbook import shipped
from playbooks.record.journal import Event
from playbooks.record.viewing import view
from playbooks.taxonomy import IncidentClass
from tests.lab import stories
from tests.lab.stories import Timed
from tests.playbooks.test_claims import ASKED, INVENTORY, OPENED, UNTRUE, checked

PLAYBOOKS = shipped()
CUT = "cut-tool@weather/forecast"
CHANGED = checked(Answer.ESTABLISHED, "a tool that nobody approved")
_KINDS = {IncidentClass.TOOL_MISUSE, IncidentClass.UNAUTHORIZED_ACCESS, IncidentClass.DENIAL_OF_SERVICE}


def left(*story: Timed, of: IncidentClass = IncidentClass.TOOL_POISONING) -> dict[str, str]:
    return {step: task for step, task, _ in tasks(view(stories.told(story), playbook=PLAYBOOKS[of]))}


def denied(by: str | None = "carol") -> Timed:
    if by is None:
        return 2.0, Event("lapsed", {"instance": CUT, "why": "the time is over"})
    return 2.0, Event("decided", {"digest": stories.plan().digest, "verb": "deny", "actor": by, "reason": ""}, by)


def contained(kind: str, name: str) -> list[Timed]:
    """A plan of that kind of target took effect."""
    wanted = stories.plan()
    (change,) = wanted.changes
    target = change.target.model_copy(update={"kind": kind, "name": name, "server": None})
    wanted = wanted.model_copy(update={"changes": (change.model_copy(update={"target": target}),)})
    story = stories.contained()
    plan = wanted.model_dump(mode="json")
    return [(when, Event(e.kind, {**e.body, "plan": plan}, e.actor) if "plan" in e.body else e) for when, e in story]


def test_of_what_was_not_cut_and_did_not_change_nothing_is_left() -> None:
    assert not left(*OPENED, UNTRUE)
    assert set(left(*OPENED, CHANGED)) == {"find-cause"}
    assert set(left(*OPENED, checked(Answer.UNKNOWN, "no answer"))) == {"find-cause"}


def test_of_what_was_cut_the_release_is_left() -> None:
    assert set(left(*stories.contained())) == {"release-tool", "find-cause"}


@pytest.mark.parametrize("of", sorted(PLAYBOOKS))
def test_a_command_that_is_left_can_be_typed(of: IncidentClass) -> None:
    told = " ".join(left(*stories.contained(), of=of).values())
    whole = f"`mcp-soar release {stories.ID} --as NAME`"
    # An account or a token is given back only where one was contained.
    assert whole in told or of in {IncidentClass.TOOL_MISUSE, IncidentClass.UNAUTHORIZED_ACCESS}
    assert not re.search("`mcp-soar (release|note|incident)`", told)


@pytest.mark.parametrize("of", sorted(_KINDS))
def test_tokens_and_accounts_are_left_only_where_one_was_contained(of: IncidentClass) -> None:
    words = ("revoked token", "deactivated account", "give the principal back")
    nothing = " ".join(left(*OPENED, of=of).values())
    assert not [word for word in words if word in nothing]
    token = left(*contained("token", "laptop"), of=of)
    assert "revoked token" in token["reissue"]
    assert "release-principal" not in token
    user = left(*contained("user", "dana-kim"), of=of)
    assert "reissue" not in user
    assert "release-principal" in user or of is IncidentClass.DENIAL_OF_SERVICE


@pytest.mark.parametrize(
    ("by", "says"), [("carol", "carol said no to: Take the tool forecast"), (None, "nobody answered")]
)
def test_after_a_no_it_says_whose_and_what_can_be_done(by: str | None, says: str) -> None:
    story = [*OPENED, CHANGED, ASKED, denied(by)]
    found = left(*story)
    assert set(found) == {"refused", "find-cause"}
    assert found["refused"].startswith(says)
    for verb in ("respond", "close"):
        assert f"mcp-soar {verb} {stories.ID}" in found["refused"]
    text = render(brief(stories.told(story), inventory=INVENTORY, at=stories.at(60))).text
    assert f"- Refused: {says}" in text


def test_it_says_so_in_korean() -> None:
    state = stories.told([*OPENED, CHANGED, ASKED, denied()])
    text = render(brief(state, inventory=INVENTORY, at=stories.at(60)), Language.KO, words=SYSTEMS.words).text
    assert "- 거부된 조치: carol 거부: " in text
