"""What sends messages, made from `contacts.yaml`: each channel when it is first used, its secret read then."""

from typing import TYPE_CHECKING

from integrations.channels.email.channel import EmailChannel
from integrations.channels.email.client import MailServer
from integrations.channels.file.channel import FileChannel
from integrations.channels.log.notifier import LogChannel
from integrations.channels.webhook.channel import WebhookChannel
from integrations.secret import secret
from integrations.siem.source import decoded_key
from playbooks.errors import Misconfigured
from playbooks.estate.systems import Secret
from playbooks.people.contacts import Contact, Contacts, Way
from playbooks.people.message import Channel

if TYPE_CHECKING:
    from integrations.channels.slack.channel import SlackChannel

_LEAST = 24
"""Bytes of a webhook's secret, as Standard Webhooks has it."""


class Channels:
    """Every channel that is configured. It belongs to one event loop.

    Args:
        contacts: with the channels.
    """

    def __init__(self, contacts: Contacts) -> None:
        self._config = contacts.channels
        self._open: dict[tuple[Way, str], Channel] = {}
        self._retired: list[Channel] = []

    def __call__(self, contact: Contact, way: Way) -> Channel:
        """Return what sends to a contact by a way.

        Raises:
            Misconfigured: nothing does, or its secret is not to be found.
        """
        name = (contact.webhook or "") if way is Way.WEBHOOK else ""
        if (way, name) not in self._open:
            self._open[way, name] = self._made(way, name)
        return self._open[way, name]

    def reread(self, contacts: Contacts) -> None:
        """Go on with another reading of the contacts; what is being sent is finished by the channel that it has."""
        self._config = contacts.channels
        self._retired += self._open.values()
        self._open = {}

    def _made(self, way: Way, name: str) -> Channel:
        if way is Way.EMAIL:
            return self.email()
        if way is Way.SLACK:
            return self.slack()
        if way is Way.WEBHOOK:
            return self.webhook(name)
        return FileChannel() if way is Way.FILE else LogChannel()

    def email(self) -> EmailChannel:
        """Make the channel to the mail server.

        Raises:
            Misconfigured: there is none, or its password is not to be found.
        """
        config = self._config.email
        if config is None:
            raise Misconfigured("there is no mail server; add it", file="contacts.yaml", field="channels.email")
        password = secret(config.password, what="channels.email.password") if config.password else None
        return EmailChannel(MailServer(config, password))

    def slack(self) -> "SlackChannel":
        """Make the channel to Slack.

        Raises:
            Misconfigured: there is none, or its token is not to be found.
        """
        config = self._config.slack
        if config is None:
            raise Misconfigured("there is no Slack; add it", file="contacts.yaml", field="channels.slack")
        from integrations.channels.slack.channel import SlackChannel  # noqa: PLC0415  # aiohttp takes long to import

        token = secret(config.bot_token, what="channels.slack.bot_token")
        return SlackChannel(token, config.url, buttons=config.app_token is not None)

    def webhook(self, name: str) -> WebhookChannel:
        """Make the channel to a webhook's receiver.

        Raises:
            Misconfigured: there is none of that name, or its secret is not to be found or too weak.
        """
        config = self._config.webhooks.get(name)
        field = f"channels.webhooks.{name}"
        if config is None:
            raise Misconfigured("there is no such webhook; add it", file="contacts.yaml", field=field)
        return WebhookChannel(name, config, webhook_key(config.secret, f"{field}.secret"))

    async def aclose(self) -> None:
        """Close every channel."""
        channels = [*self._retired, *self._open.values()]
        self._open, self._retired = {}, []
        for channel in channels:
            await channel.aclose()


def webhook_key(place: Secret, field: str) -> bytes:
    """Return what a webhook's messages are signed with: `whsec_…`, or any 24 bytes or more.

    Args:
        place: where it is found.
        field: the configuration field that names the place.

    Raises:
        Misconfigured: it is not there, or too weak; says where, never what it holds.
    """
    value = secret(place, what=field)
    key = decoded_key(value) if value.startswith("whsec_") else value.encode()
    if key is None or len(key) < _LEAST:
        raise Misconfigured(
            "must hold `whsec_` and the base64 of 24 to 64 random bytes, or 24 bytes or more", field=field
        )
    return key
