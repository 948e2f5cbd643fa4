"""Builds the tests' Kubernetes and its node from their Go modules, once for each version, outside the checkout.

As a program it says what went wrong, and `make test` goes on: then the tests of it are skipped, with their number.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.cache import place

HERE = Path(__file__).parent / "modules"
MODULES: dict[str, tuple[str, ...]] = {
    "kubernetes": (".",),
    "node": (
        "github.com/containerd/containerd/v2/cmd/containerd",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        "github.com/containerd/containerd/v2/cmd/ctr",
        "github.com/containernetworking/plugins/plugins/ipam/host-local",
        "github.com/containernetworking/plugins/plugins/main/bridge",
        "github.com/containernetworking/plugins/plugins/main/loopback",
    ),
    "runc": ("github.com/opencontainers/runc",),
}
"""The packages of each module that are built; each is a program of that name."""

_WITHIN = 3600.0
"""Seconds for building one; on two processors Kubernetes takes five minutes, the rest two."""


def _sources(module: str) -> list[Path]:
    return sorted(path for path in (HERE / module).iterdir() if path.is_file())


def folder() -> Path:
    """Return where the programs are kept, by what they are built from."""
    sources = repr(MODULES).encode() + b"".join(path.read_bytes() for module in MODULES for path in _sources(module))
    return place("kubernetes", sources)


def programs() -> Path | None:
    """Return the folder of the programs; None if they were not all built."""
    found = folder()
    return found if (found / "complete").is_file() else None


def build() -> str:
    """Build what is not there; return what went wrong, or nothing."""
    if programs() is not None:
        return ""
    go = shutil.which("go")
    if go is None:
        return "go is not installed"
    where = folder()
    where.parent.mkdir(parents=True, exist_ok=True)
    # Put in place as a whole: two that build at once do not meet.
    with tempfile.TemporaryDirectory(dir=where.parent, prefix="building-") as made:
        out = Path(made) / "programs"
        out.mkdir()
        for module, packages in MODULES.items():
            if wrong := _built(go, module, packages, Path(made) / module, out):
                return f"{module}: {wrong}"
        (out / "complete").touch()
        if not where.exists():
            out.rename(where)
    return ""


def _built(go: str, module: str, packages: tuple[str, ...], copy: Path, out: Path) -> str:
    shutil.copytree(HERE / module, copy)
    target = str(out / module) if packages == (".",) else str(out)
    # What a kubelet asks for of a pod takes runc with seccomp, and so libseccomp's headers.
    command = [go, "build", "-mod=readonly", "-tags=seccomp", "-ldflags=-s -w", f"-o={target}", *packages]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=_WITHIN, check=False)  # noqa: S603  # pinned
    return (done.stderr.strip()[-500:] or f"go build ended with {done.returncode}") if done.returncode else ""


if __name__ == "__main__":
    if wrong := build():
        print(f"Kubernetes could not be built, so its tests will be skipped: {wrong}", file=sys.stderr)  # noqa: T201  # a program
    sys.exit(bool(wrong))
