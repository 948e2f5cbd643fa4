"""A request that is printed instead of handed in: signed, whole, alone on stdout, and accepted from elsewhere."""

import asyncio

import pytest

from flows.service.access import open_journal
from playbooks.people.request import SignedRequest, Verb
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation


def hand_in(site: Installation, printed: str, nonce: str) -> None:
    """Put a printed request into the inbox, as a Prefect worker does, until a responder has taken it."""

    async def work() -> None:
        async with await open_journal(site.config, name="worker", writing=False) as journal:
            async with asyncio.timeout(60):
                while True:
                    body = printed.encode()
                    receipt = await journal.put(kind="request", source="prefect", nonce=nonce, body=body, headers={})
                    if receipt.incident is not None:
                        return
                    await asyncio.sleep(0.05)

    asyncio.run(work())


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_approval_is_printed_and_counts_when_it_is_handed_in_elsewhere(
    site: Installation, more: tuple[str, ...]
) -> None:
    site.append(world.opened(), world.alert(), world.proposed())
    result = site.run("approve", "1", "--yes", "--reason", "봤다", "--as", "lee", "--print", *more)
    assert result.exit_code == 0, result.output
    # Nothing else may stand on stdout: it is pasted, or piped.
    signed = SignedRequest.model_validate_json(result.stdout)
    assert (signed.request.verb, signed.request.subject, signed.request.reason) == (Verb.APPROVE, ID, "봤다")
    with site.responder():
        assert site.json("incident", "1")["asks"], "it was handed in already"
        hand_in(site, result.stdout, signed.request.nonce)
    assert "lee approved" in str(site.json("incident", "1")["timeline"])


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (("respond", "--class", "tool_poisoning", "--tool", "weather/forecast"), Verb.RESPOND),
        (("stop", "everything", "--reason", "look first"), Verb.STOP),
        (("resume", "everything"), Verb.RESUME),
    ],
)
def test_what_starts_and_stops_is_printed_too(site: Installation, words: tuple[str, ...], verb: Verb) -> None:
    site.append(world.opened(), world.alert())
    result = site.run(*words, "--as", "kim", "--print")
    assert result.exit_code == 0, result.output
    assert SignedRequest.model_validate_json(result.stdout).request.verb is verb
    with site.responder():
        assert not site.json("incidents")["stops"]
