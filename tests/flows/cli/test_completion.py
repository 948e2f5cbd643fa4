"""`completion`: the script in a real bash, and what a Tab gives when things are missing or slow."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from integrations import glance
from integrations.journal.store import Journal
from integrations.signing import SigningKey
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation

PROGRAM = Path(sys.executable).with_name("mcp-soar")
BASH = shutil.which("bash")


def tab(folder: Path, *words: str) -> list[str]:
    """Return what bash gets for a Tab after these words, through the script that `completion bash` prints."""
    assert BASH is not None
    line = f"""
        source <({PROGRAM} completion bash)
        COMP_WORDS=(mcp-soar "$@"); COMP_CWORD=$#
        _mcp_soar_completion {PROGRAM}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "MCP_SOAR_CONFIG": str(folder)}
    done = subprocess.run(  # noqa: S603  # our own program in a shell of ours
        [BASH, "--norc", "-c", line, "bash", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_a_real_bash_completes_commands_options_and_incidents(site: Installation) -> None:
    site.append(world.opened())
    for number in range(2, 13):
        site.append(world.opened(), incident=f"inc-2026-{number:06}", correlation=str(number))

    assert {"incident", "incidents", "inventory"} <= set(tab(site.folder, "in"))
    assert tab(site.folder, "backup", "--wi") == ["--with-keys"]
    assert tab(site.folder, "incident", "inc-2026-00001") == ["inc-2026-000012", "inc-2026-000011", "inc-2026-000010"]
    assert tab(site.folder, "close", "inc-2026-000007") == ["inc-2026-000007"]
    assert tab(site.folder, "respond", ID) == [ID]
    assert tab(site.folder, "verify", "nothing") == []


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_a_tab_without_a_journal_gives_nothing_says_nothing_and_makes_nothing(site: Installation) -> None:
    assert tab(site.folder, "incident", "") == []
    assert not (site.folder / "state" / "journal.db").exists()
    (site.folder / "mcp-soar.yaml").write_text("journal: [", encoding="utf-8")
    assert tab(site.folder, "incident", "") == []
    assert tab(site.folder / "nowhere", "incident", "") == []
    (site.folder / "mcp-soar.yaml").write_text("journal: {url: 'postgresql://nobody@127.0.0.1:9/x'}", encoding="utf-8")
    assert tab(site.folder, "incident", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(site: Installation, shell: str) -> None:
    shown = site.run("completion", shell)
    assert shown.exit_code == 0
    assert f"_MCP_SOAR_COMPLETE=complete_{shell}" in shown.stdout
    assert site.run("completion", "tcsh").exit_code == 2


def test_what_takes_long_to_import_is_not_imported_for_a_tab() -> None:
    code = (
        "import sys, flows.cli.main, flows.cli.completion, integrations.glance\n"
        "slow = {'sqlalchemy', 'pydantic', 'rich', 'httpx', 'mcp', 'prefect'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(slow)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")


async def test_incidents_of_postgresql(postgres_url: str, tmp_path: Path) -> None:
    key = SigningKey.generate(tmp_path / "key")
    journal = await Journal.open(postgres_url, signer=key, name="test")
    await journal.migrate()
    await world.append_to(journal, ID, [world.opened()], "one")
    await journal.aclose()
    plain = postgres_url.replace("postgresql+asyncpg", "postgresql")
    user, _, rest = plain.partition("//")[2].partition(":")
    password, _, host = rest.partition("@")
    (tmp_path / "secret").write_text(password + "\n", encoding="utf-8")

    found = await asyncio.to_thread(glance.incidents, f"postgresql://{user}@{host}", {"file": "secret"}, tmp_path)
    assert found == [(ID, True)]
