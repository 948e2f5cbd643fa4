"""Pages into the process's log, one line each."""

import logging
import unicodedata

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
        LOG.warning("%s [%s] %s", incident, notice, _one_line(text[:MOST]))
        return f"log {LOG.name}"


def _one_line(text: str) -> str:
    # Cc and Cf: controls, bidi marks, zero-width characters; Zl and Zp: line breaks that are no newline.
    hidden = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    return "".join(c if unicodedata.category(c) not in hidden else f"\\u{ord(c):04x}" for c in text)
