"""What Slack accepts as Block Kit, as its reference says (https://docs.slack.dev/reference/block-kit)."""

from collections.abc import Iterator
from typing import Any

MOST_IN_MESSAGE = 50
MOST_IN_VIEW = 100


def faults(blocks: object, *, most: int = MOST_IN_MESSAGE) -> list[str]:
    """Return what Slack would refuse in blocks, one line each; empty if it takes them.

    Args:
        blocks: as they were sent.
        most: how many there may be.
    """
    if not isinstance(blocks, list):
        return ["blocks must be an array"]
    found = [f"no more than {most} items allowed"] if len(blocks) > most else []
    ids: set[str] = set()
    for number, block in enumerate(blocks):
        where = f"/blocks/{number}"
        if not isinstance(block, dict):
            found.append(f"must be an object [{where}]")
            continue
        found += _block(block, where)
        id_ = block.get("block_id")
        if id_ is not None:
            if not isinstance(id_, str) or not 0 < len(id_) <= 255:
                found.append(f"block_id must be 1 to 255 characters [{where}]")
            elif id_ in ids:
                found.append(f"block_id {id_} already exists [{where}]")
            ids.add(str(id_))
    return found


def view_faults(view: object) -> list[str]:
    """Return what Slack would refuse in a modal (https://docs.slack.dev/reference/views/modal-views)."""
    if not isinstance(view, dict) or view.get("type") != "modal":
        return ["view must be a modal"]
    found = [*_text(view.get("title"), "/title", 24, plain=True)]
    for name in ("submit", "close"):
        if name in view:
            found += _text(view[name], f"/{name}", 24, plain=True)
    for name, most in (("private_metadata", 3000), ("callback_id", 255)):
        if not isinstance(view.get(name, ""), str) or len(view.get(name, "")) > most:
            found.append(f"{name} must be no more than {most} characters")
    blocks = view.get("blocks")
    found += faults(blocks, most=MOST_IN_VIEW)
    inputs = isinstance(blocks, list) and any(isinstance(b, dict) and b.get("type") == "input" for b in blocks)
    if inputs and "submit" not in view:
        found.append("missing required field: submit")
    return found


def texts(value: object) -> Iterator[str]:
    """Yield every text in blocks or in a view, in order."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "text" and isinstance(part, str):
                yield part
            else:
                yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)


def _block(block: dict[str, Any], where: str) -> list[str]:  # noqa: PLR0911  # a case a type
    match block.get("type"):
        case "section":
            if "text" not in block and "fields" not in block:
                return [f"missing required field: text or fields [{where}]"]
            found = _text(block["text"], f"{where}/text", 3000) if "text" in block else []
            fields = block.get("fields", [])
            found += [f"no more than 10 fields [{where}]"] if len(fields) > 10 else []
            for number, field in enumerate(fields):
                found += _text(field, f"{where}/fields/{number}", 2000)
            return found + (_element(block["accessory"], f"{where}/accessory") if "accessory" in block else [])
        case "header":
            return _text(block.get("text"), f"{where}/text", 150, plain=True)
        case "context":
            return _elements(block, where, most=10, text_most=3000)
        case "actions":
            found = _elements(block, where, most=25)
            names = [e.get("action_id") for e in block.get("elements", []) if isinstance(e, dict)]
            return found + ([f"action_id already exists [{where}]"] if len(set(names)) < len(names) else [])
        case "input":
            found = _text(block.get("label"), f"{where}/label", 2000, plain=True)
            found += _text(block["hint"], f"{where}/hint", 2000, plain=True) if "hint" in block else []
            return found + _element(block.get("element"), f"{where}/element")
        case "divider" | "rich_text":
            return []
        case "image":
            return [] if block.get("alt_text") else [f"missing required field: alt_text [{where}]"]
        case kind:
            return [f"unsupported type: {kind} [{where}/type]"]


def _elements(block: dict[str, Any], where: str, *, most: int, text_most: int = 0) -> list[str]:
    elements = block.get("elements")
    if not isinstance(elements, list) or not 0 < len(elements) <= most:
        return [f"must have 1 to {most} elements [{where}]"]
    found = []
    for number, element in enumerate(elements):
        at = f"{where}/elements/{number}"
        is_text = isinstance(element, dict) and element.get("type") in {"mrkdwn", "plain_text"}
        found += _text(element, at, text_most) if text_most and is_text else _element(element, at)
    return found


def _element(element: object, where: str) -> list[str]:  # noqa: PLR0911  # a case a type
    if not isinstance(element, dict):
        return [f"must be an object [{where}]"]
    match element.get("type"):
        case "button":
            found = _text(element.get("text"), f"{where}/text", 75, plain=True)
            for name, most in (("action_id", 255), ("value", 2000), ("accessibility_label", 75)):
                text = element.get(name, "x")
                if not isinstance(text, str) or not 0 < len(text) <= most:
                    found.append(f"{name} must be 1 to {most} characters [{where}]")
            if element.get("style", "primary") not in {"primary", "danger"}:
                found.append(f"style must be primary or danger [{where}]")
            return found
        case "plain_text_input":
            if not isinstance(element.get("action_id", "x"), str) or len(element.get("action_id", "x")) > 255:
                return [f"action_id must be no more than 255 characters [{where}]"]
            if not 0 < element.get("max_length", 3000) <= 3000:
                return [f"max_length must be 1 to 3000 [{where}]"]
            return []
        case "image":
            return [] if element.get("alt_text") else [f"missing required field: alt_text [{where}]"]
        case kind:
            return [f"unsupported type: {kind} [{where}/type]"]


def _text(text: object, where: str, most: int, *, plain: bool = False) -> list[str]:
    """Check a text object (https://docs.slack.dev/reference/block-kit/composition-objects/text-object)."""
    if not isinstance(text, dict) or text.get("type") not in {"plain_text", "mrkdwn"}:
        return [f"must be a text object [{where}]"]
    if plain and text["type"] != "plain_text":
        return [f"must be plain_text [{where}]"]
    said = text.get("text")
    if not isinstance(said, str) or not said:
        return [f"must be more than 0 characters [{where}/text]"]
    if len(said) > most:
        return [f"must be less than {most + 1} characters [{where}/text]"]
    known = {"type", "text", "emoji"} if text["type"] == "plain_text" else {"type", "text", "verbatim"}
    return [f"additional property: {name} [{where}]" for name in sorted(text.keys() - known)]
