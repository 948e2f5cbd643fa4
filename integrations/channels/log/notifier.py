"""Pages into the process's log, one line each."""

import logging

from integrations.hostile import printable
from playbooks.people.contacts import Contact, Way
from playbooks.people.message import Message, Sent

LOG = logging.getLogger("mcp_soar.pages")
MOST = 4000


class LogChannel:
    """Writes each message to the log `mcp_soar.pages`, at level warning; never a one-time code."""

    way = Way.LOG

    async def send(self, _to: Contact, message: Message, *, thread: str = "", update: str = "") -> Sent:
        """Log a message.

        Args:
            _to: nobody: whoever reads the log.
            message: hostile in parts: what could forge a line or move a cursor is shown escaped.
            thread: means nothing here.
            update: means nothing here.
        """
        if not (thread or update):
            LOG.warning("%s [%s] %s", message.incident, message.notice, printable(" ".join(message.text.split()), MOST))
        return Sent(f"log {LOG.name}")

    async def aclose(self) -> None:
        """Do nothing."""
