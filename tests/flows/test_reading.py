"""The role that prefect.yaml tells operators to give to workers that read: it verifies, and writes nothing."""

from datetime import timedelta
from pathlib import Path

import pytest

from flows.pages import scheduled
from flows.reading import reports, verification
from integrations.journal.store import Journal
from integrations.signing import SigningKey
from playbooks.errors import Misconfigured, Refused
from playbooks.record.journal import Event
from tests.flows.cli.world import INVENTORY, Installation
from tests.lab.accounts import account


@pytest.fixture
def site(tmp_path: Path) -> Installation:
    site = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    assert site.run("init", str(site.folder)).exit_code == 0
    (site.folder / "inventory.yaml").write_text(INVENTORY, encoding="utf-8")
    return site


async def test_a_role_that_reads_all_verifies_and_writes_nothing(
    postgres_url: str, site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SigningKey.load(site.folder / "keys" / "responder.key")
    async with (
        account(postgres_url, "reading") as (role, mine),
        await Journal.open(postgres_url, signer=key, name="r1") as owner,
    ):
        await owner.migrate()
        await owner.grant(role, "reader")
        await owner.append("system", [Event("x", {})])
        monkeypatch.setenv(scheduled.CONFIG, str(site.folder))
        monkeypatch.setenv(scheduled.JOURNAL, mine)
        config = scheduled.configuration()
        async with scheduled.journal(config) as journal:
            checks = await verification.chain(journal, config, None, lambda *_: None)
            assert {check["check"] for check in checks} >= {"journal", "kill-switch"}
            assert all(check["ok"] for check in checks), checks
            await reports.week(journal, config, timedelta(days=7))
            with pytest.raises((Misconfigured, Refused)):
                await journal.waiting(10)
            with pytest.raises((Misconfigured, Refused)):
                await journal.put(kind="alert", source="s", nonce="1", body=b"x", headers={})
        async with await Journal.open(mine, signer=key, name="forger") as forger:
            with pytest.raises((Misconfigured, Refused)):
                await forger.append("system", [Event("forged", {})])


def test_a_worker_that_was_given_nothing_is_told_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(scheduled.CONFIG, raising=False)
    with pytest.raises(Misconfigured, match=scheduled.CONFIG):
        scheduled.configuration()
