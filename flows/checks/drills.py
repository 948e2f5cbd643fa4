"""Drills: every playbook is played on an estate of its own, and how long it took is kept, run after run.

The estate is made for it and ended with it: a real gateway and a real server on loopback, the demonstration's, and a
cluster and an identity provider where a drill is about one. It is given nothing of this installation: no configuration,
no key, no address, so that nothing else can be touched. A drill is a test of its playbook and lies in the source, so it
is played where that is checked out.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from flows.checks.inspection import Ask, Inspection
from flows.service.settings import Configuration
from integrations.hostile import printable
from integrations.protocol.client import deadline
from playbooks import playbook
from playbooks.action import World
from playbooks.errors import Transient
from playbooks.measured import Measured, Took
from playbooks.playbook import Playbook
from playbooks.record.check import Found
from playbooks.record.figure import Figure
from playbooks.strict import parse_yaml
from playbooks.taxonomy import IncidentClass, Severity

ROOT = Path(__file__).resolve().parents[2]
"""Where the source is, with its drills' player beside it."""

_PLAYER: Final = Path("tests") / "contract" / "test_playbooks.py"
# What a shell starts in the background ignores SIGINT, and so would what it starts: nothing would end a drill in order.
_PLAYS: Final = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
)
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
"""What a drill gets of our environment: anything else may be a secret, or lead to what is no drill's."""

_PASSED, _FAILED, _NONE = 0, 1, 5
"""What pytest ends with: all passed, some failed, none was chosen."""

_WITHIN: Final = 540.0
"""Seconds for the drills of one playbook: whoever waits for all of them hears of it by then."""

_TIDYING: Final = 60.0
"""Seconds that drills which are given up have to end what they started."""

_LONG: Final = 300


def _left_out(config: Configuration) -> dict[str, str]:
    why = ""
    if not (ROOT / _PLAYER).is_file():
        why = "drills are played where mcp-soar's source is checked out, and here it is installed without"
    elif importlib.util.find_spec("pytest") is None:
        why = "what plays drills is not installed: `make .venv/installed` in the source installs it"
    elif not (ROOT / ".venv-gateway").exists():
        why = "the gateway that drills are played on is not installed: `make .venv-gateway/installed` in the source"
    return dict.fromkeys(_pieces(config, None), why) if why else {}


def _pieces(_config: Configuration, _world: World | None) -> Mapping[str, Ask]:
    # One after the other: side by side, each would be measured as slow as all of them.
    turns = asyncio.Lock()
    return {f"playbook {book.id}": partial(_played, book, turns) for book in playbook.shipped().values()}


async def _played(book: Playbook, turns: asyncio.Lock) -> Sequence[Found | Figure]:
    """Play a playbook's drills, and return what went otherwise than they say, and how long it took.

    Raises:
        Transient: one could not be played.
    """
    async with turns, deadline(_WITHIN, "its drills"):
        with tempfile.TemporaryDirectory(prefix="mcp-soar-drill-") as folder:
            code, said = await _run(book, Path(folder))
            failed, skipped, played = _outcome(Path(folder) / "outcome.xml")
            took = _took(Path(folder) / "measured.yaml", book)
    if code not in {_PASSED, _FAILED} or not played:
        why = skipped[0] if skipped else _first(said[-_LONG:]) or f"it ended with {code}"
        raise Transient(f"it was not played: {why}")
    found: list[Found | Figure] = [_otherwise(book, one) for one in failed]
    found += [Figure(f"{book.id}, {name}", seconds) for name, seconds in _figures(took)]
    longest = max((seconds for _, seconds in _figures(took)), default=0.0)
    if longest > book.goals.verified:
        found.append(_late(book, longest))
    if skipped and not failed:
        # What was played is kept; that the rest was not is said.
        found.append(_in_part(book, skipped))
    return found


async def _run(book: Playbook, folder: Path) -> tuple[int, str]:
    environment = {name: value for name in _KEPT if (value := os.environ.get(name)) is not None}
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    # What was fetched for drills before is found; nobody's keys and settings are.
    environment |= {"HOME": str(folder), "XDG_CACHE_HOME": cache, "MCP_SOAR_MEASURED": str(folder / "measured.yaml")}
    nice = [found, "-n", "19"] if (found := shutil.which("nice")) else []
    command = [*nice, sys.executable, "-c", _PLAYS, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(_PLAYER)]
    command += ["-k", f"test_its_drill_succeeds and {book.id}", f"--junitxml={folder / 'outcome.xml'}"]
    command += [f"--basetemp={folder / 'made'}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = await process.communicate()
    except asyncio.CancelledError:
        os.killpg(process.pid, signal.SIGINT)
        await asyncio.wait({ended := asyncio.ensure_future(process.wait())}, timeout=_TIDYING)
        with contextlib.suppress(ProcessLookupError):
            # What is left of it, and of all that it started.
            os.killpg(process.pid, signal.SIGKILL)
        await ended
        raise
    return process.returncode or 0, said.decode(errors="replace")


def _outcome(file: Path) -> tuple[list[str], list[str], int]:
    """Return which drills failed and which were skipped, each with the reason, and how many were played."""
    failed, skipped, played = list[str](), list[str](), 0
    try:
        cases = list(ET.parse(file).iter("testcase"))  # noqa: S314  # written by our own drills
    except (OSError, ET.ParseError):
        return failed, skipped, played
    for case in cases:
        name = case.get("name", "").partition("[")[2].removesuffix("]") or case.get("name", "")
        wrong = [one for kind in ("failure", "error") for one in case.iter(kind)]
        missing = list(case.iter("skipped"))
        why = _first((wrong or missing)[0].get("message") or "") if wrong or missing else ""
        failed += [f"{name}: {why}"] if wrong else []
        skipped += [f"{name}: {why}"] if missing else []
        played += 0 if missing else 1
    return failed, skipped, played


def _first(said: str) -> str:
    return printable(next(iter(said.strip().splitlines()), ""), _LONG)


def _took(file: Path, book: Playbook) -> Took | None:
    if not file.is_file():
        return None
    return parse_yaml(Measured, file.read_text(encoding="utf-8"), file=str(file)).playbooks.get(book.id)


def _figures(took: Took | None) -> list[tuple[str, float]]:
    """Return the verified times to contain, and that until people are asked."""
    named = {"automatic": "contained", "asked": "asked", "agreed": "contained after the yes"}
    some = [(said, getattr(took, name)) for name, said in named.items()] if took else []
    return [(said, seconds) for said, seconds in some if seconds is not None]


def _found(book: Playbook, what: str, observed: str, *, expected: str, severity: Severity, remedy: str) -> Found:
    subject = f"playbook {book.id}"
    return Found(
        id=f"{subject}/{what}",
        subject=subject,
        what=what,
        expected=expected,
        observed=observed,
        severity=severity,
        incident_class=IncidentClass.INSECURE_CONFIGURATION,
        remedy=remedy,
        state=f"{subject}\n{what}",
        rule=f"Drill: {what}"[:200],
        # Nobody is attacked: who reads the check's page mends it.
        tells=False,
    )


def _otherwise(book: Playbook, said: str) -> Found:
    name, _, why = said.partition(": ")
    remedy = f"play it yourself, in the source: pytest {_PLAYER} -k {book.id}"
    observed = f"failed: {why}"
    return _found(book, f"its drill {name}", observed, expected="as it says", severity=Severity.HIGH, remedy=remedy)


def _late(book: Playbook, longest: float) -> Found:
    expected, remedy = f"{book.goals.verified:g} s at most", "see what it waits for, or mend the playbook's goals"
    observed = f"{longest:g} s"
    return _found(book, "time to contain", observed, expected=expected, severity=Severity.MEDIUM, remedy=remedy)


def _in_part(book: Playbook, skipped: Sequence[str]) -> Found:
    said, remedy = f"{len(skipped)} not played: {skipped[0]}", "install what is missing, and play them again"
    return _found(book, "its drills", said, expected="all played", severity=Severity.LOW, remedy=remedy)


CHECK = Inspection(
    name="drills",
    key="drills",
    title="Drills",
    looks="play every playbook's drills",
    about=(
        "Play every playbook's drills on an estate that is made for it and ended with it, and keep how long each took "
        "until it was verified that nobody gets through. Nothing of this installation is touched.\n\nRed means that a "
        "playbook did not come to what its drill says, or that it could not be played."
    ),
    good="as they should go, as far as they were played",
    against="how they should go",
    to_do="mend the playbook or what it acts by, then play again with `mcp-soar check drills`.",
    pieces=_pieces,
    left_out=_left_out,
    within=2 * _WITHIN * len(IncidentClass),
    here=True,
)
