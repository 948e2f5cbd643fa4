"""The PostgreSQL that other tests rely on is a real one: durable, private, unprivileged."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.lab.postgres import PostgresServer


async def ask(url: str, *statements: str) -> object:
    """Run the statements in one transaction; return the last one's first value, if it has any."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            results = [await connection.execute(text(statement)) for statement in statements]
            return results[-1].scalar() if results[-1].returns_rows else None
    finally:
        await engine.dispose()


async def test_what_was_committed_outlives_the_server(postgres: PostgresServer, postgres_url: str) -> None:
    await ask(postgres_url, "CREATE TABLE entry (seq int)", "INSERT INTO entry VALUES (7)")

    await asyncio.to_thread(postgres.stop)
    with pytest.raises(ConnectionRefusedError):
        await ask(postgres_url, "SELECT 1")
    await asyncio.to_thread(postgres.start)

    assert await ask(postgres_url, "SELECT seq FROM entry") == 7
    assert await ask(postgres_url, "SHOW fsync") == "on"


async def test_each_database_is_fresh_and_dropped(postgres: PostgresServer) -> None:
    with postgres.fresh_database() as first, postgres.fresh_database() as second:
        await ask(first, "CREATE TABLE entry (seq int)")
        assert await ask(second, "SELECT to_regclass('entry')") is None

    with pytest.raises(asyncpg.InvalidCatalogNameError, match="does not exist"):
        await ask(first, "SELECT 1")


async def test_nobody_gets_in_without_the_password(postgres: PostgresServer, postgres_url: str) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(postgres_url.replace(postgres.password, "guess"), "SELECT 1")
