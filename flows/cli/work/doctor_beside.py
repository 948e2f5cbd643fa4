"""What `doctor` looks at beside the systems: files, journal, servers, channels, and what runs here."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

from flows.cli.work import doctor_files, doctor_journal, doctor_running, doctor_servers, inventory, reachable, records
from flows.cli.work.doctor import Questions
from flows.service.access import missing
from flows.service.settings import Configuration
from integrations.connections import Connections
from integrations.journal.records import Hold
from integrations.system import Holders, Looked
from integrations.vault.s3 import S3


class Beside(NamedTuple):
    """What was found, in the order in which people read it.

    Args:
        settled: of what stands in files.
        before: of journal, pins and evidence, which comes before the systems.
        after: of servers, channels, inventory, and of what runs here.
    """

    settled: list[Looked]
    before: list[Looked]
    after: list[Looked]


async def look(config: Configuration, world: Connections, holders: Holders, questions: Questions) -> Beside:
    """Look at all of it at once.

    Args:
        config: the configuration.
        world: the connections.
        holders: who holds what is out of use.
        questions: where what is asked of others is put.
    """
    before = asyncio.gather(*questions.put(_before(config)))
    after = asyncio.gather(*questions.put(_after(config, world, holders)))
    settled, running = await asyncio.gather(
        asyncio.to_thread(lambda: list(doctor_files.look(config))),
        asyncio.to_thread(lambda: list(doctor_running.look(config))),
    )
    stands = [Looked("inventory", one.level, f"{one.subject}: {one.message}") for one in inventory.findings(config)]
    first, last = map(itertools.chain.from_iterable, await asyncio.gather(before, after))
    return Beside(settled, [*first], [*last, *stands, *running, *doctor_running.read_by_whom(config.folder)])


def _before(config: Configuration) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
    yield "journal", doctor_journal.look(config)
    yield "pins", doctor_servers.reviewed(config)
    if (bucket := config.settings.vault.s3) is not None:
        yield "vault", _bucket(bucket)


def _after(config: Configuration, world: Connections, holders: Holders) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
    for name in config.inventory.servers:
        yield f"server {name}", doctor_servers.look(world, holders, name)
    yield from reachable.channels(config)


async def holds(config: Configuration) -> list[Hold]:
    """Return what incidents hold; nothing where there is no journal yet."""
    if missing(config) is not None:
        return []
    async with records.opened(config) as journal:
        return await journal.holds()


async def _bucket(settings: S3) -> AsyncIterator[Looked]:
    """Yield what is to be said of the bucket with the evidence."""
    from integrations.vault.s3 import looking  # noqa: PLC0415  # boto3, for those alone who keep evidence there

    for line in await asyncio.to_thread(looking.looked, settings):
        yield line
