"""OCSF Detection Finding (2004) and Vulnerability Finding (2002), one or several, in any 1.x version of the schema.

What it names is read from `unmapped` (`{"mcp": {"server": …}}` or `{"mcp.server": …}`), from observables with such
names, from resources of the types `mcp_server`, `mcp_tool` …, and from the evidences' endpoints, users and container
images. Without an MCP server, what one may stand on is read too: other resources, containers and devices, and the
packages that a vulnerability is in.

https://schema.ocsf.io/classes/detection_finding, https://schema.ocsf.io/classes/vulnerability_finding
"""

from collections.abc import Iterator

from integrations.siem import times, wrapping
from integrations.siem.reading import (
    MAX_ENTITIES,
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
    marked,
    read,
    scalar,
    tags,
    title,
    workloads,
    written,
)
from playbooks.estate.package import versioned
from playbooks.record.incident import AlertState, Claimed, Entity, EntityKind, MarkKind, Severity
from playbooks.strict import Json

# 0 unknown and 99 other say nothing, so they are neither hurried nor left lying; 6 (fatal) is above our scale.
_SEVERITY = {
    0: Severity.MEDIUM,
    1: Severity.INFORMATIONAL,
    2: Severity.LOW,
    3: Severity.MEDIUM,
    4: Severity.HIGH,
    5: Severity.CRITICAL,
    6: Severity.CRITICAL,
    99: Severity.MEDIUM,
}
_DETECTION, _VULNERABILITY = 2004, 2002
_CLOSE, _UPDATE = 3, 2
_IN_PROGRESS = 2
_OVER = frozenset({3, 4, 5, 6})  # suppressed, resolved, archived, deleted
_HOST_NAME, _IP_ADDRESS = 1, 2
_WORKLOADS = frozenset({"deployment", "statefulset", "daemonset", "pod", "replicaset", "job", "cronjob"})
_FOUND = {6: MarkKind.INDICATOR, 8: MarkKind.DIGEST}
"""Of the types of observables a URL, and a file's hash."""
_HINT = "lower the batch size of what sends them, as Vector's batch.max_events"


def findings(document: Json) -> tuple[Reported, ...]:
    """Return what an OCSF message reports: a finding for each of its events.

    Args:
        document: the decoded message.

    Raises:
        Malformed: it is no detection finding, or a field that we use is missing or is not what it must be.
    """
    return tuple(_finding(event, path) for path, event in wrapping.alerts(document, _ours, hint=_HINT))


def _ours(event: dict[str, Json]) -> bool:
    return "class_uid" in event or "finding_info" in event


def _finding(document: dict[str, Json], path: str) -> Reported:
    event = Fields(document, path)
    if event.number("class_uid") not in {_DETECTION, _VULNERABILITY}:
        event.fault("class_uid", f"must be {_DETECTION}, a detection finding, or {_VULNERABILITY}, a vulnerability's")
    severity = _SEVERITY.get(number) if (number := event.number("severity_id")) is not None else None
    if severity is None:
        event.fault("severity_id", "must be a number from 0 to 6, or 99")
    uid = event.needed("finding_info.uid")
    at = times.needed(event, "time", numbers=True)
    event.settle()
    heading = event.text("finding_info.title")
    rule = event.text("finding_info.analytic.name") or event.text("finding_info.analytic.uid") or heading or uid
    entities = list(_entities(event))
    return read(
        Reported,
        {
            # Not metadata.uid, which names this one event: an update of the same finding would look like a new one.
            "external_id": identity(uid),
            "state": _state(event),
            "rule": written(rule),
            "title": title(heading or rule),
            "severity": severity,
            "detected_at": at,
            "tags": tags([*event.texts("finding_info.types"), *event.texts("metadata.labels")]),
            "entities": distinct(entities),
            "excerpt": excerpt(event.text("message") or event.text("finding_info.desc"), *left_out(entities)),
            "marks": tuple(_found(event))[:MAX_ENTITIES],
        },
        path,
    )


def _state(event: Fields) -> AlertState:
    # An unknown activity counts as new: losing a first alert is worse than looking twice at a repeat.
    activity, status = event.number("activity_id"), event.number("status_id")
    if activity == _CLOSE or status in _OVER:
        return AlertState.RESOLVED
    if activity == _UPDATE or status == _IN_PROGRESS:
        return AlertState.UPDATED
    return AlertState.NEW


_KINDS = {f"mcp.{kind}": kind for kind in EntityKind}


def _entities(event: Fields) -> Iterator[Entity]:
    named: dict[str, object] = {}
    rest: list[Entity] = []
    stands = [*beside(EntityKind.HOST, [event.text("device.hostname") or event.text("device.name")])]
    for vulnerability in event.objects("vulnerabilities"):
        stands += _packages(vulnerability)
    for resource in event.objects("resources"):
        _of_resource(resource, named, rest, stands)
    for observable in event.objects("observables"):
        key, value = observable.text("name").casefold().removeprefix("unmapped."), observable.value("value")
        if key in _KINDS:
            _name(named, rest, key, value)
        elif observable.number("type_id") == _IP_ADDRESS:
            rest += beside(EntityKind.ADDRESS, [value])
        elif observable.number("type_id") == _HOST_NAME:
            stands += beside(EntityKind.HOST, [value])
    unmapped = event.value("unmapped")
    if isinstance(unmapped, str):
        unmapped = wrapping.opened(unmapped)
    unmapped = unmapped if isinstance(unmapped, dict) else {}
    nested = unmapped.get("mcp")
    if isinstance(nested, dict):
        unmapped = {**{f"mcp.{key}": value for key, value in nested.items()}, **unmapped}
    given = {key: value for key, value in unmapped.items() if not absent(value)}
    found = [*claims({**named, **given}, "mcp.", event.where("unmapped")), *rest]
    yield from found
    for evidence in event.objects("evidences"):
        stands += workloads(None, [evidence.text("container.name")])
        yield from _of_evidence(evidence)
    yield from stands if all(one.kind is not EntityKind.SERVER for one in found) else ()


def _of_resource(resource: Fields, named: dict[str, object], rest: list[Entity], stands: list[Entity]) -> None:
    # "MCP Server", "mcp-server" and "mcp_server" are the same word.
    kind = resource.text("type").casefold().replace(" ", "_").replace("-", "_")
    key = "mcp." + kind.removeprefix("mcp_")
    if key in _KINDS:
        _name(named, rest, key, resource.text("name") or resource.text("uid"))
    elif kind.rpartition("_")[2] in _WORKLOADS:
        stands += workloads(resource.text("namespace"), [resource.text("name")])
    else:
        stands += beside(EntityKind.CLOUD_RESOURCE, [resource.text("uid")])


def _packages(vulnerability: Fields) -> Iterator[Entity]:
    for package in vulnerability.objects("affected_packages"):
        name, version, url = package.text("name"), package.text("version"), package.text("purl")
        named = f"{name}@{version}" if name and version else name
        yield from beside(EntityKind.PACKAGE, [versioned(url, version) if url else named])


def _found(event: Fields) -> Iterator[Claimed]:
    for vulnerability in event.objects("vulnerabilities"):
        yield from marked(MarkKind.VULNERABILITY, [vulnerability.text("cve.uid") or vulnerability.text("advisory.uid")])
    for observable in event.objects("observables"):
        kind = _FOUND.get(observable.number("type_id") or 0)
        if kind is not None:
            yield from marked(kind, [observable.value("value")])


def _name(named: dict[str, object], rest: list[Entity], key: str, value: object) -> None:
    """Take in what a resource or an observable names: the first of a kind belongs together, others stand beside it."""
    if key in _KINDS and not absent(value) and (text := scalar(value)) and named.setdefault(key, text) != text:
        rest += beside(_KINDS[key], [text])


def _of_evidence(evidence: Fields) -> Iterator[Entity]:
    yield from beside(EntityKind.ADDRESS, (evidence.text(f"{end}_endpoint.ip") for end in ("src", "dst")))
    for user in ("user", "actor.user"):
        yield from beside(EntityKind.PRINCIPAL, [evidence.text(f"{user}.email_addr") or evidence.text(f"{user}.name")])
    yield from image(evidence.text("container.image.name"), evidence.text("container.image.tag"))
