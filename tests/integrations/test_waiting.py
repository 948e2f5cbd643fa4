"""What a remote asks us to wait for is read in every form that is sent, and never believed without limit."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.waiting import Respite, wait_of
from playbooks.errors import Transient

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7.0),
        (" 2 ", 2.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("Sat, 31 Jan 2026 12:00:30 GMT", 30.0),
        ("Saturday, 31-Jan-26 12:00:30 GMT", 30.0),
        ("Sat Jan 31 12:00:30 2026", 30.0),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60.0),
        ("86400", 60.0),
        ("999999999999", 60.0),
        ("9" * 400, 60.0),
        ("9" * 60_000, 60.0),
        (2, 2.0),
        (0.25, 0.25),
        (10**400, 60.0),
        ("-1", None),
        (-1, None),
        ("٣", None),
        ("1e3", None),
        ("inf", None),
        ("nan", None),
        (float("nan"), None),
        (True, None),
        ("", None),
        (None, None),
        ("soon", None),
        ({"seconds": 3}, None),
    ],
)
def test_every_form_of_a_wait(asked: object, seconds: float | None) -> None:
    assert wait_of(asked, longest=60.0, at=AT) == seconds


@given(asked=st.text(max_size=60) | st.integers() | st.floats() | st.none() | st.binary(max_size=5))
def test_whatever_is_asked_the_wait_is_ours_to_bound(asked: object) -> None:
    wait = wait_of(asked, longest=30.0, at=AT)
    assert wait is None or 0.0 <= wait <= 30.0


def test_what_asked_for_a_respite_is_left_alone_until_then_and_nothing_else_is() -> None:
    clock = [100.0]
    respite = Respite(lambda: clock[0])
    respite.grant("chat.postMessage", None)
    respite.respect("chat.postMessage", "Slack")
    respite.grant("chat.postMessage", 2.0)
    with pytest.raises(Transient, match="2 s more") as caught:
        respite.respect("chat.postMessage", "Slack")
    assert caught.value.retry_after == 2.0
    respite.respect("chat.update", "Slack")
    clock[0] += 2.0
    respite.respect("chat.postMessage", "Slack")
