"""What a journal says is said in whole sentences: what matters first, nothing twice, commands that can be typed."""

import re

import pytest

from flows.cli.work.deciding import decided
from flows.cli.work.responding import contained
from flows.engine.opening import triage
from flows.engine.people.notices import EVERY, due
from playbooks.estate.inventory import Resolved
from playbooks.estate.places import Places
from playbooks.gate.plan import Answer, Change, Finding, Target, Verdict
from playbooks.people.briefing import brief
from playbooks.people.contacts import Language
from playbooks.people.rendering import render
from playbooks.people.request import Verb
from playbooks.playbook import Playbook, shipped
from playbooks.record.incident import Entity, EntityKind
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.taxonomy import IncidentClass
from playbooks.text.sentences import said
from tests.flows.cli import world
from tests.lab import stories

INVENTORY = world.READ
SERVER = Resolved(kind=EntityKind.SERVER, id="weather", server="weather")
OTHER = Resolved(kind=EntityKind.SERVER, id="vault", server="vault")
NEW = Entity(kind=EntityKind.TOOL, name="brand_new", server="weather")
HANGUL = re.compile(r"[가-힣]")


def about(*things: Resolved) -> Incident:
    entities = [thing.model_dump(mode="json") for thing in things]
    alert = stories.alert()
    named = Event("alert", {**alert.body, "entities": entities}, alert.actor)
    return stories.told([(0.0, stories.opened(entities=entities)), (0.0, named)])


def texts(state: Incident) -> list[str]:
    return [text for _, _, text in due(state, EVERY)]


def test_the_tool_leads_and_its_server_is_no_more_that_there_is() -> None:
    state = about(SERVER, stories.tool())
    assert [*map(str, state.about)] == ["tool forecast of weather"]
    subject = render(brief(state, inventory=INVENTORY, at=stories.at(60)), Language.EN).subject
    assert subject.endswith(", tool forecast of weather")
    assert "tool_poisoning (high): tool forecast of weather. Opened." in texts(state)[0]


def test_a_server_that_is_named_itself_stays_and_comes_after_the_tool() -> None:
    assert [*map(str, about(OTHER, stories.tool()).about)] == ["tool forecast of weather", "server vault"]
    assert [*map(str, about(SERVER).about)] == ["server weather"]


def waits(incident_class: IncidentClass, *unknown: Entity, playbook: Playbook | None = None) -> str:
    why = triage(playbook, Places(INVENTORY), incident_class, (), unknown)
    assert why is not None
    return why


CLASSIFY = f"`mcp-soar classify {stories.ID} --as-class CLASS --as NAME`"
RESPOND = f"`mcp-soar respond {stories.ID} --about KIND:NAME --as NAME`"


@pytest.mark.parametrize(
    ("why", "command"),
    [
        (waits(IncidentClass.UNCLASSIFIED), CLASSIFY),
        (waits(IncidentClass.IDE_LAYER), RESPOND),
        (waits(IncidentClass.TOOL_POISONING, NEW, playbook=shipped()[IncidentClass.TOOL_POISONING]), RESPOND),
        # As earlier releases wrote it.
        ("no rule of the source's configuration gives it a class: `mcp-soar classify ID --as-class` does", CLASSIFY),
        ("there is no playbook for ide_layer: say what to contain, with `mcp-soar respond ID --about`", RESPOND),
    ],
)
def test_why_somebody_has_to_look_names_a_whole_command_in_every_language(why: str, command: str) -> None:
    state = stories.told([(0.0, stories.opened(triage=why, playbook=None))])
    assert state.triage is not None
    assert re.findall("`[^`]*`", state.triage) == [command]
    korean = said(state.triage, Language.KO)
    assert HANGUL.search(korean)
    assert command in korean
    assert f"Opened, and nothing was done: {state.triage}." in texts(state)[0]


def test_what_is_asked_ends_before_why_it_is_asked() -> None:
    asked = stories.proposed()
    asked.body["plan"]["summary"] = "Disable tool forecast at gateway main"
    state = stories.told([(0.0, stories.opened()), (0.1, asked)])
    assert any("gateway main. Because a whole server goes, so a person decides." in text for text in texts(state))


def test_what_was_found_so_is_not_said_to_have_been_changed() -> None:
    wrote = stories.wrote(0.1)
    (change,) = (item["change"] for item in wrote.body["writes"])
    found = Event("wrote", {**wrote.body, "writes": [], "found": [change]})
    line = stories.told([(0.0, stories.opened()), (0.0, stories.intended()), (0.1, found)]).timeline[-1]
    assert line.detail == "found already so, and not written: enabled of tool forecast of weather"


def test_a_reason_given_twice_stands_once() -> None:
    asked = [stories.request("respond", "ann", "shell in the pod", title="t", entities=[{}]) for _ in range(2)]
    state = stories.told([(0.0, stories.opened(by="ann")), *((1.0, one) for one in asked)])
    assert len(state.wishes) == 2
    assert state.why == ("ann: shell in the pod",)


TOKEN = Target(system="gateway/main", kind="token", id="t-1", name="laptop")
REVOKE = stories.plan().model_copy(
    update={
        "summary": "Revoke token laptop (id t-1) of agent at gateway main",
        "changes": (Change(target=TOKEN, field="revoked", before=False, after=True),),
    }
)
BY_WORD = "that is known by the word of gateway main only: no probe tried token laptop"


def revoked(*, tried: bool) -> list[stories.Timed]:
    """A token of which the gateway says that it is revoked, and which somebody tried, or nobody."""
    says = Finding(
        check="token", subject="token laptop", asked_as="administrator soar@example.com", expected="-",
        observed="the gateway lists it as revoked and inactive", answer=Answer.ESTABLISHED,
    )  # fmt: skip
    control = says.model_copy(update={"check": "control", "asked_as": "canary@example.com"})
    itself = says.model_copy(
        update={
            "check": "principal",
            "asked_as": "agent" if tried else "nobody",
            "answer": Answer.ESTABLISHED if tried else Answer.UNKNOWN,
        }
    )
    verdict = Verdict(answer=Answer.ESTABLISHED, findings=(control, says, itself))
    meant, looked = stories.intended(), stories.verified(0.3)
    return [
        (0.0, stories.opened()),
        (0.1, Event("intended", {**meant.body, "plan": REVOKE.model_dump(mode="json")})),
        (0.2, stories.wrote(0.2)),
        (0.3, Event("verified", {**looked.body, "verdict": verdict.model_dump(mode="json")})),
    ]


def test_a_probe_is_said_to_have_confirmed_only_what_one_tried() -> None:
    for tried, basis in ((True, "a probe confirmed it"), (False, BY_WORD)):
        state = stories.told(revoked(tried=tried))
        assert any(text.endswith(f"Contained, and {basis}.") for text in texts(state))
        assert contained(state).message == f"contained, and {basis}"
        step = state.steps["cut-tool@weather/forecast"]
        assert step.plan
        look = decided(step.instance, step.plan.digest, Verb.APPROVE)
        assert look(state).message == f"done, and {basis}"


@pytest.mark.parametrize(
    ("language", "words"),
    [(Language.EN, f"What was cut is off, and {BY_WORD}."), (Language.KO, "게이트웨이 main의 기록으로만 확인되었고")],
)
def test_people_are_told_that_it_is_known_by_a_gateways_word_only(language: Language, words: str) -> None:
    page = stories.page("contained:1", "Contained.")
    for tried in (False, True):
        state = stories.told([*revoked(tried=tried), (0.4, page)])
        brief_ = brief(state, inventory=INVENTORY, at=stories.at(60), page=state.pages["contained:1"])
        assert (words in " ".join(render(brief_, language).text.split())) is not tried


def test_what_the_gateway_says_is_back_is_not_said_to_be_confirmed_by_a_probe() -> None:
    state = stories.told(revoked(tried=False))
    lease = state.leases["cut-tool@weather/forecast"]
    lease.back = lease.verdict
    assert lease.returned == f"it is back, and {BY_WORD}"
