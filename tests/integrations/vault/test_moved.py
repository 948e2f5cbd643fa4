"""A vault that moved from a folder to a bucket: nothing that it held is lost, and new evidence goes to the bucket."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli.work.templates import FILES
from flows.service.access import open_vault
from flows.service.settings import read as read_settings
from integrations.vault import Locked, Vault
from integrations.vault.local import LocalVault
from integrations.vault.moved import MovedVault
from integrations.vault.s3.store import S3Vault
from playbooks.record.evidence import Exhibit
from tests.lab.exhibits import INCIDENT, pod_logs, read
from tests.lab.s3 import Moto
from tests.lab.vaults import Folder, InBucket


@pytest.fixture
def places(moto: Moto, tmp_path: Path) -> Iterator[tuple[Folder, InBucket]]:
    bucket = InBucket(moto)
    yield Folder(tmp_path), bucket
    bucket.close()


async def moved(places: tuple[Folder, InBucket]) -> tuple[Vault, Exhibit, Exhibit]:
    """Return a vault with an exhibit from before it moved, and one from after."""
    folder, bucket = places
    old = await pod_logs(folder.vault(), {"a.log": b"old"})
    vault = MovedVault(bucket.vault(), folder.vault())
    return vault, old, await pod_logs(vault, {"a.log": b"new"}, number=2)


async def test_what_lay_in_the_folder_is_read_and_what_is_new_goes_to_the_bucket(
    places: tuple[Folder, InBucket],
) -> None:
    vault, old, new = await moved(places)
    assert (old.files[0].kept, new.files[0].kept is not None) == (None, True)
    assert await vault.list(INCIDENT) == (old, new)
    for exhibit, data in ((old, b"old"), (new, b"new")):
        assert await vault.find(INCIDENT, exhibit.id) == exhibit
        assert await asyncio.to_thread(read, vault, INCIDENT, exhibit.id, "a.log") == data
    assert await vault.verify(INCIDENT, [old, new]) == ()
    assert await vault.verify(INCIDENT) == ()
    assert await vault.faults() == ()


async def test_what_is_gone_from_either_place_is_missed(places: tuple[Folder, InBucket]) -> None:
    vault, old, new = await moved(places)
    folder, _ = places
    with pytest.raises(Locked):
        await vault.delete(INCIDENT, new.id)
    assert await vault.delete(INCIDENT, old.id)
    assert [(flaw.exhibit, flaw.message) for flaw in await vault.verify(INCIDENT, [old, new])] == [
        (old.id, "the exhibit is gone")
    ]
    # A copy in the other place is no evidence.
    await pod_logs(folder.vault(), {"a.log": b"new"}, number=2)
    said = {flaw.message for flaw in await vault.verify(INCIDENT, [old, new])}
    assert said == {"the exhibit is gone", "the journal knows nothing of this exhibit"}


def test_the_settings_say_which(moto: Moto, tmp_path: Path) -> None:
    for name in ("inventory.yaml", "policy.yaml"):
        (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    assert isinstance(open_vault(read_settings(tmp_path)), LocalVault)
    settings = moto.bucket()
    written = settings.model_dump_json(exclude_none=True)
    (tmp_path / "mcp-soar.yaml").write_text(f"vault: {{s3: {written}}}\n", encoding="utf-8")
    vault = open_vault(read_settings(tmp_path))
    assert isinstance(vault, S3Vault)
    vault.close()
    (tmp_path / "state" / "vault").mkdir(parents=True, mode=0o700)
    vault = open_vault(read_settings(tmp_path))
    assert isinstance(vault, MovedVault)
    vault.close()
