"""The way to one receiver: an event is pushed, and an answer says that it has it (RFC 8935)."""

import asyncio
import time
import uuid
from pathlib import Path
from typing import Final

import httpx

from integrations import bounded
from integrations.hostile import printable
from integrations.http import AT_ONCE, TIMEOUT, Answer, Request, connecting, refusal, send
from integrations.secret import secret
from integrations.systems.ssf import Receiver, Subject
from integrations.systems.ssf.events import TYPE, Signer, session_revoked, signer, verification
from integrations.systems.ssf.told import Shelf, Told
from playbooks.errors import Misconfigured, Refused, SoarError
from playbooks.strict import iso, now

_LARGEST: Final = 64 * 1024
"""Bytes of one answer: it has a few words."""

_SHOWN: Final = 300
"""Characters of a receiver's words that are repeated."""

_PRINT: Final = "python -m integrations.systems.ssf FILE"
_MEND: Final = {
    "invalid_key": ("key", f"it cannot read what this key signs: give it the public half, which `{_PRINT}` prints"),
    "invalid_issuer": ("issuer", "it takes no events of that issuer: write what it knows us as"),
    "invalid_audience": ("audience", "it is called otherwise: write what it calls itself"),
    "authentication_failed": ("token", "it does not let us in: put the present token in its place"),
}
"""What a receiver says is wrong → the field that mends it, and how."""


class Listener:
    """One receiver.

    Args:
        name: what the inventory calls it.
        settings: who it is.
    """

    def __init__(self, name: str, settings: Receiver) -> None:
        self.name = name
        self.settings = settings
        self.patience = TIMEOUT
        """Seconds for one request."""
        self._shelf = Shelf(Path(settings.folder).expanduser(), f"{name} {settings.address()}")
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._http = connecting(settings.url, {"Accept": "application/json"})

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def signer(self) -> Signer:
        """Return what signs; read anew each time, for keys are replaced.

        Raises:
            Misconfigured: it is not there, or none that receivers take.
        """
        field = f"systems.{self.name}.key"
        return signer(await asyncio.to_thread(secret, self.settings.key, what=field), field=field)

    async def token(self) -> str:
        """Return what we are let in with; empty if nothing is needed.

        Raises:
            Misconfigured: it is not there.
        """
        if self.settings.token is None:
            return ""
        return await asyncio.to_thread(secret, self.settings.token, what=f"systems.{self.name}.token")

    async def tell(self, subject: Subject, key: str) -> None:
        """Tell it that all sessions of somebody were revoked; with the same key it is the same event, once more.

        Raises:
            SoarError: it does not say that it has it.
        """
        key_, who = await self.signer(), subject.identifier

        def sign(jti: str, at: int) -> str:
            return key_.signed(session_revoked(self.settings, who, jti=jti, at=at))

        told = await asyncio.to_thread(self._shelf.prepared, who, key, sign)
        await self._push(told.event)
        await asyncio.to_thread(self._shelf.taken, who, told)

    async def told(self, subject: Subject) -> Told | None:
        """Return what it said last that it has of somebody; None if it never did."""
        return await asyncio.to_thread(self._shelf.last, subject.identifier)

    async def again(self, told: Told) -> None:
        """Present an event once more.

        Raises:
            SoarError: it does not say that it has it.
        """
        await self._push(told.event)

    async def verify(self, stream: str) -> None:
        """Send it an event that only asks whether events arrive.

        Raises:
            SoarError: it does not say that it has it.
        """
        claims = verification(self.settings, stream, jti=str(uuid.uuid4()), at=int(time.time()))
        await self._push((await self.signer()).signed(claims))

    async def _push(self, event: str) -> None:
        headers, token = {"Content-Type": f"application/{TYPE}"}, await self.token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = Request("POST", self.settings.url, headers=headers, content=event.encode())
        name = f"receiver {self.name}"
        answer = await send(self._http, name, request, within=self.patience, turns=self._turns, largest=_LARGEST)
        if answer.status != httpx.codes.ACCEPTED:
            raise self._no(name, answer)

    def _no(self, name: str, answer: Answer) -> SoarError:
        """Return what it means that it does not say that it has an event."""
        body = bounded.readable(answer.raw)
        said = body if isinstance(body, dict) else {}
        error, more = str(said.get("err", "")), str(said.get("description", ""))
        what = f"{name} answered {answer.status}"
        what += f" {printable(error)[:_SHOWN]}" if error else ""
        what += f" ({printable(more)[:_SHOWN]})" if more else ""
        if answer.status == httpx.codes.UNAUTHORIZED:
            error = "authentication_failed"
        if answer.success or httpx.codes.is_redirect(answer.status):
            mend = "only 202 says that an event arrived, and nothing is followed elsewhere: write where it takes events"
            return Misconfigured(f"{what}; {mend}", field=f"systems.{self.name}.url")
        if error in _MEND:
            field, mend = _MEND[error]
            return Misconfigured(f"{what}; {mend}", field=f"systems.{self.name}.{field}")
        if error == "access_denied" or answer.status == httpx.codes.FORBIDDEN:
            return Refused(f"{what}; have whoever runs it let us send this event, of this subject")
        if answer.status == httpx.codes.BAD_REQUEST:
            clock = (
                f"our clock says {iso(now())}: if it finds the event to be of another time, set the clock that is wrong"
            )
            return Refused(f"{what}; {clock}")
        return refusal(what, answer)
