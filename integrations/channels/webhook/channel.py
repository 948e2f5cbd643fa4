"""Messages to a receiver of signed webhooks (https://www.standardwebhooks.com/).

The body is JSON, as the specification recommends, with a type, the time, and what the message says:

    {"type": "mcp-soar.page", "timestamp": "2026-01-31T03:00:00.000Z",
     "data": {"incident": "inc-2026-000001", "page": "…", "notice": "awaiting_approval", "urgent": true,
              "subject": "…", "text": "…", "update": false}}

`update` is true for a message that replaces an earlier one of the same page. A 2xx answer counts as delivered.
"""

import hashlib
from urllib.parse import urlsplit

import httpx

from integrations.http import FAULTS
from integrations.siem.source import signed
from integrations.waiting import LONGEST, Respite, wait_of
from playbooks.errors import Refused, SoarError, Transient
from playbooks.people.contacts import Contact, Way, Webhook
from playbooks.people.message import Message, Sent
from playbooks.strict import canonical, iso, now

PATIENCE = 10.0
_LATER = frozenset({408, 425, 429})


class WebhookChannel:
    """Posts messages to one receiver.

    Args:
        name: what contacts.yaml calls it.
        config: its address.
        key: what messages are signed with.
        patience: seconds for one message.
    """

    way = Way.WEBHOOK

    def __init__(self, name: str, config: Webhook, key: bytes, *, patience: float = PATIENCE) -> None:
        self.name = name
        self.config = config
        self._key = key
        self._respite = Respite()
        self._http = httpx.AsyncClient(timeout=patience, follow_redirects=False)

    @property
    def where(self) -> str:
        """The receiver, for people; an address may hold a secret in its path, so only its host."""
        return f"webhook {self.name} ({urlsplit(self.config.url).hostname})"

    async def send(self, _to: Contact, message: Message, *, thread: str = "", update: str = "") -> Sent:
        """Post a message.

        Args:
            _to: whom; the receiver knows what to do with it.
            message: what; never one with one-time codes.
            thread: means nothing here: each message names its incident.
            update: any, if it replaces an earlier one.

        Raises:
            Transient: no answer, or one that asks to try again; or it asked to be left alone until later.
            Refused: any other answer; a redirect is not followed.
        """
        del thread
        if message.codes:
            raise Refused("one-time codes do not travel by webhook: nobody knows who reads there")
        self._respite.respect(self.name, self.where)
        data = {
            "incident": message.incident,
            "page": message.page,
            "notice": message.notice,
            "urgent": message.urgent,
            "subject": message.subject,
            "text": message.text,
            "update": bool(update),
        }
        # Of what it says: the same message sent twice is one, the same page sent again later is another.
        id_ = "msg_" + hashlib.sha256(canonical(data)).hexdigest()[:32]
        at = now()
        body = canonical({"type": "mcp-soar.page", "timestamp": iso(at), "data": data})
        headers = {"content-type": "application/json", **signed(self._key, id_, at, body)}
        try:
            # Streamed, and not read: what it answers beside its status means nothing.
            async with self._http.stream("POST", self.config.url, content=body, headers=headers) as response:
                status, later = response.status_code, response.headers.get("retry-after", "")
        except httpx.TransportError as exc:
            raise Transient(f"{self.where} does not answer ({type(exc).__name__})") from exc
        except FAULTS as exc:
            raise Refused(f"{self.where}: {type(exc).__name__}") from exc
        if not httpx.codes.is_success(status):
            raise self._error(status, later)
        return Sent(self.where, id_)

    def _error(self, status: int, later: str) -> SoarError:
        if status in _LATER or httpx.codes.is_server_error(status):
            wait = wait_of(later, longest=LONGEST)
            self._respite.grant(self.name, wait)
            return Transient(f"{self.where} answered {status}", retry_after=wait)
        hint = "; redirects are not followed" if httpx.codes.is_redirect(status) else ""
        return Refused(f"{self.where} answered {status}{hint}")

    async def check(self) -> str:
        """Connect to the receiver without posting anything; return what was found.

        Raises:
            Transient: nothing answers there.
        """
        try:
            # OPTIONS changes nothing (RFC 9110, 9.3.7); any answer shows that somebody is there.
            async with self._http.stream("OPTIONS", self.config.url) as response:
                return f"{self.where} answers ({response.status_code} to OPTIONS)"
        except FAULTS as exc:
            raise Transient(f"{self.where} does not answer ({type(exc).__name__})") from exc

    async def aclose(self) -> None:
        """Close what is open."""
        await self._http.aclose()
