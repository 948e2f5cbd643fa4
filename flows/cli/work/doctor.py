"""`doctor`: is everything there that a response needs, and what to do about what is not."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.exits import Exit
from flows.cli.output import Out, some
from flows.cli.work.ahead import imported
from flows.service.settings import Configuration, read
from integrations.connections import Connections
from integrations.hostile import printable
from integrations.system import Holders, Looked
from playbooks.errors import Misconfigured, SoarError

if TYPE_CHECKING:
    from flows.cli.work.doctor_beside import Beside
    from integrations.journal.records import Hold

_WITHIN = 20.0


def doctor(out: Out, folder: Path) -> Exit:
    """Look at everything and show it."""
    with out.waiting("looking at the configuration") as progress:
        lines = asyncio.run(_look(folder, progress))
    good = not any(line.level == "fail" for line in lines)
    out.document({"ok": good, "checks": [line._asdict() for line in lines]})
    rows = [
        (line.level if line.level == "ok" else line.level.upper(), line.check, _with(line.message, line.remedy))
        for line in lines
    ]
    out.table(("", "check", "found"), rows)
    bad, odd = (sum(line.level == level for line in lines) for level in ("fail", "warn"))
    out.say(f"{bad} fail, {odd} warn, {len(lines) - bad - odd} ok", "good" if good else "bad")
    return Exit.OK if good else Exit.NO


def _with(message: str, remedy: str) -> str:
    return f"{message}\n→ {remedy}" if remedy else message


async def _look(folder: Path, progress: Callable[[str], None]) -> list[Looked]:
    try:
        config = read(folder)
    except Misconfigured as exc:
        what = "mend that line" if exc.line else "mend that file" if exc.file else "mend what it names"
        return [Looked("configuration", "fail", str(exc), f"{what}; nothing else was looked at")]
    world, questions = Connections(config.inventory, config.systems), Questions(progress)
    holders = Holders(partial(_holds, config))
    try:
        # Whoever is far away is asked first: all that looks at the rest is imported while they think.
        systems = asyncio.gather(*questions.put(config.systems.doctor(world, holders)))
        beside = await imported(_beside)
        found = await beside(config, world, holders, questions)
        far = await systems
    finally:
        await world.aclose()
    return [*found.settled, *found.before, *itertools.chain.from_iterable(far), *found.after]


def _beside() -> "Callable[[Configuration, Connections, Holders, Questions], Awaitable[Beside]]":
    from flows.cli.work.doctor_beside import look  # noqa: PLC0415  # it takes half as long as the systems' answers

    return look


async def _holds(config: Configuration) -> "list[Hold]":
    from flows.cli.work.doctor_beside import holds  # noqa: PLC0415  # likewise

    return await holds(config)


class Questions:
    """What is asked of everybody at once; says meanwhile who has not answered yet.

    Args:
        progress: where to say it.
    """

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._unanswered: list[str] = []

    def put(self, asked: Iterable[tuple[str, AsyncIterator[Looked]]]) -> "list[asyncio.Task[list[Looked]]]":
        """Ask, and return what everybody's answer comes as.

        Args:
            asked: what each is about, and what is found.
        """
        put = [(check, asyncio.create_task(self._answered(check, lines))) for check, lines in asked]
        self._unanswered += [check for check, _ in put]
        self._say()
        return [answer for _, answer in put]

    async def _answered(self, check: str, lines: AsyncIterator[Looked]) -> list[Looked]:
        try:
            return await _within(check, lines)
        finally:
            self._unanswered.remove(check)
            self._say()

    def _say(self) -> None:
        waits = f"waiting for {some(self._unanswered)}" if self._unanswered else "reading the answers"
        self._progress(waits)


async def _within(check: str, lines: AsyncIterator[Looked]) -> list[Looked]:
    found: list[Looked] = []
    try:
        async with asyncio.timeout(_WITHIN):
            async for line in lines:
                found.append(line)  # noqa: PERF401  # what came before an error is kept
    except TimeoutError:
        found.append(Looked(check, "fail", f"no answer within {_WITHIN:g} s", "see whether it runs and can be reached"))
    except Misconfigured as exc:
        found.append(Looked(check, "fail", str(exc), "mend what it names"))
    except SoarError as exc:
        found.append(Looked(check, "fail", str(exc), "see whether it runs, and whether our account may ask it"))
    except Exception as exc:  # noqa: BLE001  # what a hostile server sends costs its own line, not the others'
        message = f"what it says is more than we can read ({type(exc).__name__}: {printable(str(exc))})"
        found.append(Looked(check, "fail", message, "look at what it offers; do not approve it"))
    return found
