"""What a command imports while whoever is far away thinks: to hash our password takes a gateway a while."""

import asyncio
import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_TURN = 0.001
"""Seconds after which what computes lets those go on who were answered: five times as often as Python does."""


async def imported(load: Callable[[], T]) -> T:
    """Return what a function imports, in a thread: all that was begun before goes on meanwhile.

    Args:
        load: imports it, and returns what of it is needed.
    """
    sys.setswitchinterval(_TURN)
    # First what was begun goes as far as it can, with what it imports: Python refuses two threads that import parts of
    # one package each through the other.
    await asyncio.sleep(0)
    return await asyncio.to_thread(load)
