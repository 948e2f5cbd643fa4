"""What is published of vulnerabilities: what nobody knows is said to be unknown, and matches nothing."""

import pytest

from playbooks import advisories
from playbooks.advisories import UNKNOWN
from playbooks.errors import Misconfigured
from playbooks.estate.package import named
from playbooks.record.viewing import view
from tests.flows.cli import world
from tests.lab import stories

ONE = """\
advisories:
  - {id: CVE-2025-68144, product: Weather, does: it reads files, tools: [], weakness: CWE-78, score: "9.4",
     package: "pkg:pypi/weather-mcp", affected: "<2", fixed: "2.0", confirmed: true}
"""


def test_what_ships_is_read_and_claims_no_more_than_is_known() -> None:
    found = advisories.load()
    assert len(found) == 11
    for key, one in found.items():
        assert key == one.id.casefold()
        # Nobody has confirmed any of them, so none has versions.
        assert (one.confirmed, one.affected, one.fixed) == (False, UNKNOWN, UNKNOWN)
        assert one.package == UNKNOWN or named(one.package) == (one.package, "")
        assert "not confirmed" in str(one)
        assert "affected: unknown" in str(one)
        assert "No fix is known" in str(one)


def test_one_is_found_by_its_number_however_it_is_written_and_by_nothing_else() -> None:
    names = ["cve-2025-68144", "CVE-2025-6814", "unknown", "", "CVE-2025-68144 ", "mcp-server-git"]
    assert [one.id for one in advisories.named(names)] == ["CVE-2025-68144"]


def test_what_has_a_fix_says_until_when_it_stays_contained() -> None:
    (one,) = advisories.parse(ONE).values()
    assert str(one) == (
        "CVE-2025-68144, in Weather: it reads files (score 9.4; affected: <2). "
        "Fixed in 2.0: until that is in, keep contained what has it."
    )


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (ONE + ONE.partition("\n")[2], "advisories.1.id"),
        (ONE.replace("CVE-2025-68144", "GHSA-1"), "advisories.0.id"),
        (ONE.replace("confirmed: true", "sure: true"), "advisories.0"),
        ("advisories: []", "advisories"),
    ],
)
def test_a_file_with_a_mistake_is_refused_with_its_place(text: str, field: str) -> None:
    with pytest.raises(Misconfigured, match=r"advisories\.yaml") as raised:
        advisories.parse(text)
    assert field in str(raised.value)


def test_an_incident_says_what_is_published_of_what_its_alerts_name() -> None:
    opened, alert, *_ = (make() for make in world.CONTAINED)
    marks = [{"kind": "vulnerability", "value": "cve-2025-68144"}, {"kind": "vulnerability", "value": "cve-1999-0001"}]
    told = alert._replace(body={**alert.body, "marks": marks})
    state = stories.told([(0.0, opened), (1.0, told)], world.ID)
    assert [one.id for one in view(state).advisories] == ["CVE-2025-68144"]
