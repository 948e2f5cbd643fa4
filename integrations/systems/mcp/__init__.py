"""MCP itself: what a server offers, what it answers, and whether that is what was approved."""

from collections.abc import Iterator

from integrations.system import System, Works, written
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import Secret


def _works() -> Works:
    from integrations.systems.mcp.works import WORKS  # noqa: PLC0415  # its client takes long to import

    return WORKS


def _secrets(inventory: Inventory) -> Iterator[tuple[str, Secret]]:
    for name, server in inventory.servers.items():
        if server.probing and (canary := server.probing.canary):
            yield f"servers.{name}.probing.canary.secret", canary.secret
            if canary.expired:
                yield f"servers.{name}.probing.canary.expired", canary.expired


SYSTEM = System(kind="mcp", title="MCP", works=_works, words=written(__name__), secrets=_secrets)
