"""What a receiver was told, as it was signed: written down before it is sent, so that it is the same one ever after."""

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field, ValidationError

from integrations import whole
from playbooks.errors import Misconfigured
from playbooks.strict import Name, Strict, canonical

_LARGEST: Final = 64 * 1024
"""Bytes of one; it has less than two thousand."""

KEPT: Final = 30 * 86_400.0
"""Seconds for which an event is kept: nobody sends it again after that. Which it was, and when, is in the journal."""

MOST: Final = 1000
"""Events that are kept at most of those that were taken."""

_SWEEPS: Final = 3600.0


class Told(Strict):
    """One event.

    Args:
        jti: its id, by which receivers know it again.
        at: when it was signed, in seconds since 1970.
        event: it itself, in compact form.
        taken: when the receiver said that it has it, likewise; None if it has not said so.
    """

    jti: Name
    at: int
    event: Annotated[str, Field(min_length=1, max_length=20_000)]
    taken: float | None = None

    @property
    def moment(self) -> datetime:
        """When it was signed."""
        return datetime.fromtimestamp(self.at, UTC)


class Shelf:
    """The events of one receiver, a file each.

    Args:
        folder: where they are; whoever tells of one principal has one folder with all others who do.
        receiver: tells it from others that share the folder.
    """

    def __init__(self, folder: Path, receiver: str) -> None:
        self._folder, self._receiver = folder, receiver
        self._swept = -math.inf

    def prepared(self, subject: Mapping[str, str], key: str, sign: Callable[[str, int], str]) -> Told:
        """Return the event of a key, signed and written down if that is not done yet.

        Args:
            subject: whom it is about.
            key: the same for every attempt to tell it.
            sign: returns it by its id and the present moment.

        Raises:
            Misconfigured: it cannot be kept, and is not sent then.
        """
        whose = self._of(subject)
        jti = str(UUID(bytes=hashlib.sha256(canonical([whose, key])).digest()[:16]))
        file = self._folder / f"{whose}-{jti}.json"
        try:
            if (known := _read(file)) is not None:
                return known
            at = int(time.time())
            made = Told(jti=jti, at=at, event=sign(jti, at))
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                whole.put(file, made.model_dump_json().encode())
            except FileExistsError:
                return _read(file) or made
            whole.sync(self._folder)
        except OSError as exc:
            raise self._unusable(exc) from exc
        return made

    def taken(self, subject: Mapping[str, str], told: Told) -> None:
        """Write down that a receiver has an event; what nobody needs any more goes, each hour.

        Raises:
            Misconfigured: that cannot be kept.
        """
        file = self._folder / f"{self._of(subject)}-{told.jti}.json"
        try:
            whole.put(file, told.model_copy(update={"taken": time.time()}).model_dump_json().encode(), over=True)
            if time.monotonic() - self._swept >= _SWEEPS:
                self._swept = time.monotonic()
                self._sweep()
        except OSError as exc:
            raise self._unusable(exc) from exc

    def last(self, subject: Mapping[str, str]) -> Told | None:
        """Return what was told last of somebody; None if nothing was, or the receiver never said that it has it.

        Raises:
            Misconfigured: what is kept cannot be read.
        """
        try:
            found = [_read(file) for file in self._folder.glob(f"{self._of(subject)}-*.json")]
        except OSError as exc:
            raise self._unusable(exc) from exc
        return max((one for one in found if one and one.taken), key=lambda one: one.taken or 0.0, default=None)

    def _sweep(self) -> None:
        """Take away what is older than anybody asks for, whichever receiver it was for, and all but so many."""
        taken: list[tuple[float, Path]] = []
        for file in self._folder.glob("*.json"):
            # What is no event of ours is whoever put it there's; and what cannot be taken away was told all the same.
            with contextlib.suppress(Misconfigured, OSError):
                if (one := _read(file)) is None:
                    continue
                if (one.taken or one.at) < time.time() - KEPT:
                    file.unlink(missing_ok=True)
                elif one.taken is not None:
                    taken.append((one.taken, file))
        for _, file in sorted(taken, reverse=True)[MOST:]:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def _of(self, subject: Mapping[str, str]) -> str:
        return hashlib.sha256(canonical([self._receiver, dict(subject)])).hexdigest()[:24]

    def _unusable(self, exc: OSError) -> Misconfigured:
        what = f"what is told cannot be kept here, and is not sent unkept: {exc.strerror}"
        return Misconfigured(what, file=str(self._folder))


def _read(file: Path) -> Told | None:
    try:
        with file.open("rb") as stream:
            raw = stream.read(_LARGEST)
    except FileNotFoundError:
        return None
    try:
        return Told.model_validate_json(raw)
    except ValidationError as exc:
        raise Misconfigured("this is no event that was told: move it away", file=str(file)) from exc
