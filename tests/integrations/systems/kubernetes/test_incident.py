"""One incident on a real cluster: evidence sealed, people asked, pods ended and seen to be, given back as it was."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.engine.case import PREFIX
from flows.engine.intake import intake
from flows.engine.opening import CUT
from flows.engine.response import respond
from integrations.systems.kubernetes import openings
from integrations.systems.kubernetes.client import Api
from playbooks.gate.plan import Radius
from playbooks.gate.policy import Cap
from playbooks.gate.rules import Mode, Rule
from playbooks.people.request import Verb
from playbooks.playbook import parse
from playbooks.record.incident import Phase, Status
from playbooks.record.step import Progress
from playbooks.strict import Json, now
from playbooks.taxonomy import IncidentClass
from tests.cluster.enforcer import enforcing, lacking
from tests.cluster.fixtures import PROBES
from tests.integrations.systems.kubernetes.conftest import Yard
from tests.integrations.systems.kubernetes.test_quarantine import unprobed
from tests.lab.house import ROOMY, SOURCES, House, alert, house, source, watched_every
from tests.lab.scenes import FAST

PLAYBOOK = """\
version: 2
id: on-kubernetes
class: server_compromise
title: A server is in somebody else's hands
summary: Keep what the cluster has of it, then end all of its pods.
goals: {first_effect: 15m, verified: 16m}
confirm: []
phases:
  freeze: []
  cut:
    - {id: end-pods, action: kubernetes.scale_to_zero, at: kubernetes, why: Its process is not ours any more.}
  capture:
    - {id: keep-workload, capture: kubernetes.capture_workload, at: kubernetes, why: A log ends with its pod.}
    - {id: keep-processes, capture: kubernetes.capture_processes, at: kubernetes, why: They end with it.}
    - {id: keep-files, capture: kubernetes.capture_files, at: kubernetes, why: They end with it.}
  isolate: []
  preserve: []
  eradicate: []
  recover: []
  review: []
notify: [opened, awaiting_approval, contained, released, closed]
"""


async def test_its_pods_end_after_their_evidence_is_sealed_and_come_back(yard: Yard, tmp_path: Path) -> None:
    sources = SOURCES.model_copy(
        update={"sources": {"siem": source(classify=[{"tag": "server_compromise", "class": "server_compromise"}])}}
    )
    world = yard.world.with_inventory(watched_every(yard.world.inventory, 1.0))
    played = parse(PLAYBOOK, file="on-kubernetes.yaml")
    async with house(tmp_path / "house", world) as made:
        home = made.changed(sources=sources, playbooks={played.class_: played}, timing=FAST)
        async with home.responding():
            await home.receive(alert("weather", tags=["server_compromise"], severity="critical"))
            incident = await home.reaches(Status.AWAITING_APPROVAL)
            (step,) = incident.proposals
            assert len(yard.cluster.pods(yard.namespace)) == 2, "nobody has agreed yet"  # as deployed
            plan = step.plan
            assert plan is not None
            assert plan.destroys == ("workload", "processes", "files")
            await home.settled(incident.id)
            await home.ask("bob", Verb.APPROVE, incident.id, digest=plan.digest, reason="a shell was started in it")
            incident = await home.reaches(Status.CONTAINED)
            assert yard.cluster.pods(yard.namespace) == []
            (lease,) = incident.leases.values()
            assert lease.verdict is not None
            assert [finding.observed for finding in lease.verdict.findings] == ["none is left, and none is wanted"]
            assert "workload" in {exhibit["kind"] for exhibit in incident.exhibits}

            # Somebody scales it up again: that is seen, and put back.
            yard.cluster.ask(
                "PATCH", f"{yard.path}/scale", {"spec": {"replicas": 1}}, kind="application/merge-patch+json"
            )

            async def put_back() -> bool:
                one = await home.incident(incident.id)
                return any(step.progress is Progress.PROPOSED or step.epoch > 1 for step in one.steps.values())

            await home.until(put_back, "it is put back, or people are asked to")
            for one in (await home.incident(incident.id)).proposals:
                assert one.plan is not None
                await home.ask("bob", Verb.APPROVE, incident.id, digest=one.plan.digest, reason="end it again")

            async def gone() -> bool:
                return not yard.cluster.pods(yard.namespace)

            await home.until(gone, "its pods have ended again")
            await home.reaches(Status.CONTAINED, incident.id)
            await home.ask("ann", Verb.RELEASE, incident.id, reason="rebuilt from a source that we trust")

            async def asked() -> bool:
                return bool((await home.incident(incident.id)).proposals)

            await home.until(asked, "a second person is asked about a whole server")
            (step,) = (await home.incident(incident.id)).proposals
            assert step.plan is not None
            await home.ask("bob", Verb.APPROVE, incident.id, digest=step.plan.digest, reason="it is rebuilt")
            await home.given_back(incident.id)
    assert yard.cluster.ask("GET", yard.path)["spec"]["replicas"] == 2  # as deployed


QUARANTINED = PLAYBOOK.replace(
    "{id: end-pods, action: kubernetes.scale_to_zero, at: kubernetes, why: Its process is not ours any more.}",
    "{id: quarantine, action: kubernetes.quarantine, at: kubernetes, why: Its process is not ours any more.}",
)
NET = "/apis/networking.k8s.io/v1/namespaces"
BY_ITSELF = ROOMY.model_copy(
    update={
        "rules": (Rule(classes=(IncidentClass.SERVER_COMPROMISE,), mode=Mode.AUTOMATIC, up_to=Radius.SERVER),),
        "automatic_up_to": Radius.SERVER,
        "caps": {Radius.SERVER: Cap(count=5, percent=100)},
    }
)
EVERYTHING = {"podSelector": {}, "ingress": [{}], "egress": [{}], "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.slow
async def test_a_policy_that_comes_later_is_found_and_people_are_asked_to_leave_it_out_too(
    yard: Yard, tmp_path: Path
) -> None:
    if missing := lacking():
        pytest.skip(missing)
    where = f"{NET}/{yard.namespace}/networkpolicies"

    def policies() -> dict[str, object]:
        return {one["metadata"]["name"]: one["spec"] for one in yard.cluster.ask("GET", where)["items"]}

    def allow(name: str) -> None:
        yard.cluster.ask("POST", where, {"metadata": {"name": name}, "spec": EVERYTHING})

    allow("first")
    sources = SOURCES.model_copy(
        update={"sources": {"siem": source(classify=[{"tag": "server_compromise", "class": "server_compromise"}])}}
    )
    world = yard.world.with_inventory(watched_every(yard.world.inventory, 1.0))
    played = parse(QUARANTINED, file="on-kubernetes.yaml")
    with enforcing(yard.cluster, yard.namespace, PROBES):
        async with house(tmp_path / "house", world) as made:
            home = made.changed(sources=sources, playbooks={played.class_: played}, timing=FAST)
            async with home.responding():
                await home.receive(alert("weather", tags=["server_compromise"], severity="critical"))
                incident = await home.reaches(Status.AWAITING_APPROVAL)
                await agreed(home, incident.id)
                await home.reaches(Status.CONTAINED, incident.id)
                allow("second")
                await home.until(lambda: asked(home, incident.id), "people are asked about what came since")
                (step,) = (await home.incident(incident.id)).proposals
                assert step.plan is not None
                assert [str(one.target) for one in step.plan.pending] == [
                    f"networkpolicy {yard.namespace}/second of weather"
                ]
                await agreed(home, incident.id)
                await home.reaches(Status.CONTAINED, incident.id)
                for name in ("first", "second"):
                    assert policies()[name] != EVERYTHING, name
                await home.ask("ann", Verb.RELEASE, incident.id, reason="rebuilt from a source that we trust")
                leases = len((await home.incident(incident.id)).leases)

                async def all_asked() -> bool:
                    now = await home.incident(incident.id)
                    return len(now.proposals) == sum(lease.open for lease in now.leases.values())

                await home.until(all_asked, f"a second person is asked about {leases} cuts")
                await agreed(home, incident.id)
                await home.given_back(incident.id)
    assert policies() == {"first": EVERYTHING, "second": EVERYTHING}


async def asked(home: House, name: str) -> bool:
    return bool((await home.incident(name)).proposals)


async def agreed(home: House, name: str) -> None:
    """Have a second person agree to all that is asked."""
    for step in (await home.incident(name)).proposals:
        assert step.plan is not None
        await home.ask("bob", Verb.APPROVE, name, digest=step.plan.digest, reason="looked at it")


async def test_an_address_that_a_person_names_is_blocked_and_given_back(
    idle: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pod of the server runs, and the network is told what to say: the way there is what is tried."""

    async def blocks(*_: object) -> tuple[bool, bool]:
        return False, False

    monkeypatch.setattr(openings, "blocks", blocks)
    named: list[Json] = [{"kind": "address", "name": "203.0.113.7", "server": "weather"}]
    async with house(tmp_path / "house", idle.world) as made:
        home = made.changed(playbooks={}, timing=FAST)
        async with home.responding():
            params: dict[str, Json] = {"class": "command_and_control", "title": "it calls home", "entities": named}
            await home.ask("ann", Verb.RESPOND, "new", params={**params, "exact": True})
            incident = await home.reaches(Status.AWAITING_APPROVAL)
            (step,) = incident.proposals
            assert step.plan is not None
            assert "Block 203.0.113.7/32 for" in str(step.plan.summary)
            await agreed(home, incident.id)
            await home.reaches(Status.CONTAINED, incident.id)
            where = f"{NET}/{idle.namespace}/networkpolicies"
            assert len(idle.cluster.ask("GET", where)["items"]) == 1
            await home.ask("ann", Verb.RELEASE, incident.id, reason="it is another one's address by now")
            await home.until(lambda: asked(home, incident.id), "a second person is asked about a server's network")
            await agreed(home, incident.id)
            await home.given_back(incident.id)
    assert idle.cluster.ask("GET", where)["items"] == []


class Died(BaseException):
    """A process that is killed answers nobody and tidies nothing up."""


@pytest.mark.parametrize("at", [1, 2])
async def test_whoever_dies_once_a_write_is_sent_leaves_it_to_the_next_who_finds_it_done(
    idle: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    where = f"{NET}/{idle.namespace}/networkpolicies"
    idle.cluster.ask("POST", where, {"metadata": {"name": "everything"}, "spec": EVERYTHING})
    classified = source(classify=[{"tag": "server_compromise", "class": "server_compromise"}])
    sources = SOURCES.model_copy(update={"sources": {"siem": classified, "second": classified}})
    played = parse(QUARANTINED, file="on-kubernetes.yaml")
    changes = {"sources": sources, "playbooks": {played.class_: played}, "timing": FAST}
    writes, ask = list[str](), Api.ask
    # A policy that leaves it out is a second object, and no more than all of an inventory is cut by itself.
    servers = idle.world.inventory.servers
    others = {name: servers["weather"].model_copy(update={"places": {}}) for name in ("a", "b")}
    wider = idle.world.inventory.model_copy(update={"servers": {**servers, **others}})
    world = unprobed(idle.world.with_inventory(wider))

    @asynccontextmanager
    async def dying(self: Api, method: str, path: str, **more: Any) -> AsyncIterator[Any]:  # noqa: ANN401  # as it takes
        async with ask(self, method, path, **more) as answer:
            if method != "GET" and path.startswith(where):
                writes.append(method)
                if len(writes) == at:
                    raise Died
            yield answer

    async with house(tmp_path / "house", world, policy=BY_ITSELF) as made:
        home = made.changed(**changes)
        for name in ("siem", "second"):
            await home.receive(alert("weather", tags=["server_compromise"], severity="critical"), source=name)
        (opened,) = await intake(home.parts)
        monkeypatch.setattr(Api, "ask", dying)
        with pytest.raises(Died):
            await respond(home.parts, opened.claim, until=Phase.CUT)
        monkeypatch.undo()
        # Its claim would end by itself.
        await home.journal.release(opened.claim, runnable_at=now(), lane=CUT)
    async with house(tmp_path / "house", world, policy=BY_ITSELF, name="responder-2") as made:
        home = made.changed(**changes)
        async with home.responding():

            async def written() -> bool:
                (incident,) = await home.incidents()
                return any(step.attempt for step in incident.steps.values())

            await home.until(written, "the next one has written it and asked whether it holds")
        (incident,) = await home.incidents()
        kinds = [one.parsed().kind for one in await home.journal.read(f"{PREFIX}{incident.id}")]
    assert kinds.count("intended") == 1, "the same plan, finished"
    there = {one["metadata"]["name"]: one["spec"] for one in idle.cluster.ask("GET", where)["items"]}
    assert len(there) == 2
    (ours,) = there.keys() - {"everything"}
    assert there[ours]["policyTypes"] == ["Ingress", "Egress"]
    assert there["everything"]["podSelector"]["matchExpressions"], "it leaves the server out, once"
    assert len(there["everything"]["podSelector"]["matchExpressions"]) == 1
