"""The other side of `http_served`: stand-ins that ask a server, without a web client's cost for each request."""

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from integrations.tls import trusted

_PATIENCE: Final = 30.0
_NO_BODY: Final = frozenset((204, 304))

_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Answer:
    """An answer as it came.

    Args:
        status: of HTTP.
        headers: names in lower case, with what they say, in their order.
        body: the bytes after them.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """Return what a header says, "" if it is missing."""
        return next((said for found, said in self.headers if found == name), "")


class Asking:
    """Asks servers over connections which are kept for the next request to the same one."""

    def __init__(self) -> None:
        self._kept: dict[str, list[_Ends]] = {}

    async def ask(self, method: str, url: str, *, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Answer:
        """Send a request and return the whole answer.

        Raises:
            OSError: nobody answers, or not to the end.
        """
        at, target = _parted(url)
        lines = [f"{method} {target} HTTP/1.1", f"host: {at.partition('//')[2]}"]
        lines += [f"{name}: {said}" for name, said in headers]
        if body or method not in {"GET", "HEAD"}:
            lines.append(f"content-length: {len(body)}")
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await self._ends(at)
            try:
                writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
                await writer.drain()
                answer, more = await _answer(reader, method)
            except BaseException as exc:
                writer.close()
                if isinstance(exc, asyncio.IncompleteReadError):
                    raise ConnectionResetError("closed before the answer's end") from exc
                raise
        if more:
            self._kept.setdefault(at, []).append((reader, writer))
        else:
            writer.close()
        return answer

    async def _ends(self, at: str) -> _Ends:
        kept = self._kept.get(at, [])
        while kept:
            reader, writer = kept.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        parts = urlsplit(at)
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return await asyncio.open_connection(parts.hostname, port, ssl=trusted(at) if tls else None)

    def close(self) -> None:
        """Close what is kept."""
        for _, writer in itertools.chain.from_iterable(self._kept.values()):
            writer.close()
        self._kept.clear()


def _parted(url: str) -> tuple[str, str]:
    """Return where a server is, and what it is asked for."""
    scheme, _, rest = url.partition("://")
    where, slash, target = rest.partition("/")
    return f"{scheme}://{where}", slash + target or "/"


async def _answer(reader: asyncio.StreamReader, method: str) -> tuple[Answer, bool]:
    """Return the next answer of a connection, and whether it is good for another request."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
    version, status, *_ = first.split(" ", 2)
    pairs = [line.partition(":") for line in lines]
    headers = tuple((name.lower(), said.strip()) for name, _, said in pairs)
    told = dict(headers)
    more = version == "HTTP/1.1" and told.get("connection", "").lower() != "close"
    if method == "HEAD" or int(status) in _NO_BODY:
        body = b""
    elif told.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunks(reader)
    elif "content-length" in told:
        body = await reader.readexactly(int(told["content-length"]))
    else:
        body, more = await reader.read(), False
    return Answer(int(status), headers, body), more


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    found = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        found += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return found
