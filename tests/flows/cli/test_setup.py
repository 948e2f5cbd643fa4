"""`init` and `enroll`: what they write is valid, private, and never replaces anything by itself."""

import json
import re
import stat
from pathlib import Path

import pytest

from flows.cli.work.playbooks import check
from flows.cli.work.signing import file_of
from flows.cli.work.templates import FILES
from flows.service.settings import Settings, read
from integrations.siem.source import Format, new_secret, parse, read_keys, read_sources
from integrations.signing import PublicKey, SigningKey
from playbooks.gate.policy import Policy
from playbooks.record.incident import EntityKind
from playbooks.strict import canonical, now, parse_yaml
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.flows.cli.world import Installation

ROOT = Path(__file__).parents[3]


@pytest.fixture
def empty(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "new", tmp_path / "home")


def test_what_init_writes_is_valid_as_it_is(empty: Installation) -> None:
    made = empty.json("init", str(empty.folder))
    config = read(empty.folder)

    assert {"mcp-soar.yaml", "inventory.yaml", "sources.yaml", "policy.yaml", "people.yaml", "README.txt"} <= set(
        made["files"]
    )
    assert read_keys("generic", config.sources.sources["generic"])
    key = SigningKey.load(config.path(config.settings.key))
    assert key.public == PublicKey.load(config.path(config.settings.responders[0]))
    for private in ("keys/responder.key", "secrets/generic"):
        assert stat.S_IMODE((empty.folder / private).stat().st_mode) == 0o600
    for folder in ("keys", "secrets", "state", "."):
        assert stat.S_IMODE((empty.folder / folder).stat().st_mode) == 0o700


def test_the_defaults_that_init_shows_are_the_defaults() -> None:
    assert parse_yaml(Policy, FILES["policy.yaml"], file="policy.yaml") == Policy(version=1)
    assert parse_yaml(Settings, FILES["mcp-soar.yaml"], file="mcp-soar.yaml") == Settings()


def test_the_commented_inventory_is_valid_when_its_comments_go(empty: Installation) -> None:
    empty.run("init", str(empty.folder))
    lines = FILES["inventory.yaml"].splitlines()
    shown = [line[1:] if line.startswith("#  ") else line for line in lines if not line.endswith(": {}")]
    text = "\n".join(shown)
    for head in ("systems", "servers", "principals"):
        first = {"systems": "  main:", "servers": "  weather:", "principals": "  agent-weather:"}[head]
        text = text.replace(first + "\n", f"{head}:\n{first}\n", 1)
    (empty.folder / "inventory.yaml").write_text(text, encoding="utf-8")
    assert set(read(empty.folder).inventory.servers) == {"weather"}


def uncommented(text: str) -> str:
    """Return a file with its examples in use: the lines that begin with `#  `, and no empty list in their place."""
    lines = [line[1:] if line.startswith("#  ") else line for line in text.splitlines()]
    return "\n".join(re.sub(r": (\{\}|\[\])$", ":", line) for line in lines) + "\n"


def test_every_example_of_a_source_is_valid_as_it_is_written(empty: Installation) -> None:
    empty.run("init", str(empty.folder))
    for name in re.findall(r"secrets/(\w+)", FILES["sources.yaml"]):
        secret = empty.folder / "secrets" / name
        if not secret.exists():
            secret.write_text(new_secret(), encoding="utf-8")
            secret.chmod(0o600)
    (empty.folder / "sources.yaml").write_text(uncommented(FILES["sources.yaml"]), encoding="utf-8")
    sources = read(empty.folder).sources.sources
    assert {source.format for source in sources.values()} == set(Format), "one of each format"
    for name, source in sources.items():
        assert read_keys(name, source) or not source.authenticated
    doubts = [line for line in empty.json("doctor", code=1)["checks"] if line["check"] in {"secrets", "sources"}]
    assert [line["message"] for line in doubts if line["level"] != "ok"] == [
        "anybody can send as lab: its alerts never contain anything"
    ]


@pytest.mark.parametrize("name", ["falco", "elastic", "securityhub", "alertmanager", "drift"])
def test_an_example_reads_what_its_product_sends(name: str) -> None:
    source = read_sources(uncommented(FILES["sources.yaml"])).sources[name]
    sent = ROOT / "tests" / "fixtures" / "alerts" / f"{source.format}-tool-poisoning.json"
    (alert,) = parse(sent.read_bytes(), name, source)
    assert {entity.kind for entity in alert.entities} >= {EntityKind.TOOL}


def test_the_contacts_are_valid_when_their_comments_go(empty: Installation) -> None:
    empty.run("init", str(empty.folder))
    for name in ("slack-bot", "slack-app", "mail", "pager"):
        (empty.folder / "secrets" / name).write_text(new_secret(), encoding="utf-8")
    (empty.folder / "contacts.yaml").write_text(uncommented(FILES["contacts.yaml"]), encoding="utf-8")
    contacts = read(empty.folder).contacts
    assert {"kim", "lee", "sam", "soc"} <= set(contacts.contacts)
    assert [one.contact for one in contacts.on_call] == ["kim", "lee"]
    sent = empty.json("message", "test", "sam")
    assert [one["delivered"] for one in sent["attempts"]] == [True]
    assert len(list((empty.folder / "state" / "messages" / "sam").iterdir())) == 1


def test_the_example_of_a_playbook_is_right_and_in_use_under_its_own_name(empty: Installation) -> None:
    empty.run("init", str(empty.folder))
    example = empty.folder / "playbooks" / "server_spoofing.yaml.example"
    before = read(empty.folder).playbooks
    mine = example.with_suffix("")
    mine.write_text(example.read_text(encoding="utf-8"), encoding="utf-8")
    faults = empty.json("playbooks", "lint", str(mine), code=1)["files"][0]["faults"]
    assert ["has no drill" in fault["message"] for fault in faults] == [True], faults
    check(empty.folder)
    book = read(empty.folder).playbooks[IncidentClass.SERVER_SPOOFING]
    assert book.id == mine.stem
    assert before.get(IncidentClass.SERVER_SPOOFING) != book


def test_the_sample_alert_is_sent_as_it_is(empty: Installation) -> None:
    empty.run("init", str(empty.folder))
    source = read(empty.folder).sources.sources["generic"]
    (alert,) = parse((empty.folder / "alert.example.json").read_bytes(), "generic", source)
    assert alert.incident_class is IncidentClass.TOOL_POISONING
    assert {entity.kind for entity in alert.entities} == {EntityKind.SERVER, EntityKind.TOOL}
    assert abs((now() - alert.detected_at).total_seconds()) < 600


def test_a_folder_that_is_not_empty_is_left_alone(empty: Installation) -> None:
    empty.folder.mkdir()
    (empty.folder / "precious").write_text("x", encoding="utf-8")
    assert "not empty" in empty.error("init", str(empty.folder), code=4)["message"]
    assert [path.name for path in empty.folder.iterdir()] == ["precious"]


def test_enroll_makes_a_private_key_and_keeps_people_valid(site: Installation) -> None:
    made = site.json("enroll", "ana", "--role", "auditor")
    key = Path(made["key"])
    assert key == site.home / "mcp-soar" / "people" / "ana.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert site.config.people().people["ana"].roles == ("auditor",)
    assert sorted(site.config.people().people) == ["ana", "kim", "lee", "sam"]


def test_enroll_takes_a_public_key_from_elsewhere(site: Installation, tmp_path: Path) -> None:
    public = tmp_path / "ana.pub"
    public.write_bytes(SigningKey.generate(tmp_path / "ana.key").public.pem)
    made = site.json("enroll", "ana", "--role", "approver", "--public", str(public))
    assert made["key"] is None
    assert site.config.people().people["ana"].key == made["public"]


def test_a_person_is_replaced_only_when_told_to(site: Installation, tmp_path: Path) -> None:
    before = canonical(site.config.people())
    assert (
        "--replace"
        in site.error("enroll", "kim", "--role", "approver", "--key", str(tmp_path / "k"), code=4)["message"]
    )
    assert canonical(site.config.people()) == before
    made = site.json("enroll", "kim", "--role", "approver", "--key", str(tmp_path / "k"), "--replace")
    assert made["replaced"]
    assert site.config.people().people["kim"].roles == ("approver",)


def test_two_people_cannot_share_a_key(site: Installation) -> None:
    key = site.home / "mcp-soar" / "people" / "kim.key"
    assert "kim's" in site.error("enroll", "eve", "--role", "approver", "--key", str(key), code=4)["message"]


@pytest.mark.parametrize("words", [("--role", "king"), ()])
def test_roles_are_those_that_there_are(site: Installation, words: tuple[str, ...]) -> None:
    assert "--role responder" in site.error("enroll", "eve", *words, code=2)["message"]


def test_a_name_that_is_a_disguise_is_refused(site: Installation, tmp_path: Path) -> None:
    words = ("enroll", "k\u200bim", "--role", "approver", "--key", str(tmp_path / "k"))
    assert "U+200B" in site.error(*words, code=2)["message"]
    assert len(site.config.people().people) == 3
    assert site.error("enroll", "../../x", "--role", "approver", code=2)


def test_a_fault_in_a_file_is_named_with_its_line(site: Installation) -> None:
    (site.folder / "policy.yaml").write_text("version: 1\nautomatic_up_to: fleet\n", encoding="utf-8")
    error = site.error("incidents", code=3)
    assert error["file"].endswith("policy.yaml")
    assert "server or narrower" in error["message"]
    (site.folder / "mcp-soar.yaml").write_text("version: 1\n\nrespnder: x\n", encoding="utf-8")
    error = site.error("leases", code=3)
    assert (error["line"], error["field"]) == (3, "respnder")


def test_a_demonstration_that_does_not_run_is_not_healed(site: Installation) -> None:
    assert site.run("demo", "--heal", "--keep").exit_code == 2
    result = site.run("demo", "--heal")
    assert result.exit_code == 3, result.stderr
    assert "no demonstration runs" in " ".join(result.stderr.split())


def test_a_key_among_the_configurations_signs_and_the_responders_own_speaks_for_nobody(site: Installation) -> None:
    own = site.home / "mcp-soar" / "people" / "kim.key"
    own.rename(site.folder / "keys" / "kim.key")
    site.append(*(make() for make in world.CONTAINED))
    assert site.run("stop", "everything", "--reason", "x", "--as", "kim", "--print").exit_code == 0
    SigningKey.generate(own)
    assert file_of(site.config, "kim") == site.folder / "keys" / "kim.key"
    assert file_of(site.config, "responder") != site.folder / "keys" / "responder.key"


def test_a_command_to_copy_names_the_configuration_only_where_it_is_not_found(site: Installation) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    (ask,) = site.json("incident", "1")["asks"]
    assert "--config" not in ask["approve"]
    words = ("incident", "1", "--json", "--config", str(site.folder))
    (ask,) = json.loads(site.run(*words, env={"MCP_SOAR_CONFIG": None}).stdout)["asks"]
    assert ask["approve"].endswith(f"--config {site.folder}")


def test_which_folder_is_used_is_said_only_where_nobody_chose_it(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "configuration" not in site.run("incidents").stderr
    unnamed: dict[str, str | None] = {"MCP_SOAR_CONFIG": None}
    monkeypatch.chdir(site.folder)
    assert "configuration" not in site.run("incidents", env=unnamed).stderr
    monkeypatch.chdir(site.folder.parent)
    assert "configuration: mcp-soar (found here)" in site.run("incidents", env=unnamed).stderr
