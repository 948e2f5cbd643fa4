"""Every text of a definition that a model is given, with the path to each: names, descriptions, defaults, examples."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from playbooks.text.escaping import printable

MOST_FIELDS: Final = 20_000
"""Texts of one definition that are read; what is beyond is said to be unread."""

MOST_CHARACTERS: Final = 200_000
"""Characters of one definition that are read, likewise."""

_NAMES: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentRequired"})
"""Keys of a JSON schema under which keys are names that the server chose (JSON Schema 2020-12)."""

_IDENTIFIERS: Final = frozenset({"name", "required"})


class Field(NamedTuple):
    """One text of a definition.

    Args:
        path: where it stands, as `inputSchema.properties.city.description`; printable.
        text: as it came.
        identifier: whether it is a name, which is read as the words that it is made of.
    """

    path: str
    text: str
    identifier: bool = False


def fields(definition: Mapping[str, object]) -> Iterator[Field]:
    """Yield every text of a definition, at whatever depth; keys that the server chose are texts as well.

    Args:
        definition: a tool, prompt, resource or `{"instructions": …}`, as JSON has it.
    """
    # Not recursive: what is nested a thousand deep is read like everything else. In the order of the document.
    waiting: list[tuple[str, str, object, bool]] = [("", key, definition[key], False) for key in [*definition][::-1]]
    while waiting:
        path, key, value, named = waiting.pop()
        here = _short(f"{path}.{printable(str(key), 60)}" if path else printable(str(key), 60))
        if named:
            yield Field(f"{here} (name)", str(key), identifier=True)
        if isinstance(value, str):
            yield Field(here, value, identifier=key in _IDENTIFIERS or path.endswith(".required"))
        elif isinstance(value, Mapping):
            inner = key in _NAMES
            waiting += [(here, str(one), value[one], inner) for one in reversed([*value])]
        elif isinstance(value, list | tuple):
            waiting += [(here, str(index), value[index], False) for index in range(len(value) - 1, -1, -1)]


_LONGEST_PATH: Final = 300


def _short(path: str) -> str:
    """Return a path of a length that is fit to be shown, its middle left out."""
    return path if len(path) <= _LONGEST_PATH else f"{path[:80]}…{path[-200:]}"
