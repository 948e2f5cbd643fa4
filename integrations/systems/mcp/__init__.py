"""MCP itself: what a server offers, what it answers, and whether that is what was approved."""

from integrations.system import System, Works, written


def _works() -> Works:
    from integrations.systems.mcp.works import WORKS  # noqa: PLC0415  # its client takes long to import

    return WORKS


SYSTEM = System(kind="mcp", title="MCP", works=_works, words=written(__name__))
