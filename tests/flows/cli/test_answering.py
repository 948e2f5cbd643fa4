"""`ack`, `answer` and `delegate`: what is left to type when Slack is down, through the real intake to the answer."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.cli.work import records
from integrations.signing import SigningKey
from playbooks.people import code
from playbooks.people.code import TRIES
from playbooks.record.journal import ITSELF, Event, stream_of
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.strict import iso, now
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation

WRONG = "00000-00000"


def issued(site: Installation, who: str, answer: str) -> str:
    """Have a code for the plan that waits journalled, as the telling lane does, and return it."""
    made, salt = code.new(), bytes(16)
    body = {
        "digest": world.plan().digest,
        "approver": who,
        "answer": answer,
        "salt": salt.hex(),
        "hash": code.hashed(made, salt),
        "expires_at": iso(now() + timedelta(minutes=15)),
    }
    site.append(Event("code_issued", body))
    return made


def whats(site: Installation) -> list[str]:
    """Return what the incident's timeline says happened."""
    return [line["what"] for line in site.json("incident", "1")["timeline"]]


# ack


def test_a_page_is_taken_up_by_whoever_is_enrolled(site: Installation, tmp_path: Path) -> None:
    site.append(world.opened(), Event("page", {"id": "opened", "notice": "opened", "text": "Opened."}))
    SigningKey.generate(tmp_path / "eve.key")
    with site.responder():
        stranger = site.error("ack", "1", "--as", "eve", "--key", str(tmp_path / "eve.key"), code=4)
        before = whats(site)
        act = site.json("ack", "1", "--as", "sam")
    assert "eve is not enrolled" in stranger["message"]
    assert not any("acknowledged" in what for what in before)
    assert (act["incident"], act["state"]) == (ID, "done")
    assert act["message"] == "acknowledged: nobody else is paged for it"
    assert whats(site)[-1] == "sam acknowledged 1 pages, by key"
    assert site.error("ack", "9", "--as", "sam", code=6)


def test_the_pages_of_the_installation_are_taken_up_under_its_own_name(site: Installation) -> None:
    site.append(world.opened())

    async def itself() -> Incident:
        async with records.opened(site.config) as journal:
            return project(ITSELF, await journal.read(stream_of(ITSELF)))

    with site.responder():
        site.json("stop", "everything", "--reason", "look first", "--as", "kim")
        act = site.json("ack", "system", "--as", "lee")
    assert (act["subject"], act["incident"], act["state"]) == ("system", None, "done")
    state = asyncio.run(itself())
    assert state.acknowledged == dict.fromkeys(state.pages, "lee")
    assert [page.kind for page in state.pages.values()] == ["stopped"]


# answer


@pytest.mark.parametrize("meant", ["approve", "deny"])
def test_a_code_from_standard_input_decides(site: Installation, meant: str) -> None:
    site.append(world.opened(), world.alert(), world.proposed(quorum=2))
    typed = issued(site, "lee", meant)
    with site.responder():
        # As the message with the codes writes it.
        line = ("answer", ID, "--digest", world.plan().digest[7:19], "--as", "lee")
        result = site.run(*line, text=f"{typed}\n")
    said = " ".join(result.stdout.split())
    assert result.exit_code == 0, result.output
    assert world.plan().summary in said
    assert f"{meant} counts for plan {world.plan().digest[7:19]}" in said
    assert typed not in result.output
    asks = site.json("incident", "1")["asks"]
    assert [ask["approved_by"] for ask in asks] == ([["lee"]] if meant == "approve" else [])


def test_a_wrong_code_says_how_many_tries_are_left_and_decides_nothing(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    issued(site, "lee", "approve")
    with site.responder():
        for left in range(TRIES - 1, TRIES - 3, -1):
            result = site.run("answer", "1", "--as", "lee", "--json", text=WRONG)
            error: dict[str, Any] = json.loads(result.stderr)["error"]
            assert (result.exit_code, error["code"], result.stdout) == (4, 4, "")
            assert f"{left} more tries" in error["message"]
            assert WRONG not in result.output
    assert site.json("incident", "1")["asks"][0]["approved_by"] == []


def test_a_code_is_kept_until_a_responder_runs(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed(quorum=2))
    typed = issued(site, "lee", "approve")
    handed_in = site.run("answer", "1", "--as", "lee", "--no-wait", "--json", text=typed)
    assert json.loads(handed_in.stdout)["state"] == "handed_in"
    assert site.json("incident", "1")["asks"][0]["approved_by"] == []
    with site.responder():
        # A person's request is judged after what came before it.
        site.json("note", "1", "a mark", "--as", "kim")
    assert site.json("incident", "1")["asks"][0]["approved_by"] == ["lee"]


def test_a_code_cannot_be_written_on_the_command_line(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    typed = issued(site, "lee", "approve")
    assert site.error("answer", "1", typed, "--as", "lee", code=2)
    assert site.error("answer", "1", "--code", typed, "--as", "lee", code=2)
    assert "--as NAME" in site.error("answer", "1", code=2)["message"]
    nothing = site.run("answer", "1", "--as", "lee", text="\n")
    assert (nothing.exit_code, "ten characters" in nothing.stderr) == (2, True)


# delegate


def test_a_voice_is_lent_and_taken_back(site: Installation) -> None:
    def speaks_for() -> list[str]:
        people = {row["name"]: row["speaks_for"] for row in site.json("people")["people"]}
        return [one["name"] for one in people["sam"]]

    site.append(world.opened(), world.alert(), world.proposed())
    with site.responder():
        lent = site.json("delegate", "sam", "--for", "8h", "--as", "lee", "--reason", "on a flight")
        during = speaks_for()
        ended = site.json("delegate", "sam", "--end", "--as", "lee")
        refused = site.error("approve", "1", "--yes", "--as", "sam", code=4)
    assert during == ["lee"]
    assert lent["message"].startswith("sam may approve with lee's voice until ")
    assert ended["message"] == "sam may approve with lee's voice no longer"
    assert refused["message"].startswith("approve needs the role")
    assert speaks_for() == []


@pytest.mark.parametrize("words", [(), ("--for", "8h", "--end"), ("--for", "soon")])
def test_how_long_a_voice_is_lent_is_said_once(site: Installation, words: tuple[str, ...]) -> None:
    site.append(world.opened())
    assert site.error("delegate", "sam", *words, "--as", "lee", code=2)["kind"] == "usage"
