"""A voice that is lent: it counts once, for whoever has it, for its time, and only with its owner's signature."""

import base64
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.engine.case import PREFIX
from flows.engine.people.approvals import LONGEST, counting
from flows.service.codes import hand_in, judged
from integrations.channels.ways import Channels
from integrations.signing import SigningKey
from playbooks.errors import Refused
from playbooks.people import code
from playbooks.people.code import CodeAnswer
from playbooks.people.contacts import Contact, Contacts
from playbooks.people.request import People, Person, SignedRequest, Verb, draft, sign
from playbooks.record.journal import SYSTEM, Event
from playbooks.record.step import Progress, StepState
from playbooks.strict import iso, now
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import House, house
from tests.lab.paging import NEW, queued, told

ID = world.ID
INVENTORY = world.READ
HOUR = timedelta(hours=1)
NO_VOICE = "approve needs the role approver; eve has auditor"


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """An installation with ann (responder, approver), bob (approver), eve and fay (auditors), and one incident."""
    async with house(tmp_path / "house", connected(INVENTORY)) as made:
        made.keys["fay"] = SigningKey.generate(tmp_path / "fay.key")
        fay = Person(key=public(made.keys["fay"]), roles=("auditor",), enrolled_at=now())
        people = People(people={**made.parts.people().people, "fay": fay})
        home = made.changed(people=lambda: people)
        assert await asked(home, "ann", Verb.RESPOND, "new", params=NEW) == ""
        yield home


def public(key: SigningKey) -> str:
    return "ed25519:" + base64.b64encode(key.public.raw).decode()


async def asked(home: House, who: str, verb: Verb, subject: str = ID, **more: Any) -> str:  # noqa: ANN401  # a request's other fields
    """Hand a request in, have it judged, and return why it was refused; nothing if it was not."""
    before = len(await home.system("set_aside"))
    await home.ask(who, verb, subject, **more)
    await home.take_in()
    refused = (await home.system("set_aside"))[before:]
    return str(refused[0].body["reason"]).removeprefix("refused: ") if refused else ""


async def lends(home: House, by: str = "bob", to: str = "eve", *, over: timedelta = HOUR) -> str:
    return await asked(home, by, Verb.DELEGATE, to, params={"until": iso(now() + over)})


async def waits(home: House, **more: Any) -> StepState:  # noqa: ANN401  # fields of `proposed`
    await home.journal.append(PREFIX + ID, [world.proposed(**more)])
    return await step_of(home)


async def step_of(home: House) -> StepState:
    return (await home.incident(ID)).steps[world.INSTANCE]


def digest_of(step: StepState) -> str:
    assert step.plan is not None
    return step.plan.digest


async def approves(home: House, who: str) -> str:
    return await asked(home, who, Verb.APPROVE, digest=digest_of(await step_of(home)))


def enrolled(home: House, name: str, **change: Any) -> House:  # noqa: ANN401  # fields of Person
    """Return the installation with a person changed, or removed if nothing is said of them."""
    people = dict(home.parts.people().people)
    person = people.pop(name)
    if change:
        people[name] = person.model_copy(update=change)
    return home.changed(people=lambda: People(people=people))


async def test_a_lent_voice_is_one_voice_whoever_uses_it(home: House) -> None:
    await waits(home, quorum=2)
    assert NO_VOICE in await approves(home, "eve")
    assert await lends(home) == ""
    assert await lends(home, to="fay") == ""
    assert await approves(home, "eve") == ""
    step = await step_of(home)
    assert (step.approved_by, step.behalf) == (("eve",), {"eve": "bob"})
    assert "approved this plan already" in await approves(home, "eve")
    assert "counts once" in await approves(home, "fay"), "the same voice again"
    assert "approved this plan already" in await approves(home, "bob"), "and it is his own"
    assert (await step_of(home)).progress is Progress.PROPOSED
    assert await approves(home, "ann") == ""
    assert (await step_of(home)).progress is Progress.APPROVED
    (line,) = [item.what for item in (await home.incident(ID)).timeline if item.what.startswith("eve for bob approved")]
    assert digest_of(step)[7:19] in line


async def test_whose_voice_was_used_by_themselves_has_none_to_lend(home: House) -> None:
    await waits(home, quorum=2)
    await lends(home)
    assert await approves(home, "bob") == ""
    assert "counts once" in await approves(home, "eve")


async def test_it_does_not_help_to_approve_what_one_asked_for(home: House) -> None:
    await waits(home, requested_by="ann")
    # Not with the requester's own voice in another's mouth, nor with another's voice in the requester's.
    await lends(home, by="ann", to="eve")
    assert "counts once" in await approves(home, "eve")
    await lends(home, by="bob", to="ann")
    assert "cannot approve it" in await approves(home, "ann")
    assert (await step_of(home)).approved_by == ()


async def test_a_voice_is_taken_back_from_a_machine_whose_clock_is_behind(home: House) -> None:
    await waits(home)
    fast, slow = now() + timedelta(seconds=100), now() - timedelta(seconds=100)
    for signed_at, until in ((fast, now() + HOUR), (slow, slow)):
        request = draft(actor="bob", verb=Verb.DELEGATE, subject="eve", at=signed_at, params={"until": iso(until)})
        body = sign(request, home.keys["bob"].sign).model_dump_json().encode()
        await home.journal.put(kind="request", source="person", nonce=request.nonce, body=body, headers={})
        await home.take_in()
    assert len(await home.system("delegated")) == 2, "both were accepted"
    assert NO_VOICE in await approves(home, "eve")


async def test_of_two_lent_voices_the_one_that_is_free_is_used(home: House) -> None:
    await waits(home, requested_by="ann")
    await lends(home, by="ann")
    await lends(home, by="bob")
    assert await approves(home, "eve") == ""
    assert (await step_of(home)).behalf == {"eve": "bob"}


async def test_two_lent_voices_in_one_mouth_are_one(home: House) -> None:
    await waits(home, quorum=2)
    await lends(home, by="ann")
    await lends(home, by="bob")
    assert await approves(home, "eve") == ""
    assert "approved this plan already" in await approves(home, "eve")
    assert (await step_of(home)).progress is Progress.PROPOSED


async def test_it_ends_when_its_owner_says_so(home: House) -> None:
    await waits(home)
    await lends(home)
    assert await lends(home, over=timedelta(seconds=-1)) == ""
    assert NO_VOICE in await approves(home, "eve")
    assert await lends(home) == "", "and can be lent again"
    assert await approves(home, "eve") == ""


async def test_it_ends_by_itself(home: House) -> None:
    await waits(home)
    await lends(home, over=timedelta(seconds=1))
    over = now() + timedelta(seconds=1)

    async def passed() -> bool:
        return now() > over

    await home.until(passed, "the hour is over")
    assert NO_VOICE in await approves(home, "eve")


async def test_nobody_lends_on_what_they_were_lent(home: House) -> None:
    await waits(home)
    await lends(home)
    assert "delegate needs the role approver; eve has auditor" in await lends(home, by="eve", to="fay")
    assert "fay has auditor" in await approves(home, "fay")


@pytest.mark.parametrize("change", ["removed", "another role", "another key"])
async def test_it_ends_with_what_its_owner_is(home: House, change: str, tmp_path: Path) -> None:
    await waits(home)
    await lends(home)
    later: dict[str, dict[str, Any]] = {
        "removed": {},
        "another role": {"roles": ("responder",)},
        "another key": {"key": public(SigningKey.generate(tmp_path / "bob-2.key"))},
    }
    assert NO_VOICE in await approves(enrolled(home, "bob", **later[change]), "eve")


async def test_it_was_lent_to_a_person_not_to_a_name(home: House) -> None:
    await waits(home)
    await lends(home)
    assert NO_VOICE in await approves(enrolled(home, "eve", enrolled_at=datetime.now(UTC)), "eve")


async def test_it_counts_up_to_the_effect_only_while_its_owner_stands(home: House) -> None:
    await waits(home)
    await lends(home)
    assert await approves(home, "eve") == ""
    step = await step_of(home)
    assert counting(home.parts, step) == ("eve",)
    assert counting(enrolled(home, "bob").parts, step) == ()
    assert counting(enrolled(home, "bob", roles=("responder",)).parts, step) == ()


async def test_a_voice_whose_user_is_gone_is_its_owners_again(home: House) -> None:
    await waits(home, quorum=2)
    await lends(home)
    assert await approves(home, "eve") == ""
    home = enrolled(home, "eve")
    assert await approves(home, "bob") == ""
    step = await step_of(home)
    assert counting(home.parts, step) == ("bob",)
    # As the engine asks when it finds too few of them.
    await home.journal.append(PREFIX + ID, [world.proposed(quorum=2, approved_by=["bob"])])
    step = await step_of(home)
    assert (step.approved_by, step.behalf, step.uncounted) == (("bob",), {}, ("eve",))
    assert await approves(home, "ann") == ""
    assert set(counting(home.parts, await step_of(home))) == {"ann", "bob"}


async def test_a_denial_may_be_lent_too_and_needs_a_voice_as_well(home: House) -> None:
    step = await waits(home)
    assert "deny needs the role" in await asked(home, "eve", Verb.DENY, digest=digest_of(step))
    await lends(home)
    assert await asked(home, "eve", Verb.DENY, digest=digest_of(step)) == ""
    assert (await step_of(home)).progress is Progress.DENIED


async def test_a_code_of_whoever_lost_the_role_counts_with_a_lent_voice_and_without_it_not(home: House) -> None:
    step = await waits(home)
    made, salt = code.new(), bytes(16)
    body = {"digest": digest_of(step), "approver": "eve", "answer": "approve", "salt": salt.hex()}
    kept = {"hash": code.hashed(made, salt), "expires_at": iso(now() + HOUR)}
    await home.journal.append(PREFIX + ID, [Event("code_issued", body | kept)])
    given = CodeAnswer(incident=ID, digest=digest_of(step), actor="eve", code=made)

    async def answer() -> str:
        receipt = await hand_in(home.journal, given, source="slack")
        await home.take_in()
        return await judged(home.journal, given, receipt, within=5.0)

    with pytest.raises(Refused, match="needs the role approver"):
        await answer()
    await lends(home)
    assert await answer() == "approve"
    assert (await step_of(home)).behalf == {"eve": "bob"}


@pytest.mark.parametrize(("asker", "asked_too"), [("ann", True), ("bob", False)])
async def test_whoever_was_lent_a_voice_is_asked_and_gets_codes_that_count(
    home: House, tmp_path: Path, asker: str, *, asked_too: bool
) -> None:
    contacts = Contacts(contacts={name: Contact(file=str(tmp_path / name)) for name in ("ann", "bob", "eve", "fay")})
    home = home.changed(contacts=contacts, channels=Channels(contacts))
    await lends(home)
    step = await waits(home, requested_by=asker)
    notice = f"awaiting_approval:{step.instance}:{digest_of(step)[7:19]}"

    await queued(home, Event("page", {"id": notice, "notice": notice, "text": "Waits."}))
    await told(home)
    heard = {item.contact for item in (await home.incident(ID)).told if item.contact}
    assert heard == ({"bob", "eve"} if asked_too else {"ann"}), "with a lent voice no more than with one's own"
    if asked_too:
        (letter,) = (tmp_path / "eve").iterdir()
        codes = re.findall(rf"\b[{code.ALPHABET}]{{5}}-[{code.ALPHABET}]{{5}}\b", letter.read_text())
        given = CodeAnswer(incident=ID, digest=digest_of(step), actor="eve", code=codes[0])
        receipt = await hand_in(home.journal, given, source="slack")
        await home.take_in()
        assert await judged(home.journal, given, receipt, within=5.0) == "approve"
        assert (await step_of(home)).behalf == {"eve": "bob"}


@pytest.mark.parametrize(
    "forgery",
    [
        "unsigned",
        "signed by another",
        "changed",
        "another verb",
        "no base64",
        "no zone",
        "no end",
        "not even a request",
    ],
)
async def test_an_entry_without_the_owners_signature_lends_nothing_and_breaks_nothing(
    home: House, forgery: str
) -> None:
    """Whoever can write into the journal can still not make somebody an approver, nor keep people's requests out."""
    until = {"until": iso(now() + HOUR)}
    fields: dict[str, Any] = {"actor": "bob", "verb": Verb.DELEGATE, "subject": "eve", "at": now(), "params": until}
    signer = home.keys["eve" if forgery == "signed by another" else "bob"]
    otherwise: dict[str, dict[str, Any]] = {
        "another verb": {"verb": Verb.ACK},
        "no zone": {"params": {"until": "2099-01-01T00:00:00"}},
        "no end": {"params": {}},
        "changed": {"subject": "fay"},
    }
    fields |= otherwise.get(forgery, {})
    signed = sign(draft(**fields), signer.sign)
    if forgery == "changed":
        signed = SignedRequest(request=signed.request.model_copy(update={"subject": "eve"}), signature=signed.signature)
    dumped: Any = signed.model_dump(mode="json")
    if forgery in {"unsigned", "no base64"}:
        dumped["signature"] = "" if forgery == "unsigned" else "*"
    if forgery == "not even a request":
        dumped = ["bob", "eve"]
    body = {"by": "bob", "to": "eve", "until": until["until"], "reason": "", "signed": dumped}
    await home.journal.append(SYSTEM, [Event("delegated", body, "bob")])
    await waits(home)
    assert NO_VOICE in await approves(home, "eve")
    assert await approves(home, "ann") == "", "everybody else goes on"


async def test_an_old_entry_written_again_lends_nothing(home: House) -> None:
    await waits(home)
    await lends(home)
    await lends(home, over=timedelta(seconds=-1))
    first = (await home.system("delegated"))[0]
    await home.journal.append(SYSTEM, [Event("delegated", first.body, "bob")])
    assert NO_VOICE in await approves(home, "eve")


@pytest.mark.parametrize(
    ("to", "params", "why"),
    [
        ("bob", None, "to themselves"),
        ("mallory", None, "mallory is not enrolled"),
        ("eve", {}, "until when"),
        ("eve", {"until": "tomorrow"}, "until when"),
        ("eve", {"until": "2099-01-01T00:00:00"}, "until when"),
        ("eve", {"until": 7}, "until when"),
        ("eve", {"until": ["2099-01-01T00:00:00Z"]}, "until when"),
        ("eve", {"until": "0001-01-01T00:00:00+23:59"}, "until when"),
        ("eve", {"until": iso(now() + LONGEST + HOUR)}, "at most 14 days"),
    ],
)
async def test_what_cannot_be_lent(home: House, to: str, params: dict[str, Any] | None, why: str) -> None:
    if params is None:
        params = {"until": iso(now() + HOUR)}
    assert why in await asked(home, "bob", Verb.DELEGATE, to, params=params)
    assert await home.system("delegated") == []
