"""A page is loaded again until it is as it has to be, as a person does."""

import asyncio
from collections.abc import Awaitable, Callable

from playwright.async_api import Page
from playwright.async_api import TimeoutError as TooLate

PATIENCE = 480.0
"""Seconds within which a page is as it has to be, however often it is loaded for it."""


async def again_until(walk: Callable[[], Awaitable[None]]) -> None:
    """Walk through a page, from its loading on, as often as it takes.

    A person does so too: for what is answered 503 while its SQLite is busy, a page of Prefect draws nothing; nor does
    one of which the browser gave up a part because this machine's networks changed, as they do with each pod.
    """
    lacked: Exception | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    return await walk()
                except (AssertionError, TooLate) as exc:
                    lacked = exc
    except TimeoutError as exc:
        raise AssertionError(str(lacked)) from exc


async def put_away(page: Page) -> None:
    """Show nothing until a page is loaded: one that nobody looks at asks and draws for as long as others work."""
    await page.goto("about:blank")
