"""A real ssh-agent of OpenSSH, and keys made by ssh-keygen."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("ssh-agent", "ssh-add", "ssh-keygen")
WITHIN = 60.0


def require_openssh() -> None:
    """Skip the test if this machine has no OpenSSH client."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"OpenSSH's client is not installed (no {', '.join(missing)} on PATH)")


def keygen(path: Path, kind: str = "ed25519") -> Path:
    """Make a key without a passphrase, and return the file of its public half."""
    _run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", str(path))
    return path.with_name(path.name + ".pub")


def told(private: Path) -> bytes:
    """Return the public half of a private key's file, as ssh-keygen writes it."""
    return _run("ssh-keygen", "-y", "-f", str(private))


def fingerprint(public: Path) -> str:
    """Return a public key's fingerprint, as ssh-keygen writes it."""
    return _run("ssh-keygen", "-l", "-f", str(public)).split()[1].decode()


@dataclass(frozen=True)
class Agent:
    """An agent that runs.

    Args:
        socket: as SSH_AUTH_SOCK names it.
        process: it.
    """

    socket: Path
    process: "subprocess.Popen[bytes]"

    def add(self, *words: str, env: dict[str, str] | None = None, check: bool = True) -> None:
        """Run ssh-add."""
        _run("ssh-add", "-q", *words, env={"SSH_AUTH_SOCK": str(self.socket), **(env or {})}, check=check)

    def lock(self, folder: Path) -> None:
        """Lock it, with a passphrase that a program types: ssh-add takes it from nowhere else without a terminal."""
        types = folder / "askpass"
        types.write_text("#!/bin/sh\necho secret\n", encoding="utf-8")
        types.chmod(0o700)
        self.add("-x", env={"SSH_ASKPASS": str(types), "SSH_ASKPASS_REQUIRE": "force"})


@contextmanager
def agent_running(folder: Path) -> Iterator[Agent]:
    """Run an agent meanwhile; its socket lies in the folder, whose path must be short."""
    socket = folder / "agent"
    # It must find nobody to ask, whoever runs the tests.
    env = {key: value for key, value in os.environ.items() if "DISPLAY" not in key and key != "SSH_ASKPASS"}
    words = ["ssh-agent", "-D", "-a", str(socket)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, env=env) as process:  # noqa: S603  # OpenSSH's own
        try:
            deadline = time.monotonic() + WITHIN
            while not socket.exists():
                assert process.poll() is None, "ssh-agent ended"
                assert time.monotonic() < deadline, f"no ssh-agent within {WITHIN:g} s"
                time.sleep(0.02)
            yield Agent(socket, process)
        finally:
            process.terminate()
            process.wait(WITHIN)


def _run(*words: str, env: dict[str, str] | None = None, check: bool = True) -> bytes:
    done = subprocess.run(  # noqa: S603  # OpenSSH's own
        words,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WITHIN,
        check=False,
    )
    assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout
