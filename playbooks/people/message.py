"""A message on its way to somebody: what it says, in each form that a channel may need, and where it went."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from playbooks.people.contacts import Contact, Way


@dataclass(frozen=True, slots=True)
class Message:
    """What one contact is told, rendered in their language.

    Args:
        incident: its id; the messages of one incident form one thread.
        page: the page's id in the journal; sent again under the same id it replaces what was sent.
        notice: what happened, as `opened` or `awaiting_approval`.
        urgent: somebody has to acknowledge it.
        subject: one line.
        text: plain text, for a terminal, a log, and mail readers that show no HTML.
        html: a whole document with no address outside itself.
        blocks: Slack's Block Kit.
        buttons: what can be pressed in Slack: `acknowledge`, and `answer:<digest>` for each plan that waits.
        codes: one-time codes as (answer, plan's summary, code); only in a message that one person alone gets.
        purpose: why to this contact; a page that comes again for another one, as the on-call list's next round, has to
            arrive again, and one that is tried again for the same must not arrive twice.
    """

    incident: str
    page: str
    notice: str
    urgent: bool
    subject: str
    text: str
    html: str = ""
    blocks: tuple[dict[str, Any], ...] = ()
    buttons: tuple[str, ...] = ()
    codes: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a message went.

    Args:
        where: for people, as `slack C0SOC` or `email soc@example.com`; no secret.
        reference: what the channel needs to answer in the same thread or to update it, as channel and timestamp.
    """

    where: str
    reference: str = ""


class Channel(Protocol):
    """Sends messages by one way."""

    way: Way

    async def send(self, to: Contact, message: Message, *, thread: str = "", update: str = "") -> Sent:
        """Deliver a message.

        Args:
            to: whom; it has this way.
            message: what.
            thread: the reference of the incident's first message to that contact.
            update: the reference of a message that this one replaces, where the channel can.

        Raises:
            Transient: it may work later.
            Refused: it will not: no such channel, an address that does not exist, a token that is not valid.
        """
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...
