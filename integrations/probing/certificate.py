"""How a server's connection is protected: TLS at all, its oldest version, and whose certificate."""

import asyncio
import hashlib
import re
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from cryptography.x509 import load_der_x509_certificate

from integrations.probing.faults import Fault
from integrations.probing.stranger import PATIENCE
from integrations.tls import trusted
from playbooks.errors import Refused, Transient
from playbooks.estate.probing import Probed
from playbooks.record.check import Found

_SOON: Final = timedelta(days=14)
_OLDER: Final = {
    "1.2": (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1),
    "1.3": (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_2),
}
"""What must not be taken, by the oldest version that may be."""

_SAYS_NO: Final = re.compile("ALERT|EOF|UNSUPPORTED_PROTOCOL|WRONG_(SSL_)?VERSION")
"""What OpenSSL calls it when the other side does not take a version; all else is of our own side's making."""

_CIPHERS: Final = "ALL:@SECLEVEL=0"


class Shaken(NamedTuple):
    """A connection as it was agreed.

    Args:
        version: of TLS, as OpenSSL calls it.
        certificate: DER.
    """

    version: str
    certificate: bytes

    @property
    def digest(self) -> str:
        """The certificate's, as it is pinned."""
        return f"sha256:{hashlib.sha256(self.certificate).hexdigest()}"


async def transport(server: str, url: str, agreed: Probed) -> list[Found]:
    """Look at how a server's connections are protected.

    Args:
        server: as the inventory names it.
        url: its address.
        agreed: what of it is pinned.

    Raises:
        Transient: it does not answer.
        Refused: it speaks no TLS, or its certificate cannot be read.
    """
    if not url.startswith("https:"):
        return [] if _here(url) else [Fault.CLEAR.of(server, "clear text")]
    shaken, found = await _first(url), list[Found]()
    if agreed.certificate is not None:
        if shaken.digest != agreed.certificate:
            found.append(Fault.CERTIFICATE.of(server, f"another one: {shaken.digest}"))
    else:
        try:
            await _shaken(url, trusted(url))
        except ssl.SSLCertVerificationError as exc:
            found.append(Fault.UNTRUSTED.of(server, f"not trusted: {exc.verify_message}"))
    try:
        ends = load_der_x509_certificate(shaken.certificate).not_valid_after_utc
    except ValueError as exc:
        raise Refused(f"server {server}: its certificate cannot be read ({type(exc).__name__})") from exc
    if ends < datetime.now(UTC) + _SOON:
        found.append(Fault.ENDS.of(server, f"{ends:%Y-%m-%d}"))
    return found


async def oldest(server: str, url: str, agreed: Probed) -> list[Found]:
    """Look whether a server takes an older version of TLS than it may.

    Args:
        server: as the inventory names it.
        url: its address.
        agreed: which version may be the oldest.

    Raises:
        Transient: it does not answer, or broke off and answers nobody now: that is no refusal.
        Refused: our own OpenSSL cannot offer such a version.
    """
    if not url.startswith("https:"):
        return []
    try:
        older = await _shaken(url, any_certificate(*_OLDER[agreed.tls]))
    except ConnectionResetError:
        pass
    except (ssl.SSLError, ValueError) as exc:
        reason = str(getattr(exc, "reason", None) or exc)
        if not _SAYS_NO.search(reason):
            raise Refused(f"{ssl.OPENSSL_VERSION} cannot ask it for so old a version here ({reason})") from exc
    else:
        return [Fault.OLD_TLS.of(server, f"{older.version}, if a client asks for it")]
    # Refused, as it should be, if it still takes another: whoever has gone refuses everything.
    await _first(url)
    return []


async def pinned(url: str, agreed: Probed) -> ssl.SSLContext | None:
    """Return what a pinned certificate is checked against: it itself; None where public authorities decide.

    Raises:
        Transient: it does not answer.
        Refused: it comes with another one, so nothing that is said there is the server's.
    """
    if agreed.certificate is None or not url.startswith("https:"):
        return None
    shaken = await _first(url)
    if shaken.digest != agreed.certificate:
        raise Refused("its certificate is another one than is pinned, so nothing more is asked there")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the pin says whose it is
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=shaken.certificate)
    return context


def any_certificate(oldest: ssl.TLSVersion | None = None, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Return a context that takes every certificate: to look at it, and for nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if oldest is not None and newest is not None:
        # What a server takes is asked; our own OpenSSL would not offer it.
        context.set_ciphers(_CIPHERS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that they are is why they are asked for
            context.minimum_version, context.maximum_version = oldest, newest
    return context


async def _first(url: str) -> Shaken:
    try:
        return await _shaken(url, any_certificate())
    except ssl.SSLError as exc:
        raise Refused(f"it speaks no TLS that we do ({exc.reason})") from exc
    except ConnectionResetError as exc:
        raise Transient(f"no answer ({type(exc).__name__})") from exc


async def _shaken(url: str, context: ssl.SSLContext) -> Shaken:
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=context)
    except (ssl.SSLError, ConnectionResetError):
        raise
    except (OSError, TimeoutError) as exc:
        raise Transient(f"no answer ({type(exc).__name__})") from exc
    connection = writer.get_extra_info("ssl_object")
    shaken = Shaken(str(connection.version()), connection.getpeercert(binary_form=True) or b"")
    writer.transport.abort()
    await asyncio.sleep(0)  # it is closed in the next turn
    return shaken


def _here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
