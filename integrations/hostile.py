"""Text that an attacker may have chosen, made fit to stand in names and messages."""

import unicodedata

_DISGUISES = frozenset({"Cc", "Cf", "Cs", "Co"})


def printable(text: str, limit: int = 200) -> str:
    """Return `text` in NFKC, what is invisible or moves the cursor written out as an escape, cut at `limit`."""
    shown = "".join(
        f"\\u{{{ord(character):x}}}" if unicodedata.category(character) in _DISGUISES else character
        for character in unicodedata.normalize("NFKC", text[: limit * 4])
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def disguises(text: str) -> tuple[str, ...]:
    """Return the hidden characters in `text` (zero-width, tags, bidi and the like), once each, as U+200B."""
    # Line breaks and tabs are ordinary in a description.
    found = {c for c in text if unicodedata.category(c) in _DISGUISES and c not in "\n\r\t"}
    return tuple(sorted(f"U+{ord(character):04X}" for character in found))
