"""Accounts at a test's PostgreSQL database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from integrations.journal.client import address


class Account(NamedTuple):
    """One to sign in with.

    Args:
        name: of the role.
        url: the database, as it signs in there.
    """

    name: str
    url: str


@asynccontextmanager
async def account(url: str, part: str) -> AsyncIterator[Account]:
    """Make an account that nobody gave any right, and take it away afterwards with all that it was given.

    Args:
        url: of the database, as its superuser.
        part: what it is for.
    """
    parsed, engine = make_url(url), create_async_engine(address(url))
    name = f"{part}_{parsed.database}"
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{name}'")
    try:
        yield Account(name, parsed.set(username=name, password=name).render_as_string(hide_password=False))
    finally:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(f'DROP OWNED BY "{name}"')
            await connection.exec_driver_sql(f'DROP ROLE "{name}"')
        await engine.dispose()
