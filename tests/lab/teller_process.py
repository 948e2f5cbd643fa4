"""A process that tells people and dies by SIGKILL right before or right after a message went out."""

import asyncio
import os
import signal
from pathlib import Path

from flows.engine.opening import TELL
from flows.engine.people.telling import tell
from integrations.channels.file.channel import FileChannel
from playbooks.people.contacts import Contact, Contacts, Way
from playbooks.people.message import Channel, Message, Sent
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.forked import FORKED
from tests.lab.house import House, house

CLAIM = 1.0
"""Seconds that the claim of one who dies outlives them."""


class Deadly(FileChannel):
    """Writes messages into a folder, and kills its own process.

    Args:
        moment: `before` or `after` the first message.
    """

    def __init__(self, moment: str) -> None:
        self._moment = moment

    async def send(self, to: Contact, message: Message, *, thread: str = "", update: str = "") -> Sent:
        """Write a message, or die before it does."""
        if self._moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        sent = await super().send(to, message, thread=thread, update=update)
        if self._moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return sent


def with_room(home: House, channel: Channel) -> House:
    """Return the installation with one contact, whose folder is `told`, in the room."""

    def channels(_contact: Contact, _way: Way) -> Channel:
        return channel

    contacts = Contacts(contacts={"soc": Contact(file=str(home.folder / "told"))}, room="soc")
    return home.changed(contacts=contacts, channels=channels)


async def _tell(folder: Path, moment: str) -> None:
    inventory = world.READ
    async with house(folder, connected(inventory)) as made:
        home = with_room(made, Deadly(moment))
        (claim,) = await home.journal.claim("who dies", lane=TELL, limit=1, seconds=CLAIM)
        await tell(home.parts, claim)


def _run(folder: Path, moment: str) -> None:
    asyncio.run(_tell(folder, moment))


async def dies(folder: Path, moment: str) -> int:
    """Run such a process to its end, and return its exit status: minus the signal if it was killed."""
    process = FORKED.Process(target=_run, args=(folder, moment), daemon=True)
    process.start()
    await asyncio.to_thread(process.join, 60.0)
    return process.exitcode if process.exitcode is not None else 0
