"""Text that an attacker may have chosen, made fit to stand in names and messages."""

import unicodedata

from playbooks.text.escaping import hidden, own_name, printable

__all__ = ["disguises", "hidden", "own_name", "printable"]

_DISGUISES = frozenset({"Cc", "Cf", "Cs", "Co"})


def disguises(text: str) -> tuple[str, ...]:
    """Return the hidden characters in `text` (zero-width, tags, bidi and the like), once each, as U+200B."""
    # Line breaks and tabs are ordinary in a description, and so is what makes a symbol an emoji.
    found = {c for c in text if unicodedata.category(c) in _DISGUISES and c not in "\n\r\t"}
    return tuple(sorted(f"U+{ord(character):04X}" for character in found))
