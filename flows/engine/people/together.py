"""One answer to all that a campaign asks: each plan by its own digest, each judged as if it had been answered alone.

A person signs a list of what they were shown, and nothing that is not on it is touched: whatever joined the campaign
since, or asks something else now, still waits.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from pydantic import Field

from flows.engine import campaigns
from flows.engine.parts import Parts
from flows.engine.subject import answer, said
from integrations.journal.store import Tx
from playbooks.errors import Refused
from playbooks.people.request import Request, Verb
from playbooks.record.campaign import ACCEPTED, MEMBERS
from playbooks.record.journal import stream_of
from playbooks.strict import Digest, Json, Line, Strict

VERBS: Final = frozenset({Verb.APPROVE, Verb.DENY, Verb.RELEASE})
"""What can be said of all incidents of a campaign at once."""


class Thing(Strict):
    """Something that comes back as nobody approved it, as it was shown.

    Args:
        kind: tool, prompt or resource.
        id: its immutable id.
        digest: of its definition.
    """

    kind: Line
    id: Line
    digest: Digest


class Item(Strict):
    """One thing that was shown.

    Args:
        incident: whose.
        digest: of the plan that is approved or denied.
        lease: what is given back.
        shown: what of that nobody approved, and is accepted.
    """

    incident: Line
    digest: Digest | None = None
    lease: Line | None = None
    shown: tuple[Thing, ...] = Field(default=(), max_length=ACCEPTED)


class Answered(Strict):
    """All that was shown, and is answered.

    Args:
        items: each once.
        accept_changed: what comes back is accepted as it was shown, though it is not what was approved.
    """

    items: tuple[Item, ...] = Field(min_length=1, max_length=MEMBERS)
    accept_changed: bool = False


Judge = Callable[[Parts, Tx, Request], Awaitable[object]]
"""Judges a request about one incident, and raises before it writes anything if it refuses it."""


async def judged(parts: Parts, tx: Tx, request: Request, judge: Judge) -> str:
    """Carry out one answer to several incidents of a campaign; what cannot be done to one is said, the rest is done.

    Returns:
        The campaign's stream.

    Raises:
        Refused: none of it counts, or something of it is of no incident of the campaign.
    """
    if request.verb not in VERBS:
        able = ", ".join(sorted(VERBS))
        raise Refused(f"{request.verb} is about one incident; of a campaign write one of {able}")
    stream = stream_of(request.subject)
    if await tx.stream(stream) is None:
        raise Refused(f"there is no campaign {request.subject}")
    members = {one.incident for one in await campaigns.members(tx, stream) or ()}
    shown = said(Answered, request)
    _fits(request, shown, members)
    done: list[Json] = []
    refused: dict[str, Json] = {}
    for item in shown.items:
        about = item.digest or item.lease or ""
        params: dict[str, Json] = {"campaign": request.subject, **({"lease": item.lease} if item.lease else {})}
        if shown.accept_changed:
            params |= {"accept_changed": True, "shown": [thing.model_dump(mode="json") for thing in item.shown]}
        one = request.model_copy(update={"subject": item.incident, "digest": item.digest, "params": params})
        try:
            await judge(parts, tx, one)
            done.append({"incident": item.incident, "about": about})
        except Refused as exc:
            refused[f"{item.incident} {about}"] = str(exc)[:500]
    if not done:
        raise Refused("; ".join(f"{what}: {why}" for what, why in refused.items())[:2000])
    event = answer(request, accepted=True, reason=request.reason)
    await tx.append(stream, [event._replace(body={**event.body, "done": done, "refused": refused})])
    return stream


def _fits(request: Request, shown: Answered, members: set[str]) -> None:
    """Refuse a list that is not of this campaign, or says one thing twice or nothing."""
    if strangers := sorted({item.incident for item in shown.items} - members):
        raise Refused(f"{', '.join(strangers)} is no part of {request.subject}")
    if len(set(shown.items)) < len(shown.items):
        raise Refused("something is named twice: name each once")
    release = request.verb is Verb.RELEASE
    if any((item.lease is None) is release or (item.digest is None) is not release for item in shown.items):
        raise Refused("name each plan by its digest, or what is given back by its lease")
    if shown.accept_changed and not release:
        raise Refused("only a release accepts that something differs")
    if any(item.shown for item in shown.items) and not shown.accept_changed:
        raise Refused("say that you accept what you were shown")
