"""`mcp-soar demo`: break into a small MCP estate and contain it."""

import argparse
import sys

from flows.demo import kept
from flows.demo.play import play
from flows.demo.screen import Screen
from flows.service.settings import Configuration


def run(*, keep: bool = False, release: bool = False, kubernetes: bool = False, image: str = "") -> int:
    """Show the demonstration and return the exit status.

    Args:
        keep: leave everything running until Ctrl-C.
        release: go on until everything is as it was before.
        kubernetes: show the one on a cluster, which is released in any case.
        image: by its digest, what runs there; empty for that of a cluster of our own.
    """
    if kubernetes:
        # What asks a cluster takes seconds to import.
        from flows.demo.cluster import play_on_cluster  # noqa: PLC0415

        return play_on_cluster(Screen(), image=image, keep=keep)
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
    parser.add_argument("--kubernetes", action="store_true", help="show a server's compromise, on a cluster")
    parser.add_argument("--image", default="", help="with --kubernetes: what runs on your own cluster, by its digest")
    sys.exit(run(**vars(parser.parse_args())))
