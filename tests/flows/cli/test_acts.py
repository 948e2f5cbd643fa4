"""What people ask for, from the command line through the real intake to the answer."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from flows.cli.exits import Exit
from flows.engine.opening import CUT
from flows.engine.parts import Parts
from flows.service.access import open_journal
from integrations.gateways.actions import DisableTool
from integrations.journal.store import Tx
from integrations.signing import SigningKey
from playbooks.gate.plan import Beside, Irreversible, Unapproved
from playbooks.gate.policy import CHANGED
from playbooks.people.request import SignedRequest
from playbooks.record.journal import Event
from tests.flows.cli import world
from tests.flows.cli.world import ID, INSTANCE, Installation

UNDONE = "a release, which sets tool forecast of weather: enabled false → true"
NEW = ("respond", "--class", "tool_poisoning", "--server", "weather", "--tool", "forecast")


def engine(*events: Event, on: str) -> Any:  # noqa: ANN401  # a coroutine function
    """Play the engine: when a request for that verb was accepted, append these events."""
    done: set[str] = set()

    async def after(parts: Parts) -> None:
        for row in await parts.journal.streams("incident/"):
            for entry in (item.parsed() for item in await parts.journal.read(row.name)):
                asked = entry.kind == "request" and entry.body["verb"] == on and entry.body["accepted"]
                if asked and entry.body["nonce"] not in done:
                    done.add(entry.body["nonce"])
                    await parts.journal.append(row.name, events)

    return after


def contained(site: Installation) -> None:
    site.append(*(make() for make in world.CONTAINED))


def test_a_response_by_hand_is_opened_and_waited_for(site: Installation) -> None:
    with site.responder(engine(world.intended(), world.wrote(), world.verified(), on="respond")):
        act = site.json(*NEW, "--title", "seen by hand", "--as", "kim")
        again = site.error(*NEW, "--as", "kim", code=4)

    assert (act["incident"], act["state"], act["status"]) == (ID, "done", "contained")
    assert f"{ID} is open about that already" in again["message"]
    assert site.json("incident", "1")["requested_by"] == "kim"


def test_a_response_that_does_not_hold_says_so_and_exits_1(site: Installation) -> None:
    with site.responder():
        act = site.json(*NEW, "--as", "kim", "--wait", "4", code=1)
    assert (act["state"], act["status"]) == ("pending", "containing")
    assert act["answer"].startswith(f"mcp-soar incident {ID}")


def test_what_the_inventory_does_not_know_is_refused_with_the_reason(site: Installation) -> None:
    with site.responder():
        error = site.error("respond", "--class", "tool_poisoning", "--server", "nowhere", "--as", "kim", code=4)
    assert "the inventory does not know server nowhere" in error["message"]


def test_an_approval_is_bound_to_what_was_shown_and_waited_for(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    digest = world.plan().digest[7:19]
    with site.responder(engine(world.intended(), world.wrote(), world.verified(), on="approve")):
        result = site.run("approve", "1", "--yes", "--plan", digest, "--as", "lee")

    assert result.exit_code == 0, result.output
    assert "Take the tool forecast of weather away" in result.stdout
    assert "Nobody can use forecast." in result.stdout
    assert f"undone by {UNDONE}" in " ".join(result.stdout.split())
    assert "a probe confirmed it" in result.stdout
    assert site.json("incident", "1")["status"] == "contained"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, f"undone by {UNDONE}"),
        (
            {"wanted": world.plan().inverse(), "purpose": "release"},
            "undone by responding again, which sets tool forecast of weather: enabled true → false",
        ),
        (
            {"wanted": world.plan(irreversible=Irreversible(because="what is deleted is gone"))},
            "cannot be undone what is deleted is gone",
        ),
    ],
)
def test_what_is_asked_says_how_it_is_undone(site: Installation, more: dict[str, Any], said: str) -> None:
    site.append(world.opened(), world.alert(), world.proposed(**more))
    shown = " ".join(site.run("incident", "1").stdout.split())
    assert said in shown
    assert ("undone by" in shown) != ("cannot be undone" in shown)
    (ask,) = site.json("incident", "1")["asks"]
    assert bool(ask["undone"]) != bool(ask["irreversible"])


def test_an_approval_that_needs_more_people_says_how_many(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed(quorum=2))
    with site.responder():
        act = site.json("approve", "1", "--yes", "--as", "lee")
        twice = site.error("approve", "1", "--yes", "--as", "lee", code=4)
    assert act["state"] == "waiting"
    assert "1 more needed" in act["message"]
    assert "another person has to" in twice["message"]


def test_nobody_approves_unseen(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    assert "nobody approves unseen" in site.error("approve", "1", "--as", "lee", code=2)["message"]
    assert site.error("approve", "1", "--plan", "ffffffffffff", "--as", "lee", code=6)
    assert site.json("incident", "1")["asks"]


@pytest.mark.parametrize("option", ["--plan", "--digest"])
@pytest.mark.parametrize("digits", [0, 1, 4, 7])
def test_a_few_digits_tell_no_plan(site: Installation, option: str, digits: int) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    digest = world.plan().digest
    for verb in ("approve", "deny"):
        for given in (digest[7 : 7 + digits], digest[: 7 + digits]):
            error = site.error(verb, "1", option, given, "--yes", "--as", "lee", "--no-wait", code=2)
            assert "at least 8 digits" in error["message"]
            assert digest[7:19] in error["message"], "what waits is named as it is told"
    shown = site.run("approve", "1", option, digest[7:15], "--yes", "--as", "lee", "--no-wait", "--print")
    assert world.plan().summary in " ".join(shown.stderr.split()), "a beginning chooses, and what it means is shown"
    assert SignedRequest.model_validate_json(shown.stdout).request.digest == digest


def test_no_digest_says_yes_by_itself(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    for digest in (world.plan().digest[7:19], world.plan().digest):
        for option in ("--plan", "--digest"):
            error = site.error("approve", "1", option, digest, "--as", "lee", "--no-wait", code=2)
            assert "nobody approves unseen" in error["message"]


def test_a_denial_needs_no_approver(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    with site.responder():
        assert site.error("approve", "1", "--yes", "--as", "sam", code=4)["message"].startswith(
            "approve needs the role"
        )
        assert site.json("deny", "1", "--yes", "--as", "sam", "--reason", "planned")["state"] == "done"
    assert site.json("incident", "1")["asks"] == []


def test_a_release_shows_what_comes_back_and_waits_for_it(site: Installation) -> None:
    contained(site)
    with site.responder(engine(world.release_intended("sam"), world.released(), on="release")):
        result = site.run("release", "1", "--as", "sam", "--yes")
    assert result.exit_code == 0, result.output
    assert "enabled false → true" in " ".join(result.stdout.split())
    assert "released" in result.stdout
    assert site.json("incident", "1")["metrics"]["released_seconds"] > 0


def held_too(site: Installation, incident: str, lease: str) -> None:
    """Have another incident hold the tool that is contained, with its server."""

    async def work() -> None:
        journal = await open_journal(site.config, name="test", writing=True)
        grip = world.plan().changes[0].grip

        async def both(tx: Tx) -> None:
            for name, its in ((ID, INSTANCE), (incident, lease)):
                await tx.hold(grip, incident=name, lease=its, server="weather", before=True, after=False)

        try:
            await journal.submit(both)
        finally:
            await journal.aclose()

    asyncio.run(work())


def test_before_a_release_asks_it_says_what_stays_off_because_of_which_incident(site: Installation) -> None:
    other, whole = "inc-2026-000008", "cut-server@weather"
    contained(site)
    held_too(site, other, whole)
    result = site.run("release", "1", "--as", "sam", "--yes", "--print")
    said = " ".join(result.stderr.split())
    assert f"tool forecast of weather stays off, because {other} ({whole}) holds it too" in said, result.output
    assert "enabled false → true" not in said, "it does not come back"
    kept = {"kept": [world.plan().changes[0].grip], "kept_by": [other]}
    intent = world.release_intended("sam")
    release = (
        intent._replace(body={**intent.body, **kept}),
        world.released()._replace(body={**world.released().body, **kept, "writes": [], "verdict": None}),
    )
    with site.responder(engine(*release, on="release")):
        act = site.json("release", "1", "--as", "sam", "--yes")
    assert act["message"] == f"released: tool forecast of weather stays off, because {other} holds it too"
    timeline = str(site.json("incident", "1")["timeline"])
    assert f"stays off, because {other} holds it too" in timeline
    assert "gateway/main/" not in timeline


def test_a_release_that_needs_another_person_says_so(site: Installation) -> None:
    contained(site)
    asked = world.proposed(instance=f"release-{INSTANCE}", phase="recover", purpose="release", requested_by="sam")
    with site.responder(engine(asked, on="release")):
        act = site.json("release", "1", "--as", "sam", "--yes")
    assert act["state"] == "waiting"
    assert "another person" in act["message"]


def test_a_release_is_not_signed_unseen(site: Installation) -> None:
    contained(site)
    assert "nobody gives back unseen" in site.error("release", "1", "--as", "sam", code=2)["message"]
    assert '"verb": "release"' in site.run("release", "1", "--yes", "--as", "sam", "--print").stdout
    assert site.json("incident", "1")["leases"][0]["in_force"]


def test_a_release_that_is_asked_for_again_says_how_it_stands_now(site: Installation) -> None:
    """What was asked before this very request is old: the server may have been healed since."""
    contained(site)
    old = world.proposed(instance=f"release-{INSTANCE}", phase="recover", purpose="release", requested_by="sam")
    with site.responder(engine(Event("proposed", {**old.body, "reasons": ["a definition differs"]}), on="release")):
        assert "a definition differs" in site.json("release", "1", "--as", "sam", "--yes")["reasons"]
    with site.responder():
        again = site.json("release", "1", "--as", "sam", "--yes", "--wait", "1", code=1)
    assert again["state"] == "pending"
    assert again["reasons"] == []
    assert "looked at again" in again["message"]


def test_whoever_may_not_is_told_so_before_anything_is_shown(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed(requested_by="kim"))
    assert site.run("enroll", "ann", "--role", "auditor").exit_code == 0
    cases = {
        ("approve", "ann"): "approve needs the role approver; ann has auditor",
        ("deny", "ann"): "deny needs the role",
        ("approve", "kim"): "whoever asked for it cannot approve it",
        ("release", "ann"): "release needs the role",
    }
    for (verb, who), why in cases.items():
        result = site.run(verb, "1", "--yes", "--as", who)
        assert result.exit_code == 4, (verb, who, result.output)
        assert why in " ".join(result.stderr.split()), (verb, who)
        assert "forecast" not in result.stdout, (verb, who)
    # Whose key is not here is told that, whoever they are.
    (site.home / "mcp-soar" / "people" / "lee.key").unlink()
    result = site.run("approve", "1", "--yes", "--as", "lee")
    assert (result.exit_code, result.stdout) == (3, "")


def test_a_yes_that_was_given_already_is_refused_before_anything_is_shown(site: Installation) -> None:
    said = Event("decided", {"digest": world.plan().digest, "verb": "approve", "actor": "lee", "reason": "r"}, "lee")
    site.append(world.opened(), world.alert(), world.proposed(quorum=2), said)
    result = site.run("approve", "1", "--yes", "--as", "lee")
    assert result.exit_code == 4, result.output
    assert "forecast" not in result.stdout
    assert "you approved this plan already" in " ".join(result.stderr.split())


def test_where_nothing_waits_for_a_yes_it_says_what_goes_on(site: Installation) -> None:
    yes = Event("decided", {"digest": world.plan().digest, "verb": "approve", "actor": "lee", "reason": "r"}, "lee")
    site.append(world.opened(), world.alert())
    early = site.run("approve", "1", "--yes", "--as", "lee")
    assert early.exit_code == Exit.NOT_FOUND
    said = " ".join(early.stderr.split())
    assert said == (
        f"nothing waits: {ID} asks for no decision: it is containing; `mcp-soar incident {ID}` shows all of it"
    )
    site.append(world.proposed(), yes, world.intended(), world.wrote(), world.verified())
    late = " ".join(site.run("approve", "1", "--yes", "--as", "lee").stderr.split())
    assert "it is contained. It was asked about “Take the tool forecast of weather away" in late
    assert "lee said yes, and it is established" in late


def test_where_there_is_nothing_to_give_back_it_says_how_it_stands(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    said = site.run("release", "1", "--yes", "--as", "sam")
    assert said.exit_code == Exit.NOT_FOUND
    why = f"nothing of {ID} (cut awaits approval) is in force"
    assert " ".join(said.stderr.split()) == f"nothing to give back: {why}"


@pytest.mark.parametrize(
    ("kind", "said"),
    [("decided", "sam said no"), ("lapsed", "nobody answered in time, which is no")],
)
def test_where_nothing_waits_after_a_no_it_says_whose(site: Installation, kind: str, said: str) -> None:
    digest = world.plan().digest
    body = {"decided": {"digest": digest, "verb": "deny", "actor": "sam", "reason": "r"}}
    body["lapsed"] = {"instance": INSTANCE, "digest": digest, "why": "its time is over"}
    site.append(world.opened(), world.alert(), world.proposed(), Event(kind, body[kind], "sam"))
    assert said in site.error("approve", "1", "--yes", "--as", "lee", code=6)["message"]


def test_what_waits_for_another_person_comes_with_the_line_that_they_type(site: Installation) -> None:
    """Of kim, lee and sam only lee may: kim asked for it, and sam is no approver."""
    asked = world.proposed(requested_by="kim")
    line = f"mcp-soar approve {ID} --digest {world.plan().digest[7:19]} --as lee"
    with site.responder(engine(asked, on="respond")):
        shown = site.run(*NEW, "--as", "kim")
    assert shown.exit_code == 0, shown.output
    assert line in [one.strip() for one in shown.stdout.splitlines()], "alone, to be copied"
    assert "lee approves “Take the tool forecast" in " ".join(shown.stdout.split())
    site.append(world.proposed(requested_by="kim", quorum=2))
    with site.responder():
        act = site.json("approve", "1", "--yes", "--as", "lee")
    assert act["approve"] == [
        {"summary": world.plan().summary, "missing": 1, "by": [], "line": line.replace("lee", "NAME")}
    ]
    assert act["answer"] == f"mcp-soar incident {ID}"


def test_several_may_decide_and_nobody_may(site: Installation) -> None:
    for name in ("ann", "bob"):
        assert site.run("enroll", name, "--role", "approver").exit_code == 0
    with site.responder(engine(world.proposed(requested_by="kim"), on="respond")):
        some = " ".join(site.run(*NEW, "--as", "kim").stdout.split())
    assert "1 of ann, bob, lee approves “Take" in some
    assert f"mcp-soar approve {ID} --digest {world.plan().digest[7:19]} --as NAME" in some
    for name in ("ann", "bob", "lee"):
        assert site.run("unenroll", name).exit_code == 0
    site.append(world.proposed(requested_by="kim"))
    with site.responder():
        none = " ".join(site.run("respond", "1", "--as", "kim").stdout.split())
    assert "NOBODY who is enrolled may approve" in none


def test_a_release_of_what_is_still_poisoned_says_what_happens_once_it_is_healed(site: Installation) -> None:
    contained(site)
    asked = world.proposed(
        world.plan().inverse(), instance=f"release-{INSTANCE}", phase="recover", purpose="release", requested_by="sam",
        reasons=[CHANGED, "tool forecast at gateway main: differs"],
    )  # fmt: skip
    with site.responder(engine(asked, on="release")):
        shown = " ".join(site.run("release", "1", "--as", "sam", "--yes").stdout.split())
    assert "healed meanwhile, it is given back on your word alone, unless somebody denies it:" in shown
    alone = "it is given back on the word of sam alone; a no keeps it"
    assert alone in " ".join(site.run("incident", "1").stdout.split())
    assert alone in " ".join(site.run("report", "1").stdout.split())
    for language, words in (("en", alone), ("ko", "sam의 요청만으로 해제되며, 거부하면 해제되지 않음")):
        message = site.json("message", "show", "1", "--notice", "awaiting_approval", "--language", language)
        assert words in " ".join(str(message).split()), language
    other = {**asked.body, "reasons": ["giving back a server needs a second person"]}
    site.append(Event("proposed", other))
    assert alone not in " ".join(site.run("incident", "1").stdout.split())


def test_several_questions_are_a_list(site: Installation) -> None:
    other = world.proposed(world.plan(summary="Disable server weather"), instance="isolate-server@weather")
    site.append(world.opened(), world.alert(), world.proposed(), other)
    message = site.error("approve", "1", "--as", "lee", "--yes", code=2)["message"]
    first, *plans = message.split("\n")
    assert first.endswith("asks for more than one thing; say which:")
    assert [line.split()[0] for line in plans] == ["--digest", "--digest"]
    assert plans[1].endswith("Disable server weather")


def test_an_approval_does_not_repeat_what_went_wrong_before_it_was_asked(site: Installation) -> None:
    body = {"instance": INSTANCE, "phase": "cut", "action": "gateway.disable_tool", "epoch": 1, "attempt": 1}
    failed = {**body, "error": "Transient", "message": "our own confirmation came to no answer", "retry_at": None}
    site.append(world.opened(), world.alert(), Event("failed", failed), world.proposed())
    with site.responder():
        act = site.json("approve", "1", "--yes", "--as", "lee", "--wait", "1", code=1)
    assert act["state"] == "pending"
    assert "confirmation" not in act["message"]


def test_release_of_one_lease_and_of_none(site: Installation) -> None:
    contained(site)
    assert INSTANCE in site.error("release", "1", "--lease", "other", "--as", "sam", code=6)["message"]


def test_closing_says_how_it_ends_and_who_says_so_in_two_words(site: Installation) -> None:
    site.append(world.opened())
    with site.responder():
        assert site.json("close", "1", "--yes", "--outcome", "false-positive", "--as", "kim")["status"] == "closed"
        assert "never reopens" in site.error("close", "1", "--yes", "--as", "kim", code=4)["message"]
    assert site.json("incident", "1")["closed_as"] == "false-positive"
    assert "--outcome resolved" in site.error("close", "1", "--as", "resolved", code=2)["message"]
    assert (
        "resolved, false-positive, duplicate"
        in site.error("close", "1", "--outcome", "done", "--as", "kim", code=2)["message"]
    )
    assert site.error("close", "1", "--outcome", "duplicate", "--as", "kim", code=2)


def test_what_is_in_force_cannot_be_closed(site: Installation) -> None:
    contained(site)
    with site.responder():
        refused = site.run("close", "1", "--yes", "--as", "kim", env={"COLUMNS": "400"})
        assert refused.exit_code == Exit.REFUSED
        assert "still in force" in refused.stderr
        assert f"`mcp-soar release {ID} --as NAME` gives it back" in refused.stderr
        assert "closed for good" not in refused.output, "nothing is said to be done that is refused"
        site.append(world.proposed(purpose="release", instance=f"release-{world.INSTANCE}"))
        asked = site.error("close", "1", "--yes", "--as", "kim", code=4)["message"]
    assert f"waits for another person: `mcp-soar approve {ID} --as NAME`" in asked, "who asks to release it, has asked"


def test_stopping_takes_one_person_and_resuming_two(site: Installation) -> None:
    contained(site)
    with site.responder():
        assert site.json("stop", "server:weather", "--reason", "wrong server", "--as", "sam")["state"] == "done"
        shown = site.run("incident", "1").stdout
        first = site.json("resume", "server:weather", "--as", "kim")
        same = site.json("resume", "server:weather", "--as", "kim")
        assert "needs the role approver" in site.error("resume", "server:weather", "--as", "sam", code=4)["message"]
        second = site.json("resume", "server:weather", "--as", "lee")
        over = site.error("resume", "server:weather", "--as", "lee", code=4)
    assert "STOPPED server:weather by sam" in shown
    assert (first["state"], same["state"], second["state"]) == ("waiting", "waiting", "done")
    assert "a second person is needed" in first["message"]
    assert "is not stopped" in over["message"]


def test_a_stop_says_which_incidents_a_responder_has_in_hand(site: Installation) -> None:
    async def taken() -> None:
        journal = await open_journal(site.config, name="test", writing=True)
        await journal.submit(lambda tx: tx.make_runnable(f"incident/{ID}", lane=CUT))
        (claim,) = await journal.claim("another responder", lane=CUT, limit=1, seconds=60)
        assert claim.stream == f"incident/{ID}"
        await journal.aclose()

    site.append(world.opened())
    site.append(world.opened(key="other"), incident="inc-2026-000002")
    with site.responder():
        before = site.json("stop", "server:weather", "--reason", "look first", "--as", "sam")
        asyncio.run(taken())
        during = site.json("stop", "everything", "--reason", "look first", "--as", "sam")
    assert "in hand" not in before["message"]
    assert during["message"].endswith(f"A responder has these in hand, one call of each may still end: {ID}")


def test_a_stop_that_was_deleted_behind_everybodys_back_is_found(site: Installation) -> None:
    contained(site)
    with site.responder():
        site.json("stop", "everything", "--reason", "look first", "--as", "sam")
        assert site.json("verify")["ok"]
    with sqlite3.connect(site.folder / "state" / "journal.db") as database:
        database.execute("DELETE FROM entry WHERE stream = 'switches'")
        database.execute("DELETE FROM stream WHERE name = 'switches'")
    database.close()
    found = {check["check"]: check["message"] for check in site.json("verify", code=1)["checks"] if not check["ok"]}
    assert found.keys() == {"journal", "kill-switch"}
    assert "switches, entry 1: this entry was there" in found["kill-switch"]


def test_scopes_that_mean_nothing(site: Installation) -> None:
    contained(site)
    assert site.error("stop", "everywhere", "--reason", "x", "--as", "kim", code=2)
    assert site.error("stop", "server:nowhere", "--reason", "x", "--as", "kim", code=6)
    with site.responder():
        assert site.json("stop", "incident:1", "--reason", "x", "--as", "kim")["subject"] == f"incident:{ID}"


def test_a_request_nobody_answers_is_kept(site: Installation) -> None:
    contained(site)
    error = site.error("release", "1", "--as", "sam", "--yes", "--wait", "0.3", code=5)
    assert "kept and will be carried out" in error["message"]
    assert site.json("close", "1", "--yes", "--as", "sam", "--no-wait")["state"] == "handed_in"
    with site.responder(engine(world.release_intended("sam"), world.released(), on="release")):
        # One look may take in all of them: what is asked next means something only once what it held is given back.
        site.until(lambda: site.json("incident", "1")["status"] == "released", "the incident is released")
        assert "contains it again" in site.error("respond", "1", "--as", "sam", code=4)["message"]
    assert any("asks to release" in line["what"] for line in site.json("incident", "1")["timeline"])


def test_a_strangers_and_a_wrong_key_are_refused_by_the_responder(site: Installation, tmp_path: Path) -> None:
    contained(site)
    SigningKey.generate(tmp_path / "other.key")
    with site.responder():
        wrong = site.error("release", "1", "--as", "sam", "--yes", "--key", str(tmp_path / "other.key"), code=4)
        stranger = site.error("release", "1", "--as", "eve", "--yes", "--key", str(tmp_path / "other.key"), code=4)
    assert "not one of sam's enrolled key" in wrong["message"]
    assert "eve is not enrolled" in stranger["message"]


def test_who_and_with_which_key(site: Installation) -> None:
    contained(site)
    assert "--as NAME" in site.error("release", "1", code=2)["message"]
    assert "mcp-soar enroll eve" in site.error("release", "1", "--as", "eve", code=3)["message"]
    assert site.error("release", "1", "--as", "../eve", code=2)
    (site.home / "mcp-soar" / "people" / "sam.key").chmod(0o644)
    assert "chmod 600" in site.error("release", "1", "--as", "sam", "--yes", code=3)["message"]


def test_the_person_may_come_from_the_environment(site: Installation) -> None:
    contained(site)
    key = str(site.home / "mcp-soar" / "people" / "kim.key")
    result = site.run("close", "1", "--yes", "--no-wait", env={"MCP_SOAR_PERSON": "kim", "MCP_SOAR_KEY": key})
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "words",
    [
        ("respond", "--as", "kim"),
        ("respond", "1", "--class", "tool_poisoning", "--as", "kim"),
        ("respond", "1", "--server", "weather", "--as", "kim"),
        ("respond", "--class", "tool_poisoning", "--as", "kim"),
        ("stop", "everything", "--as", "kim"),
        ("release", "--as", "kim"),
        ("release", "1", "--nonsense"),
        ("nonsense",),
    ],
)
def test_what_is_not_understood_exits_2(site: Installation, words: tuple[str, ...]) -> None:
    contained(site)
    assert site.error(*words, code=2)["kind"] == "usage"
    plain = site.run(*words)
    assert plain.exit_code == 2
    assert plain.stderr


def test_who_accepts_what_comes_back_signs_for_the_definition_that_is_shown(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    contained(site)
    digest = "sha256:" + "0a" * 32

    async def read(*_: object) -> Unapproved:
        return Unapproved((Beside(kind="tool", name="forecast", id="id-1", digest=digest),))

    monkeypatch.setattr(DisableTool, "unapproved", read)
    result = site.run("release", "1", "--as", "sam", "--yes", "--print", "--accept-changed")
    assert "tool forecast comes back as it is now" in " ".join(result.stderr.split()), result.output
    signed = json.loads(result.stdout)
    params = json.loads(signed["payload"])["params"] if "payload" in signed else signed["request"]["params"]
    assert params["shown"] == [{"kind": "tool", "id": "id-1", "digest": digest}]


def test_who_cannot_be_shown_what_comes_back_signs_for_none_of_it(site: Installation) -> None:
    contained(site)
    result = site.run("release", "1", "--as", "sam", "--yes", "--print", "--accept-changed")
    assert "cannot be read here" in " ".join(result.stderr.split()), result.output
    assert SignedRequest.model_validate_json(result.stdout).request.params["shown"] == []


def test_an_approval_that_a_stop_holds_up_says_so_and_waits_for_nothing(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    with site.responder():
        site.json("stop", "server:weather", "--reason", "the wrong estate", "--as", "kim")
        said = " ".join(site.run("approve", "1", "--as", "lee", "--wait", "0").output.split())
        act = site.json("approve", "1", "--as", "lee", "--yes", "--wait", "200")
    assert "if you approve nothing of it is carried out while server:weather is stopped" in said
    assert act["state"] == "waiting"
    assert act["message"].startswith("approved; nothing of it is carried out")
    assert "while server:weather is stopped, by kim: the wrong estate" in act["message"]
    assert "`mcp-soar resume server:weather`" in act["message"]
