"""Notes what a drill took in `measured.yaml`, where `make classes` asks for it; and puts the table into README."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import yaml

from flows.cli.work.classes import markdown, rows
from playbooks import measured
from playbooks.gate.policy import Policy
from playbooks.measured import Measured, Took
from playbooks.playbook import shipped
from playbooks.record.state import Incident
from playbooks.strict import parse_yaml

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BEGIN, END = "<!-- classes: begin -->", "<!-- classes: end -->"


def note(playbook: str, incident: Incident) -> None:
    """Add what an incident took to the file that the environment names; does nothing if it names none."""
    name = os.environ.get("MCP_SOAR_MEASURED")
    if not name:
        return
    path = Path(name)
    known = parse_yaml(Measured, path.read_text(encoding="utf-8"), file=name).playbooks if path.exists() else {}
    took = _longest(known.get(playbook, Took()), _of(incident))
    fresh = Measured(version=1, on=datetime.now(UTC).date(), machine=_machine(), playbooks={**known, playbook: took})
    head = "# What the drills took, in seconds, by `make classes`. Every run writes it anew.\n"
    path.write_text(head + yaml.safe_dump(fresh.model_dump(mode="json", exclude_none=True)), encoding="utf-8")


def _of(incident: Incident) -> Took:
    accepted = incident.metrics["accepted_at"]
    assert accepted is not None
    automatic, asked, agreed = [], [], []
    for step in incident.cuts:
        yes = max(step.approved_at.values(), default=None)
        if step.asked_at is not None:
            asked.append((step.asked_at - accepted).total_seconds())
        # The first time that it was found to hold: the watch looks again and again.
        if step.established_at is not None and yes is not None:
            agreed.append((step.established_at - yes).total_seconds())
        elif step.established_at is not None and step.asked_at is None:
            automatic.append((step.established_at - accepted).total_seconds())
    most = (round(max(times), 2) if times else None for times in (automatic, asked, agreed))
    return Took(**dict(zip(("automatic", "asked", "agreed"), most, strict=True)))


def _longest(one: Took, other: Took) -> Took:
    found = {}
    for name in Took.model_fields:
        times = [value for value in (getattr(one, name), getattr(other, name)) if value is not None]
        found[name] = max(times, default=None)
    return Took(**found)


def _machine() -> str:
    gibibytes = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    python = ".".join(platform.python_version_tuple()[:2])
    load = f"{os.getloadavg()[0]:.0f} processes waiting for them"
    return f"{os.cpu_count()} cores ({load}), {gibibytes} GiB, Python {python}, ContextForge 1.0.7 and SQLite"


def table() -> str:
    """Return README's table, from what ships."""
    return markdown(rows(shipped(), Policy(version=1), measured.load()), measured.load())


def written() -> str:
    """Return README as it has to be."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(written(), encoding="utf-8")
