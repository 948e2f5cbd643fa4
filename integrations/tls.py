"""What outside systems' certificates are checked against."""

import ssl
from functools import cache

import httpx


@cache
def trusted() -> ssl.SSLContext:
    """Return the context for every connection of this process: reading the authorities takes longer than a request.

    It goes by the list of authorities that httpx brings, whatever the environment says.
    """
    return httpx.create_ssl_context(trust_env=False)
