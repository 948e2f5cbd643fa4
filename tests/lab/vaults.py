"""Where evidence is kept, as tests see it: a folder, or a bucket; vaults there, and what lies there beside them."""

from pathlib import Path
from typing import Any, Protocol

from integrations.vault import Vault
from integrations.vault.growing import HELD
from integrations.vault.local import MOST, LocalVault
from integrations.vault.s3.draft import PART
from integrations.vault.s3.store import S3Vault
from tests.lab.s3 import Moto


class KeptIn(Protocol):
    """A place for evidence."""

    held: int
    """Bytes that a draft holds at most."""

    def vault(self, *, most: int = MOST) -> Vault:
        """Return a vault in this place, as another process would open it."""
        ...

    def lying(self) -> dict[str, object]:
        """Return everything that lies there, finished or not."""
        ...

    def unfinished(self) -> int:
        """Return how many bytes of unfinished exhibits lie there."""
        ...

    def close(self) -> None:
        """Close what was opened."""
        ...


class Folder:
    """A folder.

    Args:
        root: of the test.
    """

    held = HELD

    def __init__(self, root: Path) -> None:
        self._root = root / "vault"

    def vault(self, *, most: int = MOST) -> Vault:
        """Return a vault there."""
        return LocalVault(self._root, reserve=0, most=most)

    def lying(self) -> dict[str, object]:
        """Return its files."""
        return {str(path): path.read_bytes() for path in sorted(self._root.rglob("*")) if path.is_file()}

    def unfinished(self) -> int:
        """Return the bytes in temporary folders."""
        return sum(path.stat().st_size for path in self._root.glob("*/.tmp-*/files/*"))

    def close(self) -> None:
        """Do nothing: nothing stays open."""


class InBucket:
    """A bucket of its own.

    Args:
        moto: where.
        more: settings of the vault.
    """

    held = HELD + PART

    def __init__(self, moto: Moto, **more: Any) -> None:  # noqa: ANN401  # other settings
        self.moto = moto
        self.settings = moto.bucket(**more)
        self._vaults: list[S3Vault] = []

    def vault(self, *, most: int = MOST) -> S3Vault:
        """Return a vault there."""
        self._vaults.append(S3Vault(self.settings, most=most, patience=20.0))
        return self._vaults[-1]

    def lying(self) -> dict[str, object]:
        """Return every version, delete marker and unfinished upload."""
        said = self.moto.owner.list_object_versions(Bucket=self.settings.bucket)
        found = {f"{one['Key']} {one['VersionId']}": one["ETag"] for one in said.get("Versions") or ()}
        found |= {f"{one['Key']} {one['VersionId']}": "marker" for one in said.get("DeleteMarkers") or ()}
        return {**found, **{f"{key} {upload}": "upload" for key, upload in self._uploads()}}

    def unfinished(self) -> int:
        """Return the bytes in unfinished uploads."""
        parts = [
            self.moto.owner.list_parts(Bucket=self.settings.bucket, Key=key, UploadId=upload).get("Parts") or ()
            for key, upload in self._uploads()
        ]
        return sum(part["Size"] for some in parts for part in some)

    def close(self) -> None:
        """Close its vaults: what was given up is given up then."""
        for vault in self._vaults:
            vault.close()
        self._vaults = []

    def _uploads(self) -> list[tuple[str, str]]:
        said = self.moto.owner.list_multipart_uploads(Bucket=self.settings.bucket)
        return [(one["Key"], one["UploadId"]) for one in said.get("Uploads") or ()]
