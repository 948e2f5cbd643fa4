"""The pretended gateway as it runs: for the session, in a thread of its own."""

import asyncio
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from flows.demo.contextforge import ADMIN, RunningGateway
from tests.lab.http_asked import Asking
from tests.lab.http_served import Request, serve
from tests.lab.pretended.gateway import Gateway


@contextmanager
def pretended(folder: Path) -> Iterator[RunningGateway]:
    """Run it on a free loopback port, in a thread of its own, and give it as if it were a real one.

    Args:
        folder: for whoever looks for a gateway's files; there are none.
    """
    gateway = Gateway(password="Aa1!" + secrets.token_urlsafe(24))
    ready: threading.Event = threading.Event()
    ends: list[Callable[[], object]] = []
    urls: list[str] = []

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(stop.set))
        with closing(Asking()) as upstream:

            async def answer(request: Request) -> tuple[int, object]:
                return await gateway.answer(request, upstream)

            async with serve(answer) as url:
                urls.append(url)
                ready.set()
                await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="pretended gateway", daemon=True)
    thread.start()
    if not ready.wait(60):
        raise AssertionError("the pretended gateway does not start")
    try:
        yield RunningGateway(url=urls[0], user=ADMIN, password=gateway.password, folder=folder)
    finally:
        with suppress(RuntimeError):
            ends[0]()
        thread.join(60)
