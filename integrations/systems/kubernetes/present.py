"""What is really on a cluster, beside what the inventory says: for `doctor --orphans`."""

from collections.abc import Sequence
from functools import partial

from pydantic import JsonValue
from typing_extensions import override

from integrations.system import Expected, Present
from integrations.systems.kubernetes import (
    admission,
    bindings,
    denials,
    exclusion,
    narrowing,
    quarantine,
    quotas,
    workloads,
)
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.reverters import AUTOSCALER, reverters
from integrations.systems.kubernetes.runs_as import Account
from integrations.systems.kubernetes.workload import Found, find
from playbooks.action import World
from playbooks.errors import Gone

_ABSENT = "mend its place in inventory.yaml"
_PAUSED = "whoever did it: have it go on, or have it held and watched: `mcp-soar respond`"
_SHUT = "whoever did it: take its policy away, or have it held and watched: `mcp-soar respond`"
_BOUND = "whoever did it: take its bound away, or have it held and watched: `mcp-soar respond`"
_AGAIN = "whoever did it: scale it up, or have it held and watched: `mcp-soar respond`"


class ClusterPresent(Present):
    """What a cluster says of the workloads that the inventory places there.

    Args:
        world: the connections.
        system: the cluster, as a plan's target names it.
    """

    def __init__(self, world: World, system: str) -> None:
        self._world, self._name = world, system.removeprefix("kubernetes/")
        self._found: dict[str, Found] = {}
        self._values: dict[str, JsonValue] = {}
        self._policies: dict[tuple[str, str], JsonValue] = {}

    @override
    async def look(self) -> Sequence[Expected]:
        expected: list[Expected] = []
        for server, cluster, at in workloads(self._world.inventory):
            if cluster != self._name:
                continue
            name = f"{at.workload} {at.namespace}/{at.name}"
            try:
                found = await find(cluster, at, server, self._world)
            except Gone:
                uid, wanted = name, 1
            else:
                self._found[found.uid], self._values[found.uid] = found, found.replicas
                narrowed = await narrowing.held(found.target, self._world)
                denied = await denials.held(found.target, self._world)
                self._policies |= {(found.uid, field): value for field, value in {**narrowed, **denied}.items()}
                expected += await self._reverters(found)
                # However many there are: none at all is what somebody has to answer for.
                uid, wanted = found.uid, found.replicas or 1
            of = partial(Expected, at.workload, uid, name=name, file="inventory.yaml", gone=_ABSENT, server=server)
            expected.append(of("replicas", wanted, otherwise="scaled to zero", again=_AGAIN))
            expected.append(of(quarantine.DENY, value=False, otherwise="quarantined by a policy", again=_SHUT))
            out = [field for id_, field in self._policies if id_ == uid]
            expected += [of(field, value=False, otherwise=f"narrowed ({field})", again=_SHUT) for field in out]
            bounds = (("freeze", "without new pods"), ("limit", "without larger pods"))
            expected += [of(field, value=False, otherwise=what, again=_BOUND) for field, what in bounds]
        return [*expected, *await self._images()]

    async def _images(self) -> list[Expected]:
        """Return the images that are kept out on our account, each of which is let in unless an incident holds it."""
        expected = []
        for one in await admission.kept_out(self._world.reach(Api, self._name)):
            self._values[one.id] = False
            expected.append(
                Expected(
                    "image",
                    one.id,
                    "admitted",
                    value=True,
                    name=one.image,
                    file="nobody",
                    gone="there is nothing to do",
                    otherwise="kept out",
                    again=f"delete validatingadmissionpolicybinding and validatingadmissionpolicy {one.id}",
                    server=one.server if one.server in self._world.inventory.servers else None,
                )
            )
        return expected

    async def _reverters(self, found: Found) -> list[Expected]:
        """Return who starts a workload's pods again, each of which goes on unless an incident holds it."""
        expected = []
        for one in (await reverters(found, self._world)).pausable:
            change = one.change
            self._values[change.target.id] = change.before
            if one.sort is AUTOSCALER:
                # Most never start from zero: that is how they are, and no pause.
                continue
            expected.append(
                Expected(
                    change.target.kind,
                    change.target.id,
                    change.field,
                    change.before if change.pending else None,
                    change.target.name,
                    "inventory.yaml",
                    _ABSENT,
                    "paused",
                    _PAUSED,
                    found.server,
                )
            )
        return expected

    @override
    async def value(self, kind: str, id_: str, field: str) -> JsonValue:
        if field == bindings.FIELD:
            some = (Account(found, id_.rpartition(":")[2]) for found in self._found.values())
            one = next((account for account in some if account.user == id_), None)
            return await bindings.held(id_, one, self._world) if one else None
        if field in {quarantine.DENY, *map(exclusion.field_of, self._found)}:
            return await quarantine.held(kind, id_, field, self._found.values(), self._world)
        if (id_, field) in self._policies:
            return self._policies[id_, field]
        if field in denials.FIELDS and id_ in self._found:
            return False
        if field in quotas.KINDS and id_ in self._found:
            bound: JsonValue = await quotas.held(quotas.KINDS[field], self._found[id_].target, self._world)
            return bound or False
        return self._values.get(id_)
