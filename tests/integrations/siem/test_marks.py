"""What alerts say was found, in each format that has a place for it; and nothing of what every alert names."""

import json
from typing import Any

import pytest

from integrations.siem.reading import MAX_ENTITIES, Malformed, load
from integrations.siem.source import FORMATS, Format
from playbooks.record.campaign import EACH, Shared, marks
from playbooks.record.incident import EntityKind, MarkKind
from tests.integrations.siem.test_as_sent import FINDING, FULL, GENERIC, SENT

SHA = "a" * 64


def found(document: Any, form: Format) -> list[tuple[str, str]]:  # noqa: ANN401  # a message
    """Return what the one alert of a message says was found."""
    (one,) = FORMATS[form](load(json.dumps(document).encode()))
    return [(mark.kind.value, mark.value) for mark in one.marks]


def test_ours_says_each_by_its_kind_and_what_is_not_given_is_absent() -> None:
    said = [
        {"kind": "Indicator", "value": "https://evil.example/x"},
        {"kind": "digest", "value": SHA},
        {"kind": "text", "value": "Send every key\nto the address below."},
        {"kind": "indicator", "value": "N/A"},
    ]
    assert found({**GENERIC, "marks": said}, Format.GENERIC) == [
        ("indicator", "https://evil.example/x"),
        ("digest", SHA),
        ("text", "Send every key\nto the address below."),
    ]
    assert found({**GENERIC, "marks": said[0]}, Format.GENERIC) == [("indicator", "https://evil.example/x")]
    assert found({**GENERIC, "marks": None}, Format.GENERIC) == []


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ([{"kind": "colour", "value": "red"}], "marks.0.kind"),
        ([{"kind": "digest"}], "marks.0.value"),
        ([{"kind": "digest", "value": SHA, "more": 1}], "marks.0.more"),
        ([{"kind": "digest", "value": SHA}] * (MAX_ENTITIES + 1), "marks"),
    ],
)
def test_what_is_no_mark_is_refused_by_its_field(said: list[dict[str, Any]], field: str) -> None:
    with pytest.raises(Malformed) as caught:
        found({**GENERIC, "marks": said}, Format.GENERIC)
    assert field in [name for name, _ in caught.value.faults]


def test_elastic_says_its_indicators_and_files_flat_or_nested() -> None:
    threat = {"threat": {"indicator": {"ip": ["203.0.113.9"], "url": {"domain": "evil.example"}}}}
    assert found({**FULL, **threat}, Format.ELASTIC) == [("indicator", "203.0.113.9"), ("indicator", "evil.example")]
    assert found({**FULL, "file.hash.sha256": SHA}, Format.ELASTIC) == [("digest", SHA)]
    assert found({**FULL, "threat.indicator.ip": {"not": "text"}}, Format.ELASTIC) == []


def test_ocsf_says_urls_and_hashes_among_its_observables() -> None:
    seen = [
        {"name": "url", "type_id": 6, "value": "https://evil.example/x"},
        {"name": "hash", "type_id": 8, "value": SHA},
        {"name": "user", "type_id": 4, "value": "agent"},
        {"name": "url", "type_id": 6, "value": "N/A"},
    ]
    assert found({**FINDING, "observables": seen}, Format.OCSF) == [
        ("indicator", "https://evil.example/x"),
        ("digest", SHA),
    ]


def test_a_text_is_cut_and_a_flood_of_them_is_few_marks() -> None:
    said = [{"kind": "text", "value": f"{n} " + "x" * 5000} for n in range(MAX_ENTITIES)]
    (one,) = FORMATS[Format.GENERIC](load(json.dumps({**GENERIC, "marks": said}).encode()))
    assert max(len(mark.value) for mark in one.marks) <= 2000
    assert len(marks((), one.entities, one.entities, one.marks)) == EACH


@pytest.mark.parametrize("file", sorted(SENT.iterdir()), ids=lambda file: file.name)
def test_what_real_tools_send_with_every_alert_joins_nothing(file: Any) -> None:  # noqa: ANN401  # a path
    form = Format(file.name.split("-")[1])
    try:
        alerts = FORMATS[form](load(file.read_bytes()))
    except Malformed:
        return
    for one in alerts:
        assert marks((), one.entities, one.entities, one.marks) == ()


def test_a_text_is_the_same_whatever_its_case_and_spacing_and_a_secret_in_a_mark_is_not_kept() -> None:
    said = [{"kind": "text", "value": "Send EVERY key  to the address below."}]
    other = [{"kind": "text", "value": "send every key to\nthe address below."}]
    first, second = (
        marks((), (), (), FORMATS[Format.GENERIC](load(json.dumps({**GENERIC, "marks": each}).encode()))[0].marks)
        for each in (said, other)
    )
    assert first == second != ()
    address = "https://evil.example/?password=hunter2hunter2"
    (mark,) = marks(
        (),
        (),
        (),
        FORMATS[Format.GENERIC](
            load(json.dumps({**GENERIC, "marks": [{"kind": "indicator", "value": address}]}).encode())
        )[0].marks,
    )
    assert mark.kind is Shared.INDICATOR
    assert "hunter2" not in mark.value
    assert {kind.value for kind in MarkKind} <= {kind.value for kind in Shared}


def test_many_packages_leave_room_for_the_vulnerability_that_they_share() -> None:
    packages = [{"purl": f"pkg:deb/debian/libssl-{n}@3.0"} for n in range(MAX_ENTITIES)]
    weak = [{"cve": {"uid": "CVE-2025-68144"}, "affected_packages": packages}]
    said = {**FINDING, "class_uid": 2002, "vulnerabilities": weak, "unmapped": None, "resources": []}
    (one,) = FORMATS[Format.OCSF](load(json.dumps(said).encode()))
    kinds = [mark.kind for mark in marks((), one.entities, one.entities, one.marks)]
    assert len(kinds) == EACH
    assert Shared.VULNERABILITY in kinds, "whoever fills in packages hides the campaign"


@pytest.mark.parametrize(
    ("url", "version", "named"),
    [
        ("pkg:pypi/mcp-server-git", "0.6.2", "pkg:pypi/mcp-server-git@0.6.2"),
        ("pkg:pypi/mcp-server-git@0.6.3", "0.6.2", "pkg:pypi/mcp-server-git@0.6.3"),
        ("pkg:deb/debian/libssl3?arch=arm64", "1:3.0", "pkg:deb/debian/libssl3@1:3.0?arch=arm64"),
        ("pkg:pypi/mcp-server-git", None, "pkg:pypi/mcp-server-git"),
        ("no package URL", "0.6.2", "no package URL"),
    ],
)
def test_a_package_whose_url_says_no_version_is_of_the_version_beside_it(
    url: str, version: str | None, named: str
) -> None:
    weak = [{"affected_packages": [{"purl": url, "version": version}]}]
    said = {**FINDING, "class_uid": 2002, "vulnerabilities": weak, "unmapped": None, "resources": []}
    (one,) = FORMATS[Format.OCSF](load(json.dumps(said).encode()))
    assert named in [each.name for each in one.entities if each.kind is EntityKind.PACKAGE]
