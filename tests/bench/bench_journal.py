"""Measures the journal: durable appends by concurrent writers, and verifying a million entries.

    python -m tests.bench.bench_journal [RESULTS.json]

PostgreSQL is measured if its programs are installed. The results go to the path given, or to BENCH_RESULTS.
"""

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from integrations.journal import Journal, Tx
from integrations.signing import SigningKey
from playbooks.record.journal import Event
from tests.bench.targets import reached
from tests.lab.postgres import find_postgres, postgres_server

WRITERS = 32
SECONDS = 5.0
MILLION = 1_000_000
# A step's intent is about so large.
EVENT = Event("intended", {"step": "quarantine-tool", "plan": {"digest": "sha256:" + 64 * "0", "targets": ["tool-1"]}})


def results(figures: dict[str, float], path: str | None) -> None:
    """Print figures, and whether they are what they have to be; write both to a JSON file, beside what is there.

    Args:
        figures: by name, the unit in the name.
        path: of the file; None for none.
    """
    file = Path(path) if path is not None else None
    known = json.loads(file.read_text()) if file and file.exists() else {}
    whole = {**known, **figures}
    answers = {target: answer for target, answer in reached(whole).items() if known.get(target) != answer}
    for name, value in figures.items():
        print(f"{name}: {value:,.1f}", flush=True)  # noqa: T201  # what it is for
    for target, answer in answers.items():
        print(f"{target}: {answer}", flush=True)  # noqa: T201  # likewise
    if file is not None:
        file.write_text(json.dumps({**whole, **answers}, indent=2, sort_keys=True) + "\n")


async def appends(journal: Journal) -> dict[str, float]:
    """Append by many writers at once, each to a stream of its own, one event at a time as steps do."""
    waits: list[float] = []
    end = time.perf_counter() + SECONDS

    async def write(writer: int) -> None:
        while (begun := time.perf_counter()) < end:
            await journal.append(f"incident/bench-{writer}", [EVENT])
            waits.append(time.perf_counter() - begun)

    await journal.append("system", [EVENT])
    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    waits.sort()
    return {
        "appends/s": len(waits) / SECONDS,
        "append p50 ms": waits[len(waits) // 2] * 1000,
        "append p99 ms": waits[len(waits) * 99 // 100] * 1000,
    }


async def units(journal: Journal) -> dict[str, float]:
    """Open incidents: a number, a correlation key, a claim and an entry, as the first unit of an alert does."""
    opened = 0
    end = time.perf_counter() + SECONDS

    async def write(writer: int) -> None:
        nonlocal opened
        n = 0
        while time.perf_counter() < end:
            n += 1
            key = f"{writer}.{n}"

            async def unit(tx: Tx, key: str = key) -> None:
                name, claim = await tx.open_stream(
                    "incident/inc", correlation=key, lane="cut", owner="r1", claim_seconds=60
                )
                await tx.append(name, [EVENT], claim)

            await journal.submit(unit)
            opened += 1

    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    return {"incidents opened/s": opened / SECONDS}


async def verification(journal: Journal, key: SigningKey, entries: int) -> dict[str, float]:
    """Fill up to so many entries, as many incidents of 50 entries each, and verify all of it."""
    told = [0, 0]

    def tell(done: int, heads: int) -> None:
        told[:] = done, heads

    await journal.verify(public_keys=[key.public], progress=tell)
    numbers = iter(range((entries - told[0]) // 50 + 1))

    async def fill() -> None:
        for number in numbers:
            for _ in range(5):
                await journal.append(f"incident/fill-{number}", [EVENT] * 10)

    await asyncio.gather(*(fill() for _ in range(WRITERS)))
    begun = time.perf_counter()
    last = await journal.head_latest()
    assert last is not None
    faults = await journal.verify(public_keys=[key.public], witnesses=[last], progress=tell)
    took = time.perf_counter() - begun
    if faults or told[0] < entries:
        raise SystemExit(f"{told[0]} entries, {faults[:3]}")
    return {"verified entries": told[0], "verified heads": told[1], "verify s": took}


@contextlib.asynccontextmanager
async def opened(url: str, key: SigningKey) -> AsyncIterator[Journal]:
    """Give a migrated journal."""
    async with await Journal.open(url, signer=key, name="bench") as journal:
        await journal.migrate()
        yield journal


async def main(path: str | None) -> None:
    """Measure both databases."""
    with tempfile.TemporaryDirectory(prefix="mcp-soar-bench-") as folder, contextlib.ExitStack() as stack:
        key = SigningKey.generate(Path(folder) / "key")
        urls = {"sqlite": f"sqlite:///{folder}/journal.db"}
        programs = find_postgres()
        if programs is not None:
            server = stack.enter_context(postgres_server(programs))
            urls["postgresql"] = stack.enter_context(server.fresh_database())
        else:
            print("PostgreSQL is not installed, so it is not measured", flush=True)  # noqa: T201  # what it is for
        for name, url in urls.items():
            async with opened(url, key) as journal:
                figures = {**await appends(journal), **await units(journal)}
                figures |= await verification(journal, key, MILLION)
                results({f"journal {name} {figure}": value for figure, value in figures.items()}, path)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BENCH_RESULTS")))
