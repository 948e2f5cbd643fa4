"""A campaign at the command line: all that it asks is shown, and answered once, and nothing that was not shown."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.engine import campaigns
from flows.engine.case import PREFIX
from flows.service.access import open_journal
from integrations.gateways.actions import DisableTool
from integrations.journal.store import Tx
from playbooks.gate.plan import Beside, Unapproved
from playbooks.people.request import SignedRequest, Verb
from playbooks.record.campaign import Mark, Shared
from playbooks.record.journal import CAMPAIGN
from tests.flows.cli import world
from tests.flows.cli.test_away import Laptop, handed_in, laptop
from tests.flows.cli.world import ID, INSTANCE, Installation

__all__ = ["laptop"]
OTHER = "inc-2026-000002"
CAM = "cam-2026-000001"
MARK = Mark(Shared.PRINCIPAL, "agent")
SUMMARIES = {ID: "Take away the tool forecast.", OTHER: "Take away the tool of another server."}


@pytest.fixture
def both(site: Installation) -> Installation:
    """Two incidents at two servers that share a principal, each with a plan that waits."""
    for name, summary in SUMMARIES.items():
        site.append(world.opened(), world.alert(), world.proposed(world.plan(summary)), incident=name)
    joined(site)
    return site


BOTH = ((ID, "weather"), (OTHER, "mail"))


def joined(site: Installation, among: Sequence[tuple[str, str]] = BOTH) -> None:
    async def work() -> None:
        journal = await open_journal(site.config, name="test", writing=True)

        async def unit(tx: Tx) -> None:
            for name, server in among:
                await campaigns.take(tx, f"{PREFIX}{name}", [MARK], [server])

        try:
            await journal.submit(unit)
        finally:
            await journal.aclose()

    asyncio.run(work())


def entries(site: Installation, stream: str, kind: str) -> list[dict[str, object]]:
    async def work() -> list[dict[str, object]]:
        journal = await open_journal(site.config, name="test", writing=False)
        try:
            found = [entry.parsed() for entry in await journal.read(stream)]
        finally:
            await journal.aclose()
        return [entry.body for entry in found if entry.kind == kind]

    return asyncio.run(work())


def test_it_is_listed_and_stands_in_each_of_its_incidents(both: Installation) -> None:
    (row,) = both.json("campaign")["campaigns"]
    assert row == {"id": CAM, "kind": "principal", "value": "agent", "incidents": [ID, OTHER]}
    assert {tuple(one["campaigns"]) for one in both.json("incidents")["incidents"]} == {(CAM,)}
    part = {"campaign": CAM, "kind": "principal", "value": "agent", "others": [OTHER]}
    assert both.json("incident", "1")["campaigns"] == [part]
    assert f"part of campaign {CAM}" in both.run("incidents").stdout
    assert f"{CAM}: principal agent, as in {OTHER}" in " ".join(both.run("incident", "1").stdout.split())
    assert f"{CAM}: principal agent" in both.run("report", "1").stdout


def test_what_is_at_one_server_is_not_said_to_be_at_several(site: Installation) -> None:
    site.append(world.opened(), world.alert())
    joined(site, BOTH[:1])
    text = " ".join(site.run("campaign", CAM).stdout.split())
    assert f"{CAM} the same principal agent is no campaign yet" in text
    assert "several servers" not in text
    assert site.json("campaign")["campaigns"] == []


def test_all_that_it_asks_is_shown_with_the_one_command_that_answers_it(both: Installation) -> None:
    shown = both.json("campaign", "cam-1")
    assert [one["incident"] for one in shown["asks"]] == [ID, OTHER]
    assert [one["summary"] for one in shown["asks"]] == list(SUMMARIES.values())
    text = " ".join(both.run("campaign", CAM).stdout.split())
    for summary, one in zip(SUMMARIES.values(), shown["asks"], strict=True):
        assert summary in text
        assert one["digest"] in text
    for verb in ("approve", "deny", "suppress"):
        assert f"mcp-soar {verb} {CAM}" in text
    assert f"mcp-soar release {CAM}" not in text, "nothing is in force"


@pytest.mark.parametrize("verb", ["approve", "deny"])
def test_one_yes_signs_for_each_plan_that_was_shown(both: Installation, verb: str) -> None:
    shown = both.json("campaign", CAM)
    with both.responder():
        act = both.json(verb, "cam-1", "--as", "lee", "--yes")
    assert (act["state"], act["subject"]) == ("done", CAM)
    assert act["message"] == f"accepted for {ID}, {OTHER}"
    for one in shown["asks"]:
        (decided,) = entries(both, f"{PREFIX}{one['incident']}", "decided")
        assert (decided["digest"], decided["verb"], decided["actor"]) == (one["digest"], verb, "lee")


def test_what_is_printed_names_each_plan_by_its_whole_digest(both: Installation) -> None:
    asks = both.json("campaign", CAM)["asks"]
    printed = both.run("approve", CAM, "--as", "lee", "--yes", "--print")
    request = SignedRequest.model_validate_json(printed.stdout.strip()).request
    assert (request.verb, request.subject, request.digest) == (Verb.APPROVE, CAM, None)
    assert request.params["items"] == [{"incident": one["incident"], "digest": one["digest"]} for one in asks]
    for summary in SUMMARIES.values():
        assert summary in printed.stderr, "nobody signs for what was not shown"


def test_nobody_answers_unseen_and_what_is_meant_alone_is_answered_alone(both: Installation) -> None:
    assert "nobody answers for 2 unseen" in both.error("approve", CAM, "--as", "lee", code=2)["message"]
    error = both.error("approve", CAM, "--digest", "0" * 12, "--as", "lee", "--yes", code=2)
    assert "answered as a whole" in error["message"]
    assert "no campaign cam-9" in both.error("deny", "cam-9", "--as", "lee", "--yes", code=6)["message"]
    assert entries(both, f"{CAMPAIGN}{CAM}", "request") == []


def test_what_its_person_asked_for_is_left_out_and_said(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed(world.plan(SUMMARIES[ID])))
    theirs = world.proposed(world.plan(SUMMARIES[OTHER]), requested_by="lee")
    site.append(world.opened(), world.alert(), theirs, incident=OTHER)
    joined(site)
    with site.responder():
        ran = site.run("approve", CAM, "--as", "lee", "--yes")
    assert ran.exit_code == 0, ran.output
    assert f"left out: {OTHER}" in ran.stdout
    assert SUMMARIES[OTHER] not in ran.stdout
    assert [len(entries(site, f"{PREFIX}{name}", "decided")) for name in (ID, OTHER)] == [1, 0]


def test_what_all_of_them_hold_is_given_back_at_once(site: Installation) -> None:
    for name in (ID, OTHER):
        site.append(*(make() for make in world.CONTAINED), incident=name)
    joined(site)
    assert f"mcp-soar release {CAM}" in site.run("campaign", CAM).stdout
    with site.responder():
        act = site.json("release", CAM, "--as", "kim", "--yes", "--reason", "clean again")
    assert act["message"] == f"accepted for {ID}, {OTHER}"
    for name in (ID, OTHER):
        (request,) = entries(site, f"{PREFIX}{name}", "request")
        assert (request["verb"], request["params"]) == ("release", {"campaign": CAM, "lease": INSTANCE})


def released_that_wait(site: Installation) -> Beside:
    """Have two incidents of a campaign asked about a release by which something comes back that nobody approved."""
    thing = Beside(kind="tool", name="forecast", id="t-42", digest="sha256:" + "0a" * 32)
    undo = world.plan().inverse()
    undo = undo.model_copy(update={"params": {**undo.params, "unapproved": [thing.model_dump(mode="json")]}})
    asked = world.proposed(undo, requested_by="kim", instance=f"release-{INSTANCE}", purpose="release")
    for name in (ID, OTHER):
        site.append(*(make() for make in world.CONTAINED), asked, incident=name)
    joined(site)
    return thing


def test_what_nobody_approved_is_accepted_of_each_as_it_was_shown(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (ID, OTHER):
        site.append(*(make() for make in world.CONTAINED), incident=name)
    joined(site)
    thing = Beside(kind="tool", name="forecast", id="t-42", digest="sha256:" + "0a" * 32)

    async def read(*_: object) -> Unapproved:
        return Unapproved((thing,))

    monkeypatch.setattr(DisableTool, "unapproved", read)
    with site.responder():
        ran = site.run("release", CAM, "--accept-changed", "--as", "kim", "--yes", "--reason", "it may differ")
    assert ran.exit_code == 0, ran.output
    assert " ".join(ran.stdout.split()).count("tool forecast comes back as it is now") == 2
    seen = [{"kind": "tool", "id": thing.id, "digest": thing.digest}]
    for name in (ID, OTHER):
        (request,) = entries(site, f"{PREFIX}{name}", "request")
        assert request["params"] == {"campaign": CAM, "lease": INSTANCE, "accept_changed": True, "shown": seen}


def test_what_of_a_campaign_cannot_be_read_is_accepted_by_nobody(site: Installation) -> None:
    for name in (ID, OTHER):
        site.append(*(make() for make in world.CONTAINED), incident=name)
    joined(site)
    printed = site.run("release", CAM, "--accept-changed", "--as", "kim", "--yes", "--print")
    assert "cannot be read here" in " ".join(printed.stderr.split())
    params = SignedRequest.model_validate_json(printed.stdout.strip()).request.params
    items = [{"incident": name, "lease": INSTANCE, "shown": []} for name in (ID, OTHER)]
    assert params == {"accept_changed": True, "items": items}


def test_on_ones_own_machine_all_of_it_is_given_back_as_the_file_shows_it(
    site: Installation, laptop: Laptop, tmp_path: Path
) -> None:
    thing = released_that_wait(site)
    (laptop.home / "cam.json").write_text(site.run("campaign", CAM, "--json").stdout)
    words = ("release", "cam-1", "--accept-changed", "--yes", "--as", "lee", "--print")
    result = laptop.run(*words, "--plan", "cam.json")
    assert result.exit_code == 0, (result.output, result.exception)
    assert " ".join(result.stderr.split()).count("tool forecast comes back as it is now") == 2
    request = SignedRequest.model_validate_json(result.stdout).request
    seen = [{"kind": "tool", "id": thing.id, "digest": thing.digest}]
    items = [{"incident": name, "lease": INSTANCE, "shown": seen} for name in (ID, OTHER)]
    assert (request.subject, request.params) == (CAM, {"accept_changed": True, "items": items})
    act = handed_in(site, SignedRequest.model_validate_json(result.stdout), tmp_path)
    assert (act["state"], act["subject"]) == ("done", CAM)
    without = laptop.run(*words)
    assert (without.exit_code, without.stdout) == (2, "")
    assert "mcp-soar campaign cam-1 --json" in " ".join(without.stderr.split())
    plain = laptop.run("release", CAM, "--yes", "--as", "lee", "--print", "--plan", "cam.json")
    items = [{"incident": name, "lease": INSTANCE} for name in (ID, OTHER)]
    assert SignedRequest.model_validate_json(plain.stdout).request.params == {"items": items}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda it: it.update(leases=[]), "holds nothing"),
        (lambda it: it["leases"][0].update(incident="x"), "does not say which incident"),
        (lambda it: it["leases"][0].pop("lease"), "does not say which incident"),
        (lambda it: it.pop("leases"), "is not what"),
        (lambda it: it["asks"][0]["plan"].update(summary="Something else."), "was changed, or another release"),
    ],
    ids=["nothing", "no incident", "no lease", "no leases", "another plan"],
)
def test_a_file_that_does_not_say_what_is_held_releases_nothing(
    site: Installation, laptop: Laptop, change: Callable[[Any], None], says: str
) -> None:
    released_that_wait(site)
    document = site.json("campaign", CAM)
    change(document)
    (laptop.home / "cam.json").write_text(json.dumps(document))
    words = ("release", CAM, "--accept-changed", "--yes", "--as", "lee", "--print", "--plan", "cam.json")
    result = laptop.run(*words)
    assert (result.exit_code != 0, result.stdout) == (True, "")
    assert says in " ".join(result.stderr.split())


def test_its_rules_are_suppressed_each_under_its_own_signature(both: Installation) -> None:
    with both.responder():
        act = both.json("suppress", CAM, "--for", "2h", "--reason", "tuning", "--as", "kim", "--yes")
        again = both.json("suppressions")["suppressions"]
    assert act["subject"] == CAM
    assert [one["scope"] for one in again] == ["rule:generic/Tool description changed"]


def test_the_json_of_one_and_of_all_are_documents(both: Installation) -> None:
    for words in (("campaign",), ("campaign", CAM)):
        assert isinstance(json.loads(both.run(*words, "--json").stdout), dict)
    assert both.error("campaign", "cam-7", code=6)["message"].startswith("there is no campaign cam-7")


def test_on_ones_own_machine_each_plan_is_read_from_the_file_and_counts_here(
    both: Installation, laptop: Laptop, tmp_path: Path
) -> None:
    written = both.run("campaign", CAM, "--json").stdout
    (laptop.home / "cam.json").write_text(written)
    result = laptop.run("approve", "cam-1", "--plan", "cam.json", "--yes", "--as", "lee", "--print")
    assert result.exit_code == 0, (result.output, result.exception)
    for summary in SUMMARIES.values():
        assert summary in result.stderr
    request = SignedRequest.model_validate_json(result.stdout)
    act = handed_in(both, request, tmp_path)
    assert (act["state"], act["subject"]) == ("done", CAM)
    assert [len(entries(both, f"{PREFIX}{name}", "decided")) for name in SUMMARIES] == [1, 1]


@pytest.mark.parametrize(
    ("change", "given", "says"),
    [
        (
            lambda it: it["asks"][1]["plan"].update(summary="Something else."),
            "cam-1",
            "was changed, or another release",
        ),
        (lambda it: it["asks"][1].update(incident="x"), "cam-1", "does not say which incident"),
        (lambda it: it.update(asks=[]), "cam-1", "asked for nothing"),
        (lambda it: it.update(id="inc-2026-000001"), "cam-1", "is about 'inc-2026-000001'"),
        (lambda it: it.copy(), "cam-2", "is about 'cam-2026-000001', and you wrote"),
    ],
    ids=["another plan", "no incident", "nothing", "an incident's", "another one's"],
)
def test_a_file_that_is_not_of_that_campaign_signs_nothing(
    both: Installation, laptop: Laptop, change: Callable[[Any], None], given: str, says: str
) -> None:
    document = both.json("campaign", CAM)
    change(document)
    (laptop.home / "cam.json").write_text(json.dumps(document))
    result = laptop.run("deny", given, "--plan", "cam.json", "--yes", "--as", "lee", "--print")
    assert result.exit_code != 0
    assert result.stdout == ""
    assert says in " ".join(result.stderr.split())


def test_without_the_file_nothing_is_signed(both: Installation, laptop: Laptop) -> None:
    result = laptop.run("approve", CAM, "--yes", "--as", "lee", "--print")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"mcp-soar campaign {CAM} --json" in " ".join(result.stderr.split())
    assert both.json("campaign", CAM)["asks"]
