"""What `doctor` says of what runs here: receiver and Prefect, and by which files they go."""

import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from flows import running
from flows.cli.output import moment
from flows.cli.work import records, workers
from flows.settings import Configuration
from integrations.system import Looked

_READ_ONCE = {
    "responder": frozenset({"mcp-soar.yaml"}),
    "flows": frozenset({"mcp-soar.yaml"}),
    "receiver": frozenset({"mcp-soar.yaml", "sources.yaml"}),
}
"""The files that a part reads when it starts, and not again."""


def read_by_whom(folder: Path) -> Iterator[Looked]:
    """Say where what runs is not what the files say."""
    now = running.digests(folder)
    for one in running.noted(folder):
        once = _READ_ONCE.get(one.part, frozenset())
        others = running.changed(one, now, only=once if one.part == "receiver" else None)
        late, left = [name for name in others if name in once], [name for name in others if name not in once]
        check = f"{one.part} {one.pid}"
        if late:
            message = f"it goes by an earlier {' and '.join(late)}, which it reads when it starts"
            yield Looked(check, "warn", message, "restart `mcp-soar up`")
        if left:
            message = f"it goes by an earlier {' and '.join(left)}: changed this very moment, or it could not be read"
            yield Looked(check, "warn", message, "look again in a second; then its log says why")
        if not others:
            yield Looked(check, "ok", "it goes by the files as they are")


def look(config: Configuration) -> Iterator[Looked]:
    """Look whether receiver and Prefect run here, and can be used."""
    receiver, prefect = config.settings.receiver, config.settings.prefect
    if receiver.tls:
        context = ssl.create_default_context()
        try:
            context.load_cert_chain(
                config.path(receiver.certificate or Path()), config.path(receiver.key) if receiver.key else None
            )
        except (OSError, ssl.SSLError) as exc:
            yield Looked(
                "receiver", "fail", f"its certificate cannot be used: {exc}", "mend receiver.certificate and .key"
            )
        else:
            yield from _expiry(config.path(receiver.certificate or Path()))
    up = "start it with `mcp-soar up`"
    running = records.running(config)
    # Where `up` says that it is counts: a port of 0 is a free one.
    port = urlsplit(running["receiver"]).port if "receiver" in running else receiver.port
    if not port:
        yield Looked("receiver", "warn", "does not run; it takes a free port when it starts", up)
    elif not _listens(receiver.host, port):
        yield Looked("receiver", "warn", f"nothing listens at {receiver.host}:{port}", up)
    elif receiver.tls or _says(f"http://{receiver.host}:{port}/readyz"):
        yield Looked("receiver", "ok", f"listens at {receiver.host}:{port}")
    else:
        yield Looked("receiver", "fail", f"{receiver.host}:{port} answers, but cannot take alerts", "see its log")
    if why := running.get("receiver_unconfined"):
        message = f"whoever takes it over reads what its user can, the responder's keys among it: {why}"
        yield Looked("receiver", "warn", message, "run it as a user of its own, on another machine or in a container")
    api = running.get("prefect") or prefect.api or (f"http://127.0.0.1:{prefect.port}/api" if prefect.port else None)
    if api is None:
        yield Looked("prefect", "warn", "does not run; it takes a free port when it starts", up)
    elif _says(f"{api.rstrip('/')}/health"):
        yield Looked("prefect", "ok", f"answers at {api}")
        yield from workers.seen(config, api)
    else:
        yield Looked("prefect", "warn", f"does not answer at {api}", f"containment does not wait for it; {up}")


def _expiry(certificate: Path) -> Iterator[Looked]:
    from cryptography import x509  # noqa: PLC0415  # only with TLS

    end = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    left = (end - datetime.now(UTC)).total_seconds()
    if left < 14 * 86400:
        level = "fail" if left <= 0 else "warn"
        yield Looked("receiver", level, f"its certificate ends {moment(end)}", "renew it, then restart the receiver")


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _says(url: str) -> bool:
    if not url.startswith(("http://", "https://")):
        return False
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return True
    except urllib.error.HTTPError as exc:
        exc.close()
        # It is there, and wants to know who asks.
        return exc.code in {401, 403}
    except OSError:
        return False
