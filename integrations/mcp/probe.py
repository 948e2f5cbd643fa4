"""Questions whose answers cannot be mistaken: did a call get through, was it turned away, or is there no telling."""

from collections.abc import Callable
from typing import Any, Final

from integrations.mcp.client import McpEndpoint, Reply
from playbooks.errors import SoarError
from playbooks.plan import Answer, Finding

_MARK: Final = "mcp_soar_probe"
_WRONG: Final[dict[str, Any]] = {"string": [], "array": "probe", "object": "probe", "boolean": [], "null": "probe"}


def rejected_arguments(schema: object) -> dict[str, Any] | None:
    """Return arguments that a tool's input schema rejects, so that a call which gets through still does nothing.

    Args:
        schema: the tool's `inputSchema`.

    Returns:
        The arguments, or None if the schema takes everything: then only a person can name safe ones.
    """
    if not isinstance(schema, dict):
        return None
    if schema.get("required"):
        return {}
    if schema.get("additionalProperties") is False:
        return {_MARK: True}
    properties = schema.get("properties")
    for name, property_ in properties.items() if isinstance(properties, dict) else ():
        kind = property_.get("type") if isinstance(property_, dict) else None
        if isinstance(kind, str):
            return {name: _WRONG.get(kind, "probe")}
    return None


async def ask(
    endpoint: McpEndpoint,
    method: str,
    params: dict[str, Any],
    *,
    check: str,
    subject: str,
    expected: str,
    meaning: Callable[[Reply], Answer],
    ahead: bool = False,
) -> Finding:
    """Put one question and return what its answer means; no answer, and no MCP answer, mean `unknown`.

    Args:
        endpoint: where, and as whom.
        method: of MCP.
        params: of the method.
        check: the finding's name.
        subject: of what.
        expected: the answer that holds, in words.
        meaning: what an MCP answer means.
        ahead: of what waits for its turn at the endpoint.
    """
    try:
        reply = await endpoint.ask(method, params, ahead=ahead)
    except SoarError as exc:
        observed, answer = str(exc), Answer.UNKNOWN
    else:
        observed = reply.said
        # 401, 403 or a web page: turned away for a reason of its own, which says nothing about what is asked here.
        answer = Answer.UNKNOWN if reply.result is None and reply.error is None else meaning(reply)
    return Finding(
        check=check,
        subject=subject[:2000],
        asked_as=endpoint.principal,
        expected=expected,
        observed=observed,
        answer=answer,
    )
