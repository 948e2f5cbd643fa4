"""Strict values: hostile names, times and YAML."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from playbooks.errors import Misconfigured
from playbooks.strict import (
    Digest,
    Line,
    Moment,
    Name,
    Seconds,
    Strict,
    canonical,
    digest,
    fingerprint,
    iso,
    parse_yaml,
)

NAME: TypeAdapter[str] = TypeAdapter(Name)
MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


class Thing(Strict):
    name: Name
    wait: Seconds = 1.0
    parts: tuple[Name, ...] = ()
    on: bool = False


@given(st.text(max_size=250))
def test_a_name_that_is_accepted_is_accepted_again_as_it_was_read(text: str) -> None:
    try:
        name = NAME.validate_python(text)
    except ValidationError:
        return
    assert NAME.validate_python(name) == name
    assert len(name) <= 200


@pytest.mark.parametrize("text", ["a\u200bb", "a\u202eb", "a\x1b[2Jb", "a\nb", "\ue000", "", "x" * 201, "\ufdfa" * 100])
def test_a_name_that_hides_something_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        NAME.validate_python(text)


def test_compatibility_forms_are_one_name() -> None:
    assert NAME.validate_python("\uff57\uff45\uff41ther") == "weather"


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00", "9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+23:00"])
def test_a_time_without_zone_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        MOMENT.validate_python(text)


def test_times_are_utc() -> None:
    moment = MOMENT.validate_python("2026-01-31T21:00:00+09:00")
    assert moment == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert iso(moment) == "2026-01-31T12:00:00.000Z"


@given(st.dictionaries(st.text(max_size=5), st.integers(-(2**53) + 1, 2**53 - 1)))
def test_the_order_of_keys_does_not_change_the_digest(value: dict[str, int]) -> None:
    assert digest(dict(reversed(value.items()))) == digest(value)
    assert canonical(value) == canonical(dict(sorted(value.items())))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", "thing.yaml:2: the key 'name' is given twice"),
        ("name: &x a\nparts: [*x]\n", "thing.yaml:2: aliases are not allowed"),
        ("parts:\n  " + "- " * 100_000, "thing.yaml:2: is nested more than 100 deep"),
        ("name: a\nparts:\n  - b\n  - ''\n", "thing.yaml:4: parts.1"),
        ("name: a\nwait: soon\n", "thing.yaml:2: wait"),
        ("nam: a\n", "is not a field here"),
        ("name: a\non: maybe\n", "thing.yaml:2: on"),
        ("? [a]\n: b\n", "a key has to be plain text"),
        ("name: !!python/object:os.system {}\n", "thing.yaml:1"),
        ("- a\n", "thing.yaml:1"),
        ("name: [\n", "thing.yaml"),
    ],
)
def test_yaml_that_is_wrong_names_file_line_and_field(text: str, said: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse_yaml(Thing, text, file="thing.yaml")
    assert said in str(caught.value)


def test_yaml_says_what_it_says() -> None:
    thing = parse_yaml(Thing, "name: on\nwait: 90s\nparts: [no, 1:30, 2026-01-31]\non: true\n", file="thing.yaml")
    assert (thing.name, thing.wait, thing.parts, thing.on) == ("on", 90.0, ("no", "1:30", "2026-01-31"), True)


@pytest.mark.parametrize("text", ["2x", "5 minutes", "m", "1h30m"])
def test_what_is_no_length_of_time_says_how_one_is_written(text: str) -> None:
    with pytest.raises(Misconfigured, match="write it as 90s, 15m"):
        parse_yaml(Thing, f"name: on\nwait: {text}\n", file="thing.yaml")


def test_lines_are_bounded() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Line).validate_python("x" * 2001)


# Whatever a JSON parser can make: numbers that are none, integers of any length, halves of surrogate pairs.
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**5000, 10**5000 + 9)
    | st.floats(allow_nan=True)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=4),
    max_leaves=20,
)


@given(ANY_JSON)
def test_any_json_has_a_fingerprint_and_what_has_no_canonical_form_says_so(value: object) -> None:
    found = fingerprint(value)
    assert TypeAdapter(Digest).validate_python(found.digest) == found.digest
    assert fingerprint(value) == found
    try:
        approved = digest(value)
    except ValueError:
        assert found.fault
    else:
        assert found == (approved, "")


@pytest.mark.parametrize(
    "value",
    [
        2**53,
        -(2**53),
        10**5000,
        float("nan"),
        float("-inf"),
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        object(),
    ],
    ids=["2^53", "-2^53", "10^5000", "nan", "-inf", "surrogate", "surrogate-key", "number-as-key", "no-json"],
)
def test_what_has_no_canonical_form_differs_from_everything_that_has(value: object) -> None:
    found = fingerprint({"schema": {"deep": [value]}})
    assert "schema" in found.fault, "it says where"
    assert found.fault.isascii()


def test_neighbours_beyond_what_is_exact_are_told_apart() -> None:
    assert len({fingerprint(value).digest for value in (2**53, 2**53 + 1, str(2**53), [2**53], [[2**53]])}) == 5


def test_depth_ends_nothing() -> None:
    deep: object = []
    other: object = {}
    for _ in range(100_000):
        deep, other = [deep], {"a": other}
    assert "nested" in fingerprint(deep).fault
    assert fingerprint(deep).digest != fingerprint(other).digest
