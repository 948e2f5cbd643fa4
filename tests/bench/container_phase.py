"""What a responder does with a container's files, or its log, alone in its process, for `bench_cluster` to measure.

python -m tests.bench.container_phase files|log FOLDER INVENTORY
"""

import asyncio
import sys
from pathlib import Path

from integrations import registry
from integrations.systems.kubernetes.captures import CaptureWorkload
from integrations.systems.kubernetes.filesystem import CaptureFiles
from integrations.vault.local import LocalVault
from playbooks.estate.inventory import Inventory
from playbooks.record.evidence import Authority, Method
from playbooks.strict import now, parse_yaml
from tests.lab.connected import connected

GIBIBYTE = 1 << 30
INCIDENT = "inc-2026-000001"
CAPTURES: dict[str, type[CaptureFiles | CaptureWorkload]] = {"files": CaptureFiles, "log": CaptureWorkload}


async def _captured(what: str, folder: Path, inventory: str) -> None:
    capture = CAPTURES[what]
    world = connected(parse_yaml(Inventory, inventory, file="inventory.yaml", context=registry.SYSTEMS.context))
    async with LocalVault(folder, reserve=0).draft(INCIDENT, 1, capture.exhibit) as draft:
        await capture(server="weather").collect(world, draft)
        if draft.lacking:
            raise SystemExit("; ".join(draft.lacking))
        await draft.seal(
            collected_at=now(),
            collected_by="mcp-soar",
            authority=Authority(step=what, actor="bench"),
            how=Method(tool="mcp-soar@0.1.0", capture=capture.name, params={}),
            interrupted=False,
        )
    await world.aclose()
    if (size := _size(folder)) < GIBIBYTE:
        raise SystemExit(f"of a gibibyte {size} bytes were kept")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    asyncio.run(_captured(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]).read_text(encoding="utf-8")))
