"""A benchmark says of each of its targets whether it was reached."""

import json
from pathlib import Path

import pytest

from tests.bench import bench_checks, bench_cli, bench_cluster
from tests.bench.bench_flood import Flood, growth
from tests.bench.bench_journal import results
from tests.bench.bench_response import Times
from tests.bench.targets import COMMANDS, FROM_A_CONTAINER, IN_BUCKET, PHASES, SMALL, TARGETS, peak, reached

BARE = {"(a) bare beside sqlite first_effect p50 ms": 30.0, "(b) bare probing verified max ms": 6000.0}


@pytest.mark.parametrize(
    ("figure", "value", "target", "answer"),
    [
        ("(a) sqlite first_effect p50 ms", 52.5, "<= 1.75 x (a) bare beside sqlite first_effect p50 ms", "yes"),
        ("(a) sqlite first_effect p50 ms", 52.6, "<= 1.75 x (a) bare beside sqlite first_effect p50 ms", "no"),
        ("(e) flood postgresql answer p99 ms", 250.0, "<= 250", "yes"),
        ("(e) flood postgresql answer p99 ms", 250.1, "<= 250", "no"),
        ("(b) postgresql verified max ms", 9000.0, "<= 1.5 x (b) bare probing verified max ms", "yes"),
        ("(b) postgresql verified max ms", 9001.0, "<= 1.5 x (b) bare probing verified max ms", "no"),
        ("journal sqlite appends/s", 5000.0, ">= 5000", "yes"),
        ("journal sqlite appends/s", 4999.0, ">= 5000", "no"),
    ],
)
def test_a_target_is_reached_or_not(figure: str, value: float, target: str, answer: str) -> None:
    assert reached({**BARE, figure: value})[f"reached: {figure} {target}"] == answer


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    assert reached({}) == {}
    assert list(reached({"(e) flood sqlite answer p50 ms": 15.0, "(a) sqlite first_effect p50 ms": 50.0})) == [
        "reached: (e) flood sqlite answer p50 ms <= 20",
    ]


def test_every_target_is_about_a_figure_that_is_measured() -> None:
    times = Times(first_effect=[0.1, 0.2], verified=[0.3, 0.4])
    measured = {name for kind in ("(b) bare", "(b) bare probing") for name in times.figures(kind)}
    measured |= {
        name
        for store in ("sqlite", "postgresql")
        for kind in (f"(a) bare beside {store}", f"(a) {store}", f"(b) {store}")
        for name in times.figures(kind)
    }
    measured |= {f"journal {store} {name}" for store in ("sqlite", "postgresql") for name in ("appends/s", "verify s")}
    flood = Flood(times, [0.1, 0.2], lost=0, refused=0, drained=0, incidents=1, shown=0.5, memory={})
    for store in ("sqlite", "postgresql"):
        measured |= {*times.figures(f"(e) calm {store}"), *flood.figures(f"(e) flood {store}"), *growth(store, 1, 2)}
    turn = {"s": 1.0, "processor s": 1.0, "peak MB": 1.0}
    measured |= {*bench_checks.figures({(what, n): [turn] for what in ("bare", "ours") for n in (100, 1000)})}
    measured |= {bench_cli.figure(words) for words in ("--help", *COMMANDS)}
    one_at_a_time, at_once = bench_cluster.figures(times, times), bench_cluster.figures(times, times, " burst")
    measured |= {*one_at_a_time, *at_once}
    measured |= {name for what in FROM_A_CONTAINER for name in bench_cluster.kept(what, 1.0, 1.0)}
    measured |= {SMALL, *map(peak, PHASES), *(peak(phase, bucket=True) for phase in IN_BUCKET)}
    assert {name for target in TARGETS for name in (target.figure, target.of) if name} <= measured


def test_the_file_of_results_says_it_once_both_figures_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    results({"(a) bare beside sqlite first_effect p50 ms": 31.0}, str(file))
    assert not any(name.startswith("reached") for name in json.loads(file.read_text()))
    results({"(a) sqlite first_effect p50 ms": 65.0}, str(file))
    found = json.loads(file.read_text())
    assert found["reached: (a) sqlite first_effect p50 ms <= 1.75 x (a) bare beside sqlite first_effect p50 ms"] == "no"
    assert found["(a) bare beside sqlite first_effect p50 ms"] == 31.0
    shown = capsys.readouterr().out
    assert "reached: (a) sqlite first_effect p50 ms <= 1.75 x (a) bare beside sqlite first_effect p50 ms: no" in shown
    results({"mcp-soar --help p50 ms": 90.0}, str(file))
    assert "(a) sqlite" not in capsys.readouterr().out, "each is told when it is measured"
