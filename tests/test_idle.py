"""A server that a whole session may use is ended with the group of tests that used it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIRST = """
import pytest
from pathlib import Path
END = Path({end!r})
@pytest.fixture(scope="session")
def the_prefect():
    yield
    END.touch()
@pytest.mark.parametrize("number", [1, 2])
def test_it_is_there_until_the_last(the_prefect, number):
    assert not END.exists()
"""
SECOND = """
from pathlib import Path
def test_it_is_gone():
    assert Path({end!r}).exists()
"""


# It starts a whole pytest.
@pytest.mark.slow
def test_a_server_ends_with_its_group(tmp_path: Path) -> None:
    first, second = tmp_path / "test_first.py", tmp_path / "test_second.py"
    for path, text in ((first, FIRST), (second, SECOND)):
        path.write_text(text.format(end=str(tmp_path / "ended")))
    how = ["-n", "1", "--dist", "loadgroup", "--no-loadscope-reorder", "-c", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "pytest", *how, "-p", "tests.conftest", str(first), str(second)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    assert "3 passed" in done.stdout, done.stdout
