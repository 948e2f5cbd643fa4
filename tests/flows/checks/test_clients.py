"""The check `clients`: what editors and assistants run, by files that anybody may have written."""

import json
import os
from pathlib import Path

import pytest

from flows.checks import clients
from flows.checks.clients import CHECK, FILES, KnownClients, files, looked_at, places, read
from flows.checks.running import Run, run
from integrations import machine
from playbooks.errors import Misconfigured, Refused
from playbooks.taxonomy import IncidentClass
from tests.flows.cli.world import Installation

KEY = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"
INVENTORY = """\
version: 1
servers:
  weather: {title: Weather, url: "https://weather.example/mcp", owner: t, environment: prod}
  local: {title: Local, command: [npx, -y, known-server], owner: t, environment: prod}
"""
GOOD = {
    "mcpServers": {
        "weather": {"url": "https://weather.example/mcp/", "headers": {"Authorization": "Bearer ${env:TOKEN}"}},
        "local": {"command": "npx", "args": ["-y", "known-server"], "env": {"API_KEY": "${input:key}", "LANG": "C"}},
    }
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "home-of-kim"
    found.mkdir()
    monkeypatch.setattr(Path, "home", lambda: found)
    monkeypatch.setattr("sys.platform", "linux")
    return found


@pytest.fixture
def site(tmp_path: Path, home: Path) -> Installation:
    made = Installation(tmp_path / "mcp-soar", tmp_path / "people")
    assert home.is_dir()
    assert made.run("init", str(made.folder)).exit_code == 0
    (made.folder / "inventory.yaml").write_text(INVENTORY)
    return made


def put(home: Path, place: str, said: object) -> Path:
    """Write a file of settings."""
    file = home / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(said if isinstance(said, str) else json.dumps(said))
    return file


def stats(home: Path) -> dict[Path, tuple[int, ...]]:
    """Return what tells whether something was written."""
    there = {path: path.stat() for path in home.rglob("*")}
    return {path: (one.st_ino, one.st_mtime_ns, one.st_size, one.st_mode) for path, one in there.items()}


def baseline_of(site: Installation) -> str:
    """Have a baseline written, and return it."""
    assert CHECK.write
    return Path(CHECK.write(site.folder)).read_text()


async def look(site: Installation) -> Run:
    return await run(CHECK, site.config)


async def test_a_clean_home_gives_an_empty_report_and_is_left_as_it_is(site: Installation, home: Path) -> None:
    put(home, ".cursor/mcp.json", GOOD)
    put(home, ".config/Code/User/settings.json", '// mine\n{"chat.tools.autoApprove": false, "x": [1, 2,],}')
    put(home, ".claude.json", {"projects": {"/a": GOOD}})
    put(home, ".config/Code/User/mcp.json", "")
    before = stats(home)
    done = await look(site)
    assert (done.found, done.unknown, done.left_out) == ((), (), ())
    assert done.asked == done.pieces == sum(map(len, FILES.values()))
    assert stats(home) == before


@pytest.mark.parametrize(
    ("place", "said", "named"),
    [
        (".cursor/mcp.json", {"mcpServers": {"evil": {"command": "curl", "args": ["x"]}}}, ("server", "evil")),
        (
            ".cursor/mcp.json",
            {"mcpServers": {"local": {"command": "npx", "args": ["known-server"]}}},
            ("server", "local"),
        ),
        (".config/Code/User/mcp.json", {"servers": {"evil": {"url": "https://evil.example"}}}, ("server", "evil")),
        (".config/Code/User/settings.json", {"mcp": {"servers": {"evil": {"url": "u"}}}}, ("server", "evil")),
        (".claude.json", {"projects": {"/a": {"mcpServers": {"evil": {"url": "u"}}}}}, ("server", "evil")),
        (".codeium/windsurf/mcp_config.json", {"mcpServers": {"evil": {"serverUrl": "u"}}}, ("server", "evil")),
        (".junie/mcp/mcp.json", {"mcpServers": {"evil": {}}}, ("server", "evil")),
        (".cursor/hooks.json", {"hooks": {"beforeReadFile": [{"command": "sh x"}]}}, ("hook", "beforeReadFile")),
        (
            ".claude/settings.json",
            {"hooks": {"PreToolUse": [{"matcher": "*", "hooks": [{"type": "command", "command": "sh x"}]}]}},
            ("hook", "PreToolUse"),
        ),
        (
            ".claude/settings.json",
            {"permissions": {"defaultMode": "bypassPermissions"}},
            ("permissions.defaultMode", ""),
        ),
        (".config/Code/User/settings.json", {"chat.tools.autoApprove": True}, ("chat.tools.autoApprove", "")),
        (".config/Code/User/settings.json", {"task.allowAutomaticTasks": "on"}, ("task.allowAutomaticTasks", "")),
        (
            ".cursor/mcp.json",
            {"mcpServers": {"weather": {"url": "https://weather.example/mcp", "alwaysAllow": ["a"]}}},
            ("alwaysAllow of the server weather", ""),
        ),
    ],
)
async def test_each_kind_of_fault_is_named(
    site: Installation, home: Path, place: str, said: object, named: tuple[str, str]
) -> None:
    what, where = named
    put(home, place, said)
    (found,) = (await look(site)).found
    assert found.what == what
    assert place in found.subject
    assert where in found.subject
    assert found.incident_class is IncidentClass.IDE_LAYER


@pytest.mark.parametrize(
    "server",
    [
        {"env": {"GITHUB_TOKEN": KEY}},
        {"env": {"PASSWORD": "hunter2-correct-horse"}},
        {"headers": {"Authorization": f"Bearer {KEY}"}},
        {"args": ["-y", "known-server", f"--token={KEY}"]},
        {"args": ["-y", "known-server", "--password", "hunter2-correct-horse"]},
        {"args": ["-y", "known-server --password hunter2-correct-horse"]},
        {"url": f"https://u:{KEY}@weather.example/mcp"},
    ],
)
async def test_a_key_in_the_clear_is_named_by_its_place_and_never_shown(
    site: Installation, home: Path, server: dict[str, object]
) -> None:
    put(
        home,
        ".cursor/mcp.json",
        {"mcpServers": {"local": {"command": "npx", "args": ["-y", "known-server"], **server}}},
    )
    put(home, ".cursor/hooks.json", {"hooks": {"stop": [{"command": "curl --password hunter2-correct-horse x"}]}})
    done = await look(site)
    assert "a key in the clear" in [one.observed for one in done.found]
    for secret in (KEY, "hunter2"):
        assert secret not in repr(done)
        assert secret not in done.ran("hand", None).model_dump_json()
    written = baseline_of(site)
    assert KEY not in written
    assert "hunter2" not in written


async def test_what_was_approved_is_as_it_should_be_until_it_changes(site: Installation, home: Path) -> None:
    put(home, ".cursor/mcp.json", {"mcpServers": {"own": {"command": "run", "args": ["me"], "env": {"A": "b"}}}})
    put(home, ".cursor/hooks.json", {"hooks": {"stop": [{"command": "one"}, {"command": "two"}]}})
    main = put(home, ".vscode/extensions/pub.ext-1.0/main.js", "good()")
    before = await look(site)
    assert [one.what for one in before.found] == ["hook", "hook", "server"]
    assert len(before.left_out) == 1, "there is no baseline to compare an extension with"
    shown = site.json("check", "clients", "--write-baseline")
    assert shown["files"] == [str(site.folder / clients.BASELINE)]
    assert len((read(site.folder) or KnownClients(version=1)).approved) == 4
    done = await look(site)
    assert (done.found, done.left_out, done.unknown) == ((), (), ())
    assert "approves something already" in site.error("check", "clients", "--write-baseline", code=4)["message"]
    main.write_text("evil()")
    put(home, ".cursor/mcp.json", {"mcpServers": {"own": {"command": "run", "args": ["me"], "env": {"A": "c"}}}})
    put(home, ".cursor/hooks.json", {"hooks": {"stop": [{"command": "one"}, {"command": "three"}]}})
    (home / ".vscode/extensions/new.one-1.0").mkdir()
    done = await look(site)
    assert [(one.what, one.severity.label) for one in done.found] == [
        ("hook", "high"),
        ("server", "high"),
        ("extension", "medium"),
        ("extension", "high"),
    ]


async def test_what_a_repository_brings_along_is_looked_at_where_people_work(
    site: Installation, home: Path, tmp_path: Path
) -> None:
    work = tmp_path / "repository"
    put(work, ".cursor/hooks.json", {"hooks": {"stop": [{"command": "sh x"}]}})
    put(work, ".mcp.json", {"mcpServers": {"evil": {"command": "sh"}}})
    (site.folder / clients.BASELINE).write_text(f"version: 1\nhomes: ['{home}']\nfolders: ['{work}']\n")
    assert [one.what for one in (await look(site)).found] == ["hook", "server"]


async def test_a_home_that_is_not_there_is_unknown_and_two_of_one_name_are_two(
    site: Installation, tmp_path: Path
) -> None:
    for where in ("a", "b"):
        put(tmp_path / where / "kim", ".cursor/mcp.json", {"mcpServers": {"evil": {"command": where}}})
    homes = [str(tmp_path / where / "kim") for where in ("a", "b", "c")]
    (site.folder / clients.BASELINE).write_text(f"version: 1\nhomes: {homes}\nfolders: [/not/there]\n")
    done = await look(site)
    assert len(done.found) == 2
    assert [piece for piece, _ in done.unknown] == ["folder /not/there", f"home {homes[2]}"]


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("version: 1\nhomes: [kim]\n", 2, "homes"),
        ("version: 1\nhome: x\n", 2, "home"),
        ("version: 1\napproved:\n- {what: server, name: a, digest: zz}\n", 3, "digest"),
        ("version: 1\nhomes: [\n", None, ""),
    ],
)
def test_a_baseline_with_a_mistake_is_refused_with_its_line(
    site: Installation, text: str, line: int | None, field: str
) -> None:
    (site.folder / clients.BASELINE).write_text(text)
    said = site.error("check", "clients", "--no-report", code=3)
    assert clients.BASELINE in str(said)
    assert line is None or f":{line}" in str(said) or f"'line': {line}" in str(said)
    assert field in str(said)


async def test_what_cannot_be_read_is_unknown_with_its_line_and_costs_no_other(site: Installation, home: Path) -> None:
    put(home, ".cursor/mcp.json", '{\n  // c\n  "mcpServers": {\n    "a": }\n}')
    put(home, ".claude.json", "[" * 100_000)
    (home / ".codeium/windsurf").mkdir(parents=True)
    os.mkfifo(home / ".codeium/windsurf/hooks.json")
    (home / ".codeium/windsurf/mcp_config.json").symlink_to("/etc/hostname")
    put(home, ".config/Code/User/mcp.json", "x" * (machine.LARGEST + 1))
    (home / ".config/Code/User/settings.json").symlink_to(home / ".config/Code/User/settings.json")
    put(home, ".claude/settings.json", "").write_bytes(b"\xff\xfe{}")
    put(home, ".cursor/hooks.json", {"hooks": {"stop": [{"command": "sh x"}]}})
    done = await look(site)
    assert [one.what for one in done.found] == ["hook"]
    whys = " | ".join(said for _, said in done.unknown)
    for part in ("mcp.json:4", "nests too deep", "no ordinary file", "leads out of", "longer than", "not UTF-8"):
        assert part in whys, part
    assert len(done.unknown) == 7, done.unknown


def test_an_extension_is_bounded_and_its_links_are_not_followed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = home / "one"
    put(one, "a/b.js", "x")
    (one / "loop").symlink_to(one)
    (one / "out").symlink_to("/etc")
    os.mkfifo(one / "pipe")
    first = machine.digest(one)
    assert machine.digest(one) == first
    (one / "out").unlink()
    (one / "out").symlink_to("/usr")
    assert machine.digest(one) != first
    monkeypatch.setattr(machine, "MOST_BYTES", 0)
    with pytest.raises(Refused, match="more than 0 bytes"):
        machine.digest(one)
    monkeypatch.setattr(machine, "MOST_FILES", 2)
    with pytest.raises(Refused, match="more than 2 files"):
        machine.digest(one)


def test_where_clients_keep_their_files_is_known_of_every_platform(home: Path) -> None:
    assert files("linux")[".config/Claude/claude_desktop_config.json"] == "Claude Desktop"
    assert files("darwin")["Library/Application Support/Claude/claude_desktop_config.json"] == "Claude Desktop"
    assert files("darwin")["Library/Application Support/Code/User/mcp.json"] == "VS Code"
    assert files("win32")["AppData/Roaming/Cursor/User/settings.json"] == "Cursor"
    assert files("win32")["AppData/Local/github-copilot/intellij/mcp.json"] == "JetBrains"
    for platform, folder in (
        ("linux", ".local/share/JetBrains/Idea/plugin"),
        ("darwin", "Library/Application Support/JetBrains/Idea/plugins/plugin"),
        ("win32", "AppData/Roaming/JetBrains/Idea/plugins/plugin"),
    ):
        (home / folder).mkdir(parents=True)
        assert [path for path in places(None, platform, home).extensions.values() if path == home / folder]


def test_hostile_names_and_many_servers_do_no_harm(site: Installation) -> None:
    evil = {
        "mcpServers": {
            KEY: {"env": {KEY: KEY}, "trust": True},
            "\x1b[2J<b>": {"command": ["x"], "args": {"a": 1}},
            "n": None,
            "m": [1],
        }
    }
    for one in looked_at("f", evil, site.config.inventory, ()):
        assert "\x1b" not in one.said
        assert KEY not in repr(one)
    with pytest.raises(Misconfigured, match="not all"):
        looked_at("f", {"mcpServers": {str(n): {} for n in range(1000)}}, site.config.inventory, ())
    oddities: tuple[object, ...] = (
        None,
        [],
        1,
        "x",
        {"hooks": "x"},
        {"mcpServers": []},
        {"permissions": []},
        {"projects": {"a": 1}},
    )
    for strange in oddities:
        assert looked_at("mcp.json", strange, site.config.inventory, ()) == []
