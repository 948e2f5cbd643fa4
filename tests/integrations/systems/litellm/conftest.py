"""A server behind a stand-in for a LiteLLM proxy, for each test a fresh one in its own event loop."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flows.demo.mcp_server import McpServer
from tests.lab.litellm import Proxied, proxied


@pytest.fixture
async def lab(victim: McpServer, tmp_path: Path) -> AsyncIterator[Proxied]:
    """A server of its own behind a proxy of its own."""
    async with proxied(victim, tmp_path / "proxied") as one:
        yield one
