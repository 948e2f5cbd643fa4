"""What a server says that no standard can write down costs its own question, never a cut, a watch or a command."""

from pathlib import Path

import pytest

from flows.cli.work.pins import differences
from flows.demo.mcp_server import Behaviour
from flows.engine.calls import within
from integrations.systems.mcp.checks import DefinitionDiffers
from playbooks.action import World
from playbooks.errors import Refused, Transient, Unforeseen
from playbooks.gate.plan import Answer, Verdict
from playbooks.record.incident import Status
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import alert


async def test_a_poisoned_tool_with_an_integer_beyond_what_is_exact_is_cut_and_watched(
    lab: Lab, tmp_path: Path
) -> None:
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await scenes.turn(lab, Behaviour(poisoned=("get_weather",), beyond=("get_weather",)))
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        assert not await scenes.usable(lab, "get_weather", city="Seoul")
        # The whole server's other cuts are compared with the pins beside it, again and again.
        await scenes.turn(lab, Behaviour(poisoned=("get_weather",), beyond=("get_weather", "get_forecast")))
        # Such an integer alone brings in nothing that acts: it is found, and people decide.
        step = await scenes.proposed(home, name, f"widen-gateway-disable_tool@{lab.site.server_id}/get_forecast")
        await scenes.approve(home, "ann", name, step)
        await scenes.established(home, name, step.instance)
        await home.reaches(Status.CONTAINED, name)
    (one, other) = await differences(lab.world, lab.site.server_id)
    assert (one.name, other.name) == ("get_forecast", "get_weather")
    assert "no canonical form" in one.diff
    assert "(at inputSchema.maxProperties)" in one.diff
    verdict = await DefinitionDiffers(server=lab.site.server_id, tool="get_weather").check(lab.world)
    assert verdict.answer is Answer.ESTABLISHED


async def test_a_confirmation_that_our_own_code_falls_over_is_unknown_and_people_are_asked(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fall(_self: DefinitionDiffers, _world: World) -> Verdict:
        raise KeyError("inputSchema")

    monkeypatch.setattr(DefinitionDiffers, "check", fall)
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.reaches(Status.AWAITING_APPROVAL)
        step = await scenes.proposed(home, incident.id, scenes.cut_of(lab, "get_weather"))
        await scenes.approve(home, "ann", incident.id, step)
        await home.reaches(Status.CONTAINED, incident.id)


async def test_what_falls_over_is_an_error_of_ours_that_names_the_question() -> None:
    async def falls(exc: Exception) -> None:
        raise exc

    with pytest.raises(Unforeseen, match=r"asking weather: .*RecursionError") as caught:
        await within(1.0, falls(RecursionError()), "asking weather")
    assert isinstance(caught.value, Transient), "it is asked again, like a question that nobody answered"
    with pytest.raises(Refused):
        await within(1.0, falls(Refused("no")), "asking weather")
