"""Any OAuth or OpenID Connect provider that describes itself: what it issued is revoked there."""

from typing import Final

from integrations.identity.provider import provider_system
from integrations.system import Works

KIND: Final = "oidc"


def _works() -> Works:
    from integrations.systems.oidc.works import WORKS  # noqa: PLC0415  # imported when it is first needed

    return WORKS


SYSTEM = provider_system(KIND, "OpenID Connect", _works, __name__)
