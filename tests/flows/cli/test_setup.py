"""`init` and `enroll`: what they write is valid, private, and never replaces anything by itself."""

import stat
from pathlib import Path

import pytest

from flows.cli.work.templates import FILES
from flows.settings import Settings, read
from integrations.siem.source import read_keys
from integrations.signing import PublicKey, SigningKey
from playbooks.policy import Policy
from playbooks.strict import canonical, parse_yaml
from tests.flows.cli.world import Installation


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
    for head in ("gateways", "servers", "principals"):
        first = {"gateways": "  main:", "servers": "  weather:", "principals": "  agent-weather:"}[head]
        text = text.replace(first + "\n", f"{head}:\n{first}\n", 1)
    (empty.folder / "inventory.yaml").write_text(text, encoding="utf-8")
    assert set(read(empty.folder).inventory.servers) == {"weather"}


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
