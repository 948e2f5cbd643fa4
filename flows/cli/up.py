"""`mcp-soar up`: everything on this machine, until Ctrl-C."""

import asyncio
import sys
from pathlib import Path

from flows.cli.work import playbooks
from flows.service import workers
from flows.service.settings import read
from flows.service.up import up
from playbooks.errors import Misconfigured


def run(folder: Path, *, work: bool = True, only: str = "") -> int:
    """Check a configuration folder, run all parts and return the exit status: 3 if something has to be mended.

    Args:
        folder: made by `mcp-soar init`.
        work: do the work of Prefect's forms and schedules too, as far as the configuration says.
        only: `receiver` or `responder`: run that alone.
    """
    try:
        config = read(folder)
        playbooks.check(folder)
        asyncio.run(up(config, say, pools=workers.wanted(config) if work else (), only=only))
    except Misconfigured as exc:
        sys.stderr.write(f"mcp-soar up: {exc}\n")
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), work="--no-workers" not in sys.argv[2:]))
