"""Whoever is asked at their own terminal reads which of their own principals is meant; what leaves stays masked."""

import pytest

from flows.cli.work import spelled
from flows.cli.work.spelled import Spelling
from playbooks.estate.inventory import Resolved
from playbooks.gate.plan import Answer, Change, Finding, Plan, Radius, Target, Verdict
from playbooks.record.incident import EntityKind
from playbooks.record.journal import Event
from playbooks.record.viewing import ask_of
from playbooks.strict import iso, now
from tests.flows.cli import world
from tests.flows.cli.world import Installation
from tests.lab import stories

ANN, BOB, MALLORY = "ann@corp.example", "bob@corp.example", "mallory@evil.example"
MARK = "[redacted: e-mail]"
CUT = f"cut-principal@principal:{ANN}"


@pytest.fixture
def house(site: Installation) -> Installation:
    """An inventory in which two principals are called by their addresses."""
    people = "".join(f"  {who}: {{title: P, places: {{main: {{user: {who}}}}}}}\n" for who in (ANN, BOB))
    (site.folder / "inventory.yaml").write_text(world.INVENTORY + people, encoding="utf-8")
    return site


def plan(who: str = ANN, user: str | None = None) -> Plan:
    user = user or who
    target = Target(system="gateway/main", kind="user", id=user, name=who)
    return Plan(
        action="gateway.deactivate_user",
        params={"principal": who},
        summary=f"Deactivate {target} ({user}) at gateway main",
        changes=(Change(target=target, field="is_active", before=True, after=False),),
        radius=Radius.PRINCIPAL,
        breaks=f"{who} can use nothing through gateway main, with any of its tokens.",
    )


def opened(*who: str, title: str = "seen") -> Event:
    things = [Resolved(kind=EntityKind.PRINCIPAL, id=one, principal=one, gateway="main") for one in who]
    return world.opened(title, entities=[thing.model_dump(mode="json") for thing in things])


def asked(wanted: Plan) -> Event:
    return world.proposed(wanted, instance=CUT, entity=f"principal:/{ANN}")


def held(wanted: Plan) -> list[Event]:
    begun = Event("intended", {**world.intended(wanted).body, "instance": CUT})
    says = Finding(
        check="user", subject=f"user {ANN}", asked_as="administrator soar", expected="inactive",
        observed="it does not", answer=Answer.NOT_ESTABLISHED,
    )  # fmt: skip
    verdict = Verdict.of((says,)).model_dump(mode="json")
    wrote = Event("wrote", {"instance": CUT, "epoch": 1, "writes": [], "found": ["so"]})
    body = {"instance": CUT, "epoch": 1, "attempt": 1, "at": iso(now()), "verdict": verdict}
    return [begun, wrote, Event("verified", body)]


def shown(house: Installation, *words: str) -> str:
    return house.run(*words, env={"COLUMNS": "250"}).stdout


def test_whoever_is_asked_reads_whom_it_is_about(house: Installation) -> None:
    house.append(opened(ANN), asked(plan()))
    digest = plan().digest[7:19]
    for words in (("incident", "1"), ("handover",), ("approve", "1", "--plan", digest, "--as", "lee", "--no-wait")):
        text = shown(house, *words).partition("What changed")[0]
        assert f"Deactivate user {ANN} ({ANN}) at gateway main" in text, words
        assert MARK not in text, words
    for words in (("incidents",), ("watch", "--once")):
        assert f"principal {ANN} at gateway main" in shown(house, *words), words
        assert MARK not in shown(house, *words), words


def test_what_is_in_force_and_what_is_not_proven_say_who_it_is(house: Installation) -> None:
    house.append(opened(ANN), *held(plan()))
    text = shown(house, "incident", "1")
    assert f"NOT proven: user of user {ANN}, asked as administrator soar: it does not" in text
    assert MARK not in text
    released = shown(house, "release", "1", "--as", "kim", "--yes", "--no-wait")
    assert f"Give back user {ANN} ({ANN})" in released
    assert f"user of user {ANN}" in shown(house, "handover")


def test_what_may_leave_the_house_stays_masked(house: Installation) -> None:
    house.append(opened(ANN), asked(plan()), *held(plan()))
    for words in (("report", "1"), ("handover", "--form", "md")):
        text = shown(house, *words).replace("\\", "")
        assert MARK in text, words
        assert f"user {ANN}" not in text, words
    document = house.json("incident", "1")
    assert MARK in document["not_proven"][0]
    assert document["leases"][0]["summary"].count(MARK) == 2


def test_somebody_elses_address_stays_masked(house: Installation) -> None:
    title = f"{MALLORY} wrote to {BOB}"
    house.append(opened(ANN, title=title), Event("noted", {"by": "kim", "text": f"ask {MARK} of {MARK}"}))
    text = shown(house, "incident", "1")
    assert f"ask {MARK} of {MARK}" in text
    both = stories.told([(0.0, opened(ANN, BOB))])
    spelling = spelled.of(both, house.config.inventory)
    assert spelling(f"principal {MARK} at gateway main") == f"principal {MARK} at gateway main", "which of the two?"
    assert spelling(MARK) == MARK


def test_where_it_cannot_be_told_who_is_meant_nothing_is_spelled_out(house: Installation) -> None:
    inventory = house.config.inventory
    assert list(spelled.of_plan(plan(), inventory))
    assert not list(spelled.of_plan(plan(ANN, BOB), inventory)), "a principal and a user of other addresses"
    assert not list(spelled.of_plan(plan(MALLORY), inventory)), "a stranger"


def test_a_plan_keeps_the_text_that_its_digest_is_of() -> None:
    masked = f"Deactivate {MARK}"
    meant = plan().model_copy(update={"summary": masked})
    asked_ = Event("proposed", {**stories.proposed().body, "plan": meant.model_dump(mode="json")})
    state = stories.told([(0.0, stories.opened()), (0.1, asked_)])
    shown_ = Spelling([f"Deactivate {ANN}"]).whole(ask_of(state, state.proposals[0]))
    assert shown_.summary == f"Deactivate {ANN}"
    assert shown_.plan.summary == masked
    assert shown_.digest == meant.digest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("contain", "principal", "canary@example.com"),
            "the user canary@example.com is mcp-soar's own at gateway main",
        ),
        (("contain", "principal", "agnet@example.com"), "does not know principal agnet@example.com; it has agent"),
    ],
)
def test_what_a_person_typed_is_said_back_to_them_as_they_typed_it(
    site: Installation, words: tuple[str, ...], said: str
) -> None:
    site.append(world.opened())
    told = site.run(*words, "--as", "kim", "--yes", env={"COLUMNS": "400"})
    assert said in " ".join(told.stderr.split()), told.stderr
    assert "@" not in site.error(*words, "--as", "kim", "--yes", code=4)["message"], "a document is masked as ever"


def test_a_secret_that_somebody_typed_by_mistake_is_said_to_nobody(site: Installation) -> None:
    secret = "ghp_" + "a1B2" * 9
    site.append(world.opened())
    told = site.run("contain", "principal", f"lee@example.com {secret}", "--as", "kim", "--yes")
    assert secret not in " ".join(told.output.split())
    assert "[redacted:" in told.stderr
