"""A process that appends until it is killed or has appended enough, and says what is on disk.

It prints a line for each append that was acknowledged: its stream, seq and hash.
"""

import asyncio
import sys
from pathlib import Path

from integrations.journal import Journal
from integrations.signing import SigningKey
from playbooks.record.journal import Event

WRITERS = 8


async def main(url: str, key: str, name: str, each: int) -> None:
    """Append `each` times by each of several writers, to streams that all processes share."""
    async with await Journal.open(url, signer=SigningKey.load(Path(key)), name=name) as journal:

        async def write(writer: int) -> None:
            for n in range(each):
                stream = f"campaign/{writer % 3}"
                for entry in await journal.append(stream, [Event("bench", {"by": name, "writer": writer, "n": n})]):
                    sys.stdout.write(f"{entry.stream} {entry.seq} {entry.hash.hex()}\n")
                    sys.stdout.flush()

        await asyncio.gather(*(write(writer) for writer in range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
