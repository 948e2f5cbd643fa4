"""Messages into a folder, a file each: for the demo, and where nothing else may leave the machine."""

import asyncio
import re
import secrets
from pathlib import Path

from integrations import whole
from playbooks.errors import Refused, Transient
from playbooks.people.contacts import Contact, Way
from playbooks.people.message import Message, Sent
from playbooks.strict import now

_NAME = re.compile(r"[0-9]{8}T[0-9]{12}Z-[0-9a-f]{8}\.txt")


class FileChannel:
    """Writes messages that only this user can read (folder 0700, files 0600); a reader never sees half of one."""

    way = Way.FILE

    async def send(self, to: Contact, message: Message, *, thread: str = "", update: str = "") -> Sent:
        """Write a message.

        Args:
            to: whose folder.
            message: what; no name is made of any of it.
            thread: means nothing here.
            update: the file that it replaces.

        Raises:
            Transient: the folder cannot be written now.
            Refused: the contact has none.
        """
        del thread
        if to.file is None:
            raise Refused("this contact has no folder; add `file` to it in contacts.yaml")
        folder = Path(to.file)
        name = update if _NAME.fullmatch(update) else f"{now():%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}.txt"
        try:
            await asyncio.to_thread(_write, folder, name, f"Subject: {message.subject}\n\n{message.text}")
        except OSError as exc:
            raise Transient(f"{folder} cannot be written: {exc.strerror}") from exc
        return Sent(f"file {folder / name}", name)

    async def aclose(self) -> None:
        """Do nothing."""


def _write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole.put(folder / name, text.encode(), over=True)
