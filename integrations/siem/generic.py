"""Our own format, for a source that can be told what to send. Its schema is `schemas/generic.schema.json`.

An example:

    {"version": 1, "id": "scan-17/forecast", "rule": "Tool description changed", "severity": "high",
     "title": "The description of forecast asks for files", "detected_at": "2026-01-31T12:00:00Z",
     "entities": [{"kind": "tool", "name": "forecast", "server": "weather"}]}
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from integrations.siem.reading import Finding, Instant, Text, clean, distinct, entity, excerpt, read
from playbooks.incident import AlertState, EntityKind, Severity
from playbooks.strict import Json, Name, Prose, Strict

_SEVERITY = {severity.label: severity for severity in Severity}


class GenericEntity(Strict):
    """One thing that the alert is about.

    Args:
        kind: what it is.
        name: what the sender calls it; it is looked up in the inventory.
        server: the server that it belongs to.
    """

    kind: EntityKind
    name: Annotated[str, Field(min_length=1)]
    server: Annotated[str, Field(min_length=1)] | None = None


class GenericAlert(Strict):
    """One alert in our own format.

    Args:
        version: of the format.
        id: the sender's id of the thing that it reports; a repeat or an update carries the same one.
        state: `new`, or `updated` or `resolved`, which never start a containment.
        rule: the name of the detection.
        title: one line for people.
        severity: from informational to critical.
        detected_at: when it was seen, as RFC 3339 writes it.
        tags: labels that the source's configuration may map to a class.
        entities: what it is about.
        excerpt: a text for people; what is longer than 2000 characters is cut.
    """

    model_config = ConfigDict(title="mcp-soar generic alert")

    version: Literal[1]
    id: Text
    state: AlertState = AlertState.NEW
    rule: Text
    title: Annotated[Prose, Field(min_length=1)]
    severity: Literal["informational", "low", "medium", "high", "critical"]
    detected_at: Instant
    tags: Annotated[tuple[Name, ...], Field(max_length=50)] = ()
    entities: Annotated[tuple[GenericEntity, ...], Field(max_length=100)] = ()
    excerpt: str = ""


def findings(document: Json) -> tuple[Finding, ...]:
    """Return what a message in our own format reports: one finding.

    Args:
        document: the decoded message.

    Raises:
        Malformed: it is not a `GenericAlert`.
    """
    alert = read(GenericAlert, document)
    return (
        read(
            Finding,
            {
                "external_id": alert.id,
                "state": alert.state,
                "rule": alert.rule,
                "title": clean(alert.title),
                "severity": _SEVERITY[alert.severity],
                "detected_at": alert.detected_at,
                "tags": alert.tags,
                "entities": distinct(
                    entity(one.kind, one.name, f"entities.{index}", server=one.server)
                    for index, one in enumerate(alert.entities)
                ),
                "excerpt": excerpt(alert.excerpt),
            },
        ),
    )
