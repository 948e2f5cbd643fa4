"""`doctor`: is everything there that a response needs, and what to do about what is not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

from flows.cli.exits import Exit
from flows.cli.output import Out
from flows.cli.work import doctor_files, doctor_journal, doctor_running, doctor_servers, inventory, reachable, records
from flows.service.access import missing
from flows.service.settings import Configuration, read
from integrations.connections import Connections
from integrations.hostile import printable
from integrations.journal.records import Hold
from integrations.system import Holders, Looked
from integrations.vault.s3 import S3
from playbooks.errors import Misconfigured, SoarError

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
    # What stands in files, and what listens on this machine, is looked at while the others answer.
    settled, asked, running = await asyncio.gather(
        asyncio.to_thread(lambda: list(doctor_files.look(config))),
        _ask(config, progress),
        asyncio.to_thread(lambda: list(doctor_running.look(config))),
    )
    return [*settled, *asked, *running, *doctor_running.read_by_whom(folder)]


async def _ask(config: Configuration, progress: Callable[[str], None]) -> list[Looked]:
    """Ask everybody at once, and say meanwhile who has not answered yet."""
    world, unanswered = Connections(config.inventory, config.systems), list[str]()
    holders = Holders(partial(_holds, config))

    async def answered(check: str, lines: Awaitable[list[Looked]]) -> list[Looked]:
        unanswered.append(check)
        try:
            return await lines
        finally:
            unanswered.remove(check)
            progress(f"waiting for {doctor_servers.some(unanswered)}" if unanswered else "reading the answers")

    asked = {
        "journal": _within("journal", doctor_journal.look(config)),
        "pins": _within("pins", doctor_servers.reviewed(config)),
    }
    if (bucket := config.settings.vault.s3) is not None:
        asked["vault"] = _within("vault", _bucket(bucket))
    asked |= {check: _within(check, seen) for check, seen in config.systems.doctor(world, holders)}
    asked |= {
        f"server {name}": _within(f"server {name}", doctor_servers.look(world, holders, name))
        for name in config.inventory.servers
    }
    asked |= {check: _within(check, seen) for check, seen in reachable.channels(config)}
    progress(f"waiting for {doctor_servers.some(list(asked))}")
    try:
        groups = await asyncio.gather(*(answered(check, lines) for check, lines in asked.items()))
    finally:
        await world.aclose()
    found = [line for lines in groups for line in lines]
    found += [Looked("inventory", one.level, f"{one.subject}: {one.message}") for one in inventory.findings(config)]
    return found


async def _holds(config: Configuration) -> list[Hold]:
    if missing(config) is not None:
        return []
    async with records.opened(config) as journal:
        return await journal.holds()


async def _bucket(settings: S3) -> AsyncIterator[Looked]:
    """Yield what is to be said of the bucket with the evidence."""
    from integrations.vault.s3 import looking  # noqa: PLC0415  # boto3, for those alone who keep evidence there

    for line in await asyncio.to_thread(looking.looked, settings):
        yield line


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
