"""An exhibit's record cannot contradict itself, and the journal tells which exhibits there are."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from playbooks.record.evidence import (
    SEALED,
    UNAVAILABLE,
    Act,
    Authority,
    Custody,
    Exhibit,
    ExhibitFile,
    ExhibitId,
    Manifest,
    Method,
    Unavailable,
    exhibit_id,
    journalled,
    sealed,
    unavailable,
)
from playbooks.record.journal import Parsed
from playbooks.strict import Json, sha256

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = sha256(b"a key")


def _exhibit(number: int = 1, kind: str = "pod-logs", data: bytes = b"log", incident: str = "inc-1") -> Exhibit:
    return Exhibit(
        id=exhibit_id(number, kind),
        kind=kind,
        incident=incident,
        files=(ExhibitFile(name="a.log", media_type="text/plain", size=len(data), sha256=sha256(data), origin="api"),),
        collected_at=AT,
        collected_by="mcp-soar",
        authority=Authority(step="logs", actor="sam"),
        how=Method(tool="mcp-soar@0.1.0", capture="pod-logs", params={"since": 60}),
        custody=(Custody(at=AT, actor="mcp-soar", act=Act.COLLECTED),),
    )


def _entry(seq: int, kind: str, body: dict[str, Json]) -> Parsed:
    return Parsed("incident/inc-1", seq, "2026-11-20T12:00:00.000Z", kind, "mcp-soar", body)


def test_a_record_survives_json() -> None:
    exhibit = _exhibit()
    assert Exhibit.model_validate_json(exhibit.model_dump_json()) == exhibit
    assert exhibit.number == 1
    assert exhibit_id(12_345, "memory") == "x-12345-memory"


@pytest.mark.parametrize(
    "id_",
    ["x-0001-raw", "x-1-pod-logs", "x-0001-../pod-logs", "x-00001-pod-logs", "0001-pod-logs", "x-0001-pod-logs\n"],
)
def test_an_id_is_number_and_kind(id_: str) -> None:
    with pytest.raises(ValidationError):
        Exhibit.model_validate(_exhibit().model_dump() | {"id": id_})


@given(st.text(max_size=40))
def test_no_id_leads_out_of_its_folder(text: str) -> None:
    try:
        name = TypeAdapter[str](ExhibitId).validate_python(f"x-0001-{text}")
    except ValidationError:
        return
    assert "/" not in name
    assert "\0" not in name
    assert name.isascii()
    assert len(name) <= 100


def test_files_have_different_names_and_there_is_one() -> None:
    exhibit = _exhibit()
    for files in [(), exhibit.files * 2]:
        with pytest.raises(ValidationError):
            Exhibit.model_validate(exhibit.model_dump() | {"files": files})


def test_custody_only_grows() -> None:
    exhibit = _exhibit()
    line = Custody(at=AT, actor="kim", act=Act.EXPORTED, note="for the insurer")
    longer = exhibit.model_copy(update={"custody": (*exhibit.custody, line)})
    assert longer.continues(exhibit)
    assert exhibit.continues(exhibit)
    assert not exhibit.continues(longer)
    assert not _exhibit(data=b"other").continues(exhibit)
    with pytest.raises(ValidationError):
        Exhibit.model_validate(exhibit.model_dump() | {"custody": ()})


def test_a_manifest_has_each_exhibit_once_and_none_of_others() -> None:
    for exhibits in [(_exhibit(), _exhibit()), (_exhibit(incident="inc-2"),)]:
        with pytest.raises(ValidationError):
            Manifest(incident="inc-1", made_at=AT, made_by="mcp-soar", exhibits=exhibits, keys=(KEY,))
    with pytest.raises(ValidationError):
        Manifest(incident="inc-1", made_at=AT, made_by="mcp-soar", keys=())


def test_the_journal_tells_the_exhibits() -> None:
    first, second = _exhibit(), _exhibit(2, "memory")
    missing = Unavailable(kind="disk", reason="the vault is full", recorded_by="sam", at=AT)
    entries = [
        _entry(1, "opened", {}),
        _entry(2, SEALED, sealed(first)),
        _entry(3, UNAVAILABLE, unavailable(missing)),
        _entry(4, SEALED, sealed(second)),
        _entry(5, SEALED, sealed(first)),
    ]
    assert journalled(entries) == ((first, second), (missing,))


def test_a_journal_that_contradicts_itself_is_not_read() -> None:
    bodies: list[dict[str, Json]] = [sealed(_exhibit(data=b"other")), {}, {"exhibit": {"id": "x"}}]
    for body in bodies:
        with pytest.raises(ValueError, match=r"second time|Exhibit"):
            journalled([_entry(1, SEALED, sealed(_exhibit())), _entry(2, SEALED, body)])
