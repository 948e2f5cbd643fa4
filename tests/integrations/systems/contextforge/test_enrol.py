"""The shell lines by which an administrator makes a canary: nothing that others chose is run by them."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from integrations.registry import SYSTEMS
from integrations.systems.contextforge import enrol
from integrations.systems.contextforge.client import Forge
from integrations.systems.contextforge.driver import ContextForge
from playbooks.estate.inventory import Inventory
from playbooks.strict import parse_yaml
from tests.flows.cli.world import INVENTORY

STUBS = """
curl() { cat > /dev/null; echo '{"id": "a role", "access_token": "a token"}'; }
post() { printf '%s\\n' "$@" >&2; echo '{"id": "a role", "access_token": "a token"}'; }
"""


@pytest.mark.parametrize(
    ("id_", "said", "email"),
    [
        ("7f-3", "7f-3", "canary@example.com"),
        ("$(touch owned)", "a role", "$(touch${IFS}owned)@example.com"),
        ("r;touch owned", "a role", "'|touch owned|'@example.com"),
        ("", "a role", "canary@example.com"),
    ],
)
async def test_no_word_of_a_gateways_or_of_a_name_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, id_: str, said: str, email: str
) -> None:
    async def request(self: Forge, method: str, path: str, **more: object) -> Any:  # noqa: ANN401  # JSON
        del self, method, more
        return [{"name": "mcp-client", "id": id_}] if path == "/rbac/roles" else None

    monkeypatch.setattr(Forge, "request", request)
    inventory = parse_yaml(Inventory, INVENTORY, file="inventory.yaml", context=SYSTEMS.context)
    forge = ContextForge("main", inventory.gateways["main"], "unused")
    file = str(tmp_path / "$(touch owned)")
    lines = await enrol.canary_commands(forge, email, "t", password="$HOME", file=file)  # noqa: S106  # a shell expression
    # The functions of the lines, but for those that ask a gateway.
    pasted = "\n".join([STUBS, *(line for line in lines if not line.startswith("post()"))])
    done = await asyncio.to_thread(
        subprocess.run, ["sh", "-c", pasted], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert await asyncio.to_thread(os.listdir, tmp_path) == ["$(touch owned)"]
    assert f"/rbac/users/{email}/roles" in done.stderr.splitlines()
    assert f'"role_id": "{said}"' in done.stderr
    await forge.aclose()
