"""What people's signed requests can bring about, and everything that they cannot."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from playbooks.gate.plan import Radius
from playbooks.gate.policy import Approval
from playbooks.gate.rules import Mode
from playbooks.people.request import LIFETIME, People, Verb, draft, sign
from playbooks.record.incident import Status
from playbooks.record.step import Progress, StepState
from playbooks.strict import now
from playbooks.taxonomy import IncidentClass
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import ROOMY, House, alert

ASKING = ROOMY.model_copy(update={"classes": {IncidentClass.TOOL_POISONING: Mode.APPROVE}})
TWO = ASKING.model_copy(update={"approval": Approval(quorum={Radius.TOKEN: 2})})


@asynccontextmanager
async def asked(lab: Lab, folder: Path, **more: object) -> AsyncIterator[tuple[House, str, StepState]]:
    """Open an incident whose cut waits for people."""
    lab.victim.poison()
    more.setdefault("policy", ASKING)
    async with scenes.installation(lab, folder, **more) as home, home.responding():  # type: ignore[arg-type]
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        yield home, name, await scenes.proposed(home, name, scenes.cut_of(lab, "get_weather"))


async def send(home: House, body: bytes) -> str:
    receipt = await home.journal.put(kind="request", source="person", nonce=uuid.uuid4().hex, body=body, headers={})
    await scenes.taken_in(home)
    return receipt.id


async def refusal(home: House, receipt: str) -> str:
    """Return why a request was set aside."""
    (entry,) = [entry for entry in await home.system("set_aside") if entry.body["receipt"] == receipt]
    return str(entry.body["reason"])


async def test_an_approval_carries_out_that_very_plan_once(lab: Lab, tmp_path: Path) -> None:
    async with asked(lab, tmp_path) as (home, name, step):
        assert step.plan is not None
        assert await scenes.enabled(lab, "get_weather")
        request = draft(actor="bob", verb=Verb.APPROVE, subject=name, at=now(), digest=step.plan.digest)
        body = sign(request, home.keys["bob"].sign).model_dump_json().encode()
        await send(home, body)
        incident = await home.reaches(Status.CONTAINED, name)
        assert not await scenes.enabled(lab, "get_weather")
        intent = next(e for e in await scenes.entries(home, name) if e.kind == "intended")
        assert intent.body["decision"]["reasons"] == ["approved by bob"]
        assert await home.journal.reserved() == [], "a person's decision uses up nothing of the machine's"

        assert "used before" in await refusal(home, await send(home, body)), "the same request again"
        again = draft(actor="ann", verb=Verb.APPROVE, subject=name, at=now(), digest=step.plan.digest)
        late = await send(home, sign(again, home.keys["ann"].sign).model_dump_json().encode())
        assert "not waiting for a decision" in await refusal(home, late)
        assert len([e for e in await scenes.entries(home, incident.id) if e.kind == "intended"]) == 1


async def test_no_other_request_moves_anything(lab: Lab, tmp_path: Path) -> None:
    people: list[People] = []
    async with asked(lab, tmp_path) as (home, name, step):
        assert step.plan is not None
        people.append(home.parts.people())
        digest = step.plan.digest
        moment = now()

        def signed(who: str = "bob", *, key: str | None = None, **more: object) -> bytes:
            fields = {"actor": who, "verb": Verb.APPROVE, "subject": name, "at": moment, "digest": digest, **more}
            request = draft(**fields)  # type: ignore[arg-type]
            return sign(request, home.keys[key or who].sign).model_dump_json().encode()

        other = "sha256:" + "0" * 64
        refused = {
            "mallory is not enrolled": signed("mallory", key="bob"),
            "approve needs the role approver; eve has auditor": signed("eve"),
            "the signature is not one of ann's enrolled key": signed("ann", key="bob"),
            "the signature is not one of bob's enrolled key": signed().replace(b'"verb":"approve"', b'"verb":"deny"'),
            "the request has expired": signed(at=moment - LIFETIME - timedelta(minutes=1)),
            "signed in the future": signed(at=moment + timedelta(hours=1)),
            f"waiting: {digest[7:19]}": signed(digest=other),
            "there is no incident inc-1999-000001": signed(subject="inc-1999-000001"),
            "not in the form": b'{"request": {"actor": "bob"}}',
            "not in the form ": b"\x00\xff not json",
        }
        for why, body in refused.items():
            assert why.strip() in await refusal(home, await send(home, body))
        incident = await home.incident(name)
        assert incident.status is Status.AWAITING_APPROVAL
        assert incident.steps[step.instance].approved_by == ()
        assert lab.proxy.writes == []
        entries = await scenes.entries(home, name)
        assert [e.kind for e in entries if e.kind in {"decided", "intended"}] == []
        assert any(f"waiting: {digest[7:19]}" in e.body["reason"] for e in entries if e.kind == "request")


async def test_somebody_who_was_removed_is_nobody(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    enrolled: dict[str, People] = {}
    async with scenes.installation(lab, tmp_path, policy=ASKING) as first:
        enrolled["now"] = first.parts.people()
        home = first.changed(people=lambda: enrolled["now"])
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            name = (await home.reaches(Status.AWAITING_APPROVAL)).id
            step = await scenes.proposed(home, name, scenes.cut_of(lab, "get_weather"))
            left = {who: person for who, person in enrolled["now"].people.items() if who != "bob"}
            enrolled["now"] = People(people=left)
            await scenes.approve(home, "bob", name, step)
            await scenes.taken_in(home)
            (entry,) = await home.system("set_aside")
            assert "bob is not enrolled" in entry.body["reason"]
            assert (await home.incident(name)).status is Status.AWAITING_APPROVAL
            assert lab.proxy.writes == []


async def test_a_denial_and_silence_are_both_no(lab: Lab, tmp_path: Path) -> None:
    short = ASKING.model_copy(update={"approval": Approval(expires=3.0)})
    async with asked(lab, tmp_path, policy=short) as (home, name, step):

        async def lapsed() -> bool:
            return (await home.incident(name)).steps[step.instance].progress is Progress.EXPIRED

        await home.until(lapsed, "the time to decide is over")
        incident = await home.reaches(Status.TRIAGE, name)

        async def paged() -> bool:
            return any("Nobody decided in time" in page.text for page in (await home.incident(name)).pages.values())

        await home.until(paged, "people are told that nobody decided")
        await scenes.approve(home, "bob", name, step)
        await scenes.taken_in(home)
        assert (await home.incident(name)).steps[step.instance].progress is Progress.EXPIRED, "too late is no"
        assert lab.proxy.writes == []
        # A person can have it asked again; a no to that is a no.
        await home.ask("ann", Verb.RESPOND, name, reason="look again")
        again = await scenes.proposed(home, name, step.instance)
        assert again.plan is not None
        await home.ask("bob", Verb.DENY, name, digest=again.plan.digest, reason="a test system")

        async def denied() -> bool:
            return (await home.incident(name)).steps[step.instance].progress is Progress.DENIED

        await home.until(denied, "denied")
        incident = await home.incident(name)
        assert incident.status is Status.TRIAGE
        assert lab.proxy.writes == []


async def test_after_a_no_nobody_carries_it_through_alone_and_earlier_answers_are_void(
    lab: Lab, tmp_path: Path
) -> None:
    async with asked(lab, tmp_path, policy=TWO) as (home, name, step):
        assert step.plan is not None
        await scenes.approve(home, "bob", name, step)
        await scenes.taken_in(home)
        await home.ask("bob", Verb.DENY, name, digest=step.plan.digest, reason="on second thoughts")
        await home.reaches(Status.TRIAGE, name)
        await home.ask("ann", Verb.RESPOND, name, reason="I want it all the same")
        again = await scenes.proposed(home, name, step.instance)
        assert again.plan is not None
        assert again.plan.digest == step.plan.digest
        assert again.approved_by == (), "what was said before the no does not count for this question"
        assert again.requested_by == "ann"
        request = draft(actor="ann", verb=Verb.APPROVE, subject=name, at=now(), digest=again.plan.digest)
        receipt = await send(home, sign(request, home.keys["ann"].sign).model_dump_json().encode())
        assert "whoever asked for it cannot approve it" in await refusal(home, receipt)
        assert lab.proxy.writes == []


async def test_two_approvals_by_one_person_count_once(lab: Lab, tmp_path: Path) -> None:
    async with asked(lab, tmp_path, policy=TWO) as (home, name, step):
        assert step.plan is not None
        for _ in range(2):
            await scenes.approve(home, "bob", name, step)
        await scenes.taken_in(home)
        incident = await home.incident(name)
        assert incident.steps[step.instance].approved_by == ("bob",)
        assert incident.status is Status.AWAITING_APPROVAL
        assert lab.proxy.writes == []
        await scenes.approve(home, "ann", name, step)
        await home.reaches(Status.CONTAINED, name)


async def test_a_plan_that_changed_meanwhile_is_asked_anew_and_says_how(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No person answers within the quarter of a second for which what was read as the alert came is good.
    monkeypatch.setattr("integrations.systems.contextforge.driver._FORESEEN", 0.0)
    async with asked(lab, tmp_path) as (home, name, step):
        assert step.plan is not None
        first = step.plan.digest
        await scenes.enable(lab, "get_weather", enabled=False)
        await scenes.approve(home, "bob", name, step)

        async def anew() -> bool:
            now_ = (await home.incident(name)).steps[step.instance]
            return now_.progress is Progress.PROPOSED and now_.plan is not None and now_.plan.digest != first

        await home.until(anew, "asked anew")
        fresh = (await home.incident(name)).steps[step.instance]
        assert "no longer: tool get_weather" in fresh.differs
        assert "now: tool get_weather" in fresh.differs
        assert fresh.approved_by == ()
        assert lab.proxy.writes == []
        await scenes.approve(home, "bob", name, fresh)
        await home.reaches(Status.CONTAINED, name)
        assert lab.proxy.writes == [], "it was disabled already: the approval takes the hold"
        assert len(await home.journal.holds()) == 1


async def test_whoever_starts_a_response_cannot_approve_it(lab: Lab, tmp_path: Path) -> None:
    async with scenes.installation(lab, tmp_path, policy=ASKING) as home, home.responding():
        manual = {
            "class": "tool_poisoning",
            "title": "I saw it myself",
            "entities": [{"kind": "tool", "name": "get_weather", "server": lab.site.server_id}],
        }
        await home.ask("ann", Verb.RESPOND, "new", reason="seen", params=manual)
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        step = await scenes.proposed(home, name, scenes.cut_of(lab, "get_weather"))
        assert step.requested_by == "ann"
        await scenes.approve(home, "ann", name, step)
        await scenes.taken_in(home)
        assert any("cannot approve it" in e.body["reason"] for e in await home.system("set_aside"))
        assert lab.proxy.writes == []
        await scenes.approve(home, "bob", name, step)
        await home.reaches(Status.CONTAINED, name)
