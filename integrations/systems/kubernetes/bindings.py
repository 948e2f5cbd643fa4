"""The rights that the account of a server's pods was given, taken away and given back.

Source: Kubernetes documentation, "Using RBAC Authorization": rights only add up, and none is denied; whoever binds a
role has to have its rights, or the verb `bind` on it, so that what can be taken away cannot always be given back.
"""

import asyncio
from typing import Any, ClassVar, Final
from urllib.parse import quote

from pydantic import JsonValue
from typing_extensions import override

from integrations.hostile import printable
from integrations.systems.kubernetes.accounts import kept_of, there, unnamed
from integrations.systems.kubernetes.actions import api_of
from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.runs_as import Account, accounts_of, again, still
from integrations.systems.kubernetes.workload import PODS, OfServer, listed
from playbooks.action import World
from playbooks.errors import Drifted, Misconfigured, SoarError, Transient
from playbooks.gate.plan import Answer, Change, Finding, Irreversible, Plan, Radius, Verdict
from playbooks.strict import canonical, digest
from playbooks.text.sentences import made_of, say

FIELD: Final = "bindings"
_RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
_ACCESS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_TRIES: Final = 3
_NAMED: Final = 5
_SAMPLED: Final = 12
"""Rights of a role that are asked about."""


class RemoveBindings(OfServer):
    """Takes away the rights that were given to the account of a server's pods: its role bindings, and the cluster's.

    Where we may not bind such a role, it cannot be given back by us; that is tried beforehand, as a dry run.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.remove_bindings"
    takes: ClassVar[str] = "rights"
    permissions: ClassVar[tuple[str, ...]] = (
        *PODS,
        *(
            f"{verb} {kind}.rbac.authorization.k8s.io"
            for kind in ("rolebindings", "clusterrolebindings")
            for verb in ("get", "list", "create", "update", "delete")
        ),
        "get roles.rbac.authorization.k8s.io",
        "get clusterroles.rbac.authorization.k8s.io",
        "create subjectaccessreviews.authorization.k8s.io",
    )

    @override
    async def plan(self, world: World) -> Plan:
        changes: dict[str, Change] = {}
        closed: list[str] = []
        by_group: list[str] = []
        also: set[str] = set()
        for account in await accounts_of(self.server, self.system, world):
            api = world.reach(Api, account.cluster)
            bound, grouped = await _bound(account, api)
            by_group += grouped
            after: dict[str, Any] = {}
            for where, raw in bound.items():
                if not await _takes(api, where, raw, _without(kept_of(raw), account)):
                    # It gives others their rights too, which we may not bind: then nobody's are touched.
                    after[where] = kept_of(raw)
                    by_group.append(_named(where))
                elif not await _gives_back(api, where, raw):
                    closed.append(_named(where))
            change = Change(
                target=account.target("account", account.user),
                field=FIELD,
                before={where: kept_of(raw) for where, raw in bound.items()},
                after=after,
            )
            changes[change.grip] = change
            also |= await account.others(world)
        taken = sorted({_named(w) for one in changes.values() for w in one.before if one.after.get(w) != one.before[w]})
        said = say("What runs as it may do at its cluster what anybody may ({a} taken away)", a=", ".join(taken) or "0")
        if by_group:
            said = made_of(
                said,
                lambda id_: f"{id_}. {{b}} stays: others have their rights by it",
                b=", ".join(sorted(set(by_group))),
            )
        if also:
            said = made_of(said, lambda id_: f"{id_}. {{c}} runs as it too", c=", ".join(sorted(also)))
        named = ", ".join(f"{one.target} at {one.target.system.replace('/', ' ')}" for one in changes.values())
        because = say(
            "we may not bind what {a} binds: people make it again, from this plan", a=", ".join(sorted(closed))
        )
        return self.plan_of(
            summary=say("Take the rights of {a} away", a=named),
            changes=changes.values(),
            radius=Radius.FLEET if also else None,
            irreversible=Irreversible(because=because) if closed else None,
            breaks=said,
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        return await held(change.target.id, await again(change.target, world), world)

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        account, api = await again(change.target, world), api_of(change.target, world)
        if any(_binds(kept, account) and not _binds(change.after.get(w), account) for w, kept in change.before.items()):
            await still(change.target, world)
        every = sorted({*change.before, *change.after})
        for where in every:
            # Before anything is written: none of it is, where one of them has become another.
            _next(where, await there(api, _url(where)), change.after.get(where), account)
        for where in every:
            await _bring(api, where, change.after.get(where), account)

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        found = await asyncio.gather(*(_powerless(change, world) for change in plan.changes))
        return Verdict.of((*await unnamed(plan, world), *found))

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return Verdict.of(tuple(await asyncio.gather(*(_back(change, world) for change in plan.changes))))


def _binds(kept: dict[str, Any] | None, account: Account) -> bool:
    return any(_is(one, account) for one in (kept or {}).get("subjects") or ())


def _is(subject: dict[str, Any], account: Account) -> bool:
    """Whether what a binding binds is an account itself."""
    if subject.get("kind") == "User":
        return subject.get("name") == account.user
    return subject.get("kind") == "ServiceAccount" and (subject.get("namespace"), subject.get("name")) == (
        account.at.namespace,
        account.name,
    )


async def _bound(account: Account, api: Api) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the bindings that bind an account itself, by their paths; and those that bind a group that it is of.

    Those of every namespace: an account may be given rights in another one than its own.
    """
    found: dict[str, dict[str, Any]] = {}
    grouped: list[str] = []
    for kind in ("rolebindings", "clusterrolebindings"):
        for raw in await listed(api, f"{_RBAC}/{kind}"):
            namespace = raw["metadata"].get("namespace")
            within = f"namespaces/{namespace}/{kind}" if namespace else kind
            path = f"{_RBAC}/{within}/{raw['metadata']['name']}"
            subjects = raw.get("subjects") or ()
            ships = (raw["metadata"].get("labels") or {}).get("kubernetes.io/bootstrapping") == "rbac-defaults"
            if any(_is(one, account) for one in subjects):
                found[path] = raw
            elif not ships and any(
                one.get("kind") == "Group" and one.get("name") in account.groups for one in subjects
            ):
                grouped.append(_named(path))
    return found, grouped


def _url(where: str) -> str:
    """Return a path as it is asked for: a name of RBAC may hold what would end a path."""
    return quote(where, safe="/:")


def _named(where: str) -> str:
    """Return what a binding is called, from its path, and in which namespace it is."""
    kind, name = where.split("/")[-2:]
    within = f"{where.split('/')[5]}/" if "/namespaces/" in where else ""
    return f"{kind.removesuffix('s')} {printable(within + name)}"


def _without(kept: dict[str, Any], account: Account) -> dict[str, Any] | None:
    """Return a binding without an account; None if nobody is left."""
    left = [one for one in kept.get("subjects") or () if not _is(one, account)]
    return {**kept, "subjects": left} if left else None


def _written(where: str, wanted: dict[str, Any], **metadata: object) -> dict[str, Any]:
    kind = "RoleBinding" if "/namespaces/" in where else "ClusterRoleBinding"
    own = {**wanted["metadata"], "name": where.rpartition("/")[2], **metadata}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, **wanted, "metadata": own}


async def _may(api: Api, method: str, path: str, body: dict[str, Any]) -> bool:
    """Whether the cluster would take a request from us, as a dry run."""
    # A deletion that has a body is read from that alone: what its query says of a dry run would not count.
    dry = {**body, "dryRun": ["All"]} if method == "DELETE" else body
    try:
        await api.request(method, path, query={"dryRun": "All"}, body=dry)
    except Transient:
        raise
    except SoarError:
        return False
    return True


async def _takes(api: Api, where: str, raw: dict[str, Any], left: dict[str, Any] | None) -> bool:
    same = {name: raw["metadata"][name] for name in ("uid", "resourceVersion")}
    if left is None:
        if not await _may(api, "DELETE", _url(where), {"preconditions": same}):
            raise Misconfigured(f"our account may not take {_named(where)} away: give it what doctor names")
        return True
    return await _may(api, "PUT", _url(where), _written(where, left, **same))


async def _gives_back(api: Api, where: str, raw: dict[str, Any]) -> bool:
    """Whether we may make a binding again; under its name there is one, so another name is tried."""
    name = f"mcp-soar-rehearsal-{digest(where).removeprefix('sha256:')[:12]}"
    return await _may(api, "POST", where.rpartition("/")[0], _written(where, kept_of(raw), name=name))


async def held(id_: str, account: Account, world: World) -> JsonValue:
    """Return the bindings that bind an account itself, as they are written; None if it is another account.

    Args:
        id_: what it is called as a user.
        account: the one that is looked at.
        world: the connections.
    """
    if account.user != id_:
        return None
    bound, _ = await _bound(account, world.reach(Api, account.cluster))
    return {where: kept_of(raw) for where, raw in bound.items()}


def _next(
    where: str, raw: dict[str, Any] | None, wanted: dict[str, Any] | None, account: Account
) -> dict[str, Any] | None:
    """Return what a binding is to be: with an account as it was, or without it; what others have by it stays.

    Args:
        where: its path.
        raw: as it is now; None if there is none.
        wanted: as it was with the account; None if it is to be without.
        account: the account.

    Raises:
        Drifted: it binds another role now.
    """
    kept = None if raw is None else kept_of(raw)
    if wanted is None:
        return kept and _without(kept, account)
    mine = [one for one in wanted["subjects"] if _is(one, account)]
    if kept is None:
        # Whoever took it away took it from others too: they are not given it again by us.
        return {**wanted, "subjects": mine}
    if kept["roleRef"] != wanted["roleRef"]:
        raise Drifted(f"{_named(where)} binds another role than the plan says: nobody is added to it")
    if kept == wanted or kept == _without(wanted, account):
        return wanted
    theirs = [one for one in kept.get("subjects") or () if not _is(one, account)]
    return {**kept, "subjects": [*theirs, *mine]}


async def _bring(api: Api, where: str, wanted: dict[str, Any] | None, account: Account) -> None:
    """Have a binding bind an account as is wanted, or not at all."""
    for left in reversed(range(_TRIES)):
        raw = await there(api, _url(where))
        body = _next(where, raw, wanted, account)
        if (None if raw is None else kept_of(raw)) == body:
            return
        try:
            if raw is None:
                await api.request("POST", where.rpartition("/")[0], body=_written(where, body or {}))
            else:
                same = {name: raw["metadata"][name] for name in ("uid", "resourceVersion")}
                if body is None:
                    await api.request("DELETE", _url(where), body={"preconditions": same})
                else:
                    await api.request("PUT", _url(where), body=_written(where, body, **same))
        except Drifted:
            # Somebody else wrote between, and what they wrote is looked at anew.
            if not left:
                raise
        else:
            return


async def _sampled(api: Api, where: str, binding: dict[str, Any]) -> list[dict[str, str]]:
    """Return some of the rights that a binding gave, as a question asks for them."""
    namespace = where.split("/")[5] if "/namespaces/" in where else ""
    ref = binding["roleRef"]
    path = (
        path_of(_RBAC, namespace, "roles", ref["name"])
        if ref["kind"] == "Role"
        else _url(f"{_RBAC}/clusterroles/{ref['name']}")
    )
    role = await there(api, path)
    asked = [
        {
            "verb": verb,
            "group": group,
            "resource": resource.partition("/")[0],
            "subresource": resource.partition("/")[2],
        }
        for rule in (role or {}).get("rules") or ()
        for group in rule.get("apiGroups") or ()
        for resource in rule.get("resources") or ()
        for verb in rule.get("verbs") or ()
        # What is for objects of a name alone is asked of one of them.
        if not rule.get("resourceNames")
    ]
    return [{**one, **({"namespace": namespace} if namespace else {})} for one in asked[:_SAMPLED]]


async def _access(api: Api, account: Account, asked: dict[str, str]) -> tuple[bool, str]:
    """Return whether an account may do something, and why, as the API server says it."""
    spec = {"user": account.user, "groups": account.groups, "resourceAttributes": asked}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    status = (await api.request("POST", _ACCESS, body=body)).get("status", {})
    return bool(status.get("allowed")), str(status.get("reason", ""))


async def _rights(change: Change, world: World) -> tuple[Account, str, list[str]]:
    """Return as whom we asked, and what of the rights that a plan takes away the account has."""
    account = await again(change.target, world)
    api = world.reach(Api, account.cluster)
    asked_as = await api.who()
    some = await asyncio.gather(*(_sampled(api, where, kept) for where, kept in change.before.items()))
    unique = list({canonical(one): one for asked in some for one in asked}.values())
    found = await asyncio.gather(*(_access(api, account, one) for one in unique))
    has = [
        f"{one['verb']} {one['resource']}: {printable(why)}"
        for one, (allowed, why) in zip(unique, found, strict=True)
        if allowed
    ]
    return account, asked_as, has


async def _powerless(change: Change, world: World) -> Finding:
    target, expected = change.target, say("it may do none of what it was given")
    try:
        _, asked_as, has = await _rights(change, world)
        bound = await RemoveBindings.read(change, world)
    except SoarError as exc:
        return finding("rights", target, expected, str(exc), Answer.UNKNOWN)
    asked_as = f"administrator {asked_as}"
    if has:
        return finding("rights", target, expected, "; ".join(has[:_NAMED]), Answer.NOT_ESTABLISHED, asked_as=asked_as)
    if canonical(bound) != canonical(change.after):
        observed = say("it is bound otherwise than the plan says")
        return finding("rights", target, expected, observed, Answer.NOT_ESTABLISHED, asked_as=asked_as)
    return finding("rights", target, expected, expected, Answer.ESTABLISHED, asked_as=asked_as)


async def _back(change: Change, world: World) -> Finding:
    target, expected = change.target, say("it is bound as before")
    try:
        same = canonical(await RemoveBindings.read(change, world)) == canonical(change.before)
        asked_as = f"administrator {await api_of(target, world).who()}"
    except SoarError as exc:
        return finding("rights", target, expected, str(exc), Answer.UNKNOWN)
    observed = expected if same else say("it is bound otherwise than the plan says")
    answer = Answer.ESTABLISHED if same else Answer.NOT_ESTABLISHED
    return finding("rights", target, expected, observed, answer, asked_as=asked_as)


ACTIONS: Final = (RemoveBindings,)
