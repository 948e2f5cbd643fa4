"""What users of other products of this kind suffer, in the order in which we collected it: each is a test.

Those that are covered elsewhere; `test_what_is_said_to_be_covered_is_there` keeps this table honest:

| Suffered | Test |
|---|---|
| 1. A killed runner leaves the action running for ever (StackStorm #4716) |
    tests/flows/engine/test_killed.py::test_a_response_is_finished_by_another_responder
    tests/flows/test_killed_in_flow.py::test_a_flow_is_finished_by_another_responder |
| 3. Answering an approval too fast leaves the flow stuck (StackStorm #4135) |
    tests/flows/engine/test_codes.py::test_an_answer_in_the_very_moment_of_the_question_is_taken
    tests/flows/engine/test_codes.py::test_two_responders_and_twenty_answers_at_once_make_one_decision |
| 4. Quorum approval does not work (StackStorm #6213) |
    tests/flows/engine/test_approvals.py::test_two_approvals_by_one_person_count_once
    tests/flows/engine/test_codes.py::test_one_person_is_one_voice_however_they_answer
    tests/flows/engine/test_lent_voices.py::test_a_lent_voice_is_one_voice_whoever_uses_it |
| 5. A pause approves itself when its time is over (Kestra #18680) |
    tests/flows/engine/test_approvals.py::test_a_denial_and_silence_are_both_no |
| 8. Unsigned resume URLs (n8n #19219) |
    tests/flows/engine/test_approvals.py::test_no_other_request_moves_anything
    tests/flows/test_prefect_attack.py::test_a_worker_hands_requests_in_and_can_do_nothing_else |
| 9. Limits off by default (Cloud Custodian #3641) |
    tests/flows/engine/test_gate_at_work.py::test_a_storm_never_exceeds_the_shipped_caps
    tests/flows/engine/test_gate_at_work.py::test_one_alert_about_everything_is_held_to_the_same_caps |
| 10. Incidents that were opened by themselves start no workflow (Keep #6261) |
    tests/flows/engine/test_response.py::test_a_poisoned_tool_is_cut_proven_and_given_back
    tests/flows/engine/test_intake.py::test_repeats_join_and_the_end_of_an_alert_starts_nothing |
| 11. A restart fails all jobs (Rundeck #1033) |
    tests/flows/engine/test_killed.py::test_a_release_is_finished_by_another_responder
    tests/flows/engine/test_postgres_restart.py::test_a_response_goes_on_when_its_journal_is_back
    tests/flows/pages/test_runs.py::test_prefect_failing_in_the_middle_changes_nothing |
| 12. Unauthenticated ingest (Falco Talon #136) |
    tests/flows/test_receiver.py::test_what_is_not_authentic_gets_one_answer_without_a_hint
    tests/flows/test_receiver.py::test_a_forged_message_is_never_accepted
    tests/flows/engine/test_gate_at_work.py::test_an_unsigned_source_reads_and_never_writes |
| 13. Manual commands do not work (SOARCA #330) |
    tests/flows/cli/test_estate.py::test_a_response_by_hand_from_start_to_release
    tests/contract/test_playbooks.py::test_its_drill_succeeds |
| 15. A containment overwrites what users had set themselves (Falco Talon) |
    tests/flows/engine/test_holds.py::test_a_tool_that_was_disabled_before_stays_so_after_both_releases
    tests/flows/engine/test_release.py::test_an_entry_on_top_of_a_tool_comes_back_as_it_was_before_the_incident
    tests/integrations/systems/contextforge/test_actions.py::test_an_id_that_stands_for_another_tool_is_refused |
| 16. A time without its zone is taken for UTC (libcloudforensics) |
    tests/playbooks/test_strict.py::test_a_time_without_zone_or_out_of_range_is_refused |
"""

import ast
import inspect
import os
import re
import subprocess
import sys
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flows.engine.case import PREFIX
from flows.engine.opening import CUT
from flows.engine.people.notices import due
from integrations.channels.ways import Channels
from integrations.journal.store import Tx
from integrations.registry import SYSTEMS
from playbooks.action import Action
from playbooks.errors import Misconfigured
from playbooks.gate.plan import Radius
from playbooks.gate.policy import Facts, Outcome, Policy, Reservation, decide
from playbooks.gate.rules import Mode
from playbooks.people.contacts import Contacts, Way
from playbooks.people.request import Verb
from playbooks.playbook import Notice, Playbook, shipped
from playbooks.record.alike import FEW
from playbooks.record.incident import Confidence, Severity, Status
from playbooks.record.journal import Event
from playbooks.record.step import Progress
from playbooks.strict import iso, now, parse_yaml
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.lab import scenes
from tests.lab.connected import connected
from tests.lab.fixtures import Lab
from tests.lab.house import ROOMY, House, alert, house
from tests.lab.mail import post_office
from tests.lab.paging import paged, told

ROOT = Path(__file__).parents[2]
ITEMS = 16
INVENTORY = world.READ
ASKING = ROOMY.model_copy(update={"classes": {IncidentClass.TOOL_POISONING: Mode.APPROVE}})
NEW = {
    "class": "tool_poisoning",
    "title": "seen",
    "entities": [{"kind": "tool", "name": "forecast", "server": "weather"}],
}


def test_what_is_said_to_be_covered_is_there() -> None:
    """Every test that the table names exists, and every one of the sixteen items has a test."""
    named = re.findall(r"(tests/\S+\.py)::(test_\w+)", __doc__)
    assert len(named) > ITEMS
    for file, test in named:
        assert test in _tests_of(ROOT / file), f"{file} has no {test}"
    here = " ".join(ast.get_docstring(node) or "" for node in _functions(Path(__file__)))
    told = {int(number) for number in re.findall(r"^\| (\d+)\. ", __doc__, re.MULTILINE)}
    told |= {int(number) for number in re.findall(r"(?:^|\s)(\d+)\. ", here)}
    assert told == set(range(1, ITEMS + 1))


def _functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def _tests_of(file: Path) -> set[str]:
    return {node.name for node in _functions(file)}


async def test_what_cannot_go_on_says_so_and_tries_again_by_itself(tmp_path: Path) -> None:
    """2. Critical events stuck in EXECUTING for days (Shuffle #979, #1435)."""
    # Nothing listens where its gateway should be.
    connections = connected(INVENTORY)
    try:
        async with house(tmp_path, connections) as made, made.changed(timing=scenes.FAST).responding():
            home = made.changed(timing=scenes.FAST)
            await home.receive(alert("weather", "forecast", severity="critical"))
            incident = await home.reaches(Status.NOT_ESTABLISHED)

            async def told() -> bool:
                pages = (await home.incident(incident.id)).pages.values()
                return any(page.kind == "not_established" and "NOT contained" in page.text for page in pages)

            await home.until(told, "people hear that it is not contained, and why")
            tries = await _tries(home, incident.id)

            async def again() -> bool:
                return await _tries(home, incident.id) > tries

            await home.until(again, "it is tried again with nobody's help")
            row = await home.journal.stream(PREFIX + incident.id)
            assert row is not None
            assert row.runnable_at is not None or row.owner is not None, "there is a next time"
    finally:
        await connections.aclose()


async def _tries(home: House, incident: str) -> int:
    steps = (await home.incident(incident)).steps.values()
    return sum(step.attempt for step in steps)


async def test_the_time_to_decide_that_runs_out_after_the_answer_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    """5. A timer that was left over resumes once more (Kestra #18507), or fails what was approved (Kestra #9319)."""
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path, policy=ASKING) as home:
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            name = (await home.reaches(Status.AWAITING_APPROVAL)).id
            cut = scenes.cut_of(lab, "get_weather")
            step = await scenes.proposed(home, name, cut)
        assert step.plan is not None
        # Asked and answered in time, and looked at by a responder only when that time is over.
        asked = next(e for e in reversed(await scenes.entries(home, name)) if e.kind == "proposed")
        late = Event("proposed", {**asked.body, "expires_at": iso(now() - timedelta(minutes=1))})
        answer = {"digest": step.plan.digest, "verb": "approve", "actor": "bob", "reason": "", "behalf": None}
        decided = Event("decided", {**answer, "way": "key", "receipt": ""}, "bob")

        async def unit(tx: Tx) -> None:
            await tx.append(PREFIX + name, [late, decided])
            await tx.make_runnable(PREFIX + name, lane=CUT)

        await home.journal.submit(unit)
        async with home.responding():
            await home.reaches(Status.CONTAINED, name)
            # Woken again and again, as by timers that nobody took back.
            for _ in range(3):
                await home.ask("ann", Verb.RESPOND, name, reason="look again")
                await scenes.taken_in(home)
            await home.settled(name)
        kinds = [entry.kind for entry in await scenes.entries(home, name)]
        assert kinds.count("intended") == 1
        assert "lapsed" not in kinds
        (state,) = [step for step in (await home.incident(name)).steps.values() if step.instance == cut]
        assert (state.progress, state.plan) == (Progress.ESTABLISHED, step.plan), "its parameters are what was approved"
        assert [path.endswith("/state") for _, path in lab.proxy.writes].count(True) == 1


@pytest.mark.parametrize("language", ["en", "ko"])
async def test_an_approver_is_asked_in_words_and_answers_in_words(tmp_path: Path, language: str) -> None:
    """6. Approvers see Resume and a boolean, not Approve and Reject (Kestra #19108)."""
    async with told_of_a_question(tmp_path, language) as messages:
        (asking,) = [said for said in messages if len(_CODES.findall(said)) >= 2]
    yes, no = {"en": ("Approve", "Deny"), "ko": ("승인", "거부")}[language]
    approve, deny = (re.search(rf"{word}[^\n]*\n?[^\n]*?({_CODES.pattern})", asking) for word in (yes, no))
    assert approve, asking
    assert deny, asking
    assert approve[1] != deny[1], "each answer has a code of its own"
    assert "mcp-soar approve" in asking
    assert "mcp-soar deny" in asking
    assert not re.search(r"\b(resume|continue|boolean)\b", asking, re.IGNORECASE)
    # What it is that one says yes to.
    assert world.plan().summary in asking
    assert world.plan().breaks in asking


async def test_no_message_holds_anything_that_decides_when_it_is_opened_or_prefetched(tmp_path: Path) -> None:
    """7. Mail scanners prefetch the links that approve (Activepieces #14026)."""
    async with told_of_a_question(tmp_path, "en", by=Way.EMAIL) as messages:
        whole = "\n".join(messages)
    assert "awaiting_approval" in whole, "the question is among them"
    assert not re.search(r"https?:|mailto:|\b(?:href|src|action)\s*=|<form|<img|<a\b|url\(", whole, re.IGNORECASE)


_CODES = re.compile(r"[0-9A-HJKMNP-TV-Z]{5}-[0-9A-HJKMNP-TV-Z]{5}")


class told_of_a_question:  # noqa: N801  # used as a function
    """Have bob told by a private way of an incident that asks him, and give what he was sent."""

    def __init__(self, folder: Path, language: str, *, by: Way = Way.FILE) -> None:
        self._folder, self._language, self._by, self._stack = folder, language, by, AsyncExitStack()

    async def __aenter__(self) -> list[str]:
        home = await self._stack.enter_async_context(house(self._folder / "house", connected(INVENTORY)))
        post = await self._stack.enter_async_context(post_office())
        box = self._folder / "to-bob"
        reached = {Way.FILE: {"file": str(box)}, Way.EMAIL: {"email": "bob@example.com"}}[self._by]
        mail = {"host": "127.0.0.1", "port": post.port, "security": "none", "sender": "soar@example.com"}
        contacts = Contacts.model_validate(
            {
                "channels": {"email": mail},
                "contacts": {"bob": {**reached, "language": self._language}},
                "on_call": [{"contact": "bob"}],
                "room": "bob",
            }
        )
        home = home.changed(contacts=contacts, channels=Channels(contacts))
        await home.ask("ann", Verb.RESPOND, "new", params=NEW)
        await home.take_in()
        await home.journal.append(PREFIX + world.ID, [world.proposed(requested_by="ann")])
        await paged(home)
        await told(home)
        written = [path.read_text(encoding="utf-8") for path in box.iterdir()] if box.exists() else []
        mailed = [
            str(part.get_content())
            for message in post.taken
            for part in message.walk()
            if part.get_content_maintype() == "text"
        ]
        return written + mailed

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()


def test_limits_are_on_where_nobody_wrote_any_and_hold_up_no_plan() -> None:
    """9. Limits off by default (Cloud Custodian #3641), and limits that keep a dry-run from showing (#6583)."""
    policy = Policy(version=1)
    for radius in (Radius.TOKEN, Radius.TOOL):
        assert policy.caps[radius].count <= 5
        assert policy.caps[radius].percent <= 20
    assert policy.spacing.at_most <= 10
    # What has no cap is not without limit: it is never automatic.
    assert set(policy.caps) == {Radius.TOKEN, Radius.TOOL}
    facts = Facts(
        incident_class=IncidentClass.TOOL_POISONING,
        severity=Severity.CRITICAL,
        confidence=Confidence.HIGH,
        authenticated=True,
        confirmed=True,
    )
    full = tuple(
        Reservation(incident=f"inc-{n}", target=f"gateway/main/tool/t-{n}", radius=Radius.TOOL, age=0.0)
        for n in range(100)
    )
    decision = decide(world.plan(), policy, facts, INVENTORY, full)
    assert decision.outcome is Outcome.NEEDS_APPROVAL, "the gate answers, and says why"
    assert any("allows" in reason for reason in decision.reasons)
    # Planning does not know of limits at all.
    for action in SYSTEMS.steps.values():
        if not issubclass(action, Action):
            continue
        assert list(inspect.signature(action.plan).parameters) == ["self", "world"], action.name


async def test_three_hundred_firings_are_one_incident_with_one_page(tmp_path: Path) -> None:
    """10. Settings against duplicates are ignored: 23,696 firings (Keep #4766)."""
    async with house(tmp_path, connected(INVENTORY)) as home:
        for _ in range(300):
            await home.receive(alert("weather", "forecast"))
        await home.take_in()
        (incident,) = await home.incidents()
        assert len(incident.alerts) == FEW, "the others are counted, and kept"
        assert len(await home.journal.told(PREFIX + incident.id, 0, 1e11, 999)) == 300
        pages = [page for page, _, _ in due(incident, tuple(Notice))]
        assert pages == ["opened"]
        assert await home.system("set_aside") == []


@pytest.mark.parametrize("field", ["on_success", "on_failure", "on_completion", "next", "if"])
def test_what_a_playbook_says_and_we_do_not_do_is_refused_by_name(field: str) -> None:
    """13. on_success and on_failure are accepted and ignored (SOARCA #220)."""
    import yaml  # noqa: PLC0415  # for this one

    playbook = shipped()[IncidentClass.TOOL_POISONING]
    said: dict[str, Any] = playbook.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    assert parse_yaml(Playbook, yaml.safe_dump(said), file="mine.yaml") == playbook
    for step in [step for steps in said["phases"].values() for step in steps]:
        step[field] = "cut-server"
    with pytest.raises(Misconfigured, match=f"{field}: is not a field here"):
        parse_yaml(Playbook, yaml.safe_dump(said), file="mine.yaml")


async def test_a_cut_that_fails_takes_back_no_other_one(lab: Lab, tmp_path: Path) -> None:
    """14. A partial failure lifted the quarantine (AWS Automated Forensics Orchestrator, isolateEc2.py)."""
    lab.victim.poison("get_weather", "get_forecast")
    broken = await scenes.held(lab, "get_forecast")
    assert broken is not None
    async with scenes.installation(lab, tmp_path) as home:
        lab.proxy.fails = f"{broken.id}/state"
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather", "get_forecast"))
            name = (await home.reaches(Status.NOT_ESTABLISHED)).id
            await scenes.established(home, name, scenes.cut_of(lab, "get_weather"))

            async def given_up_on() -> bool:
                return len([path for _, path in lab.proxy.writes if path.endswith(lab.proxy.fails)]) > 5

            await home.until(given_up_on, "the other one fails again and again")
            assert not await scenes.usable(lab, "get_weather", city="Seoul")
            whole = [path for _, path in lab.proxy.writes if path.endswith("/state") and broken.id not in path]
            assert len(whole) == 1, "what holds was written once and never back"
            lab.proxy.fails = "\n"
            await home.reaches(Status.CONTAINED, name)
            assert not await scenes.usable(lab, "get_weather", city="Seoul")
            assert not await scenes.usable(lab, "get_forecast", city="Seoul", days=1)
            kinds = {entry.kind for entry in await scenes.entries(home, name)}
            assert not kinds & {"release_intended", "released"}


def test_our_times_are_utc_wherever_the_machine_stands() -> None:
    """16. Local time was stamped Z, so that a revocation was hours off (libcloudforensics)."""
    script = (
        "import time; time.tzset(); from playbooks.strict import iso, now;"
        "from datetime import datetime;"
        "assert time.localtime().tm_gmtoff == 9 * 3600;"
        "print(iso(now()), iso(datetime.now().astimezone()), time.time())"
    )
    environment = {**os.environ, "TZ": "KST-9"}
    done = subprocess.run(  # noqa: S603  # this very interpreter
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *shown, seconds = done.stdout.split()
    moments = [datetime.fromisoformat(text).timestamp() for text in shown]
    assert all(text.endswith("Z") for text in shown)
    assert all(abs(one - two) < 60 for one, two in pairwise([*moments, float(seconds)]))
