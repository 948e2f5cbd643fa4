"""Every system that can be acted on or asked, one explicit list."""

from typing import Final

from integrations.system import Systems
from integrations.systems import (
    contextforge,
    denylist,
    keycloak,
    kubernetes,
    litellm,
    mcp,
    mcp_manager_gateway,
    oidc,
    ssf,
)

SYSTEMS: Final = Systems(
    (
        contextforge.SYSTEM,
        mcp_manager_gateway.SYSTEM,
        litellm.SYSTEM,
        kubernetes.SYSTEM,
        oidc.SYSTEM,
        keycloak.SYSTEM,
        denylist.SYSTEM,
        ssf.SYSTEM,
        mcp.SYSTEM,
    )
)
