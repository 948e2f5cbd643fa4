"""A JWT that nobody can revoke is turned away by a real MCP server that asks the list, and let in again after it."""

import json
import time

import pytest

from integrations.registry import SYSTEMS
from integrations.system import Holders
from integrations.systems.denylist.actions import DenySubject, DenyToken
from playbooks.action import Action
from playbooks.errors import Drifted, Misconfigured, Refused
from playbooks.gate.plan import Answer, Radius
from playbooks.gate.policy import Facts, Policy, decide
from playbooks.gate.rules import Mode
from playbooks.record.incident import Confidence, Severity
from playbooks.taxonomy import IncidentClass
from tests.contract import laws
from tests.integrations.systems.denylist.conftest import Lab
from tests.integrations.systems.denylist.drills import DRILLS
from tests.lab.denied import ISSUER, issued, signed

pytestmark = pytest.mark.timeout(300)

every_action = pytest.mark.parametrize("action", [DenyToken, DenySubject], ids=lambda action: action.name)


def intent(action: type[Action], lab: Lab) -> Action:
    return action.model_validate(DRILLS[action.name](lab))


@every_action
async def test_each_action_is_held_to_the_laws(lab: Lab, action: type[Action]) -> None:
    async with lab.world() as world:
        await laws.plan_only_reads(intent(action, lab), world, lab.state)
        await laws.speaks_every_language(intent(action, lab), world, SYSTEMS.words)
        await laws.the_inverse_restores(intent(action, lab), world, lab.state)
        await laws.twice_is_once(intent(action, lab), world, lab.state)


async def test_a_token_is_turned_away_by_the_server_itself_and_its_owners_other_one_goes_on(lab: Lab) -> None:
    other = issued(lab.subject)
    async with lab.world() as world:
        assert (await lab.status(lab.token()), await lab.status(other)) == (200, 200)
        plan = await DenyToken(principal=lab.name, token="session").plan(world)  # noqa: S106  # its name
        await laws.apply(DenyToken, plan, world)
        assert (await lab.status(lab.token()), await lab.status(other)) == (401, 200)
        verdict = await DenyToken.verify(plan, world)
        assert verdict.answer is Answer.ESTABLISHED, verdict
        assert verdict.tried, "as whoever has it, and not by the list's word"
        await laws.apply(DenyToken, DenyToken.inverse(plan), world)
        assert await lab.status(lab.token()) == 200
        assert lab.token() not in plan.model_dump_json() + verdict.model_dump_json()


async def test_of_a_subject_all_that_was_issued_until_now_is_turned_away_and_what_comes_later_is_not(lab: Lab) -> None:
    # The issuer's clock is ahead of ours by all that is allowed for.
    ahead, undated = issued(lab.subject, ago=-299), signed(sub=lab.subject, exp=int(time.time()) + 3600)
    later, stranger = issued(lab.subject, ago=-400), issued("somebody")
    async with lab.world() as world:
        plan = await DenySubject(principal=lab.name).plan(world)
        await laws.apply(DenySubject, plan, world)
        found = [await lab.status(one) for one in (lab.token(), ahead, undated, later, stranger)]
        assert found == [401, 401, 401, 200, 200]
        assert (await DenySubject.verify(plan, world)).answer is Answer.ESTABLISHED
        # Its owner signs in anew: the containment holds, by the list's own word.
        lab.keep("session", later)
        verdict = await DenySubject.verify(plan, world)
        assert (verdict.answer, verdict.tried) == (Answer.ESTABLISHED, False)


async def test_exactly_our_entry_goes_and_what_others_deny_stays(lab: Lab) -> None:
    theirs = {"key": "by hand", "iss": ISSUER, "sub": lab.subject, "issued_until": 5}
    lab.file.write_text(json.dumps({"version": 1, "denied": [theirs]}))
    before = await lab.state()
    async with lab.world() as world:
        for action in (DenyToken, DenySubject):
            plan = await intent(action, lab).plan(world)
            await laws.apply(action, plan, world)
            assert await lab.state() != before
            await laws.apply(action, action.inverse(plan), world)
            assert await lab.state() == before


async def test_an_entry_ends_with_its_token_and_what_has_ended_is_contained(lab: Lab) -> None:
    lab.keep("session", issued(lab.subject, lasts=7200))
    async with lab.world() as world:
        plan = await intent(DenyToken, lab).plan(world)
        await laws.apply(DenyToken, plan, world)
    (entry,) = json.loads(lab.file.read_text())["denied"]
    assert 7200 - 60 < entry["until"] - 300 - time.time() <= 7201
    lab.file.write_text(json.dumps({"version": 1, "denied": [{**entry, "until": 1}]}))
    async with lab.world() as world:
        assert (await DenyToken.verify(plan, world)).answer is Answer.NOT_ESTABLISHED, (
            "an entry that ended denies nothing"
        )
        ended = issued(lab.subject, lasts=-301, jti=entry["jti"])
        lab.keep("session", ended)
        assert (await DenyToken.verify(plan, world)).answer is Answer.ESTABLISHED


async def test_a_server_that_never_asks_the_list_is_found_out(lab: Lab) -> None:
    lab.door.never_asks = True
    async with lab.world() as world:
        plan = await intent(DenyToken, lab).plan(world)
        await laws.apply(DenyToken, plan, world)
        verdict = await DenyToken.verify(plan, world)
        assert verdict.answer is Answer.NOT_ESTABLISHED
        assert [one.answer for one in verdict.findings] == [Answer.ESTABLISHED, Answer.NOT_ESTABLISHED]


async def test_where_nobody_says_what_server_takes_its_tokens_nothing_is_established(lab: Lab) -> None:
    inventory = lab.inventory
    principal = inventory.principals[lab.name]
    at = principal.places["denied"].model_copy(update={"resource": None})
    placed = principal.model_copy(update={"places": {"denied": at}})
    async with lab.world() as reached:
        world = reached.with_inventory(inventory.model_copy(update={"principals": {lab.name: placed}}))
        plan = await intent(DenySubject, lab).plan(world)
        await laws.apply(DenySubject, plan, world)
        assert (await DenySubject.verify(plan, world)).answer is Answer.UNKNOWN


async def test_a_server_that_says_it_in_its_own_words_is_believed_where_our_own_token_is_let_in(lab: Lab) -> None:
    lab.door.says = {"error": "unauthorized"}
    async with lab.world() as world:
        plan = await intent(DenyToken, lab).plan(world)
        await laws.apply(DenyToken, plan, world)
        assert (await DenyToken.verify(plan, world)).answer is Answer.UNKNOWN, "it may turn anybody away"
    lab.keep("canary", issued("canary"))
    lab.settings["canary"] = {"file": str(lab.folder / "canary")}
    async with lab.world() as world:
        assert (await DenyToken.verify(plan, world)).answer is Answer.ESTABLISHED
        lab.door.closed = True
        assert (await DenyToken.verify(plan, world)).answer is Answer.UNKNOWN, "so is our own"


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"iss": "https://other.example.com"}, "of another issuer"),
        ({"sub": "somebody"}, "of another subject than s-agent"),
        ({"sub": "soar"}, "never a target"),
        ({"jti": None}, "deny its principal instead"),
        ({"jti": 7}, "deny its principal instead"),
    ],
)
async def test_what_is_not_theirs_or_has_no_id_is_refused(lab: Lab, claims: dict[str, object], says: str) -> None:
    lab.settings["spared"] = ["soar"]
    lab.keep("session", signed(**{"sub": lab.subject, "jti": "x", "iat": 1, "exp": 4_000_000_000, **claims}))
    async with lab.world() as world:
        with pytest.raises(Refused, match=says):
            await intent(DenyToken, lab).plan(world)


async def test_what_is_no_jwt_is_for_its_provider_to_revoke(lab: Lab) -> None:
    lab.keep("session", "opaque-and-long-enough")
    async with lab.world() as world:
        with pytest.raises(Misconfigured, match="is no JWT: revoke it at its provider"):
            await intent(DenyToken, lab).plan(world)


async def test_a_list_that_is_none_is_not_written_over(lab: Lab) -> None:
    async with lab.world() as world:
        plan = await intent(DenyToken, lab).plan(world)
        lab.file.write_text('{"version": 1, "denied": [{}]}')
        with pytest.raises(Misconfigured, match="this is no deny list"):
            await DenyToken.write(plan.changes[0], world, key="drill")
        assert lab.file.read_text() == '{"version": 1, "denied": [{}]}'


async def looked(lab: Lab) -> list[tuple[str, str]]:
    async def nobody() -> list[object]:
        return []

    async with lab.world() as world:
        ((_, lines),) = SYSTEMS.works["denylist"].doctor(world, Holders(nobody))  # type: ignore[arg-type]  # no hold
        return [(line.level, line.message) async for line in lines]


async def test_doctor_says_whether_what_is_served_is_what_we_write_and_of_each_token_what_can_be_done(lab: Lab) -> None:
    assert await looked(lab) == [
        ("ok", f"{lab.url} serves it, 0 entries"),
        ("ok", "the token agent/session is theirs"),
    ]
    lab.keep("session", signed(sub=lab.subject, exp=1))
    assert (await looked(lab))[1] == (
        "warn",
        "the token agent/session is theirs, and has ended, and has no id (jti): it is denied with its principal only",
    )
    (lab.folder / "other").mkdir()
    lab.settings["file"] = str(lab.folder / "other" / "denied.json")
    (lab.folder / "other" / "denied.json").write_text('{"version": 1}')
    assert (await looked(lab))[0] == ("fail", f"what {lab.url} serves is another list than ours")


async def test_a_token_that_was_renewed_since_is_another_one(lab: Lab) -> None:
    async with lab.world() as world:
        plan = await intent(DenyToken, lab).plan(world)
        lab.keep("session", issued(lab.subject))
        with pytest.raises(Drifted, match="is another one by now"):
            await DenyToken.write(plan.changes[0], world, key="drill")
        assert await lab.state() == b"[]"


@every_action
async def test_whoever_is_protected_is_so_here_too(lab: Lab, action: type[Action]) -> None:
    inventory = lab.inventory
    who = inventory.principals[lab.name].model_copy(update={"protected": True})
    protected = inventory.model_copy(update={"principals": {lab.name: who}})
    policy = Policy(version=1, classes=dict.fromkeys(IncidentClass, Mode.AUTOMATIC), automatic_up_to=Radius.SERVER)
    facts = Facts(
        incident_class=IncidentClass.TOOL_MISUSE,
        severity=Severity.CRITICAL,
        confidence=Confidence.HIGH,
        authenticated=True,
        confirmed=True,
    )
    async with lab.world() as world:
        plan = await intent(action, lab).plan(world)
    assert f"{plan.targets[0]} is protected" in decide(plan, policy, facts, protected, []).reasons
    assert f"{plan.targets[0]} is protected" not in decide(plan, policy, facts, inventory, []).reasons
