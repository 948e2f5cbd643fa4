"""A receiver's stamp: a message authentication code over what it puts into the inbox.

Whoever may insert rows could write one that says it came from an authenticated sender. A receiver proves with its
stamp that it checked the sender: only receivers and responders have the key. (RFC 2104, HMAC with SHA-256.)
"""

import base64
import hashlib
import hmac
import secrets
from pathlib import Path

from integrations import whole
from integrations.journal.records import InboxItem
from playbooks.errors import Misconfigured
from playbooks.strict import canonical, sha256

_BYTES = 32
INSTALLATION = "Mcp-Soar-Installation"
"""The header of a receiver's `/readyz` in which it says whose it is."""


class Stamp:
    """What stamps, and knows its own stamps again.

    Args:
        key: 32 random bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, path: Path) -> "Stamp":
        """Read the key from its file.

        Raises:
            Misconfigured: if it is not there, or not one.
        """
        try:
            key = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
        except OSError as exc:
            message = "cannot be read; `mcp-soar up` makes it when it first starts, and receivers elsewhere need a copy"
            raise Misconfigured(f"{message} ({exc.strerror})", file=str(path), field="receiver.stamp") from exc
        except ValueError as exc:
            raise Misconfigured("is not the base64 of a key", file=str(path), field="receiver.stamp") from exc
        if len(key) != _BYTES:
            raise Misconfigured(f"holds no key of {_BYTES} bytes", file=str(path), field="receiver.stamp")
        return cls(key)

    @classmethod
    def ensure(cls, path: Path) -> "Stamp":
        """Read the key from its file, and make it first if there is none: for its owner alone to read.

        Raises:
            Misconfigured: if it cannot be made, or what is there is no key.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Another responder may start beside us.
            whole.put(path, base64.b64encode(secrets.token_bytes(_BYTES)) + b"\n")
        except FileExistsError:
            pass
        except OSError as exc:
            if not path.exists():
                message = f"cannot be made: {exc.strerror}"
                raise Misconfigured(message, file=str(path), field="receiver.stamp") from exc
        return cls.load(path)

    @property
    def installation(self) -> str:
        """What a receiver says of whose it is: it tells one installation from another, and stamps nothing."""
        return hmac.digest(self._key, b"mcp-soar: whose receiver is this?", hashlib.sha256).hex()[:16]

    def of(self, *, kind: str, source: str, nonce: str, digest: str, headers: bytes) -> bytes:
        """Return the stamp of an entry.

        Args:
            kind: of the entry.
            source: whose message it is.
            nonce: its sender's id of it.
            digest: of its body.
            headers: those kept, as canonical JSON.
        """
        said = canonical([kind, source, nonce, digest, headers.decode()])
        return hmac.digest(self._key, said, hashlib.sha256)

    def fits(self, item: InboxItem) -> bool:
        """Return whether an entry has the stamp of a receiver of ours, its body included."""
        if not isinstance(item.stamp, bytes) or sha256(item.body) != item.digest:
            return False
        expected = self.of(
            kind=item.kind, source=item.source, nonce=item.nonce, digest=item.digest, headers=canonical(item.headers)
        )
        return hmac.compare_digest(item.stamp, expected)
