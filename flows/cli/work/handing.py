"""Handing in what somebody signed elsewhere."""

import asyncio
import sys
from pathlib import Path

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work import asking, records
from flows.cli.work.asking import Look
from flows.cli.work.deciding import decided
from flows.cli.work.releasing import given_back
from flows.cli.work.responding import contained
from flows.reading import streams
from flows.service.settings import Configuration
from playbooks.errors import SoarError
from playbooks.people.request import SignedRequest, Verb
from playbooks.record.state import Incident

_LARGEST = 20_000
"""Bytes of a signed request; the longest that there can be is far shorter."""


def hand_in(out: Out, config: Configuration, *, file: str, wait: float) -> Exit:
    """Hand in a signed request, and wait for what becomes of it.

    Args:
        out: where to say it.
        config: the installation.
        file: with what `--print` printed; `-` for standard input.
        wait: seconds to wait for an answer and its effect; 0 waits for nothing.
    """
    signed = _read(file)
    asked = signed.request
    out.say(f"{asked.actor} signed at {asked.issued_at:%H:%M:%S} UTC: {asked.verb} {asked.subject}")

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            look = None
            if asked.subject.startswith("inc-"):
                try:
                    look = seen_of(signed, await streams.load(journal, asked.subject))
                except SoarError:
                    look = None  # the responder says what is wrong with it
            elif asked.subject == "new":
                look = contained
            return await asking.hand_in(out, journal, signed, config=config, wait=wait, look=look)

    return asking.finish(out, config, asyncio.run(work()))


def _read(file: str) -> SignedRequest:
    try:
        if file == "-":
            data = sys.stdin.buffer.read(_LARGEST + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(_LARGEST + 1)
    except OSError as exc:
        raise Usage(f"{file}: {exc.strerror}") from exc
    try:
        if len(data) > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")  # noqa: TRY301  # said as everything else that is none
        return SignedRequest.model_validate_json(data)
    except ValueError as exc:
        what = "standard input" if file == "-" else file
        raise Usage(f"{what} is not what a command prints with --print: hand in all of it, braces included") from exc


def seen_of(signed: SignedRequest, state: Incident) -> Look | None:
    """Return what shows a request's effect on its incident, if more than its acceptance does."""
    asked = signed.request
    if asked.verb in {Verb.APPROVE, Verb.DENY} and asked.digest:
        steps = [step.instance for step in state.proposals if step.plan and step.plan.digest == asked.digest]
        return decided(steps[0], asked.digest, asked.verb) if steps else None
    if asked.verb is Verb.RELEASE:
        held = [key for key, lease in state.leases.items() if lease.open]
        given = asked.params.get("lease")
        return given_back((given,) if isinstance(given, str) and given in held else tuple(held))
    return contained if asked.verb is Verb.RESPOND else None
