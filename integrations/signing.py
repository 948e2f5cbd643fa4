"""The Ed25519 key that signs heads and manifests (RFC 8032), in a file that only its owner can read."""

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_public_key,
)

from integrations import whole
from playbooks.errors import Misconfigured, Refused, Transient

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]  # no __all__

_LARGEST = 16_384  # bytes; an Ed25519 key in PEM has about 120


class PublicKey:
    """The half of a key that everybody may have.

    Args:
        key: the Ed25519 public key.
    """

    __slots__ = ("_key", "id")

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.id = "sha256:" + hashlib.sha256(der).hexdigest()

    @classmethod
    def from_raw(cls, data: bytes) -> "PublicKey":
        """Return the key that 32 bytes are (RFC 8032, 5.1.5).

        Raises:
            Misconfigured: if they are no Ed25519 public key.
        """
        try:
            return cls(Ed25519PublicKey.from_public_bytes(data))
        except ValueError as exc:
            raise Misconfigured(f"an Ed25519 public key has 32 bytes, this has {len(data)}") from exc

    @property
    def raw(self) -> bytes:
        """The key's 32 bytes (RFC 8032, 5.1.5)."""
        return self._key.public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def from_pem(cls, pem: bytes, *, file: str | None = None) -> "PublicKey":
        """Return the key that a PEM block (RFC 7468, SubjectPublicKeyInfo) holds.

        Args:
            pem: the block.
            file: where it stood, for the error.

        Raises:
            Misconfigured: if it holds no Ed25519 public key.
        """
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise Misconfigured("is no public key in PEM (BEGIN PUBLIC KEY)", file=file) from exc
        if not isinstance(key, Ed25519PublicKey):
            raise Misconfigured("is a public key, but not an Ed25519 one", file=file)
        return cls(key)

    @classmethod
    def from_openssh(cls, line: bytes, *, file: str | None = None) -> "PublicKey":
        """Return the key that a line of OpenSSH's form holds, as `ssh-ed25519 AAAA... comment` (RFC 4253, 6.6).

        Args:
            line: the line.
            file: where it stood, for the error.

        Raises:
            Misconfigured: if it holds no Ed25519 public key, or one that signs other bytes than it is given.
        """
        kind = line.split(maxsplit=1)[0].decode("ascii", "replace")
        if kind.startswith("sk-"):
            message = (
                f"is a hardware key ({kind}): it signs its own record of a touch instead of the request, which nothing "
                f"here verifies. Use an ordinary key: ssh-keygen -t ed25519"
            )
            raise Misconfigured(message, file=file)
        if "-cert-v01" in kind:
            raise Misconfigured(f"is a certificate ({kind}); name the .pub file of the key itself", file=file)
        if kind != "ssh-ed25519":
            raise Misconfigured(f"is a key of type {kind}; make one with ssh-keygen -t ed25519", file=file)
        try:
            key = load_ssh_public_key(line)
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise Misconfigured("is no public key in OpenSSH's form", file=file) from exc
        if not isinstance(key, Ed25519PublicKey):
            raise Misconfigured("is a public key, but not an Ed25519 one", file=file)
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> "PublicKey":
        """Return the key in a file, in PEM or in OpenSSH's form.

        Raises:
            Misconfigured: if the file cannot be read, or holds no Ed25519 public key.
        """
        try:
            with path.open("rb") as file:
                pem = file.read(_LARGEST)
        except OSError as exc:
            raise Misconfigured(f"cannot be read ({exc.strerror}); it should be a public key", file=str(path)) from exc
        if pem.startswith((b"ssh-", b"sk-", b"ecdsa-")):
            return cls.from_openssh(pem, file=str(path))
        return cls.from_pem(pem, file=str(path))

    @property
    def pem(self) -> bytes:
        """The key as PEM."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def dsse(self) -> "SSlibKey":
        """Return the key as securesystemslib wants it, under our id."""
        # It loads every cloud's client, and re-exports without __all__.
        from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # noqa: PLC0415  # see above

        return SSlibKey.from_crypto(self._key, keyid=self.id)

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Return whether this key signed these bytes.

        Args:
            data: what was signed.
            signature: 64 bytes.
        """
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def verify(self, data: bytes, signature: bytes) -> None:
        """Let only what this key signed pass.

        Args:
            data: what was signed.
            signature: 64 bytes.

        Raises:
            Refused: if it did not.
        """
        if not self.signed(data, signature):
            raise Refused(f"the signature is not one of key {self.id} over these bytes")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PublicKey({self.id})"


class SigningKey:
    """A private key in memory. Neither its text nor its pickle shows it.

    Args:
        key: the Ed25519 private key.
    """

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    @classmethod
    def generate(cls, path: Path) -> "SigningKey":
        """Make a new key and write it to `path` as PEM (PKCS #8, RFC 5958), mode 0600; never over an existing file.

        Args:
            path: a file that is not there yet, in a folder that is.

        Raises:
            Misconfigured: if the file exists, or the folder cannot be written.
        """
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            whole.put(path, pem)
            whole.sync(path.parent)
        except FileExistsError as exc:
            raise Misconfigured("is there already, and a key is never overwritten: move it", file=str(path)) from exc
        except OSError as exc:
            raise Misconfigured(f"cannot be written ({exc.strerror})", file=str(path)) from exc
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Return the key in a file that nobody but its owner can read.

        Args:
            path: the file; a symbolic link to one is followed, for that is how Kubernetes mounts a secret.

        Raises:
            Misconfigured: if others may read or write it, or it holds no unencrypted Ed25519 private key.
            Transient: if the device does not give it.
        """
        name = str(path)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as exc:
            raise Misconfigured(f"cannot be opened ({exc.strerror})", file=name) from exc
        try:
            # The open file is asked, not the path: what the path means may change in between.
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Misconfigured("is no ordinary file", file=name)
            if status.st_mode & 0o077:
                mode = f"{stat.S_IMODE(status.st_mode):04o}"
                raise Misconfigured(f"has mode {mode}: others can read this key or change it. Run chmod 600", file=name)
            if status.st_uid not in {0, os.geteuid()}:
                raise Misconfigured("belongs to another user, who can read this key. Run chown", file=name)
            pem = os.read(descriptor, _LARGEST)
        except OSError as exc:
            raise Transient(f"{name} cannot be read: {exc.strerror}") from exc
        finally:
            os.close(descriptor)
        try:
            key = load_pem_private_key(pem, password=None)
        except TypeError as exc:
            raise Misconfigured("is encrypted; a responder starts unattended and needs it plain", file=name) from exc
        except (ValueError, UnsupportedAlgorithm):
            # Without its cause: a parser's message may quote what it read.
            raise Misconfigured("is no private key in PEM (PKCS #8, BEGIN PRIVATE KEY)", file=name) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise Misconfigured("is a private key, but not an Ed25519 one", file=name)
        return cls(key)

    @property
    def id(self) -> str:
        """SHA-256 of the public key (DER, SubjectPublicKeyInfo), as `sha256:<hex>`."""
        return self.public.id

    def sign(self, data: bytes) -> bytes:
        """Return the signature over bytes, 64 bytes; the same for the same bytes (RFC 8032, 5.1.6)."""
        return self._key.sign(data)

    def dsse(self) -> "CryptoSigner":
        """Return the key as securesystemslib wants it, under our id."""
        # It loads every cloud's client, and re-exports without __all__.
        from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # noqa: PLC0415  # see above

        return CryptoSigner(self._key, self.public.dsse())

    def __reduce__(self) -> str:
        raise TypeError("a signing key does not leave its process")

    def __repr__(self) -> str:
        return f"SigningKey({self.id})"


def fits(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether a raw public key, a message and a signature fit."""
    return PublicKey.from_raw(public).signed(message, signature)
