"""The check `configuration` in a worker, which has no credential: what it leaves out it says, and calls not clean."""

from pathlib import Path

import pytest

from flows.checks.configuration import CHECK
from flows.checks.running import run
from flows.checks.telling import Told
from flows.pages.checked import page
from flows.service.workers import CONFIG
from tests.flows.cli.world import INVENTORY, Installation


async def test_what_a_worker_has_no_secret_of_is_left_out_and_not_called_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    assert site.run("init", str(site.folder)).exit_code == 0
    (site.folder / "inventory.yaml").write_text(INVENTORY, encoding="utf-8")
    secrets = site.folder / "secrets"
    secrets.mkdir(exist_ok=True)
    for name in ("gateway", "canary"):
        (secrets / name).write_text("kept-by-the-responder", encoding="utf-8")
    here = await run(CHECK, site.config)
    assert here.pieces
    assert (here.left_out, len(here.unknown)) == ((), here.pieces), "there is no gateway at that address"
    monkeypatch.setenv(CONFIG, str(site.folder))
    given = await run(CHECK, site.config)
    assert given.left_out == (), "it was given them: then it asks"
    for name in ("gateway", "canary"):
        (secrets / name).unlink()
    done = await run(CHECK, site.config)
    assert (len(done.left_out), done.unknown, done.asked) == (here.pieces, (), 0)
    assert page(done, Told("", "")).startswith("# Configuration: nothing was asked")
    assert done.ran("schedule", None).partial
