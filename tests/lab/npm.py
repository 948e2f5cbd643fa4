"""Packages of npm that tests need, as they are locked: installed once for each lock, outside the repository."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.lab.cache import place


def folder_of(here: Path, name: str) -> Path:
    """Return the folder that a lock's packages belong into.

    Args:
        here: where package.json and its lock are.
        name: what the folder is called, before the lock's digest.
    """
    return place(name, (here / "package-lock.json").read_bytes())


def installed(here: Path, name: str) -> Path | None:
    """Return the folder that a lock's packages are installed in, None if they are not."""
    folder = folder_of(here, name)
    return folder if (folder / "installed").exists() and shutil.which("node") else None


def install(here: Path, name: str) -> str:
    """Install a lock's packages if they are not there; return what went wrong, or nothing."""
    npm = shutil.which("npm")
    if installed(here, name):
        return ""
    if npm is None or shutil.which("node") is None:
        return "npm is not installed"
    folder = folder_of(here, name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Put in place as a whole: two that install at once do not meet.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="installing-") as made:
        for file in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(here / file, made)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603  # pinned
        if done.returncode:
            return done.stderr.strip()[-500:] or f"npm ci ended with {done.returncode}"
        (Path(made) / "installed").touch()
        if not folder.exists():
            shutil.copytree(made, folder, symlinks=True)
    return ""
