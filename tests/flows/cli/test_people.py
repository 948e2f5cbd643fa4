"""Who is enrolled, with which key; and signing with one that lives in ssh-agent."""

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli.work.people import ROLES
from flows.service.access import missing
from integrations.signing import SigningKey
from playbooks.people.request import ROLES as NEEDED
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation
from tests.lab.ssh import Agent, agent_running, fingerprint, keygen, require_openssh


@pytest.fixture
def folder() -> Iterator[Path]:
    # A socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="soar-") as path:
        yield Path(path)


@pytest.fixture
def agent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    require_openssh()
    with agent_running(folder) as running:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(running.socket))
        yield running


def enrolled(site: Installation, folder: Path) -> Path:
    """Enroll ada by the public half of a key that ssh-keygen made, and return the private half's file."""
    public = keygen(folder / "id_ed25519")
    made = site.json("enroll", "ada", "--role", "responder", "--public", str(public))
    assert made["key"] is None
    return folder / "id_ed25519"


@pytest.mark.parametrize("words", [(), ("--key", "agent")])
def test_a_key_in_ssh_agent_signs(site: Installation, agent: Agent, folder: Path, words: tuple[str, ...]) -> None:
    agent.add(str(enrolled(site, folder)))
    site.append(world.opened())
    with site.responder():
        assert site.json("note", "1", "signed by the agent", "--as", "ada", *words)["state"] == "done"
    assert [note["by"] for note in site.json("incident", "1")["notes"]] == ["ada"]


def test_a_key_file_comes_before_the_agent(site: Installation, agent: Agent, folder: Path) -> None:
    assert agent.process.poll() is None
    site.append(world.opened())
    keygen(folder / "other")
    agent.add(str(folder / "other"))
    with site.responder():
        assert site.json("note", "1", "by file", "--as", "kim")["state"] == "done"
        # Said to use the agent, it does not fall back to the file.
        error = site.error("note", "1", "by agent", "--as", "kim", "--key", "agent", code=3)
    assert "none is the enrolled one" in error["message"]


def test_without_file_and_agent_both_ways_are_named(site: Installation, agent: Agent, folder: Path) -> None:
    enrolled(site, folder)
    site.append(world.opened())
    error = site.error("note", "1", "x", "--as", "ada", code=3)
    assert "mcp-soar enroll ada" in error["message"]
    assert "none is loaded" in error["message"]
    agent.process.terminate()
    agent.process.wait(60)
    assert "no ssh-agent answers" in site.error("note", "1", "x", "--as", "ada", "--key", "agent", code=3)["message"]
    stranger = site.error("note", "1", "x", "--as", "eve", "--key", "agent", code=3)
    assert "eve is not enrolled" in stranger["message"]


def test_no_agent_at_all(site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    site.append(world.opened())
    error = site.error("note", "1", "x", "--as", "kim", "--key", "agent", code=3)
    assert "SSH_AUTH_SOCK is not set" in error["message"]


def test_a_hardware_key_is_refused_with_the_reason(site: Installation, tmp_path: Path) -> None:
    public = tmp_path / "id_ed25519_sk.pub"
    public.write_text("sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t me", encoding="utf-8")
    error = site.error("enroll", "ada", "--role", "approver", "--public", str(public), code=3)
    assert "hardware key" in error["message"]
    assert "ada" not in site.config.people().people


def test_people_lists_roles_keys_and_lent_voices(site: Installation, folder: Path) -> None:
    require_openssh()
    enrolled(site, folder)
    site.append(world.opened())
    with site.responder():
        site.json("delegate", "sam", "--for", "8h", "--as", "lee", "--reason", "on a flight")
    rows = {row["name"]: row for row in site.json("people")["people"]}
    assert set(rows) == {"ada", "kim", "lee", "sam"}
    assert rows["kim"]["roles"] == ["responder", "approver"]
    assert rows["ada"]["fingerprint"] == fingerprint(folder / "id_ed25519.pub")
    assert [one["name"] for one in rows["sam"]["speaks_for"]] == ["lee"]
    assert "speaks for lee until" in " ".join(site.run("people").stdout.split())
    site.json("unenroll", "lee")
    assert {row["name"]: row["speaks_for"] for row in site.json("people")["people"]}["sam"] == []


def test_people_are_listed_before_there_is_a_journal(site: Installation) -> None:
    assert missing(site.config) is not None
    assert len(site.json("people")["people"]) == 3


def test_somebody_unenrolled_is_nobody_at_once(site: Installation) -> None:
    site.append(world.opened())
    with site.responder():
        said = site.run("unenroll", "kim")
        error = site.error("note", "1", "x", "--as", "kim", code=4)
    assert said.exit_code == 0
    assert "1 approvers are left" in said.stdout
    assert "kim is not enrolled" in error["message"]
    assert site.json("incident", ID)["notes"] == []
    assert site.error("unenroll", "kim", code=6)["message"].startswith("kim is not enrolled; enrolled: lee, sam")


def test_the_first_releases_place_of_keys_is_still_read(site: Installation) -> None:
    new = site.home / "mcp-soar" / "people" / "kim.key"
    assert stat.S_IMODE(new.parent.stat().st_mode) == 0o700
    new.rename(site.home / "mcp-soar" / "kim.key")
    site.append(world.opened())
    with site.responder():
        assert site.json("note", "1", "x", "--as", "kim")["state"] == "done"
    # Nor is a second key made beside it.
    made = site.json("enroll", "kim", "--role", "approver", "--replace")
    assert made["key"] == str(site.home / "mcp-soar" / "kim.key")


def test_the_default_folder_can_be_made_where_peoples_keys_are(site: Installation) -> None:
    default = site.home / "mcp-soar"
    assert (default / "people").is_dir()
    assert site.json("init", str(default))["folder"] == str(default)
    assert SigningKey.load(default / "people" / "kim.key").public.raw, "what lay there is left alone"
    assert "people/" in (default / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_every_role_that_a_verb_needs_can_be_given() -> None:
    assert set().union(*NEEDED.values()) <= set(ROLES)
