"""The tests' cluster as a program, for whoever shows something on it: `python -m tests.cluster.running FOLDER`.

It builds what is not there, writes `kubeconfig` and `image`, what runs there, into the folder, and ends when told.
"""

import signal
import sys
from pathlib import Path

from tests.cluster import build
from tests.cluster.cluster import kubernetes
from tests.cluster.node import lacking


def run(folder: Path) -> str:
    """Run a cluster until SIGTERM; return why there is none."""
    if missing := lacking() or build.build():
        return missing
    programs = build.programs()
    if programs is None:
        return "it is not built"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with kubernetes(programs) as running:
        (folder / "image").write_text(running.probe)
        made = folder / "kubeconfig.made"
        made.touch(mode=0o600)
        made.write_text(running.kubeconfig())
        made.rename(folder / "kubeconfig")
        while True:
            signal.pause()


if __name__ == "__main__":
    if why := run(Path(sys.argv[1])):
        sys.exit(f"no cluster of our own: {why}")
