"""A part of `mcp-soar up`, as a process."""

import subprocess
import sys

_SCRIPT = """\
import gc
from flows.service import part
part.settle()
before, looks = gc.get_freeze_count(), gc.get_stats()[2]["collections"]
kept = [[n] for n in range(100_000)]
print(before > 10_000, gc.get_stats()[2]["collections"] - looks, gc.isenabled())
"""


def test_what_a_part_is_made_of_is_not_looked_at_again_for_garbage() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], check=True, capture_output=True, text=True)  # noqa: S603  # ours
    assert done.stdout.split() == ["True", "0", "True"]
