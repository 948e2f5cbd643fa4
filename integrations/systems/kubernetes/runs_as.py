"""The accounts that a server's pods run as.

What a workload says of it is one field, which whoever may change the workload may point at another's account: so its
pods are looked at as well, what people wrote in the inventory, and who else runs as the same.
"""

from typing import Any, NamedTuple

from integrations.systems.kubernetes import Workload, workloads
from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.sharing import others
from integrations.systems.kubernetes.workload import CORE, Found, find, placed, pods
from playbooks.action import World
from playbooks.errors import Drifted, Gone, Refused
from playbooks.gate.plan import Plan, Target


class Account(NamedTuple):
    """An account that a workload's pods run as.

    Args:
        found: the workload as its cluster has it.
        name: the account's.
    """

    found: Found
    name: str

    @property
    def cluster(self) -> str:
        """What the inventory calls the cluster."""
        return self.found.cluster

    @property
    def at(self) -> Workload:
        """Where the workload stands, and so the account."""
        return self.found.at

    @property
    def path(self) -> str:
        """Its path."""
        return path_of(CORE, self.at.namespace, "serviceaccounts", self.name)

    @property
    def user(self) -> str:
        """What it is called as a user, by which rights are given."""
        return f"system:serviceaccount:{self.at.namespace}:{self.name}"

    @property
    def groups(self) -> list[str]:
        """The groups that it is of, like every account of its namespace."""
        return ["system:serviceaccounts", f"system:serviceaccounts:{self.at.namespace}", "system:authenticated"]

    def target(self, kind: str, id_: str) -> Target:
        """Return it as a plan names it."""
        name = f"{self.at.namespace}/{self.name}"
        return Target(system=f"kubernetes/{self.cluster}", kind=kind, id=id_, name=name, server=self.found.server)

    async def others(self, world: World) -> set[str]:
        """Return what else runs as it."""
        return await others(self.found, lambda spec: _of(spec) == self.name, world, namespace=self.at.namespace)


def _of(spec: dict[str, Any]) -> str:
    return str(spec.get("serviceAccountName") or "default")


async def accounts_of(server: str, system: str | None, world: World) -> list[Account]:
    """Return the accounts of a server's workloads.

    Raises:
        Refused: one is our own.
    """
    found = []
    for cluster, at in placed(server, system, world):
        for account in await _accounts(await find(cluster, at, server, world), world):
            if await world.reach(Api, cluster).who() == account.user:
                raise Refused(f"{account.user} of cluster {cluster} is mcp-soar's own account")
            found.append(account)
    return found


async def _accounts(found: Found, world: World) -> list[Account]:
    """Return the accounts of a workload: as it says itself, as its pods run, and as the inventory says."""
    there = await pods(world.reach(Api, found.cluster), found.at, found.raw)
    written = [found.at.service_account] if found.at.service_account else []
    names = [_of(found.raw["spec"]["template"]["spec"]), *written, *(_of(pod["spec"]) for pod in there)]
    return [Account(found, name) for name in dict.fromkeys(names)]


async def again(target: Target, world: World) -> Account:
    """Return the account that a plan means, by its workload.

    Raises:
        Gone: the inventory has no such workload any more.
    """
    cluster = target.system.removeprefix("kubernetes/")
    namespace, _, name = target.name.partition("/")
    for server, where, at in workloads(world.inventory):
        if (server, where, at.namespace) == (target.server, cluster, namespace):
            return Account(await find(cluster, at, server, world), name)
    raise Gone(f"the inventory has no place of {target.server} at {target.system} any more")


async def still(target: Target, world: World) -> None:
    """Have an account that a plan names be one that the server's pods run as by now.

    Raises:
        Drifted: it is none, so that what the plan would end is somebody else's.
    """
    try:
        now = await _accounts((await again(target, world)).found, world)
    except Gone:
        # Who was deleted meanwhile runs as nobody else.
        return
    if target.name.partition("/")[2] not in {one.name for one in now}:
        raise Drifted(f"{target.server} does not run as {target.name} any more, but as {now[0].name}")


async def besides(plan: Plan, world: World) -> set[str]:
    """Return the accounts that a server's pods run as by now and a plan does not name, as it would."""
    named = {(one.target.system, one.target.name) for one in plan.changes}
    found = set()
    for target in {(one.target.system, one.target.server): one.target for one in plan.changes}.values():
        try:
            now = await _accounts((await again(target, world)).found, world)
        except Gone:
            continue
        found |= {f"{one.at.namespace}/{one.name}" for one in now} - {
            name for where, name in named if where == target.system
        }
    return found
