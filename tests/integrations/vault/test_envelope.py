"""An envelope opens for one key, and in one spelling."""

import base64
import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from integrations.signing import SigningKey
from integrations.vault import envelope
from playbooks.errors import Refused
from playbooks.record.evidence import Act, Authority, Custody, Exhibit, ExhibitFile, Manifest, Method
from playbooks.strict import canonical, sha256

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
EXHIBIT = Exhibit(
    id="x-0000-raw-alert",
    kind="raw-alert",
    incident="inc-1",
    files=(
        ExhibitFile(
            name="alert.json",
            media_type="application/json",
            size=2,
            sha256=sha256(b"{}"),
            sha512="0" * 128,
            origin="siem",
        ),
    ),
    collected_at=AT,
    collected_by="mcp-soar",
    authority=Authority(step="receiver", actor="falco"),
    how=Method(tool="mcp-soar@0.1.0", capture="raw-alert"),
    custody=(Custody(at=AT, actor="mcp-soar", act=Act.COLLECTED),),
)
MANIFEST = Manifest(incident="inc-1", made_at=AT, made_by="mcp-soar", exhibits=(EXHIBIT,), keys=(KEY.id,))
SIGNED = envelope.sign(MANIFEST, KEY.dsse(), documents={"README.txt": b"read me"})


def _resigned(payload: bytes) -> bytes:
    pae = b"DSSEv1 %d %b %d %b" % (28, b"application/vnd.in-toto+json", len(payload), payload)
    return canonical(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"keyid": KEY.id, "sig": base64.b64encode(KEY.sign(pae)).decode()}],
        }
    )


def test_what_is_signed_is_what_is_read() -> None:
    statement = envelope.verify(SIGNED, KEY.public)
    assert statement.predicate == MANIFEST
    assert [subject.name for subject in statement.subject] == ["README.txt", "exhibits/x-0000-raw-alert/alert.json"]
    assert statement == envelope.read(SIGNED)
    assert envelope.sign(MANIFEST, KEY.dsse(), documents={"README.txt": b"read me"}) == SIGNED


def test_it_is_an_in_toto_statement_in_a_dsse_envelope() -> None:
    outer = json.loads(SIGNED)
    payload = base64.b64decode(outer["payload"])
    assert outer["payloadType"] == "application/vnd.in-toto+json"
    assert json.loads(payload)["_type"] == "https://in-toto.io/Statement/v1"
    assert json.loads(payload)["predicateType"] == "https://mcp-soar.dev/evidence/v1"
    assert _resigned(payload) == SIGNED


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(Refused, match="did not sign"):
        envelope.verify(SIGNED, OTHER.public)
    claimed = SIGNED.replace(KEY.id.encode(), OTHER.id.encode(), 1)
    with pytest.raises(Refused, match="did not sign"):
        envelope.verify(claimed, OTHER.public)


@given(position=st.integers(0, len(SIGNED) - 1), mask=st.integers(1, 255))
def test_no_byte_can_change(position: int, mask: int) -> None:
    data = bytearray(SIGNED)
    data[position] ^= mask
    with pytest.raises(Refused):
        envelope.verify(bytes(data), KEY.public)


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        envelope.verify(data, KEY.public)


@pytest.mark.parametrize(
    "other",
    [
        SIGNED + b"\n",
        SIGNED.replace(b"{", b"{ ", 1),
        json.dumps(json.loads(SIGNED), indent=1).encode(),
        SIGNED.replace(b'"signatures":[', b'"signatures":[],"signatures":[', 1),
        SIGNED.replace(b'"keyid"', b'"extra":1,"keyid"', 1),
        b"[" * 100_000,
        b" " * (envelope.MOST_BYTES + 1),
    ],
    ids=["newline", "space", "indented", "key twice", "more keys", "deep", "huge"],
)
def test_another_spelling_is_refused(other: bytes) -> None:
    with pytest.raises(Refused):
        envelope.read(other)


def _statement(**changes: object) -> bytes:
    return canonical(json.loads(base64.b64decode(json.loads(SIGNED)["payload"])) | changes)


def test_a_signed_statement_must_be_consistent_too() -> None:
    subjects = json.loads(_statement())["subject"]
    wrong = [
        _statement(subject=subjects[:1]),
        _statement(subject=[*subjects, subjects[1]]),
        _statement(subject=subjects[::-1]),
        _statement(subject=[subjects[0], {**subjects[1], "digest": {"sha256": "0" * 64}}]),
        _statement(predicateType="https://example.com/other"),
        _statement(_type="https://in-toto.io/Statement/v0.1"),
        _statement(predicate={}),
        _statement(more=1),
        _statement() + b" ",
    ]
    for payload in wrong:
        with pytest.raises(Refused):
            envelope.verify(_resigned(payload), KEY.public)


def test_two_signatures_are_not_ours() -> None:
    outer = json.loads(SIGNED)
    for signatures in (outer["signatures"] * 0, outer["signatures"] * 2):
        with pytest.raises(Refused):
            envelope.verify(canonical(outer | {"signatures": signatures}), KEY.public)
