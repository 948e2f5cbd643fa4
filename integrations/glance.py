"""The incidents' ids in a hurry, for a shell that waits for a Tab: past everything that takes long to import."""

import asyncio
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

_SECONDS = 1.0
_MOST = 500
_STREAMS = "FROM stream WHERE name LIKE 'incident/%' ORDER BY closed_at IS NULL DESC, opened_at DESC"
_QUERY = f"SELECT name, closed_at IS NULL {_STREAMS} LIMIT {_MOST}"


def incidents(url: str, password: dict[str, str] | None, folder: Path) -> list[tuple[str, bool]]:
    """Return ids, the open and young ones first, and whether each is open.

    Args:
        url: of the journal, as in the settings.
        password: its place there, by `env` or `file`.
        folder: the configuration's.

    Raises:
        Exception: of any kind; nobody is told.
    """
    scheme, _, rest = url.partition("://")
    if scheme.startswith("sqlite"):
        path = (folder / rest.removeprefix("/")).resolve()
        # Read-only: it neither makes a journal nor waits for one.
        with sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_SECONDS) as connection:
            rows = connection.execute(_QUERY).fetchall()
        connection.close()
    else:
        rows = asyncio.run(_postgres(f"postgresql://{rest}", _secret(password or {}, folder)))
    return [(str(name).removeprefix("incident/"), bool(is_open)) for name, is_open in rows]


async def _postgres(url: str, password: str | None) -> list[tuple[str, bool]]:
    import asyncpg  # noqa: PLC0415  # only where it is needed

    connection = await asyncpg.connect(url, password=password, timeout=_SECONDS, command_timeout=_SECONDS)
    try:
        return [(row[0], row[1]) for row in await connection.fetch(_QUERY)]
    finally:
        await connection.close(timeout=_SECONDS)


def _secret(place: dict[str, str], folder: Path) -> str | None:
    if name := place.get("env"):
        return os.environ.get(name)
    if file := place.get("file"):
        return (folder / Path(file).expanduser()).read_text(encoding="utf-8").strip()
    return None
