"""An application is told last; where it does not listen, what is cut stays cut, and people have it told later."""

from pathlib import Path

import pytest

from flows.demo.mcp_server import McpServer
from integrations.connections import Connections
from integrations.registry import SYSTEMS
from integrations.systems.denylist.client import Denied
from playbooks.estate.inventory import Inventory
from playbooks.people.request import Verb
from playbooks.playbook import shipped
from playbooks.record.incident import Status
from playbooks.taxonomy import IncidentClass
from tests.integrations.systems.ssf.conftest import Lab
from tests.lab import http_served, scenes
from tests.lab.connected import connected
from tests.lab.denied import ISSUER, Door, issued, listed, status
from tests.lab.drill import BY_CLASS
from tests.lab.house import alert, house
from tests.lab.oidc import kept

WHO = {"kind": "principal", "name": "agent"}


def cut_too(lab: Lab, url: str, resource: str) -> Connections:
    """Connect to an inventory in which the principal's JWT is denied, too."""
    held = {"session": kept(lab.there.folder, "session", issued("s-agent")).model_dump()}
    written = lab.inventory.model_dump(mode="json")
    written["systems"]["denied"] = {
        "kind": "denylist",
        "file": str(lab.there.folder / "denied.json"),
        "url": url,
        "issuer": ISSUER,
    }
    place = {"user": "s-agent", "resource": resource, "held": held}
    written["principals"]["agent"]["places"]["denied"] = place
    world = connected(Inventory.model_validate(written, context=SYSTEMS.context))
    world.reach(Denied, "denied").patience = 30.0
    return world


@pytest.mark.parametrize("mended", [True, False], ids=["it says no, and is mended", "its answer is lost"])
async def test_a_receiver_that_does_not_listen_undoes_nothing_and_is_told_once_in_the_end(
    lab: Lab, victim: McpServer, tmp_path: Path, *, mended: bool
) -> None:
    with listed(lab.there.folder / "denied.json") as url:
        async with http_served.serve(Door(url, victim.url).answer) as address:
            world = cut_too(lab, url, f"{address}/mcp")
            token = (lab.there.folder / "session").read_text()
            async with house(tmp_path / "house", world) as made:
                playbook = shipped()[IncidentClass.UNAUTHORIZED_ACCESS]
                home = made.changed(
                    timing=scenes.FAST, sources=BY_CLASS, playbooks={IncidentClass.UNAUTHORIZED_ACCESS: playbook}
                )
                async with home.responding():
                    await home.receive(alert("none", tags=["unauthorized_access"], entities=[WHO]))
                    asked = await home.reaches(Status.AWAITING_APPROVAL)
                    await home.settled(asked.id)
                    (step,) = (await home.incident(asked.id)).proposals
                    assert step.instance.startswith("deny-subject@"), "what is told comes after"
                    await scenes.approve(home, "bob", asked.id, step)

                    async def asked_to_tell() -> bool:
                        found = (await home.incident(asked.id)).proposals
                        return [one.instance.partition("@")[0] for one in found] == ["tell-session-revoked"]

                    await home.until(asked_to_tell, "people are asked whether to tell")
                    assert await status(f"{address}/mcp", token) == 401
                    assert not lab.application.presented
                    lab.application.refuses, lab.application.lost = ("access_denied", 0) if mended else ("", 1)
                    (step,) = (await home.incident(asked.id)).proposals
                    await scenes.approve(home, "bob", asked.id, step)
                    if mended:
                        failed = await home.reaches(Status.NOT_ESTABLISHED, asked.id)
                        told = failed.steps[step.instance].message
                        assert "access_denied; have whoever runs it let us send this event" in told
                        assert await status(f"{address}/mcp", token) == 401, "what is cut stays cut"
                        lab.application.refuses = ""
                        params = {"entities": [WHO]}
                        await home.ask("ann", Verb.RESPOND, asked.id, reason="they take it now", params=params)

                    async def contained() -> bool:
                        incident = await home.incident(asked.id)
                        return incident.status is Status.CONTAINED and bool(lab.application.told)

                    await home.until(contained, "it is told")
                    assert len(lab.application.told) == 1
                    assert len(set(lab.application.presented)) == 1
                    lease = (await home.incident(asked.id)).leases[step.instance]
                    assert not lease.open, "nobody watches over what cannot be taken back"
            await world.aclose()
