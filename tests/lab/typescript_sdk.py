"""Servers of the official TypeScript SDK, one release for each revision of the protocol, for tests that need real ones.

`python -m tests.lab.typescript_sdk` installs the pinned releases with npm, once for each lock, outside the repository.
"""

import shutil
import sys
from pathlib import Path

from tests.lab import npm

HERE = Path(__file__).with_name("typescript")
NAME = "typescript-sdk"
RELEASES = {
    "2025-03-26": "sdk-2025-03-26",
    "2025-06-18": "sdk-2025-06-18",
    "2025-11-25": "@modelcontextprotocol/sdk",
}
"""The newest revision that a release speaks, and what it is called in package.json."""


def installed() -> Path | None:
    """Return the folder that the locked releases are installed in, None if they are not."""
    return npm.installed(HERE, NAME)


def server(transport: str, revision: str = "2025-11-25") -> list[str] | None:
    """Return the command that runs a server, None if Node or the releases are not installed.

    Args:
        transport: stateful, stateless, sse or stdio.
        revision: the newest one that it speaks.
    """
    folder, node = installed(), shutil.which("node")
    if folder is None or node is None:
        return None
    return [node, str(HERE / "server.mjs"), str(folder), RELEASES[revision], transport]


def install() -> str:
    """Install the locked releases if they are not there; return what went wrong, or nothing."""
    return npm.install(HERE, NAME)


if __name__ == "__main__":
    if wrong := install():
        print(f"The TypeScript SDK could not be installed, so its tests will be skipped: {wrong}", file=sys.stderr)  # noqa: T201  # a program
    sys.exit(bool(wrong))
