"""A Prefect server for the tests of one worker process."""

from collections.abc import Iterator

import pytest

from tests.lab.prefect import PrefectServer, prefect_running


@pytest.fixture
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A real server that this process reports to."""
    with prefect_running(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def absent_prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server that this process would report to, if it ran."""
    with prefect_running(tmp_path_factory.mktemp("prefect"), started=False) as server:
        server.kill()
        yield server
