"""A mail server: how we sign in to it, and what its answers mean (RFC 5321; submission: RFC 6409)."""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage

import aiosmtplib

from integrations.hostile import printable
from playbooks.errors import Misconfigured, Refused, SoarError, Transient
from playbooks.people.contacts import Email

PATIENCE = 12.0
"""Seconds for one whole message; whoever tells people waits little longer."""

_FAREWELL = 2.0
_PERMANENT = 500
_HELO = re.compile(r"(?i)\b(?:helo|ehlo)\b")


class MailServer:
    """The mail server of `contacts.yaml`. Its certificate is always verified against the system's authorities.

    Args:
        config: how it is reached.
        password: of the user to sign in as, if there is one.
        patience: seconds for one whole message.
    """

    def __init__(self, config: Email, password: str | None, *, patience: float = PATIENCE) -> None:
        self.config = config
        self.patience = patience
        self._password = password

    @property
    def _ehlo(self) -> str:
        return self.config.ehlo or socket.gethostname()

    @property
    def where(self) -> str:
        """The server, for people."""
        return f"mail server {self.config.host}:{self.config.port}"

    async def send(self, message: EmailMessage, to: str) -> None:
        """Hand a message in.

        Args:
            message: with all of its headers.
            to: the address of the envelope.

        Raises:
            Transient: it may take it later.
            Refused: it will not.
            Misconfigured: its certificate is not valid for its name, it refuses ours, or we cannot sign in.
        """
        async with self._signed_in(f"message to {to}") as smtp:
            await smtp.send_message(message, sender=self.config.sender, recipients=[to])

    async def check(self) -> str:
        """Greet it, secure the connection and sign in, sending nothing; return what was found.

        Raises:
            Transient: it does not answer.
            Refused: it does not let us in.
            Misconfigured: its certificate is not valid for its name, or we cannot sign in.
        """
        async with self._signed_in("check"):
            config = self.config
            how = {"starttls": "with STARTTLS", "tls": "over TLS", "none": "in the clear"}[config.security]
            return f"{self.where} answers {how}" + (f", signed in as {config.user}" if config.user else "")

    @asynccontextmanager
    async def _signed_in(self, what: str) -> AsyncIterator[aiosmtplib.SMTP]:
        config = self.config
        smtp = aiosmtplib.SMTP(
            hostname=config.host,
            port=config.port,
            # The name that a resolver would give this machine is looked up by nobody, and would block the loop.
            local_hostname=self._ehlo,
            timeout=self.patience,
            use_tls=config.security == "tls",
            start_tls=config.security == "starttls",
            tls_context=None if config.security == "none" else ssl.create_default_context(),
        )
        try:
            async with asyncio.timeout(self.patience):
                await smtp.connect()
                if config.user is not None:
                    await smtp.login(config.user, self._password or "")
                yield smtp
            # It has the message: whether it says good-bye changes nothing.
            with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await smtp.quit()
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as exc:
            raise self._error(exc, what) from exc
        finally:
            smtp.close()

    def _error(self, exc: Exception, what: str) -> SoarError:
        if certificate := _certificate(exc):
            message = f"{self.where}: its certificate is not valid: {printable(certificate)}"
            return Misconfigured(message, field="channels.email")
        if isinstance(exc, aiosmtplib.SMTPAuthenticationError) and exc.code >= _PERMANENT:
            return Misconfigured(
                f"{self.where} does not let {self.config.user} in ({exc.code})", field="channels.email"
            )
        if isinstance(exc, aiosmtplib.SMTPRecipientsRefused):
            # There is one recipient.
            return self._said(exc.recipients[0].code, exc.recipients[0].message, what)
        if isinstance(exc, aiosmtplib.SMTPResponseException):
            greeting = isinstance(exc, aiosmtplib.SMTPHeloError)
            return self._said(exc.code, exc.message, "EHLO" if greeting else what, greeting=greeting)
        silent = (aiosmtplib.SMTPConnectError, aiosmtplib.SMTPTimeoutError, aiosmtplib.SMTPServerDisconnected)
        if isinstance(exc, (*silent, OSError, TimeoutError)):
            return Transient(f"{self.where} does not answer ({type(exc).__name__})")
        # What is left is what it cannot do: STARTTLS, or a way to sign in that we know.
        return Misconfigured(f"{self.where}: {printable(str(exc))}", field="channels.email.security")

    def _said(self, code: int, said: str, what: str, *, greeting: bool = False) -> SoarError:
        message = f"{self.where} answered {code} to the {what}: {printable(' '.join(said.split()), 300)}"
        # Strict relays take the name at first and refuse the recipient because of it: Postfix says "Helo command".
        if code >= _PERMANENT and (greeting or _HELO.search(said)):
            named = printable(self._ehlo)
            hint = f"it refuses the name that we give in EHLO, {named}: set one that is fully qualified"
            return Misconfigured(f"{message}; {hint}", field="channels.email.ehlo")
        return Refused(message) if code >= _PERMANENT else Transient(message)


def _certificate(exc: BaseException | None) -> str:
    """Return what is wrong with a certificate, if that is at the bottom of an error."""
    while exc is not None:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return exc.verify_message
        exc = exc.__cause__ or exc.__context__
    return ""
