"""What the figures of a benchmark have to be, and whether they are. Pure."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

STORES = ("sqlite", "postgresql")

COMMANDS = (
    "incidents",
    "incident 1",
    "leases",
    "watch --once",
    "people",
    "suppressions",
    "handover",
    "report 1 --out report.md --force",
    "verify",
    "inventory check",
    "inventory show",
    "playbooks list",
    "playbooks show tool_poisoning",
    "playbooks lint",
    "message show 2 --notice awaiting_approval",
    "approve 2 --yes --print",
    "release 1 --yes --print",
    "contain tool weather/get_forecast --reason bench --yes --print",
    "respond --class tool_poisoning --tool weather/add --print",
    "stop everything --reason bench --print",
    "plan --class tool_poisoning --server weather --tool get_weather",
    "pins diff weather",
    "doctor",
    "doctor --orphans",
)
"""What a person types who waits for the answer; `bench_cli` measures each."""


FROM_A_CONTAINER = ("files", "log")
"""What a gibibyte of a container is kept of on a cluster; `bench_cluster` measures each in a process of its own."""


def of_a_gibibyte(what: str) -> str:
    """Return what the keeping of a gibibyte of a container's files, or log, is called."""
    return f"{what} of 1 GiB from a container"


SMALL = "evidence: a small exhibit p50 ms"

PHASES = ("capture", "seal", "archive", "verify of the bundle", "verify", "backup", "restore")
"""What a gibibyte of evidence goes through; `bench_evidence` measures each in a process of its own."""


IN_BUCKET = PHASES[:5]
"""Of those, what 256 MiB go through in a bucket; a backup has none of what lies there."""


def phase_of(phase: str, *, bucket: bool = False) -> str:
    """Return what a phase of evidence in a folder is called, or in a bucket."""
    return f"evidence on S3: {phase} of 256 MiB" if bucket else f"evidence: {phase} of 1 GiB"


def peak(phase: str, *, bucket: bool = False) -> str:
    """Return what the most memory that a phase had is called."""
    return f"{phase_of(phase, bucket=bucket)}, peak MB"


class Target(NamedTuple):
    """What one figure has to be.

    Args:
        figure: its name.
        sign: `<=` or `>=`.
        limit: the number; with `of`, how many times that figure.
        of: another figure's name, empty for none.
    """

    figure: str
    sign: str
    limit: float
    of: str = ""

    def __str__(self) -> str:
        return f"{self.figure} {self.sign} {self.limit:g}" + (f" x {self.of}" if self.of else "")


def _targets() -> Iterator[Target]:
    for store in STORES:
        script = f"(a) bare beside {store}"
        yield Target(f"(a) {store} first_effect p50 ms", "<=", 1.75, f"{script} first_effect p50 ms")
        yield Target(f"(a) {store} first_effect p99 ms", "<=", 3, f"{script} first_effect p99 ms")
        yield Target(f"(a) {store} verified p50 ms", "<=", 4, f"{script} verified p50 ms")
        for part in ("p50", "max"):
            yield Target(f"(b) {store} first_effect {part} ms", "<=", 2, f"(b) bare first_effect {part} ms")
            yield Target(f"(b) {store} verified {part} ms", "<=", 1.5, f"(b) bare probing verified {part} ms")
        flood, calm = f"(e) flood {store}", f"(e) calm {store}"
        yield Target(f"{flood} messages lost", "<=", 0)
        yield Target(f"{flood} answers that were no 202", "<=", 0)
        yield Target(f"{flood} answer p50 ms", "<=", 20)
        yield Target(f"{flood} answer p99 ms", "<=", 250)
        yield Target(f"{flood} first_effect p50 ms", "<=", 2, f"{calm} first_effect p50 ms")
        yield Target(f"{flood} first_effect p99 ms", "<=", 3, f"{calm} first_effect p99 ms")
        yield Target(f"{flood} `mcp-soar incident` ms", "<=", 1000)
        yield Target(f"(e) {store} 10 x the messages, times the processor", "<=", 12)
        yield Target(f"journal {store} appends/s", ">=", 5000)
        yield Target(f"journal {store} verify s", "<=", 30)
    yield Target("(h) ours 1000 servers, s", "<=", 60)
    yield Target("(h) ours 1000 servers, s", "<=", 2, "(h) bare 1000 servers, s")
    yield Target("(h) ours 1000 servers, peak MB", "<=", 200)
    yield Target("(h) 10 x the servers, times the time", "<=", 12)
    for phase in PHASES:
        yield Target(peak(phase), "<=", 150)
    for phase in IN_BUCKET:
        # boto3's client of S3 alone takes 15 MB, and a part is 5.
        yield Target(peak(phase, bucket=True), "<=", 160 if phase == "capture" else 150)
    for kind in ("", " burst"):
        yield Target(f"(f){kind} first_effect p50 ms", "<=", 2, f"(f) bare{kind} first_effect p50 ms")
        yield Target(f"(f){kind} first_effect p99 ms", "<=", 3, f"(f) bare{kind} first_effect p99 ms")
    for what in FROM_A_CONTAINER:
        yield Target(f"{of_a_gibibyte(what)}, peak MB", "<=", 150)
    yield Target(SMALL, "<=", 10)
    yield Target("mcp-soar --help p50 ms", "<=", 500)
    for words in COMMANDS:
        yield Target(f"mcp-soar {words} p50 ms", "<=", 1000)


TARGETS = tuple(_targets())


def reached(figures: Mapping[str, float]) -> dict[str, str]:
    """Return for each target whether it was reached, `yes` or `no`, as far as it was measured.

    Args:
        figures: by name.
    """
    found = {}
    for target in TARGETS:
        if target.figure not in figures or (target.of and target.of not in figures):
            continue
        limit = target.limit * (figures[target.of] if target.of else 1)
        value = figures[target.figure]
        found[f"reached: {target}"] = "yes" if (value <= limit if target.sign == "<=" else value >= limit) else "no"
    return found
