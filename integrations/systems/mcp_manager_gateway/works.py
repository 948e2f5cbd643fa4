"""How an mcp-manager-gateway is reached, and what can be done there."""

from typing import Final

from integrations.gateways.works import Product
from integrations.protocol.client import Conversed
from integrations.systems.mcp_manager_gateway import KIND
from integrations.systems.mcp_manager_gateway.canary import ManagerCanary
from integrations.systems.mcp_manager_gateway.doctor import doctor
from integrations.systems.mcp_manager_gateway.driver import ManagerGateway
from integrations.systems.mcp_manager_gateway.importing import look_through

# It keeps a session for each client of before 2026-07-28, and answers nothing without one.
WORKS: Final = Product(KIND, ManagerGateway, ManagerCanary, Conversed).works(
    ManagerGateway, ManagerCanary, doctor=doctor, imports=look_through
)
