"""Where evidence is kept: written once, hashed twice, never changed."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from playbooks.action import Collected
from playbooks.errors import Refused
from playbooks.evidence import Authority, Exhibit, Flaw, Method


class VaultFull(Refused):
    """There is no room for this exhibit: record it as unavailable, and keep what is left for the journal."""


class Damaged(Refused):
    """What the vault holds is not what was read from the source."""


class Vault(Protocol):
    """A store of exhibits."""

    async def seal(
        self,
        incident: str,
        number: int,
        kind: str,
        collected: tuple[Collected, ...],
        *,
        collected_at: datetime,
        collected_by: str,
        authority: Authority,
        how: Method,
    ) -> Exhibit:
        """Store an exhibit for good; see `integrations.vault.local.LocalVault.seal`."""
        ...

    async def find(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record, None if there is none of that id."""
        ...

    async def list(self, incident: str) -> tuple[Exhibit, ...]:
        """Return the records of an incident's sealed exhibits, by number."""
        ...

    async def read(self, incident: str, exhibit: str, name: str) -> bytes:
        """Return one file of an exhibit, compared with the hash that it was sealed with."""
        ...

    async def delete(self, incident: str, exhibit: str) -> bool:
        """Delete an exhibit for good, and return whether there was anything of it; the journal has said so before."""
        ...

    async def verify(self, incident: str, expected: Collection[Exhibit] = ()) -> tuple[Flaw, ...]:
        """Hash everything anew and return what is not as it was sealed."""
        ...
