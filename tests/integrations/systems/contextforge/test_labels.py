"""Whoever has a token chooses what it is labelled: that never makes another one the target."""

from typing import Any

import pytest

from integrations.connections import Connections
from integrations.gateways.principals import RevokeToken
from integrations.registry import SYSTEMS
from integrations.systems.contextforge.driver import ContextForge
from playbooks.chosen import shipped
from playbooks.errors import Refused
from playbooks.estate.inventory import Inventory
from playbooks.record.incident import Entity, EntityKind, Phase
from playbooks.strict import parse_yaml
from tests.flows.cli.world import INVENTORY
from tests.lab.connected import connected

STOLEN, DECOY, OURS = "0a1b2c3d4e5f", "ffffffffffff", "eeeeeeeeeeee"
LABELS = {"work": STOLEN, STOLEN: DECOY, OURS: "dddddddddddd"}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Connections:
    """Give an inventory whose agent labelled tokens like the ids of others, and a gateway that has them."""
    tokens = ", ".join(f'"{label}": "{id_}"' for label, id_ in LABELS.items())
    text = INVENTORY.replace("{laptop: t-1}", f"{{{tokens}}}")
    text = text.replace("    canary:", f'    credential_ids: ["{OURS}"]\n    canary:')
    inventory = parse_yaml(Inventory, text, file="inventory.yaml", context=SYSTEMS.context)

    async def listed(self: ContextForge, user: str | None = None) -> tuple[dict[str, Any], ...]:
        del self, user
        return tuple({"id": id_, "name": name, "is_revoked": False, "is_active": True} for name, id_ in LABELS.items())

    monkeypatch.setattr(ContextForge, "tokens", listed)
    connections = connected(inventory)
    forge = ContextForge("main", inventory.gateways["main"], "unused")
    monkeypatch.setattr(connections, "reach", lambda *_: forge)
    return connections


@pytest.mark.parametrize("name", ["work", STOLEN])
async def test_what_is_revoked_is_the_token_that_an_alert_means(world: Connections, name: str) -> None:
    thing = world.inventory.resolve(Entity(kind=EntityKind.TOKEN, name=name))
    assert thing is not None
    (step,) = [step for step in shipped().phases[Phase.CUT] if step.action == RevokeToken.name]
    plan = await RevokeToken.model_validate(step.parameters(thing).of(RevokeToken)).plan(world)
    assert [target.id for target in plan.targets] == [STOLEN]
    assert f"token work (id {STOLEN})" in plan.summary.replace("'", "")


async def test_nothing_is_revoked_in_the_place_of_our_own_token(world: Connections) -> None:
    with pytest.raises(Refused, match="never a target"):
        await RevokeToken(principal="agent", token=OURS).plan(world)
