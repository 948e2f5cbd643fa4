"""inventory.yaml as earlier releases had it, read as it is written now: the one place that knows how it was.

Gateways stood under `gateways`, a server's entry there in its `gateway`, a principal's account among its own fields.
Each is now a system, and a place on it. What is written in both ways, or in neither wholly, is refused.
"""

from collections.abc import Iterator
from typing import Final, NoReturn

import yaml

Pairs = list[tuple[yaml.Node, yaml.Node]]

_GATEWAY: Final = "gateway"
_ACCOUNT: Final = ("user", "tokens", "held")
_NULL: Final = "tag:yaml.org,2002:null"


def as_now(root: yaml.Node) -> yaml.Node:
    """Return an inventory's document in the form of today.

    Args:
        root: the document; it is left as it is.

    Raises:
        yaml.MarkedYAMLError: part of it is of both forms, or of neither.
    """
    if not isinstance(root, yaml.MappingNode):
        return root
    pairs: Pairs = [(key, _each(key.value, value)) for key, value in root.value if key.value != "gateways"]
    if (old := _one(root, "gateways")) is not None:
        key, gateways = old
        if all(one.value != "systems" for one, _ in pairs):
            pairs.append((_named("systems", key), _mapping_at(gateways, [])))
        for name, gateway in _mapping(gateways, "gateways are written as NAME: {kind: ..., url: ...}"):
            pairs = _put(pairs, "systems", key, (name, gateway))
    return _mapping_at(root, pairs)


def is_earlier(root: yaml.Node) -> bool:
    """Whether any of a document is written as earlier releases had it.

    Args:
        root: the document; one that `as_now` reads.
    """
    return any(key.value == "gateways" for key, _ in root.value) or any(
        key.value == _GATEWAY
        for what, things in root.value
        if what.value in {"servers", "principals"} and isinstance(things, yaml.MappingNode)
        for _, one in things.value
        if isinstance(one, yaml.MappingNode)
        for key, _ in one.value
    )


def _each(what: object, things: yaml.Node) -> yaml.Node:
    change = {"servers": _server, "principals": _principal}.get(str(what))
    if change is None or not isinstance(things, yaml.MappingNode):
        return things
    read = ((name, change(one) if isinstance(one, yaml.MappingNode) else one) for name, one in things.value)
    return _mapping_at(things, list(read))


def _server(server: yaml.MappingNode) -> yaml.Node:
    old = _one(server, _GATEWAY)
    if old is None:
        return server
    key, entry = old
    rest = [pair for pair in server.value if pair[0] is not key]
    if entry.tag == _NULL:
        return _mapping_at(server, rest)
    form = "a server's gateway is written as {name: GATEWAY, id: ID}"
    at = {name.value: value for name, value in _mapping(entry, form)}
    if not isinstance(at.get("name"), yaml.ScalarNode):
        _refuse(key, form)
    place = _mapping_at(entry, [pair for pair in entry.value if pair[0].value != "name"])
    return _mapping_at(server, _put(rest, "places", key, (at["name"], place)))


def _principal(principal: yaml.MappingNode) -> yaml.Node:
    old = _one(principal, _GATEWAY)
    account = [pair for pair in principal.value if pair[0].value in _ACCOUNT]
    if old is None:
        if account:
            _refuse(account[0][0], f"{account[0][0].value} stands in a place: `places: {{GATEWAY: {{user: ...}}}}`")
        return principal
    key, name = old
    if not isinstance(name, yaml.ScalarNode):
        _refuse(key, "a principal's gateway is the name of one")
    rest = [pair for pair in principal.value if pair[0] is not key and pair not in account]
    return _mapping_at(principal, _put(rest, "places", key, (name, _mapping_at(key, account))))


def _put(pairs: Pairs, under: str, key: yaml.Node, pair: tuple[yaml.Node, yaml.Node]) -> Pairs:
    """Return a mapping's pairs with one more in its mapping `under`, which is made where `key` stood."""
    there = next((number for number, (name, _) in enumerate(pairs) if name.value == under), None)
    if there is None:
        return [*pairs, (_named(under, key), _mapping_at(key, [pair]))]
    name, value = pairs[there]
    known = list(_mapping(value, f"{under} is written as NAME: {{...}}"))
    if any(other.value == pair[0].value for other, _ in known):
        _refuse(key, f"{pair[0].value} stands under {key.value}, as earlier releases had it, and under {under} too")
    return [*pairs[:there], (name, _mapping_at(value, [*known, pair])), *pairs[there + 1 :]]


def _named(name: str, key: yaml.Node) -> yaml.ScalarNode:
    """Return a key that stands where another one does."""
    return yaml.ScalarNode("tag:yaml.org,2002:str", name, key.start_mark, key.end_mark)


def _one(node: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    found = [pair for pair in node.value if pair[0].value == key]
    if len(found) > 1:
        _refuse(found[1][0], f"the key {key!r} is given twice")
    return found[0] if found else None


def _mapping(node: yaml.Node, form: str) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    if node.tag == _NULL:
        return
    if not isinstance(node, yaml.MappingNode):
        _refuse(node, form)
    yield from node.value


def _mapping_at(node: yaml.Node, pairs: Pairs) -> yaml.MappingNode:
    return yaml.MappingNode("tag:yaml.org,2002:map", pairs, node.start_mark, node.end_mark)


def _refuse(node: yaml.Node, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(None, None, problem, node.start_mark)
