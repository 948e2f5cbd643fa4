"""A server's tier follows from what was found, what is not known is never sound, and its history is kept."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbooks.record.trust import AUTHENTICATION, CHANGES, REASONS, Judged, KeptTrust, Reason, Tier, judged, kept
from playbooks.taxonomy import IncidentClass, Severity

CLASS = IncidentClass.INSECURE_CONFIGURATION
OPEN = Reason("probing", AUTHENTICATION, "anybody may list its tools", Severity.HIGH, CLASS)
CARELESS = Reason("probing", "transport", "clear text", Severity.HIGH, CLASS)
MINOR = Reason("probing", "challenge", "missing", Severity.LOW, CLASS)
BAD = Reason("behaviour", "answer", "speaks to the model", Severity.HIGH, IncidentClass.PROMPT_INJECTION)
DRIFT = Reason("drift", "", "tool add is changed", Severity.HIGH, IncidentClass.TOOL_POISONING)
CERTIFICATE = Reason("probing", "certificate", "another one", Severity.HIGH, IncidentClass.SERVER_SPOOFING)
BEGAN = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("reasons", "open_to_all", "unknown", "tier"),
    [
        ((OPEN, BAD), False, (), Tier.MALICIOUS),
        ((BAD,), True, (), Tier.MALICIOUS),
        ((BAD,), False, (), Tier.SUSPECT),
        ((CERTIFICATE,), True, (), Tier.SUSPECT),
        ((OPEN, DRIFT), False, (), Tier.EXPOSED),
        ((OPEN,), False, (), Tier.EXPOSED),
        ((CARELESS, MINOR), False, (), Tier.EXPOSED),
        ((MINOR,), False, (), Tier.WEAK),
        ((MINOR,), False, ("away",), Tier.WEAK),
        ((), True, (), Tier.SOUND),
        ((), False, (), Tier.SOUND),
        ((), False, ("away",), Tier.UNKNOWN),
    ],
)
def test_no_authentication_that_meets_bad_behaviour_is_malicious_and_what_is_not_known_is_not_sound(
    reasons: tuple[Reason, ...], unknown: tuple[str, ...], tier: Tier, *, open_to_all: bool
) -> None:
    one = judged("weather", reasons, open_to_all=open_to_all, unknown=unknown)
    assert one.tier is tier
    assert len(one.reasons) == len(reasons) + len(unknown)


REASON = st.builds(
    Reason,
    st.sampled_from(["probing", "drift", "behaviour"]),
    st.sampled_from(["", AUTHENTICATION, "certificate", "transport"]),
    st.text(max_size=5),
    st.sampled_from(Severity),
    st.sampled_from(IncidentClass),
)


@given(some=st.lists(REASON, max_size=8), more=REASON, open_to_all=st.booleans(), away=st.booleans())
def test_one_more_reason_never_makes_it_better(
    some: list[Reason], more: Reason, *, open_to_all: bool, away: bool
) -> None:
    unknown = ["away"] if away else []
    before = judged("s", some, open_to_all=open_to_all, unknown=unknown)
    after = judged("s", [*some, more], open_to_all=open_to_all, unknown=unknown)
    assert after.tier <= before.tier
    assert len(after.reasons) <= REASONS
    assert judged("s", some, open_to_all=True).tier <= judged("s", some, open_to_all=False).tier


def test_since_when_and_what_it_was_before_are_kept() -> None:
    tiers = [Tier.SOUND, Tier.SOUND, Tier.EXPOSED, Tier.MALICIOUS, Tier.MALICIOUS]
    rows: tuple[KeptTrust, ...] = ()
    for day, tier in enumerate(tiers):
        rows = kept([Judged("weather", tier, ())], rows, BEGAN + timedelta(days=day), 10)
    (one,) = rows
    assert (one.words, one.since) == ("Tier 1 - malicious", BEGAN + timedelta(days=3))
    assert [(was.tier, was.since) for was in one.earlier] == [
        (Tier.EXPOSED, BEGAN + timedelta(days=2)),
        (Tier.SOUND, BEGAN),
    ]


def test_a_history_has_an_end_and_the_worst_come_first() -> None:
    rows: tuple[KeptTrust, ...] = ()
    for day in range(3 * CHANGES):
        tier = Tier.UNKNOWN if day % 2 else Tier.SOUND
        rows = kept([Judged("a", tier, ()), Judged("b", Tier.WEAK, ("why",))], rows, BEGAN + timedelta(days=day), 10)
    assert [row.server for row in rows] == ["b", "a"]
    assert len(rows[1].earlier) == CHANGES
    assert len(kept([Judged(f"s{n}", Tier.SOUND, ()) for n in range(9)], (), BEGAN, 4)) == 4
