"""How any provider is reached, and what can be done there."""

from typing import Final

from integrations.identity.works import provider_works
from integrations.systems.oidc import KIND

WORKS: Final = provider_works(KIND)
