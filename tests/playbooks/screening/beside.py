"""The screening beside another one, cisco-ai-mcp-scanner's YARA analyser, on the labelled set in the same run.

`make screening` writes the second table of `docs/screening.md` by it. The other one is installed from its own lock,
outside the checkout; nothing of mcp-soar needs it. It is run as its users run it, on a file with all definitions.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.lab.environments import Environment
from tests.playbooks.screening.measure import DOCUMENT, measure, of, samples

BEGIN, END = "<!-- beside: begin -->", "<!-- beside: end -->"
ENVIRONMENT = Environment("scanner", (3, 12))
_ROW = re.compile(r"^\| (?P<name>[^|]+) \| [^|]+ \| (?P<found>\d+) of \d+", re.MULTILINE)
_TITLES = {True: "**Poisoned, found**", False: "**Clean, false alarms**"}

Found = Counter[tuple[bool, str]]
"""How many the other one calls poisoned, by (bad, group)."""


def scanned() -> Found:
    """Have the other one look at the whole set.

    Raises:
        RuntimeError: it does not run, or does not say of each.
    """
    if wrong := ENVIRONMENT.install():
        raise RuntimeError(wrong)
    every = list(samples())
    with tempfile.TemporaryDirectory(prefix="mcp-soar-screening-") as folder:
        file = Path(folder) / "tools.json"
        file.write_text(json.dumps({"tools": [one.definition for one in every]}), "utf-8")
        command = [ENVIRONMENT.python, "-m", "mcpscanner.cli", "--analyzers", "yara", "--format", "raw"]
        done = subprocess.run(  # noqa: S603  # locked
            [*command, "static", "--tools", str(file)],
            capture_output=True,
            text=True,
            timeout=600,
            # It asks another host for prices of models otherwise.
            env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": folder},
            check=False,
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    results = json.loads(done.stdout)["scan_results"]
    if [one["tool_name"] for one in results] != [one.definition["name"] for one in every]:
        raise RuntimeError("it does not say of each definition what it found")
    if any(one["status"] != "completed" for one in results):
        raise RuntimeError("it did not look at each definition")
    found: Found = Counter()
    for sample, said in zip(every, results, strict=True):
        found[sample.bad, sample.group] += not said["is_safe"]
    return found


def table(found: Found) -> str:
    """Return the table in Markdown.

    Args:
        found: by the other one.
    """
    measured = measure()
    rows = ["| | This screening | cisco-ai-mcp-scanner, YARA |", "|---|---|---|"]
    for bad, title in _TITLES.items():
        groups = dict.fromkeys(key[1] for key in measured.of if key[0] is bad)
        _, all_ = measured.share(bad=bad)
        theirs = sum(found[bad, group] for group in groups)
        rows.append(f"| {title} | {of(measured, bad=bad)} | {theirs} of {all_} ({100 * theirs / all_:.1f} %) |")
        for group in groups:
            many = measured.share(bad=bad, group=group)[1]
            name = group.replace("_", " ")
            rows.append(f"| {name} | {of(measured, bad=bad, group=group)} | {found[bad, group]} of {many} |")
    return "\n".join(rows)


def read(document: str) -> Found:
    """Return what the other one found, as the document has it."""
    found: Found = Counter()
    poisoned, _, clean = _between(document).partition(_TITLES[False])
    for bad, part in ((True, poisoned), (False, clean)):
        for row in _ROW.finditer(part):
            found[bad, row["name"].replace(" ", "_")] = int(row["found"])
    return found


def _between(document: str) -> str:
    return document.partition(BEGIN)[2].partition(END)[0]


def written(document: str, found: Found) -> str:
    """Return a document with the table of what both find."""
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(found)}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    try:
        FOUND = scanned()
    except (RuntimeError, OSError, subprocess.SubprocessError, ValueError, KeyError) as exc:
        sys.exit(f"the other screening was not measured, and its table is as it was: {exc}")
    DOCUMENT.write_text(written(DOCUMENT.read_text("utf-8"), FOUND), "utf-8")
