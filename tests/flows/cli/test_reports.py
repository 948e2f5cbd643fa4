"""`report`, `handover` and `report --week` on a real journal."""

import base64
import hashlib
import json
import os
import re
import sqlite3
import stat
from pathlib import Path

import pytest

from flows.cli.layout import width
from playbooks.record.incident import Phase
from playbooks.record.journal import Event
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation
from tests.flows.report.test_one_truth import NOTHING, revoked
from tests.lab import stories
from tests.lab.pdf_text import text_of


@pytest.fixture
def contained(site: Installation) -> Installation:
    """A journal with one contained incident."""
    site.append(*(make() for make in world.CONTAINED))
    return site


def test_a_report_is_markdown_on_stdout_and_its_digest_on_stderr(contained: Installation) -> None:
    result = contained.run("report", "1")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"# Incident report {ID}\n")
    assert "sha256:" + hashlib.sha256(result.stdout.encode()).hexdigest() in "".join(result.stderr.split())
    assert "| Status | contained |" in result.stdout


def test_on_a_terminal_a_report_is_plain_text_that_fits(
    contained: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    contained.append(*stories_of_evidence())
    forced = contained.run("report", "1", "--form", "text")
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True)
    shown = contained.run("report", "1", env={"NO_COLOR": "1"})
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith(f"Incident report {ID}\n")
    for text in (shown.stdout, forced.stdout):
        assert [line for line in text.splitlines() if width(line) > 80 and len(line.split()) > 1] == []
        assert not re.search(r"^\||^#|\\", text, re.MULTILINE), "it is no Markdown"
        for part in ("In force", "Proven", "Custody", "Root cause", "Every entry of the journal"):
            assert part in text
    assert contained.run("report", "1", "--form", "md").stdout.startswith("# ")
    assert (
        "as wide as the terminal"
        in contained.error("report", "1", "--form", "text", "--out", "r.md", code=2)["message"]
    )


def stories_of_evidence() -> list[Event]:
    """What makes lines long: digests, custody, a sealed manifest, and what could not be had."""
    return [
        stories.exhibit(1, "capture-definitions", Phase.CAPTURE, 0.3, kind="definitions"),
        stories.unavailable(2.1),
        stories.sealed(),
    ]


def test_the_json_says_what_was_written_and_from_which_head(contained: Installation) -> None:
    document = contained.json("report", "1")
    assert document["subject"] == ID
    assert document["form"] == "md"
    assert document["file"] is None
    assert document["digest"] == "sha256:" + hashlib.sha256(document["text"].encode()).hexdigest()
    assert document["bytes"] == len(document["text"].encode())
    made = dict(document["made"])
    assert made["Journal head"] == f"number {document['head']}, sha256:{document['head_hash']}"
    assert made["From"].startswith("entries 1 to 5 of")
    kinds = {block["kind"] for section in document["sections"] for block in section["blocks"]}
    assert {"text", "table", "picture", "form"} <= kinds


@pytest.mark.parametrize("form", ["md", "html", "pdf"])
def test_a_file_s_ending_says_the_form_and_only_its_owner_reads_it(
    contained: Installation, tmp_path: Path, form: str
) -> None:
    file = tmp_path / f"report.{form}"
    usual = os.umask(0)
    try:
        document = contained.json("report", ID, "--out", str(file))
    finally:
        os.umask(usual)
    data = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert document["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
    assert (document["form"], document["file"], document["bytes"]) == (form, str(file), len(data))
    text = text_of(data) if form == "pdf" else data.decode()
    assert ID in text
    assert list(tmp_path.glob(".report*")) == []


def test_what_is_there_is_written_over_only_if_asked(contained: Installation, tmp_path: Path) -> None:
    file, other = tmp_path / "r.html", tmp_path / "other"
    other.write_text("theirs")
    file.symlink_to(other)
    assert "--force" in contained.error("report", "1", "--out", str(file), code=2)["message"]
    assert contained.run("report", "1", "--out", str(file), "--force").exit_code == 0
    assert other.read_text() == "theirs"
    assert not file.is_symlink()
    assert "<h1>" in file.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report"], "--week"),
        (["report", "1", "--week"], "--week"),
        (["report", "1", "--form", "pdf"], "--out"),
        (["report", "1", "--out", "no/r.txt"], "--form"),
        (["report", "1", "--form", "md", "--out", "no/r.html"], "which of the two"),
        (["handover", "--since", "soon"], "12h"),
        (["handover", "--since", "0s"], "more than nothing"),
        (["handover", "--since", "5000d"], "a year"),
        (["report", "--week", "--older-than", "x"], "7d"),
    ],
)
def test_what_cannot_be_meant_is_said_clearly(contained: Installation, words: list[str], said: str) -> None:
    assert said in contained.error(*words, code=2)["message"]


def test_a_folder_that_is_not_there_is_said(contained: Installation, tmp_path: Path) -> None:
    error = contained.error("report", "1", "--out", str(tmp_path / "no" / "r.md"), code=5)
    assert "cannot be written" in error["message"]


def test_no_such_incident(contained: Installation) -> None:
    contained.error("report", "99", code=6)


def test_a_handover_is_for_people_in_80_columns_without_colour(contained: Installation) -> None:
    contained.append(world.opened(), world.alert(), world.proposed(), incident="inc-2026-000002")
    result = contained.run("handover")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    for said in ("Open incidents: 2", "that wait: 1", "contained: 1.", ID, "mcp-soar incident"):
        assert said in result.stdout


def test_a_handover_says_whom_a_question_waits_for(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed(requested_by="kim"))
    blocks = [block for section in site.json("handover")["sections"] for block in section["blocks"]]
    (asks,) = [block for block in blocks if block.get("caption") == "Questions"]
    assert [dict(zip(asks["heads"], row, strict=True))["From"] for row in asks["rows"]] == ["lee"]


def test_a_handover_knows_switches_and_suppressions(contained: Installation) -> None:
    with contained.responder():
        stopped = contained.run("stop", "server:weather", "--reason", "we look", "--as", "kim")
        quiet = ("suppress", "rule:Shell in a container", "--for", "2h", "--reason", "too noisy", "--as", "kim")
        suppressed = contained.run(*quiet)
    assert stopped.exit_code == 0, stopped.output
    assert suppressed.exit_code == 0, suppressed.output
    document = contained.json("handover", "--since", "2h")
    noise = next(section for section in document["sections"] if section["title"] == "Suppressed alerts")
    assert noise["blocks"][0]["rows"][0][:3] == ["rule:Shell in a container", "kim", "too noisy"]
    switches = next(section for section in document["sections"] if section["title"] == "Kill switches")
    assert switches["blocks"][0]["rows"][0][:3] == ["server:weather", "kim", "we look"]
    assert document["lead"][0]["kind"] == "warn"
    of_incident = contained.json("report", "1")
    shown = next(section for section in of_incident["sections"] if section["title"] == "Kill switches")
    assert shown["blocks"][0]["rows"][0][4] == "STILL ON"


@pytest.mark.parametrize("how", ["resolved", "false-positive"])
def test_a_handover_names_the_duties_of_what_was_closed_long_ago(site: Installation, how: str) -> None:
    inventory = site.folder / "inventory.yaml"
    bound = world.INVENTORY.replace("    control_tool: add\n", "    control_tool: add\n    regimes: [nis2]\n")
    inventory.write_text(bound, encoding="utf-8")
    site.append(world.opened())
    with site.responder():
        site.json("close", "1", "--yes", "--outcome", how, "--as", "kim")
    with sqlite3.connect(site.folder / "state" / "journal.db") as database:
        database.execute("UPDATE stream SET closed_at = closed_at - 864000 WHERE name = ?", (f"incident/{ID}",))
    database.close()
    sections = {section["title"]: section["blocks"] for section in site.json("handover")["sections"]}
    due = [row[0] for row in sections["Duties with a deadline"][0]["rows"]]
    assert due == ([ID] * 3 if how == "resolved" else [])
    assert sections["Open incidents"][0]["rows"] == []


def test_the_week_counts_and_draws(contained: Installation) -> None:
    document = contained.json("report", "--week")
    assert document["subject"] == "week"
    counts = next(section for section in document["sections"] if section["title"] == "How many")["blocks"][0]
    assert counts["rows"][-1][-1] == "1"
    shown = contained.run("report", "--week", "--form", "html")
    picture = shown.stdout.partition("base64,")[2].partition('"')[0]
    assert "Time from acceptance" in base64.b64decode(picture).decode()


def test_a_damaged_journal_is_said_and_the_others_are_handed_over(contained: Installation) -> None:
    contained.append(world.opened(), incident="inc-2026-000002")
    with sqlite3.connect(contained.folder / "state" / "journal.db") as database:
        database.execute("UPDATE entry SET hash = zeroblob(32) WHERE stream = 'incident/inc-2026-000002'")
    database.close()
    document = contained.json("handover")
    assert any("inc-2026-000002" in json.dumps(block) and block["kind"] == "warn" for block in document["lead"])
    assert ID in json.dumps(document["sections"])
    contained.error("report", "2", code=1)


def test_what_is_done_for_good_is_in_force_for_every_command(site: Installation) -> None:
    site.append(*(event for _, event in revoked()))
    shown = {
        "leases": site.run("leases", env={"COLUMNS": "200"}).stdout,
        "incident": site.run("incident", "1", env={"COLUMNS": "200"}).stdout,
        "handover": site.run("handover", env={"COLUMNS": "200"}).stdout,
        "report": site.run("report", "1", env={"COLUMNS": "200"}).stdout,
    }
    for where, text in shown.items():
        assert not [words for words in NOTHING if words in text], where
        assert "cannot be taken back" in " ".join(text.split()), where
