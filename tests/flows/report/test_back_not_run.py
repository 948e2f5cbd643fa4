"""What was only found again, and not run, is said to be offered again: nobody knows yet that it works."""

import pytest

from integrations.protocol.client import McpEndpoint, Reply
from integrations.registry import SYSTEMS
from integrations.systems.contextforge.canary import ForgeCanary
from playbooks.gate.plan import Answer, Verdict
from playbooks.people.contacts import Language
from playbooks.record.journal import Event
from playbooks.text.sentences import said
from tests.lab import stories


async def test_a_release_that_an_internal_error_confirmed_says_what_that_proves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answers(_: McpEndpoint, _method: str, params: dict[str, object], **_how: object) -> Reply:
        nobody = params["name"] == "mcp-soar-no-such-tool"
        error = {"code": -32601, "message": f"Tool not found: {params['name']}"} if nobody else {
            "code": -32603, "message": "Internal error",
        }  # fmt: skip
        return Reply(status=200, result=None, error=error, raw=b"")

    monkeypatch.setattr(McpEndpoint, "ask", answers)
    canary = ForgeCanary(McpEndpoint("the gateway", "http://127.0.0.1:9/mcp/", principal="canary"))
    found = await canary.look_up("weather-forecast", refused=False)
    await canary.aclose()
    assert found.answer is Answer.ESTABLISHED
    assert "it was not run: that it works is not proven" in found.observed
    assert "정상 동작 여부는 확인되지 않음" in said(found.observed, Language.KO, SYSTEMS.words)
    story = [one for one in stories.over()[:-1] if one[1].kind != "released"]
    body = {**stories.released(7200.3).body, "verdict": Verdict.of((found,)).model_dump(mode="json")}
    (lease,) = stories.told([*story, (7200.4, Event("released", body))]).leases.values()
    assert lease.returned.startswith("a probe confirmed that the gateway offers it again; it was not run")
