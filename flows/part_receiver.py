"""The receiver as a part of `up`: it may put into the inbox, and holds no signing key and no target's credential."""

import asyncio
import os
from pathlib import Path

from flows.access import open_inbox
from flows.entrance import listener, server
from flows.receiver import create_app
from flows.settings import read
from playbooks.strict import now


async def receive(folder: Path, descriptor: int, stop: asyncio.Event) -> None:
    """Take alerts in until told to stop.

    Args:
        folder: of the configuration.
        descriptor: of the listening socket.
        stop: ends it.

    Raises:
        Misconfigured: naming what has to be mended.
    """
    config = read(folder)
    settings = config.settings.receiver
    journal = await open_inbox(config, name=f"receiver-{os.getpid()}")
    try:
        app = create_app(config.sources.sources, journal, clock=now, tls=settings.tls, host=settings.host)
        serving = server(
            app,
            host=settings.host,
            port=settings.port,
            certificate=config.path(settings.certificate) if settings.certificate else None,
            key=config.path(settings.key) if settings.key else None,
            limit=settings.connections,
            each=settings.per_peer,
        )
        serving.config.timeout_graceful_shutdown = 2
        work = asyncio.create_task(serving.serve(sockets=[listener(descriptor)]))
        told = asyncio.create_task(stop.wait())
        await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
        serving.should_exit = True
        await work
        told.cancel()
    finally:
        await journal.aclose()
