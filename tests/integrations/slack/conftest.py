"""A workspace of its own for each test."""

from collections.abc import AsyncIterator

import pytest

from integrations.channels.slack.channel import SlackChannel
from tests.lab.slack import BOT_TOKEN, FakeSlack, fake_slack


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    """The workspace."""
    async with fake_slack() as workspace:
        yield workspace


@pytest.fixture
async def channel(slack: FakeSlack) -> AsyncIterator[SlackChannel]:
    """Our way into it."""
    ours = SlackChannel(BOT_TOKEN, slack.url)
    try:
        yield ours
    finally:
        await ours.aclose()
