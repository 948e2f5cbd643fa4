"""What an import, `doctor` and the look for orphans say of a proxy."""

import json
from pathlib import Path

import pytest

from flows.demo.site import GATEWAY
from integrations.estate import IssuedToken, Survey
from integrations.gateways.actions import DisableTool
from integrations.gateways.captures import CaptureLogs, CapturePrincipal, CaptureState
from integrations.registry import SYSTEMS
from integrations.system import Holders
from integrations.systems.litellm.client import key_id
from integrations.systems.litellm.doctor import doctor
from playbooks.errors import Misconfigured
from tests.contract.laws import apply
from tests.lab.connected import connected
from tests.lab.exhibits import gathered
from tests.lab.litellm import ADMIN, Proxied


async def _nobody() -> tuple[()]:
    return ()


async def looked(lab: Proxied) -> list[tuple[str, str]]:
    """Return what `doctor` says: level and message."""
    fresh = connected(lab.world.inventory)
    try:
        return [(line.level, line.message) for _, part in doctor(fresh, Holders(_nobody)) async for line in part]
    finally:
        await fresh.aclose()


async def test_everything_is_read_a_canary_is_made_and_doctor_finds_it(lab: Proxied, tmp_path: Path) -> None:
    made: list[IssuedToken] = []
    path = tmp_path / "proxied" / "canary"
    path.unlink()
    wanted = Survey(
        name=GATEWAY,
        gateway=lab.world.inventory.gateways[GATEWAY],
        password=lab.stand_in.master,
        shell_password="",
        folder=tmp_path,
        canary_path=path,
        make_canary=True,
        keep=made.append,
    )
    seen = await SYSTEMS.importers["litellm"](wanted)
    (entry,) = seen.estate.entries
    assert (entry.id, entry.name, entry.url, entry.enabled) == (lab.entry, "weather", lab.victim.url, True)
    assert {held.name for held in seen.estate.objects[entry.id]} == {"add", "get_weather", "get_forecast"}
    assert {user.email for user in seen.estate.users} == {"canary", lab.principal}
    assert [token.name for token in seen.estate.tokens if token.user == lab.principal] == ["agent"]
    assert "was made" in seen.canary
    (audited,) = seen.audits
    assert (audited.setting, audited.on) == ("store_audit_logs", False)
    path.write_text(made[0].secret)
    said = await looked(lab)
    assert {level for level, _ in said} == {"ok"}, said
    assert ("ok", "its call of add of weather gets through") in said
    again = await SYSTEMS.importers["litellm"](wanted._replace(make_canary=False))
    assert again.canary == "canary is there, with a key that is good"


async def test_doctor_says_what_would_make_a_cut_or_its_proof_worthless(lab: Proxied) -> None:
    lab.stand_in.servers[lab.entry]["is_config"] = True
    lab.stand_in.servers[lab.entry]["alias"] = "renamed"
    for key in lab.stand_in.keys.values():
        key["object_permission"] = {"mcp_servers": []}
    failed = [message for level, message in await looked(lab) if level == "fail"]
    assert "weather stands in the proxy's configuration file: nothing of it can be cut while it runs" in failed
    assert "the canary's key may not use weather: what it meets there proves nothing" in failed
    assert any(message.startswith("clients list no tool of weather by the name") for message in failed)


async def test_an_ordinary_key_does_nothing_there_and_is_told_which_it_takes(lab: Proxied, tmp_path: Path) -> None:
    secret = (tmp_path / "proxied" / "agent").read_text()
    (tmp_path / "proxied" / "password").write_text(secret)
    with pytest.raises(Misconfigured, match="none of a proxy_admin's"):
        await looked(lab)


async def test_evidence_has_what_it_holds_and_no_secret(lab: Proxied, tmp_path: Path) -> None:
    plan = await DisableTool(server=lab.server, tool="get_weather").plan(lab.world)
    assert (await DisableTool.verify(plan, lab.world)).findings
    state = await gathered(CaptureState(server=lab.server), lab.world)
    principal = await gathered(CapturePrincipal(principal=lab.principal), lab.world)
    logs = await gathered(CaptureLogs(server=lab.server), lab.world)
    assert set(principal) == {"account.json", "keys.json", "audit-logs.json", "spend-logs.json", "missing.txt"}
    assert [one["key_alias"] for one in json.loads(principal["keys.json"])] == ["agent"], "nobody else's"
    assert json.loads(logs["spend-logs.json"])[0]["user"] == "canary"
    assert b"takes a licence" in logs["audit-logs-empty.txt"] or b"off there" in logs["audit-logs-empty.txt"]
    held = json.loads(state["gateway-state.json"])
    assert held["servers"][0]["static_headers"] is True, "that there is one"
    everything = b"".join((*state.values(), *principal.values(), *logs.values())).decode()
    for secret in ("a secret of the server's", lab.stand_in.master, (tmp_path / "proxied" / "agent").read_text()):
        assert secret not in everything


async def test_our_own_key_is_never_a_target(lab: Proxied) -> None:
    assert lab.driver.credentials == {key_id(lab.stand_in.master)}
    assert lab.driver.administrator == ADMIN


async def test_what_is_out_of_use_is_found(lab: Proxied) -> None:
    plan = await DisableTool(server=lab.server, tool="get_weather").plan(lab.world)
    await apply(DisableTool, plan, lab.world)
    look = SYSTEMS.present(lab.world.inventory)[f"gateway/{GATEWAY}"](lab.world)
    found = {one.name: (one.value, await look.value(one.kind, one.id, one.field)) for one in await look.look()}
    assert [name for name, (wanted, there) in found.items() if wanted != there] == ["get_weather"]
    assert {"weather", "add", "get_forecast", "agent of agent-weather"} <= found.keys()
