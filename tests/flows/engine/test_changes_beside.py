"""What a server does beside the tool that is cut: people are not asked anew for it, and it does not count as known."""

from pathlib import Path
from secrets import token_bytes
from typing import ClassVar

from typing_extensions import override

from playbooks.action import World
from playbooks.gate.plan import Beside, Plan
from playbooks.gate.rules import Mode
from playbooks.record.incident import Status
from playbooks.strict import sha256
from playbooks.taxonomy import IncidentClass
from tests.lab import flags, scenes
from tests.lab.flags import CUT, SetFlags
from tests.lab.house import ROOMY

POLICY = ROOMY.model_copy(update={"classes": {IncidentClass.TOOL_POISONING: Mode.APPROVE}})


class SetBesideOthers(SetFlags):
    """Turns every flag of a folder off, of a server that changes something else whenever it is looked at."""

    name: ClassVar[str] = "test.set_beside_others"

    @override
    async def plan(self, world: World) -> Plan:
        plan, mark = await super().plan(world), sha256(token_bytes())
        spare = Beside(kind="tool", name="spare", id="t-9", digest=mark)
        return plan.model_copy(update={"beside": (spare,), "breaks": f"Spare is {mark}."})


async def test_a_server_that_changes_beside_the_cut_cannot_undo_an_approval(tmp_path: Path) -> None:
    folder = flags.flags(tmp_path / "flags")
    book = flags.playbook(flags.step(folder, action=SetBesideOthers.name))
    steps = {**flags.WITH_FLAGS, SetBesideOthers.name: SetBesideOthers}
    async with (
        flags.installation(tmp_path, book, policy=POLICY, steps=steps, watch_every=0.2) as home,
        home.responding(),
    ):
        await flags.respond(home)
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        asked = await scenes.proposed(home, name, CUT)
        await scenes.approve(home, "bob", name, asked)
        state = await home.reaches(Status.CONTAINED, name)
        proposed = [entry for entry in await scenes.entries(home, name) if entry.kind == "proposed"]
        assert len(proposed) == 1, "bob was asked once"
        first = state.leases[CUT].plan
        assert asked.plan is not None
        assert first.digest == asked.plan.digest, "what is left alone is what bob saw"
        folder.joinpath("a.flag").write_text("on")

        async def again() -> bool:
            incident = await home.incident(name)
            proposed = [entry for entry in await scenes.entries(home, name) if entry.kind == "proposed"]
            return incident.leases[CUT].epoch > 1 or len(proposed) > 1

        await home.until(again, "what somebody undid is put back, or asked about")
        plan = (await home.incident(name)).steps[CUT].plan
        assert plan is not None
        assert plan.beside == first.beside, "what came since the first cut is no old acquaintance of the second"
