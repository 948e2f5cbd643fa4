"""All parts on one machine: responder, flows, receiver, our own Prefect server, each a child that never outlives us.

The responder comes first, so that containment is possible before there is anything to watch it in. A part that dies is
started again, a few times and not in silence. Receiver and responder run each alone where they have a machine or a pod
of their own: one needs neither a key nor what is acted on, the other no way in.
"""

import asyncio
import base64
import contextlib
import http.client
import json
import os
import shlex
import signal
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.service import prefect_server, workers
from flows.service.child import Part, Say
from flows.service.part import GRACE
from flows.service.running import STATUS
from flows.service.settings import Configuration
from integrations.secret import secret
from playbooks.errors import Misconfigured, SoarError

READY_WITHIN = 60.0
"""Seconds that a part has to get ready before everything else goes on; one that is needed has three times as many."""

RECEIVER, RESPONDER = "receiver", "responder"
"""What may run alone."""

LOOK_EVERY = 5.0
"""Seconds between two looks whether the configuration has changed, for the schedules' copy of it."""

_DOES = {
    workers.REQUESTS: "does what Prefect's forms ask for",
    workers.READING: "does what is scheduled: journal verified daily, definitions compared hourly, a report weekly",
}


async def up(
    config: Configuration,
    say: Say,
    *,
    pools: tuple[str, ...] = (),
    only: str = "",
    stop: asyncio.Event | None = None,
) -> None:
    """Run all parts until told to stop.

    Args:
        config: the configuration, checked.
        say: tells the person at the terminal.
        pools: the pools of Prefect whose work is done here.
        only: `receiver` or `responder`: that alone.
        stop: ends it; by default SIGINT and SIGTERM do.

    Raises:
        Misconfigured: naming what has to be mended.
    """
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if only == RESPONDER and config.settings.prefect.api is None:
        raise Misconfigured(
            "a responder alone starts no Prefect: write where yours is, or run the whole of `mcp-soar up`",
            file=str(config.folder / "mcp-soar.yaml"),
            field="prefect.api",
        )
    state = config.folder.resolve() / "state"
    logs = state / "logs"
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    receiver = config.settings.receiver
    with contextlib.ExitStack() as sockets:
        entrance = own = None
        if only != RESPONDER:
            entrance = sockets.enter_context(_listening(receiver.host, receiver.port, "receiver.port", config))
        if config.settings.prefect.api is None and not only:
            own = sockets.enter_context(_listening("127.0.0.1", config.settings.prefect.port, "prefect.port", config))
        await _Group(config, say, stop, _Places(state, logs, entrance, own), () if only else pools, only=only).run()


@dataclass(frozen=True)
class _Places:
    state: Path
    logs: Path
    entrance: socket.socket | None
    own: socket.socket | None


class _Group:
    """The parts of one installation, as they are started, watched and ended."""

    def __init__(  # what `up` was given, and what it made of it
        self,
        config: Configuration,
        say: Say,
        stop: asyncio.Event,
        places: _Places,
        pools: tuple[str, ...] = (),
        *,
        only: str = "",
    ) -> None:
        self._say, self._places, self._config, self._pools, self._only = say, places, config, pools, only
        self._stopping = asyncio.create_task(stop.wait())
        self._running: dict[asyncio.Task[None], Part] = {}
        self._sources = ", ".join(config.sources.sources) or "none"
        self._home = places.state / "prefect"
        settings = config.settings
        auth: str | None = None
        if places.own:
            auth = prefect_server.password(self._home)
            self._api = f"http://127.0.0.1:{places.own.getsockname()[1]}/api"
        else:
            tells = settings.prefect.auth if only != RECEIVER else None
            auth = secret(tells, what="prefect.auth") if tells else None
            self._api = settings.prefect.api or ""
        self._folder = str(config.folder.resolve())
        from flows.service.assembly import secret_variables  # noqa: PLC0415  # the database's driver, for nobody's --help

        whole = {**prefect_server.clean(os.environ), "PYTHONPATH": _root(), "PYTHONUNBUFFERED": "1"}
        targets, doors = secret_variables(config)
        # Each part gets the secrets that it needs: the receiver those of its sources, Prefect none at all.
        entering = {name: value for name, value in whole.items() if name not in targets}
        plain = {name: value for name, value in entering.items() if name not in doors}
        reporting = prefect_server.client_environment(self._home, auth=auth, url=self._api)
        self._reporting, self._workers = reporting, dict[str, Part]()
        self._copied: object = None
        self._announced, self._serving = False, set[str]()
        self._began: float | None = time.monotonic()
        self._responder = Part(
            "responder", ("responder", self._folder, self._api), places.logs / "responder.log", {**whole, **reporting}
        )
        # What comes after a cut is long work of the processor: no cut waits for it, and none ends with it.
        self._flows = Part(
            "flows",
            ("flows", self._folder, self._api),
            places.logs / "flows.log",
            {**whole, **reporting},
            needed=False,
            lasting=True,
        )
        scheme = "https" if settings.receiver.tls else "http"
        self._entrance = ""
        self._receiver: Part | None = None
        if places.entrance:
            host, port = settings.receiver.host, places.entrance.getsockname()[1]
            self._entrance = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
            self._receiver = Part(
                "receiver",
                ("receiver", self._folder, str(places.entrance.fileno())),
                places.logs / "receiver.log",
                entering,
                sockets=(places.entrance,),
                healthy=_asks(host, port, "/readyz", scheme),
            )
        self._prefect: Part | None = None
        if places.own:
            self._prefect = Part(
                "prefect",
                ("prefect", str(places.own.fileno())),
                places.logs / "prefect.log",
                {**plain, **prefect_server.server_environment(self._home, auth=auth or "", url=self._api)},
                sockets=(places.own,),
                needed=False,
                healthy=_asks("127.0.0.1", places.own.getsockname()[1], "/api/health", "http", auth),
            )

    async def run(self) -> None:
        """Start everything in order, and stay until told to stop or until what is needed does not stay up.

        Raises:
            Misconfigured: naming what has to be mended.
        """
        try:
            if not await self._started():
                return
            if self._prefect:
                self._say("Prefect    starts, which takes a minute or more; nothing waits for it")
                if not await self._ready(self._prefect):
                    return
            self._announce()
            # They wait for Prefect themselves, where it takes its time.
            await self._start_workers()
            self._complete()
            while self._goes_on():
                everything = {self._stopping, *self._running}
                timeout = LOOK_EVERY if workers.READING in self._workers or self._began is not None else None
                await asyncio.wait(everything, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                self._announce()
                self._complete()
                await self._follow()
        finally:
            await self._end()

    async def _started(self) -> bool:
        """Start what nothing else is done without; False if we are to stop instead."""
        if self._only != RECEIVER:
            self._start(self._responder)
            if not await self._ready(self._responder):
                return False
            self._say(f"responder  ready, configuration {self._folder}")
        if self._receiver:
            self._start(self._receiver)
        if self._only != RECEIVER:
            self._start(self._flows)
        if self._prefect:
            self._start(self._prefect)
        if self._receiver:
            if not await self._ready(self._receiver):
                return False
            self._say(f"receiver   {self._entrance}/v1/alerts/<source>, sources: {self._sources}")
            if self._receiver.unconfined:
                self._say(f"           it could read the responder's keys: {self._receiver.unconfined}")
        self._tell(prefect_ready=False)
        return True

    def _announce(self) -> None:
        """Say once of Prefect and of each worker that it is there, and where or what for, however late it is."""
        if not self._announced and (self._prefect is None or self._prefect.ready.is_set()):
            self._announced = True
            if self._api and self._only != RECEIVER:
                self._say_where()
            self._tell(prefect_ready=True)
        for pool, part in self._workers.items():
            if pool in self._serving or not part.ready.is_set():
                continue
            self._serving.add(pool)
            self._say(f"{pool:<10} {_DOES[pool]}")
            if part.unconfined:
                self._say(f"           whoever reaches Prefect reads what our user can by it: {part.unconfined}")

    def _complete(self) -> None:
        """Say once that all that was started is ready, and how long that took."""
        if self._began is None or not all(part.ready.is_set() for part in self._running.values()):
            return
        seconds = time.monotonic() - self._began
        self._began = None
        self._say(f"all {len(self._running)} parts are up, {seconds:.0f} s after the start")

    def _say_where(self) -> None:
        """Say where Prefect is, and how to point `prefect` at it; its password stays in its file."""
        file = self._home / "auth"
        where = f", user and password in {file}" if self._prefect else ""
        self._say(f"Prefect    {self._api.removesuffix('/api')}{where}")
        self._say(f"           export PREFECT_API_URL={shlex.quote(self._api)}")
        place = self._config.settings.prefect.auth
        if self._prefect or (place and place.file):
            path = str(file if self._prefect or not place else place.file)
            self._say(f'           export PREFECT_API_AUTH_STRING="$(cat {shlex.quote(path)})"')
        elif place and place.env:
            self._say(f'           export PREFECT_API_AUTH_STRING="${place.env}"')

    async def _start_workers(self) -> None:
        """Start what does the work of forms and schedules: last, because nothing waits for it."""
        for pool in self._pools:
            if why := workers.lacking(self._config, pool):
                self._say(f"{pool:<10} no worker: {why}")
                continue
            try:
                self._copied = workers.stamps(self._config.folder)
                worker = await asyncio.to_thread(
                    workers.worker,
                    self._config,
                    pool,
                    self._places.state,
                    receiver=self._entrance,
                    reporting=self._reporting,
                )
            except (SoarError, OSError) as exc:
                self._say(f"{pool:<10} no worker: {exc}")
                continue
            may = "unconfined" if self._config.settings.prefect.unconfined else "confined"
            environment = {**worker.environment, "PYTHONPATH": _root(), "PYTHONUNBUFFERED": "1"}
            log = self._places.logs / f"{pool}.log"
            self._workers[pool] = Part(pool, ("worker", pool, may), log, environment, needed=False)
            self._start(self._workers[pool])
        for part in self._workers.values():
            await self._ready(part)
            self._announce()

    async def _follow(self) -> None:
        """Have the schedules' copy of the configuration follow it."""
        part = self._workers.get(workers.READING)
        if part is None or self._stopping.done() or (now := workers.stamps(self._config.folder)) == self._copied:
            return
        self._copied = now
        try:
            moved = await asyncio.to_thread(workers.renew, self._config.folder, self._places.state)
        except (SoarError, OSError) as exc:
            self._say(f"the schedules go by the configuration as it was: {exc}")
            return
        if moved:
            # Which addresses it may connect to is settled when it starts.
            await part.restart()

    def _start(self, part: Part) -> None:
        self._running[asyncio.create_task(part.run(self._say))] = part

    async def _ready(self, part: Part) -> bool:
        """Wait until a part serves; False if we are to stop instead.

        Raises:
            Misconfigured: if it does not get there.
        """
        ready = asyncio.create_task(part.ready.wait())
        within = READY_WITHIN * (3 if part.needed else 1)
        deadline = time.monotonic() + within
        try:
            while not ready.done() and self._goes_on():
                if part not in self._running.values():
                    return not part.needed
                if time.monotonic() > deadline:
                    late = f"{part.name} is not ready after {within:.0f} s"
                    if part.needed:
                        raise Misconfigured(f"{late}: see {part.log}")
                    self._say(f"{late}; everything else runs, and it may still get ready")
                    return True
                everything = {ready, self._stopping, *self._running}
                await asyncio.wait(everything, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            return ready.done()
        finally:
            ready.cancel()

    def _goes_on(self) -> bool:
        """Whether nobody wants us to stop, and every part that is needed is looked after.

        Raises:
            Misconfigured: if one of them said that it is, or does not stay up.
        """
        for task in [task for task in self._running if task.done()]:
            part = self._running.pop(task)
            task.result()
            if part.needed:
                raise Misconfigured(f"{part.name} does not stay up: see {part.log}")
        return not self._stopping.done()

    def _tell(self, *, prefect_ready: bool) -> None:
        status = {"pid": os.getpid(), "receiver": self._entrance, "prefect": self._api, "prefect_ready": prefect_ready}
        status["receiver_unconfined"] = self._receiver and self._receiver.unconfined
        fresh = self._places.state / (STATUS + ".new")
        fresh.write_text(json.dumps(status), encoding="utf-8")
        fresh.replace(self._places.state / STATUS)

    async def _end(self) -> None:
        self._stopping.cancel()
        if self._running:
            self._say(f"stopping   what is in hand is finished first, within {3 * GRACE:.0f} s")
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, self._stopping, return_exceptions=True)
        # The entrance first, so that nothing is accepted that nobody works on; then the step in hand is finished, and
        # last goes Prefect, which is told of it.
        entering = [self._receiver] if self._receiver else []
        await asyncio.gather(*(part.end() for part in (*entering, *self._workers.values())))
        await asyncio.gather(self._responder.end(), self._flows.end())
        if self._prefect:
            await self._prefect.end()
        (self._places.state / STATUS).unlink(missing_ok=True)
        self._say("everything has stopped")


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


def _root() -> str:
    return str(Path(__file__).resolve().parents[2])
