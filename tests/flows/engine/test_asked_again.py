"""After a no, and after silence, whoever asks again does not carry it through alone."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flows.engine.case import PREFIX
from integrations.signing import SigningKey
from playbooks.gate.plan import Radius
from playbooks.gate.policy import Release
from playbooks.people.request import People, Person, Verb
from playbooks.record.incident import Status
from playbooks.record.journal import Event
from playbooks.record.step import Progress, StepState
from playbooks.strict import now
from tests.lab import flags, scenes
from tests.lab.flags import CUT
from tests.lab.house import House, alert

ASKING = flags.ASKING.model_copy(update={"release": Release(second_person_from=Radius.TOOL)})
RELEASE = f"release-{CUT}"


@asynccontextmanager
async def asked(folder: Path, about: str) -> AsyncIterator[tuple[House, StepState]]:
    """Open an incident in which something waits for people: a cut, or a release that ann asked for."""
    playbook = flags.playbook(flags.step(flags.flags(folder / "flags")))
    async with flags.installation(folder, playbook, policy=ASKING) as made:
        made.keys["carl"] = SigningKey.generate(folder / "carl.key")
        key = "ed25519:" + base64.b64encode(made.keys["carl"].public.raw).decode()
        carl = Person(key=key, roles=("responder", "approver"), enrolled_at=now())
        people = People(people={**made.parts.people().people, "carl": carl})
        home = made.changed(people=lambda: people)
        async with home.responding():
            if about == "a cut of an alert":
                await home.receive(alert("weather", "forecast"))
            else:
                await flags.respond(home)
            incident = await home.reaches(Status.AWAITING_APPROVAL)
            step = await scenes.proposed(home, incident.id, CUT)
            if about == "a release":
                await scenes.approve(home, "bob", incident.id, step)
                await home.reaches(Status.CONTAINED, incident.id)
                await home.ask("ann", Verb.RELEASE, incident.id, reason="healed")
                step = await scenes.proposed(home, incident.id, RELEASE)
            yield home, step


async def no(home: House, name: str, step: StepState, how: str) -> None:
    """Have the question answered with no, or with silence."""
    assert step.plan is not None
    if how == "no":
        await home.ask("bob", Verb.DENY, name, digest=step.plan.digest, reason="not now")
    else:
        body = {"instance": step.instance, "digest": step.plan.digest, "why": "test"}
        await home.journal.append(PREFIX + name, [Event("lapsed", body)])

    async def over() -> bool:
        return (await home.incident(name)).steps[step.instance].progress in {Progress.DENIED, Progress.EXPIRED}

    await home.until(over, f"the answer is {how}")


@pytest.mark.parametrize("how", ["no", "silence"])
@pytest.mark.parametrize("about", ["a cut of an alert", "a cut by hand", "a release"])
async def test_who_asks_again_needs_another_persons_yes(tmp_path: Path, about: str, how: str) -> None:
    async with asked(tmp_path, about) as (home, step):
        name = (await home.incidents())[0].id
        await no(home, name, step, how)
        verb = Verb.RELEASE if about == "a release" else Verb.RESPOND
        await home.ask("carl", verb, name, reason="I want it all the same")
        again = await scenes.proposed(home, name, step.instance)
        assert again.requested_by == "carl"
        await scenes.approve(home, "carl", name, again)
        await scenes.taken_in(home)
        assert "whoever asked for it cannot approve it" in (await home.system("set_aside"))[-1].body["reason"]
        before = flags.states(tmp_path / "flags")
        assert before == ("off off off" if about == "a release" else "on on on")
        # ann asked the first time; for what carl asks for she is another person.
        await scenes.approve(home, "ann", name, again)
        if about == "a release":
            await home.given_back(name)
        else:
            await home.reaches(Status.CONTAINED, name)
        assert flags.states(tmp_path / "flags") != before


async def test_after_a_no_nothing_is_automatic_however_many_agree(tmp_path: Path) -> None:
    playbook = flags.playbook(flags.step(flags.flags(tmp_path / "flags")))
    async with flags.installation(tmp_path, playbook) as home, home.responding():
        await home.receive(alert("weather", "forecast"))
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        await no(home, name, await scenes.proposed(home, name, CUT), "no")
        await home.receive(alert("weather", "forecast"), source="second")
        await scenes.taken_in(home)
        await home.ask("ann", Verb.RESPOND, name, reason="two of them say so")
        again = await scenes.proposed(home, name, CUT)
        assert again.requested_by == "ann"
        assert "after a no another person has to agree" in again.reasons
        assert any("bob said no to this very plan" in reason for reason in again.reasons)
        await scenes.approve(home, "bob", name, again)
        await home.reaches(Status.CONTAINED, name)


async def test_a_release_that_is_asked_for_again_is_looked_at_at_once(tmp_path: Path) -> None:
    """The server was healed since it was asked: nobody has to wait for the watch, nor for another person."""
    folder = flags.flags(tmp_path / "flags")
    (folder / "poisoned").touch()
    playbook = flags.playbook(flags.step(folder), eradicate=[flags.healthy(folder)])
    async with flags.installation(tmp_path, playbook) as home, home.responding():
        await flags.respond(home)
        name = (await home.reaches(Status.CONTAINED)).id
        await home.ask("ann", Verb.RELEASE, name, reason="healed?")
        await scenes.proposed(home, name, RELEASE)
        (folder / "poisoned").unlink()
        await home.ask("ann", Verb.RELEASE, name, reason="healed")
        await home.given_back(name)
        assert flags.states(folder) == "on on on"
