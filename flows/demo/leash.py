"""Runs a command until it ends or standard input closes: started by `processes.child`, never imported.

Its first argument is how many seconds the command may take to end by itself, the others are the command.
"""

import os
import subprocess
import sys
import threading


def main() -> int:
    """Run the command given as arguments and return its exit status."""
    process = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)  # noqa: S603  # what our own parent gave us

    def hold() -> None:
        # Not sys.stdin: its lock, held here while the process ends, would abort the interpreter.
        while os.read(0, 4096):
            pass
        process.terminate()
        try:
            process.wait(timeout=float(sys.argv[1]))
        except subprocess.TimeoutExpired:
            process.kill()

    threading.Thread(target=hold, daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
