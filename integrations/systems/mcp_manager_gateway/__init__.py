"""mcp-manager-gateway: what it holds, and the cuts that it can make."""

from typing import Final

from integrations.gateways.description import gateway_system
from integrations.system import Works

KIND: Final = "mcp-manager-gateway"


def _works() -> Works:
    from integrations.systems.mcp_manager_gateway.works import WORKS  # noqa: PLC0415  # its client takes long to import

    return WORKS


SYSTEM = gateway_system(KIND, KIND, _works, __name__)
