"""Pages go out whatever happens: by the next way when one is down, and down the list of those on call.

Nothing here touches a gateway: what is told of is written into a real journal, and told by the real lane.
"""

import asyncio
import json
import logging
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.engine.case import PREFIX
from flows.engine.opening import TELL
from flows.engine.people import telling
from flows.engine.people.telling import page, queue, tell
from flows.service.desk import Desk
from integrations.channels.file.channel import FileChannel
from integrations.channels.log.notifier import LogChannel
from integrations.channels.slack.channel import SlackChannel
from integrations.channels.slack.desk import run as listen
from integrations.journal.store import LostClaim, Tx
from playbooks.errors import Misconfigured, Refused, SoarError, Transient
from playbooks.people.contacts import Contact, Contacts, Language, OnCall, Way
from playbooks.people.message import Channel, Message, Sent
from playbooks.people.request import Verb
from playbooks.record.journal import ITSELF, Event, stream_of
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.strict import parse_yaml
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import House, house
from tests.lab.paging import NEW, paged, queued, told
from tests.lab.slack import ANN, APP_TOKEN, BOB, BOT_TOKEN, ROOM, Acknowledged, FakeSlack, Fault, fake_slack
from tests.lab.teller_process import dies, with_room

ID = world.ID
INVENTORY = world.READ


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with fake_slack() as workspace:
        yield workspace


@pytest.fixture
async def home(tmp_path: Path, slack: FakeSlack) -> AsyncIterator[House]:
    """An installation with one open incident that asks for a decision; ann asked for it, bob may approve."""
    channel = SlackChannel(BOT_TOKEN, slack.url)

    def channels(contact: Contact, way: Way) -> Channel:
        if way is Way.SLACK and contact.slack:
            return channel
        if way is Way.LOG:
            return LogChannel()
        raise Misconfigured(f"nothing sends by {way}")

    contacts = Contacts(
        channels=parse_yaml(Contacts, CHANNELS, file="contacts.yaml").channels,
        contacts={"soc": Contact(slack=ROOM), "ann": Contact(slack=ANN), "bob": Contact(slack=BOB)},
        on_call=(OnCall(contact="ann", wait=300.0), OnCall(contact="bob", wait=300.0)),
        room="soc",
    )
    async with house(tmp_path / "house", connected(INVENTORY)) as made:
        home = made.changed(contacts=contacts, channels=channels)
        await home.ask("ann", Verb.RESPOND, "new", params=NEW)
        await home.take_in()
        await home.journal.append(PREFIX + ID, [world.proposed(requested_by="ann")])
        yield home
    await channel.aclose()


CHANNELS = """\
version: 1
channels:
  slack: {bot_token: {env: X}, app_token: {env: Y}}
"""


async def of_system(home: House) -> Incident:
    return project(ITSELF, await home.journal.read(stream_of(ITSELF)))


async def test_the_room_has_one_thread_and_whoever_is_on_call_is_written_to(home: House, slack: FakeSlack) -> None:
    ids = await paged(home)
    assert [name.partition(":")[0] for name in ids] == ["opened", "awaiting_approval"]
    assert await told(home) is not None, "bob is next"
    state = await home.incident(ID)
    assert state.untold == {}
    first, second = slack.messages()
    assert second.thread == first.ts, "one thread for each incident"
    assert len(slack.direct(ANN).messages) == 1
    assert [f"D{BOB[1:]}" in slack.conversations] == [True], "bob may answer, so he hears of it at once"
    said = len(slack.said("chat.postMessage"))
    await home.journal.submit(lambda tx: queue(tx, ID))
    await told(home)
    assert len(slack.said("chat.postMessage")) == said, "told is told"
    assert first.edits == 0
    another = world.plan(summary="Take the tool add away.")
    asks = world.proposed(another, instance="cut-tool@weather/add", requested_by="ann")
    await home.journal.append(PREFIX + ID, [asks])
    await paged(home)
    await told(home)
    assert len(slack.messages()) == 3
    assert first.edits == 1, "who opens the thread sees how it stands now"
    assert "Take the tool add away" in first.shown
    assert second.edits == 0


async def test_whoever_asked_for_it_is_told_that_somebody_else_decides_also_once_it_is_brought_up_to_date(
    home: House, slack: FakeSlack
) -> None:
    (_, asking) = await paged(home)
    await told(home)
    (anns,), (bobs,) = slack.direct(ANN).messages, slack.direct(BOB).messages
    for mine in (bobs, slack.messages()[1]):
        assert "Your decision is needed" in mine.shown
    assert "Somebody else's decision is needed" in anns.shown
    assert "Your decision is needed" not in anns.shown
    await Desk(lambda: home.parts).acknowledge(ANN, ID, asking)
    await told(home)
    assert anns.edits == 1
    assert "Your decision is needed" not in anns.shown


async def test_whoever_does_not_answer_is_written_to_again_each_round(home: House, slack: FakeSlack) -> None:
    impatient = {"on_call": (OnCall(contact="ann", wait=0.01),), "repeat": 3}
    home = home.changed(contacts=home.parts.contacts.model_copy(update=impatient))
    await paged(home)
    await told(home)
    rounds = [item.purpose for item in (await home.incident(ID)).told if item.purpose.startswith("on_call:")]
    async with asyncio.timeout(60):
        while "on_call:2:0" not in rounds:
            await home.journal.submit(lambda tx: queue(tx, ID))
            await told(home)
            rounds = [item.purpose for item in (await home.incident(ID)).told if item.purpose.startswith("on_call:")]
    assert len(slack.direct(ANN).messages) == len(rounds)


async def test_what_is_pressed_in_slack_takes_a_page_up_and_decides_nothing(home: House) -> None:
    (_, asking) = await paged(home)
    await told(home)
    desk = Desk(lambda: home.parts)
    with pytest.raises(Refused, match="Slack id"):
        await desk.acknowledge("U0EVE", ID, asking)
    with pytest.raises(Refused, match="no such page"):
        await desk.acknowledge(ANN, ID, "something else")
    assert "ann" in await desk.acknowledge(ANN, ID, asking)
    assert "before" in await desk.acknowledge(BOB, ID, asking)
    state = await home.incident(ID)
    assert state.acknowledged[asking] == "ann"
    assert [step.approved_by for step in state.proposals] == [()]
    assert await told(home) is None, "nobody else is woken"


async def test_a_message_offers_what_can_be_pressed_now(home: House, slack: FakeSlack) -> None:
    (_, asking) = await paged(home)
    await told(home)
    opened, question = slack.messages()
    (private,) = slack.direct(ANN).messages
    assert list(question.buttons) == list(private.buttons) == ["mcp_soar.acknowledge", "mcp_soar.answer"]
    assert "Waits for a decision" in opened.shown
    await Desk(lambda: home.parts).acknowledge(ANN, ID, asking)
    await told(home)
    assert list(question.buttons) == list(private.buttons) == ["mcp_soar.answer"]
    assert "Your decision is needed" in question.shown
    (step,) = (await home.incident(ID)).proposals
    assert step.plan is not None
    await home.ask("bob", Verb.DENY, ID, digest=step.plan.digest)
    await home.take_in()
    await told(home)
    assert question.buttons == private.buttons == {}
    assert "No decision is needed any more" in question.shown
    assert "Waits for a decision" not in opened.shown
    updates = len(slack.said("chat.update"))
    await home.journal.submit(lambda tx: queue(tx, ID))
    await told(home)
    assert len(slack.said("chat.update")) == updates, "up to date is up to date"


async def test_what_slack_did_not_bring_up_to_date_is_when_there_is_something_to_tell(
    home: House, slack: FakeSlack
) -> None:
    (_, asking) = await paged(home)
    await told(home)
    slack.faults["chat.update"] = [Fault.ERROR] * 4
    await Desk(lambda: home.parts).acknowledge(ANN, ID, asking)
    await told(home)
    question = slack.messages()[1]
    assert "mcp_soar.acknowledge" in question.buttons
    slack.faults.clear()
    await home.journal.submit(lambda tx: queue(tx, ID))
    await told(home)
    assert "mcp_soar.acknowledge" not in question.buttons


async def test_what_is_asked_a_second_time_is_told_and_can_be_taken_up(home: House, slack: FakeSlack) -> None:
    await paged(home)
    await told(home)
    (step,) = (await home.incident(ID)).proposals
    assert step.plan is not None
    body = {"instance": step.instance, "digest": step.plan.digest, "why": "nobody decided"}
    await home.journal.append(PREFIX + ID, [Event("lapsed", body), world.proposed(requested_by="ann")])
    (again,) = await paged(home)
    await told(home)
    assert (await home.incident(ID)).untold == {}
    button = slack.messages()[-1].buttons["mcp_soar.acknowledge"]
    assert json.loads(button["value"])["page"] == again
    await Desk(lambda: home.parts).acknowledge(ANN, ID, again)
    assert (await home.incident(ID)).acknowledged[again] == "ann"


@pytest.mark.parametrize(
    ("language", "says"),
    [
        (
            Language.EN,
            (
                "Why you are asked: no alert of it came from an authenticated source",
                "What it breaks: Nobody can use forecast",
                "How it is undone: by a release, which sets tool forecast of weather: enabled false → true",
            ),
        ),
        (
            Language.KO,
            (
                "승인이 필요한 이유: 인증된 출처에서 온 경보가 없음",
                "영향: Nobody can use forecast",
                "되돌리는 방법: 차단을 해제하면 다음과 같이 복원됩니다",
                "weather의 도구 forecast의 enabled 값 false → true",
            ),
        ),
    ],
)
async def test_the_form_says_what_would_be_done_why_what_it_breaks_and_how_it_is_undone(
    home: House, slack: FakeSlack, language: Language, says: tuple[str, ...]
) -> None:
    contacts = {**home.parts.contacts.contacts, "soc": Contact(slack=ROOM, language=language)}
    home = home.changed(contacts=home.parts.contacts.model_copy(update={"contacts": contacts}))
    await paged(home)
    await told(home)
    stop = asyncio.Event()
    listening = asyncio.create_task(listen(APP_TOKEN, BOT_TOKEN, slack.url, Desk(lambda: home.parts), stop))
    try:
        await slack.connected()
        message = next(one for one in slack.messages() if "mcp_soar.answer" in one.buttons)
        await slack.press(BOB, ROOM, message.ts, "mcp_soar.answer")
        await slack.until(lambda: any(view.inputs for view in slack.views.values()), "a form")
    finally:
        stop.set()
        await listening
    (view,) = slack.views.values()
    (step,) = (await home.incident(ID)).proposals
    assert step.plan is not None
    for said in (step.plan.summary.rstrip("."), *says):
        assert said in view.shown


async def test_what_is_pressed_arrives_by_the_socket_and_a_wrong_code_decides_nothing(
    home: House, slack: FakeSlack
) -> None:
    (_, asking) = await paged(home)
    await told(home)
    stop = asyncio.Event()
    listening = asyncio.create_task(listen(APP_TOKEN, BOT_TOKEN, slack.url, Desk(lambda: home.parts), stop))
    try:
        await slack.connected()
        message = next(one for one in slack.messages() if "mcp_soar.answer" in one.buttons)
        await slack.press(ANN, ROOM, message.ts, "mcp_soar.acknowledge")
        await slack.until(lambda: slack.conversations[ROOM].whispers, "who has it")
        assert "ann has" in slack.conversations[ROOM].whispers[0][1]
        assert asking in (await home.incident(ID)).acknowledged
        await slack.press(BOB, ROOM, message.ts, "mcp_soar.answer")
        await slack.until(lambda: slack.views, "a form")
        (view,) = slack.views.values()
        (step,) = (await home.incident(ID)).proposals
        assert step.plan is not None
        assert step.plan.summary.rstrip(".") in view.shown
        shown = len(slack.said("views.update"))
        submitting = asyncio.create_task(slack.submit(view, code="0000000000"))
        async with asyncio.timeout(60):
            while not (
                submitting.done() and (len(slack.said("views.update")) > shown or "errors" in answered(submitting))
            ):
                await home.take_in()
                await asyncio.sleep(0.05)
        assert view.inputs, "the field is there for another try"
        assert [one.approved_by for one in (await home.incident(ID)).proposals] == [()]
    finally:
        stop.set()
        await listening


def answered(submitting: "asyncio.Task[Acknowledged]") -> dict[str, Any]:
    return submitting.result().payload


async def test_slack_is_down_then_it_is_on_record_and_tried_again(home: House, slack: FakeSlack) -> None:
    await slack.down()
    await paged(home)
    again = await told(home)
    assert again is not None
    state = await home.incident(ID)
    assert len(state.untold) == 2, "every answer shows it"
    assert {who for _, who in state.undelivered} == {"soc", "ann", "bob"}, "bob too: nobody waits for who has no way"
    await slack.up()
    before = len(state.told)
    await home.journal.submit(lambda tx: queue(tx, ID))
    # Not before its time: somebody who cannot be reached is not hammered at.
    await told(home)
    assert len((await home.incident(ID)).told) == before


async def test_a_channel_that_was_deleted_is_named_and_keeps_nobody_else_from_being_told(
    home: House, slack: FakeSlack
) -> None:
    slack.delete_channel(ROOM)
    await paged(home)
    await told(home)
    state = await home.incident(ID)
    assert list(state.untold) == ["opened"], "it is for the room alone; what is urgent ann has"
    assert {who for _, who in state.undelivered} == {"soc"}
    assert all(ROOM in why for why in state.undelivered.values())


async def test_a_decision_ends_the_search_for_somebody_who_decides(home: House) -> None:
    await paged(home)
    assert await told(home) is not None
    step = (await home.incident(ID)).proposals[0]
    assert step.plan is not None
    await home.ask("bob", Verb.DENY, ID, digest=step.plan.digest)
    await home.take_in()
    assert await told(home) is None


async def test_acknowledging_is_signed_and_kept(home: House) -> None:
    ids = await paged(home)
    await told(home)
    await home.ask("eve", Verb.ACK, ID)
    await home.take_in()
    assert (await home.incident(ID)).acknowledged == dict.fromkeys(ids, "eve")
    assert await told(home) is None


async def test_a_stop_is_told_to_the_room(home: House, slack: FakeSlack) -> None:
    await home.ask("ann", Verb.STOP, "everything", reason="maintenance of the gateway")
    await home.take_in()
    await told(home)
    assert any("maintenance of the gateway" in message.text for message in slack.messages())
    assert (await of_system(home)).untold == {}


@pytest.mark.parametrize(("scope", "said"), [("server:weather", True), ("everything", True), ("server:sky", False)])
async def test_every_message_of_an_incident_says_what_is_stopped_for_it(
    home: House, slack: FakeSlack, scope: str, *, said: bool
) -> None:
    await home.journal.submit(lambda tx: tx.stop(scope, "wrong server", "ann"))
    await paged(home)
    await told(home)
    shown = [message.shown for message in slack.conversations[ROOM].messages]
    assert len(shown) == 2
    assert all((f"STOPPED: {scope}, by ann since" in text) is said for text in shown)


async def test_the_log_says_it_all_in_one_line_and_what_is_stopped_first(
    home: House, caplog: pytest.LogCaptureFixture
) -> None:
    home = home.changed(contacts=Contacts())
    await home.ask("ann", Verb.STOP, "server:weather", reason="wrong server")
    await home.take_in()
    await paged(home)
    with caplog.at_level(logging.WARNING, "mcp_soar.pages"):
        await told(home)
    lines = [record.getMessage() for record in caplog.records if record.name == "mcp_soar.pages"]
    (opened,) = [line for line in lines if line.startswith(f"{ID} [opened] ")]
    assert opened.startswith(f"{ID} [opened] STOPPED server:weather by ann: wrong server. {ID} tool_poisoning")
    assert re.search(r"\(journal head \d+:[0-9a-f]{16}\)$", opened)
    (of_itself,) = [line for line in lines if line.startswith(f"{ITSELF} [stopped:server:weather:")]
    assert "STOPPED server:weather" in of_itself
    assert (await home.incident(ID)).untold == {}


async def test_what_is_frozen_is_not_written_to_and_the_freeze_itself_is_told(home: House, slack: FakeSlack) -> None:
    await paged(home)

    async def freeze(tx: Tx) -> None:
        await tx.freeze(PREFIX + ID, "its bytes were changed")
        body = {"id": "fault:frozen", "notice": "fault:frozen", "text": f"{ID} is FROZEN"}
        await page(tx, ITSELF, Event("page", body))

    await home.journal.submit(freeze)
    await told(home)
    assert [message.text for message in slack.messages() if "FROZEN" in message.text] != []


async def test_an_incident_that_was_changed_and_is_found_by_what_arrives_wakes_somebody(
    home: House, slack: FakeSlack
) -> None:
    with sqlite3.connect(home.folder / "journal.db") as raw:
        raw.execute("UPDATE entry SET data = data || ' ' WHERE stream = ? AND seq = 1", (PREFIX + ID,))
    raw.close()
    await home.ask("ann", Verb.ACK, ID)
    await home.ask("bob", Verb.ACK, ID)
    await home.take_in()
    row = await home.journal.stream(PREFIX + ID)
    assert row is not None
    assert row.frozen
    assert len(await home.system("frozen")) == 1
    await told(home)
    assert [message.text for message in slack.messages() if "FROZEN" in message.text] != []


@dataclass
class Odd:
    """A channel whose server answers with what no journal can hold."""

    answer: Sent | SoarError
    sent: int = 0
    way: Way = Way.FILE

    async def send(self, _to: Contact, _message: Message, *, thread: str = "", update: str = "") -> Sent:
        del thread, update
        self.sent += 1
        if isinstance(self.answer, SoarError):
            raise self.answer
        return self.answer

    async def aclose(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    "answer",
    [Sent("there", "\ud800"), Sent("\udc80", "1"), Sent("x", "1" * 1_000_000), Transient("no: \ud800")],
    ids=["reference", "place", "long", "refusal"],
)
async def test_an_answer_that_no_journal_can_hold_is_kept_as_far_as_it_goes(
    home: House, answer: Sent | SoarError
) -> None:
    odd = Odd(answer)
    odd_home = home.changed(channels=lambda _contact, _way: odd)
    await paged(odd_home)
    await told(odd_home)
    first = odd.sent
    await told(odd_home)
    assert odd.sent == first, "what was told, or could not be, is on record, and is not told at once again"
    found = (await home.incident(ID)).told
    assert len(found) == first
    assert all(len(item.reference) <= telling.REFERENCE for item in found)


async def test_a_lost_claim_records_nothing(home: House, slack: FakeSlack) -> None:
    await paged(home)
    (claim,) = await home.journal.claim("another", lane=TELL, limit=8, seconds=30.0)
    stale = claim._replace(fence=claim.fence - 1)
    with pytest.raises(LostClaim):
        await tell(home.parts, stale)
    assert (await home.incident(ID)).told == []
    await tell(home.parts, claim)
    posts = [tuple(sorted(item.items(), key=str)) for item in slack.said("chat.postMessage")]
    assert len({dict(item)["client_msg_id"] for item in posts}) == len(slack.messages()) + 2


@pytest.mark.parametrize(("moment", "messages"), [("before", 1), ("after", 2)])
async def test_whoever_tells_and_is_killed_is_succeeded(home: House, moment: str, messages: int) -> None:
    """Nothing is lost; what was sent and not yet written down is sent once more."""
    await queued(home, Event("page", {"id": "opened", "notice": "opened", "text": "it is open"}))
    assert await dies(home.folder, moment) == -signal.SIGKILL
    assert (await home.incident(ID)).told == []
    successor = with_room(home, FileChannel())
    async with asyncio.timeout(60):
        while (await home.incident(ID)).untold:
            await told(successor)
    assert len(list((home.folder / "told").glob("*.txt"))) == messages
    assert [item.delivered for item in (await home.incident(ID)).told] == [True]
