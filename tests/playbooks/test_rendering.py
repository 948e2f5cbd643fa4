"""What people read: every notice in both languages, and nothing of outside text that acts in any output."""

import re
from functools import partial
from html.parser import HTMLParser
from itertools import product
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.engine.people.reviews import unreviewed
from integrations.registry import SYSTEMS
from playbooks.estate.inventory import Environment, Inventory, Server
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.gate.corroboration import DESCRIBES, ONE_FACT
from playbooks.gate.plan import Change, Irreversible, Plan, Radius, Target
from playbooks.gate.policy import Facts, Policy, Purpose, decide
from playbooks.people.briefing import Briefing, Topic
from playbooks.people.contacts import Language
from playbooks.people.rendering import BLOCKS, SECTION, SUBJECT, OneTimeCode, faults, markdown, render, shipped
from playbooks.people.request import Verb, draft
from playbooks.people.review import Reviews, params
from playbooks.people.samples import briefings, full
from playbooks.record.incident import Confidence, Severity
from playbooks.strict import digest, now
from playbooks.taxonomy import IncidentClass
from playbooks.text import escaping
from playbooks.text.sentences import said
from tests.lab.examples import examples

BOTH = pytest.mark.parametrize("language", list(Language))
HANGUL = re.compile(r"[가-힣]")


@BOTH
@pytest.mark.parametrize("kind", list(Topic))
def test_every_notice_is_said_in_every_language(kind: Topic, language: Language) -> None:
    for briefing in (full(kind), Briefing(at=full().at, incident=None, kind=kind)):
        shown = render(briefing, language)
        assert shown.loss == ""
        assert shown.subject.startswith("[mcp-soar]")
        assert bool(HANGUL.search(shown.subject)) is (language is Language.KO)
        assert bool(HANGUL.search(shown.text)) is (language is Language.KO)
        assert shown.blocks[0]["type"] == "header"
        # A line that only names a fact and does not state it is a hole in a template.
        assert not re.search(r"^- [^:]+:\s*$", shown.text, re.MULTILINE)


@BOTH
def test_every_sample_is_said_in_every_language(language: Language) -> None:
    for briefing in briefings():
        assert render(briefing, language).text
        assert markdown(briefing, language)


@BOTH
def test_what_is_asked_is_whole(language: Language) -> None:
    shown = render(full(), language, words=SYSTEMS.words)
    text = " ".join(shown.text.split())
    ask = full().asks[0]
    assert said(ask.summary, language, SYSTEMS.words) in text
    assert said(ask.reasons[0], language, SYSTEMS.words) in text
    assert said(ask.breaks, language, SYSTEMS.words) in text
    assert said(ask.undone[0], language, SYSTEMS.words) in text
    assert "2026-01-31 03:15 UTC" in text
    for line in (ask.approve, ask.deny, *(command.line for command in full().commands)):
        assert line in shown.text
        assert line in shown.html
        assert any(line in str(block) for block in shown.blocks)
    assert "STOPPED" in text or "긴급 정지" in text
    assert "12:0123456789abcdef" in text


def test_codes_are_in_text_and_html_and_never_in_slack() -> None:
    shown = render(full(), codes=(OneTimeCode("approve", "Disable it", "7K3M2-QX9AB", "mcp-soar answer 7"),))
    assert "7K3M2-QX9AB" in shown.text
    assert "7K3M2-QX9AB" in shown.html
    assert "7K3M2-QX9AB" not in str(shown.blocks)


@BOTH
def test_a_code_says_where_it_is_typed(language: Language) -> None:
    line = "mcp-soar answer inc-2026-000007 --digest 0123456789ab --as kim"
    shown = render(full(), language, codes=(OneTimeCode("approve", "Disable it", "7K3M2-QX9AB", line),))
    assert shown.text.count(line) == 1
    assert shown.html.count(line) == 1


@BOTH
def test_the_words_themselves_do_not_act(language: Language) -> None:
    """Words go out as they stand, in every output: none of them may hold what one of the outputs takes for a mark."""
    text = re.sub(r"{#.*?#}|{{.*?}}|{%-? *(?!set).*?%}", "", shipped()[f"{language.value}/words.j2"])
    words = re.sub(r'"[a-z_]+"\s*:|{%-? set \w+ =|%}', "", text)
    assert not re.search(r"[<>&*`_~|\\]", words), re.findall(r".*[<>&*`_~|\\].*", words)


HOSTILE = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [
                "https://evil.example/x",
                "www.evil.example",
                "evil.example",
                "mailto:a@evil.example",
                "javascript:alert(1)",
                "<script>alert(1)</script>",
                "<img src=x onerror=alert(1)>",
                '" onmouseover="x',
                "<!channel>",
                "<!here|x>",
                "<@U012ABC>",
                "<#C012ABC>",
                "<https://evil.example|click>",
                "![x](https://evil.example/x.png)",
                "[x](https://evil.example)",
                "[x]: https://evil.example",
                "`code`",
                "```",
                "*bold*",
                "_it_",
                "~no~",
                ":white_check_mark:",
                "| a | b |",
                "# heading",
                "\n",
                "\r\n\r\n",
                "\u2028",
                "\u202e",
                "\u200b",
                "\ufe0f",
                "\x1b[2J",
                "\x07",
                "\x00",
                "\u3164",
                "¶",
                "<H>",
                "<S>",
                "{{ b }}",
                "{% raw %}",
                "&amp;",
                "&",
                " ",
                "\uff1cscript\uff1e",
                "tool {a} of {b}",
            ]
        ),
        max_size=8,
    ).map("".join),
).filter(lambda text: bool(escaping.plain(text)))


def poisoned(text: str) -> Briefing:
    """Return a briefing every free text of which is hostile."""
    whole = full()
    asks = tuple(
        ask.model_copy(
            update={
                "summary": text,
                "changes": (text,),
                "reasons": (text, text),
                "breaks": text,
                "undone": (text,) if ask.undone else (),
                "irreversible": text if ask.irreversible else None,
                "differs": (text,),
                "requested_by": text,
                "approved_by": (text,),
            }
        )
        for ask in whole.asks
    )
    return whole.model_copy(
        update={
            "asks": asks,
            "title": text,
            "said": text,
            "because": text,
            "subject": text,
            "page": text,
            "entities": (text, text),
            "unresolved": (text,),
            "triage": text,
            "frozen": text,
            "closed_as": text,
            "unavailable": (text,),
            "held": tuple(one.model_copy(update={"summary": text, "released_by": text}) for one in whole.held),
            "proven": tuple(one.model_copy(update={"subject": text, "observed": text}) for one in whole.proven),
            "not_proven": tuple(one.model_copy(update={"subject": text, "observed": text}) for one in whole.not_proven),
            "servers": tuple(one.model_copy(update={"title": text, "owner": text}) for one in whole.servers),
            "stops": tuple(one.model_copy(update={"reason": text, "by": text}) for one in whole.stops),
            "lost": tuple(one.model_copy(update={"text": text}) for one in whole.lost),
        }
    )


class Tags(HTMLParser):
    """What a browser would make of a document."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def tags(html: str) -> Tags:
    read = Tags()
    read.feed(html)
    read.close()
    return read


LINK = re.compile(r"[a-z][a-z0-9+.-]*://|www\.\w|(?<=[^\W_])\.[^\W\d_]{2}", re.IGNORECASE)
"""What mail readers and chats make a link of."""

INVISIBLE = re.compile(
    r"[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]"
)


@settings(max_examples=examples(80), deadline=None)
@given(text=HOSTILE, language=st.sampled_from(list(Language)), kind=st.sampled_from(list(Topic)))
def test_outside_text_acts_nowhere(text: str, language: Language, kind: Topic) -> None:
    harmless = poisoned("harmless").model_copy(update={"kind": kind})
    hostile = poisoned(text).model_copy(update={"kind": kind})
    shown = render(hostile, language)

    # HTML: the same elements with the same attributes, whatever the text; no address, and nothing invisible.
    assert tags(shown.html).tags == tags(render(harmless, language).html).tags
    visible = "".join(tags(shown.html).said)
    assert not LINK.search(visible.replace("mcp-soar", ""))
    # Plain text and subject.
    for plain in (shown.text, shown.subject, visible):
        assert not INVISIBLE.search(plain)
    assert not LINK.search(shown.text)
    assert "\n" not in shown.subject
    assert len(shown.subject) <= SUBJECT
    slack_acts_nowhere(shown.blocks)
    markdown_acts_nowhere(markdown(hostile, language))


@BOTH
def test_what_an_alert_holds_of_templates_is_shown_as_it_is(language: Language) -> None:
    text = "{{ 7*7 }} {% for x in range(9) %}x{% endfor %} ${7*7} #{7*7} <%= 7*7 %>"
    shown = render(poisoned(text), language)
    said = [
        element["text"] for element in shown.blocks if element["type"] == "section" for element in [element["text"]]
    ]
    slack = text.replace("*", "\u2217").replace("<", "&lt;").replace(">", "&gt;")
    assert text in " ".join(shown.text.split())
    assert text in " ".join("".join(tags(shown.html).said).split())
    assert slack in " ".join(" ".join(said).split())


def slack_acts_nowhere(blocks: tuple[dict[str, Any], ...]) -> None:
    assert len(blocks) <= BLOCKS
    for block in blocks:
        elements = block["elements"] if block["type"] == "context" else [block["text"]]
        for element in elements:
            words = element["text"]
            assert 0 < len(words) <= (SUBJECT if block["type"] == "header" else SECTION)
            assert element.get("verbatim", block["type"] == "header") is True
            assert not INVISIBLE.search(words)
            # No control sequence of Slack's can begin, and every & begins an entity.
            assert "<" not in words
            assert ">" not in words
            assert not re.search(r"&(?!(amp|lt|gt);)", words)
            outside = re.sub(r"`mcp-soar[^`]*`", "", words)
            assert not LINK.search(outside)
            assert "`" not in outside
            assert "~" not in outside
            # The only bold is that of our headings, a whole line each.
            for line in outside.split("\n"):
                assert "*" not in line.removeprefix("*").removesuffix("*")
            # A header is plain text, in which nothing is emphasised, and may be cut anywhere.
            emphasis = re.search(r"(?<!\w)_\S|\S_(?!\w)", outside.replace("\u02cd", ""))
            assert block["type"] == "header" or not emphasis
            assert not re.search(r":(?!octagonal_sign:)[a-z_]+:", outside)


def markdown_acts_nowhere(text: str) -> None:
    assert not INVISIBLE.search(text)
    inside = re.sub(r"^```\n.*?\n```$", "", text, flags=re.MULTILINE | re.DOTALL)
    unescaped = re.sub(r"\\[!-/:-@\[-`{-~]", "", inside)
    assert not re.search(r"[<>`\[\]|~_]", unescaped)
    assert not re.search(r"&(?!(amp|lt|gt);)", unescaped)
    assert not LINK.search(unescaped)


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("https://evil.example/x", "https[:]//evil[.]example/x"),
        ("://", "[:]//"),
        ("www.evil.example", "www[.]evil[.]example"),
        ("see evil.example. Then", "see evil[.]example. Then"),
        ("tool get_weather of weather", "tool get_weather of weather"),
        ("version 1.2.3 at 10:00", "version 1.2.3 at 10:00"),
        ("a\nb\tc", "a b c"),
        ("a\u202eb\u200b", "a\\u{202e}b\\u{200b}"),
        ("안전한 글", "안전한 글"),
    ],
)
def test_plain(given_: str, shown: str) -> None:
    assert escaping.plain(given_) == shown


def test_a_long_text_does_not_break_slacks_limits() -> None:
    for text in ("x" * 5000, "&" * 5000, "<" * 3000, "`a` " * 2000):
        slack_acts_nowhere(render(poisoned(text)).blocks)


def test_a_long_list_does_not_break_slacks_limits() -> None:
    whole = full()
    many = whole.model_copy(update={"asks": whole.asks * 30, "held": whole.held * 30})
    blocks = render(many).blocks
    slack_acts_nowhere(blocks)
    # What is cut off is in the middle: the witness stays.
    assert blocks[-1]["type"] == "context"


def test_an_own_template_stands_instead_of_a_shipped_one() -> None:
    own = {"en/words.j2": shipped()["en/words.j2"].replace("Your decision is needed", "Please decide")}
    assert "Please decide" in render(full(), own=own).subject
    assert faults(own, briefings()) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "line", "message"),
    [
        ("en/words.j2", "{% macro span(seconds) %}", "{% macro span(seconds %}", "{% macro span", "expected token"),
        (
            "message.j2",
            "{{ f.lead(w.news(b)) }}",
            "{{ f.lead(w.news(b)) }}{{ nobody }}",
            "{{ f.lead",
            "no variable nobody",
        ),
        ("message.j2", "b.servers", "b.severs", "b.severs", "severs"),
        ("ko/words.j2", "{{ stop.scope }}", "{{ stop.scop }}", "stop.scop", "scop"),
        ("message.j2", "{{ f.lead(w.news(b)) }}", "{{ b.__class__.__mro__ }}", "__class__", "unsafe"),
        ("message.j2", "{{ f.lead(w.news(b)) }}", "{{ 1 // 0 }}", "1 // 0", "zero"),
    ],
)
def test_a_broken_template_is_found_by_line_and_the_shipped_one_speaks(
    name: str, old: str, new: str, line: str, message: str
) -> None:
    text = shipped()[name]
    assert old in text
    own = {name: text.replace(old, new, 1)}
    expected = next(n for n, one in enumerate(own[name].splitlines(), 1) if line in one)
    (fault,) = faults(own, briefings())
    assert (fault.name, fault.line) == (name, expected)
    assert message in fault.message
    language = Language.KO if name.startswith("ko") else Language.EN
    shown = render(full(), language, own=own, words=SYSTEMS.words)
    if "severs" not in new:
        assert shown.loss.startswith(f"messages/{name}:{expected}: ")
    assert shown.text == render(full(), language, words=SYSTEMS.words).text
    assert shown.blocks == render(full(), language, words=SYSTEMS.words).blocks


def test_a_template_that_nobody_asks_for_is_named() -> None:
    (fault,) = faults({"en/word.j2": ""}, [])
    assert str(fault).startswith("messages/en/word.j2: no template is called that; there is ask.j2, en/words.j2, ")


def reasons() -> set[str]:
    """Return what the gate may say, as far as one can make it."""
    target = Target(system="gateway/main", kind="tool", id="t", name="forecast", server="weather")
    changes = (Change(target=target, field="enabled", before=True, after=False),)
    server = {"title": "W", "owner": "o", "environment": "prod", "protected": True, "physical_effects": True}
    inventory = Inventory.model_validate(
        {
            "version": 1,
            "systems": {
                "main": {
                    "kind": "contextforge",
                    "url": "http://127.0.0.1:9",
                    "user": "soar@example.com",
                    "password": {"env": "P"},
                    "canary": {"principal": "c", "token": {"env": "T"}, "url": "http://127.0.0.1:9/mcp/"},
                }
            },
            "servers": {"weather": server},
        },
        context=SYSTEMS.context,
    )
    found: set[str] = set()
    for purpose in Purpose:
        for radius in Radius:
            for requested_by in (None, "kim"):
                plan = Plan(
                    action="gateway.disable_tool",
                    params={},
                    summary="s",
                    changes=changes,
                    radius=radius,
                    irreversible=Irreversible(because="it deletes") if radius is Radius.FLEET else None,
                )
                facts = Facts(
                    incident_class=IncidentClass.TOOL_MISUSE,
                    severity=Severity.LOW,
                    confidence=Confidence.LOW,
                    authenticated=False,
                    confirmed=False,
                    purpose=purpose,
                    put_backs=9,
                    clean=False,
                    requested_by=requested_by,
                )
                nameless = facts.model_copy(update={"incident_class": IncidentClass.UNCLASSIFIED, "chosen": True})
                for one, policy in product((facts, nameless), (Policy(version=1), Policy(version=1, tiers=()))):
                    found |= set(decide(plan, policy, one, inventory).reasons)
    return found


def test_every_reason_of_the_gate_is_said_in_korean() -> None:
    every = reasons()
    assert len(every) > 12
    for reason in every:
        assert HANGUL.search(said(reason, Language.KO, SYSTEMS.words)), reason


def test_why_nothing_confirms_and_who_reviewed_is_said_in_korean() -> None:
    pin = Pin(
        kind=PinKind.TOOL, name="sky", digest=digest("sky"), definition={}, dossier=Dossier(reviewed="all", risk="high")
    )
    server = Server(title="t", owner="o", environment=Environment.PROD)
    inventory = Inventory(version=1, servers={"weather": server}, pins=Pins(servers={"weather": (pin,)}))
    target = Target(system="gateway/main", kind="tool", id="sky", name="sky", server="weather")
    change = Change(target=target, field="enabled", before=True, after=False)
    plan = Plan(action="gateway.disable_tool", params={}, summary="s", changes=(change,), radius=Radius.TOOL)

    def signed(*pins: Pin) -> Reviews:
        reviews = Reviews()
        asked = params("weather", "reviewer", pins)
        reviews.take(draft(actor="rae", verb=Verb.REVIEW, subject="weather", at=now(), reason="all", params=asked))
        return reviews

    two = Policy.model_validate({"version": 1, "review": {"people": {"high": 2}}})
    other, lost = pin.model_copy(update={"gateway_id": "x"}), pin.model_copy(update={"name": "gone"})
    unknown = plan.model_copy(update={"changes": (change.model_copy(update={"target": _called(target, "new")}),)})
    every = {
        DESCRIBES,
        ONE_FACT,
        *unreviewed(Reviews(), inventory, two, plan),
        *unreviewed(signed(other), inventory, two, plan),
        *unreviewed(signed(pin), inventory, two, plan),
        *unreviewed(signed(pin, lost), inventory, Policy(version=1), unknown),
    }
    assert len(every) == 6
    for reason in every:
        assert HANGUL.search(said(reason, Language.KO, SYSTEMS.words)), reason


def _called(target: Target, name: str) -> Target:
    return target.model_copy(update={"name": name, "id": name})


def test_what_varies_in_a_sentence_is_said_too() -> None:
    text = "Disable tool get_weather of weather at gateway main"
    assert said(text, Language.KO, SYSTEMS.words) == "게이트웨이 main에서 weather의 도구 get_weather 사용 중지"
    assert said(text, Language.EN, SYSTEMS.words) == text
    korean = partial(said, language=Language.KO, words=SYSTEMS.words)
    assert korean("tool forecast of weather is protected.") == "weather의 도구 forecast 보호 대상임"
    assert korean("2 leaks: tool sky was never approved") == "우회 2건: 도구 sky 승인된 적 없음"
    assert korean("somebody else's words") == "somebody else's words"


@pytest.mark.parametrize(
    "text",
    [
        "Disable " + " at gateway ".join(["tool a of b"] * 120),
        ": " * 1400 + "→ x",
        "a: " * 900 + "→ ",
        "Revoke " + " (id a) of b at gateway" * 100,
        " of " * 700,
        "x: 1 wrong one-time codes were tried in the name of " * 50,
    ],
)
def test_a_hostile_text_holds_nobody_up(text: str) -> None:
    def seconds(words: str) -> float:
        began = process_time()
        said(words, Language.KO, SYSTEMS.words)
        return process_time() - began

    # Of this process alone, so that a busy machine changes nothing; a text that is looked at in vain takes 1 ms.
    assert seconds(text) < 1.0
