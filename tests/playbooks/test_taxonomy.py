"""The taxonomy says what it should, and no file that contradicts itself gets past the loader."""

import re
from collections.abc import Iterator
from importlib.resources import files

import pytest
from pydantic import ValidationError

from playbooks.errors import Misconfigured
from playbooks.taxonomy import (
    ClassEntry,
    EntityKind,
    Frameworks,
    Impact,
    IncidentClass,
    Mappings,
    Taxonomy,
    load,
    parse,
)

TEXT = files("playbooks").joinpath("taxonomy.yaml").read_text(encoding="utf-8")

PATTERNS = {
    "owasp_mcp": r"MCP(0[1-9]|10):2025",
    "owasp_asi": r"ASI(0[1-9]|10):2026",
    "atlas": r"AML\.T\d{4}(\.\d{3})?",
    "attack": r"T\d{4}(\.\d{3})?",
    "cosai": r"MCP-T([1-9]|1[0-2])",
    "maestro": r"L[1-7]",
    "safe_mcp": r"SAFE-T[123]\d{3}",
    "stride": r"[STRIDE]",
    "nist_800_53": r"(AC|AU|CM|CP|IA|IR|RA|SC|SI|SR)-[1-9]\d?",
    "nist_800_207": r"Tenet [1-7]",
}

EDITIONS = {
    "owasp_mcp": "2025",
    "owasp_asi": "2026",
    "atlas": "v5.6.1",
    "attack": "v18.1",
    "cosai": "2.0",
    "maestro": "2025-02 (seven layers)",
    "safe_mcp": "main of 2026-05-22",
    "stride": "1999",
    "nist_800_53": "Rev. 5.1.1",
    "nist_800_207": "2020-08",
}

# What was agreed, by class or variant: OWASP MCP | OWASP ASI | ATLAS | ATT&CK | CoSAI | MAESTRO | SAFE-MCP.
AGREED = {
    "tool_poisoning": "03 | 01 02 | T0110 T0099 | T1195 | 4 6 | L3 L7 | 1001 1008 1301 1501",
    "unauthorized_access": "01 02 07 | 03 | T0053 T0098 | T1078 T1528 T1550.001 | 1 2 | L6 "
    "| 1202 1304 1306 1307 1308 1309 1507",
    "data_exfiltration": "10 | 02 | T0086 T0025 T0085.001 | T1041 T1048 T1567 | 5 | L2 L7 "
    "| 1801 1802 1803 1804 1910 1911 1912 1913 1914",
    "server_compromise": "04 05 | 04 05 | T0112 T0105 | T1190 T1554 T1611 | 8 9 | L4 | 1203 1303 1305 1704",
    "denial_of_service": "| 08 | T0029 T0034.002 | T1499.003 | 10 | L4 | 1106 1112 2102",
    "server_spoofing": "09 | 04 | T0073 T0074 | T1036 T1557 | 1 6 | L7 | 1004 1009 1407",
    "rug_pull": "03 04 | 04 | T0109 | T1195 T1554 | 6 11 | L7 | 1201 1205",
    "command_and_control": "06 | 10 | T0072 T0108 | T1102 T1071 | 9 | L3 | 1901 1902 1903 1904",
    "update_channel_compromise": "04 | 04 | T0010.005 T0104 | T1195.002 | 11 | L4 | 1002 1207",
    "prompt_injection": "06 | 01 | T0051.001 T0080 | | 4 | L1 L3 | 1102 1401 1402",
    "ide_layer": "04 | 04 05 | T0081 | T1546 T1195 | 9 | L3 | 1111 1206",
    "malicious_server": "03 05 | 02 10 | T0011.002 T0104 | T1105 T1204 | 11 | L7 | 1003 1903",
    "command_injection_cve": "05 | 05 | T0050 | T1059.004 T1190 | 3 | L4 | 1101 1105",
}

HOME = {
    "rug_pull": IncidentClass.TOOL_POISONING,
    "update_channel_compromise": IncidentClass.SUPPLY_CHAIN,
    "malicious_server": IncidentClass.SUPPLY_CHAIN,
    "command_injection_cve": IncidentClass.SERVER_COMPROMISE,
}


def corrupted(old: str, new: str) -> str:
    assert old in TEXT, "the passage to corrupt is not in the file any more"
    return TEXT.replace(old, new, 1)


def all_mappings() -> Iterator[tuple[str, Mappings]]:
    for entry in load().classes:
        yield entry.id, entry.mappings
        for variant in entry.variants:
            yield variant.id, variant.mappings


def test_every_class_has_one_entry() -> None:
    assert [entry.id for entry in load().classes] == list(IncidentClass)


def test_the_classes_are_the_agreed_ones() -> None:
    assert set(IncidentClass) == {
        "tool_poisoning",
        "unauthorized_access",
        "data_exfiltration",
        "server_compromise",
        "denial_of_service",
        "server_spoofing",
        "command_and_control",
        "supply_chain",
        "prompt_injection",
        "insecure_configuration",
        "ide_layer",
        "tool_misuse",
        "unclassified",
    }


@pytest.mark.parametrize("given", ["rug_pull", "", "Tool_Poisoning"])
def test_an_unknown_class_is_refused_with_those_there_are(given: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        load().of(given)
    assert f"no incident class is called {given!r}" in str(caught.value)
    assert all(member in str(caught.value) for member in IncidentClass)


def test_a_class_is_found_by_member_and_by_value() -> None:
    assert load().of(IncidentClass.IDE_LAYER) is load().of("ide_layer")
    assert load().of("ide_layer").id is IncidentClass.IDE_LAYER


@pytest.mark.parametrize("name", AGREED)
def test_the_mapping_is_the_agreed_one(name: str) -> None:
    mcp, asi, atlas, attack, cosai, maestro, safe = (column.split() for column in AGREED[name].split("|"))
    got = dict(all_mappings())[name]
    assert set(got.owasp_mcp) == {f"MCP{number}:2025" for number in mcp}
    assert set(got.owasp_asi) == {f"ASI{number}:2026" for number in asi}
    assert set(got.atlas) == {f"AML.{technique}" for technique in atlas}
    assert set(got.attack) == set(attack)
    assert set(got.cosai) == {f"MCP-T{number}" for number in cosai}
    assert set(got.maestro) == set(maestro)
    assert set(got.safe_mcp) == {f"SAFE-T{number}" for number in safe}


@pytest.mark.parametrize(("variant", "home"), HOME.items())
def test_a_variant_stands_under_its_class(variant: str, home: IncidentClass) -> None:
    assert variant in {one.id for one in load().of(home).variants}


def test_frameworks_and_mappings_speak_of_the_same_frameworks() -> None:
    assert set(Frameworks.model_fields) == set(Mappings.model_fields) == set(PATTERNS)


@pytest.mark.parametrize("name", PATTERNS)
def test_every_declared_id_has_the_form_of_its_framework(name: str) -> None:
    framework = getattr(load().frameworks, name)
    assert [one for one in framework.ids if not re.fullmatch(PATTERNS[name], one)] == []


@pytest.mark.parametrize("name", PATTERNS)
def test_every_mapped_id_has_the_form_of_its_framework_and_a_title(name: str) -> None:
    titles = getattr(load().frameworks, name).ids
    mapped = {one for _, mappings in all_mappings() for one in getattr(mappings, name)}
    assert mapped
    assert [one for one in mapped if not re.fullmatch(PATTERNS[name], one) or not titles[one]] == []


def test_each_framework_states_its_edition() -> None:
    assert {name: framework.edition for name, framework in load().frameworks} == EDITIONS


@pytest.mark.parametrize(
    ("framework", "identifier", "title"),
    [
        ("owasp_mcp", "MCP09:2025", "Shadow MCP Servers"),
        ("owasp_asi", "ASI01:2026", "Agent Goal Hijack"),
        ("atlas", "AML.T0110", "AI Agent Tool Poisoning"),
        ("attack", "T1611", "Escape to Host"),
        ("cosai", "MCP-T12", "Insufficient Logging, Monitoring, and Auditability"),
        ("maestro", "L7", "Agent Ecosystem"),
        ("safe_mcp", "SAFE-T1201", "MCP Rug Pull Attack"),
        ("stride", "R", "Repudiation"),
        ("nist_800_53", "AU-9", "Protection of Audit Information"),
        ("nist_800_207", "Tenet 2", "All communication is secured regardless of network location"),
    ],
)
def test_titles_are_those_of_the_framework(framework: str, identifier: str, title: str) -> None:
    assert getattr(load().frameworks, framework).ids[identifier] == title


@pytest.mark.parametrize(("name", "count"), [("owasp_mcp", 10), ("owasp_asi", 10), ("maestro", 7), ("stride", 6)])
def test_short_frameworks_are_listed_whole(name: str, count: int) -> None:
    assert len(getattr(load().frameworks, name).ids) == count


def test_unclassified_is_never_acted_on_and_claims_nothing() -> None:
    entry = load().of(IncidentClass.UNCLASSIFIED)
    assert [member for member in IncidentClass if not member.actionable] == [IncidentClass.UNCLASSIFIED]
    assert all(ids == () for _, ids in entry.mappings)
    assert entry.variants == ()
    assert set(entry.entities) == set(EntityKind)
    assert {level for _, level in entry.impact} == {Impact.UNKNOWN}


@pytest.mark.parametrize("entry", [e for e in load().classes if e.id.actionable], ids=lambda e: e.id)
def test_a_class_that_is_acted_on_is_mapped_and_states_its_impact(entry: ClassEntry) -> None:
    assert Impact.UNKNOWN not in {level for _, level in entry.impact}
    assert {level for _, level in entry.impact} & {Impact.MODERATE, Impact.HIGH}
    assert all(ids for name, ids in entry.mappings if name not in {"owasp_mcp", "attack"})


def test_the_most_specific_entity_comes_first() -> None:
    assert load().of(IncidentClass.TOOL_POISONING).entities[0] is EntityKind.TOOL
    assert load().of(IncidentClass.UNAUTHORIZED_ACCESS).entities[0] is EntityKind.TOKEN
    assert load().of(IncidentClass.TOOL_MISUSE).entities[:2] == (EntityKind.PRINCIPAL, EntityKind.TOOL)
    assert load().of(IncidentClass.IDE_LAYER).entities[0] is EntityKind.WORKSPACE


def test_it_is_read_once_and_nobody_can_change_it() -> None:
    taxonomy = load()
    assert load() is taxonomy
    with pytest.raises(ValidationError, match="frozen"):
        taxonomy.classes = ()  # type: ignore[misc] # what is shown to fail
    with pytest.raises(TypeError, match="does not support item assignment"):
        taxonomy.frameworks.atlas.ids["AML.T9999"] = "mine"  # type: ignore[index] # what is shown to fail


def test_it_survives_a_round_trip() -> None:
    assert Taxonomy.model_validate_json(load().model_dump_json()) == load()


TOOL_POISONING = "      atlas: [AML.T0110, AML.T0099]\n"
SHADOW_SERVER = "      - id: shadow_server\n"
LAST_CLASS = TEXT[TEXT.index("  - id: unclassified\n") :]


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        pytest.param(
            corrupted(TOOL_POISONING, TOOL_POISONING + "      cis: [CIS-1]\n"),
            "classes.0.mappings.cis",
            "is not a field here",
            id="a mapping to an unknown framework",
        ),
        pytest.param(
            corrupted("  stride:\n", "  striding:\n"),
            "frameworks.stride",
            "is missing",
            id="a framework that is not declared",
        ),
        pytest.param(
            corrupted("    edition: v5.6.1\n", ""),
            "frameworks.atlas.edition",
            "is missing",
            id="a framework without an edition",
        ),
        pytest.param(
            corrupted("    edition: v5.6.1\n", "    edition: ''\n"),
            "frameworks.atlas.edition",
            "at least 1 character",
            id="an empty edition",
        ),
        pytest.param(
            corrupted('    edition: "2026"\n', "    edition: 2026\n"),
            "frameworks.owasp_asi.edition",
            "valid string (it is 2026)",
            id="an edition that is a number",
        ),
        pytest.param(
            corrupted("    source: https://owasp", "    source: http://owasp"),
            "frameworks.owasp_mcp.source",
            "should match pattern",
            id="a source that is no https address",
        ),
        pytest.param(
            corrupted(TOOL_POISONING, "      atlas: [AML.T0110, AML.T9999]\n"),
            "classes.tool_poisoning.mappings.atlas",
            "AML.T9999 is not in frameworks.atlas.ids (MITRE ATLAS v5.6.1)",
            id="an id that its framework does not list",
        ),
        pytest.param(
            corrupted("          atlas: [AML.T0109]\n", "          atlas: [MCP03:2025]\n"),
            "classes.tool_poisoning.variants.rug_pull.mappings.atlas",
            "MCP03:2025 is not in frameworks.atlas.ids",
            id="an id of another framework, in a variant",
        ),
        pytest.param(
            corrupted(TOOL_POISONING, "      atlas: [AML.T0110, AML.T0110]\n"),
            "classes.tool_poisoning.mappings.atlas",
            "AML.T0110 stands here more than once",
            id="an id twice in one mapping",
        ),
        pytest.param(
            corrupted(TOOL_POISONING, ""),
            "classes.0.mappings.atlas",
            "is missing",
            id="a framework forgotten in a mapping",
        ),
        pytest.param(
            TEXT + LAST_CLASS,
            "classes",
            "unclassified stands here more than once",
            id="a class twice",
        ),
        pytest.param(
            TEXT.removesuffix(LAST_CLASS),
            "classes",
            "write an entry for unclassified",
            id="a class forgotten",
        ),
        pytest.param(
            corrupted("  - id: unclassified\n", "  - id: ransomware\n"),
            "classes.12.id",
            "(it is 'ransomware')",
            id="a class the code does not know",
        ),
        pytest.param(
            corrupted(SHADOW_SERVER, "      - id: rug_pull\n"),
            "variants",
            "rug_pull stands here more than once",
            id="a variant twice, under different classes",
        ),
        pytest.param(
            corrupted(SHADOW_SERVER, "      - id: supply_chain\n"),
            "variants",
            "supply_chain stands here more than once",
            id="a variant called like a class",
        ),
        pytest.param(
            corrupted(SHADOW_SERVER, "      - id: Shadow-Server\n"),
            "classes.5.variants.0.id",
            "(it is 'Shadow-Server')",
            id="a variant's id that is not snake_case",
        ),
        pytest.param(
            corrupted(SHADOW_SERVER, SHADOW_SERVER + "        urgent: true\n"),
            "classes.5.variants.0.urgent",
            "is not a field here",
            id="an extra field in a variant",
        ),
        pytest.param(
            corrupted("    entities: [tool, package, image, server]\n", "    entities: [image, image]\n"),
            "classes.supply_chain.entities",
            "image stands here more than once",
            id="an entity twice",
        ),
        pytest.param(
            corrupted("    entities: [tool, package, image, server]\n", "    entities: []\n"),
            "classes.7.entities",
            "at least 1 item",
            id="about nothing",
        ),
        pytest.param(
            corrupted("    entities: [tool, package, image, server]\n", "    entities: [image, cluster]\n"),
            "classes.7.entities.1",
            "(it is 'cluster')",
            id="an unknown kind of entity",
        ),
        pytest.param(
            corrupted("    severity: high\n", "    severity: High\n"),
            "classes.0.severity",
            "write one of informational, low, medium, high, critical (it is 'High')",
            id="an unknown severity",
        ),
        pytest.param(TEXT + "extra: 1\n", "extra", "is not a field here", id="an extra field"),
        pytest.param("", "frameworks", "is missing", id="an empty file"),
    ],
)
def test_a_corrupted_file_is_refused_by_the_name_of_the_field(text: str, field: str, says: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse(text)
    assert (caught.value.file, caught.value.field) == ("taxonomy.yaml", field)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "below",
    [
        pytest.param(TOOL_POISONING + "      atlas: []\n", id="a key twice"),
        pytest.param("      atlas: &a [AML.T0110]\n      attack: *a\n", id="an alias"),
    ],
)
def test_what_yaml_would_take_without_a_word_is_refused_by_its_line(below: str) -> None:
    line = TEXT[: TEXT.index(TOOL_POISONING)].count("\n") + 2
    with pytest.raises(Misconfigured) as caught:
        parse(corrupted(TOOL_POISONING, below))
    assert (caught.value.file, caught.value.line) == ("taxonomy.yaml", line)
