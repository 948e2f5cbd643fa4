"""What is flooded is taken away only while nobody is named who floods: a cut of it would do the flood's own work."""

from typing import Any

from flows.engine import schedule
from flows.engine.opening import triage
from flows.engine.parts import Timing
from flows.engine.schedule import ATTRIBUTED
from playbooks.estate.inventory import Resolved
from playbooks.estate.places import Places
from playbooks.playbook import shipped
from playbooks.record.incident import EntityKind, Phase
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from playbooks.strict import now
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.playbooks.test_state import incident

SERVER = Resolved(kind=EntityKind.SERVER, id="weather", server="weather")
AGENT = Resolved(kind=EntityKind.PRINCIPAL, id="agent", principal="agent")
TOKEN = Resolved(kind=EntityKind.TOKEN, id="t-1", principal="agent")
FLOOD = shipped()[IncidentClass.DENIAL_OF_SERVICE]
BEGUN = world.opened(entities=[], names="whole")
CUT_TOOL = "cut-tool@weather/forecast"
PLACES = Places(world.READ)


def alert(*entities: Resolved, **more: Any) -> Event:  # noqa: ANN401  # fields of the body
    named = [entity.model_dump(mode="json") for entity in entities]
    return Event("alert", {**world.alert().body, "entities": named, **more})


def runs(state: Incident) -> list[tuple[str, str]]:
    retries = Timing().verify_retries
    todos = schedule.ready(state, FLOOD, places=PLACES, until=Phase.CUT, now=now(), stopped=False, retries=retries)
    return [(todo.instance, todo.kind) for todo in todos]


def test_the_flooded_is_cut_only_where_nobody_is_named_who_floods() -> None:
    assert runs(incident(BEGUN, alert(SERVER, world.TOOL))) == [(CUT_TOOL, "action")]
    assert runs(incident(BEGUN, alert(SERVER))) == [("cut-server@weather", "action")]
    whole = runs(incident(BEGUN, alert(SERVER, world.TOOL, AGENT, TOKEN)))
    assert whole == [("deactivate-principal@principal:agent", "action"), ("revoke-token@token:agent/t-1", "action")]
    assert runs(incident(BEGUN, alert(SERVER, AGENT))) == [("deactivate-principal@principal:agent", "action")]


def test_a_question_about_the_flooded_is_taken_back_once_it_is_known_who_floods() -> None:
    question = world.proposed(instance=CUT_TOOL)
    asked = [BEGUN, alert(SERVER, world.TOOL), question]
    assert (CUT_TOOL, "action") not in runs(incident(*asked)), "it waits for people"
    known = incident(*asked, alert(AGENT))
    assert runs(known) == [("deactivate-principal@principal:agent", "action"), (CUT_TOOL, "moot")]
    skipped = Event("skipped", {"instance": CUT_TOOL, "phase": "cut", "reason": ATTRIBUTED})
    assert (CUT_TOOL, "action") not in runs(incident(*asked, alert(AGENT), skipped))


def test_whoever_proves_nothing_takes_back_no_question() -> None:
    asked = [BEGUN, alert(SERVER, world.TOOL), world.proposed(instance=CUT_TOOL)]
    unsigned = alert(world.TOOL, AGENT, authenticated=False, source="unsigned")
    assert (CUT_TOOL, "moot") not in runs(incident(*asked, unsigned))
    assert (CUT_TOOL, "action") in runs(incident(BEGUN, alert(SERVER, world.TOOL), unsigned))
    over = alert(AGENT, state="resolved")
    assert (CUT_TOOL, "action") in runs(incident(BEGUN, alert(SERVER, world.TOOL), over, unsigned))
    chosen = {"by": "ann", "entities": [AGENT.model_dump(mode="json")], "playbook": None, "reason": "it is this one"}
    assert (CUT_TOOL, "moot") in runs(incident(*asked, unsigned, Event("chosen", chosen)))


def test_what_people_said_yes_to_is_carried_through_whoever_is_named_meanwhile() -> None:
    question = world.proposed(instance=CUT_TOOL)
    said = {"digest": world.plan().digest, "verb": "approve", "actor": "bob", "reason": "it has to stop"}
    state = incident(BEGUN, alert(SERVER, world.TOOL), question, Event("decided", said), alert(AGENT))
    assert state.steps[CUT_TOOL].progress is Progress.APPROVED
    assert (CUT_TOOL, "action") in runs(state)


def test_what_was_begun_is_brought_to_its_end_whoever_is_named_meanwhile() -> None:
    begun = Event("intended", {**world.intended().body, "instance": CUT_TOOL})
    state = incident(BEGUN, alert(SERVER, world.TOOL), begun, alert(AGENT))
    assert (CUT_TOOL, "action") in runs(state)


def test_a_message_that_names_what_no_cut_is_for_says_what_it_would_take() -> None:
    inventory = world.READ

    def why(one: IncidentClass, *known: Resolved) -> str | None:
        return triage(shipped()[one], Places(inventory), one, known, ())

    misuse = why(IncidentClass.TOOL_MISUSE, world.TOOL)
    assert misuse == "it names tool forecast of weather, but no principal or token that the inventory knows"
    assert why(IncidentClass.DENIAL_OF_SERVICE, world.TOOL) is None
    assert why(IncidentClass.DENIAL_OF_SERVICE, TOKEN) is None
    injection = why(IncidentClass.PROMPT_INJECTION, AGENT)
    assert injection == "it names principal agent, but no prompt or resource or tool that is approved"
    assert why(IncidentClass.SERVER_COMPROMISE, AGENT) == "it names principal agent, but no server itself"
    leaves = why(IncidentClass.DATA_EXFILTRATION, SERVER, Resolved(kind=EntityKind.PROMPT, id="ask", server="weather"))
    assert leaves == (
        "it names server weather, prompt ask of weather, but no resource or tool that is approved or principal or token"
        " that the inventory knows or server itself"
    )
