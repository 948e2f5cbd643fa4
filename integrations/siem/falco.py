"""Falco and falcosidekick: an event `{uuid, output, priority, rule, time, output_fields, tags, …}`, or several.

What it names is read from output fields `mcp.server`, `mcp.tool`, `mcp.principal` … (a rule's output can be given
them), else from the rule's tags `mcp_server:…` and `mcp_tool:…`. Without an MCP server, deployment, container, pod and
node are what one may stand on. A Deployment's pods change their names with each start, so its name, which such a pod's
begins with, is a claim too.

https://falco.org/docs/concepts/outputs/formatting/ and falcosidekick's `types.FalcoPayload`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from integrations.siem import times, wrapping
from integrations.siem.decoding import Malformed, Unreadable
from integrations.siem.reading import (
    Fields,
    Reported,
    absent,
    beside,
    claims,
    distinct,
    excerpt,
    identity,
    image,
    left_out,
    read,
    tags,
    workloads,
    written,
)
from playbooks.record.incident import Entity, EntityKind, Severity
from playbooks.strict import Json

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

_DEPLOYMENT = ("k8s.deployment.name", "k8smeta.deployment.name")
_POD = ("k8s.pod.name", "k8smeta.pod.name")
_NAMESPACE = ("k8s.ns.name", "k8smeta.ns.name")
_NODE = ("k8s.node.name", "evt.hostname")

# DEPLOYMENT-HASH-SUFFIX: a hash is decimal digits, a suffix is random, both in Kubernetes' letters without vowels
# (`k8s.io/apimachinery/pkg/util/rand`: `SafeEncodeString`, `String`), so no name of ordinary words ends like this.
_OF_DEPLOYMENT = re.compile(r"(?P<deployment>.+)-[bcdf4-9]{5,10}-[bcdfghjklmnpqrstvwxz2456789]{5}")
_ADDRESSES = ("fd.rip", "fd.cip", "fd.sip")
_HINT = "send one event per message, as Falco's http_output and falcosidekick do"


def findings(document: Json) -> tuple[Reported, ...]:
    """Return what Falco's events report: always something new, since Falco knows no end of a thing.

    Args:
        document: the decoded message.

    Raises:
        Malformed: a field that we use is missing or is not what it must be.
    """
    return tuple(_finding(event, path) for path, event in wrapping.alerts(document, _ours, hint=_HINT))


def _ours(event: dict[str, Json]) -> bool:
    return "rule" in event and ("priority" in event or "output" in event or "output_fields" in event)


def _finding(document: dict[str, Json], path: str) -> Reported:
    event = Fields(document, path)
    rule = event.needed("rule")
    severity = event.word("priority", _SEVERITY)
    at = times.needed(event, "time")
    event.settle()
    fields = _output_fields(event)
    labels = event.texts("tags")
    entities = list(_entities(fields, labels, event.where("output_fields"), event.text("hostname")))
    return read(
        Reported,
        {
            "external_id": identity(event.text("uuid")) or _fingerprint(rule, at, fields),
            "rule": written(rule),
            # The output line is templated from what the attacker wrote, so it is only the excerpt.
            "title": written(rule),
            "severity": severity,
            "detected_at": at,
            "tags": tags(labels),
            "entities": distinct(entities),
            "excerpt": excerpt(event.text("output"), *left_out(entities)),
        },
        path,
    )


def _output_fields(event: Fields) -> Mapping[str, object]:
    fields = event.value("output_fields")
    if fields is not None and not isinstance(fields, dict):
        # What the event is about stands here: passed over in silence, the wrong thing would be looked at.
        raise Malformed(event.where("output_fields"), "must be an object")
    return fields or {}


def _fingerprint(rule: str, at: datetime, fields: Mapping[str, object]) -> str:
    # Not RFC 8785: `evt.time` counts nanoseconds, which is more than a double can hold.
    parts = [rule, at.isoformat(), fields]
    said = json.dumps(parts, sort_keys=True, default=lambda value: value.why if isinstance(value, Unreadable) else "")
    return "falco:" + hashlib.sha256(said.encode()).hexdigest()


def _entities(fields: Mapping[str, object], labels: Iterable[str], path: str, host: str) -> Iterable[Entity]:
    present = {key: value for key, value in fields.items() if not absent(value)}
    found = claims({**_from_tags(labels), **present}, "mcp.", path)
    yield from found
    if not any(one.kind is EntityKind.SERVER for one in found):
        namespace = next((fields[key] for key in _NAMESPACE if not absent(fields.get(key))), None)
        yield from workloads(namespace, (fields.get(key) for key in _DEPLOYMENT))
        yield from workloads(None, [fields.get("container.name")])
        yield from workloads(namespace, (fields.get(key) for key in _POD))
        if all(absent(fields.get(key)) for key in _DEPLOYMENT):
            yield from workloads(namespace, (_deployment(fields.get(key)) for key in _POD))
        yield from beside(EntityKind.HOST, [host, *(fields.get(key) for key in _NODE)])
    yield from beside(EntityKind.ADDRESS, (fields.get(key) for key in _ADDRESSES))
    yield from beside(EntityKind.PRINCIPAL, [fields.get("ka.user.name")])
    yield from image(*(fields.get(f"container.image.{part}") for part in ("repository", "tag", "digest")))


def _deployment(pod: object) -> str | None:
    """Return the Deployment that made a pod, by the pod's name; None if none did."""
    found = _OF_DEPLOYMENT.fullmatch(pod) if isinstance(pod, str) else None
    return found["deployment"] if found else None


def _from_tags(labels: Iterable[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for label in labels:
        key, colon, value = label.partition(":")
        if colon and key.casefold().startswith("mcp_"):
            found.setdefault("mcp." + key.casefold().removeprefix("mcp_"), value)
    return found
