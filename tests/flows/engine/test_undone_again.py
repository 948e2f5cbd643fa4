"""What people approved is put back without asking as often as the policy says, and each time after that asks anew."""

from pathlib import Path

from playbooks.gate.policy import Lease, Purpose
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from tests.lab import flags, scenes
from tests.lab.flags import ASKING, CUT, NEW
from tests.lab.house import House

POLICY = ASKING.model_copy(update={"lease": Lease(put_backs=1)})


async def undone(home: House, folder: Path, name: str) -> Incident:
    """Turn a flag that is held on again, and wait for what becomes of that."""
    before = await home.incident(name)
    (folder / "a.flag").write_text("on")

    async def seen() -> bool:
        state = await home.incident(name)
        more = state.leases[CUT].put_backs > before.leases[CUT].put_backs
        asked = state.steps[CUT].asked_seq > before.steps[CUT].asked_seq
        return asked or (more and state.steps[CUT].progress is Progress.ESTABLISHED)

    await home.until(seen, "it is put back, or people are asked")
    return await home.incident(name)


async def test_an_approval_of_the_cut_is_none_of_every_put_back(tmp_path: Path) -> None:
    folder = flags.flags(tmp_path / "flags", "a")
    playbook = flags.playbook(flags.step(folder))
    async with (
        flags.installation(tmp_path, playbook, policy=POLICY, watch_every=0.1) as home,
        home.responding(),
    ):
        await home.ask("ann", Verb.RESPOND, "new", reason="seen", params=NEW)
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        await scenes.approve(home, "bob", name, await scenes.proposed(home, name, CUT))
        await home.reaches(Status.CONTAINED, name)
        assert (await undone(home, folder, name)).leases[CUT].put_backs == 1, "what bob agreed to holds so often"
        assert flags.states(folder) == "off"
        for times in (1, 2):
            state = await undone(home, folder, name)
            step = state.steps[CUT]
            assert (step.progress, step.purpose) == (Progress.PROPOSED, Purpose.PUT_BACK)
            assert (state.leases[CUT].put_backs, step.approved_by) == (times, ())
            assert any(f"after it was put back {times} x" in why for why in step.reasons)
            assert flags.states(folder) == "on", "nobody has decided yet"
            await scenes.approve(home, "bob", name, step)
            await home.reaches(Status.CONTAINED, name)
            assert flags.states(folder) == "off"
