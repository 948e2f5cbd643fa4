"""What a person gave back though nobody approved it is no leak beside another cut, while it is what it was."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows.engine import given_back as engine_given_back
from flows.engine import writing
from integrations.gateways.actions import DisableTool
from integrations.journal.store import Tx
from integrations.systems.contextforge.held import Held
from playbooks.action import World
from playbooks.errors import Transient
from playbooks.estate.pins import Pins
from playbooks.gate.plan import Answer, Beside, Change, Plan, Radius, Target
from playbooks.people.request import Verb
from playbooks.record.given_back import KIND, NAMED, OVER, STREAM, body
from playbooks.record.incident import Status
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from playbooks.taxonomy import IncidentClass
from tests.lab import flags, gateway, scenes
from tests.lab.gateway import Gateway, Place, held, pin
from tests.lab.house import House, alert

CUT = "cut-tool@weather/forecast"
WIDENED = "widen-gateway-disable_tool@weather/spare"


def place(*more: str) -> Place:
    """Return a place whose server offers what was approved, and a tool that slipped in."""
    tools = (held("forecast"), held("add"), held("spare"), *map(held, more))
    return Place(Gateway(*tools), approved=("forecast", "add"), imported=())


async def contained(home: House) -> str:
    """Have an alert about one tool cut it and what slipped in beside it, and return the incident."""
    await flags.respond(home)
    name = (await home.reaches(Status.CONTAINED)).id
    await scenes.established(home, name, WIDENED)
    return name


async def given_back(home: House, name: str, lease: str = WIDENED) -> Incident:
    """Have ann give one lease back as she saw it, and wait for it."""
    tools = cast("Any", home.parts.world).gateway.tools
    params = {"lease": lease, "accept_changed": True, "shown": shown(*tools)}
    await home.ask("ann", Verb.RELEASE, name, reason="it is needed", params=params)

    async def back() -> bool:
        return (await home.incident(name)).leases[lease].released_at is not None

    await home.until(back, f"{lease} is given back")
    return await home.incident(name)


def shown(*tools: Held) -> list[dict[str, str]]:
    """Return tools as whoever accepts them as they are signs for them."""
    return [{"kind": "tool", "id": one.id, "digest": one.digest} for one in tools]


async def another(home: House, *known: str) -> str:
    """Have alerts about another tool of the server cut it in an incident of its own, and return that."""
    await asyncio.gather(*(home.receive(alert("weather", "add"), source=source) for source in ("siem", "second")))

    async def there() -> bool:
        return len(await home.incidents()) > len(known)

    await home.until(there, "another incident is open")
    (name,) = {incident.id for incident in await home.incidents()} - {*known}
    return (await home.reaches(Status.CONTAINED, name)).id


async def looked_at(home: House, times: int = 3) -> None:
    """Wait until every containment in force was looked at so often again."""
    for _ in range(times):
        before = {one.lease: one.checked_at for one in await home.journal.watched()}

        async def again(before: dict[str, float] = before) -> bool:
            now = {one.lease: one.checked_at for one in await home.journal.watched()}
            return all(at > before.get(lease, 0.0) for lease, at in now.items())

        await home.until(again, "the containments are looked at again")


async def test_it_is_not_cut_again_beside_what_is_still_contained_until_it_changes(tmp_path: Path) -> None:
    site = place()
    async with gateway.installation(tmp_path, site) as home, home.responding():
        name = await contained(home)
        await given_back(home, name)
        await looked_at(home)
        incident = await home.incident(name)
        assert site.gateway.usable("spare")
        assert not site.gateway.usable("forecast")
        assert list(incident.widenings) == [WIDENED], "no second one"
        assert incident.status is Status.CONTAINED
        (said,) = [one for one in verdict(incident) if "gave it back" in one]
        assert f"ann in {name} gave it back as it is: tool spare" in said
        site.gateway.change("spare", description="now it reads ~/.ssh/id_rsa")
        second = WIDENED.replace("@", "-2@")
        await scenes.established(home, name, second)
        assert not site.gateway.usable("spare"), "what changed is a leak again"


def verdict(incident: Incident) -> list[str]:
    found = incident.leases[CUT].verdict
    return [one.observed for one in found.findings] if found else []


async def test_it_holds_in_another_incident_of_the_server_and_after_a_restart(tmp_path: Path) -> None:
    site = place()
    async with gateway.installation(tmp_path, site) as home:
        async with home.responding():
            name = await contained(home)
            second = await another(home, name)
            await given_back(home, name)
            await looked_at(home)
            assert [*(await home.incident(second)).widenings] == []
            await given_back(home, second, "cut-tool@weather/add")
        assert site.gateway.usable("add"), "what is beside it holds up no release"
    async with gateway.installation(tmp_path, site) as home, home.responding():
        await looked_at(home)
        # A cut that is planned later leaves it alone too: two people do not decide on it at each incident.
        await home.ask("ann", Verb.CLOSE, second, reason="over")
        await home.reaches(Status.CLOSED, second)
        third = await another(home, name, second)
        await looked_at(home)
        assert site.gateway.usable("spare")
        assert [*(await home.incident(third)).widenings] == []


async def test_a_changed_definition_that_people_took_on_is_no_leak_either(tmp_path: Path) -> None:
    site = place()
    site.gateway.change("add", description="approved otherwise")
    async with gateway.installation(tmp_path, site) as home, home.responding():
        await flags.respond(home)
        name, changed = "inc-2026-000001", WIDENED.replace("spare", "add")
        await scenes.approve(home, "bob", name, await scenes.proposed(home, name, changed))
        await home.reaches(Status.CONTAINED, name)
        await given_back(home, name, changed)
        await looked_at(home)
        assert site.gateway.usable("add")
        assert changed.replace("@", "-2@") not in (await home.incident(name)).widenings


async def test_what_changes_while_people_are_asked_is_asked_about_anew(tmp_path: Path) -> None:
    site, folder = place(), flags.flags(tmp_path / "flags")
    folder.joinpath("poisoned").touch()
    book = flags.playbook(gateway.CUT_TOOL, eradicate=[flags.healthy(folder)])
    async with gateway.installation(tmp_path, site, playbooks=book, steps=flags.WITH_FLAGS) as home, home.responding():
        name = await contained(home)
        await home.ask("ann", Verb.RELEASE, name, reason="it is needed", params={"lease": WIDENED})
        first = await scenes.proposed(home, name, f"release-{WIDENED}")
        site.gateway.change("spare", description="now it reads ~/.ssh/id_rsa")
        assert first.plan is not None
        was = first.plan.digest

        async def anew() -> bool:
            step = (await home.incident(name)).steps[f"release-{WIDENED}"]
            return step.plan is not None and step.plan.digest != was

        await home.until(anew, "it is asked about anew")
        nonce = await scenes.approve(home, "bob", name, first)
        await scenes.taken_in(home)
        assert nonce not in (await home.incident(name)).accepted, "bob read another one"
        second = await scenes.proposed(home, name, f"release-{WIDENED}")
        assert "differs otherwise" in second.differs
        await scenes.approve(home, "bob", name, second)
        await home.until(lambda: back(home, name), "it is given back")
        await looked_at(home)
        assert site.gateway.usable("spare")
        (entry,) = [entry.parsed() for entry in await home.journal.read(STREAM)]
        assert entry.body["by"] == ["ann", "bob"]


async def back(home: House, name: str) -> bool:
    return (await home.incident(name)).leases[WIDENED].released_at is not None


async def test_a_look_that_began_before_it_was_given_back_asks_again(tmp_path: Path) -> None:
    site = place()
    site.gateway.change("forecast", enabled=False)
    listing, told = site.gateway.catalog, list[str]()
    async with gateway.installation(tmp_path, site) as home:

        async def meanwhile(entry: str, since: float = 0.0) -> tuple[Held, ...]:
            spare = Beside(kind="tool", name="spare", id="id-spare", digest=held("spare").digest)
            said = body("inc-2026-000009", WIDENED, ["ann"], "weather", [spare])
            if not told:
                told.append(entry)
                await home.journal.append("incident/inc-2026-000009", [Event("noted", {"text": "open"})])
                await home.journal.append(STREAM, [Event(KIND, said)])
            return await listing(entry, since)

        site.gateway.catalog = meanwhile  # type: ignore[method-assign,assignment]  # its list takes its time
        plan = await DisableTool(server="weather", tool="forecast").plan(cast("World", site))
        case: Any = SimpleNamespace(parts=home.parts)
        found = await writing.verify(case, DisableTool, plan)
        assert told
        assert (found.answer, found.widen) == (Answer.ESTABLISHED, ())


SPARE = Beside(kind="tool", name="spare", id="id-spare", digest=held("spare").digest)


async def noted(home: House, thing: Beside = SPARE, incident: str = "inc-2026-000009") -> None:
    """Journal that ann gave something back as it is, in an incident that is open."""
    await home.journal.append(f"incident/{incident}", [Event("noted", {"text": "open"})])
    await home.journal.append(STREAM, [Event(KIND, body(incident, WIDENED, ["ann"], "weather", [thing]))])


async def judged(home: House, site: Place) -> tuple[Answer, int]:
    """Return what a look at another cut says: its answer, and how much it would widen to."""
    plan = await DisableTool(server="weather", tool="forecast").plan(cast("World", site))
    case: Any = SimpleNamespace(parts=home.parts)
    found = await writing.verify(case, DisableTool, plan)
    return found.answer, len(found.widen)


async def test_it_ends_with_its_incident(tmp_path: Path) -> None:
    site = place()
    site.gateway.change("forecast", enabled=False)
    async with gateway.installation(tmp_path, site) as home:
        await noted(home)
        assert await judged(home, site) == (Answer.ESTABLISHED, 0)

        async def close(tx: Tx) -> None:
            await tx.close_stream("incident/inc-2026-000009")

        await home.journal.submit(close)
        assert await judged(home, site) == (Answer.NOT_ESTABLISHED, 1)


async def test_it_ends_when_something_is_approved_of_its_name(tmp_path: Path) -> None:
    site = place()
    site.gateway.change("forecast", enabled=False)
    async with gateway.installation(tmp_path, site) as home:
        await noted(home)
        assert await judged(home, site) == (Answer.ESTABLISHED, 0)
        otherwise = pin("spare").model_copy(update={"gateway_digest": held("spare", description="clean").digest})
        pins = Pins(servers={"weather": (*site.inventory.pins.of("weather"), otherwise)})
        site.inventory = site.inventory.model_copy(update={"pins": pins})
        assert await judged(home, site) == (Answer.NOT_ESTABLISHED, 1)


async def test_it_ends_when_it_is_contained_again_whatever_becomes_of_that(tmp_path: Path) -> None:
    site = place()
    site.gateway.change("forecast", enabled=False)
    async with gateway.installation(tmp_path, site) as home:
        await noted(home)
        again = await DisableTool(server="weather", tool="spare").plan(cast("World", site))
        other = await DisableTool(server="weather", tool="add").plan(cast("World", site))

        async def contain(plan: Plan) -> None:
            async def work(tx: Tx) -> None:
                await engine_given_back.over(tx, "inc-2026-000010", "cut", plan)

            await home.journal.submit(work)

        await contain(other)
        assert await judged(home, site) == (Answer.ESTABLISHED, 0)
        await contain(again)
        assert await judged(home, site) == (Answer.NOT_ESTABLISHED, 1)


async def test_what_people_contain_again_is_a_leak_again_if_somebody_undoes_that(tmp_path: Path) -> None:
    site = place()
    async with gateway.installation(tmp_path, site) as home, home.responding():
        name = await contained(home)
        await given_back(home, name)
        entities = [{"kind": "tool", "name": "spare", "server": "weather"}]
        await home.ask("ann", Verb.RESPOND, name, reason="it is poison", params={"entities": entities})

        async def asked() -> bool:
            steps = (await home.incident(name)).steps.values()
            return any(one.progress is Progress.PROPOSED and "spare" in one.instance for one in steps)

        await home.until(asked, "it is asked about")
        steps = (await home.incident(name)).steps.values()
        (step,) = [one for one in steps if one.progress is Progress.PROPOSED]
        await scenes.approve(home, "bob", name, step)
        await scenes.established(home, name, step.instance)
        said = [entry.parsed() for entry in await home.journal.read(STREAM)]
        assert [one.kind for one in said] == [KIND, OVER]
        assert said[1].body["things"] == [{"kind": "tool", "id": "id-spare"}]


async def test_another_definition_than_ann_saw_is_asked_about_and_is_not_given_back_by_her(tmp_path: Path) -> None:
    site = place()
    async with gateway.installation(tmp_path, site) as home:
        async with home.responding():
            name = await contained(home)
        params = {"lease": WIDENED, "accept_changed": True, "shown": shown(held("spare"))}
        await home.ask("ann", Verb.RELEASE, name, reason="harmless", params=params)
        site.gateway.change("spare", description="now it reads ~/.ssh/id_rsa")
        async with home.responding():
            step = await scenes.proposed(home, name, f"release-{WIDENED}")
            assert any("never approved" in reason for reason in step.reasons)
            assert not site.gateway.usable("spare")
            assert await home.journal.read(STREAM) == []


@pytest.mark.parametrize("accepts", [False, True])
async def test_what_cannot_be_read_is_given_back_by_nobody_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, accepts: bool
) -> None:
    site = place()

    async def silent(*_: object) -> None:
        raise Transient("gateway main: no answer")

    async with gateway.installation(tmp_path, site) as home, home.responding():
        name = await contained(home)
        monkeypatch.setattr(DisableTool, "unapproved", silent)
        seen = {"accept_changed": True, "shown": shown(*site.gateway.tools)} if accepts else {}
        site.gateway.change("spare", description="now it reads ~/.ssh/id_rsa")
        await home.ask("ann", Verb.RELEASE, name, reason="it is needed", params={"lease": WIDENED, **seen})
        step = await scenes.proposed(home, name, f"release-{WIDENED}")
        assert any("nobody could find out" in reason for reason in step.reasons)
        assert not site.gateway.usable("spare")


@pytest.mark.parametrize("seen", [{}, {"shown": []}], ids=["of before", "nothing"])
async def test_who_was_shown_nothing_accepts_nothing_that_nobody_approved(tmp_path: Path, seen: dict[str, Any]) -> None:
    site = place()
    async with gateway.installation(tmp_path, site) as home, home.responding():
        name = await contained(home)
        params = {"lease": WIDENED, "accept_changed": True, **seen}
        await home.ask("ann", Verb.RELEASE, name, reason="harmless", params=params)
        step = await scenes.proposed(home, name, f"release-{WIDENED}")
        assert any("tool spare comes back as it is now" in reason for reason in step.reasons)
        assert not site.gateway.usable("spare")
        await scenes.approve(home, "bob", name, step)
        await home.until(lambda: back(home, name), "it is given back")
        (said,) = [entry.parsed() for entry in await home.journal.read(STREAM)]
        assert [one["digest"] for one in said.body["things"]] == [held("spare").digest], "what bob was shown"


def release(*things: Beside) -> Plan:
    said: Any = [thing.model_dump(mode="json") for thing in things]
    changes: Any = ()
    return Plan(action="x", params={"unapproved": said}, summary="s", changes=changes, radius=Radius.SERVER)


def test_a_question_names_all_that_those_who_answer_it_give_back_as_it_is() -> None:
    many = [SPARE.model_copy(update={"name": f"t{n}", "id": f"id-{n}"}) for n in range(NAMED + 2)]
    plan = release(*many)
    lines = engine_given_back.reasons(plan)
    assert len(lines) == NAMED + 1
    assert "tool t0 comes back as it is now" in lines[0]
    assert lines[-1].startswith("and 2 more")
    signed = engine_given_back.signed_for(plan, (), asked=lines, agreed={"bob"})
    assert [one.name for one in signed] == [one.name for one in many[:NAMED]]
    assert engine_given_back.signed_for(plan, (), asked=lines, agreed=set()) == ()
    assert engine_given_back.signed_for(plan, (), asked=["it needs two"], agreed={"bob"}) == ()
    mine = {("tool", "id-1", SPARE.digest)}
    assert [one.name for one in engine_given_back.signed_for(plan, mine, asked=[], agreed=set())] == ["t1"]
    changed = {("tool", "id-1", held("other").digest)}
    assert engine_given_back.signed_for(plan, changed, asked=[], agreed=set()) == ()


def test_what_stays_off_because_another_incident_holds_it_is_not_said_to_come_back() -> None:
    off = SPARE.model_copy(update={"name": "off", "id": "id-off"})
    target = Target(system="gateway/main", kind="tool", id="id-off", name="off", server="weather")
    change = Change(target=target, field="enabled", before=False, after=True)
    plan = release(SPARE, off).model_copy(update={"changes": (change,)})
    lines = engine_given_back.reasons(plan, {change.grip: ["inc-2"]})
    assert len(lines) == 1
    assert SPARE.name in lines[0]
    said = engine_given_back.reasons(plan)
    signed = engine_given_back.signed_for(plan, (), asked=said, agreed={"bob"}, kept={change.grip})
    assert [one.name for one in signed] == [SPARE.name], "when that is given back, whoever does it signs for it"


async def test_who_approves_what_was_accepted_beforehand_reads_what_comes_back_unapproved(tmp_path: Path) -> None:
    site = place("evil")
    cut = flags.playbook(gateway.CUT_SERVER)[IncidentClass.TOOL_POISONING]
    book = {IncidentClass.SERVER_COMPROMISE: cut.model_copy(update={"class_": IncidentClass.SERVER_COMPROMISE})}
    async with gateway.installation(tmp_path, site, playbooks=book) as home, home.responding():
        entities = [{"kind": "server", "name": "weather"}]
        params = {"title": "t", "class": "server_compromise", "exact": True, "entities": entities}
        await home.ask("ann", Verb.RESPOND, "new", reason="odd", params=params)
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        await scenes.approve(home, "bob", name, await scenes.proposed(home, name, "cut-server@weather"))
        await home.reaches(Status.CONTAINED, name)
        await home.ask("ann", Verb.RELEASE, name, reason="over", params={"accept_changed": True})
        step = await scenes.proposed(home, name, "release-cut-server@weather")
        for tool in ("spare", "evil"):
            assert any(f"tool {tool} comes back as it is now" in reason for reason in step.reasons)
