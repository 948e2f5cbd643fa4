"""Our own names stand as they are wherever people read them; what somebody else chose leads nowhere."""

import html
import re
import string
from datetime import timedelta
from pathlib import Path

import pytest

from flows.report.handover import Shift, handover
from flows.report.incident import report
from integrations.registry import SYSTEMS
from playbooks.estate.gateway import GatewayAccount
from playbooks.estate.inventory import Inventory, Principal, Resolved
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.estate.spelling import slug
from playbooks.people.briefing import asking, brief
from playbooks.people.contacts import Language
from playbooks.people.rendering import markdown, question, render
from playbooks.playbook import shipped
from playbooks.record.incident import EntityKind
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.strict import parse_yaml
from playbooks.text.escaping import defanged
from playbooks.text.own import GUIDES, of_inventory
from tests.flows.cli import world
from tests.flows.report.test_one_truth import said
from tests.lab import stories

SERVER, TOOL, PERSON, AGENT = "api.example.com", "get.weather", "ann.lee", "agent.seven"
KEEPER = "bob.kim"
HOSTILE = "evil.example.net"


def inventory() -> Inventory:
    text = world.INVENTORY.replace("  weather:\n", f"  {SERVER}:\n").replace("  agent:", f"  {AGENT}:")
    found = parse_yaml(Inventory, text, file="inventory.yaml", context=SYSTEMS.context)
    dossier = Dossier(reviewed="all of it")
    pins = [
        Pin(kind=kind, name=name, digest="sha256:" + "1" * 64, definition={}, dossier=dossier)
        for kind, name in ((PinKind.TOOL, TOOL), (PinKind.RESOURCE, "https://intranet.example.org/x"))
    ]
    offers = {"tools": {HOSTILE: "t-9"}}
    server = found.servers[SERVER].model_copy(update={"offers": offers})
    return found.model_copy(update={"pins": Pins(servers={SERVER: tuple(pins)}), "servers": {SERVER: server}})


def story(title: str = "seen") -> list[stories.Timed]:
    things = [
        Resolved(kind=EntityKind.TOOL, id=TOOL, server=SERVER),
        Resolved(kind=EntityKind.TOOL, id=HOSTILE, server=SERVER),
        Resolved(kind=EntityKind.PRINCIPAL, id=AGENT, principal=AGENT, gateway="main"),
    ]
    opened = stories.opened(by=PERSON, title=title, entities=[thing.model_dump(mode="json") for thing in things])
    asked = stories.proposed(by=PERSON)
    plan = {**asked.body["plan"], "summary": f"Disable tool {TOOL} of {SERVER} and {HOSTILE} at gateway main"}
    body = {**asked.body, "instance": f"cut-tool@{SERVER}/{TOOL}", "plan": plan, "reasons": [f"{AGENT} uses {TOOL}"]}
    assigned = Event("assigned", {"to": KEEPER, "by": PERSON}, PERSON)
    return [(0.0, opened), (1.0, Event("proposed", body)), (2.0, assigned)]


def everywhere(title: str = "seen", tale: list[stories.Timed] | None = None) -> dict[str, str]:
    tale = tale or story(title)
    state, at, known = stories.told(tale), stories.at(60), inventory()
    found = brief(state, inventory=known, at=at)
    entries = [one.parsed() for one in stories.journal(tale)]
    ours = of_inventory(known)
    shift = Shift(at=at, since=timedelta(hours=1), states=[state], playbooks=shipped(), ours=ours)
    shown = {"report": said(report(state, entries, at=at, ours=ours)), "handover": said(handover(shift))}
    for language in Language:
        message = render(found, language)
        shown |= {f"mail, {language}": message.text, f"mail as HTML, {language}": message.html}
        shown |= {f"Slack, {language}": str(message.blocks)}
        shown[f"Markdown, {language}"] = markdown(found, language).replace("\\", "")
        form = asking(state, state.proposals[0], at=at, inventory=known)
        shown[f"Slack's form, {language}"] = question(form, language)
    return shown


def test_what_is_ours_stands_as_it_is_everywhere() -> None:
    for where, text in everywhere().items():
        for name in (SERVER, TOOL, PERSON, AGENT):
            assert name in text, (where, name)
            assert name.replace(".", "[.]") not in text, (where, name)
        # A form asks about one plan, and not who looks after it.
        assert KEEPER in text or "form" in where, where
        assert KEEPER.replace(".", "[.]") not in text, where


def test_what_nobody_approved_leads_nowhere() -> None:
    for where, text in everywhere().items():
        assert "evil[.]example[.]net" in text, where
        assert HOSTILE not in text, where


@pytest.mark.parametrize(
    "title",
    [
        f"{SERVER}.evil.example.net",
        f"evil.{SERVER}",
        f"https://{SERVER}.evil.org/x",
        f"see {SERVER}/take/this",
        f"evil-{SERVER}",
        f"{TOOL}s.org",
        "https://intranet.example.org/x",
        *(f"{SERVER}{character}{more}" for character in "?:#&=%@+~!$;\\\u3002" for more in ("evil.org", "443", "x=y")),
        f"{SERVER}.x",
    ],
)
def test_a_name_of_ours_inside_another_is_none(title: str) -> None:
    for where, text in everywhere(title).items():
        assert title not in html.unescape(text), where


@pytest.mark.parametrize("title", [f"Is it {SERVER}? {SERVER}: yes, ({SERVER}), '{SERVER}'; {SERVER}.", f"{SERVER}&"])
def test_a_name_of_ours_in_a_sentence_stands_as_it_is(title: str) -> None:
    for where, text in everywhere(title).items():
        assert SERVER.replace(".", "[.]") not in text, where


@pytest.mark.parametrize("field", ["title", "aliases"])
def test_what_a_server_is_called_at_its_gateway_is_not_ours(field: str) -> None:
    known = inventory()
    value: object = HOSTILE if field == "title" else (HOSTILE,)
    server = known.servers[SERVER].model_copy(update={field: value})
    assert HOSTILE not in of_inventory(known.model_copy(update={"servers": {SERVER: server}}))


def test_what_an_account_is_called_at_its_gateway_is_not_ours() -> None:
    known = inventory()
    agent = Principal(title="Agent", places={"main": GatewayAccount(user=HOSTILE)})
    assert HOSTILE not in of_inventory(known.model_copy(update={"principals": {AGENT: agent}}))


@pytest.mark.parametrize("name", [HOSTILE, f"https://{HOSTILE}/x?y", f"x@{HOSTILE}:443", "평가。evil。net"])
def test_an_id_that_is_made_of_somebody_elses_name_is_no_address(name: str) -> None:
    made = slug(name)
    assert made == defanged(made)
    assert set(made) <= set(f"{string.ascii_lowercase}{string.digits}-_")


def test_a_tool_whose_name_is_markup_stays_what_it_is() -> None:
    state, known = stories.told(story("*bold* _it_ :smile:")), inventory()
    blocks = str(render(brief(state, inventory=known, at=stories.at(60))).blocks)
    assert "*bold*" not in blocks
    assert "_it_" not in blocks
    assert ":smile:" not in blocks


def test_what_a_tokens_owner_chose_is_not_ours() -> None:
    known = inventory()
    account = GatewayAccount(user="agent@example.com", tokens={HOSTILE: "t-1"})
    agent = Principal(title=HOSTILE, places={"main": account})
    assert HOSTILE not in of_inventory(known.model_copy(update={"principals": {AGENT: agent}}))
    assert {SERVER, TOOL, AGENT} <= of_inventory(known)


def test_an_address_of_a_person_stays_masked_in_what_leaves_the_house() -> None:
    who = "ann@corp.example"
    thing = Resolved(kind=EntityKind.PRINCIPAL, id=who, principal=who, gateway="main")
    state: Incident = stories.told([(0.0, stories.opened(entities=[thing.model_dump(mode="json")]))])
    one = Principal(title="Agent", places={"main": GatewayAccount(user=who)})
    known = inventory().model_copy(update={"principals": {who: one}})
    message = render(brief(state, inventory=known, at=stories.at(60)))
    assert "principal [redacted: e-mail] at gateway main" in message.text
    assert who not in message.text + message.html + str(message.blocks)
    shift = Shift(stories.at(60), timedelta(hours=1), [state], shipped(), ours=of_inventory(known))
    assert who not in said(handover(shift))


def test_where_to_read_and_where_to_write_something_down_stand_as_they_are() -> None:
    names = ("docs/connect-a-siem.md", f"principals.{AGENT}.places.main.held")
    told = [*story(), (3.0, stories.unavailable(3.0, stories.Words(f"see {names[0]}; write it into {names[1]}")))]
    for where, text in everywhere(tale=told).items():
        # A form asks about one plan, and the next shift hears of no evidence.
        for name in names:
            assert name in text or "form" in where or where == "handover", (where, name)
        assert not re.search(r"siem\[|seven\[", text), where


def test_every_guide_that_people_are_told_to_read_is_one_of_ours() -> None:
    sources = [file for folder in ("flows", "integrations", "playbooks") for file in Path(folder).rglob("*.py")]
    named = {name for file in sources for name in re.findall(r"docs/[a-z-]+\.md", file.read_text(encoding="utf-8"))}
    assert "docs/connect-a-siem.md" in named
    assert named - {"docs/report.md"} <= GUIDES


def test_the_sealed_manifest_stands_as_it_is() -> None:
    tale = stories.contained()
    text = said(report(stories.told(tale), [one.parsed() for one in stories.journal(tale)], at=stories.at(60)))
    assert f"{stories.ID}-000012.dsse.json" in text
    assert "[.]json" not in text
