"""Arguments that a schema rejects, answers in both framings, and text that hides something."""

import json

import jsonschema
import pytest
import referencing.exceptions
from hypothesis import given
from hypothesis import strategies as st

from integrations.hostile import disguises, printable
from integrations.protocol.wire import Body
from playbooks.gate.refusing import can_refuse, rejected_arguments

OBJECT: dict[str, object] = {"type": "object"}
SCHEMAS: list[dict[str, object]] = [
    {**OBJECT, "properties": {"city": {"type": "string"}}, "required": ["city"]},
    {**OBJECT, "properties": {}, "additionalProperties": False},
    *(
        {**OBJECT, "properties": {"x": {"type": kind}}}
        for kind in ("string", "integer", "number", "boolean", "array", "object", "null")
    ),
    # As the generators of today write what is optional, what is named once and what is one of a few.
    {**OBJECT, "properties": {"q": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}}},
    {**OBJECT, "properties": {"q": {"type": ["string", "null"]}}},
    {**OBJECT, "properties": {"q": {"$ref": "#/$defs/Q"}}, "$defs": {"Q": {"type": "string", "maxLength": 3}}},
    {"$ref": "#/$defs/In", "$defs": {"In": {**OBJECT, "properties": {"a": {"type": "string"}}, "required": ["a"]}}},
    {**OBJECT, "properties": {"unit": {"enum": ["c", "f"]}}},
    {**OBJECT, "properties": {"unit": {"const": "c"}}},
    {"allOf": [OBJECT, {"required": ["a"]}]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_the_schema_really_rejects_them(schema: dict[str, object]) -> None:
    arguments = rejected_arguments(schema)
    assert arguments is not None
    assert can_refuse(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(arguments, schema)


ENDLESS: dict[str, object] = {"$ref": "#/$defs/A", "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}] * 9}}}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        OBJECT,
        None,
        {**OBJECT, "properties": {"x": {}}},
        {**OBJECT, "properties": {}},
        {**OBJECT, "properties": {"x": {"type": ["string", "number", "boolean", "array", "object", "null"]}}},
        {**OBJECT, "properties": {"x": {"anyOf": [{"type": "string"}, {}]}}},
        {"$ref": "https://example.com/schema"},
        ENDLESS,
        {"type": 7, "properties": [], "required": "a", "anyOf": {}, "enum": None, "$ref": []},
    ],
)
def test_a_schema_that_takes_everything_or_says_nothing_is_left_to_people(schema: object) -> None:
    assert rejected_arguments(schema) is None
    assert not can_refuse(schema)


PARTS: st.SearchStrategy[object] = st.deferred(
    lambda: (
        st.booleans()
        | st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(["string", "integer", "object", "null", "array"])
                | st.lists(st.sampled_from(["string", "number", "boolean"]), min_size=1, max_size=3, unique=True),
                "properties": st.dictionaries(st.sampled_from(["a", "b"]), PARTS, max_size=2),
                "required": st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True),
                "additionalProperties": st.booleans(),
                "anyOf": st.lists(PARTS, min_size=1, max_size=3),
                "oneOf": st.lists(PARTS, min_size=1, max_size=3),
                "allOf": st.lists(PARTS, min_size=1, max_size=2),
                "enum": st.lists(st.none() | st.booleans() | st.text(max_size=2), min_size=1, max_size=3),
                "$ref": st.sampled_from(["#", "#/$defs/a", "#/properties/a", "#/nowhere"]),
            },
        )
    )
)


@given(PARTS)
def test_what_is_called_refused_is_refused_by_a_validator_of_others(schema: object) -> None:
    arguments = rejected_arguments(schema)
    if arguments is None:
        return
    validator = jsonschema.Draft202012Validator(schema if isinstance(schema, dict) else {"allOf": [schema]})
    try:
        accepted = validator.is_valid(arguments)
    except (RecursionError, referencing.exceptions.Unresolvable):
        return  # a reference into nothing, or into itself: the other one gives up
    assert not accepted


async def test_answers_are_found_in_plain_bodies_and_in_event_streams() -> None:
    answer = {"jsonrpc": "2.0", "id": 7, "result": {"tools": []}}
    other = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}
    plain = json.dumps(answer).encode()
    stream = b"event: message\r\ndata: " + json.dumps(other).encode() + b"\r\n\r\ndata: " + plain + b"\r\n\r\n"

    async def found(raw: bytes, number: int, *, framed: bool, at_once: int) -> dict[str, object]:
        body = Body(number, framed=framed)
        for start in range(0, len(raw), at_once):
            if await body.takes(raw[start : start + at_once]):
                break
        return await body.ends()

    for at_once in (1, 7, 1000):
        assert await found(plain, 7, framed=False, at_once=at_once) == answer
        assert await found(stream, 7, framed=True, at_once=at_once) == answer
        assert await found(stream.removesuffix(b"\r\n\r\n"), 7, framed=True, at_once=at_once) == answer
        assert await found(plain, 8, framed=False, at_once=at_once) == {}, "another question's answer is no answer"
    assert await found(b"<html>", 7, framed=False, at_once=1) == {}


@given(st.text())
def test_printable_text_hides_nothing(text: str) -> None:
    shown = printable(text)
    assert disguises(shown) == ()
    assert "\n" not in shown
    assert len(shown) <= 200


def test_what_is_hidden_is_written_out() -> None:
    assert printable("a\u200bb\x1b[2J\U000e0041") == "a\\u{200b}b\\u{1b}[2J\\u{e0041}"
