"""`mcp-soar demo`: break into a small MCP estate and contain it."""

import argparse
import sys

from flows.demo import kept
from flows.demo.play import play
from flows.demo.screen import Screen
from flows.settings import Configuration


def run(*, keep: bool = False, release: bool = False) -> int:
    """Show the demonstration and return the exit status.

    Args:
        keep: leave everything running until Ctrl-C.
        release: go on until everything is as it was before.
    """
    return play(Screen(), keep=keep, release=release)


def heal(config: Configuration) -> None:
    """Have the server of a demonstration that runs behave again.

    Args:
        config: the demonstration's.
    """
    kept.heal(config, Screen())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Break into a small MCP estate and contain it.")
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument("--release", action="store_true", help="go on until everything is as it was before")
    sys.exit(run(**vars(parser.parse_args())))
