"""What runs on this machine: where `up` serves, and which reading of the configuration each process goes by."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from playbooks.strict import sha256

STATUS = "up.json"
"""In `state/`: where everything is, for other commands; there only while `up` runs."""

_PLACE = Path("state/running")
_LARGEST = 1 << 20  # bytes of a note
_FILES = ("mcp-soar.yaml", "inventory.yaml", "pins.yaml", "policy.yaml", "sources.yaml", "contacts.yaml")
_FOLDERS = {"playbooks": "**/*.yaml", "messages": "**/*.j2"}


class Running(NamedTuple):
    """A process that runs, and what it read.

    Args:
        part: `responder`, `flows` or `receiver`.
        pid: of the process.
        files: the digests of what it goes by, by the files' names in the folder.
    """

    part: str
    pid: int
    files: Mapping[str, str]


def served(folder: Path) -> dict[str, str]:
    """Return what an `up` on this machine says of itself: where it serves, and why its receiver is not confined.

    Args:
        folder: of the configuration.
    """
    try:
        status = json.loads((folder / "state" / STATUS).read_text(encoding="utf-8"))
        with contextlib.suppress(PermissionError):  # then it runs, as another user
            os.kill(int(status["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return {}
    told = ("receiver", "prefect", "receiver_unconfined")
    return {name: str(status[name]) for name in told if status.get(name)}


def files(folder: Path) -> Iterator[Path]:
    """Yield the files that make up a configuration, as far as they are there."""
    yield from (path for name in _FILES if (path := folder / name).is_file())
    for name, pattern in _FOLDERS.items():
        yield from (path for path in sorted((folder / name).glob(pattern)) if not path.name.endswith(".drill.yaml"))


def digests(folder: Path) -> dict[str, str]:
    """Return the digests of a configuration's files, by their names in the folder."""
    found: dict[str, str] = {}
    for path in files(folder):
        with contextlib.suppress(OSError):
            found[path.relative_to(folder).as_posix()] = sha256(path.read_bytes())
    return found


def note(folder: Path, part: str, read: Mapping[str, str]) -> None:
    """Leave word of what this process goes by; where it may not write, `doctor` cannot compare, and nothing else.

    Args:
        folder: of the configuration.
        part: `responder`, `flows` or `receiver`.
        read: the digests of what it goes by.
    """
    place = folder / _PLACE
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in place.glob("*.json"):
            if not alive(path.stem.rpartition("-")[2]):
                path.unlink(missing_ok=True)
        fresh = place / f".{part}-{os.getpid()}"
        fresh.write_text(json.dumps({"part": part, "pid": os.getpid(), "files": dict(read)}), encoding="utf-8")
        fresh.replace(place / f"{part}-{os.getpid()}.json")


def noted(folder: Path) -> list[Running]:
    """Return the processes that run on this machine and left word."""
    found: list[Running] = []
    for path in sorted((folder / _PLACE).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            if path.stat().st_size > _LARGEST:
                continue
            said = json.loads(path.read_text(encoding="utf-8"))
            if alive(str(said["pid"])):
                found.append(Running(str(said["part"]), int(said["pid"]), dict(said["files"])))
    return found


def changed(one: Running, now: Mapping[str, str], *, only: frozenset[str] | None = None) -> list[str]:
    """Return the files that are not what a process goes by.

    Args:
        one: the process.
        now: the files' digests now.
        only: the files that it reads at all; all of them if None.
    """
    names = sorted(name for name in one.files.keys() | now.keys() if only is None or name in only)
    return [name for name in names if one.files.get(name) != now.get(name)]


def alive(pid: str) -> bool:
    """Whether a process of this machine has a number; what is no number is none's."""
    if not pid.isdecimal() or len(pid) > 10 or int(pid) < 1:  # noqa: PLR2004  # no pid is longer
        return False
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True  # as another user
    except (OSError, OverflowError):
        return False
    return True
