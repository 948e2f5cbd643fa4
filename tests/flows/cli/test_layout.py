"""What people copy stays whole: digests, paths, ids and commands, at 80 columns and where there is no terminal."""

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.cli.layout import GAP, Cell, beside, under, width, widths, wrapped
from tests.flows.cli import world
from tests.flows.cli.world import Installation

DIGEST = "sha256:" + "9f86d081884c7d65" * 4
COPIED = [
    DIGEST,
    "/var/lib/mcp-soar/state/bundles/inc-2026-000001-000042.tar.gz",
    "`mcp-soar approve inc-2026-000001 --plan 9f86d081884c --as NAME --config /etc/a-long-name/of-a-folder/mcp-soar`",
]
WORDS = st.sampled_from([*COPIED, "nobody", "approves", "한국어", "it:", "-", "a"])
PROSE = st.lists(WORDS, min_size=1, max_size=30).map(" ".join)


@given(PROSE, st.integers(1, 120))
def test_a_paragraph_breaks_between_words_and_never_in_what_is_copied(text: str, room: int) -> None:
    lines = wrapped(text, room)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for one in COPIED:
        assert sum(line.count(one) for line in lines) == text.count(one)
    for line in lines:
        assert width(line) <= max(room, 2) or line in COPIED, "nothing stands beside what sticks out"


@given(st.lists(st.tuples(PROSE, PROSE), min_size=1, max_size=4), st.integers(30, 120))
def test_so_does_a_table_and_its_columns_stay_under_each_other(rows: list[tuple[str, str]], room: int) -> None:
    cells = [[Cell("name"), *map(Cell, row)] for row in rows]
    places = widths(cells, [True, False, False], room)
    for row in cells:
        lines = ["".join(cell.text for cell in line) for line in beside(row, places)]
        for one in COPIED:
            assert sum(line.count(one) for line in lines) == sum(cell.text.count(one) for cell in row)
        for line in lines:
            assert width(line) <= max(room, sum(places) + 2 * GAP) or line.strip() in COPIED, "nothing stands beside it"


KEY = "SHA256:" + "aB3xYz9kLm" * 4 + "abc"
AT = "2026-11-30T04:12:04Z"
LEASE = "chosen-token@token:dana-kim/3f2b8c1d-e0a9-4c7d-8e1f-00112233aabb"


@pytest.mark.parametrize(
    ("rows", "whole", "copied"),
    [
        (
            [
                ["at", "who", "what"],
                [AT, "mcp-soar", f"sealed {DIGEST} and {'signed by all ' * 9}"],
                [AT, "mcp-soar", DIGEST],
                [AT, "mcp-soar", "contained " * 30],
            ],
            [True, False, False],
            [DIGEST, AT],
        ),
        (
            [
                ["lease", "until", "last verified"],
                [f"{LEASE}\ninc-2026-000001", "-", f"done for good {AT}, it cannot be taken back"],
            ],
            [False, True, False],
            [LEASE, AT, "inc-2026-000001"],
        ),
        (
            [["who", "roles", "since", "key"], ["ann", f"approver, responder\nspeaks for bob until {AT}", AT, KEY]],
            [False, False, True, False],
            [KEY, AT],
        ),
    ],
    ids=["a timeline", "leases", "people"],
)
def test_what_fits_into_80_columns_alone_makes_no_line_of_a_table_longer(
    rows: list[list[str]], whole: list[bool], copied: list[str]
) -> None:
    cells = [[Cell(text) for text in row] for row in rows]
    places = widths(cells, whole, 80)
    lines = ["".join(cell.text for cell in line) for row in cells for line in beside(row, places)]
    assert max(map(width, lines)) <= 80, "\n".join(lines)
    for text in copied:
        assert sum(line.count(text) for line in lines) == sum(cell.count(text) for row in rows for cell in row), lines
    words = sorted(word for row in rows for cell in row for word in cell.split())
    assert sorted(word for line in lines for word in line.split()) == words, "and nothing is lost"


def test_a_word_that_nobody_copies_is_broken_where_it_would_push_a_table_apart() -> None:
    cells = [[Cell("x" * 300), Cell("said")]]
    places = widths(cells, [False, False], 80)
    assert sum(places) + GAP <= 80


def copied(document: object) -> Iterator[str]:
    """Yield whatever of a command's answer somebody might copy."""
    if isinstance(document, dict):
        for value in document.values():
            yield from copied(value)
    elif isinstance(document, list):
        for value in document:
            yield from copied(value)
    elif isinstance(document, str) and re.search(r"^mcp-soar |sha256:|/\S{20}", document):
        yield from [document] if document.startswith("mcp-soar ") else re.findall(r"\S*(?:sha256:|/)\S+", document)


@pytest.mark.parametrize("columns", ["80", None], ids=["80 columns", "piped"])
def test_what_commands_answer_is_whole_in_their_lines(site: Installation, columns: str | None) -> None:
    site.append(*(make() for make in world.CONTAINED))
    site.append(world.opened(key="b"), world.alert(), world.proposed(), incident="inc-2026-000002", correlation="b")
    elsewhere = {"MCP_SOAR_CONFIG": None, "COLUMNS": columns}
    seen = []
    for words in (
        ("incident", "1"),
        ("incident", "2"),
        ("leases",),
        ("people",),
        ("doctor",),
        ("message", "show", "2"),
    ):
        given_ = (*words, "--config", str(site.folder))
        document = site.run(*given_, "--json", env=elsewhere)
        shown = site.run(*given_, env=elsewhere)
        lines, whole = shown.stdout.splitlines(), re.sub(r"\s", "", shown.stdout)
        for text in copied(json.loads(document.stdout)):
            if re.sub(r"\s", "", text) in whole:
                assert any(text in line for line in lines), (words, text)
                seen.append(text)
    assert any(text.startswith("mcp-soar approve") and str(site.folder) in text for text in seen)
    assert len(seen) > 5


def test_a_value_that_would_stick_out_beside_its_name_stands_below_it() -> None:
    lines = ["".join(cell.text for cell in line) for line in under(Cell("head"), Cell(f"2, {DIGEST}"), 14, 80)]
    assert lines == ["head", f"  2, {DIGEST}"]
    assert [len(list(under(Cell("head"), Cell(text), 14, 80))) for text in ("short", "x" * 70)] == [1, 2]
