"""The lines by which the guide makes a key, typed into a shell, and the settings that it shows."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from integrations.registry import SYSTEMS
from integrations.systems.litellm.driver import LiteLLM
from playbooks.estate.gateway import Gateway
from playbooks.estate.inventory import Inventory
from playbooks.strict import parse_yaml
from tests.lab.litellm import Proxied

GUIDE = (Path(__file__).parents[4] / "docs" / "contain-on-litellm.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
async def test_the_key_that_the_guide_makes_administrates_the_proxy(lab: Proxied) -> None:
    (lines,) = re.findall(r"<!-- key: [^\n]* -->\n```\n(.*?)```", GUIDE, re.DOTALL)
    env = {"PATH": os.environ["PATH"], "LITELLM": lab.driver.gateway.url, "MASTER": lab.stand_in.master}
    shell = await asyncio.create_subprocess_exec("bash", "-euc", lines, stdout=asyncio.subprocess.PIPE, env=env)
    said, _ = await shell.communicate()
    assert shell.returncode == 0
    key = json.loads(said[said.index(b'{"key"') :])["key"]
    own = LiteLLM("main", lab.driver.gateway.model_copy(update={"user": "mcp-soar"}), key)
    try:
        assert lab.entry in await own.registered()
        assert (await own.users("mcp-soar"))[0]["user_role"] == "proxy_admin"
    finally:
        await own.aclose()


def test_the_settings_of_the_guide_are_read() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    found = parse_yaml(Inventory, f"version: 1\n{block}", file="inventory.yaml", context=SYSTEMS.context)
    gateway = found.systems["team"]
    assert isinstance(gateway, Gateway)
    assert gateway.processes == 4
