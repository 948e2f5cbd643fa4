"""What a form says of a request, without Prefect: what was handed in before counts once, and that is said."""

import logging
from pathlib import Path

import pytest

from flows import hand_in
from integrations.journal.store import Journal
from integrations.signing import SigningKey
from tests.lab.journals import laid


async def test_a_request_that_was_judged_before_is_said_to_have_been_handed_in_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    laid(path)
    url = f"sqlite+aiosqlite:///{path}"
    monkeypatch.setenv(hand_in.INBOX, url)
    monkeypatch.setattr(hand_in, "TAKEN_WITHIN", 0.0)
    monkeypatch.setattr(hand_in, "get_run_logger", lambda: logging.getLogger("test"))

    async def put() -> str:
        return str((await hand_in._put("request", "n-1", b"{}", "kim's request to stop", "")).message)  # noqa: SLF001  # what every form does

    for _ in range(2):
        assert "no incident has taken it in" in await put()
    async with await Journal.open(url, signer=SigningKey.generate(tmp_path / "key"), name="test") as journal:
        (item,) = await journal.waiting(10)
        await journal.submit(lambda tx: tx.move(item.id, "system"))
    assert await put() == (
        "kim's request to stop had been handed in before, and counts once. What became of it: mcp-soar incidents"
    )
