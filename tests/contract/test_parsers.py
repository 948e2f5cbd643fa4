"""Laws that hold for every format in the registry; a new one gets them for free."""

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.siem.source import FORMATS, MAX_BYTES, Format, Malformed, Source, parse
from playbooks.record.incident import Alert
from playbooks.taxonomy import IncidentClass
from tests.lab.examples import examples

ALERTS = Path(__file__).parents[1] / "fixtures/alerts"

FIXTURES = {alert_format: sorted(ALERTS.glob(f"{alert_format}-*.json")) for alert_format in Format}

# What limits, encodings and readers disagree about.
NASTY: st.SearchStrategy[Any] = st.sampled_from(
    [
        None, True, False, 0, -1, 1, 2**53, 2**64, -(2**70), 10**400, 0.5, -0.0, 1e308,
        "", " ", "\0", "\x1b[2J", "a\u202eb", "\u200b", "\ufdfa" * 150, "\ud800", "x" * 201, "x" * 2001, "é" * 20_001,
        "{{ 7 * 7 }}", "../../etc/passwd", "tool_poisoning", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
        "2026-02-30T00:00:00Z", "2026-01-31T23:59:60Z", [], {}, [[]], [None], [""], {"": None}, {"mcp": "x"},
    ]
)  # fmt: skip
TREES = st.recursive(
    NASTY | st.text(max_size=20) | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@cache
def plain(alert_format: Format) -> Source:
    return Source.model_validate({"format": alert_format, "authentication": "none", "confidence": "low"})


def read(raw: bytes, source: Source) -> tuple[Alert, ...] | tuple[tuple[str, str], ...]:
    """Return what a parser makes of bytes: alerts, or faults. Anything else that it raises fails the test."""
    try:
        return parse(raw, "s", source)
    except Malformed as exc:
        return exc.faults


def slots(document: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401  # any JSON value
    """Return every place in a document, as its container and its key there."""
    found = []
    stack = [document]
    while stack:
        one = stack.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            found.append((one, key))
            stack.append(one[key])
    return found


def mutate(document: Any, data: st.DataObject) -> Any:  # noqa: ANN401  # any JSON value
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        places = slots(document)
        if not places:
            return copy.deepcopy(data.draw(TREES))
        container, key = places[data.draw(st.integers(0, len(places) - 1))]
        if data.draw(st.booleans()):
            # A copy: the strategies hand out the same empty containers each time.
            container[key] = copy.deepcopy(data.draw(TREES))
        else:
            del container[key]
    return document


def test_every_format_has_fixtures() -> None:
    assert set(FORMATS) == set(Format)
    assert all(FIXTURES.values())


@pytest.mark.parametrize("alert_format", Format)
def test_every_fixture_is_read_and_survives_the_journal(alert_format: Format) -> None:
    for path in FIXTURES[alert_format]:
        for alert in parse(path.read_bytes(), "s", plain(alert_format)):
            assert Alert.model_validate_json(alert.model_dump_json()) == alert


@pytest.mark.parametrize("alert_format", Format)
@given(raw=st.binary(max_size=200) | TREES.map(lambda tree: json.dumps(tree).encode()))
def test_nothing_but_malformed_on_anything(alert_format: Format, raw: bytes) -> None:
    source = plain(alert_format)
    assert read(raw, source) == read(raw, source)


@pytest.mark.parametrize("alert_format", Format)
@given(data=st.data())
@settings(max_examples=examples(200))
def test_nothing_but_malformed_on_broken_fixtures(alert_format: Format, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(FIXTURES[alert_format]))
    raw = json.dumps(mutate(json.loads(path.read_bytes()), data)).encode()
    source = plain(alert_format)
    found = read(raw, source)
    assert found
    assert found == read(raw, source)
    for alert in found:
        if isinstance(alert, Alert):
            # What is accepted can be written down as UTF-8 and read again as it was.
            assert Alert.model_validate_json(alert.model_dump_json()) == alert
            assert alert.external_id
            assert "\0" not in alert.title + alert.excerpt


@pytest.mark.parametrize("alert_format", Format)
@given(data=st.data())
def test_no_value_of_an_alert_gives_it_a_class(alert_format: Format, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(FIXTURES[alert_format]))
    document = json.loads(path.read_bytes())
    hint = data.draw(st.sampled_from(list(IncidentClass)))
    for container, key in slots(document):
        if isinstance(container[key], str) and data.draw(st.booleans()):
            container[key] = str(hint)
    default = data.draw(st.none() | st.sampled_from(list(IncidentClass)))
    source = plain(alert_format).model_copy(update={"default_class": default})
    for alert in read(json.dumps(document).encode(), source):
        if isinstance(alert, Alert):
            assert alert.incident_class is default


AMOUNTS = st.sampled_from([1, 100, 1000, 30_000])


@pytest.mark.parametrize("alert_format", Format)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_is_large_deep_or_odd_is_read_or_refused_in_words_of_ours(
    alert_format: Format, data: st.DataObject
) -> None:
    """Every place of a message takes what is much of something; what is said of it names a field and no class."""
    path = data.draw(st.sampled_from(FIXTURES[alert_format]))
    document = json.loads(path.read_bytes())
    places = slots(document)
    container, key = places[data.draw(st.integers(0, len(places) - 1))]
    amount, one = data.draw(AMOUNTS), data.draw(TREES)
    container[key] = data.draw(
        st.sampled_from(
            [
                "x" * amount,
                "\u200b" * amount,
                [one] * min(amount, 1000),
                {f"k{n}": one for n in range(min(amount, 1000))},
            ]
        )
    )
    raw = json.dumps(document).encode()
    if data.draw(st.booleans()):
        raw = raw.replace(b'"x', b'"\xff\xfe\\ud800x')
    source = plain(alert_format)
    for found in read(raw, source):
        if isinstance(found, Alert):
            assert len(found.entities) <= 100
            assert Alert.model_validate_json(found.model_dump_json()) == found
        else:
            field, message = found
            assert field
            assert 0 < len(message) <= 500
            assert not CLASSES.search(message)


@pytest.mark.parametrize("alert_format", Format)
@pytest.mark.parametrize(
    "shape",
    [
        b"[" * 1_000_000,
        b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        b'"' + b'\\"' * 500_000,
        b'["' + b'","' * 250_000 + b'"]',
        b'{"alerts": ' + b"[" * 500_000 + b"]" * 500_000 + b"}",
        b"{}\n" * 100_000,
        b'{"detail": ' * 30 + json.dumps("[" * 400_000).encode() + b"}" * 30,
        b'{"a": 1,' * 100_000 + b'"a": 1' + b"}" * 100_000,
        b"9" * 1_000_000,
    ],
    ids=range(9),
)
def test_what_is_made_to_be_slow_is_no_slower_than_its_size(alert_format: Format, shape: bytes) -> None:
    # Quadratic at this size would be minutes, which no test would be waited for; nothing here is measured.
    assert read(shape[:MAX_BYTES], plain(alert_format))


CLASSES = re.compile(r"Generic|Finding\b|instance of|Input should|pydantic|Unreadable|_[A-Z]")
