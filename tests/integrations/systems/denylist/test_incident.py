"""A person has a token denied: approved by another, proven at a server that asks the list, watched, and given back."""

import json
from pathlib import Path

from playbooks.people.request import Verb
from playbooks.record.incident import Status
from tests.integrations.systems.denylist.conftest import Lab
from tests.lab import scenes
from tests.lab.house import house, watched_every


async def test_a_denied_token_is_watched_put_back_and_given_back(lab: Lab, tmp_path: Path) -> None:
    before = await lab.state()
    async with lab.world() as reached:
        world = reached.with_inventory(watched_every(reached.inventory, 0.5))
        async with house(tmp_path / "house", world) as made:
            home = made.changed(timing=scenes.FAST)
            async with home.responding():
                named = {"kind": "token", "name": f"{lab.name}/session"}
                params = {"title": "by hand", "exact": True, "entities": [named]}
                await home.ask("ann", Verb.RESPOND, "new", reason="found in a log", params=params)
                asked = await home.reaches(Status.AWAITING_APPROVAL)
                (step,) = asked.proposals
                assert await lab.status(lab.token()) == 200, "nobody has agreed yet"
                await scenes.approve(home, "bob", asked.id, step)
                incident = await home.reaches(Status.CONTAINED, asked.id)
                assert await lab.status(lab.token()) == 401
                (lease,) = incident.leases.values()
                assert lease.open
                assert lease.verdict is not None
                assert lease.verdict.tried

                # Somebody takes our entry out by hand.
                lab.file.write_text(json.dumps({"version": 1, "denied": []}))

                async def denied_again() -> bool:
                    (again,) = (await home.incident(asked.id)).leases.values()
                    return again.epoch > 1 and await lab.status(lab.token()) == 401

                await home.until(denied_again, "it is put back")
                await home.reaches(Status.CONTAINED, asked.id)

                await home.ask("ann", Verb.RELEASE, asked.id, reason="it was a test's")
                await home.given_back(asked.id)
                assert await lab.status(lab.token()) == 200
                assert await lab.state() == before
