"""The check `drills`: what it plays gets nothing of the installation, and what came of it is kept with its history."""

import asyncio
import os
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from flows.checks import drills
from flows.checks.drills import CHECK
from flows.checks.running import Run, run
from flows.checks.telling import Told
from flows.pages.checked import page
from playbooks import playbook
from playbooks.record.check import Ran
from playbooks.record.figure import KEPT, Figure, KeptFigure, kept
from playbooks.strict import canonical, now
from tests.flows.checks.test_probing import site
from tests.flows.cli.world import Installation
from tests.flows.test_listener import until

__all__ = ["site"]

PLAYER = '''
import os, time
import pytest

MEASURED = """\
version: 1
on: 2026-12-01
machine: a test's
playbooks:
  tool_poisoning: {automatic: 0.3}
  ide_layer: {asked: 0.1, agreed: 99999}
  data_exfiltration: {automatic: 0.5}
"""


NAMES = "tool_poisoning ide_layer supply_chain server_spoofing data_exfiltration data_exfiltration.cluster".split()


@pytest.mark.parametrize("name", [f"{name}.drill" for name in NAMES])
def test_its_drill_succeeds(name):
    with open(os.environ["MCP_SOAR_MEASURED"], "w") as file:
        file.write(MEASURED)
    with open("seen", "w") as file:
        file.write(repr(sorted(os.environ.items())))
    if name in ("supply_chain.drill", "data_exfiltration.cluster.drill"):
        pytest.skip("Kubernetes is not built")
    assert name != "server_spoofing.drill", "the tool is still called"
'''


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the source be a folder with a player of a test's own."""
    root = tmp_path / "source"
    (root / "tests" / "contract").mkdir(parents=True)
    (root / ".venv-gateway").mkdir()
    (root / "tests" / "contract" / "test_playbooks.py").write_text(PLAYER)
    (root / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.setattr(drills, "ROOT", root)
    some = ("tool_poisoning", "ide_layer", "supply_chain", "server_spoofing", "data_exfiltration", "tool_misuse")
    books = {one.id: one for one in playbook.shipped().values()}
    monkeypatch.setattr(playbook, "shipped", lambda: {name: books[name] for name in some})
    return root


async def test_what_failed_was_late_or_could_not_be_played_is_told_apart(
    site: Installation, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "hunter2")
    monkeypatch.setenv("KUBECONFIG", "/home/kim/.kube/config")
    monkeypatch.setenv("MCP_SOAR_CONFIG", str(site.folder))
    done = await run(CHECK, site.config)
    assert {(one.subject, one.what, one.observed) for one in done.found} == {
        ("playbook server_spoofing", "its drill server_spoofing.drill", one_of(done, "server_spoofing")),
        ("playbook ide_layer", "time to contain", "99999 s"),
        (
            "playbook data_exfiltration",
            "its drills",
            one_of(done, "data_exfiltration"),
        ),
    }
    assert "the tool is still called" in one_of(done, "server_spoofing")
    assert "Kubernetes is not built" in one_of(done, "data_exfiltration")
    assert [piece for piece, _ in done.unknown] == ["playbook supply_chain", "playbook tool_misuse"]
    assert "Kubernetes is not built" in dict(done.unknown)["playbook supply_chain"]
    assert {one.what: one.seconds for one in done.figures} == {
        "tool_poisoning, contained": 0.3,
        "ide_layer, asked": 0.1,
        "ide_layer, contained after the yes": 99999,
        "data_exfiltration, contained": 0.5,
    }
    seen = (source / "seen").read_text()
    assert "hunter2" not in seen
    assert "KUBECONFIG" not in seen
    assert str(site.folder) not in seen
    assert str(Path.home()) + "'" not in seen, "where people's keys are"
    ran = done.ran("schedule", None)
    assert Ran.model_validate_json(canonical(ran.model_dump(mode="json"))) == ran
    assert "contained | 0.3 s |" in page(CHECK, ran, Told("", ""))


def one_of(done: Run, book: str) -> str:
    (found,) = (one.observed for one in done.found if one.subject == f"playbook {book}")
    return found


async def test_where_the_source_is_not_there_nothing_is_played_and_that_is_said(
    site: Installation, source: Path
) -> None:
    (source / ".venv-gateway").rmdir()
    done = await run(CHECK, site.config)
    assert len(done.left_out) == done.pieces
    assert "make .venv-gateway/installed" in done.left_out[0][1]
    (source / "tests" / "contract" / "test_playbooks.py").unlink()
    assert "without" in (await run(CHECK, site.config)).left_out[0][1]
    assert not (source / "seen").exists()


async def test_a_drill_that_takes_too_long_is_unknown(
    site: Installation, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drills, "_WITHIN", 0.05)
    done = await run(CHECK, site.config)
    assert len(done.unknown) == done.pieces
    assert "took longer" in done.unknown[0][1]
    assert not (source / "seen").exists()


async def test_a_drill_that_is_given_up_ends_with_all_that_it_started(site: Installation, source: Path) -> None:
    player = source / "tests" / "contract" / "test_playbooks.py"
    player.write_text(
        "import os, subprocess, time\n"
        "def test_its_drill_succeeds_tool_poisoning():\n"
        "    started = subprocess.Popen(['sleep', '600'])\n"
        "    open('pids.new', 'w').write(f'{os.getpid()} {started.pid}')\n"
        "    os.rename('pids.new', 'pids')\n"
        "    time.sleep(600)\n"
    )
    config = site.config
    ask = drills.CHECK.pieces(config, None)["playbook tool_poisoning"]  # type: ignore[arg-type]  # it reaches nothing
    playing = asyncio.ensure_future(ask())
    await until((source / "pids").exists)
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    for pid in (source / "pids").read_text().split():
        await until(partial(_ended, int(pid)))


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_figure_keeps_its_history_and_stays_as_it_was_where_it_was_not_measured() -> None:
    at, before = now(), tuple[KeptFigure, ...]()
    for number in range(KEPT + 5):
        some = [Figure("a", float(number)), *([Figure("b", 1.0)] if number == 0 else [])]
        before = kept(some, before, at + timedelta(days=number), 200)
    a, b = before
    assert (a.seconds, len(a.earlier), a.earlier[0].seconds) == (KEPT + 4, KEPT, KEPT + 3)
    assert (b.at, b.earlier) == (at, ())
    assert len(a.trend) == KEPT + 1
    assert a.trend[-1] == "█"
    assert kept([Figure("z", 0.0)], (), at, 200)[0].trend == "▁"


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_real_drill_is_played(site: Installation) -> None:
    if not (drills.ROOT / ".venv-gateway").exists():
        pytest.skip("the gateway that drills are played on is not installed")
    found = await drills.CHECK.pieces(site.config, None)["playbook prompt_injection"]()  # type: ignore[arg-type]
    assert [one.what for one in found if isinstance(one, Figure)], found
    assert not [one for one in found if not isinstance(one, Figure)], os.environ.get("PATH")
