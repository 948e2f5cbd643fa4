"""What the pretended gateway holds of a server, as the real one writes it, and what it answers when it does not."""

import base64
import json
import re
import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from flows.demo.contextforge import ADMIN

KINDS: Final = {"tools": "tool", "prompts": "prompt", "resources": "resource"}
KEYS: Final = {"tools": "name", "prompts": "name", "resources": "uri"}

Fields = dict[str, Any]


class Said(Exception):  # an answer, which ends the handling of its request
    """An answer other than 200.

    Args:
        status: of HTTP.
        body: its JSON.
    """

    def __init__(self, status: int, body: object) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def detail(status: int, text: str) -> Said:
    return Said(status, {"detail": text})


def fresh() -> str:
    """Return a new id."""
    return uuid.uuid4().hex


def moment() -> str:
    """Return now, as the gateway writes it."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat()


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def jwt(**claims: object) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*coded, secrets.token_urlsafe(24)])


_MARKUP: Final = re.compile(r"<[^>]*>")

OWN: Final = {"id", "enabled", "createdAt", "updatedAt", "version", "lastSeen"}
"""What the gateway gave a thing itself, whatever its server says."""


def taken_over(kind: str, item: Mapping[str, Any], entry: Fields) -> Fields:
    """Return a thing as the gateway holds it, of what its server says of it."""
    # It strips markup, an attacker's included.
    title, description = item.get("title"), _MARKUP.sub("", item["description"]) if item.get("description") else None
    fields = {
        "id": fresh(),
        "name": item["name"],
        "gatewayId": entry["id"],
        "title": title,
        "description": description,
        "enabled": True,
        "visibility": "public",
        "ownerEmail": ADMIN,
        "createdVia": "federation",
        "createdAt": moment(),
        "updatedAt": moment(),
        "version": 1,
    }
    if kind == "resources":
        more = {key: item.get(key) for key in ("uri", "mimeType", "uriTemplate", "annotations")}
        return {**fields, **more, "federationSource": entry["name"]}
    name = item["name"]
    named = {"name": f"{entry['slug']}-{slug(name)}", "originalName": name, "customName": name}
    fields |= {**named, "customNameSlug": slug(name), "gatewaySlug": entry["slug"], "displayName": title or name}
    if kind == "prompts":
        arguments = [{"description": "", **argument} for argument in item.get("arguments", [])]
        return {**fields, "arguments": arguments}
    more = {key: item.get(key) for key in ("inputSchema", "outputSchema")}
    about = {"annotations": item.get("annotations") or {}, "url": entry["url"], "originalDescription": description}
    return {**fields, **more, **about, "reachable": True, "executionCount": None}


_SEEN: Final = {
    "tools": ("name", "title", "description", "inputSchema", "outputSchema", "annotations"),
    "prompts": ("name", "title", "description", "arguments"),
    "resources": ("name", "uri", "title", "description", "mimeType"),
}


def offered(kind: str, thing: Fields) -> Fields:
    return {key: thing[key] for key in _SEEN[kind] if thing.get(key) is not None}
