"""What a person has contained is decided by another one, and speaks for nothing but the very thing that was named."""

from pathlib import Path

import pytest
from typing_extensions import override

from flows.engine.people.reviews import ReviewBook
from playbooks.gate.plan import Radius
from playbooks.gate.policy import Cap
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.step import Progress
from playbooks.strict import now
from tests.lab import flags, scenes
from tests.lab.flags import CUT, NEW, SetServersFlags
from tests.lab.house import ROOMY, SOURCES, alert, source

FIRST = f"inc-{now().year}-000001"
WHOLE = "cut-server@weather"
CAPS = {radius: Cap(count=500, percent=100) for radius in Radius if radius is not Radius.FLEET}
WIDE = ROOMY.model_copy(update={"automatic_up_to": Radius.SERVER, "caps": CAPS})
UNSIGNED = source(
    authentication="none", confidence="low", classify=[{"tag": "tool_poisoning", "class": "tool_poisoning"}]
)


class Nobody(ReviewBook):
    """Nobody signed for what was approved."""

    @override
    async def lacking(self, *_asked: object) -> tuple[str, ...]:
        return ("nobody who may review has signed for it",)

    @override
    async def in_decision(self, *_asked: object) -> tuple[str, ...]:
        return await self.lacking()


@pytest.mark.parametrize("way", [{"exact": True}, {}], ids=["contain", "respond --class"])
async def test_another_person_decides_what_one_has_contained_though_its_class_is_automatic(
    tmp_path: Path, way: dict[str, bool]
) -> None:
    folder = flags.flags(tmp_path / "flags")
    async with (
        flags.installation(tmp_path, flags.playbook(flags.step(folder)), reviews=Nobody()) as home,
        home.responding(),
    ):
        await home.ask("ann", Verb.RESPOND, "new", reason="it acts oddly", params={**NEW, **way})
        await home.reaches(Status.AWAITING_APPROVAL)
        step = await scenes.proposed(home, FIRST, CUT)
        assert (step.requested_by, step.quorum) == ("ann", 1)
        assert step.reasons == ("a person chose it, and another one says whether it is done",)
        await scenes.approve(home, "ann", FIRST, step)
        await scenes.taken_in(home)
        assert flags.writes(folder) == [], "nobody says yes to what they chose themselves"
        await scenes.approve(home, "bob", FIRST, step)
        await home.reaches(Status.CONTAINED)


async def test_what_alerts_alone_carry_waits_for_nobody(tmp_path: Path) -> None:
    folder = flags.flags(tmp_path / "flags")
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder))) as home, home.responding():
        await home.ask("ann", Verb.RESPOND, "new", reason="it acts oddly", params={**NEW, "exact": True})
        await scenes.proposed(home, FIRST, CUT)
        await home.receive(alert("weather", "forecast"))
        await home.receive(alert("weather", "forecast"), source="second")
        incident = await home.reaches(Status.CONTAINED)
        assert incident.steps[CUT].reasons == ("a responder's signed request",)
        assert incident.steps[CUT].approved_by == ()


async def test_who_chose_one_tool_speaks_for_nothing_else_of_its_server(tmp_path: Path) -> None:
    folder, tools = flags.flags(tmp_path / "flags"), flags.flags(tmp_path / "tools")
    whole = flags.step(folder, id="cut-server", action=SetServersFlags.name, when="named", **{"for": "server"})
    sources = SOURCES.model_copy(update={"sources": {**SOURCES.sources, "unsigned": UNSIGNED}})
    book = flags.playbook(whole, flags.step(tools))
    async with flags.installation(tmp_path, book, policy=WIDE, sources=sources) as home, home.responding():
        await home.receive(alert("weather"), source="unsigned")
        await scenes.proposed(home, FIRST, WHOLE)
        tool = {"kind": "tool", "name": "forecast", "server": "weather"}
        await home.ask("ann", Verb.RESPOND, FIRST, reason="it acts oddly", params={"entities": [tool]})
        assert (await scenes.proposed(home, FIRST, CUT)).requested_by == "ann"
        asked = (await home.incident(FIRST)).steps[WHOLE].asked_seq
        await home.receive(alert("weather"), source="unsigned")

        async def again() -> bool:
            step = (await home.incident(FIRST)).steps[WHOLE]
            return step.progress is not Progress.PROPOSED or step.asked_seq > asked

        await home.until(again, "the gate is asked again")
        step = (await home.incident(FIRST)).steps[WHOLE]
        assert step.progress is Progress.PROPOSED
        assert "no alert of it came from an authenticated source" in step.reasons
        assert flags.writes(folder) == []
