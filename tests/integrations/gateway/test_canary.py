"""Whose words an answer holds: only the gateway's own refusal counts as one."""

import json
from typing import Any

import pytest

from integrations.gateway.canary import _met
from integrations.mcp.client import Reply
from playbooks.inventory import PinKind

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
