"""What a machine lacks is skipped and counted there; on CI it is a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def skipping(tmp_path: Path) -> list[Path]:
    """A test that skips itself, and a whole file that does."""
    test, file = tmp_path / "test_one.py", tmp_path / "test_whole.py"
    test.write_text('import pytest\ndef test_it():\n    pytest.skip("no Chromium here")\n')
    file.write_text('import pytest\npytest.skip("no PostgreSQL here", allow_module_level=True)\n')
    return [test, file]


# Each starts a whole pytest.
@pytest.mark.slow
@pytest.mark.parametrize(("ci", "end"), [("", "2 skipped"), ("true", "1 failed, 1 error")])
def test_whatever_skips_itself_says_why_and_fails_on_ci_only(ci: str, end: str, skipping: list[Path]) -> None:
    asked = [
        "--continue-on-collection-errors",
        "-c",
        str(ROOT / "pyproject.toml"),
        "-p",
        "tests.conftest",
        *map(str, skipping),
    ]
    command, env = [sys.executable, "-m", "pytest", *asked], {**os.environ, "CI": ci}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    assert end in done.stdout.splitlines()[-1], done.stdout
    assert done.returncode == (1 if ci else 0)
    for reason in ("no Chromium here", "no PostgreSQL here"):
        assert reason in done.stdout
    assert ("on CI everything must run" in done.stdout) is bool(ci)
