"""Prints the public half of a key that signs events, for receivers: `python -m integrations.systems.ssf FILE`."""

import argparse
import json
import sys
from pathlib import Path

from integrations.systems.ssf.events import signer
from playbooks.errors import Misconfigured


def main() -> int:
    """Print a JSON Web Key Set; return 2 if the file has no such key."""
    parser = argparse.ArgumentParser(prog="python -m integrations.systems.ssf", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE")
    file: Path = parser.parse_args().file
    try:
        print(json.dumps({"keys": [dict(signer(file.read_text(encoding="utf-8")).public)]}, indent=1))  # noqa: T201
    except (OSError, UnicodeDecodeError, Misconfigured) as exc:
        print(f"{file}: {exc}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
