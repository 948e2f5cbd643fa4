"""Somebody undoes a containment by hand at the gateway: it is put back, paged, and in the end asked about."""

from pathlib import Path

import pytest

from flows.demo.mcp_server import Behaviour
from playbooks.gate.plan import Answer, Radius
from playbooks.gate.policy import Cap, Lease, Purpose
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.step import Progress
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import ROOMY, House, alert


async def put_back(home: House, name: str, instance: str, epoch: int) -> None:
    async def so() -> bool:
        lease = (await home.incident(name)).leases[instance]
        return lease.epoch == epoch and lease.has_held

    await home.until(so, f"{instance} holds in epoch {epoch}")


async def test_an_undone_cut_is_put_back_through_the_gate_then_a_person_is_asked(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    cut = scenes.cut_of(lab, "get_weather")
    policy = ROOMY.model_copy(update={"lease": Lease(put_backs=2)})
    async with scenes.installation(lab, tmp_path, policy=policy) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        for epoch in (2, 3):
            await scenes.enable(lab, "get_weather", enabled=True)
            await put_back(home, name, cut, epoch)
            assert not await scenes.enabled(lab, "get_weather")
        await scenes.enable(lab, "get_weather", enabled=True)
        step = await scenes.proposed(home, name, cut)
        assert step.purpose is Purpose.PUT_BACK
        assert any("somebody undid it, after it was put back 2 x" in reason for reason in step.reasons), step.reasons
        assert await scenes.enabled(lab, "get_weather"), "the third time is a person's decision"

        incident = await home.incident(name)
        assert incident.status is Status.NOT_ESTABLISHED
        entries = await scenes.entries(home, name)
        intents = [e for e in entries if e.kind == "intended" and e.body["instance"] == cut]
        assert [(e.body["epoch"], e.body["purpose"]) for e in intents] == [
            (1, "contain"),
            (2, "put_back"),
            (3, "put_back"),
        ]
        assert len({e.body["key"] for e in intents}) == 3, "each epoch is an effect of its own"
        undone = [e for e in entries if e.kind == "page" and e.body["notice"].startswith("undone:")]
        assert len(undone) >= 1

        await scenes.approve(home, "bob", name, step)
        await put_back(home, name, cut, 4)
        assert not await scenes.usable(lab, "get_weather", city="Seoul")
        await home.reaches(Status.CONTAINED, name)


@pytest.mark.slow
async def test_a_refused_put_back_is_left_alone_and_never_called_contained(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    cut = scenes.cut_of(lab, "get_weather")
    policy = ROOMY.model_copy(update={"lease": Lease(put_backs=0)})
    async with scenes.installation(lab, tmp_path, policy=policy, watch_every=0.2) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        await scenes.enable(lab, "get_weather", enabled=True)
        step = await scenes.proposed(home, name, cut)
        assert step.plan is not None
        await home.ask("bob", Verb.DENY, name, digest=step.plan.digest, reason="we need it back")

        async def denied() -> bool:
            return (await home.incident(name)).steps[cut].progress is Progress.DENIED

        await home.until(denied, "denied")
        writes = len(lab.proxy.writes)
        seen = {watch.lease: watch.checked_at for watch in await home.journal.watched()}

        async def looked_again() -> bool:
            return any(watch.checked_at > seen[watch.lease] for watch in await home.journal.watched())

        await home.until(looked_again, "the watch looked again")
        assert len(lab.proxy.writes) == writes
        assert (await home.incident(name)).status is Status.NOT_ESTABLISHED
        # The operator thinks better of it: then there is nothing left to decide.
        await scenes.enable(lab, "get_weather", enabled=False)
        await home.reaches(Status.CONTAINED, name)
        assert len(lab.proxy.writes) == writes


async def test_undone_while_something_else_leaks_it_still_goes_through_the_gate(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    cut = scenes.cut_of(lab, "get_weather")
    caps = {Radius.TOKEN: Cap(count=1, percent=100), Radius.TOOL: Cap(count=1, percent=100)}
    policy = ROOMY.model_copy(update={"lease": Lease(put_backs=0), "caps": caps})
    async with scenes.installation(lab, tmp_path, policy=policy) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        await scenes.turn(lab, Behaviour(poisoned=("get_weather",), added=("new_evil",)))
        await scenes.proposed(home, name, f"widen-gateway-disable_tool@{lab.site.server_id}/new_evil")
        await scenes.enable(lab, "get_weather", enabled=True)
        step = await scenes.proposed(home, name, cut)
        assert step.purpose is Purpose.PUT_BACK
        assert await scenes.enabled(lab, "get_weather"), "no verification of ours writes it back behind the gate"
        assert scenes.answers(await scenes.entries(home, name))[-1] is Answer.NOT_ESTABLISHED
