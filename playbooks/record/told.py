"""What goes out about an incident: what has to be heard of, who was told, the codes they were sent, the timeline."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Something that people have to hear of.

    Args:
        id: unique in its incident.
        notice: what happened, with what tells it from others of its kind.
        text: for people.
        at: since when.
    """

    id: str
    notice: str
    text: str
    at: datetime

    @property
    def kind(self) -> str:
        """What happened, as `opened` or `awaiting_approval`."""
        return self.notice.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Told:
    """One attempt to tell somebody.

    Args:
        page: of what.
        contact: whom; None for the log.
        channel: by which way.
        delivered: whether it went out.
        purpose: why to them.
        round: all ways tried one after the other are one round.
        at: when.
        detail: where it went, or why not.
        reference: what the channel needs to go on in the same thread.
        buttons: what can be pressed under it, as it stands there now.
    """

    page: str
    contact: str | None
    channel: str
    delivered: bool
    purpose: str
    round: int
    at: datetime
    detail: str
    reference: str
    buttons: tuple[str, ...] = ()


@dataclass(slots=True)
class Code:
    """A one-time code that somebody was sent, as far as it is kept.

    Args:
        salt: of the hash, hexadecimal.
        hash: of the code.
        expires_at: when it stops counting.
    """

    salt: str
    hash: str
    expires_at: datetime


@dataclass(slots=True)
class Occurrence:
    """One line of the timeline, for people."""

    at: datetime
    actor: str
    what: str
    detail: str = ""
    kind: str = ""
