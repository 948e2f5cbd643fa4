"""Messages through Slack's Web API: threads, updates in place, and every way in which it can go wrong."""

import asyncio
import json
from dataclasses import replace
from importlib.resources import files

import pytest
import yaml

from integrations.channels.slack.buttons import Acknowledge, Answer
from integrations.channels.slack.channel import SlackChannel
from integrations.channels.slack.client import SlackApi, escaped
from integrations.channels.ways import Channels
from playbooks.errors import Refused, SoarError, Transient
from playbooks.people.contacts import Contact, Contacts, Language
from playbooks.people.message import Message
from tests.lab.block_kit import faults
from tests.lab.slack import ANN, BOT_TOKEN, ROOM, Conversation, FakeSlack, Fault

SOC = Contact(slack=ROOM)
DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
BLOCKS = ({"type": "section", "text": {"type": "mrkdwn", "text": "*poisoned*"}},)
PAGE = Message(
    incident="inc-2026-000001",
    page="opened",
    notice="opened",
    urgent=True,
    subject="get_weather is poisoned",
    text="get_weather is poisoned.\nIt was cut off.",
    blocks=BLOCKS,
    buttons=("acknowledge", f"answer:{DIGEST}"),
)


async def test_one_thread_for_each_incident_and_urgent_replies_are_seen_in_the_channel(
    slack: FakeSlack, channel: SlackChannel
) -> None:
    first = await channel.send(SOC, PAGE)
    await channel.send(SOC, replace(PAGE, page="contained", urgent=False), thread=first.reference)
    await channel.send(SOC, replace(PAGE, page="leak"), thread=first.reference)
    other = await channel.send(SOC, replace(PAGE, incident="inc-2026-000002"))
    root, calm, urgent, second = slack.messages()
    assert (root.thread, second.thread) == ("", "")
    assert calm.thread == urgent.thread == root.ts
    assert first.reference == f"{ROOM}:{root.ts}"
    assert other.reference != first.reference
    assert not calm.arguments["reply_broadcast"]
    assert urgent.arguments["reply_broadcast"]
    assert first.where == f"slack {ROOM}"


async def test_nothing_is_unfurled_linked_or_parsed(slack: FakeSlack, channel: SlackChannel) -> None:
    await channel.send(SOC, replace(PAGE, text="<!channel> <https://evil.example|the runbook> & *bold*", blocks=()))
    (sent,) = slack.messages()
    for name in ("unfurl_links", "unfurl_media", "link_names", "mrkdwn"):
        assert sent.arguments[name] is False, name
    assert sent.arguments["parse"] == "none"
    assert sent.text == "&lt;!channel&gt; &lt;https://evil.example|the runbook&gt; &amp; *bold*"
    # In the blocks that stand for it there is no markup at all.
    assert sent.arguments["blocks"][0]["text"]["type"] == "plain_text"


async def test_an_update_replaces_in_place(slack: FakeSlack, channel: SlackChannel) -> None:
    first = await channel.send(SOC, PAGE)
    again = await channel.send(SOC, replace(PAGE, text="Ann has it.", buttons=()), update=first.reference)
    (sent,) = slack.messages()
    assert again == first
    assert (sent.text, sent.edits, sent.buttons) == ("Ann has it.", 1, {})
    assert slack.said("chat.update")[0]["parse"] == "none"


@pytest.mark.parametrize("gone", ["the message", "its thread", "its channel"])
async def test_what_is_gone_is_posted_anew_and_once(slack: FakeSlack, channel: SlackChannel, gone: str) -> None:
    first = await channel.send(SOC, PAGE)
    to = SOC
    if gone == "its channel":
        slack.delete_channel(ROOM)
        slack.conversations["C0NEW"] = Conversation("C0NEW", "new")
        to = Contact(slack="C0NEW")
    else:
        slack.delete(ROOM, first.reference.partition(":")[2])
    thread = first.reference if gone == "its thread" else ""
    again = await channel.send(to, PAGE, update=first.reference, thread=thread)
    twice = await channel.send(to, PAGE, update=first.reference, thread=thread)
    assert again == twice != first
    (sent,) = slack.messages(to.slack or "")
    assert again.reference == f"{to.slack}:{sent.ts}"


async def test_a_page_whose_first_was_deleted_is_posted_again(slack: FakeSlack, channel: SlackChannel) -> None:
    first = await channel.send(SOC, PAGE)
    slack.delete(ROOM, first.reference.partition(":")[2])
    assert (await channel.send(SOC, PAGE)).reference != first.reference
    assert len(slack.messages()) == 1


async def test_an_answer_that_was_lost_does_not_post_twice(slack: FakeSlack, channel: SlackChannel) -> None:
    slack.faults["chat.postMessage"] = [Fault.LOST]
    with pytest.raises(Transient):
        await channel.send(SOC, PAGE)
    assert len(slack.messages()) == 1
    # Also by another process, which remembers nothing.
    other = SlackChannel(BOT_TOKEN, slack.url)
    try:
        sent = await other.send(SOC, PAGE)
        # Every incident has a page of that name, and each is told.
        await other.send(SOC, replace(PAGE, incident="inc-2026-000002"))
    finally:
        await other.aclose()
    assert sent.reference == f"{ROOM}:{slack.messages()[0].ts}"
    assert len(slack.messages()) == 2


async def test_a_page_that_comes_again_arrives_again(slack: FakeSlack, channel: SlackChannel) -> None:
    for purpose in ("on_call:0:0", "on_call:1:0", "on_call:1:0"):
        await channel.send(SOC, replace(PAGE, purpose=purpose))
    assert len(slack.messages()) == 2


async def test_a_person_gets_a_direct_message(slack: FakeSlack, channel: SlackChannel) -> None:
    ann = Contact(slack=ANN)
    first = await channel.send(ann, PAGE)
    await channel.send(ann, replace(PAGE, page="contained"), thread=first.reference)
    root, reply = slack.direct(ANN).messages
    assert first.reference == f"{slack.direct(ANN).id}:{root.ts}"
    assert reply.thread == root.ts
    assert len(slack.said("conversations.open")) == 1
    assert not slack.messages()


async def test_a_thread_of_another_place_is_none_here(slack: FakeSlack, channel: SlackChannel) -> None:
    first = await channel.send(Contact(slack=ANN), PAGE)
    for thread in (first.reference, "nonsense", f"{ROOM}:1.1;drop"):
        await channel.send(SOC, replace(PAGE, page=f"p{thread}"[:9]), thread=thread, update="nonsense")
    assert {message.thread for message in slack.messages()} == {""}
    # Nor is it tried.
    assert len(slack.said("chat.postMessage")) == 1 + 3


async def test_buttons_carry_what_they_are_about(slack: FakeSlack, channel: SlackChannel) -> None:
    await channel.send(SOC, PAGE)
    korean = Contact(slack=ROOM, language=Language.KO)
    await channel.send(korean, replace(PAGE, page="two", buttons=(f"answer:{DIGEST}", f"answer:{OTHER}")))
    one, two = slack.messages()
    assert list(one.buttons) == ["mcp_soar.acknowledge", "mcp_soar.answer"]
    value = json.loads(one.buttons["mcp_soar.acknowledge"]["value"])
    assert value == {"incident": "inc-2026-000001", "page": "opened", "language": "en"}
    value = json.loads(one.buttons["mcp_soar.answer"]["value"])
    assert value == {"incident": "inc-2026-000001", "digest": DIGEST, "language": "en"}
    # Two of a kind are told apart by their words, not by where they stand.
    assert [button["text"]["text"] for button in two.buttons.values()] == [
        "답하기… abababababab",
        "답하기… cdcdcdcdcdcd",
    ]


async def test_as_many_blocks_as_slack_takes_and_the_buttons_are_among_them(
    slack: FakeSlack, channel: SlackChannel
) -> None:
    await channel.send(SOC, replace(PAGE, blocks=BLOCKS * 80, text="&" * 9000))
    (sent,) = slack.messages()
    assert len(sent.arguments["blocks"]) == 50
    assert "mcp_soar.acknowledge" in sent.buttons
    # An update may be 4,000 characters, so no message is longer.
    again = await channel.send(SOC, replace(PAGE, text="x" * 9000, blocks=()), update=f"{ROOM}:{sent.ts}")
    assert again.reference == f"{ROOM}:{sent.ts}"


async def test_a_broken_template_does_not_silence_a_page(
    slack: FakeSlack, channel: SlackChannel, caplog: pytest.LogCaptureFixture
) -> None:
    broken = ({"type": "section", "text": {"type": "mrkdwn", "text": ""}},)
    first = await channel.send(SOC, replace(PAGE, blocks=broken))
    (sent,) = slack.messages()
    assert "It was cut off." in "".join(block["text"]["text"] for block in sent.arguments["blocks"][:-1])
    assert "mcp_soar.acknowledge" in sent.buttons
    assert "goes as plain text" in caplog.text
    await channel.send(SOC, replace(PAGE, blocks=broken, text="Now it is closed."), update=first.reference)
    assert "Now it is closed." in slack.messages()[0].shown


async def test_codes_do_not_travel_by_slack(slack: FakeSlack, channel: SlackChannel) -> None:
    message = replace(PAGE, codes=(("approve", "disable get_weather", "7K3M2-QX9AB"),))
    with pytest.raises(Refused, match="do not travel by Slack"):
        await channel.send(Contact(slack=ANN), message)
    assert not slack.calls
    assert "7K3M2" not in repr(message)


async def test_a_deleted_channel_is_named(slack: FakeSlack, channel: SlackChannel) -> None:
    slack.delete_channel(ROOM)
    with pytest.raises(Refused, match=rf"channel {ROOM}: channel_not_found; .*contacts\.yaml"):
        await channel.send(SOC, PAGE)
    with pytest.raises(Refused, match=ROOM):
        await channel.look(SOC)


async def test_an_archived_channel_a_strangers_channel_and_a_person_who_left_are_refused(
    slack: FakeSlack, channel: SlackChannel
) -> None:
    slack.conversations[ROOM].archived = True
    with pytest.raises(Refused, match="is_archived; unarchive it"):
        await channel.send(SOC, PAGE)
    with pytest.raises(Refused, match=r"C0SOC \(#soc\) is archived"):
        await channel.look(SOC)
    slack.conversations[ROOM].archived = False
    slack.conversations[ROOM].member = False
    with pytest.raises(Refused, match="not_in_channel; invite"):
        await channel.send(SOC, PAGE)
    with pytest.raises(Refused, match="/invite"):
        await channel.look(SOC)
    slack.users[ANN]["deleted"] = True
    with pytest.raises(Refused, match=f"user {ANN}: user_disabled"):
        await channel.send(Contact(slack=ANN), PAGE)
    with pytest.raises(Refused, match="has left"):
        await channel.look(Contact(slack=ANN))
    with pytest.raises(Refused, match="user U0NOBODY"):
        await channel.send(Contact(slack="U0NOBODY"), PAGE)


async def test_a_revoked_token_says_what_to_mend_and_not_the_token(slack: FakeSlack, channel: SlackChannel) -> None:
    assert await channel.check() == "mcp-soar in Team"
    assert await channel.look(SOC) == "#soc"
    assert await channel.look(Contact(slack=ANN)) == "@ann"
    slack.bot_tokens.clear()
    for act in (channel.check(), channel.send(SOC, PAGE), channel.look(SOC)):
        with pytest.raises(Refused, match=r"invalid_auth; .*new token") as caught:
            await act
        assert BOT_TOKEN not in str(caught.value)


async def test_a_token_that_may_not_post_is_found_by_day(slack: FakeSlack, channel: SlackChannel) -> None:
    slack.scopes = "channels:read,chat:write"
    with pytest.raises(Refused, match="lacks im:write"):
        await channel.check()
    with pytest.raises(Refused, match=r"missing_scope users:read; add the scope"):
        await channel.look(Contact(slack=ANN))


async def test_the_manifest_asks_for_what_is_needed_and_reads_no_messages(
    slack: FakeSlack, channel: SlackChannel
) -> None:
    manifest = yaml.safe_load((files("integrations.channels.slack") / "app-manifest.yaml").read_text(encoding="utf-8"))
    scopes = manifest["oauth_config"]["scopes"]["bot"]
    slack.scopes = ",".join(scopes)
    await channel.check()
    assert await channel.look(SOC) == "#soc"
    await channel.send(Contact(slack=ANN), PAGE)
    # A stolen token must not read what people write.
    assert not [scope for scope in scopes if scope.endswith(":history")]
    assert manifest["settings"]["socket_mode_enabled"]
    assert manifest["settings"]["interactivity"]["is_enabled"]


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.ERROR, Fault.HANG, Fault.LOST])
async def test_what_may_pass_is_transient_and_in_time(slack: FakeSlack, channel: SlackChannel, fault: Fault) -> None:
    channel.api.patience = 0.3 if fault is Fault.HANG else 30.0
    for act in ("chat.postMessage", "auth.test"):
        slack.faults[act] = [fault]
        with pytest.raises(Transient):
            async with asyncio.timeout(60):
                await (channel.check() if act == "auth.test" else channel.send(SOC, PAGE))
    channel.api.patience = 30.0
    assert (await channel.send(SOC, PAGE)).where == f"slack {ROOM}"
    assert len(slack.messages()) == 1


async def test_a_rate_limit_says_when_to_come_back_and_nothing_is_sent_before(
    slack: FakeSlack, channel: SlackChannel
) -> None:
    slack.faults["chat.postMessage"] = [Fault.BUSY]
    with pytest.raises(Transient, match="ratelimited") as caught:
        await channel.send(SOC, PAGE)
    assert caught.value.retry_after == 7
    assert not slack.said("chat.postMessage")


async def test_a_wait_that_only_the_body_says_is_kept_by_that_method_alone(
    slack: FakeSlack, channel: SlackChannel
) -> None:
    slack.faults["chat.postMessage"] = [Fault.BUSY_IN_BODY]
    with pytest.raises(Transient, match="ratelimited") as caught:
        await channel.send(SOC, PAGE)
    assert caught.value.retry_after == 2
    with pytest.raises(Transient, match="asked to wait"):
        await channel.send(SOC, PAGE)
    await channel.check()
    assert not slack.messages()
    channel.api._respite.grant("chat.postMessage", 0.0)  # noqa: SLF001  # the two seconds are over
    await channel.send(SOC, PAGE)
    assert len(slack.messages()) == 1


async def test_slack_down_is_transient_and_up_again_is_well(slack: FakeSlack, channel: SlackChannel) -> None:
    await channel.send(SOC, PAGE)
    await slack.down()
    with pytest.raises(Transient, match="no answer"):
        await channel.send(SOC, replace(PAGE, page="contained"))
    await slack.up()
    await channel.send(SOC, replace(PAGE, page="contained"))
    assert len(slack.messages()) == 2


async def test_whoever_has_no_slack_id_is_not_written_to(slack: FakeSlack, channel: SlackChannel) -> None:
    with pytest.raises(Refused, match="no Slack id"):
        await channel.send(Contact(email="soc@example.com"), PAGE)
    assert not slack.calls


@pytest.mark.parametrize(
    "page",
    ["lapsed:cut@a:again 1:0123", "guessed:김 철수:0123", 'x:"' + 600 * "é\\"],
    ids=["spaces", "Korean", "long"],
)
async def test_whatever_a_page_is_called_it_can_be_acknowledged(
    slack: FakeSlack, channel: SlackChannel, page: str
) -> None:
    await channel.send(SOC, replace(PAGE, page=page))
    (sent,) = slack.messages()
    assert Acknowledge.model_validate_json(sent.buttons["mcp_soar.acknowledge"]["value"]).page == page


@pytest.mark.parametrize(
    ("page", "button"),
    [
        ("x" * 2000, "acknowledge"),
        ("two\nlines", "acknowledge"),
        ("", "acknowledge"),
        ("opened", "launch"),
        ("opened", "answer:sha256:short"),
    ],
    ids=["long", "lines", "nothing", "unknown", "no digest"],
)
async def test_no_page_is_lost_for_a_button_that_does_not_fit(
    slack: FakeSlack, channel: SlackChannel, caplog: pytest.LogCaptureFixture, page: str, button: str
) -> None:
    await channel.send(SOC, replace(PAGE, page=page, buttons=(button, f"answer:{DIGEST}")))
    (sent,) = slack.messages()
    assert sent.text == PAGE.text
    assert [one["value"] for one in sent.buttons.values()] == [
        Answer(incident=PAGE.incident, digest=DIGEST).model_dump_json()
    ]
    assert "does not fit" in caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)


async def test_no_page_is_lost_for_buttons_that_slack_refuses(slack: FakeSlack, channel: SlackChannel) -> None:
    slack.refuses = {"actions"}
    first = await channel.send(SOC, PAGE)
    await channel.send(SOC, replace(PAGE, text="Now it is closed."), update=first.reference)
    (sent,) = slack.messages()
    assert sent.buttons == {}
    assert "Now it is closed." in sent.shown


@pytest.mark.parametrize("app_token", [{}, {"app_token": {"env": "LAB_APP_TOKEN"}}], ids=["without", "with"])
async def test_where_nobody_listens_there_is_nothing_to_press(
    slack: FakeSlack, monkeypatch: pytest.MonkeyPatch, app_token: dict[str, object]
) -> None:
    monkeypatch.setenv("LAB_BOT_TOKEN", BOT_TOKEN)
    config = {"bot_token": {"env": "LAB_BOT_TOKEN"}, "url": slack.url, **app_token}
    made = Channels(Contacts.model_validate({"channels": {"slack": config}})).slack()
    try:
        await made.send(SOC, PAGE)
    finally:
        await made.aclose()
    (sent,) = slack.messages()
    assert bool(sent.buttons) is bool(app_token)


@pytest.mark.parametrize("error", ["invalid_auth", "channel_not_found", "something_new"])
async def test_no_error_of_the_vendor_gets_out(slack: FakeSlack, error: str) -> None:
    token = "xoxb-nobody" if error == "invalid_auth" else BOT_TOKEN
    api = SlackApi(token, slack.url)
    method = "no.such.method" if error == "something_new" else "conversations.info"
    try:
        with pytest.raises(SoarError):
            await api.ask(method, channel="C0NONE")
    finally:
        await api.aclose()


def test_the_fake_refuses_what_slack_refuses() -> None:
    text = {"type": "plain_text", "text": "x"}
    button = {"type": "button", "action_id": "a", "text": text, "value": "v"}
    bad: list[object] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}},
        {"type": "section"},
        {"type": "header", "text": {"type": "mrkdwn", "text": "x"}},
        {"type": "header", "text": {"type": "plain_text", "text": "x" * 151}},
        {"type": "actions", "elements": [button] * 2},
        {"type": "actions", "elements": []},
        {"type": "actions", "elements": [{**button, "value": "v" * 2001}]},
        {"type": "actions", "elements": [{**button, "text": {**text, "text": "x" * 76}}]},
        {"type": "context", "elements": [text] * 11},
        {"type": "image", "image_url": "https://example.com"},
        {"type": "marquee"},
        "no block",
    ]
    for block in bad:
        assert faults([block]), block
    good = [
        {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3000}, "accessory": button},
        {"type": "header", "text": text},
        {"type": "divider"},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}]},
        {"type": "actions", "elements": [button]},
    ]
    assert faults(good) == []
    assert faults(good * 11)


def test_an_escape_is_never_cut_in_two() -> None:
    assert escaped("a<b>&", 100) == "a&lt;b&gt;&amp;"
    assert escaped("<<<<", 11) == "&lt;&lt;…"
    assert len(escaped("&" * 100, 50)) <= 50
