"""Questions whose answers cannot be mistaken: did a call get through, was it turned away, or is there no telling."""

from collections.abc import Callable
from typing import Any

from integrations.protocol.client import McpEndpoint, Reply
from playbooks.errors import SoarError
from playbooks.gate.plan import Answer, Finding
from playbooks.gate.refusing import rejected_arguments

__all__ = ["ask", "rejected_arguments"]


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
