"""A bundle of what the real journal holds verifies, wherever in the life of the installation its incident lies."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from integrations.journal import Claim, Journal
from integrations.journal.tx import Tx
from integrations.signing import SigningKey
from integrations.vault import bundle
from integrations.vault.local import LocalVault
from playbooks.record.evidence import SEALED, Manifest, Tip, sealed
from playbooks.record.journal import Event
from tests.lab import exhibits

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def _opening(name: str) -> Callable[[Tx], Awaitable[tuple[str, Claim]]]:
    async def work(tx: Tx) -> tuple[str, Claim]:
        return await tx.open_stream(f"incident/{name}", correlation=name, lane="cut", owner="r1", claim_seconds=60.0)

    return work


@pytest.mark.parametrize("before", [0, 1, 5])
@pytest.mark.parametrize("out", ["bundle", "bundle.tar.gz"])
async def test_a_bundle_of_the_real_journal_verifies(tmp_path: Path, before: int, out: str) -> None:
    key = SigningKey.generate(tmp_path / "responder.key")
    vault = LocalVault(tmp_path / "vault", reserve=0)
    async with await Journal.open(f"sqlite:///{tmp_path / 'journal.db'}", signer=key, name="r1") as journal:
        await journal.migrate()
        for n in range(before):
            await journal.append("system", [Event("told", {"n": n})])
        stream, claim = await journal.submit(_opening("mine"))
        other, others = await journal.submit(_opening("other"))
        incident = stream.removeprefix("incident/")
        await journal.append(stream, [Event("opened", {}, "siem")], claim=claim)
        await journal.append(other, [Event("opened", {}, "siem")], claim=others)
        exhibit = await exhibits.kept(vault, incident, 0, "raw-alert", {"alert.bin": b"{}"}, at=AT)
        await journal.append(stream, [Event(SEALED, sealed(exhibit)), Event("closed", {})], claim=claim)
        await journal.append("system", [Event("told", {})])
        entries, heads = await journal.read(stream), await journal.heads_for([stream])
        latest = await journal.head_latest()
    manifest = Manifest(
        incident=incident,
        made_at=AT,
        made_by="r1",
        exhibits=(exhibit,),
        journal=bundle.tips(entries, heads),
        keys=(key.id,),
    )
    path = await bundle.export(
        incident,
        vault=vault,
        journal_entries=entries,
        heads=heads,
        public_keys=(key.public,),
        manifest=bundle.sign(manifest, key.dsse()),
        out=tmp_path / out,
    )
    report = bundle.verify(path, key.public)
    assert report.ok, report.checks
    assert bundle.verify(
        path, key.public, witnesses=[Tip(stream="heads", seq=heads[-1].n, hash=heads[-1].hash.hex())]
    ).ok
    # A later head says nothing about this incident, and the bundle does not have it.
    assert latest is not None
    assert latest.n > heads[-1].n
