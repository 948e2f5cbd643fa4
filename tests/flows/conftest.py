"""A Prefect server for the tests of one process: Prefect's client reports to one address as long as it lives."""

from collections.abc import Iterator

import pytest

from tests.lab.prefect import PrefectServer, prefect_running


@pytest.fixture(scope="session")
def the_prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """The session's server."""
    with prefect_running(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def prefect(the_prefect: PrefectServer) -> PrefectServer:
    """A real server that this process reports to, with nothing in it."""
    if not the_prefect.running:
        the_prefect.start()
    the_prefect.forget()
    return the_prefect


@pytest.fixture
def absent_prefect(prefect: PrefectServer) -> PrefectServer:
    """The server, which does not run until the test starts it."""
    prefect.kill()
    return prefect
