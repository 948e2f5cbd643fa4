"""`watch`: on a real pseudo-terminal, without one, and as lines of JSON; and progress, which only a terminal gets."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.cli.output import moment
from flows.cli.work.watch import Board, lines
from flows.service.access import open_journal
from integrations.journal.store import Journal
from playbooks.gate.plan import Answer
from playbooks.record.journal import Event
from playbooks.strict import now
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation

WITHIN = 60.0
SECOND = "inc-2026-000002"


@dataclass
class Terminal:
    """A command on a terminal of its own.

    Args:
        process: the command.
        master: the terminal's other side.
    """

    process: "subprocess.Popen[bytes]"
    master: int
    text: str = ""
    _marks: list[int] = field(default_factory=list)

    def until(self, words: str) -> None:
        """Read until the terminal has shown something, since the last time that something was waited for."""
        start = self._marks[-1] if self._marks else 0
        limit = time.monotonic() + WITHIN
        while words not in self.text[start:]:
            assert time.monotonic() < limit, self.text[-2000:]
            self._read()
        self._marks.append(len(self.text))

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 0.2)[0]:
            return True
        with contextlib.suppress(OSError):
            if data := os.read(self.master, 65536):
                self.text += data.decode(errors="replace")
                return True
        return False

    def ended(self) -> int:
        """Read to the end and return the exit code."""
        limit = time.monotonic() + WITHIN
        while self.process.poll() is None and time.monotonic() < limit:
            self._read()
        while select.select([self.master], [], [], 0)[0] and self._read():
            pass
        return self.process.wait(WITHIN)

    def type(self, text: bytes) -> None:
        """Press keys."""
        os.write(self.master, text)


@contextlib.contextmanager
def terminal(
    site: Installation, *words: str, rows: int = 24, columns: int = 80, only_stderr: bool = False
) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    environment |= {"MCP_SOAR_CONFIG": str(site.folder), "TERM": "xterm-256color"}
    process = subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "flows.cli.main", *words],
        stdin=slave,
        stdout=subprocess.DEVNULL if only_stderr else slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    shown = Terminal(process, master)
    try:
        yield shown
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(slave)
        os.close(master)


def contained(site: Installation, **more: Any) -> None:  # noqa: ANN401  # of append
    site.append(*(make() for make in world.CONTAINED), **more)


def test_on_a_terminal_it_follows_what_happens_and_ends_on_q(site: Installation) -> None:
    contained(site)
    with terminal(site, "watch") as shown:
        shown.until(ID)
        assert "contained" in shown.text
        attributes = termios.tcgetattr(shown.master)

        site.append(world.opened(), world.alert(), world.proposed(), incident=SECOND, correlation="two")
        shown.until("waits for a decision until")

        site.append(world.verified(Answer.NOT_ESTABLISHED, "it answered"))
        shown.until("NOT contained")

        shown.type(b"q")
        assert shown.ended() == 0
        # The alternate screen is left and the keyboard is as it was.
        assert "\x1b[?1049l" in shown.text
        assert not attributes[3] & termios.ICANON
        assert termios.tcgetattr(shown.master)[3] & termios.ICANON
    assert "\x1b]0" not in shown.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order_on_a_signal(site: Installation, number: signal.Signals) -> None:
    contained(site)
    with terminal(site, "watch") as shown:
        shown.until(ID)
        os.kill(shown.process.pid, number)
        assert shown.ended() == 0
        assert "\x1b[?1049l" in shown.text
        assert termios.tcgetattr(shown.master)[3] & termios.ICANON


def test_without_a_terminal_it_shows_what_there_is_and_ends(site: Installation) -> None:
    contained(site)
    shown = site.run("watch")
    assert shown.exit_code == 0
    assert ID in shown.stdout
    assert "1 contained" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80


def test_as_json_each_change_is_a_line_until_it_is_interrupted(site: Installation) -> None:
    contained(site)
    (first,) = [json.loads(line) for line in site.run("watch", "--json", "--once").stdout.splitlines()]
    assert (first["change"], first["id"], first["incident"]["status"]) == ("open", ID, "contained")

    command = [sys.executable, "-m", "flows.cli.main", "watch", "--json", "--config", str(site.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own program
        assert process.stdout is not None

        def line() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(process.stdout.readline())  # type: ignore[union-attr]  # it is a pipe
            return found

        assert line()["change"] == "open"
        site.append(world.proposed())
        changed = line()
        assert (changed["change"], changed["incident"]["asks"]) == ("changed", 1)
        with site.responder():
            site.json("stop", "everything", "--reason", "wait", "--as", "kim")
        stopped = line()
        assert (stopped["change"], stopped["stops"][0]["scope"]) == ("stops", "everything")
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN) == 0


async def test_of_two_hundred_incidents_only_the_one_that_changed_is_read(site: Installation) -> None:
    await asyncio.to_thread(contained, site)
    journal = await open_journal(site.config, name="test", writing=True)
    for number in range(2, 201):
        await world.append_to(journal, f"inc-2026-{number:06}", [world.opened()], str(number))
    view = Board(journal, site.config)
    assert len(await view.look()) == 200
    assert (await view.look(), view.read) == ([], 200)

    await world.append_to(journal, "inc-2026-000100", [world.proposed()])
    assert (await view.look(), view.read) == ([("changed", "inc-2026-000100")], 201)

    await journal.submit(lambda tx: tx.close_stream("incident/inc-2026-000100"))
    assert (await view.look(), view.read) == ([("closed", "inc-2026-000100")], 201)

    busy = time.process_time()
    for _ in range(20):
        await view.look()
    # A look takes 8 ms of processor time on an idle machine: less than 1 % of the second until the next.
    assert (time.process_time() - busy) / 20 < 0.1
    shown = lines(view, now() + timedelta(hours=1), 24)
    assert len(shown) <= 24
    assert shown[1][0].startswith("inc-2026-000200")
    assert shown[-1][0] == "and 188 more: `mcp-soar incidents`"
    await journal.aclose()


async def test_what_somebody_must_do_comes_first_and_a_damaged_journal_above_all(site: Installation) -> None:
    await asyncio.to_thread(contained, site)
    journal: Journal = await open_journal(site.config, name="test", writing=True)
    await world.append_to(journal, SECOND, [world.opened(), world.proposed()], "two")
    await world.append_to(journal, "inc-2026-000003", [world.opened()], "three")
    await journal.submit(lambda tx: tx.freeze("incident/inc-2026-000003", "an entry is missing"))
    view = Board(journal, site.config)
    await view.look()
    order = [row.id for row in view.worst_first()]
    await journal.aclose()
    assert order == ["inc-2026-000003", SECOND, ID]
    text = "\n".join(text for text, _ in lines(view, now(), None, "the database does not answer"))
    assert "FROZEN" in text
    assert "OLD: the database does not answer" in text


async def test_what_a_law_wants_reported_is_shown_until_when(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever looks here and whoever runs the command below find the same configuration by themselves.
    monkeypatch.setenv("MCP_SOAR_CONFIG", str(site.folder))
    await asyncio.to_thread(site.append, world.opened())
    (site.folder / "inventory.yaml").write_text(world.BOUND, encoding="utf-8")
    journal = await open_journal(site.config, name="test", writing=True)
    view = Board(journal, site.config)
    await view.look()
    first = view.rows[ID].clocks[0]
    until = moment(first.until)
    for hours, said in ((23, f"report nis2-early-warning until {until}"), (25, f"nis2-early-warning OVERDUE {until}")):
        assert any(said in text for text, _ in lines(view, now() + timedelta(hours=hours), None))
    fulfilled = {"clock": first.id, "by": "kim", "text": "told them"}
    await world.append_to(journal, ID, [Event("fulfilled", fulfilled)])
    await view.look()
    await journal.aclose()
    assert first.id not in [clock.id for clock in view.rows[ID].clocks]
    assert "report nis2-early-warning" not in "".join(text for text, _ in lines(view, now(), None))
    (line,) = (await asyncio.to_thread(site.run, "watch", "--once", "--json")).stdout.splitlines()
    assert json.loads(line)["incident"]["clocks"] == view.rows[ID].dump()["clocks"]


@pytest.mark.parametrize("what", ["verify", "backup", "restore"])
def test_long_work_shows_how_far_it_is_on_a_terminals_stderr_only(
    site: Installation, tmp_path: Path, what: str
) -> None:
    contained(site)
    file = tmp_path / "b.tar"
    if what == "restore":
        site.json("backup", str(file))
    words = {
        "verify": ["verify"],
        "backup": ["backup", str(file)],
        "restore": ["restore", str(file), "--into", str(tmp_path / "r")],
    }[what]
    with terminal(site, *words, only_stderr=True) as shown:
        assert shown.ended() == 0
    assert "100%" in shown.text
    made = {"backup": file, "restore": tmp_path / "r"}.get(what)
    if made is not None:
        made.rename(tmp_path / "aside")
    again = site.run(*words)
    assert (again.exit_code, "%" in again.stderr) == (0, False)
