"""What the journal says of the checks' runs."""

from collections.abc import Iterable
from typing import NamedTuple

from integrations.journal.store import Journal
from playbooks.record.check import ASKED, CHECK, Ran
from playbooks.strict import canonical

_LATEST = 100
"""Entries of a check that was asked for which are read: one time takes far fewer."""


class Asking(NamedTuple):
    """How far a check is that was asked for.

    Args:
        seq: of the last entry about it; 0 for none.
        begun: how many times it was begun since it was asked for last.
        done: pieces that answered.
        of: how many there are; 0 while nobody knows.
        ended: nobody is at it any more.
        why: why the journal does not have the run.
    """

    seq: int
    begun: int = 0
    done: int = 0
    of: int = 0
    ended: bool = False
    why: str = ""


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


async def before(journal: Journal, name: str, beside: Iterable[str] = ()) -> tuple[Ran | None, tuple[Ran, ...]]:
    """Return a check's last run, and those of others that ever ran; see `last`.

    Args:
        journal: the journal.
        name: of the check.
        beside: of the others; its own name among them is left out.
    """
    others = [await last(journal, other) for other in beside if other != name]
    return await last(journal, name), tuple(ran for ran in others if ran is not None)


async def asked(journal: Journal, name: str) -> Asking:
    """Return how far a check is that was asked for.

    Args:
        journal: the journal.
        name: of the check.

    Raises:
        Tampered: it is not as it was written.
    """
    stream = f"{ASKED}{name}"
    row = await journal.stream(stream)
    if row is None or not row.seq:
        return Asking(0)
    far = Asking(row.seq)
    for entry in await journal.read(stream, max(0, row.seq - _LATEST)):
        said = entry.parsed()
        if said.kind == "asked":
            far = Asking(said.seq)
        elif said.kind == "begun":
            far = Asking(said.seq, far.begun + 1)
        elif said.kind == "asking":
            far = far._replace(seq=said.seq, done=said.body["done"], of=said.body["of"])
        else:
            far = far._replace(seq=said.seq, ended=True, why=said.body["why"])
    return far
