"""The way to one deny list: its file, and whoever serves it."""

import asyncio
import time
from pathlib import Path
from typing import Final

import httpx

from integrations import bounded
from integrations.http import AT_ONCE, TIMEOUT, Request, connecting, refusal, send
from integrations.systems.denylist import DenyList
from integrations.systems.denylist.entries import Entry, Read, drop, put, read

_LARGEST: Final = 64 * 1024
"""Bytes of one answer: it has a few words."""


class Denied:
    """One list.

    Args:
        name: what the inventory calls it.
        settings: where it is.
    """

    def __init__(self, name: str, settings: DenyList) -> None:
        self.name = name
        self.settings = settings
        self.patience = TIMEOUT
        """Seconds for one request."""
        self._file = Path(settings.file).expanduser()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._http = connecting(settings.url, {"Accept": "application/json"})

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def read(self) -> Read:
        """Return the list as its file has it.

        Raises:
            Misconfigured: it cannot be read.
        """
        return await asyncio.to_thread(read, self._file)

    async def put(self, entry: Entry) -> None:
        """Write an entry, in place of the one of its key."""
        await asyncio.to_thread(put, self._file, entry, time.time())

    async def drop(self, key: str) -> None:
        """Take the entry of a key out."""
        await asyncio.to_thread(drop, self._file, key)

    async def asked(self, token: str) -> str | None:
        """Ask whoever serves the list about a token.

        Returns:
            Which list is served if it lets the token pass; None if it turns it away.

        Raises:
            SoarError: it does not say.
        """
        request = Request("GET", self.settings.url, headers={"Authorization": f"Bearer {token}"})
        name = f"deny list {self.name}"
        answer = await send(self._http, name, request, within=self.patience, turns=self._turns, largest=_LARGEST)
        if answer.status == httpx.codes.UNAUTHORIZED and "invalid_token" in answer.challenge:
            return None
        if not answer.success:
            raise refusal(f"{name} answered {answer.status}", answer)
        said = bounded.readable(answer.raw)
        return str(said.get("list", "")) if isinstance(said, dict) else ""
