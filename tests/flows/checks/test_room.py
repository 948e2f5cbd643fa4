"""The room of the checks: what cannot be asked is unknown, one piece costs no other, and a run is in the journal."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import drift as flows_drift
from flows.checks import telling
from flows.checks.every import CHECKS
from flows.checks.inspection import Ask, Inspection
from flows.checks.running import Run, run
from flows.engine.intake import intake
from flows.pages.checked import page
from flows.reading import checks
from flows.service.settings import Configuration
from flows.service.workers import DEPLOYMENTS
from integrations.journal.records import Hold
from integrations.siem.source import parse
from playbooks.action import World
from playbooks.errors import Transient
from playbooks.record.check import CHECK, KIND, NAMED, About, Found, Ran
from playbooks.strict import Json, canonical, now
from playbooks.taxonomy import EntityKind, IncidentClass, MarkKind, Severity
from tests.flows.cli.world import Installation
from tests.flows.engine.test_campaigns import estate
from tests.lab.house import source

AUDIT = Found(
    id="gateway/main/audit",
    subject="gateway main",
    what="audit trail",
    expected="on",
    observed="off",
    severity=Severity.HIGH,
    incident_class=IncidentClass.INSECURE_CONFIGURATION,
    remedy="switch it on",
    state="gateway main audit off",
    rule="Insecure configuration",
    about=(About(EntityKind.SERVER, "weather"),),
)


async def clean() -> list[Found]:
    return []


async def bad() -> list[Found]:
    return [AUDIT]


async def away() -> list[Found]:
    raise Transient("nobody answers")


async def hostile() -> list[Found]:
    raise RecursionError


async def slow() -> list[Found]:
    await asyncio.Event().wait()
    return []


def check(**pieces: Ask) -> Inspection:
    """Return a check of some pieces."""

    def made(_config: Configuration, _world: World) -> Mapping[str, Ask]:
        return pieces

    return replace(CHECKS["drift"], name="tried", title="Tried", pieces=made, left_out=lambda _: {}, daily=False)


def ran(*found: Found, began: Any = None, **more: Any) -> Run:  # noqa: ANN401  # a moment; fields
    fields: dict[str, Any] = {"pieces": 1, "unknown": (), "left_out": (), **more}
    return Run(check=check(), began=began or now(), ended=now(), found=found, **fields)


@pytest.fixture
def config(tmp_path: Path) -> Configuration:
    site = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    assert site.run("init", str(site.folder)).exit_code == 0
    return site.config


async def test_one_piece_that_is_away_hostile_or_slow_is_unknown_and_costs_no_other(config: Configuration) -> None:
    said: list[tuple[str, int, int]] = []
    one = replace(check(a=clean, b=bad, c=away, d=hostile, e=slow), within=0.2)
    done = await run(one, config, lambda *told: said.append(told))
    assert done.found == (AUDIT,)
    assert [name for name, _ in done.unknown] == ["c", "d", "e"]
    whys = dict(done.unknown)
    assert whys["c"] == "nobody answers"
    assert "RecursionError" in whys["d"]
    assert whys["e"] == "it did not answer within 0.2 s"
    assert (done.pieces, done.asked) == (5, 2)
    kept = done.ran("hand", None)
    assert kept.partial, "what could not be asked is not clean"
    assert said[0] == ("", 0, 5)
    assert [told[1:] for told in said[1:]] == [(n, 5) for n in range(1, 6)]


async def test_what_is_left_out_is_not_asked_and_is_said(config: Configuration) -> None:
    one = replace(check(a=clean, b=away), left_out=lambda _: {"b": "not from here"})
    done = await run(one, config)
    assert (done.unknown, done.left_out, done.asked) == ((), (("b", "not from here"),), 1)
    assert done.ran("hand", None).partial
    shown = page(one, done.ran("hand", None), telling.Told("", ""))
    assert shown.startswith("# Tried: as they were approved")
    assert "## Left out" in shown


def test_a_finding_is_told_once_until_it_changes_or_was_over() -> None:
    first = ran(AUDIT)
    before = first.ran("schedule", None)
    later = first.began + timedelta(days=3)
    (one,) = telling.messages(first, None, first.began)
    (again,) = telling.messages(ran(AUDIT, began=later), before, later)
    assert again.number == one.number, "the same, days later"
    (worse,) = telling.messages(ran(AUDIT._replace(state="worse"), began=later), before, later)
    assert worse.number != one.number
    over = ran(began=later).ran("schedule", before)
    (back,) = telling.messages(ran(AUDIT, began=later + timedelta(days=1)), over, later + timedelta(days=1))
    assert back.number != one.number, "it was over, and is there again"
    daily = ran(AUDIT, began=later)._replace(check=replace(check(), daily=True))
    numbers = {telling.messages(daily, before, at)[0].number for at in (later, later + timedelta(days=1))}
    assert len(numbers) == 2, "what stays a danger is told again each day"


def test_what_is_new_and_brings_in_a_place_is_named_however_many_decoys_come_before_it() -> None:
    decoys = [AUDIT._replace(state=f"{n}", about=(About(EntityKind.TOOL, f"a{n}", "weather"),)) for n in range(50)]
    evil = AUDIT._replace(about=(About(EntityKind.TOOL, "z", "weather"),), marks=((MarkKind.INDICATOR, "e.example"),))
    new = [one._replace(together="weather") for one in (*decoys, evil)]
    (one,) = telling.messages(ran(*new), None, now())
    assert one.about == 51
    assert {"kind": "tool", "name": "z", "server": "weather"} in one.alert["entities"], "nobody would be asked about it"


def test_what_the_journal_does_not_name_any_more_is_told_once_a_day_at_most() -> None:
    many = [AUDIT._replace(state=f"{n}") for n in range(NAMED + 1)]
    noon = now().replace(hour=12)
    before = ran(*many, began=noon).ran("schedule", None)
    numbers = [
        {one.number for one in telling.messages(ran(*many, began=at), before, at)}
        for at in (noon + timedelta(hours=1), noon + timedelta(hours=2))
    ]
    assert numbers[0] == numbers[1]


def test_a_finding_is_an_alert_of_the_class_that_it_says_unless_a_rule_says_another() -> None:
    raw = canonical(telling.alert([AUDIT], now()))
    ours = source(classify=[], default_class="tool_poisoning")
    (alert,) = parse(raw, "drift", ours)
    assert alert.incident_class is IncidentClass.INSECURE_CONFIGURATION
    assert alert.title == "gateway main: audit trail is off; it should be on"
    (theirs,) = parse(raw, "siem", ours)
    assert theirs.incident_class is IncidentClass.TOOL_POISONING, "nobody else's tags say what class it is"
    ruled = source(classify=[{"tag": "insecure_configuration", "class": "server_spoofing"}])
    assert parse(raw, "drift", ruled)[0].incident_class is IncidentClass.SERVER_SPOOFING


def test_what_is_hostile_is_harmless_in_a_page_and_in_the_journal() -> None:
    evil = AUDIT._replace(subject="![x](http://e/)\x1b[2J\n# Tried: good", diff="<script>" * 200)
    done = ran(evil)
    shown = page(done.check, done.ran("hand", None), telling.Told("", ""), [(evil.subject, evil.diff)])
    assert "![x](" not in shown
    assert "<script>" not in shown
    assert "\x1b" not in shown
    (row,) = ran(evil).ran("hand", None).found
    assert "\x1b" not in row.subject
    assert "\n" not in row.subject


async def test_a_run_is_in_a_stream_of_its_own_in_the_signed_chain(tmp_path: Path) -> None:
    body = canonical(ran(AUDIT).ran("schedule", None).model_dump(mode="json"))
    async with estate(tmp_path) as made:
        assert await checks.last(made.journal, "tried") is None
        await made.journal.put(kind=KIND, source="drift", nonce=uuid.uuid4().hex, body=body, headers={})
        assert not await intake(made.parts), "a run opens no incident"
        again = await checks.last(made.journal, "tried")
        assert again == Ran.model_validate_json(body)
        assert await made.journal.heads_for([f"{CHECK}tried"])
        assert not await made.journal.verify(public_keys=tuple(made.parts.keys.values()))


@pytest.mark.parametrize("who", ["siem", "lab", "nobody", "drift"])
async def test_nobody_else_says_that_a_check_ran(tmp_path: Path, who: str) -> None:
    body = canonical(ran().ran("schedule", None).model_dump(mode="json"))
    async with estate(tmp_path) as made:
        if who == "drift":
            # Put by a worker itself, past the receiver: nobody stamped it.
            made.journal._stamp, stamp = None, made.journal._stamp  # noqa: SLF001  # as a worker's journal has none
            await made.journal.put(kind=KIND, source=who, nonce="n", body=body, headers={})
            made.journal._stamp = stamp  # noqa: SLF001  # likewise
        else:
            await made.journal.put(kind=KIND, source=who, nonce="n", body=body, headers={})
        await intake(made.parts)
        assert await checks.last(made.journal, "tried") is None
        assert not await made.journal.waiting(10), "it is set aside"


async def test_a_run_of_a_check_that_there_is_not_begins_no_stream(tmp_path: Path) -> None:
    other = ran()._replace(check=replace(check(), name="made-up"))
    body = canonical(other.ran("schedule", None).model_dump(mode="json"))
    async with estate(tmp_path) as made:
        await made.journal.put(kind=KIND, source="drift", nonce="n", body=body, headers={})
        await intake(made.parts)
        assert await made.journal.stream(f"{CHECK}made-up") is None, (
            "whoever holds one secret begins as many as it likes"
        )
        assert not await made.journal.waiting(10), "it is set aside"


def test_every_check_has_its_flow_and_its_schedule() -> None:
    deployed = {one["name"]: one for one in yaml.safe_load(DEPLOYMENTS.read_text())["deployments"]}
    for name, one in CHECKS.items():
        there = deployed[one.key]
        assert there["entrypoint"].startswith(f"flows.{name}."), name
        assert there["schedules"], name
        assert there["work_pool"]["name"] == "reading", name
    assert flows_drift.pin_drift.name == "pin-drift"
    assert flows_drift.pin_drift.description == CHECKS["drift"].about


def hold(grip: str, after: Json, server: str = "weather") -> Hold:
    """Return a hold of an incident."""
    return Hold(grip, "incident/inc-2026-000001", "lease", server, None, after, None, 0.0)


GRIP = "keycloak/main/client/uid#pkce"
HELD = AUDIT._replace(grip=GRIP, value={"method": "none", "of": "us"})


@pytest.mark.parametrize("name", CHECKS)
async def test_what_an_incident_holds_is_no_finding_of_any_check(config: Configuration, name: str) -> None:
    async def found() -> list[Found]:
        return [HELD, HELD._replace(grip="", subject="another"), HELD._replace(value="none", subject="undone")]

    async def holds() -> list[Hold]:
        return [hold(GRIP, {"of": "us", "method": "none"})]

    one = replace(CHECKS[name], pieces=lambda _config, _world: {"a": found}, left_out=lambda _: {})
    done = await run(one, config, holds=holds)
    assert [each.subject for each in done.found] == ["another", "undone"], "what somebody else did stays a finding"
    assert done.held == (("gateway main: audit trail is off", "inc-2026-000001 holds it so"),)
    kept = done.ran("hand", None)
    assert "holds it so" in page(one, kept, telling.Told("", ""))
    assert kept.differ == 2
    assert [each.subject for each in (await run(one, config)).found] == ["gateway main", "another", "undone"]


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize(
    ("grip", "shut"),
    [
        ("kubernetes/main/deployment/uid#denied", True),
        ("gateway/main/server/uid#enabled", True),
        ("gateway/main/tool/a/b#enabled", False),
        ("gateway/main/list/uid#allows", False),
        ("provider/main/token/jti#revoked", False),
        ("no grip", False),
    ],
)
async def test_who_is_shut_off_by_an_incident_need_not_answer(
    config: Configuration, name: str, grip: str, *, shut: bool
) -> None:
    async def holds() -> list[Hold]:
        return [hold(grip, {"on": True})]

    pieces = {"weather": away, "else": away}
    one = replace(CHECKS[name], pieces=lambda _config, _world: pieces, left_out=lambda _: {})
    done = await run(one, config, holds=holds)
    assert [piece for piece, _ in done.unknown] == (["else"] if shut else ["else", "weather"])
    assert [piece for piece, _ in done.left_out] == (["weather"] if shut else [])
    assert all("inc-2026-000001" in why for _, why in done.left_out)
    assert done.asked == 0, "nobody knows how it is"


@pytest.mark.parametrize("taken", [True, False])
async def test_what_was_held_while_it_was_asked_is_no_finding(config: Configuration, *, taken: bool) -> None:
    when = [[], [hold(GRIP, HELD.value)]]

    async def holds() -> list[Hold]:
        return when.pop(0 if taken else -1)

    done = await run(check(a=lambda: asyncio.sleep(0, [HELD])), config, holds=holds)
    assert done.found == ()
