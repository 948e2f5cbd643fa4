"""What holds for every test: no skips on CI, a Prefect home of its own, PostgreSQL for those that ask for it."""

import os
import tempfile
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from tests.lab.postgres import PostgresServer, find_postgres, postgres_server

pytest_plugins = ["tests.lab.fixtures"]
# Its assertions are tests' own.
pytest.register_assert_rewrite("tests.lab.succession", "tests.contract.laws")

_ON_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}

# The suite shares few cores with its own servers: how long one example takes says nothing about the code.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")


def pytest_configure(config: pytest.Config) -> None:
    """Keep Prefect away from the settings, database and server of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    home = tempfile.TemporaryDirectory(prefix="mcp-soar-prefect-")
    config.add_cleanup(home.cleanup)
    os.environ |= {"PREFECT_HOME": home.name, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


# Outermost, since pytest itself marks the reports of expected failures in a wrapper.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that skips itself on CI."""
    report = yield
    _refuse_skip_on_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that skips itself on CI."""
    report = yield
    _refuse_skip_on_ci(report)
    return report


def _refuse_skip_on_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    # An expected failure is reported as skipped too, but it did run.
    if _ON_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"Skipped, but on CI everything must run: {report.longrepr}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Give the session's PostgreSQL server; a test that stops it starts it again."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (no initdb on PATH or in /usr/lib/postgresql/*/bin)")
    with postgres_server(programs) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """Give the `postgresql+asyncpg://` address of a database that only this test has."""
    with postgres.fresh_database() as url:
        yield url
