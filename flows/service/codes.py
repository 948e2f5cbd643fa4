"""Handing a one-time code in, and finding out what it decided: the same for a terminal, a chat and a form.

Whoever hands in needs no more than the inbox; a responder judges.
"""

import asyncio
import secrets
import time
from typing import NamedTuple

from flows.engine.case import PREFIX
from integrations.journal.store import Journal
from playbooks.errors import Refused, Transient
from playbooks.people.code import CodeAnswer
from playbooks.record.journal import SYSTEM

LOOK = 0.1


class HandedIn(NamedTuple):
    """That a code was handed in.

    Args:
        id: the inbox's.
        incident: entries that the incident had before.
        system: entries that the system stream had before.
    """

    id: str
    incident: int
    system: int


async def hand_in(journal: Journal, given: CodeAnswer, *, source: str) -> HandedIn:
    """Put a code into the inbox.

    Args:
        journal: opened without a signing key.
        given: the code, and what it answers.
        source: where it came from, as `slack`.
    """
    incident, system = await journal.stream(f"{PREFIX}{given.incident}"), await journal.stream(SYSTEM)
    body = given.model_dump_json().encode()
    put = await journal.put(kind="code", source=source, nonce=secrets.token_urlsafe(24), body=body, headers={})
    return HandedIn(put.id, incident.seq if incident else 0, system.seq if system else 0)


async def judged(journal: Journal, given: CodeAnswer, receipt: HandedIn, *, within: float) -> str:
    """Wait until a responder has judged a code, and return what it decided: `approve` or `deny`.

    Args:
        journal: the same.
        given: what was handed in.
        receipt: of it.
        within: seconds.

    Raises:
        Refused: with the responder's reason.
        Transient: no responder judged it in time.
    """
    deadline = time.monotonic() + within
    while True:
        for entry in (item.parsed() for item in await journal.read(SYSTEM, after=receipt.system)):
            if entry.kind == "set_aside" and entry.body.get("receipt") == receipt.id:
                raise Refused(str(entry.body.get("reason", "")).removeprefix("refused: "))
        for entry in (
            item.parsed() for item in await journal.read(f"{PREFIX}{given.incident}", after=receipt.incident)
        ):
            if entry.body.get("receipt") != receipt.id:
                continue
            if entry.kind == "code_refused":
                raise Refused(f"the code does not fit; {entry.body['left']} more tries, then only the key counts")
            if entry.kind == "decided":
                return str(entry.body["verb"])
        if time.monotonic() >= deadline:
            raise Transient(f"no responder answered within {within:g} s. The code is kept and counts when one runs")
        await asyncio.sleep(LOOK)
