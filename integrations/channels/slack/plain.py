"""Plain text in Slack's blocks: nothing in it is a link, a mention or markup."""

from typing import Any, Final

from integrations.hostile import printable

SECTION: Final = 3000
"""Characters of a section's text: https://docs.slack.dev/reference/block-kit/blocks/section-block"""

_SECTIONS: Final = 10


def text(words: str) -> dict[str, Any]:
    """Return a text object."""
    return {"type": "plain_text", "text": words, "emoji": False}


def sections(words: str) -> tuple[dict[str, Any], ...]:
    """Return lines as sections, whatever is invisible in them written out, the end cut off if there are too many."""
    lines = "\n".join(printable(line, SECTION) for line in words.splitlines())
    pieces = [lines[at : at + SECTION] for at in range(0, min(len(lines), _SECTIONS * SECTION), SECTION)]
    return tuple({"type": "section", "text": text(piece)} for piece in pieces if piece.strip())
