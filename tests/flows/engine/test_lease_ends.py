"""What happens when the time of a containment is over: it goes on and people hear of it, or it ends as policy says."""

from datetime import timedelta
from pathlib import Path

import pytest

from flows.engine import schedule
from flows.engine.case import PREFIX
from flows.engine.opening import CUT as CUTTING
from flows.engine.schedule import OURSELVES
from playbooks.gate.policy import RAN_OUT, Lease
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from playbooks.strict import iso, now
from tests.flows.cli import world
from tests.lab import flags, scenes
from tests.lab.flags import CUT
from tests.lab.house import ROOMY, House
from tests.playbooks.test_state import incident

ENDING = ROOMY.model_copy(update={"lease": Lease(at_expiry="release")})
RELEASE = f"release-{CUT}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return flags.flags(tmp_path / "flags")


async def extended(home: House, name: str, *instances: str, times: int = 1) -> Incident:
    """Wait until leases went on by themselves, and return the incident."""

    async def so() -> bool:
        leases = (await home.incident(name)).leases
        return all(instance in leases and leases[instance].ran_out >= times for instance in instances)

    await home.until(so, f"{', '.join(instances)} went on")
    return await home.incident(name)


async def ends(home: House, name: str) -> None:
    """Bring a lease's end to this very moment."""
    body = {"instance": CUT, "until": iso(now()), "why": "test", "by": "test"}
    await home.journal.append(PREFIX + name, [Event("lease_extended", body)])
    await home.journal.submit(lambda tx: tx.make_runnable(PREFIX + name, lane=CUTTING))


async def wishes(home: House, name: str) -> list[str]:
    """Return who asked for a release."""
    entries = await scenes.entries(home, name)
    return [e.body["actor"] for e in entries if e.kind == "request" and e.body["verb"] == "release"]


async def test_what_runs_out_goes_on_and_people_hear_of_it_once(tmp_path: Path) -> None:
    folder, other = flags.flags(tmp_path / "flags", "a"), flags.flags(tmp_path / "other", "b")
    # The second ends between two looks of the watch, long before the next one.
    cuts = (flags.step(folder, lease="1s"), flags.step(other, id="cut-others", lease="2s"))
    both = (CUT, "cut-others@weather/forecast")
    async with flags.installation(tmp_path, flags.playbook(*cuts)) as home, home.responding():
        await flags.respond(home)
        name = (await home.reaches(Status.CONTAINED)).id
        incident = await extended(home, name, *both)

        async def paged() -> bool:
            return {f"extended:{instance}:1" for instance in both} <= {*(await home.incident(name)).pages}

        await home.until(paged, "people are told")
        assert incident.status is Status.CONTAINED
        assert all(lease.until > now() + timedelta(seconds=50) for lease in incident.leases.values())
        assert flags.states(folder) == flags.states(other) == "off"
        # One look for each end, and not one after the other until the next is due.
        assert len([e for e in await scenes.entries(home, name) if e.kind == "lease_extended"]) == 2
        assert len([page for page in (await home.incident(name)).pages if page.startswith("extended:")]) == 2


async def test_what_runs_out_ends_by_itself_where_the_policy_says_so(tmp_path: Path, folder: Path) -> None:
    playbook = flags.playbook(flags.step(folder, lease="1s"), eradicate=[flags.healthy(folder)])
    async with flags.installation(tmp_path, playbook, policy=ENDING) as home, home.responding():
        await flags.respond(home)
        name = (await home.reaches(Status.CONTAINED)).id
        incident = await home.given_back(name)
        assert flags.states(folder) == "on on on"
        assert incident.leases[CUT].released_by == OURSELVES
        (intent,) = [e for e in await scenes.entries(home, name) if e.kind == "release_intended"]
        assert intent.body["decision"]["reasons"] == [RAN_OUT], "nobody signed a request for it"


@pytest.mark.parametrize("against", ["it is not what was approved", "the kill switch is on"])
async def test_what_may_not_end_unattended_goes_on(tmp_path: Path, folder: Path, against: str) -> None:
    playbook = flags.playbook(flags.step(folder), eradicate=[flags.healthy(folder)])
    async with flags.installation(tmp_path, playbook, policy=ENDING) as home, home.responding():
        await flags.respond(home)
        name = (await home.reaches(Status.CONTAINED)).id
        if against == "the kill switch is on":
            await home.journal.submit(lambda tx: tx.stop("everything", "a change window", "ann"))
        else:
            (folder / "poisoned").touch()
        await ends(home, name)
        incident = await extended(home, name, CUT)
        assert incident.leases[CUT].in_force
        assert await wishes(home, name) == []
        assert flags.states(folder) == "off off off"


async def test_who_says_no_to_an_end_is_not_asked_again(tmp_path: Path, folder: Path) -> None:
    cut = flags.step(folder, action=flags.SetServersFlags.name)
    async with flags.installation(tmp_path, flags.playbook(cut), policy=ENDING) as home, home.responding():
        await flags.respond(home)
        incident = await home.reaches(Status.AWAITING_APPROVAL)
        name = incident.id
        await scenes.approve(home, "bob", name, incident.steps[CUT])
        await home.reaches(Status.CONTAINED, name)
        await ends(home, name)
        step = await scenes.proposed(home, name, RELEASE)
        assert step.reasons == ("giving back a server needs a second person",)
        # Nobody has answered, and it goes on meanwhile.
        await extended(home, name, CUT)
        assert step.plan is not None
        await home.ask("bob", Verb.DENY, name, digest=step.plan.digest, reason="not before Monday")
        await home.reaches(Status.CONTAINED, name)
        for times in (2, 3):
            await ends(home, name)
            incident = await extended(home, name, CUT, times=times)
            assert incident.steps[RELEASE].progress is Progress.DENIED
        assert await wishes(home, name) == [OURSELVES]
        # A person can ask all the same, whatever the kill switch says; whoever said no is another person.
        await home.journal.submit(lambda tx: tx.stop("everything", "a change window", "ann"))
        await home.ask("ann", Verb.RELEASE, name, reason="it is Monday")
        step = await scenes.proposed(home, name, RELEASE)
        assert step.requested_by == "ann"
        await scenes.approve(home, "bob", name, step)
        await home.given_back(name)


async def test_a_person_takes_over_what_only_the_end_of_a_lease_asked_for(tmp_path: Path, folder: Path) -> None:
    cut = flags.step(folder, action=flags.SetServersFlags.name)
    async with flags.installation(tmp_path, flags.playbook(cut), policy=ENDING) as home, home.responding():
        await flags.respond(home)
        incident = await home.reaches(Status.AWAITING_APPROVAL)
        name = incident.id
        await scenes.approve(home, "bob", name, incident.steps[CUT])
        await home.reaches(Status.CONTAINED, name)
        await ends(home, name)
        step = await scenes.proposed(home, name, RELEASE)
        await home.journal.submit(lambda tx: tx.stop("everything", "a change window", "ann"))
        await home.ask("ann", Verb.RELEASE, name, reason="I want it too")
        await scenes.taken_in(home)
        await scenes.approve(home, "bob", name, step)
        incident = await home.given_back(name)
        assert incident.leases[CUT].released_by == "ann"


def over() -> Event:
    body = {"instance": world.INSTANCE, "until": iso(now() - timedelta(hours=1)), "why": "test"}
    return Event("lease_extended", body)


def test_what_somebody_works_on_is_not_looked_at_without_a_pause() -> None:
    moment = now()
    contained = [make() for make in world.CONTAINED]
    held = incident(*contained, over())
    assert schedule.ended(held, moment) == [world.INSTANCE]
    next_look = schedule.next_watch(held, now=moment, every=60.0)
    assert next_look is not None
    assert next_look < moment, "its end is looked at at once"
    given_back = incident(*contained, over(), world.release_intended("ann"))
    assert schedule.ended(given_back, moment) == []
    assert schedule.next_watch(given_back, now=moment, every=60.0) == moment + timedelta(seconds=60)
