"""The list as a file, and what it says of a token. Whoever asks has yet to check the token itself: signature, end, all.

Sources: RFC 7519 (claims), RFC 7515 (compact form), RFC 6750 (where a token stands in a request).
"""

import base64
import fcntl
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from integrations import bounded, whole
from playbooks.errors import Misconfigured, SoarError
from playbooks.strict import Name, Strict

LARGEST: Final = 8 * 1024 * 1024
"""Bytes of a list: forty thousand entries."""

_KEPT: Final = 7 * 24 * 3600.0
"""Seconds for which an entry stays that denies nothing any more."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")

Claims = Mapping[str, Any]

Claim = Annotated[str, Field(min_length=1, max_length=500)]
"""As it stands in a token, to the character."""


class Entry(Strict):
    """What is denied: one token by its id, or all of a subject that were issued until a moment.

    Args:
        key: whose entry it is: ours begin with `mcp-soar-`, and nobody else's is touched.
        iss: the issuer.
        jti: the token's id.
        sub: the subject.
        issued_until: the moment, in seconds since 1970.
        until: when the token has ended by itself, likewise; a subject's entry stays until it is taken out.
    """

    key: Name
    iss: Claim
    jti: Claim | None = None
    sub: Claim | None = None
    issued_until: int | None = None
    until: int | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.jti is None) == (self.sub is None) or (self.sub is None) != (self.issued_until is None):
            message = "write either jti, or sub and issued_until"
            raise ValueError(message)
        return self

    def ended(self, at: float) -> bool:
        """Whether what it denies has ended by itself."""
        return self.until is not None and self.until <= at

    def denies(self, claims: Claims, at: float) -> bool:
        """Return whether it means a token that says this of itself."""
        if claims.get("iss") != self.iss or self.ended(at):
            return False
        if self.jti is not None:
            return claims.get("jti") == self.jti
        issued = claims.get("iat")
        # One that does not say when it was issued may be of before.
        later = isinstance(issued, int | float) and not isinstance(issued, bool) and issued > (self.issued_until or 0)
        return claims.get("sub") == self.sub and not later


class Entries(Strict):
    """The whole list.

    Args:
        version: of this format.
        denied: each entry once.
    """

    version: Literal[1] = 1
    denied: tuple[Entry, ...] = ()

    def of(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        return next((one for one in self.denied if one.key == key), None)

    def denying(self, claims: Claims, at: float) -> Entry | None:
        """Return what denies a token, nothing if nobody does."""
        return next((one for one in self.denied if one.denies(claims, at)), None)


class Read(NamedTuple):
    """A list as it stands.

    Args:
        entries: what it says.
        mark: tells it from any other.
    """

    entries: Entries
    mark: str


def read(file: Path) -> Read:
    """Return a list; one that is not there denies nothing.

    Raises:
        Misconfigured: it cannot be read, or is none.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(LARGEST + 1)
    except FileNotFoundError:
        return Read(Entries(), "none")
    except OSError as exc:
        raise Misconfigured(f"the deny list cannot be read: {exc.strerror}", file=str(file)) from exc
    if len(raw) > LARGEST:
        raise Misconfigured(f"the deny list is longer than {LARGEST} bytes", file=str(file))
    try:
        entries = Entries.model_validate_json(raw)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or None
        raise Misconfigured(f"this is no deny list: {first['msg']}", file=str(file), field=field) from exc
    return Read(entries, hashlib.sha256(raw).hexdigest())


def put(file: Path, entry: Entry, at: float) -> None:
    """Write an entry, in place of the one of its key; what nobody took out goes a week after it has ended by itself.

    Raises:
        SoarError: it is not written, and all is as it was.
    """
    with _writing(file) as entries:
        kept = (one for one in entries.denied if one.key != entry.key and not one.ended(at - _KEPT))
        _write(file, (*kept, entry))


def drop(file: Path, key: str) -> None:
    """Take the entry of a key out, and no other.

    Raises:
        SoarError: it is not taken out.
    """
    with _writing(file) as entries:
        if entries.of(key) is not None:
            _write(file, (one for one in entries.denied if one.key != key))


@contextmanager
def _writing(file: Path) -> Iterator[Entries]:
    """Have nobody else write meanwhile."""
    try:
        # The list itself is another file after each write: that is no lock.
        with file.with_name(f".{file.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield read(file).entries
    except OSError as exc:
        raise Misconfigured(f"the deny list cannot be written: {exc.strerror}", file=str(file)) from exc


def _write(file: Path, entries: Iterable[Entry]) -> None:
    body = Entries(denied=tuple(entries)).model_dump(mode="json", exclude_none=True)
    # Whoever serves it is somebody else, and reads only.
    whole.put(file, json.dumps(body, indent=1).encode(), mode=0o644, over=True)
    whole.sync(file.parent)


def claims_of(token: str) -> Claims | None:
    """Return what a token in compact form says of itself, unchecked; None if it is no such token."""
    parts = token.split(".")
    if len(parts) != _PARTS:
        return None
    try:
        said = bounded.readable(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


_PARTS: Final = 3


def judged(entries: Entries, authorization: Iterable[str], at: float) -> Entry | None:
    """Return what denies a request, by any token in it, however its scheme is spelled.

    Args:
        entries: the list.
        authorization: the values of that header.
        at: the present moment, in seconds since 1970.
    """
    tokens = (token for value in authorization for token in _TOKEN.findall(value))
    said = (claims for token in tokens if (claims := claims_of(token)) is not None)
    return next((entry for claims in said if (entry := entries.denying(claims, at))), None)


def asking(**claims: object) -> str:
    """Return a token that nobody signed, to ask what a list says of one like it; no server takes it."""
    parts = (json.dumps(one, separators=(",", ":")).encode() for one in ({"alg": "none"}, claims))
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), ""])


class Kept:
    """A list as whoever serves it has it: read anew when it is another file, and the last good one kept.

    Args:
        file: the list.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: object = None
        self._read = Read(Entries(), "")
        self.fault = ""
        """Why the file is not what is served; empty if it is."""

    def now(self) -> Read:
        """Return what is served at this moment."""
        try:
            found = self._file.stat()
            stamp: object = (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError:
            stamp = None
        if stamp != self._stamp or not self._read.mark:
            try:
                self._read, self.fault = read(self._file), ""
            except SoarError as exc:
                self.fault = str(exc)
            self._stamp = stamp
        return self._read
