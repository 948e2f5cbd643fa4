"""The tokens of the accounts that a server's pods run as, which end with the account.

Source: Kubernetes documentation, "Managing Service Accounts": a token counts while the account, by its uid, and the pod
or secret that it is bound to are there; what verifies it by its signature alone asks nobody.
"""

import asyncio
import time
from typing import Any, ClassVar, Final

from pydantic import JsonValue
from typing_extensions import override

from integrations.hostile import printable
from integrations.systems.kubernetes.actions import api_of
from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.held import CLOUDS
from integrations.systems.kubernetes.runs_as import accounts_of, besides, still
from integrations.systems.kubernetes.workload import CORE, PODS, OfServer
from playbooks.action import World
from playbooks.errors import Drifted, Gone, Misconfigured, SoarError
from playbooks.gate.plan import Answer, Change, Finding, Irreversible, Plan, Radius, Target, Verdict
from playbooks.text.sentences import made_of, say

_REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_FORGOTTEN: Final = 25.0
"""Seconds within which the API server forgets whom it let in; it remembers for ten."""

_EVERY: Final = 0.5
_LASTS: Final = 600
"""Seconds for which a token of ours is made to count; the API server makes none that ends sooner."""

_TRIES: Final = 3

_CANARIES: Final[dict[tuple[str, str], tuple[str, float]]] = {}
"""A token of each account that we revoked, made just before, by cluster and the account's uid: it proves a cut.

With it is when it proves one no longer, by this machine's clock: it runs out by itself then. It is nowhere but here.
Another process has none, and goes by the API server's word.
"""


def _path(target: Target) -> str:
    namespace, _, name = target.name.partition("/")
    return path_of(CORE, namespace, "serviceaccounts", name)


def kept_of(raw: dict[str, Any]) -> dict[str, Any]:
    """Return what of an object is its maker's, and has to be there again."""
    metadata = raw["metadata"]
    own = {key: metadata[key] for key in ("labels", "annotations", "ownerReferences") if metadata.get(key)}
    rest = ("imagePullSecrets", "automountServiceAccountToken", "secrets", "roleRef", "subjects")
    return {"metadata": own, **{key: raw[key] for key in rest if key in raw}}


async def there(api: Api, path: str) -> dict[str, Any] | None:
    """Return an object; None if there is none."""
    try:
        return await api.request("GET", path)
    except Gone:
        return None


class RevokeTokens(OfServer):
    """Revokes every token of the account that a server's pods run as: makes it anew, with another uid.

    Pods that go on running are issued new ones: where it is they that nobody trusts, they end first.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.revoke_account_tokens"
    takes: ClassVar[str] = "tokens"
    irreversible: ClassVar[Irreversible | None] = Irreversible(because=say("a revoked token never comes back"))
    permissions: ClassVar[tuple[str, ...]] = (
        *PODS,
        "get serviceaccounts",
        "create serviceaccounts",
        "delete serviceaccounts",
        "update serviceaccounts",
        "create serviceaccounts/token",
        "create tokenreviews.authentication.k8s.io",
    )

    @override
    async def plan(self, world: World) -> Plan:
        changes: dict[str, Change] = {}
        also: set[str] = set()
        clouds: set[str] = set()
        absent: list[str] = []
        for account in await accounts_of(self.server, self.system, world):
            raw = await there(world.reach(Api, account.cluster), account.path)
            if raw is None:
                # No pod starts as one that is not there, so that whoever writes its name saves no other.
                absent.append(account.path)
                continue
            kept = kept_of(raw)
            target = account.target("serviceaccount", raw["metadata"]["uid"])
            change = Change(
                target=target, field="tokens", before={"valid": True, **kept}, after={"valid": False, **kept}
            )
            changes[change.grip] = change
            also |= await account.others(world)
            annotations: dict[str, str] = kept["metadata"].get("annotations") or {}
            clouds |= {printable(annotations[key]) for key in CLOUDS if key in annotations}
        if not changes:
            raise Gone(f"there is no account {', '.join(absent)}")
        said = say(
            "All that runs as {a} is turned away by its cluster until it is issued a new token, within the hour",
            a=", ".join(sorted({str(one.target) for one in changes.values()})),
        )
        if also:
            said = made_of(said, lambda id_: f"{id_}. {{b}} runs as it too", b=", ".join(sorted(also)))
        if clouds:
            said = made_of(
                said,
                lambda id_: (
                    f"{id_}. {{c}} takes its tokens by their signature, until they run out: end its sessions there"
                ),
                c=", ".join(sorted(clouds)),
            )
        named = ", ".join(f"{one.target} at {one.target.system.replace('/', ' ')}" for one in changes.values())
        return self.plan_of(
            summary=say("Revoke every token of {a}", a=named),
            changes=changes.values(),
            radius=Radius.FLEET if also else None,
            breaks=said,
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        raw = await there(api_of(change.target, world), _path(change.target))
        if raw is None:
            # Whoever took it away has not put it back: that is still to be done.
            before: JsonValue = change.before
            return before
        return {"valid": raw["metadata"]["uid"] == change.target.id, **kept_of(raw)}

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        api, path = api_of(change.target, world), _path(change.target)
        wanted = {name: value for name, value in change.after.items() if name != "valid"}
        for left in reversed(range(_TRIES)):
            try:
                raw = await there(api, path)
                if raw is not None and raw["metadata"]["uid"] == change.target.id:
                    await still(change.target, world)
                    await _mint(api, change.target)
                    same = {name: raw["metadata"][name] for name in ("uid", "resourceVersion")}
                    await api.request("DELETE", path, body={"preconditions": same})
                    raw = await there(api, path)
                if raw is None:
                    await api.request("POST", path.rpartition("/")[0], body=_body(change.target, wanted))
                elif kept_of(raw) != wanted:
                    # A controller makes `default` anew at once, and knows nothing of what was written there.
                    body = _body(change.target, wanted)
                    body["metadata"]["resourceVersion"] = raw["metadata"]["resourceVersion"]
                    await api.request("PUT", path, body=body)
            except Drifted:
                if not left:
                    raise
            else:
                return

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        some = await asyncio.gather(unnamed(plan, world), *(_dead(change, world) for change in plan.changes))
        return Verdict.of(tuple(finding for findings in some for finding in findings))

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        # Nothing of it comes back.
        return Verdict(answer=Answer.ESTABLISHED)


def _body(target: Target, wanted: dict[str, Any]) -> dict[str, Any]:
    namespace, _, name = target.name.partition("/")
    metadata = {**wanted["metadata"], "name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ServiceAccount", **wanted, "metadata": metadata}


async def _token(api: Api, target: Target) -> str:
    """Return a new token of an account as it is now, for some minutes."""
    spec = {"expirationSeconds": _LASTS}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    found = await api.request("POST", f"{_path(target)}/token", body=body)
    return str(found["status"]["token"])


async def _mint(api: Api, target: Target) -> None:
    """Keep a token of an account that is about to be revoked, once it is seen to count."""
    if _canary(target) is None:
        # While it is tried it is not to run out either.
        until = time.monotonic() + _LASTS - 2 * _FORGOTTEN
        token = await _token(api, target)
        if await _lets_in(api, token):
            _CANARIES[target.system, target.id] = token, until


def _canary(target: Target) -> str | None:
    """Return a token from before an account's cut that would count still but for that; None if there is none."""
    token, until = _CANARIES.get((target.system, target.id), (None, 0.0))
    return token if time.monotonic() < until else None


async def _lets_in(api: Api, token: str) -> bool:
    """Whether the API server takes a token of whoever bears it."""
    bearer = api.bearing(token)
    try:
        await bearer.who()
    except Misconfigured:
        return False
    finally:
        await bearer.aclose()
    return True


async def _reviewed(api: Api, token: str) -> bool:
    """Whether the API server says that a token counts (TokenReview)."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    found = await api.request("POST", _REVIEWS, body=body)
    return bool(found.get("status", {}).get("authenticated"))


async def _dead(change: Change, world: World) -> list[Finding]:
    """Ask whether tokens of an account are turned away, and one that was made since is not."""
    target = change.target
    expected = say("its tokens from before are turned away, and new ones are not")
    try:
        api = api_of(target, world)
        asked_as = f"administrator {await api.who()}"
        raw = await there(api, _path(target))
        if raw is None:
            return [finding("token", target, expected, say("the account is not there any more"), Answer.UNKNOWN)]
        if raw["metadata"]["uid"] == target.id:
            observed = say("it is the same account, and all its tokens count")
            return [finding("token", target, expected, observed, Answer.NOT_ESTABLISHED, asked_as=asked_as)]
        # Of what another process cut, or we a while ago, there is no token to try.
        old, new = _canary(target), await _token(api, target)
        if not await _lets_in(api, new) or not await _reviewed(api, new):
            observed = say("a new token is turned away too: that says nothing of the ones before")
            return [finding("control", target, expected, observed, Answer.UNKNOWN, asked_as=asked_as)]
        findings = [await _tried(target, api, old)] if old else []
        if not old:
            observed = say("the account is another one by its uid, which no token from before is for")
            findings.append(finding("token", target, expected, observed, Answer.ESTABLISHED, asked_as=asked_as))
    except SoarError as exc:
        return [finding("token", target, expected, str(exc), Answer.UNKNOWN)]
    return findings


async def _tried(target: Target, api: Api, old: str) -> Finding:
    """Try a token from before until it is forgotten."""
    expected = say("its tokens from before are turned away, and new ones are not")
    until = time.monotonic() + _FORGOTTEN
    while True:
        lets_in = await _lets_in(api, old) or await _reviewed(api, old)
        if not lets_in or time.monotonic() >= until:
            break
        await asyncio.sleep(_EVERY)
    if lets_in:
        observed, answer = say("a token from before is let in still"), Answer.NOT_ESTABLISHED
    else:
        observed, answer = expected, Answer.ESTABLISHED
    return finding("token", target, expected, observed, answer, asked_as=say("a token made before the cut"))


async def unnamed(plan: Plan, world: World) -> list[Finding]:
    """Ask whether a server's pods run as another account by now than those that a plan names; nothing if not."""
    target, expected = plan.changes[0].target, say("its pods run as no other account")
    try:
        also = await besides(plan, world)
    except SoarError as exc:
        return [finding("account", target, expected, str(exc), Answer.UNKNOWN)]
    if not also:
        return []
    observed = say("its pods run as {a} too, which the plan does not name", a=", ".join(map(printable, sorted(also))))
    return [finding("account", target, expected, observed, Answer.NOT_ESTABLISHED, asked_as="administrator")]


ACTIONS: Final = (RevokeTokens,)
