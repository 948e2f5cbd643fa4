"""The journal verified by schedule, by somebody who cannot write it."""

import asyncio
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.pages import scheduled
from flows.pages.pages import banner
from flows.pages.text import escaped, facts
from flows.reading import verification
from flows.reading.verification import CheckRow
from flows.service.settings import Configuration

KEY = "journal-verification"


@flow(name="verify-journal", flow_run_name="verify the journal", retries=0, persist_result=False, log_prints=False)
async def verify_journal() -> State[Any]:
    """Verify that nothing in the journal was changed, taken out or left out since it was signed.

    Every entry's place in its chain, every signed head, the kill switch against what people signed for; and where this
    worker can read them, exhibits and bundles. Red means that something is not as it was written.
    """
    config = scheduled.configuration()
    async with scheduled.journal(config) as journal:
        checks = await verification.chain(journal, config, None, lambda *_: None)
        if await asyncio.to_thread(_readable, config):
            checks += await verification.evidence(journal, config, None, lambda *_: None)
            beside = ""
        else:
            beside = "Exhibits and bundles cannot be read from here, so they were not verified."
        stops = await journal.stops()
    bad = [check for check in checks if not check["ok"]]
    said = f"{len(checks) - len(bad)} of {len(checks)} checks found everything as it was written"
    parts = [
        f"{banner(stops)}# Journal: {'NOT as it was written' if bad else 'as it was written'}",
        _rows(checks),
        beside,
    ]
    if bad:
        parts.append(
            "What to do: leave the database, the vault and the bundles as they are, run `mcp-soar verify` on the "
            "responder's machine, and compare with the newest backup and the heads in the bundles. Whoever could write "
            "the database since the last green run comes into question."
        )
    await scheduled.show(KEY, said, "\n\n".join(part for part in parts if part) + "\n")
    faults = "; ".join(f"{check['check']}: {check['message']}" for check in bad)
    return scheduled.ended(f"{said}. {faults}. See the artifact {KEY}" if bad else said, good=not bad)


def _rows(checks: list[CheckRow]) -> str:
    # The bad ones first; of the good ones, an installation may have thousands.
    ordered = sorted(checks, key=lambda check: check["ok"])
    rows = [
        (f"{'ok' if check['ok'] else 'NOT OK'}, {escaped(check['check'])}", escaped(check["message"], 1000))
        for check in ordered[:200]
    ]
    return facts(rows)


def _readable(config: Configuration) -> bool:
    vault = config.settings.vault
    if vault.s3 is not None:
        # Its credentials are the responder's.
        return False
    try:
        return all(list(config.path(path).iterdir()) is not None for path in (vault.path, vault.bundles))
    except OSError:
        return False
