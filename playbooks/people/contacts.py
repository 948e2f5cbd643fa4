"""Whom to tell, and by which ways: contacts, the on-call list, stakeholders, and the channels that reach them.

People write `contacts.yaml`. Without it everything goes to the log, and nothing is escalated.
"""

from collections.abc import Iterable
from enum import StrEnum
from os.path import normpath
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from playbooks.estate.systems import Secret, Url
from playbooks.strict import Line, Name, Seconds, Slug, Strict


class Way(StrEnum):
    """A way to reach somebody."""

    SLACK = "slack"
    EMAIL = "email"
    WEBHOOK = "webhook"
    FILE = "file"
    LOG = "log"


class Language(StrEnum):
    """A language that the messages are written in."""

    EN = "en"
    KO = "ko"


EmailAddress = Annotated[str, StringConstraints(pattern=r"^[^@\s<>,;\"\\]{1,64}@[A-Za-z0-9.-]{1,190}$")]
HostName = Annotated[
    str, StringConstraints(pattern=r"^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[A-Fa-f0-9.:IPv]{2,50}\])$")
]
SlackId = Annotated[str, StringConstraints(pattern=r"^[UWCG][A-Z0-9]{2,20}$")]
"""A user (U, W) or a channel (C, G)."""


class Contact(Strict):
    """How a person, a team or an office is reached.

    Args:
        slack: a user's or a channel's id.
        email: an address.
        webhook: a channel of `channels.webhooks`, by name.
        file: a folder that messages are written to, a file (0600) each.
        language: of the messages.
        ways: which are tried, in this order; all that are given if it is empty.
    """

    slack: SlackId | None = None
    email: EmailAddress | None = None
    webhook: Slug | None = None
    file: Line | None = None
    language: Language = Language.EN
    ways: tuple[Way, ...] = ()

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        for way in self.ways:
            if way is Way.LOG or getattr(self, way.value) is None:
                message = f"ways: {way} is not given here; write it, or leave it out of `ways`"
                raise ValueError(message)
        return self

    @property
    def order(self) -> tuple[Way, ...]:
        """The ways to try, the preferred one first."""
        given = (way for way in (Way.SLACK, Way.EMAIL, Way.WEBHOOK, Way.FILE) if getattr(self, way.value))
        return self.ways or tuple(given)

    @property
    def private(self) -> tuple[Way, ...]:
        """The ways that may carry a one-time code: not Slack, whose token reads all that its bot wrote."""
        return tuple(way for way in self.order if way in {Way.EMAIL, Way.FILE})

    def shares(self, way: Way, other: "Contact") -> bool:
        """Whether what goes to this one's mailbox or folder is read by the other one too."""
        if way is Way.EMAIL:
            return bool(self.email and other.email) and str(self.email).casefold() == str(other.email).casefold()
        return bool(self.file and other.file) and normpath(str(self.file)) == normpath(str(other.file))


class OnCall(Strict):
    """One step of the on-call list.

    Args:
        contact: who.
        wait: how long they have to acknowledge before the next one is paged too.
    """

    contact: Name
    wait: Seconds = 300.0


class Slack(Strict):
    """The Slack workspace.

    Args:
        bot_token: `xoxb-…`.
        app_token: `xapp-…`, for Socket Mode; without it there are messages and no buttons.
        url: of the Web API.
    """

    bot_token: Secret
    app_token: Secret | None = None
    url: Url = "https://slack.com/api/"


class Email(Strict):
    """The mail server.

    Args:
        host: its name.
        port: of submission.
        security: `starttls`, `tls` or `none`; `none` only on loopback.
        user: to sign in as.
        password: of that user.
        sender: the address that the messages come from.
        ehlo: the name that we greet it with, fully qualified, or an address as `[192.0.2.7]`; this machine's name
            where none is given.
    """

    host: Name
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: Name | None = None
    password: Secret | None = None
    sender: EmailAddress
    ehlo: HostName | None = None


class Webhook(Strict):
    """A receiver of signed messages (Standard Webhooks).

    Args:
        url: where they are posted.
        secret: `whsec_…`, or any bytes.
    """

    url: Url
    secret: Secret


class Channels(Strict):
    """What messages travel by; the log is always there."""

    slack: Slack | None = None
    email: Email | None = None
    webhooks: dict[Slug, Webhook] = Field(default_factory=dict)

    @property
    def secrets(self) -> dict[str, Secret]:
        """Where their secrets are found, by field."""
        places = {f"channels.webhooks.{name}.secret": webhook.secret for name, webhook in self.webhooks.items()}
        if self.slack:
            places["channels.slack.bot_token"] = self.slack.bot_token
        if self.slack and self.slack.app_token:
            places["channels.slack.app_token"] = self.slack.app_token
        if self.email and self.email.password:
            places["channels.email.password"] = self.email.password
        return places


class Contacts(Strict):
    """The whole of `contacts.yaml`.

    Args:
        version: of this format.
        channels: what messages travel by.
        contacts: by name; a person has the name that they are enrolled by.
        on_call: who is paged, one after the other until somebody acknowledges.
        room: a contact that every message goes to, one thread for each incident.
        stakeholders: role → contact: security, owner, data-governance, privacy, legal, customers, regulator. A server
            of the inventory may name others.
        repeat: how often the on-call list is gone through; after that the page counts as unanswered, and is shown.
    """

    version: Literal[1] = 1
    channels: Channels = Channels()
    contacts: dict[Name, Contact] = Field(default_factory=dict)
    on_call: tuple[OnCall, ...] = ()
    room: Name | None = None
    stakeholders: dict[Slug, Name] = Field(default_factory=dict)
    repeat: int = Field(default=3, ge=1, le=100)

    @model_validator(mode="after")
    def _known(self) -> Self:
        named = {"room": self.room} if self.room else {}
        named |= {f"on_call[{number}]": step.contact for number, step in enumerate(self.on_call)}
        named |= {f"stakeholders.{role}": name for role, name in self.stakeholders.items()}
        for where, name in named.items():
            if name not in self.contacts:
                message = (
                    f"{where}: there is no contact {name!r}; there is {', '.join(sorted(self.contacts)) or 'none'}"
                )
                raise ValueError(message)
        for name, contact in self.contacts.items():
            if not contact.order:
                # It would count as told by the log, which wakes nobody.
                message = f"contacts.{name}: cannot be reached; give slack, email, webhook or file"
                raise ValueError(message)
            missing = [way.value for way in contact.order if not self._channel(way, contact)]
            if missing:
                message = f"contacts.{name}: channels has no {' and no '.join(missing)}"
                raise ValueError(message)
        return self

    def private_to(self, name: str, others: Iterable[str]) -> tuple[Way, ...]:
        """Return the ways that may carry a one-time code to a contact, because none of the others reads it there.

        Args:
            name: the contact.
            others: everybody who may answer; who is no contact is passed over.
        """
        mine = self.contacts[name]
        them = [self.contacts[other] for other in others if other != name and other in self.contacts]
        return tuple(way for way in mine.private if not any(mine.shares(way, other) for other in them))

    def _channel(self, way: Way, contact: Contact) -> bool:
        if way is Way.WEBHOOK:
            return contact.webhook in self.channels.webhooks
        return way in {Way.FILE, Way.LOG} or getattr(self.channels, way.value) is not None
