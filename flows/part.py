"""One part of `up` as a process of its own: `python -m flows.part receiver|responder|prefect …`, started by `flows.up`.

Each ends when its standard input closes, and so with whoever started it, however that one died. What it has to say to
`up` it writes to standard output, a line of JSON each; its log goes to standard error.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from playbooks.errors import Misconfigured

GRACE = 6.0
"""Seconds that a part may take to end once it was told to."""

LOG = logging.getLogger("mcp_soar.part")


def main(arguments: list[str]) -> int:
    """Run a part until it is told to end.

    Args:
        arguments: which part, and what it takes: the configuration folder, a socket's number or a server's address.
    """
    _leash()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Nothing that these write is for others to read.
    os.umask(0o077)
    kind, *rest = arguments
    try:
        if kind == "receiver":
            _run(_receive(Path(rest[0]), int(rest[1])))
        elif kind == "responder":
            _run(_respond(Path(rest[0]), rest[1] if len(rest) > 1 else None))
        elif kind == "prefect":
            from flows.prefect_server import serve  # noqa: PLC0415  # only that part needs it

            serve(int(rest[0]))
    except Misconfigured as exc:
        say(misconfigured=str(exc))
        LOG.error("%s", exc)  # noqa: TRY400  # it says what to mend; a traceback does not
        return 3
    return 0


def say(**what: Any) -> None:  # noqa: ANN401  # anything JSON
    """Tell `up` something."""
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


def _leash() -> None:
    """End this process when standard input closes."""

    def hold() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=hold, name="leash", daemon=True).start()


def _run(work: Coroutine[Any, Any, None]) -> None:
    import uvloop  # noqa: PLC0415  # Prefect's server brings its own loop

    uvloop.run(work)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _receive(folder: Path, descriptor: int) -> None:
    import uvicorn  # noqa: PLC0415  # each part imports what it runs, and no more

    from flows.assembly import open_journal  # noqa: PLC0415
    from flows.receiver import create_app, server  # noqa: PLC0415
    from flows.settings import read  # noqa: PLC0415
    from playbooks.strict import now  # noqa: PLC0415

    config = read(folder)
    settings = config.settings.receiver
    # It may put into the inbox: no signing key, and no connection to a target.
    journal = await open_journal(config, name=f"receiver-{os.getpid()}", writing=False)
    try:
        app = create_app(config.sources.sources, journal, clock=now, tls=settings.tls, host=settings.host)
        options = server(
            app,
            host=settings.host,
            port=settings.port,
            certificate=config.path(settings.certificate) if settings.certificate else None,
            key=config.path(settings.key) if settings.key else None,
        )
        options.fd = descriptor
        options.timeout_graceful_shutdown = 2
        await uvicorn.Server(options).serve()
    finally:
        await journal.aclose()


async def _respond(folder: Path, api: str | None) -> None:
    from flows.assembly import assembled, reloading  # noqa: PLC0415
    from flows.responder import Responder, direct_flow  # noqa: PLC0415
    from flows.settings import read  # noqa: PLC0415
    from integrations.connections import Connections  # noqa: PLC0415
    from playbooks.errors import SoarError  # noqa: PLC0415

    stop = _stop_on_signals()
    config = read(folder)
    async with assembled(config) as parts:
        responder = Responder(
            parts,
            flow=direct_flow,
            flows=config.settings.prefect.concurrency,
            reload=reloading(parts, config),
        )
        say(ready=True)
        working = asyncio.create_task(responder.run(stop))
        if isinstance(parts.world, Connections):
            try:
                await parts.world.warm()
            except SoarError as exc:
                LOG.warning("a gateway does not answer yet: %s", exc)
        await working


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
