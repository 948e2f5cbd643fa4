"""What keeps an image off a cluster: no pod of it is let in again, and people and controllers are told so early.

Source: Kubernetes API reference v1.36, ValidatingAdmissionPolicy. A policy takes seconds to be heeded, is asked of what
is created or changed, and never of what runs, nor of what a kubelet starts from a file of its node.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar, Final, NamedTuple

from pydantic import JsonValue
from typing_extensions import override

from integrations.hostile import printable
from integrations.systems.kubernetes import probe_of, settings_of, workloads
from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.images import (
    BY_ID,
    DIGEST,
    IMAGE,
    OURS,
    PREFIX,
    SERVER,
    binding,
    id_of,
    known_as,
    named_by,
    policy,
    spelled,
    spellings,
)
from integrations.systems.kubernetes.sharing import others
from integrations.systems.kubernetes.workload import CORE, PODS, Found, OfServer, find, listed, placed, pods
from playbooks.action import World
from playbooks.errors import Drifted, Gone, Refused, SoarError, Transient
from playbooks.estate.image import reference
from playbooks.gate.plan import Answer, Change, Finding, Plan, Radius, Target, Verdict
from playbooks.text.sentences import made_of, say

_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
_POLICIES: Final = f"{_ADMISSION}/validatingadmissionpolicies"
_BINDINGS: Final = f"{_ADMISSION}/validatingadmissionpolicybindings"
_HEEDED: Final = 20.0
"""Seconds within which a policy is heeded, or no longer; mostly it takes one or two."""

_EVERY: Final = 0.25
_TRIES: Final = 4
_CONTROL: Final = "mcp-soar-control"
"""The tag of the image that is asked about beside: nobody has such a one, and it is to be let in."""


class DenyImage(OfServer):
    """Lets no new pod of the images that a server runs onto its clusters, by their tags and by their digests.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.deny_image"
    takes: ClassVar[str] = "image"
    permissions: ClassVar[tuple[str, ...]] = (
        *PODS,
        # Asked as a dry run alone.
        "create pods",
        *(
            f"{verb} {kind}.admissionregistration.k8s.io"
            for kind in ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
            for verb in ("get", "create", "update", "delete")
        ),
        "list validatingadmissionpolicies.admissionregistration.k8s.io",
    )

    @override
    async def plan(self, world: World) -> Plan:
        changes: list[Change] = []
        also: set[str] = set()
        blind: list[str] = []
        spared: set[str] = set()
        ours: set[str] = set()
        for cluster, at in placed(self.server, self.system, world):
            found = await find(cluster, at, self.server, world)
            runs = await _images(found, world)
            if not any(DIGEST.search(image) for image in runs):
                blind.append(str(found.target))
            mine = {image for image in runs if _is_our_probes(image, cluster, world)}
            images = [image for image in runs if image not in mine]
            ours |= mine
            for image in sorted({*images, *await _denied_before(found, images, world)}):
                change = _change(image, cluster, self.server, before=True)
                admitted = await _admitted(change, world)
                if admitted:
                    await _rehearsed(change, world)
                changes.append(change.model_copy(update={"before": admitted}))
            also |= await _others(found, images, world)
            spared |= set(_spared(cluster, world))
        if ours and not changes:
            raise Refused(f"all that {self.server} runs is {', '.join(sorted(ours))}, which our own probe runs there")
        unique = tuple({change.grip: change for change in changes}.values())
        return self.plan_of(
            summary=say(
                "Let no new pod of {a} in at {b}",
                a=", ".join(change.target.name for change in unique),
                b=", ".join(sorted({change.target.system.replace("/", " ") for change in unique})),
            ),
            changes=unique,
            radius=Radius.FLEET if also else None,
            breaks=_breaks(sorted(spared), sorted(also), blind, sorted(ours)),
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        return await _admitted(change, world)

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        api = _api(change.target, world)
        wanted = _wanted(change, world)
        if change.after:
            # What puts it into force goes first.
            for where, _ in reversed(wanted):
                await _removed(api, where, change.target.id)
        else:
            for where, body in wanted:
                await _put(api, where, body)

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        return Verdict.of(tuple(await asyncio.gather(*(_kept_out(change, world) for change in plan.changes))))

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return Verdict.of(tuple(await asyncio.gather(*(_let_in(change, world) for change in plan.changes))))


def _breaks(spared: list[str], others: list[str], blind: list[str], ours: list[str]) -> str:
    said = say("Nobody starts a pod of it, in no namespace but {a}; what runs goes on", a=", ".join(spared))
    if others:
        said = made_of(said, lambda id_: f"{id_}. {{b}} runs it too, and starts no new pod either", b=", ".join(others))
    if blind:
        said = made_of(
            said,
            lambda id_: f"{id_}. The digest that {{c}} ran is not known: by another tag it gets in",
            c=", ".join(blind),
        )
    if ours:
        said = made_of(said, lambda id_: f"{id_}. {{d}} is let in still: our own probe runs it", d=", ".join(ours))
    return said


def _is_our_probes(image: str, cluster: str, world: World) -> bool:
    """Whether it is what tries the network there: without it nobody could say that a server is shut off."""
    given, digest = probe_of(world.inventory, cluster), DIGEST.search(image)
    return given is not None and digest is not None and given.image.endswith(digest[0])


def _api(target: Target, world: World) -> Api:
    return world.reach(Api, target.system.removeprefix("kubernetes/"))


def _spared(cluster: str, world: World) -> tuple[str, ...]:
    settings = settings_of(world.inventory, cluster)
    return settings.our_namespaces if settings else ()


def _change(image: str, cluster: str, server: str, *, before: bool) -> Change:
    target = Target(system=f"kubernetes/{cluster}", kind="image", id=id_of(image), name=image, server=server)
    return Change(target=target, field="admitted", before=before, after=False)


def _wanted(change: Change, world: World) -> tuple[tuple[str, dict[str, Any]], ...]:
    image, server = change.target.name, change.target.server or ""
    spared = _spared(change.target.system.removeprefix("kubernetes/"), world)
    return (_POLICIES, policy(image, server)), (_BINDINGS, binding(image, server, spared))


async def _images(found: Found, world: World) -> list[str]:
    """Return what a workload's own containers run: by the tags written in it and in its pods, and by the digests.

    What others put beside them, as a mesh does, is not its own, and stays.
    """
    own = _containers(found.raw["spec"]["template"]["spec"])
    names = {str(one["name"]) for one in own}
    images = [known_as(str(one["image"])) for one in own if one.get("image")]
    for pod in await pods(world.reach(Api, found.cluster), found.at, found.raw):
        written = {str(one["name"]): str(one.get("image", "")) for one in _containers(pod.get("spec") or {})}
        images += [known_as(image) for name, image in written.items() if name in names and reference(image)]
        status = pod.get("status", {})
        for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            # Its digest is that of the image that runs, from wherever that is: `image` may be its id alone.
            if one["name"] in names and (digest := DIGEST.search(str(one.get("imageID", "")))):
                named = reference(str(one["imageID"]).rpartition("://")[2])
                named = named or reference(written.get(one["name"], ""))
                images.append(known_as(f"{named.name if named else 'unknown'}@{digest[1]}"))
    return list(dict.fromkeys(images))


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


async def _others(found: Found, images: Iterable[str], world: World) -> set[str]:
    """Return what else names one of the images, by the policies' own words."""
    pattern = re.compile("|".join(map(spelled, images)) or "(?!)")
    return await others(found, lambda spec: any(map(pattern.fullmatch, named_by(spec))), world)


async def _denied_before(found: Found, images: Iterable[str], world: World) -> list[str]:
    """Return what is kept out on this server's account already: when its pods have ended, nothing else knows of it."""
    mine = {_repository(image) for image in images}
    there = await kept_out(world.reach(Api, found.cluster))
    return [one.image for one in there if one.server == found.server or _repository(one.image) in mine]


def _repository(image: str) -> str:
    named = reference(image)
    return named.name if named else image


class KeptOut(NamedTuple):
    """An image that is kept out on our account.

    Args:
        id: of its policy.
        image: its name.
        server: whose cut it was first.
    """

    id: str
    image: str
    server: str

    def at(self, cluster: str) -> Target:
        """Return it as a plan names it."""
        return Target(system=f"kubernetes/{cluster}", kind="image", id=self.id, name=self.image)


async def kept_out(api: Api) -> list[KeptOut]:
    """Return the images of which a policy of ours is there.

    Raises:
        SoarError: the cluster does not say.
    """
    found = []
    for one in await listed(api, _POLICIES):
        metadata = one["metadata"]
        said: dict[str, str] = metadata.get("annotations") or {}
        image = said.get(IMAGE, "")
        ours = OURS.items() <= (metadata.get("labels") or {}).items() and reference(image)
        if ours and metadata["name"] == id_of(image):
            found.append(KeptOut(metadata["name"], image, said.get(SERVER, "")))
    return found


def _alike(there: Any, body: Any) -> bool:  # noqa: ANN401  # any JSON
    """Whether an object is as we wrote it: what the API server adds of its own is empty, and what exempts is not."""
    if isinstance(body, dict):
        return isinstance(there, dict) and all(
            _alike(there.get(name), body[name]) if name in body else not there[name] for name in {*there, *body}
        )
    if isinstance(body, list):
        return (
            isinstance(there, list)
            and len(there) == len(body)
            and all(_alike(one, other) for one, other in zip(there, body, strict=True))
        )
    return bool(there == body)


async def _there(api: Api, where: str, name: str) -> dict[str, Any] | None:
    try:
        return await api.request("GET", f"{where}/{name}")
    except Gone:
        return None


async def _admitted(change: Change, world: World) -> bool:
    """Whether policy and binding are not both there as we write them: whoever changed one, changed what is kept out."""
    api = _api(change.target, world)
    wanted = _wanted(change, world)
    there = await asyncio.gather(*(_there(api, where, change.target.id) for where, _ in wanted))
    return not all(
        one is not None and "deletionTimestamp" not in one["metadata"] and _alike(one["spec"], body["spec"])
        for one, (_, body) in zip(there, wanted, strict=True)
    )


async def _rehearsed(change: Change, world: World) -> None:
    """Have the cluster check the policy, and whether it would take it from us, without keeping it."""
    api = _api(change.target, world)
    for where, body in _wanted(change, world):
        if await _there(api, where, change.target.id) is None:
            await api.request("POST", where, query={"dryRun": "All"}, body=body)


async def _put(api: Api, where: str, body: dict[str, Any]) -> None:
    """Have an object there as it is wanted; one of somebody else's under its name is left alone.

    Raises:
        Refused: it is somebody else's.
    """
    name = body["metadata"]["name"]

    async def write() -> None:
        there = await _there(api, where, name)
        if there is None:
            await api.request("POST", where, body=body)
        elif not _alike(there["spec"], body["spec"]):
            metadata = {**body["metadata"], **_same(there)}
            await api.request("PUT", f"{where}/{name}", body={**body, "metadata": metadata})

    await _unhindered(write)


async def _removed(api: Api, where: str, name: str) -> None:
    async def write() -> None:
        there = await _there(api, where, name)
        if there is not None:
            with contextlib.suppress(Gone):
                await api.request("DELETE", f"{where}/{name}", body={"preconditions": _same(there)})

    await _unhindered(write)


async def _unhindered(write: Callable[[], Awaitable[None]]) -> None:
    """Write again, of what is there by then, where another wrote meanwhile: a policy's status is its controller's."""
    for left in reversed(range(_TRIES)):
        try:
            return await write()
        except Drifted:
            if not left:
                raise
    return None


def _same(there: dict[str, Any]) -> dict[str, str]:
    """Return what says which object, and which state of it, is meant; ours alone is.

    Raises:
        Refused: it is somebody else's.
    """
    metadata = there["metadata"]
    if not OURS.items() <= (metadata.get("labels") or {}).items():
        raise Refused(f"{there.get('kind', '')} {printable(metadata['name'])} is somebody else's, and is left alone")
    return {key: metadata[key] for key in ("uid", "resourceVersion")}


def _pod(image: str) -> dict[str, Any]:
    """Return a pod of an image that any namespace takes, whatever its Pod Security says."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    least = {"cpu": "1m", "memory": "4Mi"}
    container = {
        "name": "asked",
        "image": image,
        "securityContext": security,
        "resources": {"requests": least, "limits": least},
    }
    profile = {"type": "RuntimeDefault"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "mcp-soar-asks-", "labels": OURS},
        "spec": {
            "containers": [container],
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": profile},
        },
    }


async def _asked(api: Api, namespace: str, image: str) -> str | None:
    """Return why a namespace would not take a pod of an image, as a dry run; None if it would."""
    where = path_of(CORE, namespace, "pods")
    try:
        await api.request("POST", where, query={"dryRun": "All"}, body=_pod(image))
    except Transient:
        raise
    except SoarError as exc:
        return str(exc)
    return None


def _namespace(change: Change, world: World) -> str:
    """Return where a pod of an image is asked about: where its server runs."""
    cluster = change.target.system.removeprefix("kubernetes/")
    for server, where, at in workloads(world.inventory):
        if (server, where) == (change.target.server, cluster):
            return at.namespace
    raise Gone(f"the inventory has no place of {change.target.server} at {change.target.system} any more")


def _whose(way: str, target: Target) -> str:
    """Return what a refusal names: any policy of ours does where each of them refuses."""
    return PREFIX if way == BY_ID else target.id


async def _kept_out(change: Change, world: World) -> Finding:
    """Ask whether a pod of an image is refused by our policy, however it is written, and another one is not."""
    target, expected = change.target, say("a new pod of it is refused by our policy, and one of another image is not")
    ways = spellings(target.name)
    try:
        api, namespace, asked_as = _api(target, world), _namespace(change, world), await _api(target, world).who()
        until = time.monotonic() + (0.0 if await _admitted(change, world) else _HEEDED)
        while True:
            said = await asyncio.gather(*(_asked(api, namespace, way) for way in ways))
            not_ours = [
                why for way, why in zip(ways, said, strict=True) if why is None or _whose(way, target) not in why
            ]
            if not not_ours or time.monotonic() >= until:
                break
            await asyncio.sleep(_EVERY)
        control = await _asked(api, namespace, f"{_repository(target.name)}:{_CONTROL}")
        gone = await _admitted(change, world)
    except SoarError as exc:
        return finding("admission", target, expected, str(exc), Answer.UNKNOWN)
    let_in = [way for way, why in zip(ways, said, strict=True) if why is None]
    if let_in:
        observed = say("a new pod of {a} is let in", a=", ".join(let_in))
        return finding("admission", target, expected, observed, Answer.NOT_ESTABLISHED, asked_as=asked_as)
    if gone:
        # The cluster heeds for seconds what is not there any more; and whoever names our policy need not be it.
        observed = say("it is refused at this moment, but our policy is not there as we wrote it")
        return finding("admission", target, expected, observed, Answer.NOT_ESTABLISHED, asked_as=asked_as)
    if not_ours:
        observed = say("it is refused for another reason: {a}", a=not_ours[0])
        return finding("admission", target, expected, observed, Answer.UNKNOWN, asked_as=asked_as)
    if control is not None:
        observed = say("a pod of another image is refused too: {a}", a=control)
        return finding("admission", target, expected, observed, Answer.UNKNOWN, asked_as=asked_as)
    return finding("admission", target, expected, expected, Answer.ESTABLISHED, asked_as=asked_as)


async def _let_in(change: Change, world: World) -> Finding:
    """Ask whether a pod of an image would be let in as before; what others refuse is theirs."""
    target = change.target
    expected = say("a new pod of it is not refused by us") if change.before else say("it is kept out, as before")
    try:
        api, namespace, asked_as = _api(target, world), _namespace(change, world), await _api(target, world).who()
        until = time.monotonic() + (_HEEDED if await _admitted(change, world) else 0.0)
        while True:
            said = await _asked(api, namespace, target.name)
            refused = said is not None and target.id in said
            if refused is not bool(change.before) or time.monotonic() >= until:
                break
            await asyncio.sleep(_EVERY)
    except SoarError as exc:
        return finding("admission", target, expected, str(exc), Answer.UNKNOWN)
    same = refused is not bool(change.before)
    observed = expected if same else said or say("a new pod of {a} is let in", a=target.name)
    return finding(
        "admission",
        target,
        expected,
        observed,
        Answer.ESTABLISHED if same else Answer.NOT_ESTABLISHED,
        asked_as=asked_as,
    )


ACTIONS: Final = (DenyImage,)
