"""What the command line's exit codes mean. An interface: scripts rely on them."""

from enum import IntEnum


class Exit(IntEnum):
    """An exit code."""

    OK = 0
    """Done, and it is as asked; or it now waits for another person, and says so."""
    NO = 1
    """The answer is no: something differs, is not verified, not in effect, or not as it was written."""
    USAGE = 2
    """The command was not understood: an option, an argument or a file given to it is wrong, or --yes is missing where
    there is no terminal to ask at."""
    MISCONFIGURED = 3
    """A file, a key or a permission of this installation is wrong; the message names what to mend."""
    REFUSED = 4
    """The gate, a responder or the remote side said no, and will say no again."""
    UNREACHABLE = 5
    """Something did not answer, or no responder runs; trying again later may help."""
    NOT_FOUND = 6
    """There is no such incident, lease, server, playbook or file; or nothing of it to decide or to give back."""
    ALREADY = 7
    """What was handed in had been handed in before: it counted then, and nothing was done again."""
    FAULT = 70
    """A fault of mcp-soar itself."""
    INTERRUPTED = 130
    """Ended by Ctrl-C."""


HELP = """\b
Exit codes:
  0   done, or it waits for another person now
  1   the answer is no: it differs, is not verified or not in effect
  2   the command was not understood; or it asks, and there is nobody to ask:
      --yes answers
  3   misconfigured: the message names file and line
  4   refused, with the reason
  5   unreachable, or no responder runs: try again later
  6   not found, or nothing of it to decide or to give back
  7   already: it was handed in before, and counted then
  70  a fault of mcp-soar itself
  130 ended by Ctrl-C"""
"""The table as help shows it."""
