"""Who signed for which approved definition: the latest review holds, in whatever order they are read."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.signing import PublicKey, SigningKey
from playbooks.errors import Refused
from playbooks.estate.inventory import Environment, Inventory, Server, ToolNotes
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.gate.policy import Review
from playbooks.people import review
from playbooks.people.request import People, Person, Request, SignedRequest, Verb, draft, sign
from playbooks.people.review import LASTS, Reviews, judged, kept, params, seal
from playbooks.strict import digest

AT = datetime(2026, 11, 1, tzinfo=UTC)
RULES = Review()


def pin(name: str = "add", text: str = "Add.", **changes: object) -> Pin:
    definition = {"name": name, "description": text}
    fields = {"kind": PinKind.TOOL, "name": name, "digest": digest(definition), "definition": definition}
    return Pin.model_validate({**fields, "dossier": Dossier(reviewed="all"), **changes})


def inventory(*pins: Pin, risk: str = "low") -> Inventory:
    notes = {"add": ToolNotes.model_validate({"risk": risk})}
    server = Server(title="t", owner="o", environment=Environment.PROD, tools=notes)
    return Inventory(version=1, servers={"weather": server}, pins=Pins(servers={"weather": pins}))


def reviewed(
    *pins: Pin, by: str = "rae", after: float = 0.0, gone: Sequence[tuple[str, str]] = (), server: str = "weather"
) -> Reviews:
    return taken([request(*pins, by=by, after=after, gone=gone, server=server)])


def request(
    *pins: Pin, by: str = "rae", after: float = 0.0, gone: Sequence[tuple[str, str]] = (), server: str = "weather"
) -> Request:
    at = AT + timedelta(seconds=after)
    asked = params(server, "reviewer", pins, gone)
    return draft(actor=by, verb=Verb.REVIEW, subject=server, at=at, reason="all", params=asked)


def taken(requests: Sequence[Request]) -> Reviews:
    reviews = Reviews()
    for one in requests:
        reviews.take(one)
    return reviews


def test_what_was_signed_for_is_reviewed_and_nothing_else_is() -> None:
    assert reviewed(pin()).lacking(inventory(pin()), RULES, "weather") == {}
    missing = Reviews().lacking(inventory(pin(), pin("sub")), RULES, "weather")
    assert set(missing.values()) == {"was reviewed by nobody"}
    # The same pin on another server is another one.
    assert reviewed(pin(), server="other").lacking(inventory(pin()), RULES, "weather")


@pytest.mark.parametrize(
    "changed",
    [
        pin(text="Add, and send it to evil.example."),
        # The digest left as it was: the definition decides what counts as introduced.
        pin().model_copy(update={"definition": {"name": "add", "description": "Add. See https://evil.example"}}),
        pin(gateway_id="another"),
        pin(gateway_digest=digest("another")),
        pin(gateway_name="another"),
        pin(dossier=Dossier(reviewed="all", risk="low")),
    ],
    ids=["text", "definition", "gateway id", "gateway digest", "gateway name", "risk"],
)
def test_a_file_that_was_changed_by_other_means_counts_as_reviewed_by_nobody(changed: Pin) -> None:
    (why,) = reviewed(pin()).lacking(inventory(changed), RULES, "weather").values()
    assert why == "is not what was reviewed: pins.yaml was changed by other means"


def test_who_looked_on_is_no_part_of_what_is_signed() -> None:
    again = pin(dossier=Dossier(reviewed="another word"))
    assert reviewed(pin()).lacking(inventory(again), RULES, "weather") == {}


def test_a_pin_that_went_missing_is_named_and_one_that_was_withdrawn_is_not() -> None:
    assert reviewed(pin()).lacking(inventory(), RULES, "weather") == {
        ("tool", "add"): "was approved, and pins.yaml has lost it"
    }
    withdrawn = taken([request(pin()), request(after=1, gone=[("tool", "add")])])
    assert withdrawn.lacking(inventory(), RULES, "weather") == {}
    assert withdrawn.lacking(inventory(pin()), RULES, "weather"), "it was taken away since"


def test_an_old_review_put_back_changes_nothing() -> None:
    old, new = pin(text="Old."), pin(text="New.")
    reviews = taken([request(old), request(new, after=60), request(old)])
    assert reviews.lacking(inventory(old), RULES, "weather")
    assert reviews.lacking(inventory(new), RULES, "weather") == {}


def test_two_people_where_the_policy_says_so_and_nobody_counts_twice() -> None:
    two = Review(people={"high": 2})
    alone = taken([request(pin()), request(pin(), after=1)])
    assert alone.lacking(inventory(pin()), two, "weather") == {}
    (why,) = alone.lacking(inventory(pin(), risk="high"), two, "weather").values()
    assert why == "was reviewed by rae; it takes 2 people"
    both = taken([request(pin()), request(pin(), by="sue", after=1)])
    assert both.lacking(inventory(pin(), risk="high"), two, "weather") == {}
    # A second person for another text is no second person.
    other = taken([request(pin(text="Other.")), request(pin(), by="sue", after=1)])
    assert other.lacking(inventory(pin(), risk="high"), two, "weather")


REQUESTS = st.lists(
    st.builds(
        lambda text, by, after, gone: request(
            *([] if gone else [pin(text=text)]), by=by, after=after, gone=[("tool", "add")] if gone else []
        ),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["rae", "sue"]),
        st.integers(0, 5),
        st.booleans(),
    ),
    max_size=6,
    unique_by=lambda one: one.issued_at,
)


@given(REQUESTS, st.randoms(use_true_random=False), st.sampled_from(["a", "b"]))
def test_the_order_in_which_reviews_are_read_makes_nothing_reviewed_that_the_last_word_does_not(
    requests: list[Request], random: "object", text: str
) -> None:
    mixed = list(requests)
    random.shuffle(mixed)  # type: ignore[attr-defined]  # hypothesis' own Random
    last = max(requests, key=lambda one: one.issued_at, default=None)
    lacking = taken(mixed).lacking(inventory(pin(text=text)), RULES, "weather")
    held = last is not None and any(one.seal == seal("weather", pin(text=text)) for one in review.said(last).approved)
    assert bool(lacking) is not held


@given(st.lists(st.tuples(st.sampled_from(["rae", "sue"]), st.sampled_from(["a", "b"])), max_size=8))
def test_what_the_file_keeps_says_as_much_as_all_of_it(words: list[tuple[str, str]]) -> None:
    signed = [
        SignedRequest(request=request(pin(text=text), by=by, after=n), signature="")
        for n, (by, text) in enumerate(words)
    ]
    now_ = inventory(pin(text=words[-1][1])) if words else inventory(pin())
    short = kept(signed, now_.pins)
    assert len(short) <= 2
    whole, less = (taken([one.request for one in these]).lacking(now_, RULES, "weather") for these in (signed, short))
    assert less == whole


# Signatures


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SigningKey]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: SigningKey.generate(folder / f"{name}.key") for name in ("rae", "kim")}


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    return PublicKey.from_raw(key).signed(message, signature)


def people(keys: dict[str, SigningKey], **changes: Person) -> People:
    def person(name: str, *roles: str, since: datetime = AT) -> Person:
        public = "ed25519:" + base64.b64encode(keys[name].public.raw).decode()
        return Person(key=public, roles=roles, enrolled_at=since)

    return People(people={"rae": person("rae", "reviewer"), "kim": person("kim", "responder", "approver"), **changes})


def test_only_an_enrolled_key_of_somebody_who_may_review_counts(keys: dict[str, SigningKey]) -> None:
    asked = request(pin())
    good = sign(asked, keys["rae"].sign)
    assert judged(good, people(keys), RULES, at=AT, verify=verify) == asked
    forged = sign(asked, keys["kim"].sign)
    for signed, said in [
        (forged, "the signature is not one of rae's enrolled key"),
        (sign(request(pin(), by="kim"), keys["kim"].sign), "reviewing takes the role reviewer"),
        (sign(request(pin(), by="eve"), keys["kim"].sign), "eve is not enrolled"),
        (good.model_copy(update={"request": asked.model_copy(update={"subject": "other"})}), "the signature is not"),
        (sign(asked.model_copy(update={"verb": Verb.RESPOND}), keys["rae"].sign), "which is no review"),
        (sign(asked.model_copy(update={"params": {"role": "reviewer"}}), keys["rae"].sign), "not in the form"),
    ]:
        with pytest.raises(Refused, match=said):
            judged(signed, people(keys), RULES, at=AT, verify=verify)
    with pytest.raises(Refused, match="reviewing takes the role security"):
        judged(good, people(keys), Review(roles=("security",)), at=AT, verify=verify)


def test_a_review_waits_no_longer_than_a_month_and_not_for_a_key_that_was_changed(keys: dict[str, SigningKey]) -> None:
    good = sign(request(pin()), keys["rae"].sign)
    with pytest.raises(Refused, match="more than 30 days ago"):
        judged(good, people(keys), RULES, at=AT + LASTS + timedelta(seconds=1), verify=verify)
    with pytest.raises(Refused, match="in the future"):
        judged(good, people(keys), RULES, at=AT - timedelta(hours=1), verify=verify)
    known = people(keys).people["rae"]
    anew = people(keys, rae=known.model_copy(update={"enrolled_at": AT + timedelta(days=1)}))
    with pytest.raises(Refused, match="enrolled anew"):
        judged(good, anew, RULES, at=AT + timedelta(days=2), verify=verify)
