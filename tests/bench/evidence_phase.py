"""What a responder does with evidence, alone in its process: `bench_evidence` measures its memory, and not the bench's.

python -m tests.bench.evidence_phase capture|seal FOLDER INCIDENT URL
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import httpx
from typing_extensions import override

from flows.engine import evidence, sealing
from flows.engine.case import PREFIX, Case
from flows.engine.opening import CUT
from flows.engine.schedule import Todo
from flows.service.assembly import assembled
from flows.service.settings import read
from playbooks.action import Capture, Sink, World
from playbooks.errors import Transient
from playbooks.playbook import Parameters
from playbooks.record.incident import Phase
from playbooks.strict import Line

NUMBER = 100


class Source(Capture):
    """Whatever an address sends.

    Args:
        url: the address.
    """

    name: ClassVar[str] = "bench.source"
    exhibit: ClassVar[str] = "image"
    permissions: ClassVar[tuple[str, ...]] = ("GET",)

    url: Line

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        try:
            async with (
                httpx.AsyncClient(trust_env=False) as client,
                client.stream("GET", self.url) as response,
                sink.file("disk.img", media_type="application/octet-stream", origin=self.url) as file,
            ):
                async for chunk in response.aiter_raw():
                    await file.write(chunk)
        except httpx.HTTPError as exc:
            raise Transient(f"the source broke off ({type(exc).__name__})") from exc


def size_of(url: str) -> int:
    """Return how many bytes an address sends."""
    return int(url.rpartition("/")[2])


def _number(case: Case, todo: Todo) -> int:
    """Return an exhibit's number, for a capture that no playbook names."""
    del case, todo
    return NUMBER


async def _worked(phase: str, folder: Path, incident: str, url: str) -> None:
    """Capture or seal, as a responder does that has claimed the incident."""
    async with assembled(read(folder)) as opened:
        parts = replace(opened, steps={**opened.steps, Source.name: Source})
        await parts.journal.submit(lambda tx: tx.make_runnable(f"{PREFIX}{incident}"))
        (claim,) = await parts.journal.claim(parts.name, lane=CUT, limit=1, seconds=600.0, early=True)
        case = await Case.take(parts, claim)
        if phase == "capture":
            await evidence.capture(
                case,
                Todo("image@weather", Phase.CAPTURE, "capture", "Keep it", Source.name, Parameters((("url", url),))),
            )
        else:
            await sealing.seal(case, Todo("seal", Phase.PRESERVE, "seal", "Seal the evidence"))
        await parts.journal.release(case.claim, runnable_at=None)
        kept = sum(file["size"] for exhibit in case.state.exhibits for file in exhibit["files"])
        if kept != size_of(url) or case.state.missing or (phase == "seal" and not case.state.sealed):
            raise SystemExit(f"{phase}: {kept} bytes are kept; {case.state.missing}")


if __name__ == "__main__":
    evidence.number_of = _number
    asyncio.run(_worked(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]))
