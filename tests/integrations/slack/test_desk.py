"""What people press in Slack, over a real WebSocket: calls, results, outages, and what hostile senders try."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from integrations.channels.slack import desk as desks
from integrations.channels.slack.channel import SlackChannel
from playbooks.errors import Refused, Transient
from playbooks.people.contacts import Contact, Language
from playbooks.people.message import Message
from tests.lab.block_kit import view_faults
from tests.lab.slack import ANN, APP_TOKEN, BOB, BOT_TOKEN, ROOM, FakeSlack, Fault, View

DIGEST = "sha256:" + "ab" * 32
INCIDENT = "inc-2026-000001"
CODE = "7K3M2-QX9AB"
SENTENCE = (
    "Disable the tool get_weather of weather; its callers get an error; `release` undoes it. <!channel>\n- Plan: ab"
)
PAGE = Message(
    incident=INCIDENT,
    page="opened",
    notice="awaiting_approval",
    urgent=True,
    subject="A plan waits",
    text="A plan waits.",
    buttons=("acknowledge", f"answer:{DIGEST}"),
)
ACKNOWLEDGE, ANSWER = "mcp_soar.acknowledge", "mcp_soar.answer"


class Recorder:
    """A desk that writes down what it is asked and waits as long as it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.trouble: Exception | None = None
        self.troubled: tuple[str, ...] = ("acknowledge", "answer", "describe")
        self.go = asyncio.Event()
        self.go.set()

    async def acknowledge(self, slack_user: str, incident: str, page: str) -> str:
        return await self._called("acknowledge", slack_user, incident, page)

    async def answer(self, slack_user: str, incident: str, digest: str, code: str) -> str:
        return await self._called("answer", slack_user, incident, digest, code)

    async def describe(self, incident: str, digest: str, language: Language) -> str:
        await self._called("describe", incident, digest, language.value)
        return SENTENCE

    async def _called(self, *call: str) -> str:
        self.calls.append(call)
        await self.go.wait()
        if self.trouble is not None and call[0] in self.troubled:
            raise self.trouble
        return f"{call[0]}: done, <!channel> & nobody else"

    def of(self, name: str) -> list[tuple[str, ...]]:
        return [call for call in self.calls if call[0] == name]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@asynccontextmanager
async def listening(
    slack: FakeSlack, recorder: Recorder, app_token: str = APP_TOKEN
) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(desks.run(app_token, BOT_TOKEN, slack.url, recorder, stop, pause=0.02))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(60):
            await task


@pytest.fixture
async def listener(slack: FakeSlack, recorder: Recorder) -> AsyncIterator[None]:
    async with listening(slack, recorder):
        await slack.connected()
        yield


@pytest.fixture
async def page(channel: SlackChannel) -> str:
    """The timestamp of a page in the room."""
    return (await channel.send(Contact(slack=ROOM), PAGE)).reference.partition(":")[2]


async def the_form(slack: FakeSlack, page: str, user: str = ANN) -> View:
    await slack.press(user, ROOM, page, ANSWER)
    await slack.until(lambda: slack.views, "a form")
    return next(reversed(slack.views.values()))


def saying(view: View, text: str) -> bool:
    return text in view.shown


@pytest.mark.usefixtures("listener")
async def test_a_press_is_called_and_its_answer_shown_to_that_person_alone(
    slack: FakeSlack, recorder: Recorder, page: str
) -> None:
    answer = await slack.press(ANN, ROOM, page, ACKNOWLEDGE)
    room = slack.conversations[ROOM]
    await slack.until(lambda: room.whispers, "an answer")
    assert recorder.calls == [("acknowledge", ANN, INCIDENT, "opened")]
    # What an answer quotes mentions nobody.
    assert room.whispers == [(ANN, "acknowledge: done, &lt;!channel&gt; &amp; nobody else", "")]
    assert answer.payload == {}
    assert len(slack.messages()) == 1


@pytest.mark.usefixtures("listener")
async def test_the_answer_stands_in_the_thread_in_which_it_was_pressed(
    slack: FakeSlack, channel: SlackChannel, page: str
) -> None:
    reply = await channel.send(Contact(slack=ROOM), replace(PAGE, page="two"), thread=f"{ROOM}:{page}")
    await slack.press(BOB, ROOM, reply.reference.partition(":")[2], ACKNOWLEDGE)
    await slack.until(lambda: slack.conversations[ROOM].whispers, "an answer")
    assert slack.conversations[ROOM].whispers[0][2] == page


@pytest.mark.usefixtures("listener")
async def test_an_error_of_ours_is_shown_and_one_of_another_kind_is_not(
    slack: FakeSlack, recorder: Recorder, page: str
) -> None:
    room = slack.conversations[ROOM]
    for trouble in (Refused("nobody enrolled has that Slack id"), RuntimeError("internals")):
        recorder.trouble = trouble
        await slack.press(BOB, ROOM, page, ACKNOWLEDGE)
    await slack.until(lambda: len(room.whispers) == 2, "two answers")
    said = {text for _, text, _ in room.whispers}
    assert said == {
        "nobody enrolled has that Slack id",
        f"That did not work here. Use the command line: mcp-soar incident {INCIDENT}",
    }


@pytest.mark.usefixtures("listener")
async def test_a_slow_call_is_acknowledged_at_once(slack: FakeSlack, recorder: Recorder, page: str) -> None:
    recorder.go.clear()
    answer = await slack.press(ANN, ROOM, page, ACKNOWLEDGE)
    assert answer.payload == {}
    assert recorder.of("acknowledge")
    assert not slack.conversations[ROOM].whispers
    recorder.go.set()
    await slack.until(lambda: slack.conversations[ROOM].whispers, "an answer")


@pytest.mark.usefixtures("listener")
async def test_a_plan_is_answered_in_a_form_that_says_what_it_does(
    slack: FakeSlack, recorder: Recorder, page: str
) -> None:
    view = await the_form(slack, page)
    assert recorder.of("describe") == [("describe", INCIDENT, DIGEST, "en")]
    assert SENTENCE in view.shown
    assert "the code itself says whether it means yes or no" in view.shown
    assert "whoever holds Slack's token cannot answer without it" in view.shown
    assert "mrkdwn" not in json.dumps(view.view)
    assert [block["block_id"] for block in view.inputs] == ["code"]
    answer = await slack.submit(view, code=CODE)
    assert recorder.of("answer") == [("answer", ANN, INCIDENT, DIGEST, CODE)]
    assert answer.payload["response_action"] == "update"
    assert "answer: done" in view.shown
    assert not view.inputs


@pytest.mark.usefixtures("listener")
async def test_a_wrong_code_is_said_beside_the_field_and_can_be_mended(
    slack: FakeSlack, recorder: Recorder, page: str
) -> None:
    view = await the_form(slack, page)
    recorder.trouble = Refused("that code is not for this plan; 4 tries are left")
    answer = await slack.submit(view, code="0000000000")
    assert answer.payload == {"response_action": "errors", "errors": {"code": str(recorder.trouble)}}
    recorder.trouble = None
    await slack.submit(view, code=CODE)
    assert "answer: done" in view.shown


@pytest.mark.usefixtures("listener")
async def test_an_answer_that_takes_long_is_acknowledged_in_time_and_shown_later(
    slack: FakeSlack, recorder: Recorder, page: str
) -> None:
    view = await the_form(slack, page)
    recorder.troubled = ("answer",)
    for trouble, shown in ((Refused("that code has expired"), "that code has expired"), (None, "answer: done")):
        recorder.trouble = trouble
        recorder.go.clear()
        answer = await slack.submit(view, code=CODE)
        assert answer.payload["response_action"] == "update"
        assert "Passing your answer on" in view.shown
        assert answer.after >= desks.PATIENCE
        recorder.go.set()
        await slack.until(partial(saying, view, shown), shown)
        # A refusal leaves the field to try again, under what the plan would do.
        assert bool(view.inputs) == (SENTENCE in view.shown) == (trouble is not None)


def test_the_patience_is_within_what_slack_waits() -> None:
    assert desks.PATIENCE < 3.0 - 1.0


@pytest.mark.usefixtures("listener")
async def test_a_plan_that_is_looked_up_slowly_opens_its_window_at_once(
    slack: FakeSlack, recorder: Recorder, page: str
) -> None:
    recorder.go.clear()
    view = await the_form(slack, page)
    assert "Looking the plan up" in view.shown
    recorder.go.set()
    await slack.until(lambda: SENTENCE in view.shown, "the plan")
    assert view.inputs


@pytest.mark.usefixtures("listener")
async def test_a_plan_that_waits_no_more_has_no_field(slack: FakeSlack, recorder: Recorder, page: str) -> None:
    recorder.trouble = Refused("that plan was answered at 03:12 by bob")
    view = await the_form(slack, page)
    assert "answered at 03:12 by bob" in view.shown
    assert not view.inputs


@pytest.mark.usefixtures("listener")
async def test_a_window_that_does_not_open_says_where_else_to_answer(slack: FakeSlack, page: str) -> None:
    slack.faults["views.open"] = [Fault.ERROR]
    await slack.press(ANN, ROOM, page, ANSWER)
    await slack.until(lambda: slack.conversations[ROOM].whispers, "a word")
    assert "Use the command line" in slack.conversations[ROOM].whispers[0][1]


@pytest.mark.usefixtures("listener")
async def test_the_form_speaks_the_language_of_the_page(
    slack: FakeSlack, recorder: Recorder, channel: SlackChannel
) -> None:
    page = await channel.send(Contact(slack=ROOM, language=Language.KO), PAGE)
    view = await the_form(slack, page.reference.partition(":")[2])
    assert recorder.of("describe") == [("describe", INCIDENT, DIGEST, "ko")]
    assert "일회용 코드" in view.shown
    assert not view_faults(view.view)


@pytest.mark.usefixtures("listener")
async def test_a_second_delivery_is_acknowledged_and_called_no_second_time(
    slack: FakeSlack, recorder: Recorder, page: str
) -> None:
    payload = slack.pressed(ANN, ROOM, page, ACKNOWLEDGE)
    for _ in range(3):
        await slack.deliver(payload, envelope="e-1")
    view = await the_form(slack, page)
    submission = slack.submitted(view, code=CODE)
    answers = [(await slack.deliver(submission, envelope="e-2")).payload for _ in range(2)]
    assert answers[0] == answers[1] != {}
    assert len(recorder.of("acknowledge")) == len(recorder.of("answer")) == 1


@pytest.mark.usefixtures("listener")
async def test_two_at_once_are_both_answered(slack: FakeSlack, recorder: Recorder, page: str) -> None:
    recorder.go.clear()
    await asyncio.gather(*(slack.press(user, ROOM, page, ACKNOWLEDGE) for user in (ANN, BOB)))
    await slack.until(lambda: len(recorder.calls) == 2, "two calls")
    recorder.go.set()
    await slack.until(lambda: len(slack.conversations[ROOM].whispers) == 2, "two answers")


@pytest.mark.usefixtures("listener")
async def test_a_socket_is_replaced_before_it_closes(slack: FakeSlack, recorder: Recorder, page: str) -> None:
    await slack.refresh()
    # What the old one still delivers is taken, and acknowledged.
    await slack.deliver(slack.pressed(ANN, ROOM, page, ACKNOWLEDGE), socket=0)
    await slack.until(lambda: slack.opened == 2, "another socket")
    await slack.connected(1)
    await slack.press(BOB, ROOM, page, ACKNOWLEDGE)
    await slack.until(lambda: len(recorder.calls) == 2, "both presses")


@pytest.mark.usefixtures("listener")
async def test_a_socket_that_closes_is_opened_again(slack: FakeSlack, recorder: Recorder, page: str) -> None:
    await slack.close_socket()
    await slack.until(lambda: slack.opened == 2 and len(slack.sockets) == 1, "another socket")
    await slack.press(ANN, ROOM, page, ACKNOWLEDGE)
    await slack.until(lambda: recorder.calls, "the press")


@pytest.mark.usefixtures("listener")
async def test_a_socket_that_is_open_and_dead_is_replaced(slack: FakeSlack, recorder: Recorder, page: str) -> None:
    slack.freeze()
    await slack.until(lambda: slack.opened == 2, "another socket")
    await slack.press(ANN, ROOM, page, ACKNOWLEDGE)
    await slack.until(lambda: recorder.calls, "the press")


@pytest.mark.usefixtures("listener")
async def test_an_outage_is_waited_out(
    slack: FakeSlack, recorder: Recorder, page: str, caplog: pytest.LogCaptureFixture
) -> None:
    await slack.down()
    await slack.until(lambda: "nobody can press anything" in caplog.text, "a word about it")
    assert caplog.text.count("nobody can press anything") == 1
    await slack.up()
    await slack.connected()
    await slack.press(ANN, ROOM, page, ACKNOWLEDGE)
    await slack.until(lambda: slack.conversations[ROOM].whispers, "an answer")
    assert recorder.calls


async def test_a_socket_that_does_not_open_is_tried_with_a_new_address(
    slack: FakeSlack, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    slack.stale_tickets = 2
    async with listening(slack, recorder):
        await slack.connected()
    assert len(slack.said("apps.connections.open")) == 3
    assert not slack.sockets
    # The address is a secret.
    assert "does not open" in caplog.text
    assert "ticket" not in caplog.text


async def test_a_wrong_app_token_is_said_once_without_the_token_and_does_not_end_the_rest(
    slack: FakeSlack, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    slack.app_tokens = {"xapp-other"}
    async with listening(slack, recorder) as task:
        await slack.until(lambda: len(slack.received) >= 3, "three attempts")
        assert not task.done()
        slack.app_tokens = {APP_TOKEN}
        await slack.connected()
    assert caplog.text.count("invalid_auth") == 1
    assert "xapp-1" not in caplog.text


async def test_a_busy_slack_is_not_asked_before_its_time(slack: FakeSlack, recorder: Recorder) -> None:
    slack.faults["apps.connections.open"] = [Fault.BUSY]
    async with listening(slack, recorder):
        await slack.until(lambda: slack.received, "an attempt")
        await asyncio.sleep(0.5)
        # It said seven seconds, and left to us it would have been asked ten times by now.
        assert not slack.said("apps.connections.open")


async def test_doctor_finds_a_bot_token_where_an_app_token_should_be(slack: FakeSlack) -> None:
    await desks.check(APP_TOKEN, slack.url)
    with pytest.raises(Refused, match="xapp-"):
        await desks.check(BOT_TOKEN, slack.url)
    await slack.down()
    with pytest.raises(Transient):
        await desks.check(APP_TOKEN, slack.url)


async def test_what_was_pressed_is_finished_before_it_ends(slack: FakeSlack, recorder: Recorder, page: str) -> None:
    async with listening(slack, recorder):
        await slack.connected()
        recorder.go.clear()
        view = the_form_of(slack, page)
        submission = await slack.send(slack.submitted(view, code=CODE))
        await slack.until(lambda: recorder.of("answer"), "the call")
        asyncio.get_running_loop().call_later(0.1, recorder.go.set)
    assert slack.acknowledged(submission)
    assert not slack.sockets


def the_form_of(slack: FakeSlack, page: str) -> View:
    """Return a form as it would be, without anybody having opened it."""
    button = slack.messages()[0].buttons[ANSWER]
    assert slack.messages()[0].ts == page
    element = {"type": "plain_text_input", "action_id": "code"}
    blocks = [{"type": "input", "block_id": "code", "element": element}]
    return View("V1", ANN, {"callback_id": ANSWER, "private_metadata": button["value"], "blocks": blocks})


def spoil(path: str, value: object) -> Callable[[dict[str, Any]], object]:
    """Return what puts a value where a payload has another one; a missing one if it is `...`."""

    def change(payload: dict[str, Any]) -> object:
        *way, last = path.split(".")
        inner: Any = payload
        for part in way:
            inner = inner[int(part)] if isinstance(inner, list) else inner[part]
        if value is ...:
            del inner[last]
        else:
            inner[int(last) if isinstance(inner, list) else last] = value
        return payload

    return change


HOSTILE_PRESSES = [
    ("actions.0.action_id", "launch_missiles\n\x1b[2J"),
    ("actions.0.action_id", 7),
    ("actions.0.action_id", "mcp_soar.acknowledge" * 1000),
    ("actions.0.value", "{}"),
    ("actions.0.value", "[" * 900),
    ("actions.0.value", '{"incident":"../../etc","page":"opened"}'),
    ("actions.0.value", '{"incident":"inc-1","page":"opened","extra":1}'),
    ("actions.0.value", '{"incident":"inc-1","page":"a\\nb"}'),
    ("actions.0.value", "x" * 5000),
    ("actions.0.value", ...),
    ("actions", []),
    ("actions", {}),
    ("actions", ...),
    ("actions.0", "mcp_soar.acknowledge"),
    ("user", ...),
    ("user.id", "root"),
    ("user.id", ["U0ANN"]),
    ("user.id", "U" * 300),
    ("channel.id", "<!channel>"),
    ("message.ts", {"$ne": 1}),
    ("message", None),
    ("type", "shortcut"),
    ("type", {"a": 1}),
]


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("spoilt", HOSTILE_PRESSES, ids=range(len(HOSTILE_PRESSES)))
async def test_a_hostile_press_is_dropped_with_one_line(
    slack: FakeSlack, recorder: Recorder, page: str, caplog: pytest.LogCaptureFixture, spoilt: tuple[str, object]
) -> None:
    caplog.set_level(logging.DEBUG)
    await slack.deliver(spoil(*spoilt)(slack.pressed(ANN, ROOM, page, ACKNOWLEDGE)))
    await slack.until(lambda: "dropped" in caplog.text, "a line")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("mcp_soar")]
    (dropped,) = [line for line in lines if "dropped" in line]
    assert len(dropped) < 200
    assert dropped.isprintable()
    # And the next one is heard.
    await slack.press(BOB, ROOM, page, ACKNOWLEDGE)
    await slack.until(lambda: recorder.calls, "the next press")
    assert recorder.calls == [("acknowledge", BOB, INCIDENT, "opened")]


HOSTILE_FORMS = [
    ("view.callback_id", "somebody_elses"),
    ("view.private_metadata", ""),
    ("view.private_metadata", f'{{"incident":"inc-1","digest":"{DIGEST[:-1]}"}}'),
    ("view.private_metadata", "{" * 2999),
    ("view.state", ...),
    ("view.state.values.code.code.value", None),
    ("view.state.values.code.code.value", ""),
    ("view.state.values.code.code.value", "9" * 41),
    ("view.state.values.code.code.value", {"code": CODE}),
    ("view.state.values", [CODE]),
    ("user.id", ""),
]


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("spoilt", HOSTILE_FORMS, ids=range(len(HOSTILE_FORMS)))
async def test_a_hostile_form_is_dropped_with_one_line_that_holds_no_code(
    slack: FakeSlack, recorder: Recorder, page: str, caplog: pytest.LogCaptureFixture, spoilt: tuple[str, object]
) -> None:
    caplog.set_level(logging.DEBUG)
    view = await the_form(slack, page)
    answer = await slack.deliver(spoil(*spoilt)(slack.submitted(view, code=CODE)))
    assert answer.payload == {}
    await slack.until(lambda: "dropped" in caplog.text, "a line")
    assert not recorder.of("answer")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("mcp_soar")]
    assert len([line for line in ours if "dropped" in line]) == 1
    assert CODE not in caplog.text
    await slack.submit(view, code=CODE)
    assert recorder.of("answer") == [("answer", ANN, INCIDENT, DIGEST, CODE)]


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize(
    "frame",
    [
        "no JSON",
        "[" * 200_000,
        "[]",
        "7",
        '"hello"',
        "{}",
        '{"type":"interactive","envelope_id":["x"],"payload":{}}',
        '{"type":"interactive","envelope_id":"","payload":{}}',
        '{"type":"interactive","envelope_id":"x","payload":"block_actions"}',
        '{"type":{"a":1},"envelope_id":"x","payload":{}}',
        '{"type":"hello","num_connections":"' + "x" * 1_000_001 + '"}',
    ],
    ids=range(11),
)
async def test_a_hostile_frame_is_dropped_with_one_line(
    slack: FakeSlack, recorder: Recorder, page: str, caplog: pytest.LogCaptureFixture, frame: str
) -> None:
    await slack.raw(frame)
    await slack.until(lambda: "dropped" in caplog.text, "a line")
    assert len(caplog.records) == 1
    assert len(caplog.text) < 300
    await slack.press(ANN, ROOM, page, ACKNOWLEDGE)
    await slack.until(lambda: recorder.calls, "the next press")
    assert slack.opened == 1


@pytest.mark.usefixtures("listener")
async def test_other_kinds_are_acknowledged_and_dropped(
    slack: FakeSlack, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("events_api", "slash_commands"):
        await slack.deliver({"type": "block_actions", "command": "/soar"}, kind=kind)
    assert caplog.text.count("dropped") == 2
    assert not recorder.calls


async def test_no_code_no_token_and_no_ticket_in_any_log_or_in_what_the_bot_sends(
    slack: FakeSlack, recorder: Recorder, page: str, caplog: pytest.LogCaptureFixture
) -> None:
    # As somebody would who looks for a fault: everything at its most talkative.
    caplog.set_level(logging.DEBUG)
    for name in ("slack_sdk", "aiohttp", "mcp_soar"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    async with listening(slack, recorder):
        await slack.connected()
        view = await the_form(slack, page)
        recorder.trouble = RuntimeError(f"trouble with {CODE}")
        await slack.submit(view, code=CODE)
        recorder.trouble = Refused("not that one")
        await slack.submit(view, code=CODE)
        slack.faults["views.update"] = [Fault.ERROR]
        recorder.go.clear()
        await slack.submit(view, code=CODE)
        recorder.go.set()
        await slack.until(lambda: "not shown" in caplog.text, "a line about the failed update")
        await slack.close_socket()
        await slack.until(lambda: slack.opened == 2 and len(slack.sockets) == 1, "another socket")
    assert len(recorder.of("answer")) == 3
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records if record.name != "asyncio")
    for secret in (CODE, CODE.replace("-", ""), BOT_TOKEN, APP_TOKEN, "ticket="):
        assert secret not in logged, secret
        assert not [body for body in slack.received if secret in body], secret
    for name in ("slack_sdk", "aiohttp", "mcp_soar"):
        logging.getLogger(name).setLevel(logging.NOTSET)
