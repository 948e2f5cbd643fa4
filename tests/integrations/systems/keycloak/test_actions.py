"""At a real Keycloak a user is disabled and given back, and a client's secret replaced: no token comes back."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from integrations.connections import Connections
from integrations.identity.actions import RevokeToken, RevokeTokens
from integrations.identity.provider import Identity
from integrations.registry import SYSTEMS
from integrations.system import Holders, Looked
from integrations.systems.keycloak import Keycloak
from integrations.systems.keycloak.actions import DisableUser, ReplaceSecret, SignOut
from integrations.systems.keycloak.captures import CaptureSessions
from integrations.systems.keycloak.client import Realm
from playbooks.action import Action
from playbooks.errors import Gone, Misconfigured, Refused, Unneeded
from playbooks.estate.inventory import Inventory, Principal
from playbooks.gate.plan import Answer
from playbooks.strict import iso, now
from tests.contract import laws
from tests.integrations.systems.keycloak.drills import DRILLS
from tests.lab.exhibits import Gathered, gathered
from tests.lab.fixtures import unique_name
from tests.lab.keycloak import AGENT, US, RunningKeycloak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
LAPTOP, ACCESS = "laptop", "access"


@dataclass(frozen=True)
class SignedIn:
    """A user that is signed in twice.

    Args:
        keycloak: where.
        name: what the inventory calls it, and what it signs in as.
        user: its id.
        world: our connections.
        at: its place there.
        folder: where its tokens are.
    """

    keycloak: RunningKeycloak
    name: str
    user: str
    world: Connections
    at: Identity
    folder: Path

    @property
    def realm(self) -> Realm:
        return self.world.reach(Realm, "sso")

    def token(self, label: str) -> str:
        return (self.folder / f"{self.name}-{label}").read_text()

    async def active(self, *labels: str) -> list[bool]:
        return [await self.realm.introspect(self.token(label)) is not None for label in labels]

    async def works(self) -> list[bool]:
        """Return of each token whether it is in use."""
        return await self.active("access", "laptop", "phone")

    async def state(self) -> bytes:
        """Return all that a release has to restore."""
        return json.dumps(self.keycloak.admin("GET", f"/users/{self.user}"), sort_keys=True).encode()


@asynccontextmanager
async def connected(
    running: RunningKeycloak, folder: Path, name: str, at: Identity, settings: Keycloak | None = None
) -> AsyncIterator[Connections]:
    """Connect by an inventory in which a principal has its place in the realm."""
    written = {
        "version": 1,
        "systems": {"sso": (settings or running.settings(folder)).model_dump()},
        "principals": {name: Principal(title="Alice", places={"sso": at}).model_dump()},
    }
    world = Connections(Inventory.model_validate(written, context=SYSTEMS.context), SYSTEMS)
    # A machine of two cores that runs other tests as well.
    world.reach(Realm, "sso").patience = 30.0
    yield world
    await world.aclose()


@pytest.fixture
async def signed_in(the_keycloak: RunningKeycloak, tmp_path: Path) -> AsyncIterator[SignedIn]:
    name = unique_name("alice")
    at = the_keycloak.account(tmp_path, name)
    async with connected(the_keycloak, tmp_path, name, at) as world:
        yield SignedIn(the_keycloak, name, at.user, world, at, tmp_path)


async def test_a_user_that_was_disabled_is_given_back_without_one_token_of_before(signed_in: SignedIn) -> None:
    intent = DisableUser(principal=signed_in.name)
    before = await signed_in.state()
    await laws.plan_only_reads(intent, signed_in.world, signed_in.state)
    await laws.speaks_every_language(intent, signed_in.world, SYSTEMS.words)
    assert await signed_in.works() == [True] * 3
    plan = await intent.plan(signed_in.world)
    assert (await DisableUser.verify(plan, signed_in.world)).answer is Answer.NOT_ESTABLISHED
    await laws.apply(DisableUser, plan, signed_in.world)
    verdict = await DisableUser.verify(plan, signed_in.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    assert verdict.tried, "as whoever has the tokens, and not by the administration's word"
    assert {one.check for one in verdict.findings} == {"user", "userinfo", "refresh"}
    assert (await intent.plan(signed_in.world)).pending == ()
    assert await signed_in.works() == [False] * 3

    back = DisableUser.inverse(plan)
    await laws.apply(DisableUser, back, signed_in.world)
    released = await DisableUser.verify_released(plan, signed_in.world)
    assert released.answer is Answer.ESTABLISHED, released
    assert await signed_in.state() == before
    assert await signed_in.works() == [False] * 3, "one that is stolen stays worthless"
    assert signed_in.keycloak.signed_in(signed_in.name)["access_token"], "and who signs in anew is let in"


async def test_disabled_alone_it_would_come_back_with_every_token_so_it_is_not_enabled(signed_in: SignedIn) -> None:
    plan = await DisableUser(principal=signed_in.name).plan(signed_in.world)
    enabled, signed = plan.changes
    await DisableUser.write(enabled, signed_in.world, key="drill")
    assert await signed_in.works() == [False] * 3
    assert await DisableUser.read(signed, signed_in.world) is True
    assert (await DisableUser.verify(plan, signed_in.world)).answer is Answer.NOT_ESTABLISHED, "its sessions live"
    with pytest.raises(Refused, match="tokens of before would be good again"):
        await DisableUser.write(enabled.inverse(), signed_in.world, key="drill")
    # What the refusal is about: the administration's own word brings all of them back.
    await signed_in.realm.enable(signed_in.user, enabled=True)
    assert await signed_in.works() == [True] * 3


async def test_a_sign_out_leaves_what_goes_on_offline_and_that_is_ended_too(signed_in: SignedIn) -> None:
    signed_in.keycloak.admin("POST", f"/users/{signed_in.user}/logout")
    assert (await signed_in.works())[:2] == [False, False]
    (left,) = await signed_in.realm.sessions(signed_in.user)
    assert left[1] is True, "it goes on offline"
    await signed_in.realm.end(signed_in.user)
    assert await signed_in.realm.sessions(signed_in.user) == []
    assert await signed_in.works() == [False] * 3


async def test_who_had_its_tokens_taken_signs_in_anew_and_is_let_in(signed_in: SignedIn) -> None:
    intent = SignOut(principal=signed_in.name)
    before = await signed_in.state()
    await laws.plan_only_reads(intent, signed_in.world, signed_in.state)
    await laws.speaks_every_language(intent, signed_in.world, SYSTEMS.words)
    assert await signed_in.works() == [True] * 3
    plan = await intent.plan(signed_in.world)
    assert plan.destroys == ("user_sessions",)
    assert (await SignOut.verify(plan, signed_in.world)).answer is Answer.NOT_ESTABLISHED
    await laws.apply(SignOut, plan, signed_in.world)
    verdict = await SignOut.verify(plan, signed_in.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    assert {one.check for one in verdict.findings if one.tried} == {"userinfo", "refresh"}
    assert (await intent.plan(signed_in.world)).pending == ()
    assert await signed_in.works() == [False] * 3, "what goes on offline, too"
    assert await signed_in.state() == before, "nothing of the user itself was changed"
    since = signed_in.keycloak.signed_in(signed_in.name)["access_token"]
    assert signed_in.keycloak.active(since), "whoever signs in anew is let in"
    assert await signed_in.works() == [False] * 3


async def test_what_its_sessions_were_is_kept_and_is_gone_with_them(signed_in: SignedIn) -> None:
    """Online and offline, per client, since when, last used when, from where; and a plan says that it destroys that."""
    capture = CaptureSessions(principal=signed_in.name)
    files = await gathered(capture, signed_in.world)
    head, *rows = [line.split("\t") for line in files["sso-sessions.tsv"].decode().splitlines()]
    assert head == ["started", "last access", "address", "goes on offline", "clients", "session"]
    known = await signed_in.realm.sessions(signed_in.user)
    assert {(row[5], row[3] == "yes") for row in rows} == set(known)
    assert [offline for _, offline in known].count(True) == 1, "the phone's goes on"
    for started, last, address, _, clients, _ in rows:
        assert started <= last <= iso(now())
        assert (address, clients) == ("127.0.0.1", AGENT)
    raw = [json.loads(files[name]) for name in ("sso-sessions.json", "sso-offline-1.json")]
    assert {one["id"] for some in raw for one in some} == {id_ for id_, _ in known}, "as the realm has it, beside"

    plan = await DisableUser(principal=signed_in.name).plan(signed_in.world)
    assert plan.destroys == ("user_sessions",)
    await laws.apply(DisableUser, plan, signed_in.world)
    sink = Gathered()
    await capture.collect(signed_in.world, sink)
    assert sink.written["sso-sessions.tsv"].count(b"\n") == 1
    assert sink.lacking == (f"{signed_in.name} had no session at provider sso when it was asked",)
    plan = await DisableUser(principal=signed_in.name).plan(signed_in.world)
    assert plan.destroys == (), "nothing is left of it to be destroyed"


async def test_what_any_provider_does_is_done_here_too(signed_in: SignedIn) -> None:
    """Here a refresh token outlives its access token, which a revocation of all of them has to end first."""
    one = await RevokeToken(principal=signed_in.name, token=ACCESS).plan(signed_in.world)
    await laws.apply(RevokeToken, one, signed_in.world)
    assert (await RevokeToken.verify(one, signed_in.world)).answer is Answer.ESTABLISHED
    assert await signed_in.works() == [False, True, True], "a new access token is one call away"
    plan = await RevokeTokens(principal=signed_in.name).plan(signed_in.world)
    await laws.apply(RevokeTokens, plan, signed_in.world)
    verdict = await RevokeTokens.verify(plan, signed_in.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    assert await signed_in.works() == [False] * 3


@pytest.fixture
async def batch(the_keycloak: RunningKeycloak, tmp_path: Path) -> AsyncIterator[SignedIn]:
    """A client of the test's own, that acts for itself."""
    name = unique_name("batch")
    at = the_keycloak.service(tmp_path, name)
    async with connected(the_keycloak, tmp_path, name, at) as world:
        yield SignedIn(the_keycloak, name, name, world, at, tmp_path)


async def test_a_secret_that_was_replaced_lets_nobody_in(batch: SignedIn) -> None:
    intent = ReplaceSecret(principal=batch.name)
    await laws.speaks_every_language(intent, batch.world, SYSTEMS.words)
    plan = await intent.plan(batch.world)
    assert (await intent.plan(batch.world)).digest == plan.digest
    assert (await ReplaceSecret.verify(plan, batch.world)).answer is Answer.NOT_ESTABLISHED
    # The tokens first: what was issued before goes on, and is revoked as the client, with the secret that is known.
    tokens = await RevokeTokens(principal=batch.name).plan(batch.world)
    await laws.apply(RevokeTokens, tokens, batch.world)
    assert (await RevokeTokens.verify(tokens, batch.world)).answer is Answer.ESTABLISHED
    await laws.apply(ReplaceSecret, plan, batch.world)
    verdict = await ReplaceSecret.verify(plan, batch.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    assert verdict.tried
    assert (await intent.plan(batch.world)).pending == ()
    (target,) = plan.targets
    client = await batch.realm.client(target.id)
    new = await batch.realm.secret_of(client)
    own = {"grant_type": "client_credentials", "client_id": batch.name, "client_secret": new}
    since = batch.keycloak.grant(**own)["access_token"]
    while await batch.realm.introspect(since) is None:
        # Of the very second in which the secret was replaced nothing counts.
        since = batch.keycloak.grant(**own)["access_token"]
    for change in plan.changes:
        await ReplaceSecret.write(change, batch.world, key="drill")
    assert await batch.realm.secret_of(client) == new, "what its owner was given meanwhile is good"
    assert await batch.realm.introspect(since) is not None, "and so is what that was issued"
    text = plan.model_dump_json() + verdict.model_dump_json()
    assert batch.keycloak.secret not in text
    assert new not in text


async def test_what_was_issued_before_would_outlive_the_secret_and_counts_no_more(batch: SignedIn) -> None:
    def client() -> dict[str, object]:
        (found,) = batch.keycloak.admin("GET", f"/clients?clientId={batch.name}")
        return {key: value for key, value in found.items() if key not in {"secret", "attributes", "notBefore"}}

    before = client()
    plan = await ReplaceSecret(principal=batch.name).plan(batch.world)
    works, outlives = plan.changes
    assert await batch.active("access") == [True]
    await ReplaceSecret.write(works, batch.world, key="drill")
    assert await batch.active("access") == [True], "with a secret that lets nobody in any more"
    verdict = await ReplaceSecret.verify(plan, batch.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED
    assert {one.check for one in verdict.findings if one.answer is Answer.NOT_ESTABLISHED} >= {
        "client",
        "introspection",
    }
    await ReplaceSecret.write(outlives, batch.world, key="drill")
    assert await batch.active("access") == [False], "held or not"
    assert (await ReplaceSecret.verify(plan, batch.world)).answer is Answer.ESTABLISHED
    assert client() == before, "all else is as it was"


async def test_the_secret_that_a_user_s_tokens_are_issued_by_is_not_its_own(signed_in: SignedIn) -> None:
    with pytest.raises(Unneeded, match="no client that has a secret of its own"):
        await ReplaceSecret(principal=signed_in.name).plan(signed_in.world)


async def looked(world: Connections) -> list[Looked]:
    async def nobody() -> list[object]:
        return []

    ((_, lines),) = SYSTEMS.works["keycloak"].doctor(world, Holders(nobody))  # type: ignore[arg-type]  # no hold at all
    return [line async for line in lines]


async def test_doctor_names_the_roles_that_our_client_has_or_lacks(signed_in: SignedIn) -> None:
    found = await looked(signed_in.world)
    assert {one.level for one in found} == {"ok"}, found
    assert found[-1].message == "our client has the roles view-users, manage-users, view-clients, manage-clients"
    settings = signed_in.keycloak.settings(signed_in.folder)
    as_agent = settings.model_copy(update={"client": AGENT, "secret": signed_in.at.secret})
    async with connected(signed_in.keycloak, signed_in.folder, signed_in.name, signed_in.at, as_agent) as world:
        last = (await looked(world))[-1]
        assert last.level == "fail"
        assert "manage-users (keycloak.disable_user, keycloak.sign_out)" in last.message
        with pytest.raises(Misconfigured, match="client agent may not do this there"):
            await DisableUser(principal=signed_in.name).plan(world)


async def test_nobody_is_a_target_that_is_not_there_or_that_we_are(signed_in: SignedIn) -> None:
    (ours,) = signed_in.keycloak.admin("GET", f"/clients?clientId={US}")
    account = signed_in.keycloak.admin("GET", f"/clients/{ours['id']}/service-account-user")
    for user, kind, says in ((account["id"], Refused, "never a target"), ("nobody", Gone, "no such thing")):
        at = signed_in.at.model_copy(update={"user": user})
        async with connected(signed_in.keycloak, signed_in.folder, signed_in.name, at) as world:
            with pytest.raises(kind, match=says):
                await DisableUser(principal=signed_in.name).plan(world)


def test_every_action_is_drilled() -> None:
    assert set(DRILLS) == {step.name for step in SYSTEMS.works["keycloak"].steps if issubclass(step, Action)}
