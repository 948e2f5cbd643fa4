"""All parts on one machine: responder, receiver and our own Prefect server, each a child process that never outlives us.

The responder comes first, so that containment is possible before there is anything to watch it in. A part that dies is
started again, a few times and not in silence.
"""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows import prefect_server
from flows.part import GRACE
from flows.settings import Configuration
from integrations.connections import secret
from playbooks.errors import Misconfigured

Say = Callable[[str], None]

RESTARTS = 5
"""How often within `WITHIN` seconds a part is started again before we give up on it."""

WITHIN = 300.0
READY_WITHIN = 60.0
STATUS = "up.json"
"""In `state/`: where everything is, for other commands; there only while `up` runs."""


@dataclass
class Part:
    """One child process, started again when it dies.

    Args:
        name: what people call it.
        arguments: of `flows.part`.
        log: where its log goes.
        environment: its environment.
        sockets: listening sockets that it inherits.
        needed: without it, everything ends.
        healthy: asks whether it serves; None if it says so itself.
    """

    name: str
    arguments: Sequence[str]
    log: Path
    environment: dict[str, str]
    sockets: Sequence[socket.socket] = ()
    needed: bool = True
    healthy: Callable[[], bool] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    misconfigured: str | None = None

    async def run(self, say: Say) -> None:
        """Keep it running until cancelled, or until it dies too often.

        Raises:
            Misconfigured: if it says that it is.
        """
        deaths: deque[float] = deque(maxlen=RESTARTS)
        while True:
            status = await self._once()
            if self.misconfigured:
                raise Misconfigured(self.misconfigured)
            moment = time.monotonic()
            if len(deaths) == RESTARTS and moment - deaths[0] < WITHIN:
                say(f"{self.name} died {RESTARTS + 1} times within {WITHIN:.0f} s, I give up on it; see {self.log}")
                return
            deaths.append(moment)
            say(f"{self.name} ended with status {status}; starting it again (log: {self.log})")
            await asyncio.sleep(min(0.2 * 2 ** len(deaths), 5.0))

    async def _once(self) -> int:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "flows.part",
                *self.arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self.environment,
                pass_fds=[item.fileno() for item in self.sockets],
                # Ctrl-C in a terminal goes to the whole group: we alone decide in which order things end.
                start_new_session=True,
            )
        asking = asyncio.create_task(self._ask()) if self.healthy else None
        try:
            await self._listen(self.process)
            return await self.process.wait()
        finally:
            if asking:
                asking.cancel()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        async for line in process.stdout:
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict):
                    self.misconfigured = said.get("misconfigured") or self.misconfigured
                    if said.get("ready"):
                        self.ready.set()

    async def _ask(self) -> None:
        while self.healthy and not await asyncio.to_thread(self.healthy):
            await asyncio.sleep(0.1)
        self.ready.set()

    async def end(self) -> None:
        """End it, by force if it does not listen."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), GRACE)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def up(config: Configuration, say: Say, *, stop: asyncio.Event | None = None) -> None:
    """Run all parts until told to stop.

    Args:
        config: the configuration, checked.
        say: tells the person at the terminal.
        stop: ends it; by default SIGINT and SIGTERM do.

    Raises:
        Misconfigured: naming what has to be mended.
    """
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    state = config.folder.resolve() / "state"
    logs = state / "logs"
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    receiver = config.settings.receiver
    with contextlib.ExitStack() as sockets:
        entrance = sockets.enter_context(_listening(receiver.host, receiver.port, "receiver.port", config))
        own = None
        if config.settings.prefect.api is None:
            own = sockets.enter_context(_listening("127.0.0.1", config.settings.prefect.port, "prefect.port", config))
        await _parts(config, say, stop, _Places(state, logs, entrance, own))


@dataclass(frozen=True)
class _Places:
    state: Path
    logs: Path
    entrance: socket.socket
    own: socket.socket | None


async def _parts(config: Configuration, say: Say, stop: asyncio.Event, places: _Places) -> None:
    folder = str(config.folder.resolve())
    plain = {**prefect_server.clean(os.environ), "PYTHONPATH": _root(), "PYTHONUNBUFFERED": "1"}
    scheme = "https" if config.settings.receiver.tls else "http"
    address = f"{scheme}://{config.settings.receiver.host}:{places.entrance.getsockname()[1]}"
    home = places.state / "prefect"
    if places.own:
        auth: str | None = prefect_server.password(home)
        port = places.own.getsockname()[1]
        api = f"http://127.0.0.1:{port}/api"
    else:
        place = config.settings.prefect.auth
        auth = secret(place, what="prefect.auth") if place else None
        port, api = 0, config.settings.prefect.api or ""
    reporting = prefect_server.client_environment(home, auth=auth, url=api)
    responder = Part("responder", ("responder", folder, api), places.logs / "responder.log", {**plain, **reporting})
    parts = [
        responder,
        Part(
            "receiver",
            ("receiver", folder, str(places.entrance.fileno())),
            places.logs / "receiver.log",
            plain,
            sockets=(places.entrance,),
            healthy=_asks(config.settings.receiver.host, places.entrance.getsockname()[1], "/readyz", scheme),
        ),
    ]
    if places.own:
        served = prefect_server.server_environment(home, auth=auth or "", url=api)
        parts.append(
            Part(
                "prefect",
                ("prefect", str(places.own.fileno())),
                places.logs / "prefect.log",
                {**plain, **served},
                sockets=(places.own,),
                needed=False,
                healthy=_asks("127.0.0.1", port, "/api/health", "http", auth),
            )
        )
    status = {"pid": os.getpid(), "receiver": address, "prefect": api, "logs": str(places.logs)}
    running: dict[asyncio.Task[None], Part] = {}
    stopping = asyncio.create_task(stop.wait())
    try:
        for part in parts:
            running[asyncio.create_task(part.run(say))] = part
            if part is responder and not await _readied(part, running, stopping):
                return
        say(f"responder  ready, configuration {folder}")
        if not await _readied(parts[1], running, stopping):
            return
        say(f"receiver   {address}/v1/alerts/<source>, sources: {', '.join(config.sources.sources) or 'none'}")
        _write(places.state / STATUS, status)
        told = places.own is None
        while True:
            watch = {stopping, *running}
            if not told:
                watch.add(became := asyncio.ensure_future(parts[-1].ready.wait()))
                await asyncio.wait(watch, return_when=asyncio.FIRST_COMPLETED)
                if became.done():
                    say(f"Prefect    {api.removesuffix('/api')}, password in {home / 'auth'}")
                    _write(places.state / STATUS, {**status, "prefect_ready": True})
                    told = True
                became.cancel()
            else:
                await asyncio.wait(watch, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() or not _goes_on(running):
                return
    finally:
        stopping.cancel()
        for task in running:
            task.cancel()
        # The entrance first, so that nothing is accepted that nobody works on; what is in hand is finished.
        for part in (parts[1], responder, *parts[2:]):
            await part.end()
        await asyncio.gather(*running, stopping, return_exceptions=True)
        (places.state / STATUS).unlink(missing_ok=True)
        say("everything has stopped")


async def _readied(part: Part, running: dict["asyncio.Task[None]", Part], stopping: "asyncio.Task[bool]") -> bool:
    """Wait until a part serves; False if we are to stop instead."""
    ready = asyncio.ensure_future(part.ready.wait())
    try:
        await asyncio.wait({ready, stopping, *running}, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            return True
        if stopping.done() or not _goes_on(running):
            return False
        raise Misconfigured(f"{part.name} did not get ready within {READY_WITHIN:.0f} s; its log: {part.log}")
    finally:
        ready.cancel()


def _goes_on(running: dict["asyncio.Task[None]", Part]) -> bool:
    """Whether every part that is needed is still looked after.

    Raises:
        Misconfigured: if one of them said that it is.
    """
    for task in [task for task in running if task.done()]:
        part = running.pop(task)
        task.result()
        if part.needed:
            raise Misconfigured(f"{part.name} does not stay up; its log: {part.log}")
    return True


def _listening(host: str, port: int, name: str, config: Configuration) -> socket.socket:
    """Return a listening socket: bound here, a part that is started again finds its port, and its callers, again."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=512)
    except OSError as exc:
        message = f"{host}:{port} cannot be listened on ({exc.strerror}); write another port, or 0 for a free one"
        raise Misconfigured(message, file=str(config.folder / "mcp-soar.yaml"), field=name) from exc
    bound.set_inheritable(True)
    return bound


def _asks(host: str, port: int, path: str, scheme: str, auth: str | None = None) -> Callable[[], bool]:
    import base64  # noqa: PLC0415
    import ssl  # noqa: PLC0415

    # Only whether it answers is asked, of our own child on our own socket.
    unverified = ssl._create_unverified_context()  # noqa: SLF001, S323
    headers = {"Authorization": "Basic " + base64.b64encode(auth.encode()).decode()} if auth else {}

    def ask() -> bool:
        connection = (
            http.client.HTTPSConnection(host, port, timeout=2, context=unverified)
            if scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=2)
        )
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return ask


def _write(path: Path, content: dict[str, object]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(path)


def _root() -> str:
    return str(Path(__file__).resolve().parents[1])
