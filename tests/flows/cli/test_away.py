"""A person's own machine: their key and nothing else. What is signed there is what was read there."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import Result

from flows.cli.work import records
from flows.pages.pages import plans
from flows.reading import streams
from integrations.signing import fits
from playbooks.gate.plan import Beside
from playbooks.people.request import SignedRequest, Verb, genuine
from playbooks.record.state import Incident
from playbooks.record.viewing import view
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation


class Laptop:
    """A machine that has lee's key, and neither a configuration nor a journal.

    Args:
        home: its folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._runs = Installation(home / "nothing", home)

    def run(self, *words: str) -> Result:
        return self._runs.run(*words, env={"MCP_SOAR_CONFIG": None, "XDG_CONFIG_HOME": str(self.home)})

    def signed(self, *words: str) -> SignedRequest:
        """Return what a command printed, and nothing beside it."""
        result = self.run(*words, "--as", "lee", "--print")
        assert result.exit_code == 0, (result.output, result.exception)
        return SignedRequest.model_validate_json(result.stdout)


@pytest.fixture
def laptop(site: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    home = tmp_path / "laptop"
    key = home / "mcp-soar" / "people" / "lee.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(next(site.home.rglob("lee.key")).read_bytes())
    key.chmod(0o600)
    monkeypatch.chdir(home)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Laptop(home)


async def state_of(site: Installation) -> Incident:
    async with records.opened(site.config) as journal:
        return await streams.load(journal, ID)


def handed_in(site: Installation, request: SignedRequest, tmp_path: Path, *, code: int = 0) -> dict[str, object]:
    """Hand a request in where the installation is, as a file, and return what became of it."""
    file = tmp_path / "signed.json"
    file.write_text(request.model_dump_json())
    with site.responder():
        act: dict[str, object] = site.json("hand-in", str(file), "--wait", "3", code=code)
    return act


@pytest.mark.parametrize("way", ["incident --json", "the page in Prefect"])
def test_a_plan_travels_as_a_file_is_read_there_and_counts_here(
    site: Installation, laptop: Laptop, tmp_path: Path, way: str
) -> None:
    site.append(world.opened(), world.alert(), world.proposed(world.plan(breaks="Nobody can use `forecast`.")))
    document = site.run("incident", "1", "--json").stdout
    if way != "incident --json":
        (document,) = [
            part.partition("```")[0] for part in plans(view(asyncio.run(state_of(site)))).split("```json\n")[1:]
        ]
    (laptop.home / "plan.json").write_text(document)
    result = laptop.run("approve", "1", "--plan", "plan.json", "--yes", "--as", "lee", "--print")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "enabled true → false" in result.stderr
    assert "Nobody can use" in result.stderr
    request = SignedRequest.model_validate_json(result.stdout)
    assert (request.request.verb, request.request.subject) == (Verb.APPROVE, ID)
    assert request.request.digest == json.loads(document)["asks"][0]["digest"]
    # Nobody carries it out here: it is accepted, and not in effect.
    act = handed_in(site, request, tmp_path, code=1)
    assert (act["incident"], act["state"]) == (ID, "pending")
    assert "lee approved" in str(site.json("incident", "1")["timeline"])


def two_wait(site: Installation, laptop: Laptop) -> tuple[str, str]:
    """Have two plans wait, in a file on the laptop, and return their digests."""
    other = world.proposed(world.plan("Take the tool add away."), instance="cut-tool@weather/add")
    site.append(world.opened(), world.alert(), world.proposed(), other)
    document = site.json("incident", "1")
    (laptop.home / "plan.json").write_text(json.dumps(document))
    one, two = (ask["digest"] for ask in document["asks"])
    return one, two


def test_of_two_plans_in_a_file_the_one_that_is_meant_is_shown_and_signed(site: Installation, laptop: Laptop) -> None:
    one, two = two_wait(site, laptop)
    words = ("approve", "1", "--plan", "plan.json", "--yes", "--as", "lee", "--print")
    result = laptop.run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    for digest, summary in ((one, "Take the tool forecast"), (two, "Take the tool add")):
        assert f"--digest {digest[7:19]} {summary}" in " ".join(result.stderr.split())
    result = laptop.run(*words, "--digest", two[7:15])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "Take the tool add away" in result.stderr
    assert "Take the tool forecast" not in result.stderr
    assert SignedRequest.model_validate_json(result.stdout).request.digest == two
    none = laptop.run(*words, "--digest", "sha256:0" + "f" * 20)
    assert (none.exit_code, none.stdout) == (6, "")
    assert f"no plan sha256:0{'f' * 20} waits in {ID}" in " ".join(none.stderr.split())


def test_of_two_plans_that_wait_here_the_beginning_of_either_digest_is_enough(
    site: Installation, laptop: Laptop
) -> None:
    one, two = two_wait(site, laptop)
    asked = site.error("approve", "1", "--yes", "--as", "lee", "--print", code=2)["message"]
    assert one[7:19] in asked
    assert two[7:19] in asked
    result = site.run("approve", "1", "--yes", "--digest", two[7:15], "--as", "lee", "--print")
    assert SignedRequest.model_validate_json(result.stdout).request.digest == two
    assert (
        "no plan"
        in site.error("approve", "1", "--plan", one[7:15], "--digest", two[7:15], "--as", "lee", "--print", code=6)[
            "message"
        ]
    )


def test_both_show_what_is_asked_in_the_same_words(site: Installation, laptop: Laptop) -> None:
    site.append(world.opened(), world.alert(), world.proposed(requested_by="kim"))
    (laptop.home / "plan.json").write_text(site.run("incident", "1", "--json").stdout)
    here = site.run("approve", "1", "--yes", "--as", "lee", "--print").stderr
    away = laptop.run("approve", "1", "--plan", "plan.json", "--yes", "--as", "lee", "--print").stderr
    shown = " ".join(away.split()).replace(", says the file", "")
    for line in here[here.index("Take the tool") :].splitlines():
        assert " ".join(line.split()) in shown, line
    assert "asked for by, says the file" in " ".join(away.split()), "the digest does not cover it"


def release_that_waits(site: Installation) -> Beside:
    """Have a release be asked about by which something comes back that nobody approved, and return that."""
    thing = Beside(kind="tool", name="forecast", id="t-42", digest="sha256:" + "0a" * 32)
    undo = world.plan().inverse()
    undo = undo.model_copy(update={"params": {**undo.params, "unapproved": [thing.model_dump(mode="json")]}})
    asked = world.proposed(undo, requested_by="kim", instance=f"release-{world.INSTANCE}", purpose="release")
    site.append(*(one() for one in world.CONTAINED), asked)
    return thing


def test_who_accepts_what_comes_back_signs_for_what_the_file_shows_and_else_for_nothing(
    site: Installation, laptop: Laptop
) -> None:
    thing = release_that_waits(site)
    (laptop.home / "plan.json").write_text(site.run("incident", "1", "--json").stdout)
    words = ("release", ID, "--accept-changed", "--yes")
    result = laptop.run(*words, "--plan", "plan.json", "--as", "lee", "--print")
    assert "tool forecast comes back as it is now" in " ".join(result.stderr.split()), result.output
    params = SignedRequest.model_validate_json(result.stdout).request.params
    assert params == {"accept_changed": True, "shown": [thing.model_dump(include={"kind", "id", "digest"})]}
    result = laptop.run(*words, "--as", "lee", "--print")
    assert "--plan FILE shows it" in " ".join(result.stderr.split())
    assert SignedRequest.model_validate_json(result.stdout).request.params == {"accept_changed": True, "shown": []}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        # Another plan under the digest of the one that waits: what would be shown is not what would be signed.
        (lambda ask: ask["plan"]["changes"][0].update(after=True), "has not the digest that it names"),
        (lambda ask: ask["plan"].update(summary="Only look."), "has not the digest that it names"),
        (lambda ask: ask.update(digest="sha256:" + "0" * 64), "has not the digest that it names"),
        (lambda ask: ask.pop("plan"), "no plan that this release reads"),
    ],
)
def test_a_file_in_which_plan_and_digest_do_not_fit_is_signed_by_nobody(
    site: Installation, laptop: Laptop, changed: object, why: str
) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    document = site.json("incident", "1")
    changed(document["asks"][0])  # type: ignore[operator]  # one of those above
    (laptop.home / "plan.json").write_text(json.dumps(document))
    result = laptop.run("approve", "1", "--plan", "plan.json", "--yes", "--as", "lee", "--print")
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("approve", "7", "--plan", "3fa9c2d41b07"), "No such file"),
        (("approve", "7"), "give the plan as a file"),
        (("approve", "7", "--digest", "a" * 64), "write its whole id"),
        (("release", "7"), "write its whole id"),
        (("respond", "7"), "write its whole id"),
        (("stop", "incident:7", "--reason", "x"), "write its whole id"),
        (("stop", "weather", "--reason", "x"), "write a scope"),
    ],
)
def test_what_cannot_be_known_there_is_asked_for(laptop: Laptop, words: tuple[str, ...], why: str) -> None:
    yes = ("--yes",) if words[0] in {"approve", "release"} else ()
    result = laptop.run(*words, *yes, "--as", "lee", "--print")
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in " ".join(result.stderr.split())


def test_everything_that_a_form_takes_is_signed_with_the_key_alone(
    site: Installation, laptop: Laptop, tmp_path: Path
) -> None:
    digest = "sha256:" + "a" * 64
    for words, verb, subject in (
        (("respond", "--class", "tool_poisoning", "--tool", "weather/forecast"), Verb.RESPOND, "new"),
        (("approve", ID, "--digest", digest, "--yes"), Verb.APPROVE, ID),
        (("deny", ID, "--digest", "a" * 64, "--yes", "--reason", "아니오"), Verb.DENY, ID),
        (("release", ID, "--yes"), Verb.RELEASE, ID),
        (("resume", "everything"), Verb.RESUME, "everything"),
    ):
        request = laptop.signed(*words).request
        assert (request.verb, request.subject) == (verb, subject)
        assert request.digest == (digest if verb in {Verb.APPROVE, Verb.DENY} else None)
    act = handed_in(site, laptop.signed("stop", "server:weather", "--reason", "look first"), tmp_path)
    assert act["state"] == "done"
    assert [stop["by"] for stop in site.json("incidents")["stops"]] == ["lee"]


def test_what_is_handed_in_twice_is_not_done_twice_and_says_so(
    site: Installation, laptop: Laptop, tmp_path: Path
) -> None:
    signed = laptop.signed("stop", "server:weather", "--reason", "look first")
    assert handed_in(site, signed, tmp_path)["state"] == "done"
    again = handed_in(site, signed, tmp_path, code=7)
    assert again["state"] == "already"
    assert "counts once: nothing was done again" in str(again["message"])
    assert len(site.json("incidents")["stops"]) == 1
    with site.responder():
        assert "server:weather: already" in site.run("hand-in", str(tmp_path / "signed.json"), "--no-wait").stdout


def test_what_was_refused_is_refused_again_with_its_reason_and_what_waits_is_answered(
    site: Installation, laptop: Laptop, tmp_path: Path
) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    signed = laptop.signed("release", ID, "--reason", "it is over", "--yes")
    file = tmp_path / "signed.json"
    file.write_text(signed.model_dump_json())
    assert site.json("hand-in", str(file), "--no-wait")["state"] == "handed_in"
    assert site.json("hand-in", str(file), "--no-wait")["state"] == "handed_in"
    with site.responder():
        first = site.error("hand-in", str(file), "--wait", "20", code=4)["message"]
        second = site.error("hand-in", str(file), "--wait", "20", code=4)["message"]
    assert first
    assert second == first
    other = signed.request.model_copy(update={"reason": "another"})
    file.write_text(signed.model_copy(update={"request": other}).model_dump_json())
    assert "another request" in site.error("hand-in", str(file), code=4)["message"]


def test_what_is_handed_in_and_was_not_signed_by_whom_it_names_is_refused(
    site: Installation, laptop: Laptop, tmp_path: Path
) -> None:
    signed = laptop.signed("stop", "everything", "--reason", "look first")
    forged = signed.model_copy(update={"request": signed.request.model_copy(update={"actor": "kim"})})
    (tmp_path / "forged.json").write_text(forged.model_dump_json())
    with site.responder():
        error = site.error("hand-in", str(tmp_path / "forged.json"), code=4)
    assert "not one of kim's enrolled key" in error["message"]
    (tmp_path / "half.json").write_text(signed.model_dump_json()[:-2])
    assert "braces included" in site.error("hand-in", str(tmp_path / "half.json"), code=2)["message"]


def test_on_a_machine_with_a_configuration_nothing_is_signed_without_looking(site: Installation) -> None:
    site.append(world.opened(), world.alert())
    error = site.error("approve", "1", "--digest", "a" * 64, "--yes", "--as", "lee", "--print", code=6)
    assert "asks for no decision" in error["message"]


def test_a_key_is_made_there_and_enrolled_here(site: Installation, laptop: Laptop) -> None:
    result = laptop.run("enroll", "mia")
    assert result.exit_code == 0, result.output
    half = laptop.home / "mcp-soar" / "people" / "mia.pub"
    assert "mcp-soar enroll mia --role ROLE --public mia.pub" in result.stdout
    assert half.with_suffix(".key").stat().st_mode & 0o777 == 0o600
    assert site.run("enroll", "mia", "--role", "approver", "--public", str(half)).exit_code == 0
    printed = laptop.run("stop", "everything", "--reason", "x", "--as", "mia", "--print")
    signed = SignedRequest.model_validate_json(printed.stdout)
    assert genuine(signed, site.config.people(), verify=fits) == signed.request


KEYS = "mcp-soar"
"""The folder that holds people's keys on a laptop, under its home."""


@pytest.mark.parametrize(
    "words",
    [("hand-in", "-"), ("incidents",), ("doctor",), ("up",), ("approve", "7", "--as", "lee"), ("unenroll", "kim")],
)
def test_a_folder_with_keys_alone_is_no_configuration_and_nobody_is_led_to_a_second_one(
    laptop: Laptop, words: tuple[str, ...]
) -> None:
    result = laptop.run(*words)
    said = " ".join(result.stderr.split())
    assert (result.exit_code, result.stdout) == (3, "")
    assert "Name the installation's folder with --config DIR" in said
    assert "is missing" not in said
    assert sorted(path.name for path in (laptop.home / KEYS).iterdir()) == ["people"]


@pytest.mark.parametrize(
    "words", [("hand-in", "-"), ("enroll", "mia", "--role", "approver"), ("unenroll", "kim"), ("incidents",)]
)
def test_a_folder_with_keys_alone_is_none_when_it_is_named_either(laptop: Laptop, words: tuple[str, ...]) -> None:
    folder = laptop.home / KEYS
    result = laptop.run(*words, "--config", str(folder))
    said = " ".join(result.stderr.split())
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"{folder / 'inventory.yaml'}: is missing, so this is no installation's folder" in said
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["lee.key"]


def test_a_key_is_made_there_with_the_roles_that_are_wanted_and_nobody_counts_as_enrolled(
    site: Installation, laptop: Laptop
) -> None:
    result = laptop.run("enroll", "mia", "--role", "approver", "--role", "reviewer")
    assert result.exit_code == 1, "a script that goes on would go on with nobody enrolled"
    said = " ".join(result.output.split())
    assert "mia is not enrolled yet: no installation is here" in said
    assert "--config DIR" in said
    line = "mcp-soar enroll mia --role approver --role reviewer --public mia.pub"
    assert line in result.stdout
    half = laptop.home / KEYS / "people" / "mia.pub"
    words = [str(half) if word == "mia.pub" else word for word in line.split()[1:]]
    assert site.run(*words).exit_code == 0
    assert site.config.people().people["mia"].roles == ("approver", "reviewer")
    assert "init" not in laptop.run("enroll", "lou", "--role", "approver").output
