"""Adds to a YAML document that people wrote without changing what they wrote: text goes in between, nothing else moves.

A round trip through a library would keep the meaning and lose a person's spaces, quotes and line ends. Here every
character that was there stays, but for the braces of an empty `{}`, which make room for what is put into it.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

from playbooks.errors import Refused
from playbooks.strict import Fastest, Json, yaml_data

Path: TypeAlias = tuple[str, ...]

_EMPTY: Final = re.compile(r" ?\{\s*\}")
_MARK: Final = "\ufeff"
_NO_CONTENT: Final = (yaml.BlockEndToken, yaml.DocumentEndToken, yaml.StreamEndToken)
_UNFIT: Final = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[-./@+][A-Za-z0-9_]+)*")
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_SHORT: Final = 60


@dataclass(frozen=True)
class Addition:
    """Something that is added to a document.

    Args:
        path: the mapping or sequence that it goes into, as keys from the top; mappings that are not there are made.
        key: its key there; None for an item of a sequence.
        value: what is written, of dicts, lists, text, numbers and booleans.
        beside: a remark at the end of a line, by path within the value.
        above: remarks on lines of their own before one, by path within the value; the empty path is the key itself.
    """

    path: Path
    key: str | None
    value: Json
    beside: Mapping[Path, str] = field(default_factory=dict)
    above: Mapping[Path, Sequence[str]] = field(default_factory=dict)


class _Edit(NamedTuple):
    at: int
    until: int
    # Of two at one place the inner one comes first.
    depth: int
    text: str


def added(text: str, additions: Sequence[Addition], *, file: str) -> str:
    """Return a document with more in it; reading it back gives what was there and what was added, and no more.

    Args:
        text: the document, as it is in the file, line ends included.
        additions: what goes in.
        file: its name, for errors.

    Raises:
        Misconfigured: the document is not one that `parse_yaml` reads.
        Refused: it is written in a way that cannot be added to; nothing was changed.
    """
    if text.startswith(_MARK):
        return _MARK + added(text.removeprefix(_MARK), additions, file=file)
    before = yaml_data(text, file=file)
    if not additions:
        return text
    expected = deepcopy(before)
    for one in additions:
        _put(expected, one)
    page = _Page(text)
    edits = sorted(page.edits(additions), key=lambda edit: (edit.at, -edit.depth))
    parts, last = [], 0
    for edit in edits:
        parts += [text[last : edit.at], edit.text]
        last = edit.until
    result = "".join([*parts, text[last:]])
    try:
        after = yaml_data(result, file=file)
    except Exception as exc:
        raise _unfit(file) from exc
    if after != expected:
        raise _unfit(file)
    return result


def _unfit(file: str) -> Refused:
    return Refused(f"{file} is written in a way that cannot be added to: put it in by hand; nothing was changed")


def _put(data: Any, one: Addition) -> None:  # noqa: ANN401  # a document's data
    place = data
    for key in one.path[:-1] if one.key is None else one.path:
        place = place.setdefault(key, {})
    if one.key is None:
        place.setdefault(one.path[-1], []).append(one.value)
    elif one.key in place:
        raise Refused(f"{'.'.join((*one.path, one.key))} is there already; nothing was changed")
    else:
        place[one.key] = one.value


class _Page:
    """A document with its nodes and tokens.

    Args:
        text: the document.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.newline = "\r\n" if re.search(r"\r?\n", text + "\n").group() == "\r\n" else "\n"  # type: ignore[union-attr]  # there is one
        self._tokens = list(yaml.scan(text, Loader=Fastest))
        self._starts = [token.start_mark.index for token in self._tokens]
        root = yaml.compose(text, Loader=Fastest)
        if not isinstance(root, yaml.MappingNode):
            raise Refused("the document is no mapping; nothing was changed")
        self._root = root

    def edits(self, additions: Iterable[Addition]) -> Iterator[_Edit]:
        """Yield what to put where."""
        groups: dict[Path, list[Addition]] = {}
        for one in additions:
            groups.setdefault(self._there(one.path), []).append(one)
        for path, some in groups.items():
            node = self._node(path)
            made = list(_nested(path, some))
            if isinstance(node, yaml.SequenceNode):
                yield self._items(node, len(path), made)
            elif node.flow_style:
                yield from self._flow(node, path, made)
            else:
                yield self._block(node, len(path), made)

    def _there(self, path: Path) -> Path:
        """Return how much of a path the document has."""
        return next(path[:n] for n in range(len(path), -1, -1) if self._node(path[:n]) is not None)

    def _node(self, path: Path) -> Any:  # noqa: ANN401  # yaml's nodes are untyped
        node: Any = self._root
        for key in path:
            if not isinstance(node, yaml.MappingNode):
                return None
            node = next((value for name, value in node.value if name.value == key), None)
        return node

    def _block(self, node: yaml.MappingNode, depth: int, made: Sequence[Addition]) -> _Edit:
        column = node.value[0][0].start_mark.column if node.value else 0
        lines = [line for one in made for line in _block_lines(one, column)]
        return self._lines(node, depth, column, lines)

    def _items(self, node: yaml.SequenceNode, depth: int, made: Sequence[Addition]) -> _Edit:
        items = [scalar(one.value) for one in made]
        if node.flow_style:
            return self._before_end(node, depth, ", ".join(items))
        column = node.start_mark.column
        return self._lines(node, depth, column, [f"{' ' * column}- {item}" for item in items])

    def _flow(self, node: yaml.MappingNode, path: Path, made: Sequence[Addition]) -> Iterator[_Edit]:
        start, end = node.start_mark.index, node.end_mark.index
        parent = self._node(path[:-1]) if path else None
        room = _EMPTY.fullmatch(self.text, start - 1 if self.text[start - 1 : start] == " " else start, end)
        if not node.value and room and parent is not None and not parent.flow_style:
            # Nothing is in there: it becomes a block, which people can read and go on writing.
            column = self._column(path) + 2
            yield _Edit(room.start(), end, len(path), "")
            lines = [line for one in made for line in _block_lines(one, column)]
            yield self._at(self._next_line(self._line_end(end)), len(path), lines)
            return
        yield self._before_end(node, len(path), ", ".join(_flow_text(one, self.newline) for one in made))

    def _column(self, path: Path) -> int:
        """Return in which column a key stands."""
        keys = (name for name, _ in self._node(path[:-1]).value if name.value == path[-1])
        return int(next(keys).start_mark.column)

    def _before_end(self, node: yaml.CollectionNode, depth: int, text: str) -> _Edit:
        """Put something before a flow collection's closing bracket."""
        end = node.end_mark.index - 1
        number = bisect_left(self._starts, end)
        earlier = self._tokens[number - 1]
        first = not node.value or isinstance(earlier, yaml.FlowEntryToken)
        return _Edit(end, end, depth, text if first else f", {text}")

    def _lines(self, node: yaml.CollectionNode, depth: int, column: int, lines: Sequence[str]) -> _Edit:
        """Put lines after the last one of a block, and after the comments that stand indented under it."""
        return self._at(self._after(node, column) if depth else self._end(), depth, lines)

    def _at(self, at: int, depth: int, lines: Sequence[str]) -> _Edit:
        text = "".join(line + self.newline for line in lines)
        return _Edit(at, at, depth, text if not at or self.text[at - 1] == "\n" else self.newline + text)

    def _end(self) -> int:
        """Return where more can be put at the top level: the file's end, or before the mark that ends the document."""
        for token in reversed(self._tokens):
            if isinstance(token, yaml.DocumentEndToken):
                return int(token.start_mark.index)
        return len(self.text)

    def _after(self, node: yaml.CollectionNode, column: int) -> int:
        number = bisect_left(self._starts, node.end_mark.index)
        content = (token for token in reversed(self._tokens[:number]) if not isinstance(token, _NO_CONTENT))
        mark = next(content).end_mark
        at = mark.index if mark.column == 0 and mark.index else self._next_line(self._line_end(mark.index))
        place = at
        while place < len(self.text):
            end = self._line_end(place)
            line = self.text[place:end]
            following = self._next_line(end)
            if line.strip():
                if not line.lstrip(" ").startswith("#") or len(line) - len(line.lstrip(" ")) < max(column, 1):
                    break
                at = following
            if following == place:
                break
            place = following
        return at

    def _line_end(self, at: int) -> int:
        """Return where the line ends, before its line break."""
        end = self.text.find("\n", at)
        if end < 0:
            return len(self.text)
        return end - 1 if end > at and self.text[end - 1] == "\r" else end

    def _next_line(self, end: int) -> int:
        found = self.text.find("\n", end)
        return len(self.text) if found < 0 else found + 1


def _nested(path: Path, some: Sequence[Addition]) -> Iterator[Addition]:
    """Yield additions that all go into one mapping or sequence: what was to go deeper becomes part of their values."""
    deeper: dict[str, list[Addition]] = {}
    for one in some:
        if one.path == path:
            yield one
        else:
            deeper.setdefault(one.path[len(path)], []).append(one)
    for key, inner in deeper.items():
        made: dict[str, Any] = {}
        beside: dict[Path, str] = {}
        above: dict[Path, Sequence[str]] = {}
        for one in inner:
            rest = one.path[len(path) :]
            _put(made, Addition(rest, one.key, one.value))
            start = (*rest[1:], *(() if one.key is None else (one.key,)))
            beside |= {(*start, *where): remark for where, remark in one.beside.items()}
            above |= {(*start, *where): remarks for where, remarks in one.above.items()}
        yield Addition(path, key, made[key], beside, above)


def scalar(value: Json) -> str:
    """Return a value on one line as YAML that reads back as the same, whatever text it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) or value is None:
        return "null" if value is None else str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(scalar(item) for item in value) + "]"
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _quoted(value)


def _quoted(text: str) -> str:
    # What JSON may leave as it is and YAML reads as a line break, or not at all, is escaped as well.
    return _UNFIT.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(text, ensure_ascii=False))


def _block_lines(one: Addition, column: int) -> Iterator[str]:
    """Yield an addition as lines of a block that begins in a column."""
    yield from _written(str(one.key), one.value, (), one, column)


def _written(key: str, value: Json, path: Path, one: Addition, column: int) -> Iterator[str]:
    indent = " " * column
    for remark in one.above.get(path, ()):
        yield f"{indent}# {remark}".rstrip()
    beside = f"  # {one.beside[path]}" if path in one.beside else ""
    if not isinstance(value, dict) or not value or _fits(value, path, one):
        yield f"{indent}{scalar(key)}: {scalar(value)}{beside}"
        return
    yield f"{indent}{scalar(key)}:{beside}"
    for name, item in value.items():
        yield from _written(name, item, (*path, name), one, column + 2)


def _fits(value: dict[str, Json], path: Path, one: Addition) -> bool:
    """Whether a mapping is short enough for one line, and holds nothing that is remarked upon."""
    if not path or any(isinstance(item, dict) for item in value.values()) or len(scalar(value)) > _SHORT:
        return False
    return not any(where[: len(path)] == path and where != path for where in (*one.beside, *one.above))


def _flow_text(one: Addition, newline: str) -> str:
    """Return an addition for a place between braces; remarks stand on lines of their own there."""
    remarks = [*one.above.get((), ())]
    for where in dict.fromkeys((*one.above, *one.beside)):
        remarks += [f"{'.'.join(where)}: {one.beside[where]}"] if where in one.beside else []
        remarks += one.above.get(where, ()) if where else ()
    lines = "".join(f"{newline}  # {remark}" for remark in remarks)
    return f"{lines}{newline if remarks else ''}{'  ' if remarks else ''}{scalar(one.key)}: {scalar(one.value)}"
