"""`contain` and `respond --about`: what is meant is asked before anybody signs, and the incident says who chose."""

import json
import re
import shlex
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from flows.cli.work import meaning
from integrations.connections import Connections
from integrations.systems.contextforge.held import Held
from playbooks.estate.inventory import Resolved
from playbooks.estate.naming import Unclear
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.record.incident import Entity, EntityKind
from playbooks.record.journal import Event
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation

TWINS = world.INVENTORY + "  bot: {title: Bot, places: {main: {user: bot@example.com, tokens: {laptop: t-2}}}}\n"


def test_what_was_chosen_is_an_incident_that_says_so_although_no_playbook_and_no_approval_is_there(
    site: Installation,
) -> None:
    words = ("contain", "tool", "new_tool", "--server", "weather", "--reason", "sends mail", "--as", "kim", "--yes")
    with site.responder():
        result = site.run(*words, "--wait", "3")
        assert "cannot be planned from here" in " ".join(result.stdout.split()), result.output
        again = site.error(*words, code=4)
    it = site.json("incident", "1")
    assert (it["class"], it["requested_by"], it["playbook"]) == ("unclassified", "kim", "chosen")
    assert it["chosen"] == ["tool new_tool of weather (kim)"]
    assert it["triage"] is None
    assert f"{ID} is open about that already" in again["message"]
    assert "chosen by hand" in site.run("incident", "1").stdout


def test_several_things_of_several_kinds_are_one_incident(site: Installation) -> None:
    about = ("server:weather", "token:agent/laptop", "principal:agent", "resource:weather/file:///etc/motd")
    words = [word for one in about for word in ("--about", one)]
    with site.responder():
        site.json("respond", *words, "--class", "supply_chain", "--as", "kim", "--yes", "--no-wait")
        site.json("respond", "--about", "server:weather", "--as", "sam", "--yes", "--wait", "1", code=1)
    it = site.json("incident", "1")
    assert it["class"] == "supply_chain"
    assert [one.partition(" (")[0] for one in it["chosen"]] == [
        "server weather",
        "token laptop of agent at gateway main",
        "principal agent at gateway main",
        "resource file:///etc/motd of weather",
    ]
    assert site.json("incident", "2")["chosen"] == ["server weather (sam)"]


def test_more_is_chosen_in_an_incident_that_waits_for_want_of_a_class(site: Installation) -> None:
    site.append(world.opened(**{"class": "unclassified"}, key="k", playbook=None, triage="which one is it?"))
    with site.responder():
        site.json("respond", "1", "--about", "tool:weather/new_tool", "--as", "kim", "--yes", "--no-wait")
        twice = ("respond", "1", "--about", "tool:weather/new_tool", "--as", "kim", "--yes")
        assert "was chosen in" in site.error(*twice, code=4)["message"]
    it = site.json("incident", "1")
    assert (it["triage"], it["chosen"]) == (None, ["tool new_tool of weather (kim)"])
    assert it["playbook"] == "chosen"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("token", "laptop"),
            "token 'laptop' means more than one thing. token laptop of agent at gateway main: write agent/laptop",
        ),
        (("server", "wether"), "did you mean weather?"),
        (("principal", "canary@example.com"), "is mcp-soar's own at gateway main (our canary)"),
        (("principal", "soar@example.com"), "who mcp-soar signs in as"),
        (("tool", "nothing"), "say whose it is with --server NAME"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_handed_in(
    site: Installation, words: tuple[str, ...], said: str
) -> None:
    (site.folder / "inventory.yaml").write_text(TWINS, encoding="utf-8")
    site.append(world.opened())
    # No responder runs: whoever says no here is the command.
    assert said in site.error("contain", *words, "--as", "kim", "--yes", code=4)["message"]


KEY = f"unclassified|{world.TOOL.key}"


def opened_by_kim() -> Event:
    return world.opened(requested_by="kim", key=KEY, chosen=[world.TOOL.key], **{"class": "unclassified"})


def pin(name: str) -> Pin:
    return Pin(
        kind=PinKind.TOOL,
        name=name,
        digest="sha256:" + "1" * 64,
        definition={},
        gateway_name=f"g-1-{name}",
        dossier=Dossier(reviewed="all of it"),
    )


class Offering:
    """A world whose gateway has some tools, each of an entry; some were given another name there.

    Args:
        site: the installation.
        tools: entry, the server's own name, and the custom one if there is one.
        approved: own names of what is approved of server weather.
    """

    def __init__(self, site: Installation, *tools: tuple[str, ...], approved: Sequence[str] = ()) -> None:
        pins = Pins(servers={"weather": tuple(pin(name) for name in approved)})
        self.inventory = site.config.inventory.model_copy(update={"pins": pins})
        self._held = [self._tool(entry, own, *custom) for entry, own, *custom in tools]

    @staticmethod
    def _tool(entry: str, own: str, custom: str = "") -> Held:
        custom = custom or own
        slug = custom.lower().replace("_", "-").replace(" ", "-")
        names = {"originalName": own, "customName": custom, "customNameSlug": slug, "name": f"{entry}-{slug}"}
        return Held(PinKind.TOOL, {"id": f"id-of-{own}", "gatewayId": entry, "enabled": True, **names})

    def reach(self, _kind: object, _name: str) -> "Offering":
        return self

    async def held(self, _kind: PinKind, entry: str | None = None) -> list[Held]:
        return [one for one in self._held if entry in {None, one.entry}]

    async def meant(self, name: str, server: str | None = None) -> str:
        """Return what is meant by a tool's name."""
        entity = Entity(kind=EntityKind.TOOL, name=name, server=server)
        return (await meaning.of(cast("Connections", self), entity)).key


@pytest.mark.parametrize("name", ["get_weather", "get-weather", "g-1-get-weather"])
@pytest.mark.parametrize("server", [None, "weather"])
async def test_a_tool_that_nobody_approved_is_found_by_each_name_that_its_gateway_has_for_it(
    site: Installation, name: str, server: str | None
) -> None:
    offering = Offering(site, ("g-1", "get_weather"), ("g-1", "other"))
    assert await offering.meant(name, server) == "tool:weather/get_weather"


@pytest.mark.parametrize("approved", [(), ("get_weather",)])
@pytest.mark.parametrize("name", ["Rain Radar", "rain-radar", "g-1-rain-radar", "get_weather", "id-of-get_weather"])
@pytest.mark.parametrize("said", ["{}", "weather/{}"])
async def test_a_tool_that_was_given_a_name_at_the_gateway_is_found_by_whatever_people_see(
    site: Installation, name: str, said: str, approved: tuple[str, ...]
) -> None:
    offering = Offering(site, ("g-1", "get_weather", "Rain Radar"), ("g-1", "other"), approved=approved)
    assert await offering.meant(said.format(name)) == "tool:weather/get_weather"


@pytest.mark.parametrize("approved", [(), ("add",), ("add", "forecast"), ("forecast",)])
@pytest.mark.parametrize(
    "tools",
    [
        (("g-1", "add"), ("g-1", "forecast", "add")),
        (("g-1", "add", "forecast"), ("g-1", "forecast", "add")),
        (("g-1", "add", "sum"), ("g-1", "forecast", "add")),
    ],
)
@pytest.mark.parametrize("said", ["add", "weather/add"])
async def test_a_custom_name_that_is_another_things_own_is_asked_about_with_both_and_each_answer_means_one(
    site: Installation, said: str, tools: tuple[tuple[str, ...], ...], approved: tuple[str, ...]
) -> None:
    offering = Offering(site, *tools, approved=approved)
    with pytest.raises(Unclear) as caught:
        await offering.meant(said)
    answers = re.findall(r"tool (\w+) of weather: write (\S+?)(?:;|$)", str(caught.value))
    assert {own for own, _ in answers} == {"add", "forecast"}, caught.value
    for own, answer in answers:
        assert await offering.meant(answer) == f"tool:weather/{own}", answers


async def test_another_servers_custom_name_is_asked_about_although_the_inventory_knows_the_name(
    site: Installation,
) -> None:
    text = TWINS.replace(
        "principals:", "  mail: {title: M, owner: o, environment: dev, places: {main: {id: g-2}}}\nprincipals:"
    )
    (site.folder / "inventory.yaml").write_text(text, encoding="utf-8")
    offering = Offering(site, ("g-1", "forecast"), ("g-2", "send_mail", "forecast"), approved=["forecast"])
    with pytest.raises(Unclear, match=r"write weather/forecast; .*write mail/send_mail"):
        await offering.meant("forecast")
    assert await offering.meant("weather/forecast") == "tool:weather/forecast"
    assert await offering.meant("mail/forecast") == "tool:mail/send_mail"


async def test_a_gateways_name_that_means_two_things_is_asked_about_with_both(site: Installation) -> None:
    text = TWINS.replace(
        "principals:", "  mail: {title: M, owner: o, environment: dev, places: {main: {id: g-2}}}\nprincipals:"
    )
    (site.folder / "inventory.yaml").write_text(text, encoding="utf-8")
    offering = Offering(site, ("g-1", "get_weather"), ("g-2", "get weather"))
    with pytest.raises(Unclear) as caught:
        await offering.meant("get-weather")
    assert "write weather/get_weather" in str(caught.value)
    assert "write mail/get weather" in str(caught.value)


@pytest.mark.parametrize(
    "words", [("respond", "1", "--about", "tool:weather/forecast"), ("contain", "tool", "weather/forecast")]
)
def test_what_was_given_back_in_an_incident_that_is_open_is_contained_again_there(
    site: Installation, words: tuple[str, ...]
) -> None:
    made = (*world.CONTAINED, lambda: world.release_intended("kim"), world.released)
    site.append(opened_by_kim(), *(make() for make in made[1:]), correlation=KEY)
    assert site.json("incident", "1")["status"] == "released"
    with site.responder():
        result = site.run(*words, "--as", "kim", "--yes", "--wait", "1", "--reason", "it does it again")
    assert ID in result.output
    it = site.json("incident", "1")
    assert any("kim chose to contain tool forecast of weather" in line["what"] for line in it["timeline"])
    assert len(site.json("incidents")["incidents"]) == 1, "no second one is opened"


WAITS = "no rule of the source's configuration gives it a class"


def waiting(site: Installation, thing: Resolved) -> None:
    """Have an alert's incident open about a thing: it has no class, so that it waits."""
    key = f"unclassified|{thing.key}"
    entities = [thing.model_dump(mode="json")]
    opened = world.opened(**{"class": "unclassified"}, key=key, entities=entities, playbook=None, triage=WAITS)
    site.append(opened, correlation=key)


@pytest.mark.parametrize(
    ("words", "thing"),
    [
        (("server", "weather"), Resolved(kind=EntityKind.SERVER, id="weather", server="weather")),
        (("tool", "weather/forecast"), world.TOOL),
        (("principal", "agent"), Resolved(kind=EntityKind.PRINCIPAL, id="agent", principal="agent", gateway="main")),
    ],
)
def test_what_an_alerts_incident_waits_about_is_contained_in_it(
    site: Installation, words: tuple[str, ...], thing: Resolved
) -> None:
    waiting(site, thing)
    with site.responder():
        result = site.run("contain", *words, "--as", "kim", "--yes", "--wait", "1", "--reason", "it does it again")
    shown = " ".join(result.output.split())
    assert f"{ID}, The description asks for files, is open about {thing} as unclassified: it is contained" in shown
    it = site.json("incident", "1")
    assert (it["chosen"], it["playbook"], it["triage"]) == ([f"{thing} (kim)"], "chosen", None)
    assert len(site.json("incidents")["incidents"]) == 1, "no second one is opened"


def test_what_was_signed_elsewhere_is_refused_with_the_whole_line_that_does_it(
    site: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = tmp_path / "laptop"
    key = laptop / "mcp-soar" / "people" / "kim.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(next(site.home.rglob("kim.key")).read_bytes())
    key.chmod(0o600)
    monkeypatch.chdir(laptop)
    odd = Resolved(kind=EntityKind.TOOL, id="new tool", server="weather")
    waiting(site, odd)
    signed = site.run(
        *("contain", "tool", "weather/new tool", "--as", "kim", "--yes", "--print"),
        env={"MCP_SOAR_CONFIG": None, "XDG_CONFIG_HOME": str(laptop)},
    )
    assert signed.exit_code == 0, signed.output
    with site.responder():
        (tmp_path / "signed.json").write_text(signed.stdout)
        refused = site.error("hand-in", str(tmp_path / "signed.json"), code=4)
        line = re.search(r"`mcp-soar (respond [^`]*)`", refused["message"])
        assert line is not None, refused
        site.run(*shlex.split(line[1]), "--as", "kim", "--yes", "--wait", "1")
    assert site.json("incident", "1")["chosen"] == ["tool new tool of weather (kim)"]


def test_what_is_held_already_is_refused_before_a_plan_is_shown(site: Installation) -> None:
    site.append(opened_by_kim(), *(make() for make in world.CONTAINED[1:]), correlation=KEY)
    error = site.error("contain", "tool", "weather/forecast", "--as", "kim", "--yes", code=4)
    assert f"{ID} is open about that already: `mcp-soar respond {ID}` has it tried again" in error["message"]
    site.append(Event("closed", {"as": "resolved", "reason": "over", "by": "kim"}, "kim"))
    words = ("respond", "1", "--about", "tool:weather/add", "--as", "kim", "--yes")
    assert "is closed; a closed incident never reopens" in site.error(*words, code=4)["message"]


def test_whoever_may_not_is_told_before_anything_is_shown(site: Installation) -> None:
    site.append(world.opened())
    error = site.error("contain", "server", "weather", "--as", "lee", "--yes", code=4)
    assert error["message"].startswith("respond needs the role responder; lee has approver")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("contain", "host", "x", "--as", "kim"), "write one of tool, prompt, resource, server, token, principal"),
        (("contain", "tool", "forecast", "--as", "kim"), "nobody contains unseen"),
        (("contain", "tool", "forecast", "--class", "odd", "--as", "kim", "--yes"), "odd is no class"),
        (("contain", "tool", "forecast", "--severity", "odd", "--as", "kim", "--yes"), "odd is no severity"),
        (("respond", "--about", "weather", "--as", "kim"), "KIND:NAME, as --about"),
        (("respond", "--about", "server:weather", "--tool", "x", "--as", "kim"), "write all of it as --about"),
        (("respond", "1", "--about", "server:weather", "--class", "odd", "--as", "kim"), "--as-class"),
    ],
)
def test_what_is_not_understood_says_what_to_write(site: Installation, words: tuple[str, ...], said: str) -> None:
    site.append(world.opened())
    assert said in site.error(*words, code=2)["message"]


def test_a_printed_request_is_signed_and_names_each_thing_in_the_one_way_that_means_it(site: Installation) -> None:
    site.append(world.opened())
    result = site.run("contain", "token", "laptop", "--as", "kim", "--yes", "--print")
    assert result.exit_code == 0, result.output
    signed = json.loads(result.stdout)
    assert signed["request"]["verb"] == "respond"
    assert signed["request"]["params"]["entities"] == [{"kind": "token", "name": "agent/t-1"}]
    assert signed["request"]["params"]["exact"] is True


def test_an_incident_is_given_its_class_and_says_by_which_playbook_it_goes(site: Installation) -> None:
    waits = "no rule of the source's configuration gives it a class"
    site.append(world.opened(**{"class": "unclassified"}, key="unclassified|k", playbook=None, triage=waits))
    assert "write one of" in site.error("classify", "1", "--as-class", "odd", "--as", "kim", code=2)["message"]
    with site.responder():
        act = site.json(
            "classify", "1", "--yes", "--as-class", "tool_poisoning", "--as", "kim", "--reason", "a rug pull"
        )
        assert (act["incident"], act["state"]) == (ID, "done")
        assert act["message"] == "it is tool_poisoning now and goes by the playbook tool_poisoning"
        assert (
            "already"
            in site.error("classify", "1", "--yes", "--as-class", "tool_poisoning", "--as", "kim", code=4)["message"]
        )
    it = site.json("incident", "1")
    assert (it["class"], it["triage"], it["playbook"]) == ("tool_poisoning", None, "tool_poisoning")
    assert any("kim says that it is tool_poisoning" in line["what"] for line in it["timeline"])


def test_what_was_classified_is_not_told_to_be_classified_and_wakes_nobody_any_more(site: Installation) -> None:
    waits = "no rule of the source's configuration gives it a class: `mcp-soar classify ID --as-class` does"
    site.append(world.opened(**{"class": "unclassified"}, key="unclassified|k", playbook=None, triage=waits))
    site.append(Event("page", {"id": "opened", "notice": "opened", "text": f"Opened. {waits}."}))
    assert "mcp-soar classify ID" in site.run("handover").stdout
    with site.responder():
        site.json("classify", "1", "--yes", "--as-class", "ide_layer", "--as", "kim")
    it = site.json("incident", "1")
    assert it["triage"], "what its playbook acts on nobody named, and it waits all the same"
    for text in (site.run("handover").stdout.partition("What changed")[0], str(it["tasks"])):
        assert "classify" not in text, text
    assert told_again(site) == ["incident/inc-2026-000001"]


def told_again(site: Installation) -> list[str]:
    """Return what the responder looks through for whom there is to tell, and whose buttons lead nowhere any more."""
    with sqlite3.connect(site.folder / "state" / "journal.db") as database:
        rows = database.execute("SELECT name FROM stream WHERE lane = 'tell' AND runnable_at IS NOT NULL").fetchall()
    database.close()
    return [name.replace("telling/", "incident/") for (name,) in rows if name.startswith("telling/inc")]


def test_two_that_are_one_are_shown_as_one_from_both_sides(site: Installation) -> None:
    other = "inc-2026-000002"
    site.append(world.opened(key="a"), correlation="a")
    site.append(*(make() for make in world.CONTAINED), incident=other, correlation="b")
    assert "the same incident" in site.error("join", "1", "1", "--as", "kim", "--yes", code=2)["message"]
    with site.responder():
        act = site.json("join", "1", "2", "--as", "kim", "--yes", "--reason", "one server")
        assert (act["incident"], act["message"].partition(" ")[0]) == (ID, other)
        assert "still in force" in site.error("close", "1", "--yes", "--as", "kim", code=4)["message"]
    first, second = site.json("incident", "1"), site.json("incident", "2")
    assert (first["parts"], first["part_of"], second["part_of"]) == ([other], None, ID)
    shown = " ".join(site.run("incident", "1").stdout.split())
    assert f"{other}, which goes on here" in shown
    assert world.INSTANCE in shown, "what it holds is shown with the one that releases it"
    assert f"JOINED TO {ID}" in " ".join(site.run("incident", "2").stdout.split())
    with site.responder():
        result = site.run("release", "1", "--as", "kim", "--yes")
        assert f"in {other}, which goes on here" in " ".join(result.stdout.split()), result.output
    assert any("asks to release" in line["what"] for line in site.json("incident", "2")["timeline"])
