"""A real browser, as a responder has one: Debian's Chromium, without a window."""

import http
import logging
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, Response, async_playwright, expect

from flows.demo.contextforge import RunningGateway
from flows.demo.mcp_server import McpServer
from flows.demo.site import build
from tests.browser.reloading import again_until, put_away
from tests.lab.fixtures import unique_name
from tests.lab.places import Place
from tests.lab.prefect import PrefectServer

_LOG = logging.getLogger(__name__)

PICTURES = "MCP_SOAR_PICTURES"
WITHIN = 60_000
"""Milliseconds that a page may take to show something, on a loaded machine; then it is loaded again."""


@pytest.fixture
async def page(prefect: PrefectServer) -> AsyncIterator[Page]:
    """A page of Prefect's UI, signed in as people sign in."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed (no chromium on PATH)")
    expect.set_options(timeout=WITHIN)
    async with async_playwright() as playwright:
        # Inside a container there are no namespaces for its own sandbox; the pages are ours. A graphics card that is
        # not there is worked out by processor, each picture of whatever moves.
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            context = await browser.new_context(
                viewport={"width": 1280, "height": 1000}, color_scheme="light", reduced_motion="reduce"
            )
            context.set_default_timeout(WITHIN)
            page = await context.new_page()
            _say_what_fails(page)

            async def sign_in() -> None:
                await page.goto(prefect.api.removesuffix("/api") + "/login?redirect=/runs")
                await page.locator("input").fill(prefect.auth)
                await page.get_by_role("button", name="Login").click()
                await page.wait_for_url("**/runs**")

            await again_until(sign_in)
            await put_away(page)
            yield page
        finally:
            await browser.close()


def _say_what_fails(page: Page) -> None:
    """Log what a page could not load and what its scripts threw: a form that is not drawn says nothing itself."""

    def answered(response: Response) -> None:
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            _LOG.warning("%s answered %s", response.url, response.status)

    page.on("response", answered)
    page.on("requestfailed", lambda request: _LOG.warning("%s: %s", request.url, request.failure))
    page.on("pageerror", lambda error: _LOG.warning("a script of the page threw %s", error))


@pytest.fixture
async def place(
    gateway: RunningGateway, mcp_process: McpServer, tmp_path: Path, pictures: Path | None
) -> AsyncIterator[Place]:
    """A server behind the real gateway; in pictures under the name that it has in the demonstration."""
    server = McpServer(mcp_process.port, mcp_process.folder, name=unique_name("victim"))
    name = "weather" if pictures else unique_name("weather")
    yield Place(gateway, server, await build(gateway, server, tmp_path / "site", name=name), b"", {})
    server.behave()


@pytest.fixture
def pictures() -> Path | None:
    """The folder for pictures of the pages, if somebody wants them: `make pictures`."""
    return Path(os.environ[PICTURES]) if os.environ.get(PICTURES) else None
