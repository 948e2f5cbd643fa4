"""Our own format, for a source that can be told what to send. Its schema is `schemas/generic.schema.json`.

An example:

    {"version": 1, "id": "scan-17/forecast", "rule": "Tool description changed", "severity": "high",
     "title": "The description of forecast asks for files", "detected_at": "2026-01-31T12:00:00Z",
     "entities": [{"kind": "tool", "name": "forecast", "server": "weather"}]}

Read are also several in a list, or one on each line, words in any case, and one value where a list belongs. A name
that is `N/A` or the like, or what a template left unfilled, counts as not given. A field that is not of the format is
refused: whoever writes it has misspelt one.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from integrations.siem import wrapping
from integrations.siem.reading import (
    MAX_ENTITIES,
    Reported,
    absent,
    distinct,
    entity,
    excerpt,
    identity,
    marked,
    read,
    scalar,
    single,
    tags,
    title,
    written,
)
from integrations.siem.times import Instant
from playbooks.record.incident import AlertState, EntityKind, MarkKind, Severity
from playbooks.strict import Json, Strict

_SEVERITY = {severity.label: severity for severity in Severity}
_HINT = "send them in several messages"


def _text(value: object) -> object:
    """Return a number as text and what is absent as nothing."""
    value = single(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return "" if isinstance(value, str) and absent(value) else value


def _word(value: object) -> object:
    value = single(value)
    return value.strip().casefold() if isinstance(value, str) else value


def _version(value: object) -> object:
    return 1 if scalar(value) == "1" else value


def _many(value: object) -> object:
    return () if absent(value) else value if isinstance(value, list | tuple) else (value,)


def _one_or_none(value: object) -> object:
    value = single(value)
    return None if absent(value) else value


# Bounded by the message; what is too long is cut where it is used, for its writer may have let an attacker fill it in.
_Given = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
_Free = Annotated[str, BeforeValidator(lambda value: "" if value is None else single(value))]


class GenericEntity(Strict):
    """One thing that the alert is about.

    Args:
        kind: what it is.
        name: what the sender calls it; it is looked up in the inventory.
        server: the server that it belongs to.
    """

    kind: Annotated[EntityKind, BeforeValidator(_word)]
    name: Annotated[str, BeforeValidator(_text)]
    server: Annotated[str | None, BeforeValidator(_one_or_none)] = None


class GenericMark(Strict):
    """Something that was found, which alerts about other things may have in common with it.

    Args:
        kind: an `indicator` (address, host, URL), a `digest`, a `vulnerability` (as CVE-2025-68144), or an injected
            `text`.
        value: what it is.
    """

    kind: Annotated[MarkKind, BeforeValidator(_word)]
    value: Annotated[str, BeforeValidator(_text)]


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
        marks: what was found; alerts about other servers with the same are shown together.
    """

    model_config = ConfigDict(title="mcp-soar generic alert")

    version: Annotated[Literal[1], BeforeValidator(_version)]
    id: _Given
    state: Annotated[AlertState, BeforeValidator(lambda value: _word(value) or "new")] = AlertState.NEW
    rule: _Given
    title: Annotated[str, Field(min_length=1)]
    severity: Annotated[Literal["informational", "low", "medium", "high", "critical"], BeforeValidator(_word)]
    detected_at: Instant
    tags: Annotated[
        tuple[Annotated[str, BeforeValidator(_text)], ...], BeforeValidator(_many), Field(max_length=1000)
    ] = ()
    entities: Annotated[tuple[GenericEntity, ...], BeforeValidator(_many), Field(max_length=MAX_ENTITIES)] = ()
    excerpt: _Free = ""
    marks: Annotated[tuple[GenericMark, ...], BeforeValidator(_many), Field(max_length=MAX_ENTITIES)] = ()


def findings(document: Json) -> tuple[Reported, ...]:
    """Return what a message in our own format reports: a finding for each alert.

    Args:
        document: the decoded message.

    Raises:
        Malformed: it is not a `GenericAlert`.
    """
    return tuple(_finding(alert, path) for path, alert in wrapping.alerts(document, _ours, hint=_HINT))


def _ours(alert: dict[str, Json]) -> bool:
    return ("version" in alert or "id" in alert) and ("rule" in alert or "detected_at" in alert or "severity" in alert)


def _finding(document: dict[str, Json], path: str) -> Reported:
    alert = read(GenericAlert, document, path)
    here = f"{path}." if path else ""
    named: list[Any] = [
        entity(one.kind, one.name, f"{here}entities.{index}.name", server=one.server)
        for index, one in enumerate(alert.entities)
        if one.name
    ]
    return read(
        Reported,
        {
            "external_id": identity(alert.id),
            "state": alert.state,
            "rule": written(alert.rule),
            "title": title(alert.title),
            "severity": _SEVERITY[alert.severity],
            "detected_at": alert.detected_at,
            "tags": tags(alert.tags),
            "entities": distinct(named),
            "excerpt": excerpt(alert.excerpt),
            "marks": tuple(one for mark in alert.marks for one in marked(mark.kind, [mark.value])),
        },
        path,
    )
