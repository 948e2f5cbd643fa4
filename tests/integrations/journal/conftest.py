"""Each test runs on a real SQLite file and on a real PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from integrations.journal import Journal
from integrations.journal.client import address
from integrations.signing import PublicKey, SigningKey

Open = Callable[..., Awaitable[Journal]]
Sql = Callable[..., Awaitable[Sequence[Any]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty database that only this test has."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'journal.db'}"
    postgres: str = request.getfixturevalue("postgres_url")
    return postgres


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """Give a responder's key."""
    return SigningKey.generate(tmp_path / "responder.key")


@pytest.fixture
async def open_journal(url: str, key: SigningKey) -> AsyncIterator[Open]:
    """Give a function that opens the test's journal, as another process would, and close all of them afterwards."""
    async with AsyncExitStack() as stack:

        async def opened(
            name: str = "r1",
            *,
            url: str = url,
            signer: SigningKey | None = key,
            keys: Sequence[PublicKey] = (),
        ) -> Journal:
            known = [key.public] if signer is None else keys
            return await stack.enter_async_context(await Journal.open(url, signer=signer, name=name, keys=known))

        yield opened


@pytest.fixture
async def journal(open_journal: Open) -> Journal:
    """Give a migrated journal that can write."""
    journal = await open_journal()
    await journal.migrate()
    return journal


@pytest.fixture
def sql(url: str) -> Sql:
    """Give a function that runs statements in the database behind the journal's back."""

    async def run(*statements: str, **values: Any) -> Sequence[Any]:  # noqa: ANN401
        engine = create_async_engine(address(url))
        try:
            async with engine.begin() as connection:
                rows: Sequence[Any] = []
                for statement in statements:
                    result = await connection.execute(text(statement), values)
                    rows = result.all() if result.returns_rows else []
                return rows
        finally:
            await engine.dispose()

    return run
