"""Elastic Security: the Webhook connector's body, which is a Mustache template of the rule's author.

The action's body to configure (triple braces: the alerts as JSON), with the action run *for each run of the rule*:

    {"rule": {"name": "{{rule.name}}"}, "alerts": [{{{context.alerts}}}]}

Also read are `{"context": {"alerts": […]}}`, a bare list of alerts, one alert alone, hits of a search, and the alerts
as a text that holds them. Kibana writes an alert's fields flat (`"kibana.alert.uuid"`) or nested, and scalars at times
as lists of one; all of these are read. What an alert names comes from `labels.mcp_server`, `labels.mcp_tool` …, and
from `user.name`, `source.ip`, `destination.ip` and `container.image`. Without an MCP server, what one may stand on is
read too: `orchestrator` and `kubernetes`, `container.name`, `cloud.instance.id` and `host.name`. What was found
is read from `threat.indicator` and `file.hash.sha256`.

https://www.elastic.co/docs/explore-analyze/alerts-cases/alerts/rule-action-variables and
https://www.elastic.co/docs/reference/security/fields-and-object-schemas/alert-schema.
"""

from collections.abc import Iterable
from typing import Any, Final

from integrations.siem import times, wrapping
from integrations.siem.decoding import Malformed
from integrations.siem.reading import (
    MAX_ENTITIES,
    Fields,
    Reported,
    beside,
    claims,
    distinct,
    excerpt,
    identity,
    image,
    left_out,
    marked,
    read,
    scalar,
    tags,
    workloads,
    written,
)
from playbooks.record.incident import AlertState, Entity, EntityKind, MarkKind, Severity
from playbooks.strict import Json

MAX_BYTES: Final = 4 * 1024 * 1024
"""A hundred whole alerts, which is what Kibana sends at once by default, of endpoints with their process trees."""

_SEVERITY = {"low": Severity.LOW, "medium": Severity.MEDIUM, "high": Severity.HIGH, "critical": Severity.CRITICAL}

# The lower bounds that Kibana itself puts between its four words.
_RISK = ((74.0, Severity.CRITICAL), (48.0, Severity.HIGH), (22.0, Severity.MEDIUM), (0.0, Severity.LOW))
_MOST_RISK = 100

_NAMED = (
    ("user.name", EntityKind.PRINCIPAL),
    ("source.ip", EntityKind.ADDRESS),
    ("destination.ip", EntityKind.ADDRESS),
)
_STANDS = (("cloud.instance.id", EntityKind.CLOUD_RESOURCE), ("host.name", EntityKind.HOST))
_WORKLOADS = ("deployment", "statefulset", "daemonset", "pod")
_FOUND = (
    ("threat.indicator.ip", MarkKind.INDICATOR),
    ("threat.indicator.url.full", MarkKind.INDICATOR),
    ("threat.indicator.url.domain", MarkKind.INDICATOR),
    ("threat.indicator.file.hash.sha256", MarkKind.DIGEST),
    ("file.hash.sha256", MarkKind.DIGEST),
    ("vulnerability.id", MarkKind.VULNERABILITY),
)
_HINT = "lower the rule's *Max alerts per run*, or let its action run for each alert"
_AS_TEXT = "is a text: write {{{context.alerts}}} with three braces and without quotes (or toJson) in the action's body"


def findings(document: Json) -> tuple[Reported, ...]:
    """Return what a message of Elastic Security reports: a finding for each of its alerts.

    Args:
        document: the decoded message.

    Raises:
        Malformed: it is none of the shapes above, or a field that we use is missing or is not what it must be.
    """
    rule = ""
    if isinstance(document, dict):
        whole = Fields(document)
        rule = whole.text("rule.name")
        for key in ("alerts", "context.alerts"):
            value: Any = whole.given(key)
            if isinstance(value, str) and (value := wrapping.opened(value)) is None:
                raise Malformed(key, _AS_TEXT)
            if value is not None:
                return tuple(_finding(*one, rule) for one in wrapping.alerts(value, _ours, hint=_HINT, path=key))
    return tuple(_finding(*one, rule) for one in wrapping.alerts(document, _ours, hint=_HINT))


def _ours(alert: dict[str, Json]) -> bool:
    kibana = alert.get("kibana")
    return any(key.startswith("kibana.alert.") for key in alert) or (isinstance(kibana, dict) and "alert" in kibana)


def _finding(path: str, document: dict[str, Json], otherwise: str) -> Reported:
    alert = Fields(document, path)
    uuid = alert.needed("kibana.alert.uuid")
    rule = alert.text("kibana.alert.rule.name") or otherwise or alert.needed("kibana.alert.rule.name")
    severity = _severity(alert)
    at = times.needed(alert, "@timestamp", numbers=True)
    alert.settle()
    entities = list(_entities(alert))
    return read(
        Reported,
        {
            "external_id": identity(uuid),
            "state": _state(alert),
            "rule": written(rule),
            # The reason is built from the event's own fields, which the attacker wrote, so it is only the excerpt.
            "title": written(rule),
            "severity": severity,
            "detected_at": at,
            "tags": tags(alert.texts("kibana.alert.rule.tags")),
            "entities": distinct(entities),
            "excerpt": excerpt(alert.text("kibana.alert.reason"), *left_out(entities)),
            "marks": tuple(one for key, kind in _FOUND for one in marked(kind, alert.texts(key)))[:MAX_ENTITIES],
        },
        path,
    )


def _state(alert: Fields) -> AlertState:
    # A word that we do not know counts as new: losing a first alert is worse than looking twice at a repeat.
    status, workflow = (alert.text(f"kibana.alert.{key}").casefold() for key in ("status", "workflow_status"))
    if status == "recovered" or workflow == "closed":
        return AlertState.RESOLVED
    if status == "untracked" or workflow in {"acknowledged", "in-progress"}:
        return AlertState.UPDATED
    return AlertState.NEW


def _severity(alert: Fields) -> Severity | None:
    said = _SEVERITY.get(alert.text("kibana.alert.severity").casefold())
    risk = alert.value("kibana.alert.risk_score")
    if said is not None or risk is None:
        return said or alert.word("kibana.alert.severity", _SEVERITY)
    try:
        score = float(scalar(risk) or "")
    except ValueError:
        score = -1.0
    if not 0 <= score <= _MOST_RISK:
        alert.fault("kibana.alert.risk_score", f"must be a number from 0 to {_MOST_RISK}")
        return None
    return next(severity for bound, severity in _RISK if score >= bound)


def _entities(alert: Fields) -> Iterable[Entity]:
    labels = alert.value("labels")
    flat = {key.removeprefix("labels."): value for key, value in alert.document.items() if key.startswith("labels.")}
    found = claims({**flat, **labels} if isinstance(labels, dict) else flat, "mcp_", alert.where("labels"))
    yield from found
    if not any(one.kind is EntityKind.SERVER for one in found):
        yield from workloads(
            alert.text("kubernetes.namespace"), (alert.text(f"kubernetes.{kind}.name") for kind in _WORKLOADS)
        )
        if alert.text("orchestrator.resource.type").casefold() in _WORKLOADS:
            yield from workloads(alert.text("orchestrator.namespace"), [alert.text("orchestrator.resource.name")])
        yield from workloads(None, [alert.text("container.name")])
        for key, kind in _STANDS:
            yield from beside(kind, alert.texts(key))
    yield from image(alert.text("container.image.name"), *_only(alert.texts("container.image.tag")))
    for key, kind in _NAMED:
        yield from beside(kind, alert.texts(key))


def _only(texts: list[str]) -> list[str]:
    """Return the one tag that an image has; which of several is meant, nobody says."""
    return texts if len(texts) == 1 else []
