"""What the journal says of the checks' runs."""

from collections.abc import Iterable

from integrations.journal.store import Journal
from playbooks.record.check import CHECK, Ran
from playbooks.strict import canonical


async def last(journal: Journal, name: str) -> Ran | None:
    """Return a check's last run; None if it never ran.

    Args:
        journal: the journal.
        name: of the check.

    Raises:
        Tampered: it is not as it was written.
    """
    stream = f"{CHECK}{name}"
    row = await journal.stream(stream)
    if row is None or not row.seq:
        return None
    (*_, entry) = await journal.read(stream, row.seq - 1)
    return Ran.model_validate_json(canonical(entry.parsed().body))


async def of_all(journal: Journal, names: Iterable[str]) -> dict[str, Ran]:
    """Return the last run of each of some checks that ever ran, by its name; see `last`."""
    found = {name: await last(journal, name) for name in names}
    return {name: ran for name, ran in found.items() if ran is not None}
