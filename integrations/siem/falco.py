"""Falco and falcosidekick: one event per message, `{uuid, output, priority, rule, time, output_fields, tags, …}`.

What it names is read from output fields `mcp.server`, `mcp.tool`, `mcp.principal` … (a rule's output can be given
them), else from the rule's tags `mcp_server:…` and `mcp_tool:…`. Without an MCP server, the deployment, container and
pod stand as claims for one: they count only where the inventory has them as aliases.

https://falco.org/docs/concepts/outputs/formatting/ and falcosidekick's `types.FalcoPayload`.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from integrations.siem.reading import (
    Finding,
    Instant,
    Malformed,
    Text,
    Vendor,
    absent,
    claims,
    distinct,
    entity,
    excerpt,
    read,
)
from playbooks.incident import Entity, EntityKind, Severity
from playbooks.strict import Json, Name

# Syslog's words, from the most to the least severe; "info" is what rules may abbreviate.
_SEVERITY = {
    "emergency": Severity.CRITICAL,
    "alert": Severity.CRITICAL,
    "critical": Severity.CRITICAL,
    "error": Severity.HIGH,
    "warning": Severity.MEDIUM,
    "notice": Severity.LOW,
    "informational": Severity.INFORMATIONAL,
    "info": Severity.INFORMATIONAL,
    "debug": Severity.INFORMATIONAL,
}

_WORKLOAD = ("k8s.deployment.name", "container.name", "k8s.pod.name")
_ADDRESSES = ("fd.rip", "fd.cip", "fd.sip")


class _Event(Vendor):
    uuid: str = ""
    output: str = ""
    priority: str
    rule: Text
    time: Instant
    output_fields: dict[str, Any] = Field(default_factory=dict)
    tags: Annotated[list[Name] | None, Field(max_length=100)] = None


def findings(document: Json) -> tuple[Finding, ...]:
    """Return what a Falco event reports: one finding, always a new one, since Falco knows no end of a thing.

    Args:
        document: the decoded message.

    Raises:
        Malformed: a field that we use is missing or breaks a limit.
    """
    event = read(_Event, document)
    if (severity := _SEVERITY.get(event.priority.lower())) is None:
        raise Malformed("priority", f"must be one of {', '.join(_SEVERITY)}")
    return (
        read(
            Finding,
            {
                "external_id": event.uuid or _fingerprint(event),
                "rule": event.rule,
                # The output line is templated from what the attacker wrote, so it is only the excerpt.
                "title": event.rule,
                "severity": severity,
                "detected_at": event.time,
                "tags": tuple(event.tags or ()),
                "entities": distinct(_entities(event)),
                "excerpt": excerpt(event.output),
            },
        ),
    )


def _fingerprint(event: _Event) -> str:
    # Not RFC 8785: `evt.time` counts nanoseconds, which is more than a double can hold.
    parts = [event.rule, event.time.isoformat(), event.output_fields]
    return "falco:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _entities(event: _Event) -> list[Entity]:
    fields = event.output_fields
    found = claims({**_from_tags(event.tags or ()), **_present(fields)}, "mcp.", "output_fields")
    if not any(one.kind is EntityKind.SERVER for one in found):
        found += _named(fields, EntityKind.SERVER, _WORKLOAD)
    found += _named(fields, EntityKind.ADDRESS, _ADDRESSES)
    found += _named(fields, EntityKind.PRINCIPAL, ("ka.user.name",))
    repository, digest = fields.get("container.image.repository"), fields.get("container.image.digest")
    if not absent(repository):
        pinned = f"{repository}@{digest}" if isinstance(digest, str) and not absent(digest) else repository
        found.append(entity(EntityKind.IMAGE, pinned, "output_fields.container.image.repository"))
    return found


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in fields.items() if not absent(value)}


def _from_tags(tags: list[str] | tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for tag in tags:
        key, colon, value = tag.partition(":")
        if colon and key.startswith("mcp_"):
            found.setdefault("mcp." + key.removeprefix("mcp_"), value)
    return found


def _named(fields: Mapping[str, object], kind: EntityKind, keys: tuple[str, ...]) -> list[Entity]:
    return [entity(kind, fields[key], f"output_fields.{key}") for key in keys if not absent(fields.get(key))]
