"""A real LiteLLM proxy, from PyPI: how its refusals read, and that the stand-in answers the same to the same questions.

It has no database, so that nothing can be changed at it: what its list keeps from clients stands in its configuration.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import httpx
import pytest

from flows.demo.mcp_server import McpServer
from integrations.systems.litellm.canary import LiteLLMCanary, LiteLLMEndpoint
from integrations.systems.litellm.driver import LiteLLM
from playbooks.errors import Misconfigured
from playbooks.estate.gateway import Canary, Gateway
from playbooks.estate.pins import PinKind
from playbooks.estate.systems import Secret
from playbooks.gate.plan import Answer
from tests.lab.litellm import Proxied
from tests.lab.litellm_proxy import ENVIRONMENT, RunningProxy, litellm_proxy

# Its environment is 520 MB, which takes minutes the first time, and its start half a minute.
pytestmark = [pytest.mark.system("litellm"), pytest.mark.slow, pytest.mark.timeout(1800)]

LISTED: Final = ["add", "get_forecast"]
WRONG: Final = {"mcp_soar_probe": 1}


@pytest.fixture(scope="module")
def real(mcp_process: McpServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """A proxy with a server whose list withholds get_weather; started once."""
    if wrong := ENVIRONMENT.install():
        pytest.skip(f"LiteLLM is not installed: {wrong}")
    server = {"url": mcp_process.url, "transport": "http", "allow_all_keys": True, "allowed_tools": LISTED}
    with litellm_proxy(tmp_path_factory.mktemp("litellm"), {"weather": server}) as proxy:
        yield proxy


@pytest.fixture
async def driver(real: RunningProxy) -> AsyncIterator[LiteLLM]:
    secret = Secret(env="UNUSED")
    canary = Canary(principal="canary", token=secret, url=f"{real.url}/mcp")
    settings = Gateway(kind="litellm", url=real.url, user="default_user_id", password=secret, canary=canary)
    found = LiteLLM("main", settings, real.master)
    found.patience = 30.0
    yield found
    await found.aclose()


@pytest.fixture
async def canary(real: RunningProxy) -> AsyncIterator[LiteLLMCanary]:
    endpoint = LiteLLMEndpoint("client side", f"{real.url}/mcp", principal="canary", token=real.master)
    endpoint.patience = 30.0
    found = LiteLLMCanary(endpoint)
    yield found
    await found.aclose()


async def test_what_its_list_withholds_is_refused_at_both_doors_and_nothing_else_is(
    driver: LiteLLM, canary: LiteLLMCanary
) -> None:
    (entry,) = await driver.registered()
    assert await canary.names(PinKind.TOOL) == {f"weather-{name}" for name in LISTED}
    refused = await canary.call(PinKind.TOOL, "weather-get_weather", WRONG)
    assert refused.answer is Answer.ESTABLISHED, refused
    assert canary.exists(refused), "a refusal that whoever may not use the server is not given"
    assert (await canary.call(PinKind.TOOL, "weather-add", WRONG)).answer is Answer.NOT_ESTABLISHED
    beside = await canary.beside(entry, "get_weather", WRONG)
    assert beside.answer is Answer.ESTABLISHED, beside
    assert beside.observed.startswith("HTTP 403")
    assert (await canary.beside(entry, "add", WRONG)).answer is Answer.NOT_ESTABLISHED
    assert (await canary.beside("nobody", "add", WRONG)).answer is Answer.ESTABLISHED, "a server that nobody is offered"
    assert (await canary.beside(entry, "nope", WRONG)).answer is Answer.UNKNOWN


async def test_its_administrator_is_told_what_the_list_withholds(driver: LiteLLM) -> None:
    (entry,) = await driver.registered()
    assert {held.name: held.enabled for held in await driver.catalog(entry)} == {
        "add": True,
        "get_forecast": True,
        "get_weather": False,
    }
    assert all(held.definition["inputSchema"] for held in await driver.catalog(entry))


async def test_without_a_database_nothing_can_be_changed_and_it_says_so(driver: LiteLLM) -> None:
    (entry,) = await driver.registered()
    with pytest.raises(Misconfigured, match="without a database"):
        await driver.allows(entry)
    with pytest.raises(Misconfigured, match="without a database"):
        await driver.keys()


async def test_the_stand_in_answers_the_same(real: RunningProxy, lab: Proxied) -> None:
    lab.stand_in.servers[lab.entry].update(allowed_tools=[*LISTED], is_config=True, allow_all_keys=True)
    there = await _answers(real.url, real.master)
    assert there == await _answers(lab.url, lab.stand_in.master)
    assert there["call weather-get_weather"] == (
        200,
        "Error: Tool get_weather is not allowed for server weather. Contact proxy admin to allow this tool.",
    )


async def _answers(url: str, key: str) -> dict[str, Any]:
    """Return what a proxy answers to the questions that matter here, less what is each one's own."""
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json, text/event-stream"}
    found: dict[str, Any] = {}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False) as http:
        (server,) = (await http.get("/v1/mcp/server")).json()
        found["server"] = {key: server[key] for key in ("server_name", "allowed_tools", "approval_status", "is_config")}
        for whole in ("false", "true"):
            asked = {"server_id": server["server_id"], "include_disabled_tools": whole}
            listed = (await http.get("/mcp-rest/tools/list", params=asked)).json()
            found[f"tools {whole}"] = sorted(one["name"] for one in listed["tools"]), listed["error"]
        for name in ("weather-get_weather", "get_weather", "weather-add", "weather-nope", "other-add"):
            found[f"call {name}"] = await _called(http, name)
        for id_, name in ((server["server_id"], "get_weather"), (server["server_id"], "add"), ("other", "add")):
            asked_of = {"server_id": id_, "name": name, "arguments": WRONG}
            answer = await http.post("/mcp-rest/tools/call", json=asked_of)
            said = answer.json().get("detail", {})
            own = str(said.get("error")) if isinstance(said, dict) else str(said)
            found[f"beside {id_ == 'other'} {name}"] = answer.status_code, own
    return found


async def _called(http: httpx.AsyncClient, name: str) -> tuple[int, str]:
    params = {"name": name, "arguments": WRONG}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = await http.post("/mcp", json=message)
    lines = [line.removeprefix("data:") for line in answer.text.splitlines() if line.startswith("data:")]
    result: Mapping[str, Any] = json.loads(lines[-1] if lines else answer.text)["result"]
    assert result["isError"]
    # What the server itself says of the arguments has a link and a number in it.
    return answer.status_code, str(result["content"][0]["text"]).split("\n")[0]
