"""`alert send`: a message to the receiver, signed as its source signs."""

import secrets
import ssl
from pathlib import Path

from flows.cli.exits import Exit
from flows.cli.output import NotFound, Out, Usage
from flows.service import running
from flows.service.settings import Configuration
from integrations.siem.sending import deliver
from integrations.siem.source import LARGEST, MAX_BYTES, Malformed, Source, parse, read_keys
from playbooks.errors import Refused
from playbooks.estate import naming


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
        or running.served(config.folder).get("receiver")
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
