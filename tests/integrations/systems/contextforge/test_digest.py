"""The digest of what a gateway holds: it is kept, and tells apart what Python takes for equal."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.systems.contextforge import held
from integrations.systems.contextforge.held import Held
from playbooks.estate.pins import PinKind
from playbooks.strict import fingerprint

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def tool(schema: Any) -> Held:  # noqa: ANN401  # any JSON
    return Held(PinKind.TOOL, {"id": "t-1", "name": "forecast", "originalName": "forecast", "inputSchema": schema})


@pytest.mark.parametrize(("one", "other"), [(False, 0), (True, 1), ("1", 1), ([], {})])
def test_what_python_takes_for_equal_is_told_apart(one: object, other: object) -> None:
    digests = {tool({"additionalProperties": value}).digest for value in (one, other, one, other)}
    assert len(digests) == 2


@given(JSON)
def test_what_is_kept_is_what_would_be_made(schema: object) -> None:
    whole = {**tool(schema).definition, "held": {"name": "forecast", "originalDescription": None, "url": None}}
    assert [tool(schema).digest for _ in range(2)] == [fingerprint(whole).digest] * 2


def test_what_is_nested_too_deep_to_be_kept_has_a_digest() -> None:
    deep: Any = {}
    for _ in range(5_000):
        deep = {"properties": deep}
    assert tool(deep).digest == tool(deep).digest != tool({}).digest


def test_a_gateway_that_shows_another_thing_each_time_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_MOST_KNOWN", 10)
    for number in range(100):
        assert tool({"title": str(number)}).digest
    assert len(held._known) <= 10  # noqa: SLF001  # what is kept
