"""Objects of ours beside a workload: made, found again as ours, changed and taken away; nobody else's is touched.

Each is called after the workload's uid, so that whichever incident wants it finds the same one, and says by a label
whose it is. Two incidents that want the same share it by their holds.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from integrations.systems.kubernetes.actions import api_of
from integrations.systems.kubernetes.client import JSON_PATCH, Api, path_of
from integrations.systems.kubernetes.policies import MANAGED, Raw, key_of, labels_of, name_of
from playbooks.action import World
from playbooks.errors import Drifted, Gone, Refused
from playbooks.gate.plan import Target

ABOUT: Final = "mcp-soar.io/about"
_NONE: Final[Mapping[str, str]] = {}


class Own(NamedTuple):
    """A sort of object of ours.

    Args:
        kind: of the API.
        version: of its API, as an object says it.
        resource: its plural.
        stem: what it does, in its name and its label.
        wide: whether it is of no namespace.
    """

    kind: str
    version: str
    resource: str
    stem: str
    wide: bool = False

    @property
    def mark(self) -> str:
        """The label of one; its value is the key of the workload that it is about."""
        return f"mcp-soar.io/{self.stem}"

    def name(self, uid: str) -> str:
        """Return what the one about a workload is called."""
        return name_of(uid, self.stem)

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of one, or of all in a namespace."""
        prefix = f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"
        if self.wide:
            return f"{prefix}/{self.resource}/{quote(name, safe='')}".rstrip("/")
        return path_of(prefix, namespace, self.resource, name)

    async def there(self, target: Target, world: World) -> dict[str, Any] | None:
        """Return ours about a workload; None if there is none.

        Raises:
            Refused: what has its name is not ours, and is left as it is.
        """
        namespace, name = namespace_of(target), self.name(target.id)
        try:
            found = await api_of(target, world).request("GET", self.path(namespace, name))
        except Gone:
            return None
        return self._ours(found, target)

    def among(self, found: Iterable[dict[str, Any]], target: Target) -> dict[str, Any] | None:
        """Return ours about a workload among all of its kind that are there; see `there`."""
        name = self.name(target.id)
        one = next((one for one in found if one["metadata"]["name"] == name), None)
        return self._ours(one, target) if one is not None else None

    def _ours(self, found: dict[str, Any], target: Target) -> dict[str, Any]:
        if labels_of(found).get(self.mark) != key_of(target.id):
            name = f"{namespace_of(target)}/{self.name(target.id)}"
            raise Refused(f"{self.kind.lower()} {name} has our name and is not ours: take it away")
        return found

    async def put(
        self, target: Target, spec: Raw, world: World, *, dry: bool = False, notes: Mapping[str, str] = _NONE
    ) -> None:
        """Have ours about a workload there, as it is wanted.

        Args:
            target: the workload.
            spec: what it says.
            world: the connections.
            dry: the cluster only says whether it would take a new one, and from us.
            notes: what else is written on it.
        """
        notes = {ABOUT: str(target), **notes}
        api = api_of(target, world)
        metadata = {
            "name": self.name(target.id),
            "labels": {**MANAGED, self.mark: key_of(target.id)},
            "annotations": notes,
        }
        body = {"apiVersion": self.version, "kind": self.kind, "metadata": metadata, "spec": spec}
        query = {"dryRun": "All"} if dry else None
        try:
            # Mostly there is none: whoever asked first would make it a round later.
            await api.request("POST", self.path(namespace_of(target)), query=query, body=body)
        except Drifted:
            there = await self.there(target, world)
            if there is None:
                raise
            if not dry:
                where = self.path(namespace_of(target), there["metadata"]["name"])
                await patched(api, where, there, {"/spec": spec, "/metadata/annotations": notes})

    async def take_away(self, target: Target, world: World) -> None:
        """Have none of ours about a workload there."""
        there = await self.there(target, world)
        if there is not None:
            where = self.path(namespace_of(target), there["metadata"]["name"])
            await api_of(target, world).request(
                "DELETE", where, body={"preconditions": {"uid": there["metadata"]["uid"]}}
            )


def namespace_of(target: Target) -> str:
    """Return where a plan's target stands, as its name says."""
    return target.name.partition("/")[0]


async def patched(api: Api, where: str, there: Raw, parts: Mapping[str, object]) -> None:
    """Set parts of an object, unless it is another one by now, or another hand was there since it was read.

    Args:
        api: its cluster.
        where: its path.
        there: the object, as it was read.
        parts: what is to be at which place in it.
    """
    same = [
        {"op": "test", "path": f"/metadata/{field}", "value": there["metadata"][field]}
        for field in ("uid", "resourceVersion")
    ]
    body = [*same, *({"op": "add", "path": at, "value": value} for at, value in parts.items())]
    await api.request("PATCH", where, body=body, media_type=JSON_PATCH)
