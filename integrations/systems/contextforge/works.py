"""How a ContextForge gateway is reached, and what can be done there."""

from typing import Final

from integrations.gateways.works import Product
from integrations.systems.contextforge import KIND
from integrations.systems.contextforge.canary import ForgeCanary
from integrations.systems.contextforge.doctor import doctor
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.importing import look_through
from integrations.systems.contextforge.settings import asks

WORKS: Final = Product(KIND, ContextForge, ForgeCanary).works(
    ContextForge, ForgeCanary, doctor=doctor, imports=look_through, configuration=asks
)
