"""Pages into the process's log, one line each."""

import logging

from integrations.hostile import printable

LOG = logging.getLogger("mcp_soar.pages")
MOST = 4000


class LogNotifier:
    """Writes each page to the log `mcp_soar.pages`, at level warning."""

    name = "log"

    async def tell(self, incident: str, notice: str, text: str) -> str:
        """Log a page and return where it went.

        Args:
            incident: its id.
            notice: which page.
            text: hostile in parts: what could forge a line or move a cursor is shown escaped.
        """
        LOG.warning("%s [%s] %s", incident, notice, printable(text, MOST))
        return f"log {LOG.name}"
