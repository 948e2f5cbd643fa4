"""What a person's signature is worth: only the enrolled key, the right role, now, unchanged."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from playbooks.errors import Refused
from playbooks.people.request import LIFETIME, People, Person, Request, Verb, check, draft, sign

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ANN, BOB = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def person(key: Ed25519PrivateKey, *roles: str) -> Person:
    raw = key.public_key().public_bytes_raw()
    return Person(key="ed25519:" + base64.b64encode(raw).decode(), roles=roles, enrolled_at=NOW)


PEOPLE = People(people={"ann": person(ANN, "responder"), "bob": person(BOB, "approver")})


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def body(key: Ed25519PrivateKey = ANN, **changes: Any) -> bytes:  # noqa: ANN401  # a request's fields
    fields: dict[str, Any] = {"actor": "ann", "verb": Verb.RELEASE, "subject": "inc-2026-000001", "at": NOW}
    return sign(draft(**{**fields, **changes}), key.sign).model_dump_json().encode()


def asked(raw: bytes, *, at: datetime = NOW, people: People = PEOPLE) -> Request:
    return check(raw, people, at=at, verify=verify)


def test_a_signed_request_counts() -> None:
    request = asked(body(reason="healed"))
    assert (request.actor, request.verb, request.reason) == ("ann", Verb.RELEASE, "healed")


def test_every_request_has_a_nonce_of_its_own() -> None:
    assert asked(body()).nonce != asked(body()).nonce


@pytest.mark.parametrize(
    ("raw", "at", "said"),
    [
        (body(BOB), NOW, "not one of ann's enrolled key"),
        (body(actor="mallory"), NOW, "mallory is not enrolled"),
        (body(verb=Verb.APPROVE), NOW, "needs the role approver; ann has responder"),
        (body(), NOW + LIFETIME + timedelta(seconds=1), "has expired"),
        (body(at=NOW + timedelta(minutes=3)), NOW, "in the future"),
        (b"{}", NOW, "not in the form"),
        (b"\xff", NOW, "not in the form"),
    ],
    # A request's own text differs in every process that collects the tests.
    ids=["other key", "stranger", "wrong role", "expired", "from the future", "not a request", "not text"],
)
def test_what_does_not_count_says_why(raw: bytes, at: datetime, said: str) -> None:
    with pytest.raises(Refused, match=said):
        asked(raw, at=at)


def test_somebody_who_was_removed_is_nobody() -> None:
    with pytest.raises(Refused, match="not enrolled"):
        asked(body(), people=People(people={"bob": PEOPLE.people["bob"]}))


def test_a_longer_life_than_allowed_is_refused_even_if_signed() -> None:
    request = draft(actor="ann", verb=Verb.RELEASE, subject="inc-2026-000001", at=NOW)
    forever = request.model_copy(update={"expires_at": NOW + timedelta(days=365)})
    with pytest.raises(Refused, match="lasts longer"):
        asked(sign(forever, ANN.sign).model_dump_json().encode())


@given(
    st.sampled_from(["actor", "verb", "subject", "digest", "reason", "params", "nonce", "issued_at", "expires_at"]),
    st.sampled_from(["bob", "close", "inc-2026-000002", "x" * 30, {"as": "resolved"}, "2026-01-31T12:05:00Z", None]),
)
def test_any_changed_field_breaks_the_signature(field: str, value: object) -> None:
    document = json.loads(body())
    if document["request"][field] == value or (field == "digest" and value is None):
        return
    document["request"][field] = value
    with pytest.raises(Refused):
        asked(json.dumps(document).encode())


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(Refused):
        asked(raw)


def test_two_people_need_two_keys() -> None:
    people = {"ann": person(ANN, "responder"), "ann2": person(ANN, "approver"), "bob": person(BOB, "approver")}
    with pytest.raises(ValidationError, match="ann and ann2 have the same key"):
        People(people=people)
