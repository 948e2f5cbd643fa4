"""An installation for each test: a copy of one that the commands made."""

import shutil
from pathlib import Path

import pytest

from tests.flows.cli.world import INVENTORY, Installation


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """What `site` is a copy of; nobody else touches it."""
    folder = tmp_path_factory.mktemp("initialised")
    site = Installation(folder / "mcp-soar", folder / "home")
    assert site.run("init", str(site.folder)).exit_code == 0
    (site.folder / "inventory.yaml").write_text(INVENTORY, encoding="utf-8")
    for name in ("gateway", "canary"):
        (site.folder / "secrets" / name).write_text("secret", encoding="utf-8")
        (site.folder / "secrets" / name).chmod(0o600)
    for name, roles in {"kim": ("responder", "approver"), "lee": ("approver",), "sam": ("responder",)}.items():
        result = site.run("enroll", name, *(word for role in roles for word in ("--role", role)))
        assert result.exit_code == 0, result.output
    # A copy is as good as what it was copied from: nothing says where that was made.
    assert not any(str(folder).encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())
    return site


@pytest.fixture
def site(initialised: Installation, tmp_path: Path) -> Installation:
    """A folder from `init`, with kim (responder, approver), lee (approver) and sam (responder), and one server."""
    site = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    shutil.copytree(initialised.folder, site.folder)
    shutil.copytree(initialised.home, site.home)
    return site
