"""What slips in at a server that no lease watches: our own comparison finds it, and the same path contains it."""

from pathlib import Path

from flows.checks import drift
from flows.checks.running import Run
from flows.checks.telling import messages
from flows.demo.mcp_server import Behaviour
from playbooks.estate.pins import PinKind
from playbooks.gate.corroboration import ONE_FACT
from playbooks.record.check import Found
from playbooks.record.incident import Status
from playbooks.strict import canonical, now
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert


def reported(found: list[Found]) -> list[bytes]:
    """Return the messages that the drift run sends to the receiver about what it found."""
    run = Run(drift.CHECK, now(), now(), len(found), tuple(found), (), ())
    return [canonical(one.alert) for one in messages(run, None, now())]


async def opened(home: House, body: bytes, source: str, status: Status) -> str:
    await home.receive(body, source=source)
    return (await home.reaches(status)).id


async def test_a_new_tool_that_the_comparison_reports_is_asked_about_and_cut(lab: Lab, tmp_path: Path) -> None:
    await scenes.turn(lab, Behaviour(added=("new_evil",)))
    found = await drift.compared(lab.world, lab.site.server_id)
    assert [(one.observed, one.about[0].name) for one in found] == [("new", "new_evil")]
    (body,) = reported(found)
    body = body.replace(b'"definition-differs"', b'"tool_poisoning"')  # as the source's configuration maps it
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        name = await opened(home, body, "drift", Status.AWAITING_APPROVAL)
        incident = await home.incident(name)
        assert incident.triage is None
        step = await scenes.proposed(home, name, scenes.cut_of(lab, "new_evil"))
        assert any(ONE_FACT in reason for reason in step.reasons), "one comparison is one fact: a person is asked"
        await scenes.approve(home, "bob", name, step)
        await home.reaches(Status.CONTAINED, name)
        assert not await scenes.usable(lab, "new_evil")
        assert await scenes.usable(lab, "add", a=1, b=2)


async def test_whoever_else_names_what_nobody_approved_opens_nothing_that_acts(lab: Lab, tmp_path: Path) -> None:
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        body = alert(
            lab.site.server_id, "invented", entities=[{"kind": "tool", "name": "x", "server": lab.site.server_id}]
        )
        name = await opened(home, body, "siem", Status.TRIAGE)
        triage = (await home.incident(name)).triage
        assert triage is not None
        assert "nothing is approved there that is called so" in triage
        assert "shadow" not in triage, "the server is known"
        assert lab.proxy.writes == []


def test_what_is_new_at_a_server_is_one_message_however_much_it_is() -> None:
    new = [drift.differs("weather", PinKind.TOOL, f"t{n}", "new", "sha256:0", diff="+") for n in range(5000)]
    changed = [drift.differs("weather", PinKind.TOOL, f"c{n}", "changed", "sha256:0", diff="+") for n in range(3)]
    sent = reported([*new, *changed])
    assert len(sent) == 4
    assert b"t0 of weather and 4999 more are new" in sent[-1]
    assert sent[-1].count(b'"kind":"tool"') == 20
