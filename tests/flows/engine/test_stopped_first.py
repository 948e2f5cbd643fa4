"""A cut that takes to stop its server is another, wider plan: it is what people agree to, and what is carried out."""

from pathlib import Path

import pytest
from typing_extensions import override

from integrations.gateways.actions import StopAndDisableTool
from playbooks.errors import Drifted
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Radius
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from tests.lab import gateway, scenes
from tests.lab.gateway import Gateway, Place, held

FORECAST = "cut-tool@weather/forecast"

pytestmark = pytest.mark.engine


class InUse(Gateway):
    """A gateway that changes nothing of a server that is in use, until it may stop it."""

    @override
    async def busy(self, _entry: str) -> int:
        return 2

    @override
    async def set_enabled(self, kind: PinKind, id_: str, *, enabled: bool, stopping: bool = False) -> None:
        if not enabled and not stopping:
            raise Drifted("it is in use")
        await super().set_enabled(kind, id_, enabled=enabled)


async def test_the_plan_that_was_agreed_to_is_carried_out_by_the_action_that_it_names(tmp_path: Path) -> None:
    site = Place(InUse(held("forecast"), held("add")), approved=("forecast", "add"), imported=())
    async with gateway.installation(tmp_path, site) as home, home.responding():
        params = {"title": "by hand", "class": "tool_poisoning", "exact": True}
        params |= {"entities": [{"kind": "tool", "name": "forecast", "server": "weather"}]}
        await home.ask("ann", Verb.RESPOND, "new", reason="it acts oddly", params=params)
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        plan = (await home.incident(name)).steps[FORECAST].plan
        assert plan is not None
        assert (plan.action, plan.radius) == (StopAndDisableTool.name, Radius.SERVER)
        assert "2 calls of weather are under way" in plan.breaks
        assert site.gateway.writes == []
        await scenes.approve(home, "bob", name, await scenes.proposed(home, name, FORECAST))
        await home.reaches(Status.CONTAINED, name)
        assert site.gateway.writes == ["forecast off"]
        assert (await home.incident(name)).leases[FORECAST].plan.action == StopAndDisableTool.name
