"""The account that a server's pods run as: its tokens are turned away, live, and what of it stays is put back."""

import base64
import ssl
import urllib.error
import urllib.request
from typing import Any

import pytest

from integrations import registry
from integrations.systems.kubernetes import accounts
from integrations.systems.kubernetes.accounts import RevokeTokens
from playbooks.errors import Refused
from playbooks.gate.plan import Answer
from playbooks.strict import canonical
from tests.contract import laws
from tests.integrations.systems.kubernetes.conftest import Yard

PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
INTENT = RevokeTokens(server="weather")


def home(yard: Yard, name: str = "weather") -> str:
    return f"/api/v1/namespaces/{yard.namespace}/serviceaccounts/{name}"


def account(yard: Yard, **metadata: dict[str, str]) -> dict[str, Any]:
    """Have the server's pods, which have ended, run as an account of its own."""
    yard.cluster.ask("POST", home(yard, "").rstrip("/"), {"metadata": {"name": "weather", **metadata}})
    body = {"spec": {"replicas": 0, "template": {"spec": {"serviceAccountName": "weather"}}}}
    yard.cluster.ask("PATCH", yard.path, body, kind=STRATEGIC)

    yard.cluster.until(lambda: not yard.cluster.pods(yard.namespace), "its pods have ended")
    return yard.cluster.ask("GET", home(yard))


def token(yard: Yard, name: str = "weather", **spec: object) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return str(yard.cluster.ask("POST", f"{home(yard, name)}/token", body)["status"]["token"])


def secret_of(yard: Yard) -> str:
    """Return a token that a secret holds for ever, as clusters of before made them."""
    annotations = {"kubernetes.io/service-account.name": "weather"}
    body = {"metadata": {"name": "old", "annotations": annotations}, "type": "kubernetes.io/service-account-token"}
    where = f"/api/v1/namespaces/{yard.namespace}/secrets"
    yard.cluster.ask("POST", where, body)
    yard.cluster.until(lambda: "token" in (yard.cluster.ask("GET", f"{where}/old").get("data") or {}), "it has a token")
    return base64.b64decode(yard.cluster.ask("GET", f"{where}/old")["data"]["token"]).decode()


def lets_in(yard: Yard, bearer: str) -> bool:
    """Whether the API server takes a token, asked without a client of ours."""
    request = urllib.request.Request(  # noqa: S310  # https
        f"{yard.cluster.url}/apis/authentication.k8s.io/v1/selfsubjectreviews",
        data=b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}',
        headers={"authorization": f"Bearer {bearer}", "content-type": "application/json"},
    )
    context = ssl.create_default_context(cadata=yard.cluster.authority)
    try:
        urllib.request.urlopen(request, timeout=30, context=context).close()  # noqa: S310  # https
    except urllib.error.HTTPError as exc:
        if exc.code != 401:  # HTTP
            raise
        return False
    return True


async def test_every_token_from_before_is_turned_away_live_and_a_new_one_is_not(idle: Yard) -> None:
    before = account(idle, annotations={"who": "weather-team"}, labels={"team": "weather"})
    spec = {"containers": [{"name": "one", "image": "registry.example/x:1"}], "nodeSelector": {"there": "is-none"}}
    pod = {"metadata": {"name": "one"}, "spec": {**spec, "serviceAccountName": "weather"}}
    made = idle.cluster.ask("POST", f"/api/v1/namespaces/{idle.namespace}/pods", pod)
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "one", "uid": made["metadata"]["uid"]}
    old = [token(idle), token(idle, boundObjectRef=bound), secret_of(idle)]
    assert all(lets_in(idle, one) for one in old)
    plan = await INTENT.plan(idle.world)
    assert plan.irreversible == RevokeTokens.irreversible
    assert "until it is issued a new token, within the hour. one runs as it too" in plan.breaks
    await laws.speaks_every_language(INTENT, idle.world, registry.SYSTEMS.words)
    assert (await RevokeTokens.verify(plan, idle.world)).answer is Answer.NOT_ESTABLISHED
    await laws.apply(RevokeTokens, plan, idle.world)
    verdict = await RevokeTokens.verify(plan, idle.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    (tried,) = verdict.findings
    assert tried.tried
    assert tried.asked_as == "a token made before the cut"
    idle.cluster.until(lambda: not any(lets_in(idle, one) for one in old), "all of them are forgotten")
    after = idle.cluster.ask("GET", home(idle))
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert [after["metadata"][key] for key in ("annotations", "labels")] == [
        {"who": "weather-team"},
        {"team": "weather"},
    ]
    assert lets_in(idle, token(idle))
    # Twice is once: what is made anew is not made anew again.
    await RevokeTokens.write(plan.changes[0], idle.world, key="drill")
    assert idle.cluster.ask("GET", home(idle)) == after


async def test_where_no_token_from_before_is_known_the_cluster_s_word_is_all_and_that_is_said(
    idle: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    account(idle)
    plan = await INTENT.plan(idle.world)
    await laws.apply(RevokeTokens, plan, idle.world)
    # Another process: it was not there when the token was made.
    monkeypatch.setattr(accounts, "_CANARIES", {})
    verdict = await RevokeTokens.verify(plan, idle.world)
    assert verdict.answer is Answer.ESTABLISHED
    assert not verdict.tried


async def test_what_was_taken_away_by_one_who_died_is_made_anew_by_the_next(
    idle: Yard,
) -> None:
    account(idle, annotations={"who": "weather-team"})
    plan = await INTENT.plan(idle.world)
    idle.cluster.ask("DELETE", home(idle))
    (change,) = plan.changes
    assert await RevokeTokens.read(change, idle.world) == change.before, "it is still to be done"
    assert (await RevokeTokens.verify(plan, idle.world)).answer is Answer.UNKNOWN
    await laws.apply(RevokeTokens, plan, idle.world)
    assert idle.cluster.ask("GET", home(idle))["metadata"]["annotations"] == {"who": "weather-team"}


async def test_the_account_that_every_namespace_has_is_made_anew_by_its_controller_and_gets_back_what_it_had(
    idle: Yard,
) -> None:
    pull = {"imagePullSecrets": [{"name": "registry"}], "automountServiceAccountToken": False}
    idle.cluster.ask("PATCH", home(idle, "default"), pull, kind=PATCH)
    plan = await INTENT.plan(idle.world)
    assert plan.changes[0].target.name == f"{idle.namespace}/default"
    await laws.apply(RevokeTokens, plan, idle.world)
    after = idle.cluster.ask("GET", home(idle, "default"))
    assert after["metadata"]["uid"] != plan.changes[0].target.id
    assert {key: after[key] for key in pull} == pull


async def test_who_takes_its_tokens_without_asking_the_cluster_is_named(idle: Yard) -> None:
    account(idle, annotations={"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/weather"})
    plan = await INTENT.plan(idle.world)
    assert "arn:aws:iam::111122223333:role/weather takes its tokens by their signature" in plan.breaks
    await laws.speaks_every_language(INTENT, idle.world, registry.SYSTEMS.words)


async def test_an_account_of_its_name_that_somebody_else_made_anew_is_not_taken_away(idle: Yard) -> None:
    account(idle)
    plan = await INTENT.plan(idle.world)
    idle.cluster.ask("DELETE", home(idle))
    made = idle.cluster.ask("POST", home(idle, "").rstrip("/"), {"metadata": {"name": "weather"}})
    assert await RevokeTokens.read(plan.changes[0], idle.world) == plan.changes[0].after, "its tokens are dead already"
    await laws.apply(RevokeTokens, plan, idle.world)
    assert idle.cluster.ask("GET", home(idle))["metadata"]["uid"] == made["metadata"]["uid"]


async def test_an_account_that_was_changed_since_is_planned_again(idle: Yard) -> None:
    account(idle)
    plan = await INTENT.plan(idle.world)
    idle.cluster.ask("PATCH", home(idle), {"metadata": {"labels": {"new": "one"}}}, kind=PATCH)
    assert canonical(await RevokeTokens.read(plan.changes[0], idle.world)) not in {
        canonical(plan.changes[0].before),
        canonical(plan.changes[0].after),
    }


async def test_our_own_account_is_never_a_target(idle: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    account(idle)

    async def who() -> str:
        return f"system:serviceaccount:{idle.namespace}:weather"

    monkeypatch.setattr(idle.api, "who", who)
    with pytest.raises(Refused, match="mcp-soar's own account"):
        await INTENT.plan(idle.world)


async def test_a_cluster_that_takes_nobody_s_token_proves_nothing(idle: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    account(idle)
    plan = await INTENT.plan(idle.world)
    await laws.apply(RevokeTokens, plan, idle.world)

    async def nobody(*_: object) -> bool:
        return False

    monkeypatch.setattr(accounts, "_lets_in", nobody)
    verdict = await RevokeTokens.verify(plan, idle.world)
    assert verdict.answer is Answer.UNKNOWN
    assert verdict.findings[0].check == "control"
