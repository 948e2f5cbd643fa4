"""The log as a way to be told: one line for each message, whatever stands in it."""

import logging

import pytest

from integrations.channels.log.notifier import LOG, MOST, LogChannel
from playbooks.people.contacts import Contact
from playbooks.people.message import Message

HOSTILE = "tool forecast\n2026-01-31 ERROR forged\r\x1b[2J\x1b[31mred\u202e\u2028 (journal head 12:0123456789abcdef)"


def message(text: str) -> Message:
    return Message("inc-2026-000001", "opened", "opened", urgent=True, subject="", text=text)


async def logged(caplog: pytest.LogCaptureFixture, text: str, **more: str) -> list[str]:
    with caplog.at_level(logging.WARNING, LOG.name):
        sent = await LogChannel().send(Contact(), message(text), **more)
    assert sent.where == f"log {LOG.name}"
    return [record.getMessage() for record in caplog.records if record.name == LOG.name]


async def test_a_message_is_one_line_that_forges_no_other_and_moves_no_cursor(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = await logged(caplog, HOSTILE)
    assert line.startswith("inc-2026-000001 [opened] tool forecast 2026-01-31 ERROR forged ")
    assert line.endswith("(journal head 12:0123456789abcdef)")
    assert line.isprintable()
    assert [record.levelname for record in caplog.records if record.name == LOG.name] == ["WARNING"]


async def test_what_is_very_long_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = await logged(caplog, "x" * 100_000)
    assert len(line) < MOST + 100


async def test_what_stands_there_already_is_not_written_again(caplog: pytest.LogCaptureFixture) -> None:
    assert await logged(caplog, "it stands so now", thread="a", update="a") == []
