"""Elastic Security: the Webhook connector's body, which is a Mustache template of the rule's author.

The action's body to configure (triple braces: the alerts as JSON), with the action run *for each run of the rule*:

    {"rule": {"name": "{{rule.name}}"}, "alerts": [{{{context.alerts}}}]}

Also read are `{"context": {"alerts": […]}}`, a bare list of alerts, and one alert alone. Kibana writes an alert's
fields flat (`"kibana.alert.uuid"`) or nested, and scalars at times as lists of one; all of these are read. What an
alert names comes from `labels.mcp_server`, `labels.mcp_tool` …, and from `user.name`, `source.ip`, `destination.ip`
and `container.image.name`.

https://www.elastic.co/docs/explore-analyze/alerts-cases/alerts/rule-action-variables and
https://www.elastic.co/docs/reference/security/fields-and-object-schemas/alert-schema.
"""

from typing import Annotated, Literal

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
    each,
    entity,
    excerpt,
    read,
    single,
)
from playbooks.incident import AlertState, Entity, EntityKind, Severity
from playbooks.strict import Json, Name

_SEVERITY = {"low": Severity.LOW, "medium": Severity.MEDIUM, "high": Severity.HIGH, "critical": Severity.CRITICAL}

# The lower bounds that Kibana itself puts between its four words.
_RISK = ((74.0, Severity.CRITICAL), (48.0, Severity.HIGH), (22.0, Severity.MEDIUM), (0.0, Severity.LOW))

_NAMED = (
    ("user.name", EntityKind.PRINCIPAL),
    ("source.ip", EntityKind.ADDRESS),
    ("destination.ip", EntityKind.ADDRESS),
    ("container.image.name", EntityKind.IMAGE),
)


class _Alert(Vendor):
    uuid: Annotated[Text, Field(alias="kibana.alert.uuid")]
    rule: Annotated[Text, Field(alias="kibana.alert.rule.name")]
    tags: Annotated[list[Name], Field(alias="kibana.alert.rule.tags", max_length=100, default_factory=list)]
    severity: Annotated[Literal["low", "medium", "high", "critical"] | None, Field(alias="kibana.alert.severity")] = (
        None
    )
    risk_score: Annotated[float | None, Field(alias="kibana.alert.risk_score", ge=0, le=100)] = None
    reason: Annotated[str, Field(alias="kibana.alert.reason")] = ""
    status: Annotated[Literal["active", "recovered", "untracked", "delayed"], Field(alias="kibana.alert.status")] = (
        "active"
    )
    workflow_status: Annotated[
        Literal["open", "acknowledged", "in-progress", "closed"], Field(alias="kibana.alert.workflow_status")
    ] = "open"
    timestamp: Annotated[Instant, Field(alias="@timestamp")]


_FIELDS = tuple(str(field.alias) for field in _Alert.model_fields.values())


def findings(document: Json) -> tuple[Finding, ...]:
    """Return what a message of Elastic Security reports: a finding for each of its alerts.

    Args:
        document: the decoded message.

    Raises:
        Malformed: it is none of the shapes above, or a field that we use is missing or breaks a limit.
    """
    rule = None
    if isinstance(document, dict):
        rule = _value(document, "rule.name")
        for path in ("alerts", "context.alerts"):
            if (alerts := _value(document, path)) is not None:
                return tuple(_finding(alert, where, rule) for where, alert in each(alerts, path))
        return (_finding(document, "", rule),)
    return tuple(_finding(alert, where, rule) for where, alert in each(document, ""))


def _finding(document: dict[str, Json], path: str, rule: Json) -> Finding:
    picked: dict[str, object] = {key: value for key in _FIELDS if (value := _value(document, key)) is not None}
    tags = picked.pop("kibana.alert.rule.tags", None)
    picked = {key: single(value) for key, value in picked.items()}
    if tags is not None:
        picked["kibana.alert.rule.tags"] = tags if isinstance(tags, list) else [tags]
    if rule is not None:
        picked.setdefault("kibana.alert.rule.name", rule)
    alert = read(_Alert, picked, path)
    return read(
        Finding,
        {
            "external_id": alert.uuid,
            "state": _state(alert),
            "rule": alert.rule,
            # The reason is built from the event's own fields, which the attacker wrote, so it is only the excerpt.
            "title": alert.rule,
            "severity": _severity(alert, path),
            "detected_at": alert.timestamp,
            "tags": tuple(alert.tags),
            "entities": distinct(_entities(document, path)),
            "excerpt": excerpt(alert.reason),
        },
        path,
    )


def _state(alert: _Alert) -> AlertState:
    if alert.status == "recovered" or alert.workflow_status == "closed":
        return AlertState.RESOLVED
    if alert.status == "untracked" or alert.workflow_status in {"acknowledged", "in-progress"}:
        return AlertState.UPDATED
    return AlertState.NEW


def _severity(alert: _Alert, path: str) -> Severity:
    if alert.severity is not None:
        return _SEVERITY[alert.severity]
    if alert.risk_score is None:
        raise Malformed(_join(path, "kibana.alert.severity"), "is missing, and so is kibana.alert.risk_score")
    score = alert.risk_score
    return next(severity for bound, severity in _RISK if score >= bound)


def _entities(document: dict[str, Json], path: str) -> list[Entity]:
    labels = _value(document, "labels")
    flat = {key.removeprefix("labels."): value for key, value in document.items() if key.startswith("labels.")}
    found = claims({**flat, **labels} if isinstance(labels, dict) else flat, "mcp_", _join(path, "labels"))
    for key, kind in _NAMED:
        values = _value(document, key)
        for value in values if isinstance(values, list) else [values]:
            if not absent(value):
                found.append(entity(kind, value, _join(path, key)))
    return found


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _value(document: dict[str, Json], key: str) -> Json:
    """Return a field that may be written flat, nested, or in part each; None where there is none."""
    if key in document:
        return document[key]
    head, dot, rest = key.partition(".")
    while dot:
        inner = document.get(head)
        if isinstance(inner, dict) and (value := _value(inner, rest)) is not None:
            return value
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None
