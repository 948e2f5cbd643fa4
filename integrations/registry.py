"""Every system that can be acted on or asked, one explicit list."""

from typing import Final

from integrations.system import Systems
from integrations.systems import contextforge, mcp

SYSTEMS: Final = Systems((contextforge.SYSTEM, mcp.SYSTEM))
