"""What holds for every test: no skips on CI, a Prefect home of its own, PostgreSQL for those that ask for it."""

import gc
import os
import tempfile
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from tests.lab import compiled
from tests.lab.postgres import PostgresServer, find_postgres, postgres_server

pytest_plugins = ["tests.lab.fixtures", "tests.lab.idle", "tests.cluster.fixtures"]
# Its assertions are tests' own.
pytest.register_assert_rewrite("tests.lab.succession", "tests.contract.laws")

_ON_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}

# The suite shares few cores with its own servers: how long one example takes says nothing about the code, nor does how
# long it takes to make one up. On CI as many are tried as Hypothesis tries by itself; in between, other ones each time.
_AT_ITS_OWN_PACE = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("shared machine", _AT_ITS_OWN_PACE)
hypothesis.settings.register_profile("in between", _AT_ITS_OWN_PACE, max_examples=25)
hypothesis.settings.load_profile("shared machine" if _ON_CI else "in between")


compiled.share()


def pytest_configure(config: pytest.Config) -> None:
    """Keep Prefect away from the settings, database and server of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    home = tempfile.TemporaryDirectory(prefix="mcp-soar-prefect-")
    config.add_cleanup(home.cleanup)
    os.environ |= {"PREFECT_HOME": home.name, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage neither while modules are read, nor later in them: half a million objects, and all stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


_SYSTEMS = "tests/integrations/systems/"
_CONTRACT = "tests/contract/"
_PLATFORM = {"the_prefect", "postgres"}
_SLOW = {"cluster", "the_keycloak"}
"""What a machine of two cores is busy with for as long as it runs."""


_OF_CONTRACT, _OF_SYSTEM = "gateway of contract", "gateway of system"
_STARTED = ("cluster", "the_prefect", _OF_CONTRACT, _OF_SYSTEM, "gateway", "postgres")
"""What takes a session longest to start. In this order, so that nobody waits for the last of it at the end.

Half of what a real gateway does is for the contract tests, and half of the rest for its own system's: each may have one
of their own beside the others', and whatever asks a Keycloak does so beside the first. A cluster is one for all that
ask for it, at whichever gateway.
"""


# Before pytest itself chooses by `-m`.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by where they are and by what they start, unless they say it themselves."""
    for item in items:
        # A test may lie anywhere.
        root = item.config.rootpath
        where = item.path.relative_to(root).as_posix() if item.path.is_relative_to(root) else ""
        if where.startswith(_SYSTEMS):
            item.add_marker(pytest.mark.system(where.removeprefix(_SYSTEMS).partition("/")[0]))
        elif where.startswith("tests/flows/engine/") and not item.get_closest_marker("system"):
            item.add_marker(pytest.mark.engine)
        if _PLATFORM & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.platform)
        if _SLOW & _starts(item) or _as_well_pretended(item):
            item.add_marker(pytest.mark.slow)
    if hasattr(config, "workerinput"):
        _share_out(items)


def _as_well_pretended(item: pytest.Item) -> bool:
    """Whether it is a law or a drill on the real gateway: tests/contract/test_pretended.py tries it on the other."""
    return _started(item) == _OF_CONTRACT and "lab" in getattr(item, "fixturenames", ())


def _share_out(items: list[pytest.Item]) -> None:
    """Have one process of several start each thing that takes long to start, and each file's own; the longest first."""
    slow = {_file(item) for item in items if item.get_closest_marker("slow")}

    def rank(group: str) -> int:
        ranks = (*_STARTED, *sorted(slow))
        return ranks.index(group) if group in ranks else len(ranks) + ("/flows/" not in group)

    groups = {item: _started(item) or _file(item) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: rank(groups[item]))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _started(item: pytest.Item) -> str | None:
    return next((name for name in _STARTED if name in _starts(item)), None)


def _starts(item: pytest.Item) -> set[str]:
    real = any("contextforge" in mark.args for mark in item.iter_markers("system"))
    asked = {name for mark in item.iter_markers("starts") for name in mark.args}
    starts = {*getattr(item, "fixturenames", ())} - {"gateway"} | asked | ({"gateway"} if real else set())
    if (real and _file(item).startswith(_CONTRACT)) or "the_keycloak" in starts:
        return starts | {_OF_CONTRACT}
    return starts | ({_OF_SYSTEM} if real and _file(item).startswith(_SYSTEMS) else set())


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
