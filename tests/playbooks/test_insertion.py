"""What is added to a document leaves what a person wrote as it is, and reads back as that and the addition."""

import re
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playbooks.errors import Refused
from playbooks.strict import yaml_data
from playbooks.text.insertion import Addition, Path, added, scalar
from tests.lab.examples import examples

NEW = Addition(("servers",), "fresh", {"title": "Fresh", "gateway": {"name": "main", "id": "x"}})


def read(text: str) -> Any:  # noqa: ANN401  # a document
    return yaml_data(text, file="inventory.yaml")


# What stands between things that people write, and beside them.
NOISE = st.sampled_from(["", "\n", "# a remark: {}\n", "  # indented\n", "\n# two\n\n", "#  weather:\n#    title: x\n"])
BESIDE = st.sampled_from(["", "", "  # mine", " # {}, [], - x"])
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029\ufeff"), max_size=12
)
VALUE = st.one_of(
    st.sampled_from(["plain", "'single # quoted'", '"double \\u00e9"', "3", "true", "90s", "[a, b]", "{a: 1, b: [c]}"]),
    TEXT.map(scalar),
)
KEYS = ["weather", "files-2", "a b", "on", "\uc11c\uc6b8"]


@st.composite
def block(draw: st.DrawFn, column: int, depth: int, keys: list[str]) -> str:
    """Draw a block mapping that begins in a column."""
    lines = []
    for key in draw(st.lists(st.sampled_from(keys), min_size=1, max_size=3, unique=True)):
        lines.append(" " * column + scalar(key) + ":" + draw(part(column, depth)))
        lines.append(draw(st.sampled_from(["", "", "\n", " " * column + "# within\n"])))
    return "".join(lines)


@st.composite
def part(draw: st.DrawFn, column: int, depth: int) -> str:
    """Draw what follows a key's colon."""
    inner = column + draw(st.integers(1, 4))
    how = draw(st.sampled_from(["value", "block", "empty", "literal", "sequence", "flow"]))
    if how == "block" and depth:
        return draw(BESIDE) + "\n" + draw(block(inner, depth - 1, KEYS))
    if how == "empty":
        return " {}" + draw(BESIDE) + "\n"
    if how == "literal":
        pad = " " * inner
        return f" {draw(st.sampled_from(['|', '|-', '>', '|+']))}\n{pad}text # no remark\n{pad}  {{}}\n"
    if how == "sequence":
        items = draw(st.lists(VALUE, min_size=1, max_size=2))
        return "\n" + "".join(f"{' ' * draw(st.just(inner))}- {item}\n" for item in items)
    if how == "flow":
        broken = "\n" + " " * inner
        return f" {{x: 1,{broken}y: [2, 3]{draw(st.sampled_from(['', ',', ' # so', ',  # so']))}{broken}}}\n"
    return f" {draw(VALUE)}{draw(BESIDE)}\n"


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Draw a document as a person may have written it."""
    text = draw(NOISE).lstrip(" ") + "version: 1\n"
    for key in draw(st.permutations(["gateways", "servers", "principals"])):
        how = draw(st.sampled_from(["block", "flow", "empty", "absent"]))
        text += draw(NOISE)
        if how == "block":
            text += f"{key}:{draw(BESIDE)}\n" + draw(block(draw(st.integers(1, 4)), 2, KEYS))
        elif how == "flow":
            text += key + ": {weather: {title: x, tokens: {a: b}}, files-2: {}}" + draw(BESIDE) + "\n"
        elif how == "empty":
            text += key + ": {}" + draw(BESIDE) + "\n"
    text += draw(NOISE)
    if draw(st.booleans()):
        text = text.rstrip("\n")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(st.sampled_from(["", "---\n", "\ufeff"])) + text


@st.composite
def additions(draw: st.DrawFn, data: dict[str, Any]) -> list[Addition]:
    """Draw things that a document does not have yet."""
    value: Any = draw(st.dictionaries(TEXT, st.one_of(TEXT, st.dictionaries(TEXT, TEXT, max_size=2)), max_size=3))
    remark: dict[Path, str] = {(next(iter(value)),): "FILL IN: this"} if value else {}
    found = [
        Addition((key,), draw(st.just(f"new-{number}")), value, remark, {(): ("From a gateway",)})
        for number, key in enumerate(draw(st.lists(st.sampled_from(["servers", "principals"]), max_size=3)))
    ]
    for key in ("servers", "gateways"):
        for name, inner in (data.get(key) or {}).items():
            if isinstance(inner, dict) and draw(st.booleans()):
                found.append(Addition((key, name, "offers", "tools"), draw(TEXT.filter(bool)), "id-1"))
            if isinstance(inner, list):
                found.append(Addition((key, name), None, draw(TEXT)))
    return found


def expected(before: dict[str, Any], made: list[Addition]) -> dict[str, Any]:
    after = deepcopy(before)
    for one in made:
        place: Any = after
        for key in one.path[:-1] if one.key is None else one.path:
            place = place.setdefault(key, {})
        if one.key is None:
            place.setdefault(one.path[-1], []).append(one.value)
        else:
            place[one.key] = one.value
    return after


def within(small: str, large: str) -> bool:
    """Whether all characters of one text stand in another in their order."""
    rest = iter(large)
    return all(character in rest for character in small)


@settings(max_examples=examples(100))
@given(st.data())
def test_whatever_a_person_wrote_stays_and_reading_it_back_gives_that_and_the_addition(data: st.DataObject) -> None:
    text = data.draw(documents())
    before = read(text)
    made = data.draw(additions(before))
    try:
        after = added(text, made, file="inventory.yaml")
    except Refused:
        # A literal that ends with the file, without a line's end, would gain one.
        assert re.search(r"[|>][+-]?\r?\n[^\n]*\n[^\n]*$", text)
        return
    assert read(after) == expected(before, made)
    kept = re.sub(r": \{\}", ":", text)
    assert within(kept, after)
    if not made:
        assert after == text
    # Nothing is moved or broken: whole lines stand as they did, but those into whose brackets something went.
    lines = iter(after.splitlines(keepends=True))
    for line in text.splitlines(keepends=True):
        if line.endswith("\n") and not re.search(r"[\[{].*[\]}]|^\s*[\]}]", line):
            assert line in lines, line


def test_nothing_to_add_is_nothing_changed() -> None:
    text = "version: 1\r\nservers: {}   # mine\r\n"
    assert added(text, [], file="x") == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("servers: {}\n# end\n", "servers:\n  fresh: {T}\n# end\n"),
        ("servers: {}", "servers:\n  fresh: {T}\n"),
        ("servers: {a: {b: c}}\n", "servers: {a: {b: c}, fresh: {T}}\n"),
        ("servers: {a: {b: c},}\n", "servers: {a: {b: c},fresh: {T}}\n"),
        ("servers:\n    a:\n        b: c # mine\n        # of a\n\nz: 1\n", None),
        ("version: 1\n...\n", "version: 1\nservers:\n  fresh: {T}\n...\n"),
    ],
)
def test_where_it_goes(before: str, after: str | None) -> None:
    found = added(before, [Addition(("servers",), "fresh", 1)], file="x")
    wanted = after.replace("{T}", "1") if after else before.replace("of a\n", "of a\n    fresh: 1\n")
    assert found == wanted


def test_a_documents_line_ends_are_those_of_what_is_added() -> None:
    found = added("version: 1\r\nservers: {}\r\n", [NEW], file="x")
    assert found == ("version: 1\r\nservers:\r\n  fresh:\r\n    title: Fresh\r\n    gateway: {name: main, id: x}\r\n")


def test_what_would_read_back_as_something_else_is_not_written() -> None:
    # The text ends with the file; whatever follows it gives it a line's end that it did not have.
    with pytest.raises(Refused, match="cannot be added to"):
        added("version: 1\nnotes: |\n  x", [Addition((), "more", 1)], file="x")


def test_what_is_there_already_is_not_written_again() -> None:
    text = "servers: {fresh: {}}\n"
    with pytest.raises(Refused, match=r"servers\.fresh is there already"):
        added(text, [NEW], file="x")


def test_what_is_put_in_deep_makes_what_is_missing_on_the_way() -> None:
    deep = [Addition(("a", "b"), "c", "1"), Addition(("a", "b"), "d", 2), Addition(("a", "e"), None, "f")]
    assert read(added("version: 1\n", deep, file="x")) == {"version": 1, "a": {"b": {"c": "1", "d": 2}, "e": ["f"]}}


@given(
    st.one_of(
        st.text(), st.booleans(), st.integers(), st.none(), st.lists(st.text()), st.dictionaries(st.text(), st.text())
    )
)
def test_a_value_reads_back_as_it_was(value: Any) -> None:  # noqa: ANN401  # JSON
    text = f"? {scalar('k')}\n: {scalar(value)}\n"
    assert "\n" not in scalar(value)
    if not any("\ud800" <= character <= "\udfff" for character in repr(value)):
        assert read(text) == {"k": value}
