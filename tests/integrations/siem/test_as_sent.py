"""Alerts as real tools send them (`tests/fixtures/sent`, values made up): what is taken, and what a refusal says."""

import json
from pathlib import Path
from typing import Any

import pytest

from integrations.siem import decoding, wrapping
from integrations.siem.reading import MAX_ALERTS
from integrations.siem.source import Format, Malformed, Source, parse
from playbooks.record.incident import Alert, AlertState, Entity, EntityKind, Severity
from playbooks.strict import iso
from playbooks.text.escaping import own_name

ROOT = Path(__file__).parents[3]
SENT = ROOT / "tests/fixtures/sent"
SERVER = Entity(kind=EntityKind.SERVER, name="weather")
TOOL = Entity(kind=EntityKind.TOOL, name="forecast", server="weather")


def source(alert_format: str) -> Source:
    return Source.model_validate({"format": alert_format, "authentication": "none", "confidence": "low"})


def sent(name: str) -> bytes:
    (path,) = SENT.glob(f"{name}-*.json")
    return path.read_bytes()


def taken(raw: bytes | Any, alert_format: str) -> tuple[Alert, ...]:  # noqa: ANN401  # any JSON value
    raw = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return parse(raw, "siem", source(alert_format))


def refused(raw: bytes | Any, alert_format: str) -> tuple[tuple[str, str], ...]:  # noqa: ANN401  # any JSON value
    with pytest.raises(Malformed) as caught:
        taken(raw, alert_format)
    return caught.value.faults


FALCO = json.loads(sent("01"))
FULL = json.loads(sent("08"))["alerts"][0]
FINDING = json.loads(sent("13"))["detail"]["findings"][0]
GENERIC = json.loads(sent("21"))
GROUP = json.loads((ROOT / "tests/fixtures/alerts/alertmanager-tool-poisoning.json").read_bytes())
ONE: dict[str, Any] = {
    "falco": FALCO,
    "elastic": FULL,
    "ocsf": FINDING,
    "generic": GENERIC,
    "alertmanager": GROUP["alerts"][0],
}


# Falco


@pytest.mark.parametrize("nothing", [None, [], {}, ""])
def test_01_empty_output_fields_leave_the_tags(nothing: object) -> None:
    (alert,) = taken({**FALCO, "output_fields": nothing}, "falco")
    assert alert.entities == (SERVER, TOOL)


def test_03_two_events_on_two_lines_are_two() -> None:
    ids = [alert.external_id[-1] for alert in taken(sent("03"), "falco")]
    assert ids == ["3", "4"]


def test_04_a_byte_that_is_no_text_is_shown_and_silences_nothing() -> None:
    (alert,) = taken(sent("04"), "falco")
    assert alert.excerpt == "opened /tmp/a\N{REPLACEMENT CHARACTER}z"
    assert SERVER in alert.entities


@pytest.mark.parametrize(
    "change",
    [
        {"hostname": 7, "source": None},
        {"uuid": None},
        {"uuid": 7},
        {"tags": None},
        {"tags": "mcp_server:weather"},
        {"tags": ["mcp_server:weather", "mcp_tool:forecast", "x" * 500, 7, None, {"a": 1}]},
        {"tags": ["mcp_server:weather", "mcp_tool:forecast"] + [f"t{n}" for n in range(5000)]},
        {"output": None},
        {"output": {"a": 1}},
        {"output_fields": {"fd.rip": {"a": 1}, "container.image.repository": 7, "ka.user.name": ["a", "b"]}},
        {"output_fields": {"proc.cmdline": "x" * 100_000, "evt.time": 1769860800123456789}},
        {"priority": "CRITICAL"},
        {"rule": ["MCP tool definition changed"]},
        {"time": "2026-01-31T12:00:00.123456789+0000"},
        {"a": {"b": [[[[[[[[1]]]]]]]]}},
    ],
)
def test_falco_fields_that_are_not_needed_or_otherwise_written_refuse_nothing(change: dict[str, Any]) -> None:
    (alert,) = taken({**FALCO, **change}, "falco")
    assert alert.severity is Severity.CRITICAL
    assert iso(alert.detected_at).startswith("2026-01-31T12:00:00")


# Elastic


def test_07_a_rule_named_over_several_lines_is_written_out() -> None:
    (alert,) = taken(sent("07"), "elastic")
    assert alert.rule == "Process Create:\\u{a}RuleName: -\\u{a}Image: /usr/bin/node"
    assert alert.title == alert.rule
    assert alert.entities[:2] == (SERVER, TOOL)


def test_08_a_hundred_whole_alerts_are_taken_and_more_are_refused_with_the_setting() -> None:
    many = [{**FULL, "kibana.alert.uuid": f"{n:064}", "process.args": ["x" * 30] * 400} for n in range(MAX_ALERTS)]
    assert len(json.dumps(many)) > 1_500_000
    assert len(taken({"rule": {"name": "r"}, "alerts": many}, "elastic")) == 100
    ((field, message),) = refused({"alerts": [*many[:1] * 101]}, "elastic")
    assert field == "alerts"
    assert "101 alerts" in message
    assert "Max alerts per run" in message


def test_10_alerts_as_a_text_are_read_and_what_a_template_left_is_explained() -> None:
    (alert,) = taken(sent("10"), "elastic")
    assert alert.entities == (SERVER, TOOL)
    # A template that writes brackets around what has some of its own.
    assert len(taken({"alerts": [[FULL, {**FULL, "kibana.alert.uuid": "b"}]]}, "elastic")) == 2
    for left in ("[object Object],[object Object]", "[{&quot;kibana.alert.uuid&quot;: 1}]", "{{context.alerts}}", ""):
        ((field, message),) = refused({"alerts": left}, "elastic")
        assert field == "alerts"
        assert "{{{context.alerts}}}" in message
        assert "toJson" in message
    ((field, message),) = refused(b'{"alerts": [[object Object]]}', "elastic")
    assert field == "body"
    assert "{{{context.alerts}}}" in message


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        ({"kibana.alert.severity": "High"}, Severity.HIGH),
        ({"kibana.alert.severity": ["CRITICAL"]}, Severity.CRITICAL),
        ({"kibana.alert.severity": None, "kibana.alert.risk_score": "73"}, Severity.HIGH),
        ({"kibana.alert.severity": "N/A", "kibana.alert.risk_score": [99.5]}, Severity.CRITICAL),
    ],
)
def test_an_elastic_severity_is_read_in_any_case_and_form(change: dict[str, Any], severity: Severity) -> None:
    (alert,) = taken({**FULL, **change}, "elastic")
    assert alert.severity is severity


def test_elastic_times_may_be_milliseconds_and_a_field_with_many_values_names_many() -> None:
    many = [f"10.0.{n // 250}.{n % 250}" for n in range(500)]
    change = {
        "@timestamp": 1769860800000,
        "source": {"ip": many},
        "labels": {"mcp_server": "weather", "mcp_tool": ["a", "b"]},
    }
    (alert,) = taken({**FULL, **change}, "elastic")
    assert iso(alert.detected_at) == "2026-01-31T12:00:00.000Z"
    assert [entity.name for entity in alert.entities[:3]] == ["weather", "a", "b"]
    assert len(alert.entities) == 100
    assert "404 more things" in alert.excerpt


# OCSF


def test_13_a_finding_in_an_envelope_of_eventbridge_is_opened() -> None:
    (alert,) = taken(sent("13"), "ocsf")
    assert alert.entities == (SERVER, TOOL)
    assert alert.rule == "MCP tool description changed"


@pytest.mark.parametrize(
    ("time", "unit"),
    [
        (1769860800, "seconds"),
        (1769860800.5, "seconds"),
        ("1769860800", "seconds"),
        (1769860800123456, "microseconds"),
        (1769860800123456789, "nanoseconds"),
    ],
)
def test_14_a_time_in_another_unit_is_refused_by_its_name(time: object, unit: str) -> None:
    assert refused({**FINDING, "time": time}, "ocsf") == (
        ("time", f"looks like {unit} since 1970; write it in milliseconds"),
    )


def test_no_number_is_too_large_to_be_refused_as_a_time() -> None:
    assert refused({**FINDING, "time": 10**400}, "ocsf") == (
        ("time", "looks like nanoseconds since 1970; write it in milliseconds"),
    )
    ((field, message),) = refused({**FALCO, "time": 10**400}, "falco")
    assert field == "time"
    assert "is a number (nanoseconds since 1970?)" in message


def test_14_and_18_seconds_are_no_1970() -> None:
    ((field, message),) = refused(sent("14"), "ocsf")
    assert field == "0.time"
    assert "seconds" in message
    assert [field for field, _ in refused(sent("18"), "ocsf")] == ["time"]


@pytest.mark.parametrize("time", ["1769860800000", 1769860800000.0, [1769860800000], "2026-01-31T12:00:00Z"])
def test_an_ocsf_time_may_be_written_otherwise(time: object) -> None:
    (alert,) = taken({**FINDING, "time": time}, "ocsf")
    assert iso(alert.detected_at) == "2026-01-31T12:00:00.000Z"


def test_18_placeholders_are_absent() -> None:
    (alert,) = taken({**json.loads(sent("18")), "time": 1714140783000}, "ocsf")
    assert alert.rule == "80784"
    assert alert.entities == (SERVER, TOOL)


@pytest.mark.parametrize(
    "filler", ["N/A", "n/a", "<no value>", "{{ .Labels.tool }}", "{{{tool}}}", "${TOOL}", "<NA>", "", " ", "null", None]
)
def test_what_a_template_left_is_no_name(filler: object) -> None:
    change = {
        "entities": [{"kind": "tool", "name": filler or "", "server": filler}, {"kind": "server", "name": "weather"}]
    }
    (alert,) = taken({**GENERIC, **change, "tags": [filler or ""]}, "generic")
    assert alert.entities == (SERVER,)
    (alert,) = taken({**FALCO, "output_fields": {"mcp.tool": filler, "mcp.server": filler}}, "falco")
    assert alert.entities == (SERVER, TOOL)
    (alert,) = taken({**FINDING, "unmapped": {"mcp.tool": filler, "mcp": {"server": filler}}}, "ocsf")
    assert alert.entities == (SERVER, TOOL)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": None, "evidences": None, "unmapped": None, "observables": None},
        {"metadata": "1.5.0", "evidences": "x", "unmapped": [1], "observables": {"name": 7, "value": {"a": 1}}},
        {"evidences": [None, 7, {"src_endpoint": "10.0.0.1", "user": {"name": {"a": 1}}, "actor": []}]},
        {"finding_info": {**FINDING["finding_info"], "analytic": None, "types": "x", "desc": {"a": 1}}},
        {"finding_info": {**FINDING["finding_info"], "types": ["x" * 5000, 7, None]}},
        {"observables": [{"name": f"o{n}", "value": n} for n in range(5000)]},
        {"severity_id": "4", "class_uid": "2004", "activity_id": "1", "status_id": None},
        {"severity_id": [4], "class_uid": [2004]},
        {"status_id": 98765, "activity_id": None},
    ],
)
def test_ocsf_fields_that_are_not_needed_or_otherwise_written_refuse_nothing(change: dict[str, Any]) -> None:
    (alert,) = taken({**FINDING, **change}, "ocsf")
    assert alert.severity is Severity.HIGH
    assert alert.state is AlertState.NEW
    assert alert.entities[:2] == (SERVER, TOOL)


# Our own


def test_19_an_offset_without_its_colon_is_read() -> None:
    (alert,) = taken(sent("19"), "generic")
    assert iso(alert.detected_at) == "2026-01-31T15:00:00.978Z"


@pytest.mark.parametrize(
    "time", ["2026-01-31T12:00:00", "31/01/2026 12:00", 1769860800, "1769860800", "2026-02-30T00:00:00Z"]
)
def test_a_time_that_cannot_be_read_is_refused_with_the_form(time: object) -> None:
    ((field, message),) = refused({**GENERIC, "detected_at": time}, "generic")
    assert field == "detected_at"
    assert "2026-01-31T12:00:00Z" in message


def test_23_what_looks_like_a_template_is_text() -> None:
    (alert,) = taken(sent("23"), "generic")
    assert alert.title == "{{ 7*7 }} {% for x in range(9) %}x{% endfor %} ${7*7} #{7*7} <%= 7*7 %>"
    assert alert.excerpt == "{{ cycler.__init__.__globals__ }} {{ foo.bar }}"


def test_24_other_scripts_are_read_as_they_are() -> None:
    (alert,) = taken(sent("24"), "generic")
    assert "상하이" in alert.title
    assert [entity.name for entity in alert.entities] == ["날씨_예보"]


@pytest.mark.parametrize(
    "change",
    [
        {"severity": "HIGH", "state": "New", "version": "1"},
        {"entities": {"kind": "Tool", "name": "forecast", "server": "weather"}},
        {"tags": "one"},
        {"tags": None, "excerpt": None, "state": None},
        {"title": "x" * 50_000, "rule": "r" * 50_000, "id": "i" * 50_000},
        {"title": "a\u202eb", "rule": "a\u200b\nb", "id": "a\u200bb", "tags": ["a\u200bb" * 500]},
        {"id": 7},
    ],
)
def test_our_own_format_takes_words_in_any_case_and_one_for_a_list(change: dict[str, Any]) -> None:
    (alert,) = taken({**GENERIC, **change}, "generic")
    assert alert.severity is Severity.HIGH
    assert [entity.name for entity in alert.entities] == ["forecast"]
    assert "\u200b" not in alert.rule + alert.external_id


def test_two_long_ids_stay_two() -> None:
    first, second = (taken({**GENERIC, "id": "i" * 50_000 + end}, "generic")[0].external_id for end in "ab")
    assert first != second


# Alertmanager


def test_a_group_of_alertmanager_is_its_alerts_with_what_it_cut_off() -> None:
    first = GROUP["alerts"][0]
    ended = {
        **first,
        "status": "resolved",
        "fingerprint": "f2",
        "labels": {"alertname": "B", "mcp_server": "<no value>"},
    }
    group = {**GROUP, "alerts": [first, ended], "truncatedAlerts": 3}
    one, two = taken(group, "alertmanager")
    assert one == Alert(
        source="siem",
        external_id="8f3e6a1c2b4d5e6f/2026-01-31T12:00:00.123000+00:00",
        rule="McpToolDefinitionChanged",
        title="The definition of forecast changed",
        severity=Severity.CRITICAL,
        detected_at=one.detected_at,
        entities=(SERVER, TOOL),
        excerpt="Its digest differs from the approved one.\n"
        "[Alertmanager cut off 3 more alerts of this group: its max_alerts]",
    )
    assert (two.state, two.severity, two.entities) == (AlertState.RESOLVED, Severity.MEDIUM, ())
    ((_, message),) = refused({**GROUP, "alerts": [first] * 101}, "alertmanager")
    assert "max_alerts" in message


# All


def wrapped(one: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON value
    text = json.dumps(one)
    return {
        "a list of one": [one],
        "EventBridge": {"version": "0", "id": "x", "detail-type": "d", "source": "s", "detail": one},
        "EventBridge with findings": {"detail-type": "d", "detail": {"findings": [one]}},
        "SNS": {"Type": "Notification", "MessageId": "m", "Message": text},
        "SNS from EventBridge": {"Type": "Notification", "Message": json.dumps({"detail": {"findings": [one]}})},
        "search": {"took": 1, "hits": {"total": 1, "hits": [{"_index": "i", "_id": "1", "_source": one}]}},
        "hits": [{"_index": "i", "_source": one}],
        "findings": {"findings": [one]},
        "events": {"events": [one]},
        "CloudEvents": {"specversion": "1.0", "type": "t", "source": "s", "id": "1", "data": one},
        "Splunk's collector": {"time": 1769860800, "event": one},
        "a text": {"body": text},
    }


@pytest.mark.parametrize("around", wrapped({}))
@pytest.mark.parametrize("alert_format", Format)
def test_what_transports_put_around_an_alert_is_opened(alert_format: Format, around: str) -> None:
    one = ONE[alert_format]
    (alert,) = taken(wrapped(one)[around], alert_format)
    assert (alert,) == taken(one, alert_format)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the texts that are decoded while a test runs, in their order."""
    texts: list[bytes] = []
    load = decoding.load

    def noted(raw: bytes, **limits: Any) -> Any:  # noqa: ANN401  # any JSON value
        texts.append(raw)
        return load(raw, **limits)

    monkeypatch.setattr(wrapping, "load", noted)
    return texts


def overlapping(inner: object) -> dict[str, Any]:
    return {"detail": {"findings": {"detail": {"findings": inner}}}}


@pytest.mark.parametrize("alert_format", Format)
def test_a_text_is_decoded_once_by_however_many_ways_it_is_reached(alert_format: Format, decoded: list[bytes]) -> None:
    texts = [f'[{{"n": {number}}}]' for number in range(5)]
    refused(overlapping(texts), alert_format)
    assert decoded == [text.encode() for text in texts]


@pytest.mark.parametrize("alert_format", Format)
def test_a_value_is_looked_at_once_by_however_many_ways_it_is_reached(
    monkeypatch: pytest.MonkeyPatch, alert_format: Format
) -> None:
    seen: list[str] = []
    inside = wrapping.Opening.inside

    def noted(self: Any, value: Any, path: str, depth: int) -> Any:  # noqa: ANN401  # any JSON value
        seen.append(path)
        return inside(self, value, path, depth)

    monkeypatch.setattr(wrapping.Opening, "inside", noted)
    refused(overlapping([{}] * 5), alert_format)
    assert "detail.findings.detail.findings.4" in seen
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("beside", [{}, {"alerts": [ONE["ocsf"]]}])
def test_texts_share_the_values_that_one_message_may_hold(decoded: list[bytes], beside: dict[str, Any]) -> None:
    text = "[" + ",".join(["{}"] * 60_000) + "]"
    ((field, message),) = refused({"detail": {"findings": [text] * 5}, **beside}, "ocsf")
    assert field == "body"
    assert message == "holds more than 200000 values, with those in its texts"
    assert len(decoded) <= 4


def test_texts_share_the_bytes_that_one_message_may_unfold_into(
    monkeypatch: pytest.MonkeyPatch, decoded: list[bytes]
) -> None:
    monkeypatch.setattr(decoding, "_MAX_TEXT", 1000)
    ((field, message),) = refused({"records": ["[" + " " * 300] * 50}, "ocsf")
    assert (field, message) == ("body", "holds more than 1000 bytes of JSON in texts")
    assert len(decoded) == 3


@pytest.mark.parametrize("alert_format", Format)
def test_an_envelope_in_a_field_of_an_alert_is_not_opened(alert_format: Format) -> None:
    one = ONE[alert_format]
    if alert_format is Format.GENERIC:
        assert refused({**one, "detail": one}, alert_format) == (("detail", "is not a field of this format"),)
        return
    around = {**one, "detail": {"findings": [one, one]}, "Message": json.dumps([one, one]), "body": [one, one]}
    assert taken(around, alert_format) == taken(one, alert_format)


@pytest.mark.parametrize("mark", ["\ufeff", "  \n", "\n"])
@pytest.mark.parametrize("alert_format", Format)
def test_a_byte_order_mark_and_space_around_are_nothing(alert_format: Format, mark: str) -> None:
    assert len(taken(f"{mark}{json.dumps(ONE[alert_format])}\n\n".encode(), alert_format)) == 1


@pytest.mark.parametrize("alert_format", Format)
@pytest.mark.parametrize(
    "document", [None, 7, "x", [], [7], {}, {"a": 1}, {"alerts": "x"}, {"detail": {"findings": []}}]
)
def test_no_refusal_names_a_class(alert_format: Format, document: object) -> None:
    for field, message in refused(document, alert_format):
        assert field
        said = f"{field}: {message}"
        assert not any(
            word in said for word in ("Generic", "Finding", "instance of", "Vendor", "Fields", "Input should")
        )


@pytest.mark.parametrize("alert_format", Format)
def test_a_tool_with_a_hidden_character_in_its_name_is_told_of(alert_format: Format) -> None:
    name = "fore\u200bcast"
    change: dict[Format, dict[str, Any]] = {
        Format.FALCO: {"tags": ["mcp_server:weather", f"mcp_tool:{name}"]},
        Format.ELASTIC: {"labels": {"mcp_server": "weather", "mcp_tool": name}},
        Format.OCSF: {"resources": [{"type": "MCP Server", "name": "weather"}, {"type": "mcp_tool", "name": name}]},
        Format.GENERIC: {"entities": [{"kind": "tool", "name": name, "server": "weather"}]},
        Format.ALERTMANAGER: {"labels": {"alertname": "a", "mcp_server": "weather", "mcp_tool": name}},
    }
    (alert,) = taken({**ONE[alert_format], **change[alert_format]}, alert_format)
    (tool,) = (entity for entity in alert.entities if entity.kind is EntityKind.TOOL)
    # As what is pinned under such a name is called, so that it is found.
    assert (tool.name, tool.server) == (own_name(name), "weather")
    assert tool.name.startswith("fore\\u{200b}cast")
