"""One-time codes: the fallback of an approver whose key is not at hand. Pure.

A code is bound to one approver, one plan and one answer: which answer it gives is decided by which code it is. It is
sent to that person alone, by a way that no shared token can read, and only its hash is kept.
"""

import hashlib
import hmac
import secrets
import unicodedata
from typing import Annotated, Literal

from pydantic import StringConstraints

from playbooks.strict import Name, Slug, Strict

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: nothing in it is mistaken for something else (https://www.crockford.com/base32.html)."""

LENGTH = 10
TRIES = 5
_READ = str.maketrans({"O": "0", "I": "1", "L": "1"})


class CodeAnswer(Strict):
    """A code on its way to the responder.

    Args:
        incident: its id.
        digest: of the plan, or at least the first twelve hexadecimal digits of it.
        actor: whose code it is.
        code: as it was sent.
    """

    v: Literal[1] = 1
    incident: Slug
    digest: Annotated[str, StringConstraints(pattern=r"^(sha256:)?[0-9a-fA-F]{12,64}$")]
    actor: Name
    code: Annotated[str, StringConstraints(min_length=1, max_length=40)]


def new() -> str:
    """Return a fresh code of 50 bits, as 7K3M2-QX9AB."""
    digits = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    return f"{digits[:5]}-{digits[5:]}"


def hashed(code: str, salt: bytes) -> str:
    """Return what is kept of a code; it takes some 50 ms, on purpose.

    Args:
        code: as it was sent or typed: case, width, dashes, spaces and look-alikes do not matter.
        salt: 16 random bytes of its own.
    """
    typed = unicodedata.normalize("NFKC", code).upper().translate(_READ)
    plain = "".join(letter for letter in typed if letter.isalnum()).encode()
    # The costs that RFC 7914 gives for interactive use.
    return hashlib.scrypt(plain, salt=salt, n=2**14, r=8, p=1, dklen=32).hex()


def same(one: str, other: str) -> bool:
    """Whether two hashes are the same, in constant time."""
    return hmac.compare_digest(one, other)
