"""Two facts of different kinds: what counts as one, and that telling it twice makes no second one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbooks.gate.corroboration import (
    DEFINITION,
    DESCRIBES,
    INTRODUCES,
    NOTHING,
    ONE_FACT,
    OWN_COMPARISON,
    SCREENING,
    confirming,
    corroborated,
)
from playbooks.gate.plan import Answer, Finding, Verdict

DIFFERS = frozenset({DEFINITION})
BRINGS = frozenset({DEFINITION, INTRODUCES})
SCREENED = frozenset({DEFINITION, INTRODUCES, SCREENING})
INJECTED = frozenset({"call"})


@pytest.mark.parametrize(
    ("sources", "confirmations", "missing"),
    [
        (["siem"], [], NOTHING),
        ([OWN_COMPARISON], [], NOTHING),
        # One comparison, told by two of our own parts.
        ([OWN_COMPARISON], [BRINGS], ONE_FACT),
        ([OWN_COMPARISON, OWN_COMPARISON], [BRINGS, BRINGS], ONE_FACT),
        # A change that only describes is no fact, for whoever reported it.
        ([OWN_COMPARISON], [DIFFERS], DESCRIBES),
        (["siem"], [DIFFERS], DESCRIBES),
        # The drift check does not corroborate what somebody else said: only the comparison itself does, when made.
        (["siem", OWN_COMPARISON], [], NOTHING),
        (["siem", "siem"], [], NOTHING),
        # The screening is never the only fact.
        ([OWN_COMPARISON], [frozenset({SCREENING})], NOTHING),
        ([], [INJECTED], NOTHING),
        (["siem"], [BRINGS], ""),
        ([OWN_COMPARISON], [SCREENED], ""),
        ([OWN_COMPARISON], [BRINGS, INJECTED], ""),
        (["siem"], [INJECTED], ""),
        (["siem", "second"], [], ""),
        (["siem", OWN_COMPARISON], [BRINGS], ""),
    ],
)
def test_what_confirms(sources: list[str], confirmations: list[frozenset[str]], missing: str) -> None:
    found = corroborated(sources, confirmations)
    assert found.missing == missing
    assert found.confirmed is (not missing)


CHECKS = st.frozensets(st.sampled_from([DEFINITION, INTRODUCES, SCREENING, "call"]))
SOURCES = st.lists(st.sampled_from([OWN_COMPARISON, "siem", "second"]), max_size=4)


@given(SOURCES, st.lists(CHECKS, max_size=4), st.integers(1, 3))
def test_saying_it_again_adds_nothing(sources: list[str], confirmations: list[frozenset[str]], times: int) -> None:
    once, again = corroborated(sources, confirmations), corroborated(sources * times, confirmations * times)
    assert once == again


@given(SOURCES, st.lists(CHECKS, max_size=4))
def test_our_own_comparison_weighs_as_much_reported_as_not(
    sources: list[str], confirmations: list[frozenset[str]]
) -> None:
    reported = corroborated([*sources, OWN_COMPARISON], confirmations)
    assert reported.confirmed is corroborated(sources, confirmations).confirmed


@given(SOURCES, st.lists(CHECKS, max_size=4))
def test_nothing_is_confirmed_by_one_fact_and_every_no_says_why(
    sources: list[str], confirmations: list[frozenset[str]]
) -> None:
    found = corroborated(sources, confirmations)
    assert found.confirmed is (len(found.facts) > 1)
    assert bool(found.missing) is not found.confirmed
    assert found.facts != {SCREENING}


def verdict(answer: Answer, *checks: tuple[str, Answer]) -> Verdict:
    def finding(check: str, said: Answer) -> Finding:
        return Finding(check=check, subject="s", asked_as="a", expected="e", observed="o", answer=said)

    return Verdict(answer=answer, findings=tuple(finding(check, said) for check, said in checks))


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        (verdict(Answer.ESTABLISHED, (DEFINITION, Answer.ESTABLISHED), (INTRODUCES, Answer.NOT_ESTABLISHED)), DIFFERS),
        (verdict(Answer.ESTABLISHED, (DEFINITION, Answer.ESTABLISHED), (INTRODUCES, Answer.ESTABLISHED)), BRINGS),
        (verdict(Answer.UNKNOWN, (DEFINITION, Answer.ESTABLISHED)), frozenset()),
        (verdict(Answer.NOT_ESTABLISHED, (SCREENING, Answer.ESTABLISHED)), frozenset()),
        # What the first release recorded does not say what the change brought in: people are asked.
        (verdict(Answer.ESTABLISHED, (DEFINITION, Answer.ESTABLISHED)), DIFFERS),
    ],
)
def test_only_a_whole_yes_counts(said: Verdict, counts: frozenset[str]) -> None:
    assert confirming(said) == counts
