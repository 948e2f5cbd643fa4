"""An installation for each test."""

from pathlib import Path

import pytest

from tests.flows.cli.world import INVENTORY, Installation


@pytest.fixture
def site(tmp_path: Path) -> Installation:
    """A folder from `init`, with kim (responder, approver), lee (approver) and sam (responder), and one server."""
    site = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    assert site.run("init", str(site.folder)).exit_code == 0
    (site.folder / "inventory.yaml").write_text(INVENTORY, encoding="utf-8")
    for name in ("gateway", "canary"):
        (site.folder / "secrets" / name).write_text("secret", encoding="utf-8")
        (site.folder / "secrets" / name).chmod(0o600)
    for name, roles in {"kim": ("responder", "approver"), "lee": ("approver",), "sam": ("responder",)}.items():
        result = site.run("enroll", name, *(word for role in roles for word in ("--role", role)))
        assert result.exit_code == 0, result.output
    return site
