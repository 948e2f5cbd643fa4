"""The pictures: what they show is where it ought to be, legible, harmless, and told in words too."""

import base64
import itertools
import unicodedata
from datetime import timedelta
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.report.course import course, table
from flows.report.picture import Contained, axis_of, data_image, timeline, trend
from playbooks.gate.plan import Answer
from playbooks.record.incident import Phase
from playbooks.record.viewing import view
from tests.lab import stories
from tests.lab.examples import examples

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = {f"{SVG}{name}" for name in ("svg", "title", "desc", "g", "rect", "line", "path", "circle", "text")}


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float
    text: str

    def meets(self, other: "Box") -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def parsed(svg: str) -> ET.Element:
    root = ET.fromstring(svg)  # noqa: S314  # our own, and small
    for element in root.iter():
        assert element.tag in DRAWN
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert "href" not in name
            assert "//" not in value
            assert "url(" not in value
    assert root.find(f"{SVG}title") is not None
    assert root.find(f"{SVG}desc") is not None
    return root


def boxes(root: ET.Element) -> list[Box]:
    """Where the texts stand, with letters as wide as they are on average."""
    found = []
    for element in root.iter(f"{SVG}text"):
        text, size = element.text or "", float(element.attrib["font-size"])
        letters = sum(1.9 if unicodedata.east_asian_width(c) in "WF" else 1.0 for c in text)
        wide, x, y = letters * size * 0.52, float(element.attrib["x"]), float(element.attrib["y"])
        left = {"start": x, "middle": x - wide / 2, "end": x - wide}[element.attrib["text-anchor"]]
        found.append(Box(left, y - size * 0.8, left + wide, y + size * 0.2, text))
    return found


def assert_legible(svg: str) -> None:
    root = parsed(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    found = boxes(root)
    for one, other in itertools.combinations(found, 2):
        assert not one.meets(other), (one, other)
    for box in found:
        assert box.left >= 0, box
        assert box.right <= width, box
        assert box.bottom <= height, box


@pytest.mark.parametrize("story", [stories.contained(), stories.over(), stories.leaking()])
def test_no_text_covers_another_and_none_leaves_the_picture(story: list[stories.Timed]) -> None:
    assert_legible(timeline(view(stories.told(story)), at=stories.at(10_800)))


MOMENTS = st.floats(min_value=0, max_value=10 * 86400, allow_nan=False)


@settings(max_examples=examples(60), deadline=None)
@given(
    detected=st.floats(min_value=-86400, max_value=0),
    took=st.lists(MOMENTS, min_size=6, max_size=6).map(sorted),
    lease=MOMENTS,
    later=MOMENTS,
)
def test_whatever_the_times_are_it_stays_legible_and_in_order(
    detected: float, took: list[float], lease: float, later: float
) -> None:
    story = [
        (took[0], stories.opened()),
        (took[0], stories.alert(detected=detected)),
        (took[1], stories.intended(until=took[1] + lease)),
        (took[2], stories.wrote(took[2])),
        (took[3], stories.verified(took[3])),
        (took[4], stories.exhibit(1, "capture-answer", Phase.CAPTURE, took[3], kind="answer")),
        (took[5], stories.proposed("도구", expires=took[5] + 900)),
    ]
    state = stories.told(story)
    now = stories.at(took[5] + later)
    assert_legible(timeline(view(state), at=now))
    shown = course(view(state), at=now)
    assert shown is not None
    axis = axis_of(shown, 260, 780)
    moments = sorted({one.at for one in shown.milestones} | {row.end for row in shown.rows})
    places = [axis.x(moment) for moment in moments]
    assert places == sorted(places)
    assert places[0] >= 260
    assert places[-1] <= 780


def test_a_response_of_a_quarter_second_is_seen_beside_a_lease_of_a_day() -> None:
    root = parsed(timeline(view(stories.told(stories.contained())), at=stories.at(10_800)))
    bars: dict[str, float] = {}
    for group in root.iter(f"{SVG}g"):
        label = next(element.text or "" for element in group.iter(f"{SVG}text"))
        wide = [float(rect.attrib["width"]) for rect in group.iter(f"{SVG}rect") if float(rect.attrib["height"]) > 10]
        bars.setdefault(label, sum(wide))
        if "established, until" in "".join(element.text or "" for element in group.iter(f"{SVG}text")):
            bars["lease"] = sum(wide)
    assert bars["cut-tool · weather/forecast"] >= 8
    assert bars["lease"] > 200
    notes = " ".join(element.text or "" for element in root.iter(f"{SVG}text"))
    assert "The scale is logarithmic, and nothing is left out." in notes


def test_there_is_one_scale_from_the_first_moment_to_the_last() -> None:
    shown = course(view(stories.told(stories.contained())), at=stories.at(10_800))
    assert shown is not None
    axis = axis_of(shown, 260, 780)
    places = [axis.x(shown.zero + timedelta(seconds=10.0**power)) for power in range(5)]
    steps = [other - one for one, other in itertools.pairwise(places)]
    assert max(steps) - min(steps) < 1, "each tenfold is as wide as every other"
    assert min(steps) > 20
    before = axis.x(shown.zero - timedelta(milliseconds=5))
    assert 260 <= before < axis.x(shown.zero) < axis.x(shown.zero + timedelta(milliseconds=5))


def test_outcomes_differ_by_shape_and_word_and_not_by_colour_alone() -> None:
    def signs(answer: Answer) -> tuple[str, str]:
        story = [
            (0.0, stories.opened()),
            (0.1, stories.intended()),
            (0.2, stories.wrote(0.2)),
            (0.3, stories.verified(0.3, answer)),
        ]
        group = next(parsed(timeline(view(stories.told(story)))).iter(f"{SVG}g"))
        texts = [element.text or "" for element in group.iter(f"{SVG}text")]
        sign = next(element for element in group if element.tag in {f"{SVG}circle", f"{SVG}path"})
        return f"{sign.tag} {sign.attrib.get('d', '')[-20:]}", texts[1]

    found = [signs(answer) for answer in Answer]
    assert len({shape for shape, _ in found}) == len(Answer)
    assert len({word for _, word in found}) == len(Answer)


def test_the_table_says_what_the_picture_shows() -> None:
    state = stories.told(stories.over())
    shown = course(view(state))
    assert shown is not None
    lines = table(shown)
    description = parsed(timeline(view(state))).find(f"{SVG}desc")
    assert description is not None
    assert description.text
    for milestone in shown.milestones:
        assert milestone.name in description.text
        assert any(line[0] == "milestone" and line[1] == milestone.name for line in lines)
    assert len(lines) == len(shown.milestones) + len(shown.rows)
    for name, key in (("first effect", "first_effect_at"), ("verified", "verified_at"), ("released", "released_at")):
        assert next(one.at for one in shown.milestones if one.name == name) == state.metrics[key]


def test_nothing_yet_is_a_picture_too() -> None:
    parsed(timeline(view(stories.told([]))))
    parsed(trend([]))


def points(number: int) -> list[Contained]:
    seconds = itertools.cycle([0.2, 300.0, None, 40.0])
    return [
        Contained(f"inc-2026-{n:06}", stories.at(n * 86400), next(seconds), None if n % 5 == 4 else 60.0)
        for n in range(number)
    ]


@pytest.mark.parametrize("number", [1, 2, 7, 40, 90])
def test_the_trend_is_legible_for_few_and_for_many(number: int) -> None:
    assert_legible(trend(points(number)))


def test_the_trend_says_of_each_incident_how_it_went() -> None:
    root = parsed(trend(points(5)))
    titles = [element.text or "" for group in root.iter(f"{SVG}g") for element in group.iter(f"{SVG}title")]
    assert [title.rpartition(", ")[2] for title in titles] == [
        "goal met",
        "goal MISSED",
        "not contained",
        "goal met",
        "no goal",
    ]


def test_a_slower_containment_is_drawn_higher() -> None:
    def heights(seconds: list[float]) -> list[float]:
        some = [Contained(f"inc-{n}", stories.at(n), s, 60.0) for n, s in enumerate(seconds)]
        groups = parsed(trend(some)).iter(f"{SVG}g")
        return [float(shape.attrib["cy"]) for group in groups for shape in group.iter(f"{SVG}circle")]

    found = heights([0.05, 0.5, 5.0, 50.0])
    assert found == sorted(found, reverse=True)
    steps = [one - other for one, other in itertools.pairwise(found)]
    assert max(steps) < min(steps) * 1.5


def test_a_data_image_holds_the_picture() -> None:
    svg = timeline(view(stories.told(stories.contained())))
    address = data_image(svg)
    assert address.startswith("data:image/svg+xml;base64,")
    assert base64.b64decode(address.partition(",")[2]).decode() == svg


def test_an_open_incident_ends_now_and_a_closed_one_when_it_was_closed() -> None:
    now = stories.at(86400 * 3)
    running, ended = (course(view(stories.told(story)), at=now) for story in (stories.contained(), stories.over()))
    assert running is not None
    assert ended is not None
    assert running.at == now
    assert ended.at == stories.at(7260)
    assert ended.milestones[-1].name == "closed"
    assert max(row.end for row in ended.rows) - stories.ZERO < timedelta(hours=3)


def test_a_message_says_whether_it_reached_somebody() -> None:
    def word(*more: stories.Timed) -> str:
        shown = course(view(stories.told([(0.0, stories.opened()), (0.1, stories.page("opened", "Opened.")), *more])))
        assert shown is not None
        return shown.rows[-1].word

    assert word() == "message, not sent yet"
    assert word((0.2, stories.told_of("opened", "slack", delivered=False))) == "message, reached NOBODY"
    assert (
        word((0.2, stories.told_of("opened", "slack", delivered=False)), (0.3, stories.told_of("opened"))) == "message"
    )


def test_a_crowded_picture_leaves_delivered_messages_to_the_table_and_says_so() -> None:
    pages = [(1.0 + n, stories.page(f"leaking:{n}", "It leaks.")) for n in range(30)]
    told = [(40.0, stories.told_of(f"leaking:{n}")) for n in range(29)]
    state = stories.told([*stories.contained(), *pages, *told])
    svg = timeline(view(state))
    assert_legible(svg)
    texts = [element.text or "" for element in parsed(svg).iter(f"{SVG}text")]
    assert "message" not in texts
    assert "message, reached NOBODY" not in texts
    assert "message, not sent yet" in texts
    shown = course(view(state))
    assert shown is not None
    left = len([row for row in shown.rows if row.word == "message"])
    assert left == 31
    assert any(f"The table has {left} more rows" in text for text in texts)
    assert len([line for line in table(shown) if line[-1] == "message"]) == left
