"""A real PostgreSQL for tests: its own cluster on a free loopback port, fsync on, gone even when the tests are killed.

As a program it fails when PostgreSQL is not installed: `make test` asks it whether to do so.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SUPERUSER = "postgres"

# Waits for the end of its input, which comes when whoever holds the other end closes it or dies.
_KEEPER = 'cat; "$1/pg_ctl" stop --mode=fast --pgdata="$2/data"; rm -rf "$2"'


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs: those on PATH, else the newest where Debian keeps them."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(installed, key=lambda folder: int(folder.parent.name), default=None)


@dataclass(frozen=True)
class PostgresServer:
    """A running server, which a test may stop and start: its address stays the same."""

    programs: Path
    directory: Path
    port: int
    password: str

    def url(self, database: str) -> str:
        """Return the address of a database, as its superuser, for SQLAlchemy with asyncpg."""
        return f"postgresql+asyncpg://{_SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        self._control("start", f"--log={self._log}")

    def stop(self) -> None:
        """Stop the server: every connection is cut, open transactions are rolled back."""
        self._control("stop", "--mode=fast")

    def restart(self) -> None:
        """Stop the server and start it again."""
        self.stop()
        self.start()

    @contextlib.contextmanager
    def fresh_database(self) -> Iterator[str]:
        """Yield the address of a new, empty database and drop it afterwards, whoever is still connected."""
        name = f"test_{secrets.token_hex(6)}"
        self._client("createdb", "--template=template0", name)
        try:
            yield self.url(name)
        finally:
            self._client("dropdb", "--force", name)

    def initialise(self) -> None:
        """Create the cluster; an initial sync to disk is left out because nobody restores it after a power cut."""
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        _hand_over(password_file)
        password_file.write_text(self.password)
        self._run(
            "initdb",
            f"--pgdata={self._data}",
            f"--username={_SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        )
        password_file.unlink()
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = '{self.directory}'\n"
            )

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    def _control(self, verb: str, *arguments: str) -> None:
        self._run("pg_ctl", verb, "--wait", "--silent", f"--pgdata={self._data}", *arguments)

    def _client(self, program: str, *arguments: str) -> None:
        self._run(program, "--host=127.0.0.1", f"--port={self.port}", f"--username={_SUPERUSER}", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        result = subprocess.run(  # noqa: S603 - every argument is made in this file
            [self.programs / program, *arguments],
            cwd=self.directory,
            env={"PATH": os.defpath, "PGPASSWORD": self.password},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **_unprivileged(),
        )
        if result.returncode:
            log = self._log.read_text() if self._log.exists() else ""
            raise RuntimeError(f"{program} ended with {result.returncode}\n{result.stdout}{log}")


@contextlib.contextmanager
def postgres_server(programs: Path) -> Iterator[PostgresServer]:
    """Yield a running server and remove it with its data afterwards.

    Args:
        programs: the folder of PostgreSQL's programs, from `find_postgres`.
    """
    # A folder of its own, since an unprivileged account cannot enter pytest's.
    directory = Path(tempfile.mkdtemp(prefix="mcp-soar-postgres-"))
    _hand_over(directory)
    server = PostgresServer(programs, directory, _free_port(), secrets.token_urlsafe())
    # In a session of its own, or the Ctrl-C that ends the tests would end it before the server.
    with subprocess.Popen(  # noqa: S603 - every argument is made in this file
        ["/bin/sh", "-c", _KEEPER, "keeper", programs, directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **_unprivileged(),
    ):
        server.initialise()
        server.start()
        yield server


def _account() -> pwd.struct_passwd | None:
    """Return the account to run as, since PostgreSQL refuses root; None where we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _unprivileged() -> dict[str, Any]:
    """Return the arguments that make subprocess run a program as that account."""
    account = _account()
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}


def _hand_over(path: Path) -> None:
    """Make that account the owner of a file or folder."""
    if account := _account():
        os.chown(path, account.pw_uid, account.pw_gid)


def _free_port() -> int:
    """Return a free loopback port below the range for outgoing connections, so it is still free after a stop."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe:
            # As the server will: a port in TIME_WAIT counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


if __name__ == "__main__":
    sys.exit(None if find_postgres() else "PostgreSQL not found")
