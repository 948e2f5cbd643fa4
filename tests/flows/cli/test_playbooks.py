"""`playbooks` and `inventory`, the help of every command, and JSON from every command."""

import json
import re
import shutil
from pathlib import Path

import pytest
import typer

from flows.cli.main import app
from flows.cli.work import classes, doctor_files, playbooks
from playbooks import linted
from playbooks.gate.policy import Policy
from playbooks.playbook import shipped
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.flows.cli.world import Installation

SHIPPED = Path(__file__).parents[3] / "playbooks" / "catalog" / "tool_poisoning.yaml"
DRILL = SHIPPED.with_suffix(".drill.yaml").read_text(encoding="utf-8")


def playbook(folder: Path, *changes: tuple[str, str], drill: str | None = DRILL, name: str = "tool_poisoning") -> str:
    text = SHIPPED.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    if drill is not None:
        path.with_suffix(".drill.yaml").write_text(drill, encoding="utf-8")
    return str(path)


def line_of(path: str, part: str) -> int:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if part in line)


def test_a_right_playbook_passes(site: Installation, tmp_path: Path) -> None:
    assert site.json("playbooks", "lint", playbook(tmp_path / "p"))["files"][0]["ok"]


@pytest.mark.parametrize(
    ("change", "at", "says"),
    [
        (("gateway.disable_tool", "gateway.disable_tol"), "gateway.disable_tol", "gateway.disable_tool"),
        (("action: gateway.disable_tool", "capture: gateway.disable_tool"), "capture: gateway.dis", "is no capture"),
        (
            ("lease: 24h", "with: {servr: x}"),
            "with: {servr: x}",
            "takes server, tool",
        ),
        (("lease: 24h", "at: shed"), "at: shed", "no kind of system is shed; there is contextforge, "),
        (("lease: 24h", "at: contextforge"), "at: contextforge", "gateway.disable_tool takes no `system`"),
        (("lease: 24h", "lease: soon"), "lease: soon", "no length of time"),
        (("title: A tool", "titel: A tool"), "titel: A tool", "not a field here"),
        (("id: tool_poisoning", "id: other"), "id: other", "make them the same"),
    ],
)
def test_a_fault_comes_with_its_line_and_what_to_write(
    site: Installation, tmp_path: Path, change: tuple[str, str], at: str, says: str
) -> None:
    path = playbook(tmp_path / "p", change)
    (row,) = site.json("playbooks", "lint", path, code=1)["files"]
    line = line_of(path, at)
    assert any(fault["line"] == line and says in fault["message"] for fault in row["faults"]), row
    assert f"{path}:{line}:" in "".join(site.run("playbooks", "lint", path).stdout.split("\n"))


@pytest.mark.parametrize(
    "drill",
    [
        None,
        DRILL.replace("id: cut-tool", "id: another"),
        DRILL.replace("cut-tool, phase: cut, ends: established", "cut-tool, phase: cut, ends: denied"),
    ],
    ids=["none", "of another step", "in which people say no"],
)
def test_a_cut_without_a_drill_is_a_fault(site: Installation, tmp_path: Path, drill: str | None) -> None:
    path = playbook(tmp_path / "p", drill=drill)
    faults = site.json("playbooks", "lint", path, code=1)["files"][0]["faults"]
    assert any("this cut has no drill" in fault["message"] for fault in faults)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("version: 1", "version: 1, 2", "version"),
        ("attack:", "atack:", "atack: is not a field here"),
        ("ends: established", "ends: estabished", "expected.steps.0.ends: Input should be"),
        ("playbook: tool_poisoning", "playbook: tool_misuse", "playbook: is tool_misuse, and it lies beside tool_poi"),
        ("id: capture-answer", "id: capture-answr", "expected.steps.2.id: tool_poisoning has no step capture-answr"),
        ("answer, phase: capture", "answer, phase: preserve", "expected.steps.2.phase: capture-answer is a step of c"),
        ("  status:", "  asked: [{step: cut-tol, because: x}]\n  status:", "expected.asked.0.step: tool_pois"),
    ],
)
def test_a_drill_that_cannot_be_run_is_a_fault_at_its_line(
    site: Installation, tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in DRILL
    path = playbook(tmp_path / "p", drill=DRILL.replace(old, new, 1))
    (row,) = site.json("playbooks", "lint", path, code=1)["files"]
    assert any(says in fault["message"] for fault in row["faults"]), row
    line = line_of(path.replace(".yaml", ".drill.yaml"), new.partition("\n")[0])
    assert any(fault["message"].startswith(f"tool_poisoning.drill.yaml:{line}: ") for fault in row["faults"]), row
    assert not any("has no drill" in fault["message"] for fault in row["faults"])


def test_the_guides_playbook_its_drill_and_what_is_shared_are_right(site: Installation, tmp_path: Path) -> None:
    guide = (SHIPPED.parents[2] / "docs" / "write-a-playbook.md").read_text(encoding="utf-8")
    shared, book, drill = sorted(
        re.findall(r"^```yaml\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE),
        key=lambda text: ("steps:\n", "phases:", "playbook: ").index(
            next(part for part in ("playbook: ", "phases:", "steps:\n") if part in text)
        ),
    )
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "gateway-records.yaml").write_text(shared, encoding="utf-8")
    path = tmp_path / "command_and_control.yaml"
    path.write_text(book.replace("  preserve: []\n", "  preserve:\n    - use: gateway-records\n"), encoding="utf-8")
    path.with_suffix(".drill.yaml").write_text(drill, encoding="utf-8")
    assert site.json("playbooks", "lint", str(path))["files"] == [{"file": str(path), "ok": True, "faults": []}]


def test_what_playbooks_share_is_looked_at_too_whether_one_uses_it_or_not(site: Installation) -> None:
    shared = site.folder / "playbooks" / "shared"
    shared.mkdir(parents=True, exist_ok=True)
    path = shared / "mine.yaml"
    text = "version: 1\nid: mine\ntitle: Mine\nsteps:\n  - {id: a, capture: gateway.capture_lgs, why: test}\n"
    path.write_text(text, encoding="utf-8")
    (row,) = [one for one in site.json("playbooks", "lint", code=1)["files"] if one["file"] == str(path)]
    assert [(fault["line"], fault["field"]) for fault in row["faults"]] == [(5, "a.capture")]
    path.write_text(text.replace("lgs", "logs").replace("id: mine", "id: yours"), encoding="utf-8")
    (fault,) = site.json("playbooks", "lint", str(path), code=1)["files"][0]["faults"]
    assert "make them the same" in fault["message"]


def test_what_is_done_at_places_is_shown_so(site: Installation) -> None:
    shown = " ".join(site.run("playbooks", "show", "server_compromise").stdout.split())
    assert "end-pods: action kubernetes.scale_to_zero for each server's place in Kubernetes" in shown
    assert "definitions-approved: check mcp.definitions_match for each server (a release waits until it is" in shown


def test_a_captures_step_says_which_exhibit_it_makes(site: Installation) -> None:
    assert "gateway_logs" in site.run("playbooks", "steps", "gateway.capture_logs").stdout


def test_nothing_is_wrong_with_what_ships_and_doctor_knows_it(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have changed a file of it after that: then it is looked at."""
    assert [fault for file in playbooks.shipped_files() for fault in playbooks.faults_of(file)] == []
    assert linted.is_right(), "`make linted`"
    looked_at: list[Path] = []

    def faults_of(file: Path) -> tuple[()]:
        looked_at.append(file)
        return ()

    monkeypatch.setattr(playbooks, "faults_of", faults_of)
    list(doctor_files.look(site.config))
    assert looked_at == []
    own = Path(playbook(site.folder / "playbooks"))
    list(doctor_files.look(site.config))
    assert looked_at == [own]
    monkeypatch.setattr(linted, "is_right", lambda: False)
    list(doctor_files.look(site.config))
    assert set(looked_at) == {own, *playbooks.shipped_files()}


@pytest.mark.parametrize("name", ["tool_poisoning.yaml", "tool_poisoning.drill.yaml", "shared/accounts.yaml"])
def test_a_catalog_is_another_one_when_any_file_of_it_is(tmp_path: Path, name: str) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(SHIPPED.parent, catalog)
    assert linted.is_right(catalog)
    with (catalog / name).open("a") as file:
        file.write("\n")
    assert not linted.is_right(catalog)
    (catalog / name).unlink()
    assert not linted.is_right(catalog)
    shutil.copy(SHIPPED.parent / name, catalog / name)
    (catalog / "shared" / "more.yaml").touch()
    assert not linted.is_right(catalog)


def test_lint_of_what_is_no_playbook(site: Installation, tmp_path: Path) -> None:
    broken = tmp_path / "x.yaml"
    broken.write_bytes(b"\xff\xfe")
    assert site.json("playbooks", "lint", str(broken), code=1)
    assert site.error("playbooks", "lint", str(tmp_path / "none.yaml"), code=6)


def test_a_folders_own_playbook_is_used_and_listed_as_such(site: Installation) -> None:
    playbook(site.folder / "playbooks", ("lease: 24h", "lease: 12h"))
    rows = site.json("playbooks", "list")["playbooks"]
    assert {row["class"]: row["origin"] for row in rows}["tool_poisoning"] == "this configuration"
    files = [row["file"] for row in site.json("playbooks", "lint", code=1 if not _drilled() else 0)["files"]]
    assert str(site.folder / "playbooks" / "tool_poisoning.yaml") in files
    assert site.json("playbooks", "show", "tool_poisoning")["phases"]["cut"][0]["lease"] == 12 * 3600
    assert "cut-tool" in site.run("playbooks", "show", "tool_poisoning").stdout
    assert site.error("playbooks", "show", "nothing", code=6)


def _drilled() -> bool:
    catalog = SHIPPED.parent
    return all((catalog / f"{book.id}.drill.yaml").exists() for book in shipped().values())


def test_every_class_is_shipped_as_it_is(site: Installation) -> None:
    rows = site.json("playbooks", "list")["playbooks"]
    assert {row["class"] for row in rows} <= {one.value for one in IncidentClass}
    assert all(row["origin"] == "shipped" for row in rows)


def test_inventory_check_says_what_is_missing(site: Installation) -> None:
    found = site.json("inventory", "check")
    assert found["ok"]
    assert any("pins approve weather" in one["message"] for one in found["findings"])
    (site.folder / "secrets" / "gateway").unlink()
    found = site.json("inventory", "check", code=1)
    assert any(one["level"] == "fail" and "systems.main.password" in one["message"] for one in found["findings"])
    (site.folder / "inventory.yaml").write_text("version: 1\nservers: {a: {}}\n", encoding="utf-8")
    assert site.error("inventory", "check", code=3)["line"] == 2


def test_a_server_that_speaks_over_stdio_can_be_asked_itself(site: Installation) -> None:
    file = site.folder / "inventory.yaml"
    before = file.read_text(encoding="utf-8")

    def told() -> bool:
        return any("cannot be read" in one["message"] for one in site.json("inventory", "check")["findings"])

    file.write_text(
        before.replace("    url: http://127.0.0.1:9/mcp\n", "    command: [weather-mcp]\n"), encoding="utf-8"
    )
    assert not told()
    file.write_text(before.replace("    url: http://127.0.0.1:9/mcp\n", ""), encoding="utf-8")
    assert told()


def test_inventory_check_names_a_token_that_is_labelled_with_another_ones_id(site: Installation) -> None:
    file = site.folder / "inventory.yaml"
    text = file.read_text(encoding="utf-8")
    assert not [one for one in site.json("inventory", "check")["findings"] if "labelled" in one["message"]]
    file.write_text(text.replace("{laptop: t-1}", "{laptop: t-1, t-1: t-2, t-3: t-3}"), encoding="utf-8")
    (found,) = [one for one in site.json("inventory", "check")["findings"] if "labelled" in one["message"]]
    assert (found["level"], found["subject"]) == ("warn", "principal agent")
    assert "t-2 is labelled t-1" in found["message"]


def test_inventory_show(site: Installation) -> None:
    shown = site.json("inventory", "show")
    assert shown["servers"]["weather"]["owner"] == "weather-team"
    assert "weather" in site.run("inventory", "show").stdout


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []

    def walk(command: object, path: tuple[str, ...]) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found.append(path)
        for name, one in (inner or {}).items():
            walk(one, (*path, name))

    walk(typer.main.get_command(app), ())
    return found


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_commands_help_has_an_example_and_fits(site: Installation, path: tuple[str, ...]) -> None:
    result = site.run(*path, "--help", env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert result.exit_code == 0
    assert re.search(rf"Examples?:\n .*mcp-soar {' '.join(path)}", result.stdout), result.stdout
    assert "\x1b" not in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    if path not in {("up",), ("demo",), ("completion",)}:
        assert "--json" in result.stdout
        # These two make the folder.
        assert "--config" in result.stdout or path in {("init",), ("restore",)}


def test_the_exit_codes_stand_in_the_help(site: Installation) -> None:
    shown = site.run("--help").stdout
    for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 "):
        assert f"\n    {code}" in shown


@pytest.mark.parametrize(
    "words",
    [
        ("incidents",),
        ("incident", "1"),
        ("leases",),
        ("verify",),
        ("playbooks", "list"),
        ("playbooks", "show", "tool_poisoning"),
        ("playbooks", "lint"),
        ("playbooks", "steps"),
        ("inventory", "check"),
        ("inventory", "show"),
        ("doctor",),
        ("plan", "--class", "tool_poisoning", "--server", "weather"),
    ],
    ids=" ".join,
)
def test_json_is_one_document_and_nothing_else(site: Installation, words: tuple[str, ...]) -> None:
    site.append(*(make() for make in world.CONTAINED))
    result = site.run(*words, "--json")
    assert result.exit_code in {0, 1}, result.output
    assert isinstance(json.loads(result.stdout), dict)
    assert result.stderr == ""


def test_every_class_says_what_it_does_as_this_policy_has_it(site: Installation) -> None:
    rows = {row["class"]: row for row in site.json("playbooks", "list")["classes"]}
    assert set(rows) == {one.value for one in IncidentClass} - {"unclassified"}
    assert {cut["kind"] for cut in rows["tool_poisoning"]["cuts"] if cut["automatic"]} == {"tool"}
    assert "server_spoofing (shipped)" in site.run("playbooks", "list").stdout
    table = site.run("playbooks", "list", "--table").stdout.splitlines()
    assert table[0].startswith("| Class | Contains | Automatic |")
    assert sum(line.startswith("| `") for line in table) == len(rows)
    (site.folder / "policy.yaml").write_text("version: 1\nclasses: {}\n", encoding="utf-8")
    cautious = site.json("playbooks", "list")["classes"]
    assert not any(cut["automatic"] for row in cautious for cut in row["cuts"])


def test_a_class_without_a_playbook_says_what_a_person_can_do() -> None:
    (spoofing,) = [row for row in classes.rows({}, Policy(version=1), None) if row.incident_class == "server_spoofing"]
    assert classes.document(spoofing) == {
        "class": "server_spoofing",
        "playbook": None,
        "cuts": [],
        "by_hand": ["server", "address"],
        "drill": None,
    }
    assert "`mcp-soar contain` its server" in classes.markdown([spoofing], None)
