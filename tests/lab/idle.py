"""Ends the servers of a session with the last test of the group that uses them: idle ones take others' processors.

A plugin of its own, since what pytest does for a whole session it tells no `conftest.py` of a folder.
"""

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest

_ENDED = ("the_prefect", "cluster")
"""They take processor time while nobody asks them anything, a Prefect a twentieth; and few groups use them."""

_ending: dict[str, Callable[[], None]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: Any) -> Generator[None, object, object]:  # noqa: ANN401  # a SubRequest
    """Keep how each is ended."""
    if fixturedef.argname in _ENDED:
        _ending[fixturedef.argname] = partial(fixturedef.finish, request)
    return (yield)


# After the test's own.
@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End what a group has used when it is over; who asks for it all the same has it started anew."""
    if nextitem is not None and _group(item) != _group(nextitem):
        for name in _ending.keys() - set(getattr(nextitem, "fixturenames", ())):
            _ending.pop(name)()


def _group(item: pytest.Item) -> object:
    mark = item.get_closest_marker("xdist_group")
    return mark and mark.args
