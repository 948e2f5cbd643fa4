"""An alert sent to a receiver, signed as its source signs."""

import ssl
import time
import urllib.error
import urllib.request
from typing import Any

from integrations import bounded
from integrations.siem.source import Hmac, Source, signed
from playbooks.errors import Transient
from playbooks.strict import now

_WITHIN = 15.0
_LARGEST_ANSWER = 65_536
_ATTEMPTS = 3
_UNAVAILABLE = 503


def deliver(  # noqa: PLR0917  # in the order in which they are sent
    url: str, source: Source, keys: tuple[bytes, ...], number: str, raw: bytes, context: ssl.SSLContext
) -> tuple[int, dict[str, Any]]:
    """Post a message, signed as its source signs, and return the receiver's status and answer.

    Args:
        url: of the receiver, for this source.
        source: whose message it is.
        keys: its secrets, the one that signs first.
        number: the message's id; the same one again counts once.
        raw: the message.
        context: for TLS.

    Raises:
        Transient: no receiver answers.
    """
    # Redirects and proxies of the environment are not followed: the signature is for this receiver alone.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect()
    )
    for attempt in range(1, _ATTEMPTS + 1):
        headers = {"content-type": "application/json", "user-agent": "mcp-soar"}
        if isinstance(source.authentication, Hmac):
            headers |= signed(keys[0], number, now(), raw)
        elif keys:
            headers |= {"authorization": f"Bearer {keys[0].decode()}", "webhook-id": number}
        else:
            headers |= {"webhook-id": number}
        request = urllib.request.Request(url, data=raw, headers=headers, method="POST")  # noqa: S310  # http(s): checked
        try:
            with opener.open(request, timeout=_WITHIN) as response:
                return response.status, _answer(response.read(_LARGEST_ANSWER))
        except urllib.error.HTTPError as exc:
            with exc:
                answer = _answer(exc.read(_LARGEST_ANSWER))
            if exc.code != _UNAVAILABLE or attempt == _ATTEMPTS:
                if exc.code == _UNAVAILABLE:
                    raise Transient("the receiver cannot reach its journal; send the same alert again later") from exc
                return exc.code, answer
        except OSError as exc:
            reason = getattr(exc, "reason", exc)
            if attempt == _ATTEMPTS:
                raise Transient(f"no receiver answers at {url}: {reason}. Is `mcp-soar up` running?") from exc
        # The same id again: whatever was stored counts once.
        time.sleep(0.3 * attempt)
    raise Transient(f"no receiver answers at {url}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:  # noqa: ANN401  # upstream's signature
        return None


def _answer(body: bytes) -> dict[str, Any]:
    value = bounded.readable(body)
    return value if isinstance(value, dict) else {}
