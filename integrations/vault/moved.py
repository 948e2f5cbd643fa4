"""A vault that has moved: evidence goes to the new place, and what the old one holds is still read there."""

from collections.abc import Collection, Iterator
from contextlib import AbstractAsyncContextManager

from integrations.vault import Absent, Draft, Vault
from playbooks.record.evidence import Exhibit, Flaw


class MovedVault:
    """Two vaults as one.

    Args:
        new: where exhibits go; each of their files says so (`kept`).
        old: a folder.
    """

    def __init__(self, new: Vault, old: Vault) -> None:
        self._new, self._old = new, old

    def draft(self, incident: str, number: int, kind: str) -> AbstractAsyncContextManager[Draft]:
        """Begin an exhibit in the new place; see `Vault.draft`."""
        return self._new.draft(incident, number, kind)

    async def find(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record, wherever it lies; see `Vault.find`."""
        return await self._new.find(incident, exhibit) or await self._old.find(incident, exhibit)

    async def whole(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record once all of it is looked at, wherever it lies; see `Vault.whole`."""
        return await self._new.whole(incident, exhibit) or await self._old.whole(incident, exhibit)

    async def list(self, incident: str) -> tuple[Exhibit, ...]:
        """Return the records of an incident's sealed exhibits in both places, by number; see `Vault.list`."""
        found = (*await self._old.list(incident), *await self._new.list(incident))
        return tuple(sorted(found, key=lambda exhibit: (exhibit.number, exhibit.id)))

    def read(self, incident: str, exhibit: str, name: str) -> Iterator[bytes]:
        """Yield one file of an exhibit, from where it lies; see `Vault.read`."""
        new, old = self._new.read(incident, exhibit, name), self._old.read(incident, exhibit, name)
        return _either(new, old)

    async def delete(self, incident: str, exhibit: str) -> bool:
        """Delete an exhibit wherever it lies, and return whether there was anything of it; see `Vault.delete`."""
        gone = await self._new.delete(incident, exhibit)
        return await self._old.delete(incident, exhibit) or gone

    async def verify(self, incident: str, expected: Collection[Exhibit] | None = None) -> tuple[Flaw, ...]:
        """Hash everything anew in both places and return what is not as it was sealed; see `Vault.verify`."""
        if expected is None:
            return (*await self._new.verify(incident), *await self._old.verify(incident))
        moved = [exhibit for exhibit in expected if any(file.kept for file in exhibit.files)]
        stayed = [exhibit for exhibit in expected if exhibit not in moved]
        return (*await self._new.verify(incident, moved), *await self._old.verify(incident, stayed))

    async def faults(self) -> tuple[str, ...]:
        """Return what is wrong with either place."""
        return (*await self._new.faults(), *await self._old.faults())

    def close(self) -> None:
        """Let go of what is open."""
        self._new.close()
        self._old.close()


def _either(new: Iterator[bytes], old: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from new
    except Absent:
        yield from old
