"""What came back for one request to an MCP address."""

import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from integrations.hostile import printable


@dataclass(frozen=True)
class Reply:
    """What came back for one request.

    Args:
        status: of HTTP; 0 where there is none.
        result: the JSON-RPC result, if there was one.
        error: the JSON-RPC error, if there was one.
        raw: the body.
    """

    status: int
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    raw: bytes

    @property
    def text(self) -> str:
        """What it says to a person: the error's message or the text of a tool's answer; hostile, but printable."""
        if self.error is not None:
            return printable(_written(self.error.get("message", self.error)), 500)
        if self.result is not None:
            return printable(" ".join(texts(self.result)) or _written(self.result), 500)
        return printable(self.raw.decode(errors="replace"), 500)

    @property
    def failed(self) -> bool:
        """Whether it is an error: of JSON-RPC, of the tool, or no answer of that protocol at all."""
        return self.result is None or bool(self.result.get("isError"))

    @property
    def said(self) -> str:
        """The answer in a line for findings."""
        if self.error is not None:
            kind = f"error {printable(_written(self.error.get('code')), 20)}"
        elif self.result is not None:
            kind = "tool error" if self.result.get("isError") else "result"
        else:
            kind = "no JSON-RPC"
        where = f"HTTP {self.status}" if self.status else "stdio"
        return f"{where}, {kind}: {self.text[:160]}"


def texts(result: dict[str, Any]) -> list[str]:
    """Return the texts of a tool's answer, as they are."""
    content = result.get("content")
    blocks = content if isinstance(content, list) else []
    return [_written(block.get("text")) for block in blocks if isinstance(block, dict) and block.get("type") == "text"]


def spoken(result: dict[str, Any]) -> str:
    """Return all that a model is given of an answer: a tool's texts and structured content, a prompt's, a resource's.

    Args:
        result: of `tools/call`, `prompts/get` or `resources/read`; what has another form says nothing.
    """
    found: list[str] = []
    waiting = deque([result.get("content"), result.get("messages"), result.get("contents")])
    while waiting:
        value = waiting.popleft()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            if isinstance(text := value.get("text"), str):
                found.append(text)
            # A prompt's message holds its text in `content`, an embedded resource in `resource`.
            waiting.extend((value.get("content"), value.get("resource")))
    if (structured := result.get("structuredContent")) is not None:
        found.append(_written(structured))
    return "\n".join(found)


def _written(value: object) -> str:
    """Return a value as text, for people: a text as it is, anything else as JSON, however deep it is nested."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return "(cannot be written out)"
