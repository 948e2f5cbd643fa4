"""What a responder does with a container's files, alone in its process: `bench_cluster` measures its memory.

python -m tests.bench.files_phase FOLDER INVENTORY
"""

import asyncio
import sys
from pathlib import Path

from integrations import registry
from integrations.systems.kubernetes.filesystem import CaptureFiles
from integrations.vault.local import LocalVault
from playbooks.estate.inventory import Inventory
from playbooks.record.evidence import Authority, Method
from playbooks.strict import now, parse_yaml
from tests.lab.connected import connected

INCIDENT = "inc-2026-000001"


async def _captured(folder: Path, inventory: str) -> None:
    world = connected(parse_yaml(Inventory, inventory, file="inventory.yaml", context=registry.SYSTEMS.context))
    async with LocalVault(folder, reserve=0).draft(INCIDENT, 1, CaptureFiles.exhibit) as draft:
        await CaptureFiles(server="weather").collect(world, draft)
        if draft.lacking:
            raise SystemExit("; ".join(draft.lacking))
        await draft.seal(
            collected_at=now(),
            collected_by="mcp-soar",
            authority=Authority(step="files", actor="bench"),
            how=Method(tool="mcp-soar@0.1.0", capture=CaptureFiles.name, params={}),
            interrupted=False,
        )
    await world.aclose()


if __name__ == "__main__":
    asyncio.run(_captured(Path(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8")))
