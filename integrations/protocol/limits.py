"""What reading a server may cost: bytes, values, definitions, pages and time. A hostile one spends only its own."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Final

from playbooks.errors import Refused

ANSWER: Final = 4 * 1024 * 1024
"""Bytes of one answer, before anything of it is decoded."""

WHOLE: Final = 16 * 1024 * 1024
"""Bytes of everything that one question brings, all pages together."""

VALUES: Final = 250_000
"""Commas and opening brackets of one answer: no JSON has more values than these and one."""

EVENTS: Final = 10_000
"""Server-sent events of one answer, those before it included."""

ITEMS: Final = 5000
"""Definitions of one list."""

PAGES: Final = 200
"""Pages of one list."""

AT_ONCE: Final = 64 * 1024
"""Bytes that are read on the event loop; what is longer is read beside it."""


@dataclass
class Budget:
    """What is left for one question.

    Args:
        whole: bytes of all answers together.
    """

    whole: int = WHOLE
    _spent: int = field(default=0, init=False)

    def spend(self, size: int, *, of: int) -> None:
        """Take bytes off, as they come and before they are decoded.

        Args:
            size: how many came.
            of: how many of this answer came so far.

        Raises:
            Refused: one answer, or all of them together, are longer than anybody needs.
        """
        self._spent += size
        if of > ANSWER:
            raise Refused(f"one answer is longer than {ANSWER} bytes")
        if self._spent > self.whole:
            raise Refused(f"its answers are longer than {self.whole} bytes together")


async def parsed(raw: bytes) -> Any:  # noqa: ANN401  # whatever JSON it is
    """Return the JSON value of a text, None if it is none that anybody can use.

    Args:
        raw: within `ANSWER`.
    """
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > VALUES:
        return None
    return _parse(raw) if len(raw) <= AT_ONCE else await asyncio.to_thread(_parse, raw)


def _parse(raw: bytes) -> Any:  # noqa: ANN401  # whatever JSON it is
    try:
        return json.loads(raw.decode(errors="replace"))
    except (ValueError, RecursionError):
        # A hostile server nests as deep as it likes, and writes integers of any length.
        return None
