"""A receiver is told that sessions were revoked: once, whatever breaks off; and what it answers, means what it says."""

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import KeySet

from integrations.registry import SYSTEMS
from integrations.system import Holders
from integrations.systems.ssf import told
from integrations.systems.ssf.actions import TellSessionRevoked
from integrations.systems.ssf.client import Listener
from integrations.systems.ssf.events import REVOKED
from integrations.systems.ssf.told import Told
from playbooks.errors import Drifted, Misconfigured, Refused, SoarError, Transient
from playbooks.gate.plan import Answer, Plan
from tests.contract import laws
from tests.integrations.systems.ssf.conftest import SUBJECT, Lab
from tests.integrations.systems.ssf.drills import DRILLS
from tests.lab.oidc import kept
from tests.lab.ssf import AUDIENCE, ISSUER, Application, Listening, listening, pem

TELL = TellSessionRevoked(principal="agent")


def claims(event: str) -> dict[str, Any]:
    return dict(json.loads(jws.extract_compact(event.encode()).payload))


async def planned(lab: Lab) -> Plan:
    async with lab.world() as world:
        return await TELL.plan(world)


async def write(lab: Lab, plan: Plan, key: str = "k") -> None:
    """Write as a responder that started just now."""
    async with lab.world() as world:
        await TellSessionRevoked.write(plan.changes[0], world, key=key)


@pytest.fixture(params=["P-256", "Ed25519"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    async with listening(tmp_path, request.param) as there:
        yield Lab(there)


async def test_each_action_is_held_to_the_laws(lab: Lab) -> None:
    assert set(DRILLS) == {TellSessionRevoked.name}
    async with lab.world() as world:
        await laws.plan_only_reads(TELL, world, lab.state)
        await laws.speaks_every_language(TELL, world, SYSTEMS.words)
        await laws.the_inverse_restores(TELL, world, lab.state)
        await laws.twice_is_once(TELL.model_copy(), lab_anew(lab, world), lab.state)


def lab_anew(lab: Lab, world: Any) -> Any:  # noqa: ANN401  # connections
    """Return the world with another principal there: the first one was told of."""
    lab.place = {"email": "agent@example.com"}
    return world.with_inventory(lab.inventory)


async def test_an_event_says_whose_sessions_when_and_by_whom_and_is_no_token(either: Lab) -> None:
    plan = await planned(either)
    await write(either, plan)
    ((jti, event),) = either.application.taken.items()
    said = claims(event)
    what = said["events"].pop(REVOKED)
    assert said.pop("iat") == what.pop("event_timestamp")
    assert what == {
        "initiating_entity": "admin",
        "reason_admin": {"en": "contained by incident response", "ko": "사고 대응으로 격리됨"},
    }
    subject = {"format": "iss_sub", **SUBJECT}
    assert said == {"iss": ISSUER, "aud": AUDIENCE, "jti": jti, "sub_id": subject, "events": {}}
    assert either.application.told == [subject]


async def test_who_is_known_by_an_address_is_called_so(lab: Lab) -> None:
    lab.place = {"email": "agent@example.com"}
    await write(lab, await planned(lab))
    assert lab.application.told == [{"format": "email", "email": "agent@example.com"}]


async def test_whatever_breaks_off_it_is_told_once_and_another_time_is_another_event(lab: Lab) -> None:
    plan = await planned(lab)
    lab.application.lost = 1
    with pytest.raises(Transient, match="no answer"):
        await write(lab, plan)
    assert len(lab.application.told) == 1, "it arrived, and its answer did not"
    async with lab.world() as world:
        assert await TellSessionRevoked.read(plan.changes[0], world) is False, "nobody knows that it arrived"
    # Another process takes it up, a minute later by the clock: the very same event, to the letter.
    await write(lab, plan)
    assert len(lab.application.presented) == 2
    assert len(set(lab.application.presented)) == len(lab.application.taken) == len(lab.application.told) == 1
    # Contained once more, it is another effect, with a key of its own.
    await write(lab, plan, key="another")
    assert len(lab.application.told) == 2


async def test_who_was_told_of_a_minute_ago_is_told_of_again(lab: Lab) -> None:
    plan = await planned(lab)
    await write(lab, plan)
    assert (await planned(lab)).pending == ()
    (kept_,) = (lab.there.folder / "told").iterdir()
    said = json.loads(kept_.read_text())
    kept_.write_text(json.dumps({**said, "taken": said["taken"] - 61}))
    assert (await planned(lab)).pending == plan.pending


async def test_that_it_has_it_is_its_own_word_and_whether_a_session_ended_is_not_known(lab: Lab) -> None:
    plan = await planned(lab)
    await write(lab, plan)
    async with lab.world() as world:
        verdict = await TellSessionRevoked.verify(plan, world)
        has, ended = verdict.findings
        assert (verdict.answer, verdict.tried) == (Answer.ESTABLISHED, False)
        assert (has.asked_as, ended.answer) == ("administrator app", Answer.UNKNOWN)
        assert "or that any session ended" in ended.observed
        assert len(lab.application.told) == 1, "the question is the same event, and no second one"
        # What forgets is not seen: it takes the same one again.
        lab.application.taken.clear()
        assert (await TellSessionRevoked.verify(plan, world)).answer is Answer.ESTABLISHED
        lab.application.refuses = "access_denied"
        assert (await TellSessionRevoked.verify(plan, world)).answer is Answer.UNKNOWN
        lab.application.silent = True
        world.reach(Listener, "app").patience = 0.3
        assert (await TellSessionRevoked.verify(plan, world)).answer is Answer.UNKNOWN


async def test_a_receiver_that_says_yes_otherwise_was_told_nothing(lab: Lab) -> None:
    plan = await planned(lab)
    lab.application.says = (200, {})
    with pytest.raises(Misconfigured, match=r"systems\.app\.url: receiver app answered 200; only 202 says"):
        await write(lab, plan)
    async with lab.world() as world:
        assert (await TellSessionRevoked.verify(plan, world)).answer is Answer.NOT_ESTABLISHED


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ((400, {"err": "invalid_key"}), Misconfigured, r"systems\.app\.key: .* `python -m integrations\.systems\.ssf"),
        ((400, {"err": "invalid_issuer"}), Misconfigured, r"systems\.app\.issuer: .*write what it knows us as"),
        ((400, {"err": "invalid_audience"}), Misconfigured, r"systems\.app\.audience: .*what it calls itself"),
        ((400, {"err": "authentication_failed"}), Misconfigured, r"systems\.app\.token: .*the present token"),
        ((401, None), Misconfigured, r"systems\.app\.token: .*the present token"),
        ((400, {"err": "access_denied"}), Refused, "have whoever runs it let us send"),
        ((403, None), Refused, "have whoever runs it let us send"),
        ((400, {"err": "invalid_request"}), Refused, r"400 invalid_request; our clock says .*set the clock"),
        ((400, {"err": {"a": 1}, "description": ["\x1b[2J\nx"]}), Refused, r"^[ -~]*$"),
        ((400, [[[]]]), Refused, "answered 400; our clock"),
        ((307, None), Misconfigured, "nothing is followed elsewhere"),
        ((204, None), Misconfigured, "only 202 says that an event arrived"),
        ((404, None), Refused, "answered 404"),
        ((429, None), Transient, "answered 429"),
        ((503, None), Transient, "answered 503"),
        ((400, "x" * 100_000), Refused, "the answer is longer than"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_each_no_says_what_to_do(lab: Lab, answer: tuple[int, object], error: type[SoarError], says: str) -> None:
    plan = await planned(lab)
    lab.application.says = answer
    with pytest.raises(error, match=says) as found:
        await write(lab, plan)
    assert type(found.value) is error
    assert not lab.application.told


async def test_what_never_answers_is_waited_for_no_longer_than_patience(lab: Lab) -> None:
    plan = await planned(lab)
    lab.application.silent, lab.patience = True, 0.3
    with pytest.raises(Transient, match="no answer"):
        await write(lab, plan)


async def test_a_receiver_whose_clock_is_behind_ours_says_no_and_takes_the_same_event_later(lab: Lab) -> None:
    plan = await planned(lab)
    lab.application.clock = -300.0
    with pytest.raises(Refused, match=r"iat is in the future\); our clock says 20"):
        await write(lab, plan)
    lab.application.clock = 0.0
    await write(lab, plan)
    assert len(lab.application.told) == 1


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("", "cannot be read or is empty"),
        ("no key", "this is no private key in PEM; make one: openssl"),
        (pem("P-384"), "neither of P-256 nor Ed25519; make one: openssl"),
        (pem("RSA"), "neither of P-256 nor Ed25519"),
        (pem(passphrase="x"), "has a passphrase"),  # noqa: S106  # of a key that nothing uses
    ],
    ids=["nothing", "no key", "P-384", "RSA", "locked"],
)
async def test_a_key_of_another_kind_is_refused_before_anybody_is_asked(lab: Lab, key: str, says: str) -> None:
    kept(lab.there.folder, "key", key)
    with pytest.raises(Misconfigured, match=rf"systems\.app\.key: .*{says}"):
        await planned(lab)


async def test_a_key_that_the_receiver_does_not_know_is_said_with_what_to_give_it(lab: Lab) -> None:
    plan = await planned(lab)
    kept(lab.there.folder, "key", pem())
    with pytest.raises(Misconfigured, match=r"systems\.app\.key: receiver app answered 400 invalid_key"):
        await write(lab, plan)


async def test_whose_place_it_is_not_and_who_is_ours_is_never_told_of(lab: Lab) -> None:
    async with lab.world() as world:
        with pytest.raises(Misconfigured, match="no receiver of security events knows it"):
            await TellSessionRevoked(principal="somebody").plan(world)
        plan = await TELL.plan(world)
        lab.place = {**SUBJECT, "sub": "another"}
        with pytest.raises(Drifted, match="the inventory has no user agent any more"):
            await TellSessionRevoked.write(plan.changes[0], world.with_inventory(lab.inventory), key="k")
    lab.settings["spared"] = ["another"]
    with pytest.raises(Refused, match="never a target"):
        await planned(lab)
    assert not lab.application.presented


@pytest.mark.parametrize(
    "place", [{}, {"iss": "x"}, {"sub": "x"}, {"iss": "x", "sub": "x", "email": "x"}, {"iss": "x", "email": "x"}]
)
def test_a_place_without_a_subject_is_refused_where_it_is_written(place: dict[str, object], tmp_path: Path) -> None:
    lab = Lab(Listening(Application({"keys": []}), "https://app.example.com/events", tmp_path), place=place)
    with pytest.raises(ValueError, match="write either iss and sub, or email"):
        _ = lab.inventory


def test_whose_sessions_they_are_is_told_in_secret() -> None:
    with pytest.raises(ValueError, match="write https://"):
        Listening(Application({"keys": []}), "http://app.example.com/events", Path("/nowhere")).settings()


async def test_what_cannot_be_kept_is_not_sent(lab: Lab) -> None:
    plan = await planned(lab)
    (lab.there.folder / "told").write_text("a file")
    with pytest.raises(Misconfigured, match="what is told cannot be kept here, and is not sent unkept"):
        await write(lab, plan)
    assert not lab.application.presented


async def looked(lab: Lab) -> list[tuple[str, str]]:
    async def nobody() -> list[object]:
        return []

    async with lab.world() as world:
        ((_, lines),) = SYSTEMS.works["ssf"].doctor(world, Holders(nobody))  # type: ignore[arg-type]  # no hold
        return [(line.level, line.message) async for line in lines]


async def test_doctor_says_whether_events_arrive_and_tells_of_nobody(lab: Lab) -> None:
    (signs, arrive) = await looked(lab)
    kid = lab.application.jwks["keys"][0]["kid"]
    assert signs == ("ok", f"events are signed with {kid} (ES256)")
    assert arrive == ("ok", f"{lab.there.url} takes what we sign")
    assert len(lab.application.taken) == 1
    assert not lab.application.told
    lab.application.refuses = "invalid_audience"
    assert (await looked(lab))[1][0] == "fail"
    lab.settings["stream"] = None
    assert (await looked(lab))[1] == ("warn", "whether events arrive there is not known")
    kept(lab.there.folder, "key", "")
    assert [level for level, _ in await looked(lab)] == ["fail"]


def test_the_public_half_is_printed_as_receivers_take_it_and_nothing_of_the_private_one(tmp_path: Path) -> None:
    kept(tmp_path, "key", pem("Ed25519"))
    run = [sys.executable, "-m", "integrations.systems.ssf"]
    found = subprocess.run([*run, str(tmp_path / "key")], capture_output=True, text=True, check=True)  # noqa: S603
    (key,) = KeySet.import_key_set(json.loads(found.stdout)).keys
    assert not key.is_private
    assert key.kid == key.thumbprint()
    none = subprocess.run([*run, str(tmp_path / "none")], capture_output=True, text=True, check=False)  # noqa: S603
    assert none.returncode == 2


async def test_what_was_told_long_ago_goes_and_no_more_is_kept_than_so_much(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lab.there.folder / "told"
    folder.mkdir()

    def there(name: str, taken: float | None) -> None:
        at = int(taken if taken is not None else time.time())
        (folder / f"{name}.json").write_text(Told(jti=name, at=at, event="e", taken=taken).model_dump_json())

    monkeypatch.setattr(told, "MOST", 3)
    there("long-ago", time.time() - told.KEPT - 1)
    there("not-taken-yet", None)
    for number in range(4):
        there(f"taken-{number}", time.time() - 1000 + number)
    (folder / "other.json").write_text("somebody else's")
    (folder / "folder.json").mkdir()
    await write(lab, await planned(lab))
    left = {file.stem for file in folder.iterdir()}
    assert {one for one in left if one.startswith(("long", "not", "taken"))} == {"not-taken-yet", "taken-2", "taken-3"}
    assert {"other", "folder"} < left
    (jti,) = lab.application.taken
    assert any(one.endswith(jti) for one in left), "the newest is kept, for it is presented once more"
