"""`alert send`: a message to the receiver, signed as its source signs."""

import json
import secrets
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from flows.cli.exits import Exit
from flows.cli.output import NotFound, Out, Usage
from flows.cli.work import records
from flows.settings import Configuration
from integrations.siem.source import LARGEST, MAX_BYTES, Hmac, Malformed, Source, parse, read_keys, signed
from playbooks import naming
from playbooks.errors import Refused, Transient
from playbooks.strict import now

_WITHIN = 15.0
_LARGEST_ANSWER = 65_536
_ATTEMPTS = 3
_UNAVAILABLE = 503


def read_alert(path: Path) -> bytes:
    """Return a message from a file.

    Raises:
        NotFound: there is no such file.
        Usage: it cannot be a message.
    """
    # Of the format that takes most; what its source takes is said when it is read.
    most = max(MAX_BYTES, *LARGEST.values())
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except FileNotFoundError as exc:
        raise NotFound(f"there is no file {path}") from exc
    except OSError as exc:
        raise Usage(f"{path} cannot be read: {exc.strerror}") from exc
    if len(raw) > most:
        raise Usage(f"{path} has more than the {most} bytes that an alert may have")
    return raw


def source_of(config: Configuration, name: str) -> Source:
    """Return a source.

    Raises:
        NotFound: there is none of that name.
    """
    if name not in config.sources.sources:
        raise NotFound(f"sources.yaml has no source {name}; {naming.near(name, config.sources.sources)}")
    return config.sources.sources[name]


def understood(path: Path, name: str, source: Source, raw: bytes) -> None:
    """Refuse a message that is not in its source's format.

    Raises:
        Usage: naming every field at fault.
    """
    try:
        parse(raw, name, source)
    except Malformed as exc:
        faults = "; ".join(f"{field}: {message}" for field, message in exc.faults) or str(exc)
        raise Usage(f"{path} is not in the format {source.format}: {faults}") from exc


def send(out: Out, config: Configuration, path: Path, *, name: str, url: str | None, message_id: str | None) -> Exit:
    """Send a message and say what the receiver answered."""
    source = source_of(config, name)
    raw = read_alert(path)
    understood(path, name, source, raw)
    keys = read_keys(name, source)
    number = message_id or f"cli-{secrets.token_hex(12)}"
    receiver = config.settings.receiver
    base = (
        url
        or records.running(config).get("receiver")
        or f"{'https' if receiver.tls else 'http'}://{_host(receiver.host)}:{receiver.port}"
    )
    if not base.startswith(("http://", "https://")):
        raise Usage(f"{base} is not an address of a receiver; write https://HOST:PORT")
    certificate = config.path(receiver.certificate) if receiver.certificate and url is None else None
    context = ssl.create_default_context(cafile=str(certificate) if certificate else None)
    with out.waiting(f"sending {path} to {base}"):
        status, answer = deliver(f"{base.rstrip('/')}/v1/alerts/{name}", source, keys, number, raw, context)
    receipt, incident = answer.get("receipt"), answer.get("incident")
    if status not in {200, 202}:
        said = str(answer.get("detail") or answer.get("title") or "no reason given")
        faults = "; ".join(str(fault) for fault in answer.get("errors", []))
        raise Refused(f"the receiver answered {status}: {said}" + (f" ({faults})" if faults else ""))
    out.document({"source": name, "id": number, "http_status": status, "receipt": receipt, "incident": incident})
    out.say("accepted" if status == 202 else "accepted before", "good")  # noqa: PLR2004  # HTTP
    out.fields([("id", number), ("receipt", receipt), ("incident", incident)])
    out.say("What becomes of it: `mcp-soar incidents`")
    return Exit.OK


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


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
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
