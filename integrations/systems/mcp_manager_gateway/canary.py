"""What a client meets at an mcp-manager-gateway: its refusals, by the code that it gives them.

A tool that is disabled, one of a server that is disabled, and one that never was are answered alike: `tool_not_found`.
It checks a call's arguments itself, before the server sees them: so a call that a tool's schema rejects tells whether
the tool is there, runs nothing, and is answered by nobody but the gateway.
"""

from typing import Final

from typing_extensions import override

from integrations.gateways.canary import Canary
from integrations.protocol.client import Reply
from playbooks.estate.pins import PinKind

_REFUSALS: Final = frozenset({"tool_not_found", "disabled"})
_DOUBTS: Final = frozenset(
    {
        "auth_required",
        "busy",
        "credential_changed",
        "forbidden",
        "lease_expired",
        "permission_revoked",
        "revision_changed",
        "shutting_down",
        "startup_failed",
        "startup_timeout",
    }
)
"""It had no way to its server, or not for us: nothing follows for when it has, or for others."""


class ManagerCanary(Canary):
    """Our canary at an mcp-manager-gateway."""

    @override
    def met(self, kind: PinKind, name: str, reply: Reply, absent: Reply | None) -> bool | None:
        if kind is not PinKind.TOOL:
            # A prompt that is not there is answered as an error of its own; a resource by words for both.
            return None if reply.failed else False
        code = code_of(reply)
        # Its refusals are errors; the same code in a successful result is the server's own.
        if reply.failed and code in _REFUSALS:
            return True
        return None if reply.failed and code in _DOUBTS else False


def code_of(reply: Reply) -> str:
    """Return the gateway's code of an error; empty if the answer has none."""
    content = reply.result.get("structuredContent") if reply.result else None
    error = content.get("error") if isinstance(content, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else ""
