"""Servers of the official TypeScript SDK, one release for each revision of the protocol, for tests that need real ones.

`python -m tests.lab.typescript_sdk` installs the pinned releases with npm, once for each lock, outside the repository.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).with_name("typescript")
RELEASES = {
    "2025-03-26": "sdk-2025-03-26",
    "2025-06-18": "sdk-2025-06-18",
    "2025-11-25": "@modelcontextprotocol/sdk",
}
"""The newest revision that a release speaks, and what it is called in package.json."""


def installed() -> Path | None:
    """Return the folder that the locked releases are installed in, None if they are not."""
    folder = _folder()
    return folder if (folder / "installed").exists() and shutil.which("node") else None


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


def _folder() -> Path:
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mcp-soar" / f"typescript-sdk-{lock}"


def install() -> str:
    """Install the locked releases if they are not there; return what went wrong, or nothing."""
    npm = shutil.which("npm")
    if installed():
        return ""
    if npm is None or shutil.which("node") is None:
        return "npm is not installed"
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Put in place as a whole: two that install at once do not meet.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="installing-") as made:
        for file in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / file, made)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603  # pinned
        if done.returncode:
            return done.stderr.strip()[-500:] or f"npm ci ended with {done.returncode}"
        (Path(made) / "installed").touch()
        if not folder.exists():
            shutil.copytree(made, folder, symlinks=True)
    return ""


if __name__ == "__main__":
    if wrong := install():
        print(f"The TypeScript SDK could not be installed, so its tests will be skipped: {wrong}", file=sys.stderr)  # noqa: T201  # a program
    sys.exit(bool(wrong))
