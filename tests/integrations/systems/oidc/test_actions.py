"""Tokens are revoked at a real provider, and proven worthless; one that only says so is found out."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from integrations.identity.actions import RevokeToken, RevokeTokens, is_theirs
from integrations.identity.client import Api
from integrations.identity.provider import Identity, Provider
from integrations.identity.tokens import Held, fingerprint
from integrations.registry import SYSTEMS
from integrations.system import Systems
from playbooks.action import Action
from playbooks.errors import Drifted, Misconfigured, Refused, Transient
from playbooks.gate.plan import Answer, Finding, Plan
from tests.contract import laws
from tests.integrations.systems.oidc.conftest import SignedIn
from tests.integrations.systems.oidc.drills import DRILLS
from tests.lab.oidc import AGENT, OTHER, US, kept

LAPTOP, ACCESS, PHONE = "laptop", "access", "phone"
REVOCATION = "token__revocation"
INTROSPECTION = "token__introspection"
NOTHING_DONE = {"status": 200, "body": {}}
INACTIVE = {"status": 200, "body": {"active": False}}

every_action = pytest.mark.parametrize("action", [RevokeToken, RevokeTokens], ids=lambda action: action.name)


def intent(action: type[Action], lab: SignedIn) -> Action:
    return action.model_validate(DRILLS[action.name](lab))


def found(findings: tuple[Finding, ...], check: str) -> Finding:
    (one,) = (finding for finding in findings if finding.check == check)
    return one


async def revoke(lab: SignedIn, action: Action) -> Plan:
    plan = await action.plan(lab.world)
    await laws.apply(type(action), plan, lab.world)
    return plan


@every_action
async def test_each_action_is_held_to_the_laws(signed_in: SignedIn, action: type[Action]) -> None:
    await laws.plan_only_reads(intent(action, signed_in), signed_in.world, signed_in.state)
    await laws.speaks_every_language(intent(action, signed_in), signed_in.world, SYSTEMS.words)
    await laws.the_inverse_restores(intent(action, signed_in), signed_in.world, signed_in.state)


@every_action
async def test_twice_is_once(signed_in: SignedIn, action: type[Action]) -> None:
    await laws.twice_is_once(intent(action, signed_in), signed_in.world, signed_in.state)
    assert await signed_in.state() == b"[false, false]", "a grant's access tokens go with its refresh token"


async def test_the_refresh_token_goes_first_and_each_is_tried_as_whoever_has_it(signed_in: SignedIn) -> None:
    plan = await RevokeTokens(principal=signed_in.user).plan(signed_in.world)
    assert [target.name.rpartition("/")[2] for target in plan.targets] == ["laptop", "access"]
    before = await RevokeTokens.verify(plan, signed_in.world)
    assert before.answer is Answer.NOT_ESTABLISHED
    assert not [one for one in before.findings if one.check == "refresh"], (
        "what is in use is not tried: that makes more"
    )
    await laws.apply(RevokeTokens, plan, signed_in.world)
    verdict = await RevokeTokens.verify(plan, signed_in.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    assert [one.check for one in verdict.findings] == [
        "introspection",
        "refresh",
        "introspection",
        "userinfo",
        "resource",
    ]
    tried = [one.asked_as for one in verdict.findings if one.tried]
    assert tried == [signed_in.user] * 3
    assert verdict.tried


async def test_no_token_is_in_a_plan_or_a_finding_but_its_fingerprint(signed_in: SignedIn) -> None:
    plan = await revoke(signed_in, RevokeTokens(principal=signed_in.user))
    verdict = await RevokeTokens.verify(plan, signed_in.world)
    text = plan.model_dump_json() + verdict.model_dump_json()
    for label in ("laptop", "access"):
        assert signed_in.token(label) not in text
        assert fingerprint(signed_in.token(label)) in text
        assert fingerprint(signed_in.token(label)) in plan.summary, "it is not masked there"
    assert "of client agent, for openid offline_access, until 2" in plan.summary, "after it nobody says that any more"


async def test_an_access_token_alone_is_dead_and_that_another_may_be_issued_is_said(signed_in: SignedIn) -> None:
    plan = await revoke(signed_in, RevokeToken(principal=signed_in.user, token=ACCESS))
    verdict = await RevokeToken.verify(plan, signed_in.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    assert "no refresh token was revoked with it" in found(verdict.findings, "reissue").observed


@every_action
async def test_a_provider_that_says_yes_and_revokes_nothing_is_found_out(
    signed_in: SignedIn, action: type[Action]
) -> None:
    signed_in.provider.lies(**{REVOCATION: NOTHING_DONE})
    plan = await intent(action, signed_in).plan(signed_in.world)
    for change in plan.changes:
        await action.write(change, signed_in.world, key="drill")
    verdict = await action.verify(plan, signed_in.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED
    assert found(verdict.findings[:1], "introspection").observed == "the provider says that it is active"


@every_action
async def test_one_that_denies_it_too_is_found_out_by_whoever_has_the_token(
    signed_in: SignedIn, action: type[Action]
) -> None:
    plan = await intent(action, signed_in).plan(signed_in.world)
    signed_in.provider.lies(**{REVOCATION: NOTHING_DONE, INTROSPECTION: INACTIVE})
    for change in plan.changes:
        await action.write(change, signed_in.world, key="drill")
    verdict = await action.verify(plan, signed_in.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED
    assert found(verdict.findings, "refresh").answer is Answer.NOT_ESTABLISHED
    assert "another token was issued for it" in found(verdict.findings, "refresh").observed


async def test_what_a_refresh_gave_nevertheless_is_revoked_at_once(signed_in: SignedIn) -> None:
    plan = await RevokeToken(principal=signed_in.user, token=LAPTOP).plan(signed_in.world)
    signed_in.provider.lies(**{INTROSPECTION: INACTIVE})
    verdict = await RevokeToken.verify(plan, signed_in.world)
    observed = found(verdict.findings, "refresh").observed
    assert observed == "it works: another token was issued for it, and revoked at once"
    signed_in.provider.lies()
    # Rotation made the old one worthless, and revoking the new one ended the grant.
    assert await signed_in.state() == b"[false, false]"


async def test_a_server_that_never_asks_its_provider_goes_on_taking_the_token(signed_in: SignedIn) -> None:
    plan = await revoke(signed_in, RevokeToken(principal=signed_in.user, token=ACCESS))
    signed_in.provider.lies(mcp={"status": 200, "body": {"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}})
    verdict = await RevokeToken.verify(plan, signed_in.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED
    assert found(verdict.findings, "resource").answer is Answer.NOT_ESTABLISHED


@pytest.mark.parametrize(
    ("lie", "answer"),
    [
        ({"status": 401}, Answer.UNKNOWN),
        ({"status": 500}, Answer.UNKNOWN),
        ({"status": 302, "headers": {"Location": "/nowhere"}}, Answer.UNKNOWN),
    ],
    ids=["turns anybody away", "broken", "sends us elsewhere"],
)
async def test_only_the_refusal_that_is_meant_counts(
    signed_in: SignedIn, lie: dict[str, object], answer: Answer
) -> None:
    plan = await revoke(signed_in, RevokeToken(principal=signed_in.user, token=ACCESS))
    signed_in.provider.lies(me=lie)
    verdict = await RevokeToken.verify(plan, signed_in.world)
    assert found(verdict.findings, "userinfo").answer is answer
    assert verdict.answer is answer


async def test_that_a_token_lacks_a_scope_is_said_of_dead_ones_too_and_decides_nothing(signed_in: SignedIn) -> None:
    """Keycloak looks at the scope first, and answers a revoked token so."""
    plan = await revoke(signed_in, RevokeToken(principal=signed_in.user, token=ACCESS))
    lacks = {"status": 403, "headers": {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}}
    signed_in.provider.lies(me=lacks)
    verdict = await RevokeToken.verify(plan, signed_in.world)
    assert found(verdict.findings, "userinfo").answer is Answer.UNKNOWN
    assert verdict.answer is Answer.ESTABLISHED
    signed_in.provider.lies(me=lacks, **{INTROSPECTION: {"status": 200, "body": {"active": True}}})
    assert (await RevokeToken.verify(plan, signed_in.world)).answer is Answer.NOT_ESTABLISHED


@pytest.mark.parametrize("lie", [{"status": 503, "headers": {"Retry-After": "7"}}, "hang"], ids=["busy", "silent"])
async def test_a_provider_that_does_not_answer_leaves_it_unknown(signed_in: SignedIn, lie: object) -> None:
    plan = await revoke(signed_in, RevokeToken(principal=signed_in.user, token=LAPTOP))
    signed_in.api.patience = 0.3
    signed_in.provider.lies(**{INTROSPECTION: lie, "token": lie, REVOCATION: lie})
    assert (await RevokeToken.verify(plan, signed_in.world)).answer is Answer.UNKNOWN
    with pytest.raises(Transient) as caught:
        await RevokeToken.write(plan.changes[0], signed_in.world, key="drill")
    assert caught.value.retry_after == (None if lie == "hang" else 7.0)


async def test_that_it_is_not_active_proves_nothing_where_it_never_was(signed_in: SignedIn) -> None:
    """Whoever may not introspect a token is told that it is not active: so are we of one that goes on."""
    elsewhere = signed_in.provider.issue(signed_in.user, client=OTHER)
    kept(signed_in.folder, f"{signed_in.user}-laptop", elsewhere["refresh_token"])
    world = signed_in.placed(client=None, secret=None, resource=None)
    signed_in.provider.lies(**{INTROSPECTION: INACTIVE})
    plan = await RevokeToken(principal=signed_in.user, token=LAPTOP).plan(world)
    await laws.apply(RevokeToken, plan, world)
    assert f"POST /{REVOCATION.replace('__', '/')}" in signed_in.provider.seen, "it is revoked all the same"
    assert not signed_in.provider.active(elsewhere["refresh_token"])
    verdict = await RevokeToken.verify(plan, world)
    assert verdict.answer is Answer.UNKNOWN
    assert "whoever may not ask is told the same" in verdict.findings[0].observed
    # The token itself, turned away as whoever has it, is proof all the same.
    signed_in.provider.lies()
    await revoke(signed_in, RevokeToken(principal=signed_in.user, token=ACCESS))
    again = await RevokeToken(principal=signed_in.user, token=ACCESS).plan(signed_in.world)
    assert again.pending == ()
    assert (await RevokeToken.verify(again, signed_in.world)).answer is Answer.ESTABLISHED


async def test_a_server_that_turns_anybody_away_is_not_the_only_witness(signed_in: SignedIn) -> None:
    """The server under suspicion, or one that is down, says 401 of a token that goes on."""
    issuer = signed_in.provider.issuer
    described = {
        "issuer": issuer,
        "introspection_endpoint": f"{issuer}/token/introspection",
        "revocation_endpoint": f"{issuer}/token/revocation",
    }
    silent = {".well-known/openid-configuration": {"status": 200, "body": described}, "mcp": {"status": 401}}
    signed_in.provider.lies(**silent, **{INTROSPECTION: INACTIVE, REVOCATION: NOTHING_DONE})
    intent = RevokeToken(principal=signed_in.user, token=ACCESS)
    plan = await intent.plan(signed_in.world)
    assert plan.pending, "nobody knows that it is revoked"
    await laws.apply(RevokeToken, plan, signed_in.world)
    verdict = await RevokeToken.verify(plan, signed_in.world)
    assert verdict.answer is Answer.UNKNOWN
    assert found(verdict.findings, "resource").answer is Answer.UNKNOWN
    # That it is in use after all, as we are let ask by now, is no other than what was approved.
    signed_in.provider.lies(**silent)
    await laws.apply(RevokeToken, plan, signed_in.world)
    assert not signed_in.provider.active(signed_in.token(ACCESS))


async def test_a_process_that_starts_after_the_plan_finds_done_what_that_saw(signed_in: SignedIn) -> None:
    plan = await revoke(signed_in, RevokeToken(principal=signed_in.user, token=ACCESS))
    signed_in.api._seen.clear()  # noqa: SLF001  # as another process
    assert await RevokeToken.read(plan.changes[0], signed_in.world) is True
    assert (await RevokeToken.verify(plan, signed_in.world)).answer is Answer.ESTABLISHED


async def test_a_token_of_somebody_else_is_refused(signed_in: SignedIn) -> None:
    for user, client, says in (
        ("mallory", AGENT, "issued to subject mallory, and the inventory says"),
        (signed_in.user, OTHER, "issued to client other, and the inventory says agent"),
        (signed_in.user, US, "never a target"),
    ):
        issued = signed_in.provider.issue(user, client=client)
        kept(signed_in.folder, f"{signed_in.user}-laptop", issued["refresh_token"])
        with pytest.raises(Refused, match=says):
            await RevokeToken(principal=signed_in.user, token=LAPTOP).plan(signed_in.world)


async def test_a_token_of_which_nobody_says_whose_it_is_is_refused(signed_in: SignedIn) -> None:
    intent = RevokeToken(principal=signed_in.user, token=LAPTOP)
    signed_in.provider.lies(**{INTROSPECTION: {"status": 200, "body": {"active": True, "client_id": AGENT}}})
    with pytest.raises(Refused, match="does not say to whom"):
        await intent.plan(signed_in.world)
    named = {"active": True, "client_id": AGENT, "username": signed_in.user}
    signed_in.provider.lies(**{INTROSPECTION: {"status": 200, "body": named}})
    assert (await intent.plan(signed_in.world)).pending


@pytest.mark.parametrize(
    ("said", "theirs"),
    [
        ({"client_id": AGENT}, True),
        ({"client_id": AGENT, "sub": AGENT}, True),
        ({"client_id": AGENT, "sub": "alice"}, False),
        ({"client_id": AGENT, "username": "alice"}, False),
        ({"client_id": AGENT, "sub": "alice", "username": AGENT}, False),
    ],
    ids=["says no subject", "is its own subject", "of a user", "of a user by name", "of a user called like it"],
)
def test_a_user_who_signed_in_at_a_client_is_not_that_client(
    said: dict[str, str],
    theirs: bool,  # noqa: FBT001  # a row
    tmp_path: Path,
) -> None:
    one = Held(AGENT, "sso", Identity(user=AGENT, client=AGENT), LAPTOP, "refresh_token", "t" * 40)
    settings = Provider(kind="oidc", issuer="http://127.0.0.1:1", client=US, secret=kept(tmp_path, US, "s" * 16))
    with nullcontext() if theirs else pytest.raises(Refused, match="issued to"):
        is_theirs(one, said, Api("sso", settings, "s" * 16))


@pytest.mark.parametrize("claim", ["sub", "client_id", "username"])
@pytest.mark.parametrize("value", [[US], {"x": 1}, 7, True], ids=str)
def test_a_token_of_something_that_is_no_name_is_refused(claim: str, value: object, tmp_path: Path) -> None:
    at = Identity(user="alice", client=AGENT)
    one = Held("alice", "sso", at, LAPTOP, "refresh_token", "t" * 40)
    settings = Provider(kind="oidc", issuer="http://127.0.0.1:1", client=US, secret=kept(tmp_path, US, "s" * 16))
    whose = {"sub": "alice", "client_id": AGENT}
    is_theirs(one, whose, Api("sso", settings, "s" * 16))
    with pytest.raises(Refused, match="nobody is that"):
        is_theirs(one, {**whose, claim: value}, Api("sso", settings, "s" * 16))


async def test_what_is_held_under_the_name_by_now_is_not_what_was_approved(signed_in: SignedIn) -> None:
    plan = await RevokeToken(principal=signed_in.user, token=LAPTOP).plan(signed_in.world)
    kept(signed_in.folder, f"{signed_in.user}-laptop", signed_in.provider.issue(signed_in.user)["refresh_token"])
    for asked in (RevokeToken.read(plan.changes[0], signed_in.world), RevokeToken.verify(plan, signed_in.world)):
        with pytest.raises(Drifted, match="is another one by now"):
            await asked
    with pytest.raises(Drifted):
        await RevokeToken.write(plan.changes[0], signed_in.world, key="drill")
    assert await signed_in.state() == b"[true, true]"


@pytest.mark.parametrize("text", ["", "short", "with a blank in its very middle"])
async def test_what_is_no_token_is_not_sent_anywhere(signed_in: SignedIn, text: str) -> None:
    kept(signed_in.folder, f"{signed_in.user}-laptop", text)
    signed_in.provider.lies()
    with pytest.raises(Misconfigured, match=r"refresh\.laptop"):
        await RevokeToken(principal=signed_in.user, token=LAPTOP).plan(signed_in.world)
    assert signed_in.provider.seen == []


async def test_whoever_has_no_token_there_is_told_so(signed_in: SignedIn) -> None:
    world = signed_in.placed(held={}, refresh={})
    with pytest.raises(Misconfigured, match="no token of it is held"):
        await RevokeTokens(principal=signed_in.user).plan(world)
    with pytest.raises(Misconfigured, match=r"no token of \S+ is held by that name"):
        await RevokeToken(principal=signed_in.user, token=PHONE).plan(signed_in.world)


async def test_without_its_client_no_refresh_is_tried_and_people_are_told(signed_in: SignedIn) -> None:
    world = signed_in.placed(client=None, secret=None)
    plan = await RevokeToken(principal=signed_in.user, token=LAPTOP).plan(world)
    await laws.apply(RevokeToken, plan, world)
    verdict = await RevokeToken.verify(plan, world)
    assert verdict.answer is Answer.ESTABLISHED, "by the provider's word"
    assert not verdict.tried
    assert "which client it was issued to is not known" in found(verdict.findings, "refresh").observed


def test_its_steps_declare_each_endpoint_that_they_ask() -> None:
    listed: Systems = SYSTEMS
    for action in (RevokeToken, RevokeTokens):
        endpoints = {permission.partition(":")[0] for permission in listed.works["oidc"].asks(action)}
        assert endpoints == {"introspection_endpoint", "revocation_endpoint", "token_endpoint", "userinfo_endpoint"}
