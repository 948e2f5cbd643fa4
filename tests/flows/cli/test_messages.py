"""`message test`, `message show`, and what `doctor` says of contacts, channels and templates before the night."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from playbooks.people.rendering import shipped
from tests.flows.cli.world import INVENTORY, Installation, opened, proposed
from tests.lab.mail import Post, post_office
from tests.lab.slack import BOT_TOKEN, FakeSlack, fake_slack


@contextlib.contextmanager
def beside(server: Callable[[], Any]) -> Iterator[Any]:
    """Run an asynchronous server while a test calls commands, which have loops of their own."""
    ready, stop = threading.Event(), threading.Event()
    found: list[Any] = []

    async def work() -> None:
        async with server() as one:
            found.append(one)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        assert ready.wait(60)
        yield found[0]
    finally:
        stop.set()
        thread.join(60)


def contacts(site: Installation, text: str) -> None:
    (site.folder / "contacts.yaml").write_text(text, encoding="utf-8")


def mail(post: Post) -> str:
    return f"  email: {{host: 127.0.0.1, port: {post.port}, security: none, sender: soar@example.com}}\n"


def checks(site: Installation, name: str) -> list[dict[str, str]]:
    # Gateway and server of this installation do not run, so it fails in any case.
    found: list[dict[str, str]] = site.json("doctor", code=1)["checks"]
    return [one for one in found if one["check"] == name]


def test_a_test_message_goes_by_each_way_and_says_what_became_of_it(site: Installation) -> None:
    outbox = site.folder / "outbox"
    with beside(post_office) as post:
        text = "channels:\n" + mail(post)
        contacts(site, text + "contacts:\n  kim: {email: kim@example.com, file: outbox, language: ko}\n")
        attempts = site.json("message", "test", "kim")["attempts"]
        assert [(one["way"], one["delivered"]) for one in attempts] == [("email", True), ("file", True)]
        post.rcpt = "550 no such user"
        refused = site.json("message", "test", "kim", code=1)["attempts"]
        assert [(one["way"], one["delivered"]) for one in refused] == [("email", False), ("file", True)]
        assert "550" in refused[0]["detail"]
    (got,) = post.taken
    assert got["Subject"] == "[mcp-soar] 시험 메시지"
    assert len([path for path in outbox.iterdir() if "시험 메시지" in path.read_text(encoding="utf-8")]) == 2


def test_a_test_message_to_nobody(site: Installation) -> None:
    contacts(site, "contacts:\n  lee: {file: out}\n")
    assert "no contact 'kim'; it has lee" in site.error("message", "test", "kim", code=6)["message"]
    contacts(site, "contacts:\n  lee: {file: out}\n  none: {}\n")
    assert "contacts.none: cannot be reached" in site.error("message", "test", "none", code=3)["message"]


@pytest.fixture
def asked(site: Installation) -> Installation:
    site.append(opened(title="see https://evil.example <script>"), proposed())
    return site


def test_show_renders_without_sending(asked: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = asked.json("message", "show", "1", "--notice", "awaiting_approval", "--language", "ko")
    assert "승인 필요" in shown["subject"]
    # The commands can be copied: they find this configuration.
    assert f"--config {asked.folder}" in shown["text"]
    # From whatever folder: in its own one it is not called by its name.
    monkeypatch.chdir(asked.folder)
    here = asked.run("message", "show", "1", "--notice", "awaiting_approval", env={"MCP_SOAR_CONFIG": None})
    assert f"--config {asked.folder}" in here.stdout
    assert "https[:]//evil[.]example" in shown["text"]
    for shape, mark in {
        "text": "Subject",
        "html": "<!DOCTYPE html>",
        "slack": '"type": "header"',
        "markdown": "# ",
    }.items():
        result = asked.run("message", "show", "1", "--form", shape)
        assert result.exit_code == 0, result.output
        assert shape == "text" or mark in result.stdout
        assert "https://evil" not in result.stdout
        if shape == "slack":
            assert json.loads(result.stdout)[0]["type"] == "header"


def test_show_of_a_notice_that_does_not_exist(asked: Installation) -> None:
    assert (
        "there is no notice 'openend'; there is opened"
        in asked.error("message", "show", "1", "--notice", "openend", code=2)["message"]
    )


def test_doctor_asks_the_mail_server_and_sends_nothing(site: Installation) -> None:
    with beside(post_office) as post:
        contacts(site, "channels:\n" + mail(post) + "contacts:\n  kim: {email: kim@example.com}\n")
        (good,) = checks(site, "e-mail")
        assert good["level"] == "ok"
    (bad,) = checks(site, "e-mail")
    assert bad["level"] == "fail"
    assert bad["message"].startswith(f"{site.folder / 'contacts.yaml'}:2: channels.email: ")
    assert post.taken == []


def test_doctor_names_a_slack_channel_that_does_not_exist_by_its_line(site: Installation) -> None:
    with beside(fake_slack) as slack:
        assert isinstance(slack, FakeSlack)
        (site.folder / "secrets" / "bot").write_text(BOT_TOKEN, encoding="utf-8")
        (site.folder / "secrets" / "bot").chmod(0o600)
        contacts(
            site,
            f"channels:\n  slack: {{bot_token: {{file: secrets/bot}}, url: '{slack.url}'}}\n"
            "contacts:\n  soc:\n    slack: C0NOSUCH\n",
        )
        found = checks(site, "slack")
    assert [one["level"] for one in found] == ["ok", "fail"]
    assert found[1]["message"].startswith(f"{site.folder / 'contacts.yaml'}:5: contacts.soc.slack: ")


def test_doctor_names_a_slack_token_that_is_not_there(site: Installation) -> None:
    slack = "{bot_token: {env: NO_SUCH_BOT}, app_token: {env: NO_SUCH_APP}}"
    contacts(site, f"channels:\n  slack: {slack}\n")
    said = [one["message"] for one in checks(site, "secrets") if one["level"] == "fail"]
    for name, variable in (("bot_token", "NO_SUCH_BOT"), ("app_token", "NO_SUCH_APP")):
        assert any(f"channels.slack.{name}" in one and variable in one for one in said)


def test_doctor_names_a_person_who_is_on_call_and_not_enrolled(site: Installation) -> None:
    contacts(site, "contacts:\n  ann: {file: out}\non_call:\n  - {contact: ann}\n")
    found = [one["message"] for one in checks(site, "contacts") if one["level"] == "warn"]
    where = f"{site.folder / 'contacts.yaml'}:4: on_call.0: "
    assert any(one.startswith(where) and "nobody is enrolled as ann" in one for one in found)
    assert any("kim, lee may approve and has no contact" in one for one in found)


def test_doctor_names_the_lines_of_a_mailbox_that_two_approvers_read(site: Installation) -> None:
    contacts(
        site,
        "channels:\n  email: {host: localhost, security: none, sender: soar@example.com}\n"
        "contacts:\n  kim: {email: soc@example.com}\n  lee:\n    email: SOC@example.com\n"
        "  sam: {email: soc@example.com}\n",
    )
    found = [one["message"] for one in checks(site, "contacts") if "no one-time codes" in one["message"]]
    file = site.folder / "contacts.yaml"
    assert found == [
        f"{file}:4: contacts.kim.email: lee may approve and reads it too, so no one-time codes go there",
        f"{file}:6: contacts.lee.email: kim may approve and reads it too, so no one-time codes go there",
    ], "and sam, who approves nothing, is sent none"


def test_doctor_names_a_contact_that_does_not_exist_by_its_line(site: Installation) -> None:
    contacts(site, "contacts:\n  ann: {file: out}\non_call:\n  - contact: ann\n  - contact: bob\n")
    (found,) = checks(site, "configuration")
    assert found["message"].startswith(f"{site.folder / 'contacts.yaml'}:5: on_call.1")
    assert "there is no contact 'bob'" in found["message"]


def test_doctor_names_a_template_variable_that_does_not_exist_by_its_line(site: Installation) -> None:
    folder = site.folder / "messages" / "ko"
    folder.mkdir(parents=True)
    text = shipped()["ko/words.j2"].replace("{{ stop.reason }}", "{{ stop.resaon }}")
    (folder / "words.j2").write_text(text, encoding="utf-8")
    line = next(n for n, one in enumerate(text.splitlines(), 1) if "resaon" in one)
    (found,) = checks(site, "messages")
    assert found["level"] == "fail"
    assert found["message"].startswith(f"{site.folder}/messages/ko/words.j2:{line}: ")
    assert "resaon" in found["message"]


def test_doctor_names_a_law_whose_clocks_reach_nobody(site: Installation) -> None:
    inventory = INVENTORY.replace("    environment: prod\n", "    environment: prod\n    regimes: [gdpr]\n", 1)
    (site.folder / "inventory.yaml").write_text(inventory, encoding="utf-8")
    line = 1 + inventory.splitlines().index("    regimes: [gdpr]")
    found = [one["message"] for one in checks(site, "duties")]
    assert all(one.startswith(f"{site.folder / 'inventory.yaml'}:{line}: servers.weather.regimes: ") for one in found)
    assert len(found) == 2


def test_a_folder_of_codes_that_others_read_is_named(site: Installation, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    outbox.mkdir(mode=0o755)
    outbox.chmod(0o755)
    contacts(site, f"contacts:\n  kim: {{file: '{outbox}'}}\n")
    assert any(one["remedy"] == f"chmod 700 {outbox}" for one in checks(site, "contacts"))
