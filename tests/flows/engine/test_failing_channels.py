"""What people are told by fails in every way that it can: they are told by the next one, and no cut waits for it."""

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.engine.people import telling
from integrations.channels.ways import Channels
from playbooks.people.contacts import Contacts
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from tests.flows.cli import world
from tests.lab import paging, scenes
from tests.lab.connected import connected
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert, house
from tests.lab.mail import Post, post_office
from tests.lab.slack import BOT_TOKEN, ROOM, FakeSlack, fake_slack

ID = world.ID
INVENTORY = world.READ


@dataclass
class Outside:
    """What the room is reached by: Slack, then e-mail, then a folder."""

    slack: FakeSlack
    post: Post
    box: Path

    def contacts(self, **email: Any) -> Contacts:  # noqa: ANN401  # fields of Email
        mail = {"host": "127.0.0.1", "port": self.post.port, "security": "none", "sender": "soar@example.com"}
        return Contacts.model_validate(
            {
                "channels": {
                    "slack": {"bot_token": {"env": "LAB_BOT_TOKEN"}, "url": self.slack.url},
                    "email": {**mail, **email},
                },
                "contacts": {"soc": {"slack": ROOM, "email": "soc@example.com", "file": str(self.box)}},
                "room": "soc",
            }
        )

    @property
    def written(self) -> list[str]:
        return [file.read_text(encoding="utf-8") for file in self.box.iterdir()] if self.box.exists() else []


@pytest.fixture
async def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Outside]:
    monkeypatch.setenv("LAB_BOT_TOKEN", BOT_TOKEN)
    async with fake_slack() as slack, post_office() as post:
        yield Outside(slack, post, tmp_path / "room")


async def told(home: House, contacts: Contacts, **parts: Any) -> Incident:  # noqa: ANN401  # fields of Parts
    """Have the room told of an incident that was just opened, and return it."""
    channels = Channels(contacts)
    home = home.changed(contacts=contacts, channels=channels, **parts)
    try:
        await home.ask("ann", Verb.RESPOND, "new", params=paging.NEW)
        await home.take_in()
        await paging.paged(home)
        await paging.told(home)
    finally:
        await channels.aclose()
    return await home.incident(ID)


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


FAULTS = {
    "Slack is down": (["slack"], "email"),
    "the channel was deleted": (["slack"], "email"),
    "the token was revoked": (["slack"], "email"),
    "and the mail server refuses": (["slack", "email"], "file"),
    "and the mail server is busy": (["slack", "email"], "file"),
    "and the mail server refuses the address": (["slack", "email"], "file"),
    "and the mail server hangs": (["slack", "email"], "file"),
    "and the mail server is not there": (["slack", "email"], "file"),
    "and the mail server wants what we lack": (["slack", "email"], "file"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_page_is_delivered_by_the_next_way_and_the_loss_is_on_record(
    fault: str, outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    email: dict[str, Any] = {}
    if fault.startswith("and") or fault == "Slack is down":
        await outside.slack.down()
    elif fault == "the channel was deleted":
        outside.slack.delete_channel(ROOM)
    else:
        monkeypatch.setenv("LAB_BOT_TOKEN", "xoxb-revoked")
    if fault.endswith("refuses"):
        outside.post.data = "554 we do not like it"
    elif fault.endswith("busy"):
        outside.post.data = "451 try again later"
    elif fault.endswith("address"):
        outside.post.rcpt = "550 no such mailbox"
    elif fault.endswith("hangs"):
        outside.post.hang = True
        monkeypatch.setattr(telling, "SEND_WITHIN", 2.0)
    elif fault.endswith("not there"):
        email["port"] = unused_port()
    elif fault.endswith("lack"):
        email["security"] = "starttls"
    failed, works = FAULTS[fault]
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        state = await told(home, outside.contacts(**email))
    assert [(one.channel, one.delivered) for one in state.told] == [
        *((way, False) for way in failed),
        (works, True),
    ]
    assert all(one.detail for one in state.told), "each says where it went, or why not"
    assert not any(BOT_TOKEN in one.detail or "xoxb" in one.detail for one in state.told)
    lines = [line.what for line in state.timeline]
    assert [line for line in lines if line.startswith("could NOT")] == [
        f"could NOT tell soc by {way}" for way in failed
    ]
    assert (state.untold, state.undelivered) == ({}, {}), "somebody was reached"
    said = [str(outside.post.taken[0].get_body())] if works == "email" else outside.written
    assert "forecast" in said[0]


async def test_what_reached_nobody_is_shown_as_such_and_tried_again(outside: Outside, tmp_path: Path) -> None:
    await outside.slack.down()
    outside.post.data = "554 we do not like it"
    outside.box.write_text("a file where the folder should be")
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        state = await told(home, outside.contacts())
        assert list(state.untold) == ["opened"]
        assert {who for _, who in state.undelivered} == {"soc"}
        assert [one.channel for one in state.told] == ["slack", "email", "file"]
        assert {one.round for one in state.told} == {1}


@pytest.mark.parametrize("name", ["message.j2", "en/words.j2"])
@pytest.mark.parametrize("text", ["{% for", "{{ nobody.knows.this }}", "{{ 1 / 0 }}", ""], ids=repr)
async def test_a_broken_template_silences_nobody(
    outside: Outside, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, text: str
) -> None:
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        state = await told(home, outside.contacts(), templates={name: text})
    assert [(one.channel, one.delivered) for one in state.told] == [("slack", True)]
    (message,) = outside.slack.messages()
    assert "forecast" in message.text
    assert "a template of this installation does not work, the shipped one spoke" in caplog.text
    assert "messages/" in caplog.text, "and it says which one"


async def test_no_cut_waits_for_anybody_to_be_told(
    lab: Lab, outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "SEND_WITHIN", 5.0)
    lab.victim.poison()
    await outside.slack.down()
    outside.post.hang = True
    outside.box.write_text("a file where the folder should be")
    contacts = outside.contacts()
    channels = Channels(contacts)
    async with (
        scenes.installation(lab, tmp_path, contacts=contacts, channels=channels) as home,
        home.responding(),
    ):
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.reaches(Status.CONTAINED)
        assert not await scenes.usable(lab, "get_weather", city="Seoul")

        async def failing() -> bool:
            return any(told.channel == "slack" for told in (await home.incident(incident.id)).told)

        await home.until(failing, "people are being told, in vain")
        state = await home.incident(incident.id)
        assert not any(told.delivered for told in state.told)
        assert "opened" in state.untold, "shown in every answer"
        # It is kept, and goes out when something works again.
        outside.box.unlink()

        async def told() -> bool:
            return (await home.incident(incident.id)).untold == {}

        await home.until(told, "everything has reached the room")
        assert any("Contained" in text or "contained" in text for text in outside.written)
        state = await home.incident(incident.id)
        assert (state.status, state.undelivered) == (Status.CONTAINED, {})
    await channels.aclose()
