"""What a command imports before it answers: whoever was woken at three waits for it, and most of it is not needed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from flows.cli import main
from integrations import registry
from tests.flows.cli import world
from tests.flows.cli.world import Installation

HEAVY = frozenset(
    {
        *("prefect", "mcp", "fastapi", "uvicorn", "starlette"),
        *("httpx", "aiosmtplib", "slack_sdk", "aiohttp", "boto3", "kubernetes", "asyncssh"),
        *("sqlalchemy", "aiosqlite", "asyncpg", "alembic", "sqlalchemy.dialects.postgresql", "sqlalchemy.orm", "h2"),
        *("jinja2", "typst", "securesystemslib", "rich", "pygments", "click"),
        # To escape three characters, it imports a web client.
        "xml.sax.saxutils",
    }
)
"""What takes long to import."""

JOURNAL = frozenset({"sqlalchemy", "aiosqlite"})
REPORT = JOURNAL | {"jinja2"}
GATEWAY = JOURNAL | {"httpx"}

NEEDS: dict[str, frozenset[str]] = {
    "--help": frozenset(),
    "incidents": JOURNAL,
    "incident 1": JOURNAL,
    "leases": JOURNAL,
    "watch --once": JOURNAL,
    "people": JOURNAL,
    "suppressions": JOURNAL,
    "approve 2 --yes --print": JOURNAL,
    "release 1 --yes --print": JOURNAL,
    "stop everything --reason x --print": JOURNAL,
    "handover": JOURNAL,
    "verify": JOURNAL,
    # Its module of signers looks for every vendor's.
    "verify none.tar.gz --key none.pem": JOURNAL | {"securesystemslib"},
    "report 1": REPORT,
    "message show 1": REPORT,
    "respond --class tool_poisoning --tool weather/add --print": JOURNAL,
    "contain tool forecast --server weather --yes --print": GATEWAY,
    "plan --class tool_poisoning --tool weather/forecast": GATEWAY,
    "pins diff weather": frozenset({"httpx"}),
    "playbooks list": frozenset({"httpx"}),
    "doctor --orphans": GATEWAY,
    "doctor": GATEWAY,
    "inventory show": frozenset(),
    "inventory check": frozenset(),
}
"""What each command may import of it."""

SYSTEMS = {system.kind for system in registry.SYSTEMS.all}
"""All systems there are; the installation has one, a gateway of the first kind."""

WORKS: dict[str, frozenset[str]] = {
    "contain tool forecast --server weather --yes --print": frozenset({"contextforge"}),
    "plan --class tool_poisoning --tool weather/forecast": frozenset({"contextforge"}),
    "pins diff weather": frozenset({"contextforge", "mcp"}),
    "doctor --orphans": frozenset({"contextforge"}),
    "doctor": frozenset({"contextforge", "mcp"}),
    # It reads every shipped playbook, and whether there is each of its steps.
    "playbooks list": frozenset(SYSTEMS),
}
"""Of which systems each command imports how they work."""

# Each command line runs in a child of one process, which has imported what all of them need.
PROGRAM = """
import gc, json, os, sys
from flows.cli import main
looks = lambda: sum(one["collections"] for one in gc.get_stats())
sys.argv = ["mcp-soar"]
found = {}
for words in json.loads(sys.stdin.read()):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
        try:
            sys.argv += words.split()
            main.main()
        except SystemExit as exc:
            code = exc.code
        names = sorted(name for name, module in sys.modules.items() if module)
        plugins = sys.modules["pydantic.plugin._loader"]._plugins if "pydantic.plugin._loader" in sys.modules else None
        os.write(writing, json.dumps([code, names, looks(), plugins]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        found[words] = json.loads(said.read())
    os.waitpid(child, 0)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("installation")
    site = Installation(folder / "mcp-soar", folder / "home")
    assert site.run("init", str(site.folder)).exit_code == 0
    (site.folder / "inventory.yaml").write_text(world.INVENTORY, encoding="utf-8")
    for name in ("gateway", "canary"):
        (site.folder / "secrets" / name).write_text("secret", encoding="utf-8")
    assert site.run("enroll", "kim", "--role", "responder", "--role", "approver").exit_code == 0
    site.append(*(make() for make in world.CONTAINED))
    site.append(world.opened(requested_by="lee"), world.proposed(), incident="second", correlation="second")
    done = subprocess.run(  # noqa: S603  # of our own making
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(list(NEEDS)),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env={
            **os.environ,
            "MCP_SOAR_CONFIG": str(site.folder),
            "XDG_CONFIG_HOME": str(site.home),
            "MCP_SOAR_PERSON": "kim",
        },
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("words", NEEDS)
def test_a_command_imports_what_it_needs_and_no_more(imported: dict[str, Any], words: str) -> None:
    code, modules, *_ = imported[words]
    # Nobody answers at the gateway's address, and there is no such bundle: what does not depend on either is done.
    assert code in {0, 1, 3, 5}, (code, words)
    assert HEAVY & set(modules) <= NEEDS[words]


@pytest.mark.parametrize("words", NEEDS)
def test_a_command_imports_how_those_systems_work_that_it_meets(imported: dict[str, Any], words: str) -> None:
    works = {name for name in SYSTEMS if f"integrations.systems.{name}.works" in imported[words][1]}
    assert works <= WORKS.get(words, frozenset())


@pytest.mark.parametrize("words", NEEDS)
def test_no_command_reads_what_other_packages_say_of_themselves(imported: dict[str, Any], words: str) -> None:
    assert imported[words][3] is None, "pydantic looks for plugins among all that is installed"


@pytest.mark.parametrize("words", NEEDS)
def test_no_command_looks_for_garbage_before_it_has_answered(imported: dict[str, Any], words: str) -> None:
    _, _, looks, _ = imported[words]
    # In the child of a process that has imported what all of them need.
    assert looks - imported["--help"][2] <= 0


def test_nor_once_more_at_its_end() -> None:
    program = (
        "import atexit, gc, sys\n"
        "from flows.cli import main\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000))\n"
        "sys.argv = ['mcp-soar', '--version']\n"
        "main.main()\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(  # noqa: S603  # of our own making
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.splitlines()[1:] == ["True True"]


def test_what_is_left_out_is_there_for_whoever_asks_for_it() -> None:
    program = (
        "import sys\n"
        "from flows.cli.lean import lean\n"
        "lean()\n"
        "from sqlalchemy.ext.asyncio import AsyncEngine\n"
        "print('sqlalchemy.orm' in sys.modules)\n"
        "from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker\n"
        "import sqlalchemy.ext.asyncio as package\n"
        "print('sqlalchemy.orm' in sys.modules, package.AsyncSession is AsyncSession, hasattr(package, 'nothing'))\n"
    )
    done = subprocess.run(  # noqa: S603  # of our own making
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.splitlines() == ["False", "True True False"]


def test_what_is_called_heavy_is_found_where_it_is_needed(imported: dict[str, Any]) -> None:
    seen = {name for _, modules, *_ in imported.values() for name in modules}
    assert JOURNAL | {"securesystemslib", "httpx", "jinja2"} <= seen


def test_a_line_is_answered_without_making_every_other_command() -> None:
    assert [one.name for one in main.alone(["playbooks", "list"]).registered_groups] == ["playbooks"]
    for words in ([], ["--help"], ["incidnet", "7"]):
        assert main.alone(words) is main.app, "whoever does not name one is told of all"
    for name in typer.main.get_command(main.app).commands:  # type: ignore[attr-defined]  # it is a group
        assert list(typer.main.get_command(main.alone([name, "--help"])).commands) == [name]  # type: ignore[attr-defined]  # likewise
