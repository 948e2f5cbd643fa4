"""Environments of other programs, each of its own lock, installed once outside the checkout."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.cache import place

_LOCKS: Final = Path(__file__).resolve().parents[2] / "requirements"


@dataclass(frozen=True)
class Environment:
    """What is installed from one lock.

    Args:
        name: of the lock, `requirements/NAME.txt`.
        oldest: the Python that it takes at least.
        within: seconds that installing it may take.
    """

    name: str
    oldest: tuple[int, int]
    within: float = 600

    @property
    def folder(self) -> Path:
        """Where it is; another lock is installed beside it."""
        return place(self.name, self._lock.read_bytes())

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    @property
    def _lock(self) -> Path:
        return _LOCKS / f"{self.name}.txt"

    def install(self) -> str:
        """Install it if it is not there; return what went wrong, or nothing."""
        if (self.folder / "installed").exists():
            return ""
        python = next(filter(self._usable, _pythons()), None)
        if python is None:
            return f"there is no Python {'.'.join(map(str, self.oldest))} or newer with its venv module"
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # Put in place as a whole: two that install at once do not meet. It is run as a module, so no path is in it.
        made = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix="installing-"))
        try:
            pip = [str(made / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            for command in (
                [python, "-m", "venv", str(made)],
                [*pip, "--no-deps", "--require-hashes", "-r", str(self._lock)],
            ):
                done = subprocess.run(command, capture_output=True, text=True, timeout=self.within, check=False)  # noqa: S603  # locked
                if done.returncode:
                    return done.stderr.strip()[-500:] or f"{command[0]} ended with {done.returncode}"
            (made / "installed").touch()
            made.rename(self.folder)
        except subprocess.TimeoutExpired:
            return f"{self.name}: it was not installed within {self.within:g} s"
        except OSError:
            if not (self.folder / "installed").exists():  # else another was first
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return ""

    def _usable(self, python: str) -> bool:
        asked = f"import ensurepip, sqlite3, ssl, sys; sys.exit(sys.version_info < {self.oldest})"
        return subprocess.run([python, "-c", asked], capture_output=True, check=False).returncode == 0  # noqa: S603  # found by us


def _pythons() -> Iterator[str]:
    yield sys.executable
    for minor in (11, 12, 13, 14):
        if found := shutil.which(f"python3.{minor}"):
            yield found
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(root.glob("versions/*/bin/python3")))
