"""What somebody else chose to say is no entry of its own in a log, and no command to the terminal that shows it."""

import logging

import pytest

from flows.service.part import Masking

FORGED = "2026-11-30 12:00:00,000 INFO mcp_soar.engine: inc-1: contained, established"


def logged(message: str, failure: Exception | None = None) -> str:
    """Return what is written of an entry."""
    info = (type(failure), failure, None) if failure else None
    record = logging.LogRecord("mcp_soar.engine", logging.WARNING, "", 0, "%s: refused", (message,), info)
    return Masking("%(asctime)s %(levelname)s %(name)s: %(message)s").format(record)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
@pytest.mark.parametrize("quoted", [False, True])
def test_no_message_begins_an_entry(end: str, *, quoted: bool) -> None:
    said = f"x{end}{FORGED}"
    text = logged("cluster prod", ValueError(said)) if quoted else logged(said)
    first, *others = text.splitlines()
    assert first.partition(" WARNING ")[2].startswith("mcp_soar.engine: ")
    assert FORGED in text
    assert all(line.startswith("    ") for line in others)


def test_nothing_moves_the_cursor_or_hides() -> None:
    text = logged("\x1b]0;owned\x07\x1b[2J\u202eabc\u200b" + "\ufdfa" * 50)
    assert "\\u{1b}]0;owned\\u{7}\\u{1b}[2J\\u{202e}abc\\u{200b}" in text
    assert text.isprintable()
    assert text.endswith(": refused"), "and nothing of it is cut"
