"""An account without rights is found before it is needed, and named where it was refused."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from integrations.connections import Connections
from integrations.gateways.actions import DisableTool
from integrations.http import AT_ONCE
from integrations.registry import SYSTEMS
from integrations.system import Holders
from integrations.systems.contextforge.doctor import doctor
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.enrol import fresh_password
from integrations.systems.contextforge.needs import RIGHTS
from integrations.systems.contextforge.rights import ROLE, rights
from playbooks.errors import Misconfigured
from playbooks.estate.systems import Secret
from tests.lab.connected import connected
from tests.lab.fixtures import Lab, unique_name


@asynccontextmanager
async def as_somebody_else(lab: Lab, folder: Path) -> AsyncIterator[tuple[Connections, str]]:
    """Give the same site, signed in to its gateway as a user who was only just made."""
    user, password = f"{unique_name('poor')}@example.com", fresh_password()
    body = {"email": user, "full_name": "x", "password": password}
    await lab.world.reach(ContextForge, "main").api.request("POST", "/v1/auth/email/admin/users", body=body)
    place = folder / "poor-password"
    place.write_text(password)
    main = lab.site.inventory.gateways["main"].model_copy(update={"user": user, "password": Secret(file=str(place))})
    world = connected(lab.site.inventory.model_copy(update={"systems": {"main": main}}))
    world.reach(ContextForge, "main").patience = 20.0
    try:
        yield world, user
    finally:
        await world.aclose()


async def none() -> tuple[()]:
    return ()


def test_every_step_at_a_gateway_says_what_it_needs() -> None:
    assert set(RIGHTS) == {step.name for step in SYSTEMS.works["contextforge"].steps}
    assert all(rights.needs and rights.asks for rights in RIGHTS.values())


async def test_an_account_without_rights_is_told_permission_by_permission_and_changes_nothing(
    lab: Lab, tmp_path: Path
) -> None:
    async with as_somebody_else(lab, tmp_path) as (world, user):
        lab.proxy.forget()
        lines = [line for _, looked in doctor(world, Holders(none)) async for line in looked]
        assert lab.proxy.writes == []
    failed = {line.message: line.remedy for line in lines if line.level == "fail" and line.check == "gateway main"}
    assert len(failed) == len(RIGHTS), lines
    (tool,) = [text for text in failed if "gateway.disable_tool" in text]
    assert "tools.update" in tool
    assert user.replace("@", " at ") in tool
    assert all(ROLE in remedy for remedy in failed.values())


async def test_doctor_asks_for_nothing_twice(lab: Lab) -> None:
    lab.proxy.forget()
    world = connected(lab.site.inventory)
    try:
        lines = [line for _, looked in doctor(world, Holders(none)) async for line in looked]
    finally:
        await world.aclose()
    assert not any(line.level == "fail" for line in lines), lines
    asked = Counter(path.partition("?")[0] for _, path in lab.proxy.seen)
    # Each of its processes may answer; and an entry is looked for before and after it is made, until it comes.
    often = {"/health", "/api/logs/audit-trails"}
    assert asked["/v1/tokens/admin/all"] == 1
    assert {path for path, times in asked.items() if times > 1 and not path.startswith("/mcp")} <= often
    assert asked["/health"] == AT_ONCE // 2


async def test_our_own_account_may_do_everything(lab: Lab) -> None:
    found = await rights(lab.world.reach(ContextForge, "main"))
    assert [right.lacks for right in found] == [()] * len(RIGHTS)


async def test_a_refusal_names_the_account_that_was_refused(lab: Lab, tmp_path: Path) -> None:
    plan = await DisableTool(server=lab.site.server_id, tool="get_weather").plan(lab.world)
    async with as_somebody_else(lab, tmp_path) as (world, user):
        with pytest.raises(Misconfigured) as caught:
            await DisableTool.write(plan.changes[0], world, key="test")
    said = str(caught.value)
    assert user.replace("@", " at ") in said
    assert ROLE in said


async def test_processes_are_counted_and_what_the_inventory_says_counts_too(lab: Lab) -> None:
    forge = lab.world.reach(ContextForge, "main")
    assert await forge.count_pids() == 1
    main = lab.site.inventory.gateways["main"].model_copy(update={"processes": 3})
    world = connected(lab.site.inventory.model_copy(update={"systems": {"main": main}}))
    try:
        plan = await DisableTool(server=lab.site.server_id, tool="get_weather").plan(lab.world)
        await DisableTool.write(plan.changes[0], world, key="test")
        verdict = await DisableTool.verify(plan, world)
        waits = [finding for finding in verdict.findings if "by each process" in finding.subject]
        assert (verdict.answer, len(waits)) == ("unknown", 1), verdict
        slow = world.reach(ContextForge, "main")
        slow._disabled[plan.targets[0].id] -= 100  # noqa: SLF001  # as a minute and a half later
        assert (await DisableTool.verify(plan, world)).answer == "established"
    finally:
        await world.aclose()
