"""What a process does once and remembers, done before others are forked off it: each of them did all of it again."""

import asyncio
import tempfile
from pathlib import Path

from playbooks.estate.inventory import Inventory
from playbooks.playbook import shipped
from playbooks.screening import rules
from tests.lab import compiled
from tests.lab.connected import connected
from tests.lab.house import alert, house


async def _once() -> None:
    """Respond to an alert about nothing that there is: what is compiled and imported late is there from then on."""
    with tempfile.TemporaryDirectory() as folder:
        async with house(Path(folder), connected(Inventory(version=1))) as home, home.responding():
            await home.receive(alert("nowhere"))
            await home.opened()


compiled.share()
rules.load()
tuple(shipped().values())
# No thread and no socket outlives it.
asyncio.run(_once())
