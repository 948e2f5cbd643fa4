"""Whether a tool's input schema can refuse a call at all, and arguments that it certainly refuses. Pure.

A schema is hostile text: it is read in bounded steps, and what is not understood is taken to accept everything.
Source: JSON Schema 2020-12, https://json-schema.org/draft/2020-12/json-schema-validation
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

MARK: Final = "mcp_soar_probe"
"""A property that no tool has, and a text that no tool means."""

_STEPS: Final = 2000
"""Schemas looked at for one question; beyond that nothing is known."""

_DEEPEST: Final = 50
"""References and combinations within each other; beyond that nothing is known."""

_CANDIDATES: Final[tuple[Any, ...]] = ([], {}, MARK, True, -1.5, None)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "array": (list,),
    "object": (dict,),
    "boolean": (bool,),
    "null": (type(None),),
    "number": (int, float),
    "integer": (int, float),
}


def rejected_arguments(schema: object) -> dict[str, Any] | None:
    """Return arguments that a tool's input schema rejects.

    A server that goes by its schema refuses a call with them before the tool runs; none has to.

    Args:
        schema: the tool's `inputSchema`.

    Returns:
        The arguments, or None if the schema takes everything: then only a person can name safe ones.
    """
    reading = _Reading(schema)
    for arguments in reading.attempts():
        if reading.refuses(schema, arguments):
            return arguments
    return None


def can_refuse(schema: object) -> bool:
    """Return whether a tool's input schema refuses any call: of one that does not, no refusal can be told from use."""
    return rejected_arguments(schema) is not None


class _Reading:
    """One schema being read.

    Args:
        root: the whole of it, which references point into.
    """

    def __init__(self, root: object) -> None:
        self._root = root
        self._left = _STEPS

    def attempts(self) -> Iterator[dict[str, Any]]:
        """Yield arguments that may be refused, the least first."""
        yield {}
        yield {MARK: MARK}
        names = dict.fromkeys(name for schema in self._objects(self._root) for name in _properties(schema))
        for name in list(names)[:50]:
            for value in _CANDIDATES:
                yield {name: value}

    def refuses(self, schema: object, value: object, depth: int = 0) -> bool:
        """Return whether a schema certainly refuses a value; anything not understood refuses nothing."""
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST or not isinstance(schema, dict):
            return schema is False
        if "$ref" in schema and self.refuses(self._target(schema["$ref"]), value, depth + 1):
            return True
        return (
            self._wrong_type(schema, value)
            or ("const" in schema and not _same(schema["const"], value))
            or (isinstance(one := schema.get("enum"), list) and not any(_same(item, value) for item in one))
            or self._combined(schema, value, depth + 1)
            or (isinstance(value, dict) and self._wrong_object(schema, value, depth + 1))
        )

    @staticmethod
    def _wrong_type(schema: Mapping[str, Any], value: object) -> bool:
        kinds = schema.get("type")
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not isinstance(kinds, list) or not kinds or not all(isinstance(k, str) and k in _TYPES for k in kinds):
            return False
        return not any(_is(kind, value) for kind in kinds)

    def _combined(self, schema: Mapping[str, Any], value: object, depth: int) -> bool:
        for key in ("anyOf", "oneOf"):
            ways = schema.get(key)
            if isinstance(ways, list) and ways and all(self.refuses(way, value, depth) for way in ways):
                return True
        every = schema.get("allOf")
        return isinstance(every, list) and any(self.refuses(way, value, depth) for way in every)

    def _wrong_object(self, schema: Mapping[str, Any], value: Mapping[str, Any], depth: int) -> bool:
        required, properties = schema.get("required"), _properties(schema)
        if isinstance(required, list) and any(isinstance(name, str) and name not in value for name in required):
            return True
        if schema.get("additionalProperties") is False and "patternProperties" not in schema:
            beside = "$ref" in schema or "allOf" in schema
            if not beside and any(name not in properties for name in value):
                return True
        return any(name in properties and self.refuses(properties[name], item, depth) for name, item in value.items())

    def _objects(self, schema: object, depth: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the schemas that apply to the arguments themselves."""
        self._left -= 1
        if self._left < 0:
            return
        if depth > _DEEPEST or not isinstance(schema, dict):
            return
        yield schema
        if "$ref" in schema:
            yield from self._objects(self._target(schema["$ref"]), depth + 1)
        for key in ("allOf", "anyOf", "oneOf"):
            ways = schema.get(key)
            for way in ways[:20] if isinstance(ways, list) else ():
                yield from self._objects(way, depth + 1)

    def _target(self, reference: object) -> object:
        """Return what a reference within the document points to; True, which accepts everything, if it is none."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return True
        found: object = self._root
        for part in reference[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or key not in found:
                return True
            found = found[key]
        return found


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _is(kind: str, value: object) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other
