"""One-time codes: whose, for what, how often, how long, and where they are never to be found.

Nothing here touches a gateway: what waits for an answer is written into a real journal, codes travel through a real
mail server, and what comes back is judged by the real intake.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from flows.engine.case import PREFIX
from flows.engine.opening import CUT
from flows.service.codes import hand_in, judged
from integrations.channels.slack.channel import SlackChannel
from integrations.channels.ways import Channels
from playbooks.errors import Misconfigured, Refused, Transient
from playbooks.gate.policy import Approval
from playbooks.people import code
from playbooks.people.code import ALPHABET, LENGTH, TRIES, CodeAnswer
from playbooks.people.contacts import Contact, Contacts, OnCall, Way
from playbooks.people.message import Channel
from playbooks.people.request import People, Verb
from playbooks.record.journal import Event
from playbooks.record.step import Progress, StepState
from playbooks.strict import iso, now
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import ROOMY, House, house
from tests.lab.mail import Post, post_office
from tests.lab.paging import NEW, paged, told
from tests.lab.slack import BOB, BOT_TOKEN, fake_slack

ID = world.ID
OTHER = "inc-2026-000002"
INVENTORY = world.READ
SECOND = {**NEW, "entities": [{"kind": "tool", "name": "add", "server": "weather"}]}
ANOTHER_PLAN = world.plan(summary="Take the tool forecast of weather away, and the tool add with it.")


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """An installation with ann (responder, approver), bob (approver) and eve (auditor), and one open incident."""
    async with house(tmp_path / "house", connected(INVENTORY)) as made:
        await made.ask("ann", Verb.RESPOND, "new", params=NEW)
        await made.take_in()
        yield made


async def waits(home: House, incident: str = ID, **more: Any) -> StepState:  # noqa: ANN401  # fields of `proposed`
    """Have a plan wait for an answer, and return its step."""
    await home.journal.append(PREFIX + incident, [world.proposed(**more)])
    return await step_of(home, incident, more.get("instance", world.INSTANCE))


async def step_of(home: House, incident: str = ID, instance: str = world.INSTANCE) -> StepState:
    return (await home.incident(incident)).steps[instance]


def digest_of(step: StepState) -> str:
    assert step.plan is not None
    return step.plan.digest


async def issued(
    home: House, who: str, answer: str, step: StepState, *, incident: str = ID, lasts: float = 900.0
) -> str:
    """Journal a code as the telling lane does, and return it."""
    made, salt = code.new(), bytes(range(16))
    body = {
        "digest": digest_of(step),
        "approver": who,
        "answer": answer,
        "salt": salt.hex(),
        "hash": code.hashed(made, salt),
        "expires_at": iso(now() + timedelta(seconds=lasts)),
    }
    await home.journal.append(PREFIX + incident, [Event("code_issued", body)])
    return made


async def answered(home: House, who: str, typed: str, step: StepState, *, incident: str = ID) -> str:
    """Hand a code in, have it judged, and return what it decided, or why it did not."""
    given = CodeAnswer(incident=incident, digest=digest_of(step)[7:19], actor=who, code=typed)
    receipt = await hand_in(home.journal, given, source="slack")
    await home.take_in()
    try:
        return await judged(home.journal, given, receipt, within=5.0)
    except Refused as exc:
        return str(exc)


async def kinds(home: House, kind: str, incident: str = ID) -> int:
    return len([e for e in await home.journal.read(PREFIX + incident) if e.parsed().kind == kind])


# What a code does


@pytest.mark.parametrize(
    ("answer", "comes_to"), [("approve", Progress.APPROVED), ("deny", Progress.DENIED)], ids=["approve", "deny"]
)
async def test_which_code_it_is_decides_and_it_does_so_once(home: House, answer: str, comes_to: Progress) -> None:
    step = await waits(home)
    codes = {one: await issued(home, "bob", one, step) for one in ("approve", "deny")}
    assert await answered(home, "bob", codes[answer], step) == answer
    assert (await step_of(home)).progress is comes_to
    assert "not waiting for a decision" in await answered(home, "bob", codes[answer], step)
    assert await kinds(home, "decided") == 1


async def test_an_answer_uses_up_both_codes_of_the_person(home: House) -> None:
    step = await waits(home, quorum=2)
    approve, deny = [await issued(home, "bob", one, step) for one in ("approve", "deny")]
    assert await answered(home, "bob", approve, step) == "approve"
    for typed in (approve, deny):
        assert "bob has no code for this plan" in await answered(home, "bob", typed, step)
    assert (await step_of(home)).progress is Progress.PROPOSED
    assert await kinds(home, "code_refused") == 0, "what was used is no guess"


@pytest.mark.parametrize(
    "typed",
    [
        lambda made: made,
        str.lower,
        lambda made: f" {made[:3]} {made[3:5]}-- {made[6:]}\t",
        lambda made: made.replace("0", "o").replace("1", "l"),
        lambda made: made.replace("-", "\u2011"),
        lambda made: "".join(chr(ord(c) + 0xFEE0) for c in made),
        lambda made: made.replace("-", "\u00a0"),
    ],
    ids=["as sent", "lower case", "spaces", "look-alikes", "another dash", "full width", "hard space"],
)
async def test_a_code_may_be_typed_as_people_type(home: House, typed: Any) -> None:  # noqa: ANN401  # a function
    step = await waits(home)
    made = await issued(home, "bob", "approve", step)
    assert await answered(home, "bob", typed(made), step) == "approve"


def test_a_code_cannot_be_guessed() -> None:
    assert len(ALPHABET) ** LENGTH >= 2**50
    made = {code.new() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(f"[{ALPHABET}]{{5}}-[{ALPHABET}]{{5}}", one) for one in made)


# What is no good


async def test_a_code_of_somebody_or_something_else_counts_for_nothing(home: House) -> None:
    step = await waits(home)
    await home.ask("ann", Verb.RESPOND, "new", params=SECOND)
    await home.take_in()
    same_plan_elsewhere = await waits(home, OTHER)
    other_plan = await waits(home, wanted=ANOTHER_PLAN, instance="cut-tool@weather/add")
    await issued(home, "bob", "approve", step)
    wrong = {
        "ann's": await issued(home, "ann", "approve", step),
        "of another plan": await issued(home, "bob", "approve", other_plan),
        "of another incident": await issued(home, "bob", "approve", same_plan_elsewhere, incident=OTHER),
    }
    for left, typed in zip(range(TRIES - 1, 0, -1), wrong.values(), strict=False):
        assert f"does not fit; {left} more tries" in await answered(home, "bob", typed, step)
    assert "eve has no code" in await answered(home, "eve", wrong["ann's"], step)
    assert (await step_of(home)).approved_by == ()
    # They are what they are, where they belong.
    assert await answered(home, "ann", wrong["ann's"], step) == "approve"


async def test_an_expired_code_counts_for_nothing(home: House) -> None:
    step = await waits(home)
    made = await issued(home, "bob", "approve", step, lasts=-1.0)
    assert "its time is over" in await answered(home, "bob", made, step)
    assert (await step_of(home)).approved_by == ()


async def test_a_code_after_the_time_to_decide_is_a_no(home: House) -> None:
    step = await waits(home, expires_at=iso(now() - timedelta(seconds=1)))
    made = await issued(home, "bob", "approve", step)
    assert "counted as no" in await answered(home, "bob", made, step)


async def test_a_code_for_a_plan_that_was_made_anew_says_which_one_waits(home: House) -> None:
    step = await waits(home)
    made = await issued(home, "bob", "approve", step)
    fresh = await waits(home, wanted=ANOTHER_PLAN)
    assert f"waiting: {digest_of(fresh)[7:19]}" in await answered(home, "bob", made, step)
    assert "has no code for this plan" in await answered(home, "bob", made, fresh)
    assert (await step_of(home)).approved_by == ()


async def test_after_five_guesses_no_code_of_that_person_counts_for_that_plan_and_people_hear_of_it(
    home: House,
) -> None:
    step = await waits(home, quorum=2)
    other_plan = await waits(home, wanted=ANOTHER_PLAN, instance="cut-tool@weather/add")
    right = await issued(home, "bob", "approve", step)
    for left in range(TRIES - 1, -1, -1):
        assert f"does not fit; {left} more tries" in await answered(home, "bob", code.new(), step)
    assert "sign with your key" in await answered(home, "bob", right, step)
    state = await home.incident(ID)
    (page,) = [page for page in state.pages.values() if page.kind == "guessed"]
    assert "in the name of bob" in page.text
    assert state.steps[world.INSTANCE].approved_by == ()
    # Nobody else is locked out, nor bob of anything else, nor of signing.
    assert await answered(home, "bob", await issued(home, "bob", "approve", other_plan), other_plan) == "approve"
    assert await answered(home, "ann", await issued(home, "ann", "approve", step), step) == "approve"
    await home.ask("bob", Verb.APPROVE, ID, digest=digest_of(step))
    await home.take_in()
    assert set((await step_of(home)).approved_by) == {"ann", "bob"}


async def test_the_same_plan_asked_about_anew_has_new_codes_and_new_tries(home: House) -> None:
    """Whoever burnt somebody's tries must not have locked them out for good."""
    step = await waits(home)
    await issued(home, "bob", "approve", step)
    for _ in range(TRIES):
        await answered(home, "bob", code.new(), step)
    lapsed = {"instance": step.instance, "digest": digest_of(step), "why": "nobody decided"}
    await home.journal.append(PREFIX + ID, [Event("lapsed", lapsed)])
    again = await waits(home)
    assert digest_of(again) == digest_of(step)
    assert await answered(home, "bob", await issued(home, "bob", "approve", again), again) == "approve"


async def test_a_hundred_guesses_at_once_are_five(home: House) -> None:
    step = await waits(home)
    right = await issued(home, "bob", "approve", step)
    for guess in [code.new() for _ in range(30)] + [right]:
        given = CodeAnswer(incident=ID, digest=digest_of(step), actor="bob", code=guess)
        await hand_in(home.journal, given, source="slack")
    await home.take_in()
    assert await kinds(home, "code_refused") == TRIES
    assert (await step_of(home)).approved_by == ()


async def test_whoever_asked_for_it_approves_it_by_no_code_either(home: House) -> None:
    step = await waits(home, requested_by="ann")
    approve, deny = [await issued(home, "ann", one, step) for one in ("approve", "deny")]
    assert "cannot approve it" in await answered(home, "ann", approve, step)
    assert (await step_of(home)).approved_by == ()
    assert await answered(home, "ann", deny, step) == "deny", "taking back what one asked for is anybody's right"


@pytest.mark.parametrize("answer", ["approve", "deny"])
@pytest.mark.parametrize("change", ["removed", "another role"])
async def test_a_code_of_somebody_who_is_no_approver_any_more(home: House, change: str, answer: str) -> None:
    step = await waits(home)
    made = await issued(home, "bob", answer, step)
    people = dict(home.parts.people().people)
    bob = people.pop("bob")
    if change == "another role":
        people["bob"] = bob.model_copy(update={"roles": ("auditor",)})
    said = await answered(home.changed(people=lambda: People(people=people)), "bob", made, step)
    assert "not enrolled any more" in said or "needs the role approver" in said
    assert (await step_of(home)).progress is Progress.PROPOSED
    assert await kinds(home, "decided") == 0


async def test_one_person_is_one_voice_however_they_answer(home: House) -> None:
    step = await waits(home, quorum=2)
    made = await issued(home, "bob", "approve", step)
    await home.ask("bob", Verb.APPROVE, ID, digest=digest_of(step))
    given = CodeAnswer(incident=ID, digest=digest_of(step), actor="bob", code=made)
    for _ in range(3):
        await hand_in(home.journal, given, source="slack")
    await home.take_in()
    after = await step_of(home)
    assert (after.approved_by, after.progress) == (("bob",), Progress.PROPOSED)
    # A code that was sent once more changes nothing about that.
    again = await issued(home, "bob", "approve", step)
    assert "you approved this plan already" in await answered(home, "bob", again, step)
    assert await answered(home, "ann", await issued(home, "ann", "approve", step), step) == "approve"
    assert (await step_of(home)).progress is Progress.APPROVED


async def test_where_the_policy_takes_no_codes_none_is_sent_and_none_counts(tmp_path: Path, home: House) -> None:
    strict = ROOMY.model_copy(update={"approval": Approval(codes=False)})
    async with reached(home.changed(policy=strict), tmp_path) as (signing, post):
        step = await waits(signing)
        await paged(signing)
        await told(signing)
        assert post.taken != []
        assert codes_in(post.taken) == []
        made = await issued(signing, "bob", "approve", step)
        assert "takes no one-time codes" in await answered(signing, "bob", made, step)


async def test_what_is_no_answer_and_what_is_about_nothing_is_said(home: House) -> None:
    step = await waits(home)
    assert "not waiting for a decision in inc-1999-000001" in await answered(
        home, "bob", code.new(), step, incident="inc-1999-000001"
    )
    for body in (b"", b"\xff\x00", b"{}", b'{"incident": "../x", "digest": "0", "actor": "b", "code": ""}'):
        await home.journal.put(kind="code", source="slack", nonce=repr(body), body=body, headers={})
    await home.take_in()
    reasons = [str(entry.body["reason"]) for entry in await home.system("set_aside")]
    assert reasons.count("refused: it is no answer with a one-time code") == 4
    await home.ask("ann", Verb.CLOSE, ID)
    await home.take_in()
    made = await issued(home, "bob", "approve", step)
    assert "not open" in await answered(home, "bob", made, step)


async def test_a_fault_of_ours_quotes_no_code(
    home: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    step = await waits(home)
    made = await issued(home, "bob", "approve", step)
    monkeypatch.setattr(code, "hashed", lambda typed, _salt: int(typed))
    with caplog.at_level(logging.DEBUG):
        assert await answered(home, "bob", made, step) == "a fault of ours: ValueError"
    assert made not in caplog.text
    entries = [*await home.journal.read(PREFIX + ID), *await home.journal.read("system")]
    assert not any(made.encode() in entry.data for entry in entries)


async def test_a_code_waits_while_nobody_can_say_who_is_enrolled(home: House) -> None:
    def unreadable() -> People:
        raise Misconfigured("line 3: not a role", file="people.yaml")

    step = await waits(home)
    given = CodeAnswer(
        incident=ID, digest=digest_of(step), actor="bob", code=await issued(home, "bob", "approve", step)
    )
    receipt = await hand_in(home.journal, given, source="slack")
    await home.changed(people=unreadable).take_in()
    with pytest.raises(Transient):
        await judged(home.journal, given, receipt, within=0.1)
    await home.take_in()
    assert await judged(home.journal, given, receipt, within=5.0) == "approve"


# Too fast, and twice at once


async def test_an_answer_in_the_very_moment_of_the_question_is_taken(home: House) -> None:
    """The responder that asked still has its claim; its own lookout for what to do next comes after the answer."""
    await home.journal.submit(lambda tx: tx.make_runnable(PREFIX + ID, lane=CUT))
    (claim,) = await home.journal.claim("responder-1", lane=CUT, limit=1, seconds=60.0)
    await home.journal.append(PREFIX + ID, [world.proposed()], claim=claim)
    step = await step_of(home)
    made = await issued(home, "bob", "approve", step)
    assert await answered(home, "bob", made, step) == "approve"
    assert await home.journal.claim("responder-2", lane=CUT, limit=1, seconds=60.0) == [], "it is not torn from anybody"
    # It believes that nothing happened, and wants to sleep until the question expires.
    expires = step.expires_at
    assert expires is not None
    await home.journal.release(claim, runnable_at=expires)
    (again,) = await home.journal.claim("responder-2", lane=CUT, limit=1, seconds=60.0)
    assert again.stream == PREFIX + ID, "and yet it runs at once"


async def test_two_responders_and_twenty_answers_at_once_make_one_decision(
    journal_url: str | None, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(house(tmp_path / "house", connected(INVENTORY), url=journal_url, name=name))
            for name in ("responder-1", "responder-2")
        ]
        two = two.changed(people=one.parts.people)
        await one.ask("ann", Verb.RESPOND, "new", params=NEW)
        await one.take_in()
        step = await waits(one, quorum=2)
        made = await issued(one, "bob", "approve", step)
        given = CodeAnswer(incident=ID, digest=digest_of(step), actor="bob", code=made)
        for _ in range(10):
            await hand_in(two.journal, given, source="slack")
            await one.ask("bob", Verb.APPROVE, ID, digest=digest_of(step))
        await asyncio.gather(*(home.take_in() for home in (one, two) for _ in range(3)))
        assert await one.journal.waiting(50) == []
        after = await step_of(one)
        assert (after.approved_by, after.progress) == (("bob",), Progress.PROPOSED)
        assert await kinds(one, "decided") == 1
        assert await kinds(one, "code_refused") == 0
        # What did not count was answered, each by a reason of its own.
        refused = [str(entry.body["reason"]) for entry in await one.system("set_aside")]
        assert len(refused) == 19
        assert all("approved this plan already" in why or "has no code" in why for why in refused)


# How they get to people


class _Reached:
    """An installation whose approvers are reached by a real mail server; bob has Slack too if there is one."""

    def __init__(self, home: House, folder: Path, slack: SlackChannel | None = None) -> None:
        self._home, self._folder, self._slack, self._stack = home, folder, slack, AsyncExitStack()

    async def __aenter__(self) -> tuple[House, Post]:
        post = await self._stack.enter_async_context(post_office())
        config: dict[str, Any] = {
            "channels": {
                "slack": {"bot_token": {"env": "X"}},
                "email": {"host": "127.0.0.1", "port": post.port, "security": "none", "sender": "soar@example.com"},
            },
            "contacts": {
                "ann": {"file": str(self._folder / "to-ann")},
                "bob": {"email": "bob@example.com", **({"slack": BOB} if self._slack else {})},
            },
        }
        contacts = Contacts.model_validate(config)
        contacts = contacts.model_copy(update={"on_call": (OnCall(contact="bob", wait=300.0),)})
        made = Channels(contacts)
        self._stack.push_async_callback(made.aclose)

        def channels(contact: Contact, way: Way) -> Channel:
            return self._slack if way is Way.SLACK and self._slack else made(contact, way)

        return self._home.changed(contacts=contacts, channels=channels), post

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()


def reached(home: House, folder: Path, slack: SlackChannel | None = None) -> _Reached:
    return _Reached(home, folder, slack)


_CODE = re.compile(rf"\b[{ALPHABET}]{{5}}-[{ALPHABET}]{{5}}\b")


def words(message: EmailMessage) -> str:
    """Return what a message says, in each of its forms."""
    parts = [part for part in message.walk() if part.get_content_maintype() == "text"]
    return "\n".join([str(message["Subject"]), *(str(part.get_content()) for part in parts)])


def codes_in(messages: list[EmailMessage]) -> list[str]:
    """Return the codes in messages, each once, in order."""
    return list(dict.fromkeys(found for message in messages for found in _CODE.findall(words(message))))


async def test_codes_are_sent_to_each_approver_alone_and_work(home: House, tmp_path: Path) -> None:
    async with reached(home, tmp_path) as (there, post):
        step = await waits(there, requested_by="eve", quorum=2)
        await paged(there)
        await told(there)
        assert {address for to in post.recipients for address in to} == {"bob@example.com"}
        bobs = codes_in(post.taken)
        (file,) = (path for path in (tmp_path / "to-ann").iterdir() if _CODE.search(path.read_text()))
        anns = list(dict.fromkeys(_CODE.findall(file.read_text())))
        assert (len(bobs), len(anns)) == (2, 2)
        line = f"mcp-soar answer {ID} --digest {digest_of(step)[7:19]} --as ann"
        assert file.read_text().count(line) == 1, "it can be copied"
        assert file.stat().st_mode & 0o777 == 0o600
        assert not {*bobs} & {*anns}, "each has their own"
        assert "does not fit" in await answered(there, "ann", bobs[0], step)
        assert {await answered(there, "ann", one, step) for one in anns[:1]} == {"approve"}
        assert await answered(there, "bob", bobs[0], step) == "approve"
        assert (await step_of(there)).progress is Progress.APPROVED
        # Told is told.
        sent = len(post.taken)
        await paged(there)
        await told(there)
        assert len(post.taken) == sent


async def test_the_requester_is_sent_no_code(home: House, tmp_path: Path) -> None:
    async with reached(home, tmp_path) as (there, post):
        await waits(there, requested_by="bob")
        await paged(there)
        await told(there)
        assert post.taken != [], "bob is on call and hears of it"
        assert codes_in(post.taken) == []
        assert {key[1] for key in (await there.incident(ID)).codes} == {"ann"}


@pytest.mark.parametrize(("folder", "codes"), [("to-bob", 2), ("both/", 0)], ids=["of his own", "ann reads it too"])
async def test_what_two_approvers_read_brings_no_codes(home: House, tmp_path: Path, folder: str, codes: int) -> None:
    """Ann asked for it: with bob's code in hand she would approve it herself."""
    ways = {"ann": Contact(file=str(tmp_path / "both")), "bob": Contact(file=f"{tmp_path}/{folder}")}
    contacts = Contacts(contacts=ways)
    there = home.changed(contacts=contacts, channels=Channels(contacts))
    await waits(there, requested_by="ann")
    await paged(there)
    await told(there)
    assert await kinds(there, "code_issued") == codes
    (letter,) = (tmp_path / folder).iterdir()
    assert "Your decision is needed" in letter.read_text(), "he is asked all the same"
    assert len(_CODE.findall(letter.read_text())) == codes


async def test_codes_are_never_sent_by_slack_not_even_when_nothing_else_works(home: House, tmp_path: Path) -> None:
    async with fake_slack() as workspace:
        channel = SlackChannel(BOT_TOKEN, workspace.url)
        async with reached(home, tmp_path, channel) as (there, post):
            post.data = "451 try again later"
            await waits(there, requested_by="ann")
            await paged(there)
            await told(there)
            assert workspace.direct(BOB).messages != [], "bob hears of it"
            said = repr([workspace.conversations, workspace.said("chat.postMessage"), workspace.said("chat.update")])
            assert not _CODE.search(said)
            state = await there.incident(ID)
            assert any(told.purpose == "code" and not told.delivered for told in state.told)
            assert all(told.channel != "slack" for told in state.told if told.purpose == "code")
        await channel.aclose()


async def test_a_code_stands_nowhere_but_in_its_message(
    home: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the journal, in a log, in a reason, nor in what is kept of the inbox; whatever the mail server says."""
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    async def quoting(_server: object, _session: object, envelope: Any) -> str:  # noqa: ANN401  # aiosmtpd's
        found = _CODE.findall(envelope.content.decode())
        seen.extend(found)
        return f"550 no such words here: {' '.join(found)}"

    async with reached(home, tmp_path) as (there, post):
        step = await waits(there, requested_by="ann")
        post.handle_DATA = quoting  # type: ignore[method-assign, assignment]
        await paged(there)
        await told(there)
        state = await there.incident(ID)
        refused = [told.detail for told in state.told if told.purpose == "code"]
        assert any("no such words here: [redacted: code]" in why for why in refused)
        bobs = await issued(there, "bob", "approve", step)
        anns = await issued(there, "ann", "approve", step)
        # Wrong, of another person, misdirected, malformed, and right.
        await answered(there, "bob", anns, step)
        await answered(there, "eve", bobs, step)
        await answered(there, "bob", bobs, step, incident=OTHER)
        await there.journal.put(
            kind="code", source="prefect", nonce="x" * 24, body=f'{{"code": "{bobs}"}}'.encode(), headers={}
        )
        await there.take_in()
        assert await answered(there, "bob", bobs, step) == "approve"
    assert seen != []
    codes = [*seen, anns, bobs]
    kept = "".join([repr(await home.journal.read(stream)) for stream in (PREFIX + ID, PREFIX + OTHER, "system")])
    # At its most talkative; the mail server of this test, which is none of ours, writes down what it hears.
    logged = "".join(item.getMessage() for item in caplog.records if item.name.startswith("mcp_soar"))
    logged += "".join(repr(item) for item in caplog.records if item.levelno >= logging.INFO and item.name != "mail.log")
    engine = create_engine(f"sqlite:///{home.folder}/journal.db")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM inbox")).fetchall()
    engine.dispose()
    assert len(rows) >= 6
    for one in (*codes, *(made.replace("-", "") for made in codes)):
        assert one not in kept
        assert one not in logged
        assert one not in repr(rows)


async def test_what_is_asked_a_second_time_is_told_a_second_time_with_new_codes(home: House, tmp_path: Path) -> None:
    async with reached(home, tmp_path) as (there, post):
        step = await waits(there, requested_by="ann")
        await paged(there)
        await told(there)
        old = codes_in(post.taken)
        body = {"instance": world.INSTANCE, "digest": digest_of(step), "why": "not in time"}
        await there.journal.append(PREFIX + ID, [Event("lapsed", body)])
        await paged(there)
        await told(there)
        post.taken.clear()
        again = await waits(there, requested_by="ann")
        assert digest_of(again) == digest_of(step), "the very same plan"
        await paged(there)
        await told(there)
        new = codes_in(post.taken)
        assert len(new) == 2
        assert len(post.taken) == 1, "and the first page wakes nobody any more"
        assert "does not fit" in await answered(there, "bob", old[0], again)
        # The same question again, for the sake of some news, is no new one.
        await waits(there, requested_by="ann", expires_at=iso(again.expires_at or datetime.now(UTC)))
        post.taken.clear()
        await paged(there)
        await told(there)
        assert post.taken == []
        assert await answered(there, "bob", new[0], again) == "approve"
        # Undone, and asked about for the third time.
        await waits(there, requested_by="ann")
        await paged(there)
        await told(there)
        assert len(codes_in(post.taken)) == 2
        state = await there.incident(ID)
        assert len([page for page in state.pages.values() if page.kind == "awaiting_approval"]) == 3


async def test_of_two_questions_the_requester_of_one_is_sent_codes_for_the_other(home: House, tmp_path: Path) -> None:
    async with reached(home, tmp_path) as (there, post):
        await waits(there, requested_by="bob")
        other = await waits(there, wanted=ANOTHER_PLAN, instance="cut-tool@weather/add")
        await paged(there)
        await told(there)
        bobs = {digest for digest, who, _ in (await there.incident(ID)).codes if who == "bob"}
        assert bobs == {digest_of(other)}
        approve = codes_in(post.taken)[0]
        assert await answered(there, "bob", approve, other) == "approve"
