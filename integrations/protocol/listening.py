"""One conversation with a server that is held open, to hear from it that what it offers has changed.

A server says as much as it likes, and is heard for as much as there is to say: an event has an end, and more of them
than anybody needs end the conversation.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

from integrations.http import FAULTS
from integrations.protocol.client import McpEndpoint
from integrations.protocol.limits import parsed
from integrations.protocol.session import Session
from integrations.protocol.wire import EMPTY_LINE, data
from playbooks.errors import Refused, Transient

CHANGES: Final = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    }
)
"""What a server says when something of it is another than it was."""

LONGEST: Final = 64 * 1024
"""Bytes of one event."""

_MANY: Final = 100
_WITHIN: Final = 10.0
"""So many events within so many seconds are more than any server has to say."""

_LONGEST_END: Final = 3
"""Bytes of what ends an event that may have come already: no byte before them is looked at twice."""

_WATCHED: Final = 50
"""Resources whose changes are asked for."""


class Mute(Refused):
    """A server that has no stream on which it would say something unasked."""


async def changes(endpoint: McpEndpoint, resources: Sequence[str] = ()) -> AsyncGenerator[str, None]:
    """Yield an empty text once a server listens to nobody but says, and then what it says has changed, as it does.

    Args:
        endpoint: the server's.
        resources: URIs whose changes are asked for, where it takes that.

    Raises:
        Transient: it does not answer, or ended the stream.
        Mute: it says nothing unasked.
        Refused: it says more than anybody needs, or lets nobody in.
    """
    async with endpoint.session(handshake=True) as session:
        await _subscribed(session, resources)
        async with session.unasked() as chunks:
            if chunks is None:
                raise Mute(f"{endpoint.name} has no stream on which it would say that something changed")
            yield ""
            async with aclosing(_events(chunks, endpoint.name)) as events:
                async for event in events:
                    message = await parsed(await data(event))
                    method = message.get("method") if isinstance(message, dict) else None
                    if isinstance(method, str) and method in CHANGES:
                        yield method
    raise Transient(f"{endpoint.name} ended the stream")


async def _subscribed(session: Session, resources: Sequence[str]) -> None:
    able = session.capabilities.get("resources")
    if isinstance(able, dict) and able.get("subscribe") is True:
        for uri in resources[:_WATCHED]:
            await session.ask("resources/subscribe", {"uri": uri})


async def _events(chunks: AsyncIterator[bytes], name: str) -> AsyncGenerator[bytes, None]:
    held, recent, looked = bytearray(), deque[float](maxlen=_MANY), 0
    try:
        async for chunk in chunks:
            held += chunk
            read = 0
            while (found := EMPTY_LINE.search(held, max(read, looked))) is not None:
                moment = time.monotonic()
                if len(recent) == _MANY and moment - recent[0] < _WITHIN:
                    raise Refused(f"{name} says more than {_MANY} things within {_WITHIN:g} s")
                recent.append(moment)
                yield bytes(held[read : found.end()])
                read = looked = found.end()
            del held[:read]
            looked = max(0, len(held) - _LONGEST_END)
            if len(held) > LONGEST:
                raise Refused(f"{name}: one event is longer than {LONGEST} bytes")
            await asyncio.sleep(0)
    except FAULTS as exc:
        raise Transient(f"{name} ended the stream ({type(exc).__name__})") from exc
