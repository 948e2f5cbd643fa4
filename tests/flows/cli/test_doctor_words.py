"""Doctor says one thing once, and what it means for whoever reads it."""

import json

import pytest

from flows.cli.work.doctor_servers import differing
from flows.cli.work.reviewing import PinDifference
from integrations.journal.records import Hold
from tests.flows.cli.world import Installation


def difference(name: str, change: str = "new") -> PinDifference:
    return PinDifference("weather", "tool", name, change, "")


def test_a_server_that_nobody_approved_is_one_line() -> None:
    (line,) = differing("weather", [difference(f"t{n}") for n in range(7)], [])
    assert line.message == "nobody approved tool t0, tool t1, tool t2, tool t3, tool t4 and 2 more"
    assert line.remedy.startswith("`mcp-soar pins diff weather`; then `mcp-soar pins approve weather")


def test_each_way_to_differ_has_a_line_and_so_has_what_an_incident_holds() -> None:
    hold = Hold("grip", "inc-1", "cut-tool@weather/b", "weather", before=True, after=False, original=True, taken_at=0.0)
    found = [difference("a"), difference("b", "changed"), difference("c", "changed"), difference("d", "gone")]
    lines = list(differing("weather", found, [hold]))
    assert [line.message for line in lines] == [
        "not what was approved: tool b",
        "nobody approved tool a",
        "not what was approved: tool c",
        "approved, and no longer offered: tool d",
    ]
    assert "inc-1 holds it" in lines[0].remedy


def people(site: Installation) -> list[str]:
    checks = json.loads(site.run("doctor", "--json").stdout)["checks"]
    return [one["message"] for one in checks if one["check"] == "people"]


def test_too_few_approvers_are_one_line_that_says_what_cannot_be_done(site: Installation) -> None:
    assert site.run("unenroll", "lee").exit_code == 0
    (alone,) = people(site)
    assert "kim alone is an approver: what kim asks for, nobody can approve" in alone
    assert site.run("unenroll", "kim").exit_code == 0
    (none,) = people(site)
    assert none.startswith("nobody is an approver: what waits for a person's yes is denied")


@pytest.mark.parametrize(("way", "made"), [("hmac", "whsec_"), ("bearer", "openssl rand -hex 32")])
def test_a_sources_missing_secret_is_made_as_its_kind_is(site: Installation, way: str, made: str) -> None:
    source = f"{{format: elastic, confidence: high, authentication: {{{way}: {{secrets: [{{file: secrets/none}}]}}}}}}"
    (site.folder / "sources.yaml").write_text(f"version: 1\nsources: {{siem: {source}}}\n", encoding="utf-8")
    checks = json.loads(site.run("doctor", "--json").stdout)["checks"]
    (missing,) = [one["remedy"] for one in checks if one["check"] == "sources" and "secrets/none" in one["message"]]
    assert made in missing


def test_every_remedy_can_be_typed_as_it_stands(site: Installation) -> None:
    for name in ("kim", "lee", "sam"):
        assert site.run("unenroll", name).exit_code == 0
    checks = json.loads(site.run("doctor", "--json").stdout)["checks"]
    (nobody,) = [one["remedy"] for one in checks if "nobody is a responder" in one["message"]]
    assert nobody == "`mcp-soar enroll NAME --role responder`"
    assert [one["remedy"] for one in checks if "{" in one["remedy"]] == []
