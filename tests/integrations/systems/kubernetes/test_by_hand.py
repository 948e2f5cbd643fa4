"""A server that a person has contained is shut off on its cluster too, once another person agrees, and given back."""

from pathlib import Path

from playbooks.people.request import Verb
from playbooks.record.step import Progress
from tests.integrations.systems.kubernetes.pretended import Pretended, pretended
from tests.lab import scenes
from tests.lab.house import house

NETWORK = "chosen-network@prod:weather"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/mcp/networkpolicies"


def policies(cluster: Pretended) -> list[str]:
    return [where for where in cluster.objects if where.startswith(f"{POLICIES}/")]


async def test_its_network_is_a_question_of_its_own_and_comes_back_with_a_release(tmp_path: Path) -> None:
    cluster = Pretended()
    async with pretended(cluster, tmp_path) as world, house(tmp_path / "house", world) as made:
        home = made.changed(timing=scenes.FAST)
        async with home.responding():
            params = {"title": "by hand", "exact": True, "entities": [{"kind": "server", "name": "weather"}]}
            await home.ask("ann", Verb.RESPOND, "new", reason="odd", params={**params, "only": ["prod"]})

            async def asked() -> bool:
                return any(step.instance == NETWORK for one in await home.incidents() for step in one.proposals)

            await home.until(asked, "people are asked about its network")
            (incident,) = await home.incidents()
            assert [step.instance for step in incident.proposals] == [NETWORK], "it has no place at a gateway"
            assert incident.steps["chosen-workload@prod:weather"].progress is Progress.SEALED, "its evidence is there"
            assert policies(cluster) == [], "nobody has agreed yet"
            (step,) = incident.proposals
            assert step.requested_by == "ann"
            await scenes.approve(home, "bob", incident.id, step)

            async def shut() -> bool:
                return bool(policies(cluster)) and (await home.incident(incident.id)).leases[NETWORK].in_force

            await home.until(shut, "a policy denies everything to its pods")
            await home.ask("ann", Verb.RELEASE, incident.id, reason="it is well")

            async def again() -> bool:
                return bool((await home.incident(incident.id)).proposals)

            await home.until(again, "a second person is asked about a server")
            await scenes.approve(home, "bob", incident.id, (await home.incident(incident.id)).proposals[0])
            await home.given_back(incident.id)
    assert policies(cluster) == []
