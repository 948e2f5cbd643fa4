"""The check `probing`: who agreed is asked and nobody else, what is not known is not clean, tiers have a history."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.checks import telling
from flows.checks.probing import CHECK
from flows.checks.running import Run, run
from flows.checks.telling import Told
from flows.engine.intake import intake
from flows.pages.checked import page
from flows.service import workers
from flows.service.settings import Configuration
from playbooks.record.check import Ran
from playbooks.record.trust import Tier
from playbooks.strict import canonical, now
from playbooks.taxonomy import IncidentClass, Severity
from tests.flows.checks.test_room import AUDIT, ran
from tests.flows.cli.world import Installation
from tests.flows.engine.test_campaigns import estate
from tests.integrations.probing.test_manners import good, runs, without_origin
from tests.lab.served import serving

YES = {"agreed": "Kim, 2026-11-30", "open": True}


@pytest.fixture
def site(tmp_path: Path) -> Installation:
    made = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    assert made.run("init", str(made.folder)).exit_code == 0
    return made


def listing(site: Installation, ranges: list[dict[str, Any]] | None = None, **servers: dict[str, Any]) -> Configuration:
    """Have the inventory list servers and ranges."""
    one = {"owner": "o", "environment": "test"}
    written = {
        "version": 1,
        "servers": {name: {"title": name, **one, **fields} for name, fields in servers.items()},
        "ranges": ranges or [],
    }
    (site.folder / "inventory.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(written))), encoding="utf-8")
    return site.config


async def test_only_who_agreed_is_asked_and_whoever_is_away_is_unknown(site: Installation) -> None:
    async with serving(good) as silent, serving(good) as place:
        config = listing(
            site,
            weather={"url": place.url, "probing": YES},
            private={"url": silent.url},
            local={"command": ["true"]},
            gone={"url": "http://127.0.0.1:9/mcp", "probing": YES},
        )
        done = await run(CHECK, config)
    assert silent.seen == []
    assert done.found == ()
    assert {piece.partition(":")[0] for piece, _ in done.unknown} == {"gone"}
    left = dict(done.left_out)
    assert "nobody agreed to it" in left["private"]
    assert "no address of its own" in left["local"]
    kept = done.ran("hand", None)
    assert kept.partial
    assert {one.server: one.tier for one in kept.trust} == {"weather": Tier.SOUND, "gone": Tier.UNKNOWN}


async def test_a_tier_is_shown_with_its_reasons_since_when_and_what_it_was(site: Installation) -> None:
    async with serving(good) as place:
        before = (await run(CHECK, listing(site, weather={"url": place.url, "probing": YES}))).ran("schedule", None)
    async with serving(runs) as place:
        done = await run(CHECK, listing(site, weather={"url": place.url, "probing": YES}))
    kept = done.ran("schedule", before)
    (one,) = kept.trust
    assert (one.words, one.since) == ("Tier 1 - malicious", done.began)
    assert [(was.tier, was.since) for was in one.earlier] == [(Tier.SOUND, before.began)]
    assert "a call of a tool that it does not have" in one.reasons[0]
    assert Ran.model_validate_json(canonical(kept.model_dump(mode="json"))) == kept
    shown = page(CHECK, kept, Told("", ""))
    assert "| weather | Tier 1 - malicious |" in shown
    assert "Tier 5 - sound since" in shown


async def test_what_other_checks_found_counts_too(site: Installation) -> None:
    injected = AUDIT._replace(incident_class=IncidentClass.PROMPT_INJECTION, severity=Severity.HIGH)
    beside = ran(injected).ran("schedule", None)
    async with serving(good) as place:
        done = await run(CHECK, listing(site, weather={"url": place.url, "probing": YES}))
    assert done.ran("hand", None).trust[0].tier == Tier.SOUND
    assert done.ran("hand", None, [beside]).trust[0].tier == Tier.MALICIOUS


async def test_many_calls_come_last_and_only_where_a_number_was_agreed_to(site: Installation) -> None:
    async with serving(good) as place:
        await run(CHECK, listing(site, weather={"url": place.url, "probing": YES}))
        assert not [one for one in place.seen if one.message.get("method") == "ping"]
        done = await run(CHECK, listing(site, weather={"url": place.url, "probing": {**YES, "calls": 5}}))
        assert [one.message.get("method") for one in place.seen[-5:]] == ["ping"] * 5
        assert {one.what for one in done.found} == {"how much it takes"}


async def test_a_server_that_nobody_listed_becomes_an_incident_of_spoofing(site: Installation, tmp_path: Path) -> None:
    async with serving(good) as place:
        port = int(place.url.removesuffix("/mcp").rpartition(":")[2])
        mine = {"cidr": "127.0.0.1/32", "agreed": "Kim", "ports": [port]}
        done = await run(CHECK, listing(site, [mine]))
    (message,) = telling.messages(done, None, now())
    async with estate(tmp_path / "estate") as made:
        await made.receive(canonical(message.alert), "drift")
        assert await intake(made.parts)
        (one,) = await made.incidents()
        assert one.incident_class is IncidentClass.SERVER_SPOOFING


async def test_the_command_shows_tiers_and_has_them_in_its_document(site: Installation) -> None:
    async with serving(without_origin) as place:
        listing(site, weather={"url": place.url, "probing": YES})
        shown = await asyncio.to_thread(site.run, "check", "probing", "--no-report")
        document = json.loads((await asyncio.to_thread(site.run, "check", "probing", "--no-report", "--json")).stdout)
    assert shown.exit_code == 1
    assert "Tier 4 - weak" in shown.stdout
    (one,) = document["runs"]
    assert one["trust"][0]["reasons"] == ["server weather: a request from a strange web page is answered"]


def test_a_run_of_before_tiers_is_read() -> None:
    old = Run(CHECK, now(), now(), 1, (), (), ()).ran("hand", None).model_dump(mode="json")
    assert "trust" not in old
    assert Ran.model_validate_json(canonical(old)).trust == ()


def test_a_confined_worker_may_reach_what_is_probed(site: Installation) -> None:
    mine = [
        {"cidr": cidr, "agreed": "Kim", "ports": [port]} for cidr, port in (("10.0.0.0/30", 81), ("fd00::/126", 82))
    ]
    config = listing(site, mine, weather={"url": "https://weather.example/mcp", "probing": YES})
    assert workers.ports(workers.urls(config.inventory)) == {443, 81, 82}
