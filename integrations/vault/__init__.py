"""Where evidence is kept: written once, hashed twice, never changed."""

from abc import abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from playbooks.action import Sink
from playbooks.errors import Refused
from playbooks.record.evidence import Authority, Exhibit, Flaw, Method


class VaultFull(Refused):
    """There is no room for this exhibit: record it as unavailable, and keep what is left for the journal."""


class TooLarge(Refused):
    """It is more than one exhibit may have: what was written until then can be sealed, as incomplete."""


class Locked(Refused):
    """The store lets nobody delete it yet.

    Args:
        message: what, and by what lock.
        until: when it may be tried again.
    """

    def __init__(self, message: str, *, until: datetime) -> None:
        super().__init__(message)
        self.until = until


class Damaged(Refused):
    """What the vault holds is not what was read from the source."""


class Absent(Refused):
    """There is no exhibit of that id."""


class Taken(Refused):
    """Something else is sealed under this id: what is sealed stays, and new evidence gets a new number."""


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
        """Begin an exhibit, which is there once it is sealed; what the block leaves unsealed is removed.

        Args:
            incident: whose it is.
            number: its number there, from 0.
            kind: what sort it is.

        Raises:
            VaultFull: from a write or the seal, if there is no room for it.
            TooLarge: from a write, if it is more than one exhibit may have.
            Damaged: if the stored bytes are not those of the source.
            Taken: if this id is sealed with other bytes.
            Refused: if a name is not a slug.
            Misconfigured: if the store is not ours alone, or cannot be written.
            Transient: if it fails otherwise.
        """
        ...

    async def find(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record, None if there is none of that id.

        It is what stands there, whoever put it; what counts as evidence because of it is asked for by `whole`.
        """
        ...

    async def whole(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record, None if there is none, once every byte that it names is hashed.

        Where the store locks what it keeps, it is all locked, and for as long as what is sealed now.

        Raises:
            Damaged: if it is not what was sealed, or not under such a lock.
            SoarError: as for `draft`.
        """
        ...

    async def list(self, incident: str) -> tuple[Exhibit, ...]:
        """Return the records of an incident's sealed exhibits, by number."""
        ...

    def read(self, incident: str, exhibit: str, name: str) -> Iterator[bytes]:
        """Yield one file of an exhibit, to be read on a thread; only at its end it is known to be what was sealed."""
        ...

    async def delete(self, incident: str, exhibit: str) -> bool:
        """Delete an exhibit for good, and return whether there was anything of it; the journal has said so before.

        Raises:
            Locked: if the store lets nobody delete it yet; then nothing was deleted.
            SoarError: as for `draft`.
        """
        ...

    async def verify(self, incident: str, expected: Collection[Exhibit] | None = None) -> tuple[Flaw, ...]:
        """Hash everything anew and return what is not as it was sealed."""
        ...

    async def faults(self) -> tuple[str, ...]:
        """Return what is wrong with the store itself, for people: what no exhibit in it shows."""
        ...

    def close(self) -> None:
        """Let go of what is open; a vault that is not used any more holds nothing."""
        ...
