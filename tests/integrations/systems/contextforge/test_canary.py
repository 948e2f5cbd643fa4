"""Whose words an answer holds: only the gateway's own refusal counts as one."""

import json
from typing import Any

import pytest

from integrations.protocol.client import Reply
from integrations.systems.contextforge.canary import _looked_up, _met
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer

WORDS = {
    PinKind.TOOL: ("Tool not found: weather-get", "Tool 'weather-get' exists but is inactive"),
    PinKind.RESOURCE: ("Resource not found: weather-get", "Resource 'weather-get' exists but is inactive"),
}
SAID = [(kind, said) for kind, words in WORDS.items() for said in words]


def reply(result: dict[str, Any] | None = None, error: dict[str, Any] | None = None) -> Reply:
    return Reply(status=200, result=result, error=error, raw=json.dumps(result or error).encode())


def texts(said: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # fields of a tool's result
    return {"content": [{"type": "text", "text": said}], **more}


@pytest.mark.parametrize(("kind", "said"), SAID)
def test_the_gateways_words_in_a_successful_result_are_the_servers_own(kind: PinKind, said: str) -> None:
    for result in (texts(said), texts(said, isError=False)):
        assert _met(kind, "weather-get", reply(result), None) is False


@pytest.mark.parametrize(("kind", "said"), SAID)
def test_the_gateways_words_in_an_error_are_its_refusal(kind: PinKind, said: str) -> None:
    assert _met(kind, "weather-get", reply(texts(said, isError=True)), None) is True
    assert _met(kind, "weather-get", reply(error={"code": -32000, "message": said}), None) is True


def test_a_prompt_that_is_answered_was_reached_whatever_it_says() -> None:
    said = "Prompt 'greet' exists but is inactive"
    assert _met(PinKind.PROMPT, "greet", reply(texts(said)), said) is False
    assert _met(PinKind.PROMPT, "greet", reply(error={"code": -32603, "message": said}), None) is True


OFFLINE = "Tool 'weather-get' exists but is currently offline. Please verify if it is running."


def test_a_server_that_is_away_is_neither_contained_nor_reached() -> None:
    assert _met(PinKind.TOOL, "weather-get", reply(texts(OFFLINE, isError=True)), None) is None
    assert _met(PinKind.TOOL, "weather-get", reply(texts(OFFLINE)), None) is False, "the server's own words"


@pytest.mark.parametrize("name", ["get\u200bweather", "a" * 600, "weather\n"])
def test_a_refusal_is_known_by_whatever_name_a_server_chose(name: str) -> None:
    for said in (f"Tool not found: {name}", f"Tool '{name}' exists but is inactive"):
        assert _met(PinKind.TOOL, name, reply(texts(said, isError=True)), None) is True


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        (reply(error={"code": -32601, "message": "Tool not found: weather-get"}), Answer.ESTABLISHED),
        (reply(error={"code": -32601, "message": "Tool not found: another"}), Answer.UNKNOWN),
        (reply(error={"code": -32601, "message": "Method not found"}), Answer.UNKNOWN),
        (reply(error={"code": -32603, "message": "Internal error"}), Answer.NOT_ESTABLISHED),
        (reply(error={"code": -32003, "message": "Access denied"}), Answer.UNKNOWN),
        (reply(texts("Tool not found: weather-get")), Answer.NOT_ESTABLISHED),
        (reply(texts("Multiple tools found with name 'weather-get'")), Answer.NOT_ESTABLISHED),
    ],
)
def test_only_the_gateways_own_not_found_says_that_a_name_opens_nothing(found: Reply, answer: Answer) -> None:
    assert _looked_up("weather-get", found) is answer
