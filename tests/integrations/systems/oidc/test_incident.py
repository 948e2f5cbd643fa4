"""One incident at a real provider: people are asked, tokens revoked and proven worthless, and nothing comes back."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from integrations.identity.tokens import fingerprint
from playbooks.gate.plan import Answer
from playbooks.people.request import Verb
from playbooks.playbook import parse
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from tests.integrations.systems.oidc.conftest import SignedIn
from tests.lab.house import SOURCES, House, alert, house, source, watched_every
from tests.lab.scenes import FAST

PLAYBOOK = """\
version: 2
id: at-a-provider
class: unauthorized_access
title: Somebody else has a principal's tokens
summary: Keep what the provider says of them, then make all of them worthless.
goals: {first_effect: 15m, verified: 16m}
confirm: []
phases:
  freeze: []
  cut:
    - {id: revoke, action: oidc.revoke_tokens, for: principal, at: oidc, why: Whoever has them is not who they say.}
  capture:
    - {id: keep-tokens, capture: oidc.capture_tokens, for: principal, at: oidc, why: A revoked one is not spoken of.}
  isolate: []
  preserve: []
  eradicate: []
  recover: []
  review: []
notify: [opened, awaiting_approval, contained, not_established, released, closed]
"""


@asynccontextmanager
async def alerted(lab: SignedIn, folder: Path) -> AsyncIterator[tuple[House, Incident]]:
    """Have an alert name the principal; yield the house and the incident, whose evidence is sealed before the yes."""
    classify = [{"tag": "unauthorized_access", "class": "unauthorized_access"}]
    sources = SOURCES.model_copy(update={"sources": {"siem": source(classify=classify)}})
    world = lab.world.with_inventory(watched_every(lab.world.inventory, 1.0))
    played = parse(PLAYBOOK, file="at-a-provider.yaml")
    async with house(folder / "house", world) as made:
        home = made.changed(sources=sources, playbooks={played.class_: played}, timing=FAST)
        async with home.responding():
            named = [{"kind": "principal", "name": lab.user}]
            await home.receive(alert("", tags=["unauthorized_access"], severity="critical", entities=named))
            incident = await home.reaches(Status.AWAITING_APPROVAL)
            yield home, await home.settled(incident.id)


async def approved(home: House, incident: Incident) -> None:
    (step,) = incident.proposals
    assert step.plan is not None
    await home.ask("bob", Verb.APPROVE, incident.id, digest=step.plan.digest, reason="they are on a beach in Busan")


async def test_tokens_are_revoked_once_a_person_agrees_and_nothing_comes_back(
    signed_in: SignedIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("httpx", "httpcore", "mcp_soar"):
        caplog.set_level(logging.DEBUG, name)
    async with alerted(signed_in, tmp_path) as (home, asked):
        assert await signed_in.state() == b"[true, true]", "nobody has agreed yet"
        assert sorted(exhibit["kind"] for exhibit in asked.exhibits) == ["issued_tokens", "raw-alert"]
        await approved(home, asked)
        incident = await home.reaches(Status.CONTAINED)
        assert await signed_in.state() == b"[false, false]"
        (lease,) = incident.leases.values()
        assert not lease.open, "what cannot be taken back is done with, and watched by nobody"
        assert await home.journal.holds() == []
        assert lease.verdict is not None
        assert lease.verdict.tried

        await home.ask("ann", Verb.RELEASE, incident.id, reason="they are back")
        await home.ask("ann", Verb.CLOSE, incident.id, reason="new ones were issued", params={"as": "resolved"})
        await home.reaches(Status.CLOSED, incident.id)
        assert await signed_in.state() == b"[false, false]"

        kept = "".join([entry.data.decode() for entry in await home.journal.read(f"incident/{incident.id}")])
        exhibits = [file.read_bytes() for file in (tmp_path / "house").rglob("*") if file.is_file()]
        for label in ("laptop", "access"):
            token = signed_in.token(label)
            assert fingerprint(token) in kept
            assert token not in kept + caplog.text
            assert not [one for one in exhibits if token.encode() in one]


async def test_a_provider_that_says_yes_and_revokes_nothing_is_paged_and_tried_again(
    signed_in: SignedIn, tmp_path: Path
) -> None:
    signed_in.provider.lies(token__revocation={"status": 200, "body": {}})
    async with alerted(signed_in, tmp_path) as (home, asked):
        await approved(home, asked)
        incident = await home.reaches(Status.NOT_ESTABLISHED)
        (lease,) = incident.leases.values()
        assert lease.verdict is not None
        assert lease.verdict.answer is Answer.NOT_ESTABLISHED

        async def paged() -> bool:
            told = (await home.incident(incident.id)).noticed
            return any(notice.startswith("not_established") for notice in told)

        await home.until(paged, "somebody is called")
        assert await signed_in.state() == b"[true, true]"
        # It mends itself: what was decided is carried through.
        signed_in.provider.lies()
        await home.reaches(Status.CONTAINED, incident.id)
        assert await signed_in.state() == b"[false, false]"
