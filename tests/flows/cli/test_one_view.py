"""Whoever shows an incident says what the one model says, and nothing else: whatever that says, all of them say it."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.pages.pages import overview
from flows.report.handover import Shift, handover
from flows.report.incident import report
from flows.report.written import markdown
from playbooks import advisories
from playbooks.gate.plan import Answer
from playbooks.people import duties
from playbooks.people.briefing import brief
from playbooks.people.contacts import Language
from playbooks.people.rendering import render
from playbooks.playbook import shipped
from playbooks.record import viewing
from playbooks.record.campaign import Shared
from playbooks.record.incident import Severity, Status
from playbooks.record.proof import Fact
from playbooks.record.view import Lost, Shares, View
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation
from tests.lab import stories

SHOWN_BY = ("flows.cli.work.records", "flows.report.incident", "flows.report.handover", "flows.pages.publishing",
            "playbooks.people.briefing")  # fmt: skip
UNTIL = datetime(2031, 2, 3, 4, 5, tzinfo=UTC)
ENDS = datetime(2032, 3, 4, 5, 6, tzinfo=UTC)
DUE = datetime(2033, 4, 5, 6, 7, tzinfo=UTC)
HOLE = next(iter(advisories.load().values())).model_copy(update={"does": "a marked hole"})


def fact(observed: str, answer: Answer) -> Fact:
    return Fact(check="call", subject="marked", asked_as="canary", observed=observed, answer=answer)


def otherwise(it: View) -> View:
    """Return what the journal says nothing of: whoever shows it took it from the model."""
    (ask,), (lease,), duty = it.asks, it.leases, it.clocks[0]
    clock = duty.clock.model_copy(update={"due": DUE, "law": dict.fromkeys(Language, "a marked law")})
    return it.model_copy(
        update={
            "status": Status.NOT_ESTABLISHED,
            "severity": Severity.CRITICAL,
            "title": "a marked title",
            "about": "a marked thing",
            "entities": ("a marked thing",),
            "not_proven": (fact("a marked doubt", Answer.UNKNOWN),),
            "proven": (fact("a marked proof", Answer.ESTABLISHED),),
            "asks": (
                ask.model_copy(
                    update={
                        "summary": "A marked plan", "reasons": ("a marked reason",), "requested_by": "marius",
                        "quorum": 9, "missing": 7, "expires_at": UNTIL,
                        "changes": ("a change",), "undone": ("a return",),
                    }
                ),
            ),
            "leases": (
                lease.model_copy(
                    update={
                        "instance": "cut@marked", "summary": "A marked cut", "answer": Answer.UNKNOWN, "until": ENDS,
                    }
                ),
            ),
            "clocks": (duty.model_copy(update={"law": "a marked law", "until": DUE, "clock": clock}),),
            "campaigns": (Shares(campaign="cam-1", kind=Shared.TEXT, value="a marked text", others=("inc-9",)),),
            "advisories": (HOLE,),
            "untold": (Lost(page="p", text="a marked page", since=UNTIL),),
        }
    )  # fmt: skip


COMMON = ("a marked thing", "a marked doubt", "A marked plan", "7 of 9", "2031-02-03 04:05", "2032-03-04 05:06",
          "marius")  # fmt: skip
"""What each of them says: about what, what is not proven, what waits for whom until when, how long it is held."""

ALSO = {
    "command line": ("a marked text", "a marked hole",
                     "NOT CONTAINED", "a marked title", "a marked reason", "cut@marked", "unknown", "a marked law",
                     "2033-04-05 06:07", "a marked page"),
    "JSON": ("a marked text", "a marked hole",
             "not_established", "a marked title", "a marked reason", "a marked proof", "cut@marked", "unknown",
             "a marked law", "2033-04-05 06:07", "a marked page"),
    "message": ("a marked text",
                "NOT contained", "a marked title", "a marked reason", "a marked proof", "A marked cut",
                "could not be verified", "a marked law", "2033-04-05 06:07", "a marked page"),
    "Prefect": ("a marked text", "a marked hole",
                "NOT contained", "a marked title", "a marked reason", "A marked cut", "unknown"),
    "report": ("NOT contained", "a marked proof", "cut@marked", "unknown", "a marked law", "2033-04-05 06:07",
               "a marked page"),
    "handover": ("NOT contained", "a marked reason", "cut@marked", "unknown", "a marked law", "2033-04-05 06:07",
                 "a marked page"),
}  # fmt: skip
"""And what else there is room for."""

UNSAID = ("Take the tool", "tool forecast of weather", "Tool not found")
"""Words of the journal's own, of which the model says nothing any more."""


@pytest.fixture
def shown(site: Installation, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """How one journal is shown everywhere, by a model that says otherwise."""
    other = world.proposed(world.plan("Take the tool add away."), instance="cut-tool@weather/add", quorum=2)
    events = [*(make() for make in world.CONTAINED), other]
    (site.folder / "inventory.yaml").write_text(world.BOUND, encoding="utf-8")
    site.append(*events)
    state, at = stories.told([(float(n), event) for n, event in enumerate(events)], ID), stories.at(60)
    inventory = site.config.inventory
    clocks = duties.clocks(state, inventory, duties.load(), at)

    def marked(*args: Any, **more: Any) -> View:  # noqa: ANN401  # those of `view`
        return otherwise(viewing.view(*args, **{"clocks": clocks, **more}))

    for module in SHOWN_BY:
        monkeypatch.setattr(f"{module}.view", marked)
    shift = Shift(at=at, since=timedelta(hours=1), states=[state], playbooks=shipped(), clocks={ID: clocks})
    whole = report(state, [], at=at, clocks=clocks)
    ends = [one for one in whole.sections if one.title == "Open ends"]
    page = site.run("incident", "1").stdout.partition("Timeline (UTC)")[0]
    document = site.json("incident", "1")
    del document["timeline"], document["steps"], document["asks"][0]["plan"], document["leases"][0]["changes"]
    return {
        "command line": page,
        "JSON": json.dumps(document),
        "message": render(brief(state, inventory=inventory, at=at, clocks=clocks)).text,
        "Prefect": overview(marked(state), ()).partition("## What happened")[0],
        "report": markdown(whole._replace(sections=ends)),
        "handover": markdown(handover(shift)).partition("What changed")[0],
    }


@pytest.mark.parametrize("where", ALSO)
def test_everybody_says_what_the_model_says(where: str, shown: dict[str, str]) -> None:
    text = re.sub(r"(?<=\d)T(?=\d)", " ", " ".join(shown[where].replace("\\", "").split()))
    text = text.replace('"quorum": 9, "approved_by": [], "missing": 7', "7 of 9")
    missing = [words for words in (*COMMON, *ALSO[where]) if words not in text]
    assert not missing, text
    assert not [words for words in UNSAID if words in text], text


KEYS = frozenset(
    [
        "id",
        "class",
        "severity",
        "status",
        "title",
        "servers",
        "entities",
        "unresolved",
        "repeats",
        "advisories",
        "opened_at",
        "closed_at",
        "closed_as",
        "duplicate_of",
        "assigned_to",
        "legal_hold",
        "notes",
        "fulfilled",
        "clocks",
        "not_proven",
        "differences",
        "checks",
        "refused",
        "triage",
        "frozen",
        "requested_by",
        "wishes",
        "chosen",
        "linked",
        "continued_in",
        "parts",
        "part_of",
        "playbook",
        "goals",
        "metrics",
        "asks",
        "leases",
        "steps",
        "exhibits",
        "unavailable",
        "tasks",
        "stops",
        "untold",
        "timeline",
        "bundle",
        "bundle_digest",
    ]
)
ASKS = frozenset(
    [
        "instance",
        "digest",
        "plan",
        "summary",
        "changes",
        "reasons",
        "diffs",
        "breaks",
        "undone",
        "irreversible",
        "differs",
        "purpose",
        "quorum",
        "approved_by",
        "requested_by",
        "reason",
        "expires_at",
        "approve",
        "deny",
    ]
)
LEASES = frozenset(
    [
        "incident",
        "lease",
        "summary",
        "changes",
        "in_force",
        "began_at",
        "done_at",
        "opened_at",
        "until",
        "requested_by",
        "verdict",
        "checked_at",
        "age",
        "put_backs",
        "releasing",
        "released_at",
        "released_by",
        "release",
    ]
)
"""What the first release's JSON had: keys are added to, and not taken away."""


def test_json_has_every_key_that_it_had() -> None:
    other = world.proposed(world.plan("Take the tool add away."), instance="cut-tool@weather/add")
    events = [*(make() for make in world.CONTAINED), other]
    document = viewing.view(stories.told([(float(n), event) for n, event in enumerate(events)], ID)).dump()
    assert document.keys() >= KEYS
    assert document["asks"][0].keys() >= ASKS
    assert document["leases"][0].keys() >= LEASES
    # Every answer has these for the whole installation.
    assert not document.keys() & {"undelivered", "suppressions"}
