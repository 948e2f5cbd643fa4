"""How a LiteLLM proxy is reached, and what can be done there."""

from typing import Final

from integrations.gateways.works import Product
from integrations.systems.litellm import KIND
from integrations.systems.litellm.canary import LiteLLMCanary, LiteLLMEndpoint
from integrations.systems.litellm.doctor import doctor
from integrations.systems.litellm.driver import LiteLLM
from integrations.systems.litellm.importing import look_through

WORKS: Final = Product(KIND, LiteLLM, LiteLLMCanary, LiteLLMEndpoint).works(
    LiteLLM, LiteLLMCanary, doctor=doctor, imports=look_through
)
