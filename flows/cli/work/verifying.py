"""`verify`: whether journal, evidence and bundles are as they were written."""

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work import records
from flows.reading import streams, verification
from flows.reading.verification import CheckRow
from flows.service.settings import Configuration
from playbooks.record.evidence import SIGNED
from playbooks.record.journal import Head


def offline(out: Out, path: Path, key: Path) -> Exit:
    """Verify a bundle with a public key and nothing else."""
    if path.name.endswith(SIGNED):
        raise Usage(f"{path} is a manifest without its evidence: `mcp-soar archive` writes a bundle with both")
    with out.waiting(f"verifying {path}"):
        subject, checks = verification.offline(path, key)
    return _tell(out, subject, checks)


def installed(out: Out, config: Configuration, given: str | None, *, heads: Collection[Head] = ()) -> Exit:
    """Verify the installation's journal and vault: all of it, or what one incident rests on.

    Args:
        out: where to.
        config: the configuration.
        given: an incident, if it is about one.
        heads: of the journal, as notifications print them.
    """
    with out.progress("verifying the journal") as progress:
        subject, checks = asyncio.run(_installed(config, given, progress, heads))
    return _tell(out, subject, checks)


async def _installed(
    config: Configuration, given: str | None, progress: Callable[[str, int, int], None], heads: Collection[Head]
) -> tuple[str, list[CheckRow]]:
    async with records.opened(config) as journal:
        incident = await streams.find(journal, given) if given else None
        checks = await verification.chain(journal, config, incident, progress, heads=heads)
        checks += await verification.evidence(journal, config, incident, progress)
    return incident or "this installation", checks


def _tell(out: Out, subject: str, checks: list[CheckRow]) -> Exit:
    good = all(check["ok"] for check in checks)
    found: schema.Verified = {"subject": subject, "ok": good, "checks": checks}
    out.document(found)
    out.table(("", "check", "found"), [("ok" if c["ok"] else "FAIL", c["check"], c["message"]) for c in checks])
    out.say(f"{subject}: " + ("verified" if good else "NOT verified"), "good" if good else "bad")
    return Exit.OK if good else Exit.NO
