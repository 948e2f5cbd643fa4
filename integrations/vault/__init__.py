"""Where evidence is kept: written once, hashed twice, never changed."""

from abc import abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from playbooks.action import Sink
from playbooks.errors import Refused
from playbooks.evidence import Authority, Exhibit, Flaw, Method


class VaultFull(Refused):
    """There is no room for this exhibit: record it as unavailable, and keep what is left for the journal."""


class TooLarge(Refused):
    """It is more than one exhibit may have: what was written until then can be sealed, as incomplete."""


class Damaged(Refused):
    """What the vault holds is not what was read from the source."""


class Draft(Sink):
    """An exhibit while it is collected. Nobody finds it before it is sealed."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes that can be sealed; none any more once the store failed."""

    @abstractmethod
    async def seal(
        self,
        *,
        collected_at: datetime,
        collected_by: str,
        authority: Authority,
        how: Method,
        interrupted: bool = False,
    ) -> Exhibit:
        """Store it for good, and return its record.

        Args:
            collected_at: when the source was read.
            collected_by: the identity that read it.
            authority: by whose word.
            how: with what.
            interrupted: whether the source broke off. The custody record then says where, as it does of a file whose
                block was left by an error.

        Raises:
            SoarError: as for `Vault.draft`.
        """


class Vault(Protocol):
    """A store of exhibits."""

    def draft(self, incident: str, number: int, kind: str) -> AbstractAsyncContextManager[Draft]:
        """Begin an exhibit; see `integrations.vault.local.LocalVault.draft`."""
        ...

    async def find(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record, None if there is none of that id."""
        ...

    async def list(self, incident: str) -> tuple[Exhibit, ...]:
        """Return the records of an incident's sealed exhibits, by number."""
        ...

    def read(self, incident: str, exhibit: str, name: str) -> Iterator[bytes]:
        """Yield one file of an exhibit, to be read on a thread; only at its end it is known to be what was sealed."""
        ...

    async def delete(self, incident: str, exhibit: str) -> bool:
        """Delete an exhibit for good, and return whether there was anything of it; the journal has said so before."""
        ...

    async def verify(self, incident: str, expected: Collection[Exhibit] | None = None) -> tuple[Flaw, ...]:
        """Hash everything anew and return what is not as it was sealed."""
        ...
