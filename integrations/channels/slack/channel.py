"""Messages by Slack: one thread for each incident, updated in place, with buttons.

A page is posted at least once. Its `client_msg_id` is derived from the page, so that Slack gives back the message that
is there already when an answer was lost and the page is sent again; Slack documents that only by its errors
`duplicate_…_not_found` (https://docs.slack.dev/reference/methods/chat.postMessage). To look for it in the history
instead would take a permission to read whole channels, which a stolen token would then give too.
"""

import logging
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from integrations.channels.slack.buttons import actions
from integrations.channels.slack.client import SlackApi, SlackRefused, escaped
from integrations.channels.slack.plain import sections
from integrations.hostile import printable
from playbooks.errors import Refused
from playbooks.people.contacts import Contact, Way
from playbooks.people.message import Message, Sent

LOG = logging.getLogger("mcp_soar.slack")
NEEDED: Final = ("chat:write", "im:write")
"""Scopes of the bot token without which nothing goes: https://docs.slack.dev/reference/scopes"""

_MOST_TEXT: Final = 3900
"""Of the text: an update may have 4,000 characters (https://docs.slack.dev/reference/methods/chat.update)."""
_MOST_BLOCKS: Final = 50
_REFERENCE = re.compile(r"([CGD][A-Z0-9]{2,20}):([0-9]{1,12}\.[0-9]{1,12})")
_PAGES: Final = uuid.UUID("5f0c6f0e-7a55-5c1e-9d3b-3b7a1f6f2c11")
_GONE: Final = {"message_not_found", "cant_update_message", "edit_window_closed", "channel_not_found", "is_inactive"}
_NO_THREAD: Final = {"thread_not_found", "invalid_thread_ts", "cannot_reply_to_message"}
_BAD_BLOCKS: Final = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "invalid_arguments"}
_DUPLICATE_GONE: Final = {"duplicate_message_not_found", "duplicate_channel_not_found"}


class SlackChannel:
    """Sends messages to Slack's channels and people.

    Args:
        bot_token: `xoxb-…`.
        url: of the Web API.
        buttons: whether what people press can reach us; else a message has none.
    """

    way = Way.SLACK

    def __init__(self, bot_token: str, url: str, *, buttons: bool = True) -> None:
        self.api = SlackApi(bot_token, url)
        self._buttons = buttons
        self._direct: dict[str, str] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        await self.api.aclose()

    async def send(self, to: Contact, message: Message, *, thread: str = "", update: str = "") -> Sent:
        """Post a message, or update the one that it replaces; posted anew if that one is gone.

        Args:
            to: whom: a channel, or a person, who gets a direct message.
            message: what.
            thread: the reference of the incident's first message, as `C0SOC:1755000000.000100`.
            update: the reference of the message that this one replaces.

        Raises:
            Transient: Slack did not answer, is busy, or broke.
            Refused: Slack said no; or the message holds one-time codes, which do not travel by Slack.
        """
        if not to.slack:
            raise Refused("this contact has no Slack id; add `slack` to it in contacts.yaml")
        if message.codes:
            raise Refused("one-time codes do not travel by Slack: whoever holds its token reads what its bot wrote")
        where = f"slack {to.slack}"
        blocks = self._blocks(message, to)
        old = _REFERENCE.fullmatch(update)
        if old is not None:
            try:
                await self._update(old[1], old[2], message, blocks)
            except SlackRefused as exc:
                if exc.error not in _GONE:
                    raise
            else:
                return Sent(where, update)
        target = await self._conversation(to.slack)
        first = _REFERENCE.fullmatch(thread)
        at = first[2] if first is not None and first[1] == target else ""
        # Posted anew, it is another message than the one that is gone, and the same one however often it is tried.
        anew = old[0] if old is not None else ""
        name = f"{target} {message.incident} {message.page} {message.purpose} {anew}"
        return Sent(where, await self._post(to.slack, target, message, blocks, thread=at, name=name))

    async def check(self) -> str:
        """Return who we are in Slack.

        Raises:
            Transient: Slack did not answer.
            Refused: it does not take the token, or the token may not post; says what to mend.
        """
        found = await self.api.ask("auth.test")
        scopes = found["headers"].get("X-OAuth-Scopes")
        missing = [scope for scope in NEEDED if scope not in {part.strip() for part in (scopes or "").split(",")}]
        if scopes is not None and missing:
            raise Refused(f"Slack: the bot token lacks {', '.join(missing)}; add it to the Slack app and reinstall it")
        return printable(f"{found.get('user')} in {found.get('team')}")

    async def look(self, to: Contact) -> str:
        """Return what a contact's Slack id is called.

        Raises:
            Transient: Slack did not answer.
            Refused: there is no such channel or person, it is archived, or the app is not in it; says what to mend.
        """
        id_ = to.slack or ""
        if _person(id_):
            user = (await self.api.ask("users.info", f"user {id_}", user=id_)).get("user") or {}
            if user.get("deleted"):
                raise Refused(f"Slack user {id_} has left the workspace; mend contacts.yaml")
            return printable(f"@{user.get('name')}")
        found = (await self.api.ask("conversations.info", f"channel {id_}", channel=id_)).get("channel") or {}
        name = printable(f"#{found.get('name')}")
        if found.get("is_archived"):
            raise Refused(f"Slack channel {id_} ({name}) is archived; unarchive it, or name another one")
        if not found.get("is_member"):
            raise Refused(f"the app is not in Slack channel {id_} ({name}); invite it there with /invite")
        return name

    def _blocks(self, message: Message, to: Contact) -> list[dict[str, Any]]:
        buttons = message.buttons if self._buttons else ()
        pressed = actions(message.incident, message.page, buttons, to.language)
        return [*(message.blocks or _plain(message))[: _MOST_BLOCKS - len(pressed)], *pressed]

    async def _conversation(self, id_: str) -> str:
        """Return where to post: a channel is its own id, a person has a direct message with us."""
        if not _person(id_):
            return id_
        if id_ not in self._direct:
            answer = await self.api.ask("conversations.open", f"user {id_}", users=id_)
            self._direct[id_] = str(answer["channel"]["id"])
        return self._direct[id_]

    async def _update(self, channel: str, ts: str, message: Message, blocks: list[dict[str, Any]]) -> None:
        # Its default for `parse` is another one than that of chat.postMessage.
        body = {"channel": channel, "ts": ts, "text": _text(message), "parse": "none", "link_names": False}
        await self._written("chat.update", f"channel {channel}", {**body, "blocks": blocks}, message)

    async def _post(
        self, contact: str, channel: str, message: Message, blocks: list[dict[str, Any]], *, thread: str, name: str
    ) -> str:
        body: dict[str, object] = {
            "channel": channel,
            "text": _text(message),
            "blocks": blocks,
            "parse": "none",
            "mrkdwn": False,
            "link_names": False,
            "unfurl_links": False,
            "unfurl_media": False,
            "client_msg_id": str(uuid.uuid5(_PAGES, name)),
        }
        if thread:
            # A thread tells those who follow it and nobody else: what somebody has to see is shown in the channel too.
            body |= {"thread_ts": thread, "reply_broadcast": message.urgent}
        about = f"user {contact}" if contact != channel else f"channel {channel}"
        answer = await self._written("chat.postMessage", about, body, message)
        return f"{answer.get('channel')}:{answer.get('ts')}"

    async def _written(self, method: str, about: str, body: dict[str, object], message: Message) -> Mapping[str, Any]:
        """Post or update a message, if need be without what Slack refuses in it, and return Slack's answer."""
        while True:
            try:
                return await self.api.ask(method, about, **body)
            except SlackRefused as exc:
                body = _mended(exc, body, message)


def _mended(exc: SlackRefused, body: dict[str, object], message: Message) -> dict[str, object]:
    """Return the body less what Slack refused in it; each call takes something away.

    Raises:
        SlackRefused: nothing can be taken away.
    """
    if exc.error in _NO_THREAD and "thread_ts" in body:
        return {key: value for key, value in body.items() if key not in {"thread_ts", "reply_broadcast"}}
    if exc.error in _DUPLICATE_GONE and "client_msg_id" in body:
        # It was posted, and somebody has deleted it since.
        return {key: value for key, value in body.items() if key != "client_msg_id"}
    return {**body, "blocks": _plainly(exc, message, body["blocks"])}


def _person(id_: str) -> bool:
    return id_.startswith(("U", "W"))


def _text(message: Message) -> str:
    """Return what notifications and screen readers say: they do not read the blocks."""
    text = message.text if message.text.strip() else message.subject
    return escaped(text, _MOST_TEXT)


def _plain(message: Message) -> tuple[dict[str, Any], ...]:
    return sections(message.text if message.text.strip() else message.subject)


def _plainly(exc: SlackRefused, message: Message, blocks: object) -> list[dict[str, Any]]:
    """Return simpler blocks after Slack refused these: neither a broken template nor a button silences a page.

    Raises:
        SlackRefused: it was refused for another reason, or there is nothing simpler.
    """
    own = blocks if isinstance(blocks, list) else []
    plain = list(_plain(message))
    pressed = [block for block in own if block.get("type") == "actions"]
    if exc.error not in _BAD_BLOCKS or own == plain:
        raise exc
    buttons = [] if own == [*plain, *pressed] else pressed
    less = "" if buttons == pressed else ", without buttons"
    LOG.warning("page %s: Slack refused its blocks, so it goes as plain text%s: %s", printable(message.page), less, exc)
    return [*plain, *buttons]
