"""Linux' Landlock: a process gives up for good what it does not need, and so do all that it starts.

It needs no privilege, and root is bound by it like everybody else. What is confined also reads nothing of other
processes under `/proc`, traces none, and sends signals to none (https://docs.kernel.org/userspace-api/landlock.html).
"""

import ctypes
import os
import struct
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION, _BENEATH, _PORT = 1, 1, 2
_NO_NEW_PRIVILEGES = 38

_EXECUTE, _WRITE, _READ, _READ_FOLDER, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
# Make and remove files and folders, make links, move between folders; no devices, no sockets, no pipes.
_CHANGE = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13
_CONNECT = 1 << 1
_EVERYTHING = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET, _SCOPES = 4, 6
"""The versions that brought rules for TCP, and for signals and abstract sockets."""


def version() -> int:
    """Return the version of Landlock that this kernel has, 0 for none."""
    if sys.platform != "linux":
        return 0
    return max(0, _call(_CREATE, None, 0, _VERSION))


def confine(
    *,
    readable: Iterable[Path],
    writable: Iterable[Path],
    ports: Collection[int],
    own: Iterable[Path] = (),
    programs: Iterable[Path] = (),
) -> bool:
    """Give up all access to files and to TCP but what is named; of this thread and all that it starts from now on.

    Call it before there are other threads: they would not be bound.

    Args:
        readable: files, and folders with all that is in them.
        writable: files that are there, which can be read too.
        ports: TCP ports that may be connected to; open sockets go on. Kernels before 6.7 do not hold to it.
        own: folders in which files may be made, changed and removed.
        programs: what may be executed, an interpreter's loader included; by default nothing.

    Returns:
        Whether it was done; this system may not have it.

    Raises:
        OSError: if it has, and it did not work.
    """
    found = version()
    if not found:
        return False
    everything = _EVERYTHING[min(found, max(_EVERYTHING))]
    attributes = struct.pack("=QQQ", everything, 3 if found >= _NET else 0, 3 if found >= _SCOPES else 0)
    size = 24 if found >= _SCOPES else 16 if found >= _NET else 8
    rules = _checked(_call(_CREATE, attributes, size, 0))
    try:
        for path in readable:
            _allow(rules, path, (_READ | _READ_FOLDER) if path.is_dir() else _READ)
        for path in writable:
            _allow(rules, path, (_READ | _WRITE | _TRUNCATE) & everything)
        for path in own:
            _allow(rules, path, (_READ | _READ_FOLDER | _WRITE | _TRUNCATE | _CHANGE) & everything)
        for path in programs:
            _allow(rules, path, _READ | _EXECUTE)
        for port in ports if found >= _NET else ():
            _checked(_call(_ADD, rules, _PORT, struct.pack("=QQ", _CONNECT, port), 0))
        _checked(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _checked(_call(_RESTRICT, rules, 0))
    finally:
        os.close(rules)
    return True


def _allow(rules: int, path: Path, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _checked(_call(_ADD, rules, _BENEATH, struct.pack("=Qi", access, place), 0))
    finally:
        os.close(place)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    # The numbers are the same on every architecture.
    syscall = _libc().syscall
    syscall.restype = ctypes.c_long
    return int(syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)))


def _checked(result: int) -> int:
    if result < 0:
        fault = ctypes.get_errno()
        raise OSError(fault, os.strerror(fault), "Landlock")
    return result
