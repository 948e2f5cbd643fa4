"""What is news to an incident: bounded whatever a sender makes up, and never without what the gate would ask for."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from playbooks.estate.inventory import Resolved
from playbooks.record.alike import EACH, FEW, Heard
from playbooks.record.holding import Holding
from playbooks.record.incident import AlertState, EntityKind, Severity

TOOLS = [Resolved(kind=EntityKind.TOOL, id=name, server="weather") for name in ("forecast", "add", "get")]
NEW, RESOLVED = AlertState.NEW.value, AlertState.RESOLVED.value


def body(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # what an entry says
    fields: dict[str, Any] = {
        "source": "siem",
        "external_id": "1",
        "state": NEW,
        "severity": int(Severity.HIGH),
        "rule": "Tool description changed",
        "authenticated": True,
        "digest": "a" * 64,
        "entities": [TOOLS[0].model_dump(mode="json")],
        "unresolved": [],
    }
    return {**fields, **changes}


def told(heard: Heard, *bodies: dict[str, Any], masked: bool = False) -> list[bool]:
    """Tell an incident alerts one after the other, and return which were news."""
    news = []
    for one in bodies:
        news.append(heard.is_news(one, masked=masked))
        if news[-1]:
            heard.take(one)
    return news


MADE_UP = st.text(alphabet="abcdefgh", min_size=1, max_size=3)
ALERT = st.builds(
    body,
    source=st.sampled_from(["siem", "falco"]),
    external_id=MADE_UP,
    state=st.sampled_from([state.value for state in AlertState]),
    severity=st.sampled_from([int(severity) for severity in Severity]),
    rule=MADE_UP,
    digest=MADE_UP,
    entities=st.lists(st.sampled_from(TOOLS), max_size=3, unique=True).map(
        lambda found: [one.model_dump(mode="json") for one in found]
    ),
    unresolved=st.lists(MADE_UP, max_size=2).map(
        lambda names: [{"kind": "tool", "name": name, "server": None} for name in names]
    ),
)


@given(st.lists(ALERT, max_size=300), st.booleans())
def test_what_a_source_makes_up_ends_at_a_limit(alerts: list[dict[str, Any]], masked: bool) -> None:  # noqa: FBT001  # drawn
    news = told(Heard(), *alerts, masked=masked)
    for source in ("siem", "falco"):
        written = sum(fresh for fresh, one in zip(news, alerts, strict=True) if fresh and one["source"] == source)
        assert written <= EACH + len(TOOLS) * len(Severity)


@given(st.lists(ALERT, max_size=200), ALERT)
def test_a_graver_word_about_a_known_thing_is_always_news(alerts: list[dict[str, Any]], last: dict[str, Any]) -> None:
    heard = Heard()
    written = [one for one in alerts if told(heard, one) == [True]]

    def gravest(source: str, tool: str) -> int:
        said = (
            one["severity"]
            for one in written
            if one["source"] == source and one["state"] == NEW and tool in {item["id"] for item in one["entities"]}
        )
        return max(said, default=-1)

    graver = any(last["severity"] > gravest(last["source"], item["id"]) for item in last["entities"])
    if last["state"] == NEW and graver:
        # Its very id may have been used before, for something else: that is news too.
        assert heard.is_news({**last, "external_id": "never before"}, masked=False)


def test_the_first_few_of_many_like_ones_are_written_down() -> None:
    alike = [body(external_id=str(number)) for number in range(50)]
    assert told(Heard(), *alike) == [True] * FEW + [False] * (50 - FEW)


def test_another_source_always_has_its_say() -> None:
    heard = Heard()
    told(heard, *(body(external_id=str(number), rule=str(number)) for number in range(3 * EACH)))
    assert told(heard, body(), body(source="falco")) == [False, True]


def test_who_only_claims_to_be_a_source_takes_nothing_of_its_say() -> None:
    heard = Heard()
    forged = (
        body(external_id="1", rule=str(n % 7), severity=int(Severity.CRITICAL), authenticated=False) for n in range(99)
    )
    told(heard, *forged)
    assert told(heard, body(external_id="1", rule="1", severity=int(Severity.LOW))) == [True]


def test_firing_resolved_firing_is_three_messages() -> None:
    states = [NEW, RESOLVED, NEW]
    assert told(Heard(), *(body(external_id=str(n), state=state) for n, state in enumerate(states))) == [True] * 3
    assert told(Heard(), *(body(state=state) for state in [NEW, NEW, RESOLVED, RESOLVED, NEW])) == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_flapping_ends_at_the_limit_too() -> None:
    flaps = [body(external_id=str(n), state=[NEW, RESOLVED][n % 2]) for n in range(200)]
    assert sum(told(Heard(), *flaps)) == EACH


def test_ids_that_look_alike_once_masked_are_the_same_in_the_same_message_only() -> None:
    assert told(Heard(), body(digest="a"), body(digest="b"), body(digest="a"), masked=True) == [True, True, False]
    assert told(Heard(), body(digest="a"), body(digest="b")) == [True, False]


def test_a_copy_goes_its_own_way() -> None:
    heard = Heard()
    told(heard, body())
    other = heard.copy()
    told(other, body(external_id="2"), body(external_id="3"))
    assert told(heard, body(external_id="2"), body(external_id="3")) == [True, True]


def test_a_copy_has_all_of_it_and_shares_nothing_that_changes() -> None:
    heard = Heard()
    told(heard, body(marks=[{"kind": "indicator", "value": "203.0.113.7"}]), body(external_id="2"))
    heard.seq = 7
    heard.holding.as_found = True
    for about in (heard.holding._asked, heard.holding._held, heard.holding._for_good, heard.holding._back):  # noqa: SLF001  # what must not be shared
        about["cut"] = frozenset({"tool:weather/forecast"})
    other = heard.copy()
    mine, its = [heard], [other]
    for one in mine:
        mine += _parts(one)
    for one in its:
        its += _parts(one)
    assert [_said(one) for one in mine] == [_said(one) for one in its]
    assert not {id(one) for one in mine} & {id(one) for one in its}


def _parts(of: object) -> list[Any]:
    inner = of.values() if isinstance(of, dict) else vars(of).values() if hasattr(of, "__dict__") else ()
    return [one for one in inner if isinstance(one, dict | set | list | Holding)]


def _said(of: object) -> object:
    return of if isinstance(of, dict | set | list) else {**vars(of), "holding": None}
