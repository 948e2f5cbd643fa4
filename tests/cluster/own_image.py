"""Our own image, without an engine: this Debian's Python, what the lock pins, and this checkout's code; no shell.

As a program it writes it into a file and says by which digest it is called: `make image`.
"""

import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePath

from packaging.requirements import Requirement

from tests.cluster.image import archive

ROOT = Path(__file__).parents[2]
PYTHON = Path("/usr/bin/python3")
NAME = "registry.example/mcp-soar@"
_CODE = ("flows", "integrations", "playbooks")
_SYSTEM = (
    "/etc/nsswitch.conf",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/openssl.cnf",
    "/usr/lib/ssl/openssl.cnf",
    "/usr/share/zoneinfo",
)
_UNUSED = frozenset({"test", "idlelib", "tkinter", "ensurepip", "turtledemo", "lib2to3", "pydoc_data"})
_USER = "soar:x:65532:65532::/tmp:/\n"
_SCRIPTS = {"mcp-soar": "flows.cli.main:main", "prefect": "prefect.cli:app"}


def lacking() -> str:
    """Return what is missing to make it, or nothing."""
    if not Path("/etc/debian_version").exists() or not PYTHON.exists():
        return "it is made of Debian's Python, which is not here"
    theirs = PYTHON.resolve().name.removeprefix("python")
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    return "" if theirs == ours else f"Debian's Python is {theirs}, and ours {ours}"


def write(file: Path) -> str:
    """Write the image, and return what it is called.

    Args:
        file: where.
    """
    runs = {"Env": ["PATH=/usr/local/bin:/usr/bin", "HOME=/tmp"], "User": "65532:65532", "Cmd": ["mcp-soar", "--help"]}
    # Half a gigabyte.
    with tempfile.TemporaryFile(dir=file.parent) as out:
        with tarfile.open(fileobj=out, mode="w") as layer:
            _Layer(layer).fill()
        out.seek(0)
        return archive(file, NAME, runs, out)


def needed() -> list[Distribution]:
    """Return what we need to run, as it is installed here, without what only the tests do."""
    found: dict[str, tuple[Distribution, frozenset[str]]] = {}
    todo = [("mcp-soar", frozenset[str]())]
    while todo:
        name, extras = todo.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found and extras <= found[key][1]:
            continue
        try:
            one = distribution(name)
        except PackageNotFoundError:
            # For another system, or with an extra that the lock leaves out.
            continue
        have = extras | (found[key][1] if key in found else frozenset())
        found[key] = (one, have)
        for written in one.requires or ():
            wanted = Requirement(written)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in {"", *have}):
                todo.append((wanted.name, frozenset(wanted.extras)))
    return [one for key, (one, _) in sorted(found.items()) if key != "mcp-soar"]


class _Layer:
    """A root file system, as it is filled.

    Args:
        out: the tar that it becomes.
    """

    def __init__(self, out: tarfile.TarFile) -> None:
        self._out = out
        self._there: set[str] = set()
        self._loaded: list[Path] = []

    def fill(self) -> None:
        """Put everything in."""
        python = PYTHON.resolve()
        library = Path("/usr/lib") / python.name
        packages = Path("/usr/local/lib") / python.name / "dist-packages"
        for folder in ("dev", "etc", "proc", "sys", "tmp", "given", "srv"):
            self._folder(folder)
        self._text("etc/passwd", _USER)
        self._file(python, python)
        self._link("usr/bin/python3", python.name)
        self._tree(library, library, without=_UNUSED)
        for source, path in _installed():
            self._file(source, packages / path)
        # Which release it is.
        about = "METADATA"
        self._text(
            f"{packages}/mcp_soar.dist-info/{about}".lstrip("/"), distribution("mcp-soar").read_text(about) or ""
        )
        for folder in _CODE:
            self._tree(ROOT / folder, packages / folder)
        self._file(ROOT / "prefect.yaml", packages / "prefect.yaml")
        for name, entry in _SCRIPTS.items():
            module, _, function = entry.partition(":")
            text = f"#!{PYTHON}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
            self._text(f"usr/local/bin/{name}", text, mode=0o755)
        for place in map(Path, _SYSTEM):
            self._tree(place, place)
        for shared in _libraries([python, *self._loaded]):
            self._file(shared.resolve(), shared)

    def _tree(self, source: Path, target: Path, without: frozenset[str] = frozenset()) -> None:
        """Put in a folder, or a file, as far as it is there."""
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            inside = path.relative_to(source)
            if path.is_file() and not without & set(inside.parts):
                self._file(path.resolve(), target / inside)

    def _file(self, source: Path, target: Path) -> None:
        name = str(target).lstrip("/")
        if name in self._there:
            return
        self._there.add(name)
        if source.suffix == ".so":
            self._loaded.append(source)
        # The time stays: by it Python knows whether what it compiled is of this file.
        item = self._out.gettarinfo(str(source), name)
        item.uid = item.gid = 0
        item.uname = item.gname = ""
        item.mode |= 0o444
        # What is a second name of a file here is a file there.
        item.type, item.linkname, item.size = tarfile.REGTYPE, "", source.stat().st_size
        with source.open("rb") as data:
            self._out.addfile(item, data)

    def _text(self, name: str, text: str, mode: int = 0o644) -> None:
        item = tarfile.TarInfo(name)
        item.size, item.mode = len(text.encode()), mode
        self._out.addfile(item, io.BytesIO(text.encode()))

    def _folder(self, name: str) -> None:
        item = tarfile.TarInfo(name)
        item.type, item.mode = tarfile.DIRTYPE, 0o755
        self._out.addfile(item)

    def _link(self, name: str, to: str) -> None:
        item = tarfile.TarInfo(name)
        item.type, item.linkname = tarfile.SYMTYPE, to
        self._out.addfile(item)


def _installed() -> Iterator[tuple[Path, PurePath]]:
    """Yield each file of what we need, and where among packages it belongs; scripts lie elsewhere, and are left out."""
    for one in needed():
        for path in one.files or ():
            if ".." not in path.parts and (source := Path(str(path.locate()))).is_file():
                yield source, path


def _libraries(programs: list[Path]) -> Iterator[Path]:
    """Yield the system's shared libraries that programs load, where the loader looks for them."""
    # Of what was built for another C library it says so, and goes on.
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False)  # noqa: S603, S607  # ours
    yield from sorted({Path(one) for one in re.findall(r"(/(?:usr/)?lib\S*) \(0x", done.stdout)})


if __name__ == "__main__":
    if missing := lacking():
        sys.exit(f"no image: {missing}")
    print(write(Path(sys.argv[1])))  # noqa: T201  # a program
