"""What `doctor` says of what runs here: receiver and Prefect, and by which files they go."""

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from flows.cli.output import moment
from flows.cli.work import workers
from flows.service import running
from flows.service.settings import Configuration
from integrations.journal.stamp import INSTALLATION, Stamp
from integrations.system import Looked
from playbooks.errors import Misconfigured

_READ_ONCE = {
    "responder": frozenset({"mcp-soar.yaml"}),
    "flows": frozenset({"mcp-soar.yaml"}),
    "receiver": frozenset({"mcp-soar.yaml", "sources.yaml"}),
}
"""The files that a part reads when it starts, and not again."""

_THERE = frozenset({200, 401, 403})
"""What is there answers so: well, or it wants to know who asks."""

_UNFIT = 503
"""A receiver that cannot take alerts answers so."""

_SILENT = 0
"""For a status: it takes the connection, and in time no answer comes."""


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
    serves = running.served(config.folder)
    # Where `up` says that it is counts: a port of 0 is a free one.
    port = urlsplit(serves["receiver"]).port if "receiver" in serves else receiver.port
    if not port:
        yield Looked("receiver", "warn", "does not run; it takes a free port when it starts", up)
    elif not _listens(receiver.host, port):
        yield Looked("receiver", "warn", f"nothing listens at {receiver.host}:{port}", up)
    else:
        own = _installation(config.path(receiver.stamp))
        yield _receiver(
            f"{receiver.host}:{port}", "https" if receiver.tls else "http", own=own, here="receiver" in serves
        )
    if why := serves.get("receiver_unconfined"):
        message = f"whoever takes it over reads what its user can, the responder's keys among it: {why}"
        yield Looked("receiver", "warn", message, "run it as a user of its own, on another machine or in a container")
    api = serves.get("prefect") or prefect.api or (f"http://127.0.0.1:{prefect.port}/api" if prefect.port else None)
    if api is None:
        yield Looked("prefect", "warn", "does not run; it takes a free port when it starts", up)
    else:
        yield from _prefect(config, api, up)


def _installation(stamp: Path) -> str | None:
    """Return what a receiver of ours says of whose it is; empty if none ever ran, None if nobody lets us know."""
    try:
        return Stamp.load(stamp).installation
    except Misconfigured:
        return None if stamp.exists() else ""


def _receiver(where: str, scheme: str, *, own: str | None, here: bool) -> Looked:
    """Return what it means how the receiver's port answers, which `up` binds before there is a receiver.

    Args:
        where: host and port.
        scheme: http or https.
        own: what a receiver of ours says of whose it is, see `_installation`.
        here: whether an `up` of this configuration says that it serves there.
    """
    # Whether it answers is asked, of a port of this machine; its certificate has a line of its own.
    answer, whose = _asked(f"{scheme}://{where}/readyz", ssl._create_unverified_context())  # noqa: SLF001, S323
    if answer in {*_THERE, _UNFIT} and not here and (not whose or whose != own):
        known = whose and own is not None
        message = (
            f"another installation's receiver answers at {where}: what is sent there does not come here"
            if known
            else f"a receiver answers at {where}, and whether it is this installation's cannot be told"
        )
        return Looked("receiver", "warn", message, "write another receiver.port, or end that one; then `mcp-soar up`")
    if answer in _THERE:
        return Looked("receiver", "ok", f"listens at {where}")
    if answer == _UNFIT:
        message = f"{where} answers that it cannot take alerts: nothing can be put into the journal's inbox"
        return Looked("receiver", "fail", message, "state/logs/receiver.log says why")
    if answer == _SILENT:
        message = f"{where} takes connections and answers none yet: the receiver starts"
        return Looked("receiver", "warn", message, "look again in half a minute; then state/logs/receiver.log says why")
    said = "nothing of HTTP" if answer is None else f"HTTP {answer}"
    message = f"{where} answers {said}, as no receiver does: something else has that port"
    return Looked("receiver", "fail", message, "see what listens there (`ss -ltnp`), or write another receiver.port")


def _prefect(config: Configuration, api: str, up: str) -> Iterator[Looked]:
    answer = _answer(f"{api.rstrip('/')}/health")
    if answer in _THERE:
        yield Looked("prefect", "ok", f"answers at {api}")
        yield from workers.seen(config, api)
    elif answer == _SILENT and _listens(*_place(api)):
        message = f"takes connections at {api} and answers none yet: it starts, which takes a minute or more"
        yield Looked("prefect", "warn", message, "containment does not wait for it; look again in a minute")
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


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _answer(url: str, context: ssl.SSLContext | None = None) -> int | None:
    """Return the status that an address answers with; `_SILENT` if none comes in time, None if it is no answer."""
    return _asked(url, context)[0]


def _asked(url: str, context: ssl.SSLContext | None = None) -> tuple[int | None, str]:
    """Return the status that an address answers with, see `_answer`, and which installation it says that it is."""
    if not url.startswith(("http://", "https://")):
        return None, ""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=2) as response:
            return int(response.status), response.headers.get(INSTALLATION, "")
    except urllib.error.HTTPError as exc:
        exc.close()
        return exc.code, exc.headers.get(INSTALLATION, "")
    except TimeoutError:
        return _SILENT, ""
    except (OSError, http.client.HTTPException) as exc:
        return (_SILENT if isinstance(getattr(exc, "reason", None), TimeoutError) else None), ""
