"""Exhibits for tests: what a capture writes, without a vault; and exhibits in a vault, without a capture."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from integrations.vault import Vault
from playbooks.action import Capture, Sink, World, Written
from playbooks.record.evidence import Authority, Exhibit, Method
from playbooks.strict import now

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
INCIDENT = "inc-2026-000001"
LOGS = {"a.log": b"line\n" * 500_000, "b.log": b""}
"""More than a draft holds, and nothing."""
SMALL = {"a.log": b"line\n", "b.log": b""}
SEALING: dict[str, Any] = {
    "collected_at": AT,
    "collected_by": "mcp-soar",
    "authority": Authority(step="logs", actor="sam"),
    "how": Method(tool="mcp-soar@0.1.0", capture="pod-logs"),
}


class _Kept(Written):
    def __init__(self, data: bytearray) -> None:
        self._data = data

    @override
    async def write(self, chunk: bytes) -> None:
        self._data += chunk


class Gathered(Sink):
    """Everything that a capture writes, by file name, and where it says that it is from."""

    def __init__(self) -> None:
        self.written: dict[str, bytearray] = {}
        self.origins: dict[str, str] = {}

    @override
    @asynccontextmanager
    async def file(self, name: str, *, media_type: str, origin: str) -> AsyncIterator[Written]:
        self.origins[name] = origin
        yield _Kept(self.written.setdefault(name, bytearray()))


async def gathered(capture: Capture, world: World) -> dict[str, bytes]:
    """Return what a capture collects, by file name."""
    sink = Gathered()
    await capture.collect(world, sink)
    return {name: bytes(data) for name, data in sink.written.items()}


async def kept(
    vault: Vault,
    incident: str,
    number: int,
    kind: str,
    files: Mapping[str, bytes],
    *,
    at: datetime | None = None,
    step: str = "logs",
    media_type: str = "text/plain",
    params: Mapping[str, Any] | None = None,
    interrupted: bool = False,
) -> Exhibit:
    """Seal an exhibit with these files.

    Args:
        vault: where.
        incident: whose it is.
        number: its number.
        kind: what sort it is.
        files: what it holds.
        at: when it was collected; now, if not given.
        step: that says that it collected it.
        media_type: of all files.
        params: of the capture.
        interrupted: whether it breaks off.
    """
    async with vault.draft(incident, number, kind) as draft:
        for name, data in files.items():
            await draft.add(name, data, media_type=media_type, origin=f"/api/{name}")
        return await draft.seal(
            collected_at=at or now(),
            collected_by="mcp-soar",
            authority=Authority(step=step, actor="sam"),
            how=Method(tool="mcp-soar@0.1.0", capture=kind, params=dict(params or {})),
            interrupted=interrupted,
        )


def read(vault: Vault, incident: str, exhibit: str, name: str) -> bytes:
    """Return one file of an exhibit."""
    return b"".join(vault.read(incident, exhibit, name))


async def pod_logs(
    vault: Vault,
    files: Mapping[str, bytes] = LOGS,
    *,
    number: int = 1,
    **more: Any,  # noqa: ANN401  # what else an exhibit is made of
) -> Exhibit:
    """Seal an exhibit like others of its kind."""
    return await kept(vault, INCIDENT, number, "pod-logs", files, **{"at": AT, "params": {"since": 60}, **more})
