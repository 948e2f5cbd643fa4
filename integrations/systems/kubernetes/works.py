"""How a cluster is reached, and what can be done there."""

from collections.abc import Awaitable, Iterator
from functools import partial
from typing import Final

from integrations.secret import secret
from integrations.system import Connection, Works
from integrations.systems.kubernetes import settings_of
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.doctor import doctor
from integrations.systems.kubernetes.hardening import asks
from integrations.systems.kubernetes.present import ClusterPresent
from integrations.systems.kubernetes.rights import STEPS
from playbooks.action import World
from playbooks.errors import Misconfigured
from playbooks.estate.inventory import Inventory


def _api(inventory: Inventory, name: str) -> Api:
    settings = settings_of(inventory, name)
    if settings is None:
        raise Misconfigured(f"the inventory has no cluster {name!r}")
    kubeconfig = partial(secret, settings.kubeconfig, what=f"systems.{name}.kubeconfig")
    # Where it is not to be found, that is said at once.
    kubeconfig()
    return Api(name, kubeconfig, context=settings.context)


def _warm(world: World) -> Iterator[Awaitable[None]]:
    yield from (_signed_in(world, name) for name in world.inventory.systems if settings_of(world.inventory, name))


async def _signed_in(world: World, name: str) -> None:
    await world.reach(Api, name).who()


WORKS: Final = Works(
    steps=STEPS,
    connections={Api: Connection(_api, settings_of)},
    warm=_warm,
    doctor=doctor,
    present=ClusterPresent,
    hardening=asks,
)
