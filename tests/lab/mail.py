"""A real mail server on loopback, which says what a test tells it to."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

USER, PASSWORD = "soar", "correct horse battery staple"


@dataclass
class Post:
    """A mail server and what it took.

    Args:
        port: where it listens on 127.0.0.1.
        rcpt: its answer to a recipient.
        data: its answer to a message.
        greeting: its answer to a name in EHLO or HELO that is not fully qualified, if it minds.
        greeted: the names that it was greeted with.
        hang: it says nothing any more once a message came.
        taken: messages.
        secured: for each, whether the connection was encrypted.
    """

    port: int = 0
    rcpt: str = "250 OK"
    data: str = "250 OK"
    greeting: str = ""
    greeted: list[str] = field(default_factory=list)
    hang: bool = False
    taken: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    secured: list[bool] = field(default_factory=list)

    async def handle_EHLO(  # noqa: N802  # aiosmtpd's name and arguments
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Take a greeting or not."""
        self.greeted.append(hostname)
        if self.greeting and "." not in hostname:
            return [self.greeting]
        session.host_name = hostname
        return responses

    async def handle_HELO(self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str) -> str:  # noqa: N802  # aiosmtpd's name
        """Take the older greeting or not."""
        if self.greeting and "." not in hostname:
            return self.greeting
        session.host_name = hostname
        return "250 post.example.com"

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name and arguments
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient or not."""
        if self.rcpt.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        """Take a message or not."""
        if self.hang:
            await asyncio.Event().wait()
        if self.data.startswith("2"):
            content = envelope.content
            assert isinstance(content, bytes)
            parsed = message_from_bytes(content, policy=POLICY)
            assert isinstance(parsed, EmailMessage)
            self.taken.append(parsed)
            self.recipients.append(list(envelope.rcpt_tos))
            self.secured.append(session.ssl is not None)
        return self.data


@asynccontextmanager
async def post_office(*, certificate: Path | None = None, sign_in: bool = False) -> AsyncIterator[Post]:
    """Run a mail server.

    Args:
        certificate: PEM with key and certificate: STARTTLS is offered, and needed.
        sign_in: only a user may send.
    """
    post = Post()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    servers: list[SMTP] = []

    def served() -> SMTP:
        server = SMTP(
            post,
            hostname="post.example.com",
            tls_context=context,
            require_starttls=context is not None,
            authenticator=_authenticate if sign_in else None,
            auth_required=sign_in,
            auth_require_tls=context is not None,
            loop=asyncio.get_running_loop(),
        )
        servers.append(server)
        return server

    listener = await asyncio.get_running_loop().create_server(served, "127.0.0.1", 0)
    post.port = listener.sockets[0].getsockname()[1]
    try:
        yield post
    finally:
        listener.close()
        tasks = [task for server in servers if (task := server._handler_coroutine) is not None]  # noqa: SLF001  # it has no way to end it
        for server in servers:
            if server.transport is not None:
                server.transport.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


def _authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:  # noqa: ANN401  # aiosmtpd's arguments
    good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


def self_made(folder: Path, *, name: str = "127.0.0.1", days: int = 1) -> Path:
    """Return a PEM file with a key and a certificate that nobody but itself vouches for.

    Args:
        folder: where to write it.
        name: the address that it is for.
        days: until it ends.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail of a test")])
    at = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - dt.timedelta(days=1))
        .not_valid_after(at + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + built.public_bytes(Encoding.PEM)
    file.write_bytes(pem)
    return file
