"""What several tests of the engine run over."""

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def journal_url(request: pytest.FixtureRequest) -> str | None:
    """The journal's address, of both kinds in turn; None for the installation's own SQLite file."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
