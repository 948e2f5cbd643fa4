"""Child processes that are waited for by condition and never outlive whoever started them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from playbooks.errors import Misconfigured

_LEASH = Path(__file__).with_name("leash.py")


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether something accepts connections on that loopback port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def child(
    command: Sequence[str],
    *,
    log: Path,
    ready: Callable[[], bool],
    within: float,
    env: Mapping[str, str] | None = None,
    grace: float = 8.0,
) -> Iterator[None]:
    """Run a command for the length of the block.

    Args:
        command: what to run.
        log: file for its output.
        ready: tells whether it serves.
        within: seconds that it may take to get ready.
        env: its environment; ours if None.
        grace: seconds that it may take to end, before it is killed.

    Raises:
        Misconfigured: if it ends or stays silent; the message ends with the tail of its output.
    """
    with log.open("ab") as out:
        # A pipe to the child's leash: when this process dies, however it dies, the pipe closes and the child is ended.
        process = subprocess.Popen(  # noqa: S603  # commands of our own making
            [sys.executable, str(_LEASH), str(grace), *command],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env=dict(env) if env is not None else None,
            # Ctrl-C in a terminal goes to the whole group: what it ends we wait for, and who waits must not end first.
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + within
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                what = (
                    "ended before it was ready"
                    if process.poll() is not None
                    else f"did not get ready in {within:.0f} s"
                )
                raise Misconfigured(f"{Path(command[0]).name} {what}; its last output:\n{tail}")
            time.sleep(0.02)
        yield
    finally:
        if process.stdin:
            process.stdin.close()
        process.wait(timeout=grace + 20)


def environment(**extra: str) -> dict[str, str]:
    """Return a child's environment: ours less Python's own settings, with `extra`."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE", "PREFECT"))}
    return {**mine, **extra}
