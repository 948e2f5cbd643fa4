"""Arguments that a schema rejects, answers in both framings, and text that hides something."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.hostile import disguises, printable
from integrations.mcp.client import _answer
from integrations.mcp.probe import rejected_arguments

SCHEMAS = [
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    {"type": "object", "properties": {}, "additionalProperties": False},
    *(
        {"type": "object", "properties": {"x": {"type": kind}}}
        for kind in ("string", "integer", "number", "boolean", "array", "object", "null")
    ),
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_the_schema_really_rejects_them(schema: dict[str, object]) -> None:
    arguments = rejected_arguments(schema)
    assert arguments is not None
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(arguments, schema)


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, None, {"type": "object", "properties": {"x": {}}}])
def test_a_schema_that_takes_everything_is_left_to_people(schema: object) -> None:
    assert rejected_arguments(schema) is None


def test_answers_are_found_in_plain_bodies_and_in_event_streams() -> None:
    answer = {"jsonrpc": "2.0", "id": 7, "result": {"tools": []}}
    other = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}
    plain = json.dumps(answer).encode()
    stream = b"event: message\r\ndata: " + json.dumps(other).encode() + b"\r\n\r\ndata: " + plain + b"\r\n\r\n"
    assert _answer(plain, 7, framed=False) == answer
    assert _answer(stream, 7, framed=True) == answer
    assert _answer(plain, 8, framed=False) == {}, "another question's answer is no answer"
    assert _answer(b"<html>", 7, framed=False) == {}


@given(st.text())
def test_printable_text_hides_nothing(text: str) -> None:
    shown = printable(text)
    assert disguises(shown) == ()
    assert "\n" not in shown
    assert len(shown) <= 200


def test_what_is_hidden_is_written_out() -> None:
    assert printable("a\u200bb\x1b[2J\U000e0041") == "a\\u{200b}b\\u{1b}[2J\\u{e0041}"
