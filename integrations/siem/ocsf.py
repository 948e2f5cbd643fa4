"""OCSF Detection Finding (class 2004), one event or a list of them, in any 1.x version of the schema.

What it names is read from `unmapped` (`{"mcp": {"server": …}}` or `{"mcp.server": …}`), from observables with such
names, from resources of the types `mcp_server`, `mcp_tool` …, and from the evidences' endpoints, users and container
images.

https://schema.ocsf.io/classes/detection_finding
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from integrations.siem.reading import (
    Epoch,
    Finding,
    Text,
    Vendor,
    absent,
    claims,
    clean,
    distinct,
    each,
    entity,
    excerpt,
    read,
)
from playbooks.incident import AlertState, Entity, EntityKind, Severity
from playbooks.strict import Json, Name, Prose

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

_CLOSE, _UPDATE = 3, 2
_IN_PROGRESS = 2
_OVER = frozenset({3, 4, 5, 6})  # suppressed, resolved, archived, deleted
_IP_ADDRESS = 2
_MANY = 1000


def _known_severity(number: int) -> int:
    if number not in _SEVERITY:
        raise ValueError("must be a number from 0 to 6, or 99")
    return number


class _Analytic(Vendor):
    name: Text | None = None
    uid: Text | None = None


class _FindingInfo(Vendor):
    uid: Text
    title: Annotated[Prose, Field(min_length=1)] | None = None
    desc: str | None = None
    types: Annotated[list[Name] | None, Field(max_length=100)] = None
    analytic: _Analytic | None = None


class _Metadata(Vendor):
    labels: Annotated[list[Name] | None, Field(max_length=100)] = None


class _Resource(Vendor):
    type: str | None = None
    name: str | None = None
    uid: str | None = None


class _Observable(Vendor):
    name: str | None = None
    type_id: int | None = None
    value: Any = None


class _Endpoint(Vendor):
    ip: str | None = None


class _User(Vendor):
    name: str | None = None
    email_addr: str | None = None


class _Actor(Vendor):
    user: _User | None = None


class _Image(Vendor):
    name: str | None = None


class _Container(Vendor):
    image: _Image | None = None


class _Evidence(Vendor):
    src_endpoint: _Endpoint | None = None
    dst_endpoint: _Endpoint | None = None
    user: _User | None = None
    actor: _Actor | None = None
    container: _Container | None = None


class _Event(Vendor):
    class_uid: Literal[2004]
    activity_id: int
    severity_id: Annotated[int, AfterValidator(_known_severity)]
    status_id: int | None = None
    time: Epoch
    message: str | None = None
    finding_info: _FindingInfo
    metadata: _Metadata = _Metadata()
    resources: Annotated[list[_Resource] | None, Field(max_length=_MANY)] = None
    observables: Annotated[list[_Observable] | None, Field(max_length=_MANY)] = None
    evidences: Annotated[list[_Evidence] | None, Field(max_length=_MANY)] = None
    unmapped: dict[str, Any] | None = None


def findings(document: Json) -> tuple[Finding, ...]:
    """Return what an OCSF message reports: a finding for each of its events.

    Args:
        document: the decoded message.

    Raises:
        Malformed: it is no detection finding, or a field that we use is missing or breaks a limit.
    """
    if isinstance(document, list):
        return tuple(_finding(event, where) for where, event in each(document, ""))
    return (_finding(document, ""),)


def _finding(document: Json, path: str) -> Finding:
    event = read(_Event, document, path)
    info = event.finding_info
    analytic = info.analytic or _Analytic()
    rule = analytic.name or analytic.uid or info.title or info.uid
    return read(
        Finding,
        {
            # Not metadata.uid, which names this one event: an update of the same finding would look like a new one.
            "external_id": info.uid,
            "state": _state(event),
            "rule": rule,
            "title": clean(info.title or rule),
            "severity": _SEVERITY[event.severity_id],
            "detected_at": event.time,
            "tags": (*(info.types or ()), *(event.metadata.labels or ())),
            "entities": distinct(_entities(event, path)),
            "excerpt": excerpt(event.message or info.desc or ""),
        },
        path,
    )


def _state(event: _Event) -> AlertState:
    # An unknown activity counts as new: losing a first alert is worse than looking twice at a repeat.
    if event.activity_id == _CLOSE or event.status_id in _OVER:
        return AlertState.RESOLVED
    if event.activity_id == _UPDATE or event.status_id == _IN_PROGRESS:
        return AlertState.UPDATED
    return AlertState.NEW


def _entities(event: _Event, path: str) -> Iterator[Entity]:
    here = f"{path}." if path else ""
    named: dict[str, object] = {}
    rest: list[Entity] = []
    for index, resource in enumerate(event.resources or ()):
        # "MCP Server", "mcp-server" and "mcp_server" are the same word.
        kind = (resource.type or "").lower().replace(" ", "_").replace("-", "_")
        name = resource.uid if absent(resource.name) else resource.name
        if kind.startswith("mcp_") and not absent(name):
            key = "mcp." + kind.removeprefix("mcp_")
            if named.setdefault(key, name) != name and (also := _KINDS.get(key)) is not None:
                rest.append(entity(also, name, f"{here}resources.{index}.name"))
    for index, observable in enumerate(event.observables or ()):
        key = (observable.name or "").removeprefix("unmapped.")
        if key in _KINDS and not absent(observable.value):
            if named.setdefault(key, observable.value) != observable.value:
                rest.append(entity(_KINDS[key], observable.value, f"{here}observables.{index}.value"))
        elif observable.type_id == _IP_ADDRESS and not absent(observable.value):
            rest.append(entity(EntityKind.ADDRESS, observable.value, f"{here}observables.{index}.value"))
    unmapped = event.unmapped or {}
    nested = unmapped.get("mcp")
    if isinstance(nested, dict):
        unmapped = {**{f"mcp.{key}": value for key, value in nested.items()}, **unmapped}
    yield from claims({**named, **unmapped}, "mcp.", f"{here}unmapped")
    yield from rest
    for index, evidence in enumerate(event.evidences or ()):
        yield from _of_evidence(evidence, f"{here}evidences.{index}")


_KINDS = {f"mcp.{kind}": kind for kind in EntityKind}


def _of_evidence(evidence: _Evidence, path: str) -> Iterator[Entity]:
    for name, endpoint in (("src_endpoint", evidence.src_endpoint), ("dst_endpoint", evidence.dst_endpoint)):
        if endpoint and not absent(endpoint.ip):
            yield entity(EntityKind.ADDRESS, endpoint.ip, f"{path}.{name}.ip")
    for name, user in (("user", evidence.user), ("actor.user", evidence.actor.user if evidence.actor else None)):
        if user and not absent(who := user.email_addr or user.name):
            yield entity(EntityKind.PRINCIPAL, who, f"{path}.{name}")
    if evidence.container and evidence.container.image and not absent(evidence.container.image.name):
        yield entity(EntityKind.IMAGE, evidence.container.image.name, f"{path}.container.image.name")
