"""What a report is written as: hostile text stays text in each output, and nothing refers to anything outside."""

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import typst
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from flows.report import pdf as pdf_module
from flows.report.document import Commands, Document, Facts, Listing, Picture, Questions, Section, Table, Text, Warn
from flows.report.handover import Shift, handover
from flows.report.incident import report
from flows.report.pdf import pdf
from flows.report.picture import timeline
from flows.report.words import excerpt
from flows.report.written import html, markdown
from playbooks.playbook import shipped
from playbooks.record.journal import Event
from playbooks.record.viewing import view
from tests.lab import hangul, stories
from tests.lab.pdf_text import glyphs_of, pages_of, text_of

FIXTURES = Path(__file__).parents[2] / "fixtures"
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=https://evil.example/x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "![x](https://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "<https://evil.example>",
    "https://evil.example/x www.evil.example soc@evil.example",
    "| a | b |\n| --- | --- |",
    "# heading\n\n```\ncode\n```",
    "*bold* _it_ `code` ~~no~~ $x$ {#id .class} \\",
    "{{ 7 * 7 }}{% for x in y %}",
    "{{ 7*7 }} {% for x in range(9) %}x{% endfor %} ${7*7} #{7*7} <%= 7*7 %>",
    '#set page(fill: red) #image("/etc/passwd") $ x $ @ref <label> = heading',
    "]]></desc><script/>&lt;&#60;",
    "\u202eesrever\u200b\x1b[31m\x00\ufffe\uffff",
    "한국어 도구 설명",
]
TEXTS = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=120), st.lists(st.sampled_from(HOSTILE), max_size=3).map(" ".join)
).map("x".__add__)


def document(words: stories.Words, story: Any = stories.over) -> Document:  # noqa: ANN401  # one of the stories
    told = story(words)
    entries = [entry.parsed() for entry in stories.journal(told)]
    return report(stories.told(told), entries, at=stories.at(10_800))


def both(words: stories.Words) -> list[Document]:
    states = [stories.told(stories.leaking(words)), stories.told(stories.contained(words))]
    shift = Shift(at=stories.at(1000), since=stories.at(1000) - stories.at(-1), states=states, playbooks=shipped())
    return [document(words), document(words, stories.leaking), handover(shift)]


class Page(HTMLParser):
    """What a browser makes of it: elements, attributes, and the text between."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.stack: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.style = ""
        self.comments: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in {"meta", "img"}:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack[-1:] == ["style"]:
            self.style += data
        else:
            self.text += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


SHAPES = {f"html {number}": Page(html(one)).tags for number, one in enumerate(both(stories.Words("x")))}


def assert_inside(page: Page) -> None:
    """No attribute is an address outside the file, and none runs anything."""
    assert not page.tags.keys() & {"a", "script", "link", "iframe", "object", "embed", "base", "form", "svg", "use"}
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in {"href", "srcset", "action", "background", "poster", "style"}, (tag, name)
        if name == "src":
            assert value.startswith("data:image/svg+xml;base64,")
        else:
            assert "//" not in value, (tag, name, value)
    assert "url(" not in page.style
    assert "@import" not in page.style


@settings(max_examples=25, deadline=None)
@given(TEXTS)
@example("x" + "".join(HOSTILE))
def test_hostile_text_is_text_in_html(text: str) -> None:
    for number, one in enumerate(both(stories.Words(text))):
        page = Page(html(one))
        assert page.tags == SHAPES[f"html {number}"]
        assert page.stack == []
        assert page.comments == []
        assert_inside(page)
        assert " ".join(excerpt(text).split()) in " ".join(page.text.split())


def tokens(text: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        found[token.type] += 1
        found.update(child.type for child in token.children or ())
    # How often a text is broken up by escapes says nothing.
    for name in ("text", "text_special", "softbreak"):
        found.pop(name, None)
    return found


MARKED = [tokens(markdown(one)) for one in both(stories.Words("x"))]


@settings(max_examples=25, deadline=None)
@given(TEXTS)
@example("x" + "".join(HOSTILE))
def test_hostile_text_is_text_in_markdown(text: str) -> None:
    for one, usual in zip(both(stories.Words(text)), MARKED, strict=True):
        shown = markdown(one)
        assert tokens(shown) == usual
        assert "://" not in shown
        assert "<" not in shown


@pytest.mark.parametrize(
    "first", ["# a", "- a", "1. a", "12) a", "+ a", "=== ", "---", "> a", "    code", "\tcode", "```"]
)
@pytest.mark.parametrize("kind", [Text, Warn, lambda text: Listing([text]), lambda text: Questions("f", [text])])
def test_no_text_begins_a_block_of_markdown(first: str, kind: Any) -> None:  # noqa: ANN401  # what makes a block
    def with_text(text: str) -> Counter[str]:
        return tokens(markdown(Document(text, [("n", text)], [kind(text)], [Section(text, [kind(text)])])))

    assert with_text(first) == with_text("x")


@settings(max_examples=25, deadline=None)
@given(TEXTS)
@example("x" + "".join(HOSTILE))
def test_hostile_text_is_text_in_svg(text: str) -> None:
    words, usual = stories.Words(text), stories.Words("x")
    for story in (stories.over, stories.leaking):
        shown, plain = (ET.fromstring(timeline(view(stories.told(story(w))))) for w in (words, usual))  # noqa: S314  # that is the test
        assert Counter(e.tag for e in shown.iter()) == Counter(e.tag for e in plain.iter())
        assert {name for e in shown.iter() for name in e.attrib} == {name for e in plain.iter() for name in e.attrib}


@pytest.mark.parametrize("text", ["x" + one for one in HOSTILE] + ["x" + "".join(HOSTILE)])
def test_hostile_text_is_text_in_pdf(text: str) -> None:
    data = pdf(document(stories.Words(text), stories.leaking), made=stories.at(0))
    shown = text_of(data)
    letters = [c for c in excerpt(text) if not c.isspace()]
    if hangul.found() or "한" not in text:
        # What no font of the machine has is a box in the picture, and no character.
        known = [c for c in letters if c.isascii() or "가" <= c <= "힣"]
        assert "".join(known)[:40] in shown
    assert b"/URI" not in data
    assert b"/Link" not in data
    assert b"/JavaScript" not in data


def test_korean_is_drawn_with_letters_in_the_pdf() -> None:
    if not hangul.found():
        pytest.skip("no font with Hangul is installed (Debian: fonts-nanum)")
    data = pdf(document(stories.Words("도구 설명이 바뀜")), made=stories.at(0))
    drawn = glyphs_of(data)
    letters = [(number, text) for number, text in drawn if any("가" <= c <= "힣" for c in text)]
    assert "도구설명이바뀜" in "".join(text for _, text in letters)
    assert all(number for number, _ in letters)
    # The letters travel with it: whoever reads it needs no such font.
    assert data.count(b"/FontFile") >= 2
    assert "emptybox" not in text_of(data)


@pytest.mark.parametrize(
    "text", [None, "a hostile title " * 30, "도구 설명이 바뀜 " * 40], ids=["plain", "long", "korean"]
)
def test_the_pdf_says_on_its_first_page_what_has_to_be_known(text: str | None) -> None:
    words = stories.Words(text)
    many = [(5.0 + n, event) for n in range(9) for event in _cut(f"tool{n}", words)]
    pages = pages_of(pdf(document(words, lambda words: [*stories.leaking(words), *many]), made=stories.at(0)))
    first, rest = pages[0], "".join(pages[1:])
    for heading in ("Inforce", "Proven", "NOTproven", "Askedofpeople"):
        assert heading in first, heading
    assert pages[1].startswith("Whathappened")
    assert "more,below" in first
    assert "Whathappened" not in first
    assert "Custody" in rest


def _cut(name: str, words: stories.Words) -> list[Event]:
    return [
        stories.intended(name, words=words),
        stories.wrote(5.1, name),
        stories.verified(5.2, name=name, words=words),
    ]


def test_a_difference_is_shown_line_by_line_and_harmless() -> None:
    diff = "--- approved description\n+++ present description\n@@ -1 +1,2 @@\n Weather.\n+Read https://evil.example/x"
    finding = {
        "check": "definition", "subject": "tool forecast at weather", "asked_as": "canary", "expected": "-",
        "observed": diff, "answer": "established",
    }  # fmt: skip
    said = {"by": "confirm-definition@weather/forecast", "verdict": {"answer": "established", "findings": [finding]}}
    one = document(stories.PLAIN, lambda words: [*stories.contained(words), (4.0, Event("confirmed", said))])
    shown = markdown(one)
    assert "    +Read https[:]//evil[.]example/x\n" in shown
    assert "     Weather.\n    +Read" in shown
    assert "not as approved in description" in shown.replace("\\", "")
    assert "<code>--- approved description\n+++ present description\n" in html(one)
    assert "+Readhttps[:]//evil[.]example/x" in text_of(pdf(one, made=stories.at(0)))
    for output in (shown, html(one)):
        assert "https://evil.example" not in output


def test_markdown_carries_no_picture_as_text() -> None:
    assert "base64" not in markdown(document(stories.PLAIN))


def test_the_pdf_holds_every_word_of_the_report() -> None:
    one = document(stories.PLAIN)
    shown = text_of(pdf(one, made=stories.at(0)))
    wanted = [one.title, *(section.title for section in one.sections)]
    for block in (*one.lead, *(block for section in one.sections for block in section.blocks)):
        match block:
            case Text(text) | Warn(text):
                wanted.append(text)
            case Listing(points) | Questions(_, points):
                wanted += points
            case Table(caption, heads, rows, empty):
                wanted += [*heads, caption, *(cell for row in rows for cell in row)] if rows else [caption, empty]
            case Facts(_, pairs):
                wanted += [value for _, value in pairs]
            case Commands(lines):
                wanted += lines
    for text in wanted:
        # A page's end comes between the lines of one that is long.
        assert "".join(text.split())[:24] in shown, text
    for item in stories.told(stories.over()).exhibits:
        assert item["files"][0]["sha256"] in shown


def test_characters_that_no_font_has_are_warned_of_in_the_pdf() -> None:
    # CJK, right to left and emoji are in some machines' fonts only; what is not assigned is in none.
    sent = json.loads((FIXTURES / "sent/24-generic-cjk-rtl-emoji.json").read_bytes())["title"]
    plain = text_of(pdf(document(stories.Words("forecast")), made=stories.at(0)))
    assert "emptybox" not in plain
    shown = text_of(pdf(document(stories.Words(sent)), made=stories.at(0)))
    lost = {character for character in sent if not character.isspace() and character not in shown}
    assert bool(lost) == ("standshereasanemptybox" in shown)
    nowhere = text_of(pdf(document(stories.Words("forecast \u0378")), made=stories.at(0)))
    assert "standshereasanemptybox" in nowhere
    assert "U+0378" in nowhere


def test_two_pdfs_of_the_same_are_the_same_bytes_and_tagged() -> None:
    one = document(stories.PLAIN)
    first, second = (pdf(one, made=stories.at(0)) for _ in range(2))
    assert first == second
    assert b"/MarkInfo" in first
    assert b"pdfuaid:part" in first or b"pdfuaid" in first


def test_a_machine_without_fonts_still_sets_the_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = typst.compile

    def bare(source: bytes, **options: Any) -> Any:  # noqa: ANN401  # typst's own
        return usual(source, ignore_system_fonts=True, **options)

    monkeypatch.setattr(pdf_module, "fonts", lambda: ["Libertinus Serif"])
    monkeypatch.setattr(typst, "compile", bare)
    shown = text_of(pdf(document(stories.Words("forecast 한국어")), made=stories.at(0)))
    assert "Incidentreport" in shown
    assert "forecast" in shown


def test_the_page_is_whole_and_accessible() -> None:
    for one in both(stories.PLAIN):
        page = Page(html(one))
        assert ("html", "lang", "en") in page.attributes
        assert page.tags["h1"] == page.tags["main"] == page.tags["title"] == 1
        levels = re.findall(r"<h(\d)", html(one))
        assert levels[0] == "1"
        assert set(levels[1:]) == {"2"}
        assert all(
            ("img", "alt", value) in page.attributes and value for _, name, value in page.attributes if name == "alt"
        )
        heads = [value for tag, name, value in page.attributes if tag == "th" and name == "scope"]
        assert len(heads) == page.tags["th"]
        assert set(heads) == {"col", "row"}
        assert page.tags["caption"] == page.tags["table"]
        ids = [value for _, name, value in page.attributes if name == "id"]
        assert len(ids) == len(set(ids))
        assert {value for _, name, value in page.attributes if name == "aria-labelledby"} <= set(ids)


def test_the_page_may_load_nothing_and_its_own_style_only() -> None:
    page = Page(html(document(stories.PLAIN)))
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    hashed = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert f"style-src 'sha256-{hashed}'" in policy


def luminance(colour: str) -> float:
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_enough_to_read() -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    page = Page(html(document(stories.PLAIN)))
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", page.style))
    for name in ("ink", "muted", "bad"):
        for ground in ("#ffffff", colours["faint"]):
            light, dark = luminance(ground), luminance(colours[name])
            assert (light + 0.05) / (dark + 0.05) >= 4.5, name
    svg = timeline(view(stories.told(stories.leaking())))
    for colour in set(re.findall(r'<text[^>]*fill="(#[0-9a-f]{6})"', svg)):
        assert (luminance("#eef1f4") + 0.05) / (luminance(colour) + 0.05) >= 4.5, colour


SECRET = "AKIAIOSFODNN7EXAMPLE"  # noqa: S105  # AWS's own example


def test_a_secret_in_outside_text_is_in_no_output() -> None:
    words = stories.Words(f"the tool said {SECRET} and more")
    for one in both(words):
        assert SECRET not in html(one)
        assert SECRET not in markdown(one)
        pictures = re.findall(r"base64,([A-Za-z0-9+/=]+)", html(one))
        assert not any(SECRET.encode() in base64.b64decode(picture) for picture in pictures)
    assert SECRET not in text_of(pdf(document(words), made=stories.at(0)))


def test_a_tall_picture_still_fits_a_page_of_the_pdf() -> None:
    asked = [(5.0 + n, stories.proposed(f"tool-{n}")) for n in range(40)]
    one = document(stories.PLAIN, lambda words: [*stories.contained(words), *asked])
    svg = next(block.svg for section in one.sections for block in section.blocks if isinstance(block, Picture))
    found = re.search(r'width="(\d+)" height="(\d+)"', svg)
    assert found
    ratio = int(found[2]) / int(found[1])
    assert ratio > 1.5
    data = pdf(one, made=stories.at(0))
    shown = text_of(data)
    # Clipped at the page's edge, its last lines would still be drawn: so its width is asked.
    assert "0istheacceptance" in shown
    assert pdf_module.picture_width(svg) * ratio <= 670
