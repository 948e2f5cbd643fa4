"""`doctor` says that the journal cannot be written, though it answers whoever reads."""

import sqlite3

import pytest

from flows.cli.work import doctor_journal
from integrations.journal import client
from tests.flows.cli.world import Installation, opened


def test_doctor_says_that_a_journal_that_somebody_keeps_locked_cannot_be_written(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LOCK_SECONDS", 0.5)
    site.append(opened())
    hung = sqlite3.connect(site.config.journal_url.partition(":///")[2], isolation_level=None)
    for within, why in ((0.1, "not within 0.1 s"), (5.0, "database is locked")):
        monkeypatch.setattr(doctor_journal, "_WRITTEN", within)
        hung.execute("BEGIN IMMEDIATE")
        line, *_ = (line for line in site.json("doctor", code=1)["checks"] if line["check"] == "journal")
        assert line["level"] == "fail"
        assert "cannot be written" in line["message"]
        assert why in line["message"]
        hung.execute("ROLLBACK")
    hung.close()
    line, *_ = (line for line in site.json("doctor", code=1)["checks"] if line["check"] == "journal")
    assert (line["level"], "can be written" in line["message"]) == ("ok", True)
