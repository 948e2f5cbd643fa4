"""Rewrites an inventory of an earlier release as it is written now. What people wrote stays theirs: it moves, no more.

`earlier.as_now` says what it means; what is written here has to read back as that, or nothing is written.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import yaml

from playbooks.errors import Refused
from playbooks.estate import earlier
from playbooks.estate.inventory import Inventory
from playbooks.strict import Fastest, as_read

_ACCOUNT: Final = ("user", "tokens", "held")
_STEP: Final = "  "


class Upgraded(NamedTuple):
    """A rewritten inventory.

    Args:
        text: the whole of it.
        done: what was rewritten, as people say it.
        lost: remarks that had no place any more.
    """

    text: str
    done: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


class _Edit(NamedTuple):
    at: int
    until: int
    text: str


def upgraded(text: str, *, file: str) -> Upgraded:
    """Return an inventory as it is written now; one that is written so already, as it is.

    Args:
        text: the document, as it is in the file.
        file: its name, for errors.

    Raises:
        Misconfigured: it is none that can be read.
        Refused: it is written in a way that cannot be rewritten; nothing was changed.
    """
    meant = as_read(Inventory, text, file=file)
    root = yaml.compose(text, Loader=Fastest)
    if not isinstance(root, yaml.MappingNode) or not earlier.is_earlier(root):
        return Upgraded(text)
    page = _Page(text)
    edits = sorted(page.edits(root))
    parts, last = [], 0
    for edit in edits:
        parts += [text[last : edit.at], edit.text]
        last = edit.until
    result = "".join([*parts, text[last:]])
    if any(one.until > two.at for one, two in itertools.pairwise(edits)) or not _says(result, meant, file):
        raise Refused(f"{file} is written in a way that cannot be rewritten: do it by hand; nothing was changed")
    lost = Counter(_remarks(text)) - Counter(_remarks(result))
    return Upgraded(result, tuple(page.done), tuple(lost.elements()))


def is_earlier(text: str) -> bool:
    """Whether an inventory that can be read is written as earlier releases had it."""
    root = yaml.compose(text, Loader=Fastest)
    return isinstance(root, yaml.MappingNode) and earlier.is_earlier(root)


def _says(text: str, meant: Any, file: str) -> bool:  # noqa: ANN401  # a document's data
    try:
        again = yaml.compose(text, Loader=Fastest)
        return bool(again and as_read(Inventory, text, file=file) == meant and not earlier.is_earlier(again))
    except Exception:  # noqa: BLE001  # whatever is wrong with it, it is not written
        return False


class _Page:
    """A document that is rewritten.

    Args:
        text: the document.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.done: list[str] = []

    def edits(self, root: yaml.MappingNode) -> Iterator[_Edit]:
        """Yield what to put where."""
        top = {key.value: (key, value) for key, value in root.value}
        if "gateways" in top:
            if "systems" in top:
                raise Refused("gateways stand under `gateways` and under `systems`: put them under `systems` by hand")
            self.done.append("gateways → systems")
            yield self._renamed(top["gateways"][0], "systems")
        for what, change in (("servers", self._server), ("principals", self._principal)):
            things = top[what][1] if what in top else None
            for name, one in things.value if isinstance(things, yaml.MappingNode) else ():
                pairs = {key.value: (key, value) for key, value in one.value}
                if "gateway" not in pairs:
                    continue
                where = f"{what}.{name.value}"
                if "places" in pairs:
                    raise Refused(f"{where} has a gateway and places: put it under `places` by hand")
                self.done.append(f"{where}.gateway → {where}.places")
                yield from change(one, pairs)

    def _renamed(self, key: yaml.Node, name: str) -> _Edit:
        return _Edit(key.start_mark.index, key.end_mark.index, name)

    def _server(self, server: yaml.MappingNode, pairs: dict[str, Any]) -> Iterator[_Edit]:
        key, entry = pairs["gateway"]
        if not isinstance(entry, yaml.MappingNode):
            yield from self._without(server, [(key, entry)])
            return
        name, *rest = sorted(entry.value, key=lambda pair: bool(pair[0].value != "name"))
        start, end = key.start_mark.index, _end(entry)
        place = ", ".join(self._raw(one, value) for one, value in rest)
        above = ""
        if not server.flow_style:
            indent = " " * key.start_mark.column
            above = "".join(f"{remark}{self.newline}{indent}" for remark in _remarks(self.text[start:end]))
        yield _Edit(start, end, f"{above}places: {{{self._raw(name[1])}: {{{place}}}}}")

    def _principal(self, principal: yaml.MappingNode, pairs: dict[str, Any]) -> Iterator[_Edit]:
        key, name = pairs["gateway"]
        account = [pair for pair in principal.value if pair[0].value in _ACCOUNT]
        if principal.flow_style:
            inner = ", ".join(self._raw(one, value) for one, value in account)
            yield _Edit(key.start_mark.index, _end(name), f"places: {{{self._raw(name)}: {{{inner}}}}}")
            yield from self._without(principal, account)
            return
        indent = " " * key.start_mark.column
        lines = [f"{indent}{_STEP}{self._raw(name)}:{self.newline}"]
        for one, value in account:
            start, end = self._block(one, value)
            block = self.text[start:end]
            block += "" if block.endswith("\n") else self.newline
            lines += [line if line.isspace() else f"{_STEP * 2}{line}" for line in block.splitlines(keepends=True)]
            yield _Edit(start, end, "")
        after = self._line_end(_end(name))
        lead = "" if self.text[:after].endswith("\n") else self.newline
        remark = self.text[_end(name) : after]
        yield _Edit(key.start_mark.index, after, f"places:{remark}{lead}{''.join(lines)}")

    def _without(self, parent: yaml.MappingNode, pairs: earlier.Pairs) -> Iterator[_Edit]:
        """Yield what takes pairs away: between braces each with the comma before it, or behind it at the beginning."""
        if not parent.flow_style:
            yield from (_Edit(*self._block(*pair), "") for pair in pairs)
            return
        last, begins = parent.start_mark.index + 1, True
        for key, value in parent.value:
            end = _end(value)
            if (key, value) not in pairs:
                begins = False
            elif begins and (after := re.compile(r"\s*,\s*").match(self.text, end)) is not None:
                yield _Edit(key.start_mark.index, after.end(), "")
            else:
                yield _Edit(last, end, "")
            last = end

    def _block(self, key: yaml.Node, value: yaml.Node) -> tuple[int, int]:
        """Return where the lines of a pair begin and end, with the remarks right above it."""
        start = self.text.rfind("\n", 0, key.start_mark.index) + 1
        while start:
            above = self.text.rfind("\n", 0, start - 1) + 1
            if not self.text[above:start].startswith(f"{' ' * key.start_mark.column}#"):
                break
            start = above
        return start, self._line_end(_end(value))

    def _line_end(self, at: int) -> int:
        found = self.text.find("\n", at)
        return len(self.text) if found < 0 else found + 1

    def _raw(self, key: yaml.Node, value: yaml.Node | None = None) -> str:
        """Return a node, or a pair, as people wrote it; a pair on one line."""
        first = self.text[key.start_mark.index : key.end_mark.index]
        if value is None:
            return first
        if isinstance(value, yaml.CollectionNode) and not value.flow_style:
            raise Refused(f"{key.value} stands on lines of its own between braces: write it by hand")
        return f"{first}: {self.text[value.start_mark.index : value.end_mark.index]}"


def _end(node: yaml.Node) -> int:
    """Return where a node's text ends; of a block, where its last value does."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _remarks(text: str) -> list[str]:
    """Return the remarks of a document, in order."""
    spans = [(t.start_mark.index, t.end_mark.index) for t in _tokens(text) if isinstance(t, yaml.ScalarToken)]
    found = re.finditer(r"(?m)(?:^|(?<=\s))#[^\r\n]*", text)
    return [one[0].rstrip() for one in found if not any(start <= one.start() < end for start, end in spans)]


def _tokens(text: str) -> list[Any]:
    return list(yaml.scan(text, Loader=Fastest))
