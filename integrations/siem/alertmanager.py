"""Prometheus Alertmanager's webhook, version 4, and Grafana's, which is like it: a group of alerts in one message.

What an alert names comes from its labels `mcp_server`, `mcp_tool` …, or annotations of these names; without an MCP
server from `namespace`, `deployment`, `pod`, `container`, `image` and `node`, on which one may stand. Its rule is the
label `alertname`, its severity the label `severity`, and each label is a tag `name=value` for `classify`.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from typing import Final

from integrations.siem import times, wrapping
from integrations.siem.reading import (
    Fields,
    Reported,
    beside,
    claims,
    distinct,
    excerpt,
    identity,
    image,
    left_out,
    read,
    scalar,
    tags,
    title,
    workloads,
    written,
)
from playbooks.record.incident import AlertState, EntityKind, Severity
from playbooks.strict import Json

# Prometheus prescribes no words: these are what rules are written with; of another one nothing is known.
_SEVERITY: Final = {
    **dict.fromkeys(("critical", "page", "emergency", "fatal", "disaster"), Severity.CRITICAL),
    **dict.fromkeys(("high", "error", "major"), Severity.HIGH),
    **dict.fromkeys(("medium", "moderate", "warning", "warn", "minor", "average"), Severity.MEDIUM),
    **dict.fromkeys(("low", "notice"), Severity.LOW),
    **dict.fromkeys(("informational", "info", "none", "debug"), Severity.INFORMATIONAL),
}
_WORKLOADS: Final = ("deployment", "statefulset", "daemonset", "workload", "pod")
_HINT: Final = "set max_alerts in the receiver's webhook_configs, or group_by more labels"


def findings(document: Json) -> tuple[Reported, ...]:
    """Return what a group of alerts reports: a finding for each of them.

    Args:
        document: the decoded message.

    Raises:
        Malformed: it is no such message, or a field that we use is missing or is not what it must be.
    """
    cut_off, path = None, ""
    if isinstance(document, dict) and (alerts := document.get("alerts")) is not None:
        cut_off = Fields(document).number("truncatedAlerts")
        document, path = alerts, "alerts"
    more = (f"[Alertmanager cut off {cut_off} more alerts of this group: its max_alerts]",) if cut_off else ()
    return tuple(_finding(*one, more) for one in wrapping.alerts(document, _ours, hint=_HINT, path=path))


def _ours(alert: dict[str, Json]) -> bool:
    return "labels" in alert and ("startsAt" in alert or "fingerprint" in alert)


def _finding(path: str, document: dict[str, Json], more: tuple[str, ...]) -> Reported:
    alert = Fields(document, path)
    # Not by way of a dotted key: a label's own name may have dots.
    labels, annotations = alert.inner("labels"), alert.inner("annotations")
    rule = alert.needed("labels.alertname")
    fingerprint = alert.needed("fingerprint")
    at = times.needed(alert, "startsAt")
    alert.settle()
    named = {**annotations.document, **labels.document}
    entities = [*claims(named, "mcp_", alert.where("labels"))]
    if not any(one.kind is EntityKind.SERVER for one in entities):
        entities += workloads(labels.text("namespace"), (labels.text(kind) for kind in _WORKLOADS))
        entities += workloads(None, [labels.text("container")])
        entities += image(labels.text("image"))
        entities += beside(EntityKind.HOST, [labels.text("node")])
    text = annotations.text("description") or annotations.text("message")
    return read(
        Reported,
        {
            # The same labels firing anew are another thing that happened, with another beginning and one end.
            "external_id": identity(f"{fingerprint}/{at.isoformat()}"),
            "state": AlertState.RESOLVED if alert.text("status").casefold() == "resolved" else AlertState.NEW,
            "rule": written(rule),
            "title": title(annotations.text("summary") or annotations.text("title") or rule),
            "severity": _SEVERITY.get(labels.text("severity").casefold(), Severity.MEDIUM),
            "detected_at": at,
            "tags": tags(f"{name}={scalar(value)}" for name, value in labels.document.items() if scalar(value)),
            "entities": distinct(entities),
            "excerpt": excerpt(text, *more, *left_out(entities)),
        },
        path,
    )
