"""One socket to Slack that is always there: opened, watched, and replaced before it closes.

Slack replaces each every few hours and says so; then there are two for a moment, so that no press falls between them
(https://docs.slack.dev/apis/events-api/using-socket-mode). When Slack is away it is asked again, more and more rarely.
"""

import asyncio
import json
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import aiohttp
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.web.async_client import AsyncWebClient

from integrations.channels.slack.client import QUIET, SlackApi
from playbooks.errors import SoarError, Transient

LOG = logging.getLogger("mcp_soar.slack")
_OPENING: Final = 15.0
_CLOSING: Final = 2.0
_GLANCE: Final = 0.5
_LONGEST: Final = 60.0
_STEADY: Final = 30.0
"""Seconds after which a socket that closes is no sign of trouble."""


class Link(SocketModeClient):
    """One connection. The SDK's client receives and pings; when it is over it is over, and another one is opened.

    Left to itself the SDK tries an address that is good for one connection again and again, and never gets back after
    an outage.

    Args:
        app_token: `xapp-…`.
        web: the Web API.
        take: called with this link and each frame.
    """

    def __init__(self, app_token: str, web: AsyncWebClient, take: "Callable[[Link, str], None]") -> None:
        super().__init__(app_token, logger=QUIET, web_client=web)
        self.proxy = None
        self.greeted = asyncio.Event()
        self.over = asyncio.Event()
        self._take = take

    async def open(self, address: str) -> None:
        """Connect and wait for Slack's greeting."""
        self.wss_uri = address
        await self.connect()
        await self.greeted.wait()

    async def connect(self) -> None:
        """Connect once, with the SDK's receiver and its pings."""
        self.current_session = await self.aiohttp_client_session.ws_connect(
            str(self.wss_uri), autoping=False, heartbeat=self.ping_interval
        )
        self.current_session_monitor = asyncio.ensure_future(self.monitor_current_session())
        self.message_receiver = asyncio.ensure_future(self.receive_messages())

    async def enqueue_message(self, message: str) -> None:
        """Pass a frame on, instead of queueing it."""
        self._take(self, message)

    async def connect_to_new_endpoint(self, force: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  # upstream's signature
        """Say that this connection is over, instead of replacing it."""
        self.over.set()

    @property
    def alive(self) -> bool:
        """Whether it is open."""
        return self.current_session is not None and not self.current_session.closed

    async def acknowledge(self, envelope: str, payload: Mapping[str, Any] | None) -> bool:
        """Acknowledge an envelope, and return whether that could be sent."""
        body = {"envelope_id": envelope} | ({"payload": payload} if payload else {})
        try:
            if self.current_session is not None:
                await self.current_session.send_str(json.dumps(body))
                return True
        except (OSError, RuntimeError, aiohttp.ClientError):
            # It closed.
            pass
        return False

    async def close(self) -> None:
        """Close it, and end what runs for it."""
        self.closed = True
        running = [self.message_processor, self.current_session_monitor, self.message_receiver]
        tasks = [task for task in running if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(TimeoutError, OSError, aiohttp.ClientError):
            async with asyncio.timeout(_CLOSING):
                if self.current_session is not None:
                    await self.current_session.close()
        await self.aiohttp_client_session.close()


class Sockets:
    """Keeps a connection open.

    Args:
        app_token: `xapp-…`.
        url: of the Web API.
        take: called with the link and each frame, the greeting and the farewell included.
        pause: seconds before the first new attempt.
    """

    def __init__(self, app_token: str, url: str, take: Callable[[Link, str], None], *, pause: float) -> None:
        self.current: Link | None = None
        self._api = SlackApi(app_token, url)
        self._app_token = app_token
        self._take = take
        self._pause = pause
        self._said = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Keep a connection open until `stop` is set."""
        clock = asyncio.get_running_loop().time
        wait = self._pause
        while not stop.is_set():
            try:
                fresh = await self._open()
            except SoarError as exc:
                self._say(f"Slack: nobody can press anything for now: {exc}")
                asked = exc.retry_after if isinstance(exc, Transient) and exc.retry_after else 0.0
                # Not all at the same moment, when Slack comes back.
                await _until(stop, max(asked, wait * random.uniform(0.7, 1.0)))  # noqa: S311  # no secret
                wait = min(wait * 2, _LONGEST)
                continue
            self._said = ""
            LOG.info("Slack: listening for what is pressed")
            # The old one may have delivered something until now.
            old, self.current = self.current, fresh
            if old is not None:
                await old.close()
            since = clock()
            while fresh.alive and not (stop.is_set() or fresh.over.is_set()):
                await _until(stop, _GLANCE, fresh.over)
            if stop.is_set():
                return
            wait = self._pause if clock() - since > _STEADY else min(wait * 2, _LONGEST)
            LOG.info("Slack: the socket is over; opening another one")
            await _until(stop, self._pause if fresh.alive else wait)

    async def aclose(self) -> None:
        """Close what is open."""
        if self.current is not None:
            await self.current.close()
        await self._api.aclose()

    async def _open(self) -> Link:
        answer = await self._api.ask("apps.connections.open", "channels.slack.app_token")
        link = Link(self._app_token, self._api.web, self._take)
        try:
            async with asyncio.timeout(_OPENING):
                await link.open(str(answer.get("url")))
        except BaseException as exc:
            await link.close()
            if isinstance(exc, TimeoutError | OSError | aiohttp.ClientError):
                # Without its text: the address in it is a secret.
                raise Transient(f"Slack's socket does not open ({type(exc).__name__})") from None
            raise
        return link

    def _say(self, text: str) -> None:
        if text != self._said:
            LOG.warning(text)
        self._said = text


async def _until(stop: asyncio.Event, seconds: float, other: asyncio.Event | None = None) -> None:
    """Wait for an event, at most that long."""
    tasks = [asyncio.create_task(event.wait()) for event in (stop, other) if event is not None]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
