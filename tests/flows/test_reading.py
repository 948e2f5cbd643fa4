"""The role that prefect.yaml tells operators to give to workers that read: it verifies, and writes nothing."""

import secrets
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from flows.pages import scheduled
from flows.reading import reports, verification
from integrations.journal.client import address
from integrations.journal.schema import grants
from integrations.journal.store import Journal
from integrations.signing import SigningKey
from playbooks.errors import Misconfigured, Refused
from playbooks.record.journal import Event
from tests.flows.cli.world import INVENTORY, Installation


@pytest.fixture
def site(tmp_path: Path) -> Installation:
    site = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    assert site.run("init", str(site.folder)).exit_code == 0
    (site.folder / "inventory.yaml").write_text(INVENTORY, encoding="utf-8")
    return site


async def test_a_role_that_reads_all_verifies_and_writes_nothing(
    postgres_url: str, site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    role, password = "reading_" + (make_url(postgres_url).database or ""), secrets.token_hex()
    mine = make_url(postgres_url).set(username=role, password=password).render_as_string(hide_password=False)
    key = SigningKey.load(site.folder / "keys" / "responder.key")
    engine = create_async_engine(address(postgres_url))
    try:
        async with await Journal.open(postgres_url, signer=key, name="r1") as owner:
            await owner.migrate()
            async with engine.begin() as connection:
                await connection.exec_driver_sql(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{password}'")
                for statement in grants(role, "reader"):
                    await connection.exec_driver_sql(statement)
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
    finally:
        await engine.dispose()


def test_a_worker_that_was_given_nothing_is_told_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(scheduled.CONFIG, raising=False)
    with pytest.raises(Misconfigured, match=scheduled.CONFIG):
        scheduled.configuration()
