"""Messages by e-mail: plain text with HTML beside it, one thread for each incident."""

import re
import secrets
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from integrations.channels.email.client import MailServer
from integrations.hostile import printable
from playbooks.errors import Refused
from playbooks.people.contacts import Contact, Way
from playbooks.people.message import Message, Sent
from playbooks.strict import now

_ID = re.compile(r"<[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,200}@[A-Za-z0-9.-]{1,200}>", re.ASCII)
_SUBJECT = 200


class EmailChannel:
    """Sends messages by e-mail.

    Args:
        server: the mail server.
    """

    way = Way.EMAIL

    def __init__(self, server: MailServer) -> None:
        self.server = server

    async def send(self, to: Contact, message: Message, *, thread: str = "", update: str = "") -> Sent:
        """Send a message; what was sent stays, so a message that replaces another is a further one of its thread.

        Args:
            to: whom.
            message: what; its subject may hold anything.
            thread: the Message-ID of the incident's first message.
            update: the Message-ID of the one that it replaces.

        Raises:
            Transient: the server may take it later.
            Refused: it will not.
            Misconfigured: the server's certificate, or our account there.
        """
        if to.email is None:
            raise Refused("this contact has no e-mail address; add `email` to it in contacts.yaml")
        composed = self._composed(to.email, message, thread or update)
        await self.server.send(composed, to.email)
        return Sent(f"email {to.email}", str(composed["Message-ID"]))

    async def aclose(self) -> None:
        """Do nothing: each message has a connection of its own."""

    def _composed(self, address: str, message: Message, thread: str) -> EmailMessage:
        domain = self.server.config.sender.rpartition("@")[2]
        composed = EmailMessage(policy=SMTP)
        try:
            composed["From"] = self.server.config.sender
            composed["To"] = address
            # One line without controls: nothing in it can end the header and begin another one.
            composed["Subject"] = printable(" ".join(message.subject.split()), _SUBJECT)
            composed["Date"] = format_datetime(now())
            # A new one each time: servers drop what they have seen, and a page that repeats has to arrive again.
            composed["Message-ID"] = f"<{secrets.token_hex(16)}@{domain}>"
            # The incident's anchor is no message: it joins what belongs together where the first one is not at hand.
            anchor = f"<{re.sub(r'[^A-Za-z0-9.-]', '-', message.incident) or 'page'}@{domain}>"
            known = [anchor, *([thread] if _ID.fullmatch(thread) else [])]
            composed["In-Reply-To"] = known[-1]
            composed["References"] = " ".join(known)
            # https://www.rfc-editor.org/rfc/rfc3834: no vacation note answers it.
            composed["Auto-Submitted"] = "auto-generated"
            if message.urgent:
                composed["Importance"] = "high"
            composed.set_content(message.text, cte="quoted-printable")
            if message.html:
                composed.add_alternative(message.html, subtype="html", cte="quoted-printable")
            # Whatever cannot be written fails here, not halfway through a conversation with the server.
            composed.as_bytes()
        except (ValueError, UnicodeError, IndexError) as exc:
            raise Refused(f"no message can be written to {printable(address)}: {type(exc).__name__}") from exc
        return composed
