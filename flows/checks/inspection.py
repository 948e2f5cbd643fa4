"""What a check says of itself."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flows.service.settings import Configuration
from playbooks.action import World
from playbooks.record.check import Found, Ran
from playbooks.record.figure import Figure
from playbooks.record.trust import Judged

Ask = Callable[[], Awaitable[Sequence[Found | Figure]]]
"""Asks one piece, and returns what is not as it should be there, and what it measured; raises `SoarError` if it cannot
tell."""


class Sight(Protocol):
    """What a run saw, as far as servers are judged by it."""

    @property
    def found(self) -> tuple[Found, ...]:
        """What is not as it should be."""

    @property
    def unknown(self) -> tuple[tuple[str, str], ...]:
        """The pieces that could not be asked, with the reason."""


Judge = Callable[[Configuration, Sight, Sequence[Ran]], Sequence[Judged]]
"""Says how far each server is trusted, by a run and by what the other checks found last."""


@dataclass(frozen=True)
class Inspection:
    """Something that is looked at by schedule, and by hand. It only reads.

    Args:
        name: as `mcp-soar check` takes it.
        key: what its deployment, its flow and its page in Prefect are called.
        title: of its page.
        looks: what it does, in the words of a flow run's name.
        about: what it looks at, and what red means: the text of its deployment.
        good: what is said where nothing is to be found, after its title.
        against: what is said where something is, after *differ from*.
        to_do: what a person does about it.
        pieces: what is asked one by one, so that one that is slow, hostile or away costs its own answer only.
        left_out: the pieces that are not asked from where this runs, with the reason.
        within: seconds that one piece may take.
        judge: says how far servers are trusted by what it and other checks found; None for a check that does not.
        here: it takes what only the responder's machine and account have: by schedule, a worker asks for it, and the
            process `flows` runs it.
        write: writes a baseline of what is there now into the configuration folder, and returns where; None where
            there is nothing of the sort to compare with.
        daily: a finding is told again each day while it lasts; otherwise once, until it changes or was over.
    """

    name: str
    key: str
    title: str
    looks: str
    about: str
    good: str
    against: str
    to_do: str
    pieces: Callable[[Configuration, World], Mapping[str, Ask]]
    left_out: Callable[[Configuration], Mapping[str, str]] = lambda _: {}
    within: float = 120.0
    judge: Judge | None = None
    here: bool = False
    write: Callable[[Path], str] | None = None
    daily: bool = False

    def said(self, found: int, asked: int) -> str:
        """Return how what it looked at is, in one line; what could not be asked is not called good.

        Args:
            found: how much is not as it should be.
            asked: of how many pieces it says how they are.
        """
        if found:
            return f"{found} {'differs' if found == 1 else 'differ'} from {self.against}"
        return self.good if asked else "nothing was asked"
