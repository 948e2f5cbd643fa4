"""What is wrong in a file is named with file, line and field before anything starts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from flows.cli.work.templates import FILES
from flows.service.settings import Settings, read
from playbooks.errors import Misconfigured
from playbooks.estate.systems import Secret
from playbooks.people.contacts import Contacts, Language
from playbooks.strict import Strict, parse_yaml


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("inventory.yaml", "policy.yaml"):
        (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    return tmp_path


def put(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def fault(folder: Path) -> str:
    with pytest.raises(Misconfigured) as caught:
        read(folder)
    return str(caught.value).removeprefix(f"{folder}/").splitlines()[0]


SERVER = """\
version: 1
servers:
  weather:
    title: Weather
    owner: weather-team
    environment: prod
"""


def uncommented(text: str) -> str:
    """Return a template with its examples in place of the empty defaults."""
    heads = [line.split(":")[0] for line in text.splitlines() if line.endswith((": {}", ": []"))]
    text = "\n".join(line[1:] if line.startswith("#  ") else line for line in text.splitlines())
    for head in heads:
        text = text.replace(f"\n{head}: {{}}\n", f"\n{head}:\n").replace(f"\n{head}: []\n", f"\n{head}:\n")
    return text.replace("# room: soc", "room: soc")


def fields(model: type[BaseModel]) -> Iterator[str]:
    """Yield the fields of a document, as they are written."""
    for name, field in model.model_fields.items():
        yield name
        for one in (field.annotation, *get_args(field.annotation)):
            if isinstance(one, type) and issubclass(one, Strict) and one is not Secret:
                yield from fields(one)


def test_every_setting_stands_in_what_init_writes_with_what_holds_without_it() -> None:
    text = FILES["mcp-soar.yaml"]
    written = set(re.findall(r"([a-z0-9_]+):(?=[ \n])", text))
    assert {name for name in fields(Settings) if name not in written} == set()
    assert parse_yaml(Settings, text, file="mcp-soar.yaml") == Settings()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "soar.example"])  # noqa: S104  # bound by nobody
def test_off_loopback_the_receiver_needs_a_certificate(folder: Path, host: str) -> None:
    expected = f"mcp-soar.yaml: receiver.host: {host} can be reached from elsewhere"
    assert fault(put(folder, "mcp-soar.yaml", f"receiver: {{host: '{host}'}}\n")).startswith(expected)
    tls = f"receiver: {{host: '{host}', certificate: tls/receiver.pem, key: tls/receiver.key}}\n"
    assert read(put(folder, "mcp-soar.yaml", tls)).settings.receiver.tls


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_it_needs_none(folder: Path, host: str) -> None:
    assert not read(put(folder, "mcp-soar.yaml", f"receiver: {{host: '{host}'}}\n")).settings.receiver.tls


def test_the_receivers_own_account_is_one_of_postgresql(folder: Path) -> None:
    account = "receiver: {account: {user: soar_receiver}}\n"
    assert "receiver.account: SQLite has no accounts" in fault(put(folder, "mcp-soar.yaml", account))
    url = "journal: {url: postgresql://soar@db.example.com/soar}\n"
    assert read(put(folder, "mcp-soar.yaml", url + account)).settings.receiver.account is not None


def test_without_contacts_there_are_none(folder: Path) -> None:
    assert read(folder).contacts == Contacts()


def test_the_contacts_that_init_shows_are_the_defaults() -> None:
    assert parse_yaml(Contacts, FILES["contacts.yaml"], file="contacts.yaml") == Contacts()


def test_the_commented_contacts_are_valid_when_their_comments_go(folder: Path) -> None:
    contacts = read(put(folder, "contacts.yaml", uncommented(FILES["contacts.yaml"]))).contacts
    assert contacts.contacts["kim"].language is Language.KO
    assert [step.contact for step in contacts.on_call] == ["kim", "lee"]
    assert (contacts.room, contacts.stakeholders["privacy"]) == ("soc", "privacy-office")
    # Its secrets are looked for in the folder, wherever the process was started.
    assert contacts.channels.email is not None
    assert contacts.channels.email.password is not None
    assert contacts.channels.email.password.file == str(folder / "secrets" / "mail")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("contacts:\n  kim: {telephone: 1}\n", "contacts.yaml:2: contacts.kim.telephone: is not a field here"),
        ("contacts:\n  kim: {file: out}\n\nroom: soc\n", "contacts.yaml:4: room: there is no contact 'soc'"),
        (
            "contacts:\n  kim: {file: out}\non_call:\n  - contact: kim\n  - contact: lee\n",
            "contacts.yaml:5: on_call.1: ",
        ),
        ("stakeholders:\n  privacy: nobody\n", "contacts.yaml:2: stakeholders.privacy: there is no contact 'nobody'"),
        ("contacts:\n  kim:\n    email: kim@example.com\n", "contacts.yaml:2: contacts.kim: channels has no email"),
        ("contacts:\n  kim:\n    language: ko\n", "contacts.yaml:2: contacts.kim: cannot be reached; give slack, "),
        ("contacts:\n  a.b:\n    slack: U012ABC\n", "contacts.yaml:2: contacts.a.b: channels has no slack"),
        ("contacts:\n  kim:\n    email: 'kim@example.com\\nBcc'\n", "contacts.yaml:3: contacts.kim.email: "),
        (
            "channels:\n  email:\n    host: mail.example.com\n    sender: a@example.com\n    security: none\n",
            "contacts.yaml:5: channels.email.security: mail.example.com is another machine",
        ),
        (
            "channels:\n  slack:\n    bot_token: {env: X}\n    url: http://slack.example.com/api/\n",
            "contacts.yaml:4: channels.slack.url: the token would go there in the clear",
        ),
    ],
)
def test_what_is_wrong_in_contacts_is_named_by_its_line(folder: Path, text: str, expected: str) -> None:
    assert fault(put(folder, "contacts.yaml", text)).startswith(expected)


def test_mail_in_the_clear_stays_on_this_machine(folder: Path) -> None:
    text = "channels:\n  email: {host: 127.0.0.1, sender: a@example.com, security: none}\n"
    assert read(put(folder, "contacts.yaml", text)).contacts.channels.email


def test_a_folder_of_messages_is_taken_from_the_configuration(folder: Path) -> None:
    contacts = read(put(folder, "contacts.yaml", "contacts:\n  kim: {file: outbox}\n")).contacts
    assert contacts.contacts["kim"].file == str(folder / "outbox")


def test_a_stakeholder_of_a_server_has_to_be_a_contact(folder: Path) -> None:
    put(folder, "inventory.yaml", SERVER + "    stakeholders:\n      owner: ops\n")
    assert fault(folder).startswith(
        "inventory.yaml:8: servers.weather.stakeholders.owner: contacts.yaml has no contact"
    )
    put(folder, "contacts.yaml", "contacts:\n  ops: {file: out}\n")
    assert read(folder).inventory.servers["weather"].stakeholders == {"owner": "ops"}


def test_a_law_or_a_role_that_does_not_exist_is_refused(folder: Path) -> None:
    put(folder, "inventory.yaml", SERVER + "    regimes:\n      - gdpr\n      - gdrp\n")
    assert fault(folder).startswith(
        "inventory.yaml:9: servers.weather.regimes.1: no law is called 'gdrp'; there is gdpr"
    )
    put(folder, "inventory.yaml", SERVER + "    regimes: [gdpr, pipa, nis2]\n    stakeholders: {ownr: ops}\n")
    put(folder, "contacts.yaml", "contacts:\n  ops: {file: out}\n")
    assert fault(folder).startswith("inventory.yaml:8: servers.weather.stakeholders.ownr: no role is called 'ownr'")
    put(folder, "inventory.yaml", SERVER)
    put(folder, "contacts.yaml", "contacts:\n  ops: {file: out}\nstakeholders:\n  pivacy: ops\n")
    assert fault(folder).startswith("contacts.yaml:4: stakeholders.pivacy: no role is called 'pivacy'")


def test_a_kind_of_data_that_does_not_exist_is_refused(folder: Path) -> None:
    put(folder, "inventory.yaml", SERVER + "    data: [persona]\n")
    assert fault(folder).startswith("inventory.yaml:7: servers.weather.data.0: ")


def test_the_folders_own_templates_are_read_by_name(folder: Path) -> None:
    (folder / "messages" / "ko").mkdir(parents=True)
    put(folder, "messages/ko/words.j2", "{{ broken")
    # What is wrong in it keeps nothing from starting: doctor says it, and the shipped one speaks.
    assert read(folder).templates == {"ko/words.j2": "{{ broken"}


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (
            "{action: gateway.disable_tol, mode: approve}",
            "action: there is no action 'gateway.disable_tol'; there is denylist.",
        ),
        ("{system: gatway, mode: approve}", "system: there is no system 'gatway'; there is denylist, gateway"),
    ],
)
def test_a_rule_about_what_there_is_not_is_refused(folder: Path, rule: str, says: str) -> None:
    told = fault(
        put(folder, "policy.yaml", f"version: 1\nrules:\n- {{mode: automatic, class: tool_misuse}}\n- {rule}\n")
    )
    assert told.startswith(f"policy.yaml:4: rules.1.{says}")


def test_a_rule_about_what_there_is_is_read(folder: Path) -> None:
    rules = "version: 1\nrules:\n- {action: gateway.disable_tool, system: gateway, environment: dev, mode: automatic}\n"
    assert read(put(folder, "policy.yaml", rules)).policy.rules[0].action == ("gateway.disable_tool",)
