"""A suppression hides what it names, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbooks.errors import Refused
from playbooks.gate.suppression import Scope, meanings, scope_of
from playbooks.record.incident import Severity

SOURCES = ("falco", "siem", "a/b")
NAMES = st.text(st.sampled_from("abz/: "), min_size=1, max_size=6) | st.sampled_from(SOURCES)
ALERTS = st.fixed_dictionaries(
    {"source": NAMES, "rule": NAMES, "severity": st.sampled_from(Severity), "authenticated": st.booleans()}
)
SCOPES = st.builds(Scope, st.none() | NAMES, st.none() | NAMES)


@given(SCOPES, ALERTS)
def test_it_never_hides_another_source_or_rule_nor_what_is_critical(scope: Scope, alert: dict[str, object]) -> None:
    if scope.hides(**alert):  # type: ignore[arg-type]  # the strategy's types
        assert scope != (None, None)
        assert scope.source is None or scope.source == alert["source"]
        assert scope.rule is None or scope.rule == alert["rule"]
        assert not (alert["authenticated"] and alert["severity"] == Severity.CRITICAL)


@given(ALERTS)
def test_it_hides_what_it_names(alert: dict[str, object]) -> None:
    named = Scope(str(alert["source"]), str(alert["rule"]))
    for scope in (named, named._replace(source=None), named._replace(rule=None)):
        spared = alert["authenticated"] and alert["severity"] == Severity.CRITICAL
        assert scope.hides(**alert) is not spared  # type: ignore[arg-type]  # the strategy's types


@given(st.sampled_from(["source:", "rule:"]), NAMES)
def test_what_is_chosen_is_one_of_what_was_signed(kind: str, name: str) -> None:
    try:
        scope = scope_of(kind + name, SOURCES)
    except Refused:
        assert kind == "source:"
        assert name not in SOURCES
        return
    assert scope in meanings(kind + name)
    assert scope.source in {None, *SOURCES}


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("source:falco", Scope("falco", None)),
        ("rule:Shell in container", Scope(None, "Shell in container")),
        ("rule:falco/Shell in container", Scope("falco", "Shell in container")),
        # No source is called read: it is all the rule's name.
        ("rule:read/write below etc", Scope(None, "read/write below etc")),
        ("rule:/x", Scope(None, "/x")),
        ("rule:falco/", Scope(None, "falco/")),
    ],
)
def test_what_a_scope_means(text: str, scope: Scope) -> None:
    assert scope_of(text, SOURCES) == scope


@pytest.mark.parametrize("text", ["", "everything", "source:", "rule:", "server:x", "source", "source:nowhere"])
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        scope_of(text, SOURCES)
