"""What outside systems' certificates are checked against."""

import ssl
from functools import cache

import httpx


def trusted(url: str) -> ssl.SSLContext:
    """Return the context for connections to an address.

    Args:
        url: the address; where it is without TLS, no authority is read, and none is trusted.
    """
    return _authorities() if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@cache
def _authorities() -> ssl.SSLContext:
    """Return the context for every connection of this process: reading the authorities takes longer than a request.

    It goes by the list of authorities that httpx brings, whatever the environment says.
    """
    return httpx.create_ssl_context(trust_env=False)
