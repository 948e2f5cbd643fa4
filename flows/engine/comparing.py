"""How what would come back differs from what people approved: which, where and how, for whoever decides on it."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

from flows.engine import calls, given_back, schedule
from flows.engine.calls import within
from flows.engine.case import Case
from integrations.journal.store import LostClaim
from playbooks.action import Action, Check
from playbooks.errors import SoarError
from playbooks.estate.inventory import Inventory, Resolved
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer, Plan, Unapproved
from playbooks.playbook import Step
from playbooks.strict import Json, canonical, sha256
from playbooks.text.difference import parted
from playbooks.text.redaction import redacted
from playbooks.text.sentences import say

LOG = logging.getLogger("mcp_soar.engine")

_SHOWN = 600
"""Characters of a difference that stand in a question; all of it is what `mcp-soar pins diff` shows."""

_WHOLE = 6000
"""Characters of a difference that are kept as the diff that it is."""

_MOST = 6
_LINE = 1000


class Difference(NamedTuple):
    """What would come back and is not what was approved.

    Args:
        said: what, where and how, for people; hostile.
        whole: all that was observed, for comparing.
        known: it was asked for; else nobody could find out.
        about: of what it is.
        diff: a unified diff, if that is what was observed.
        remedy: what a person can do about it, in the words of whoever was asked; empty if nothing is known.
    """

    said: str
    whole: str
    known: bool = True
    about: str = ""
    diff: str = ""
    remedy: str = ""


async def of_release(
    case: Case,
    action: type[Action],
    release: Plan,
    *,
    taken_on: bool,
    shown: Collection[tuple[str, str, str]] = (),
) -> tuple[tuple[Difference, ...], Unapproved | None]:
    """Return how what will come back differs from what was approved, and what of it does; None if nobody can say.

    Args:
        case: the incident.
        action: who gives it back.
        release: the plan.
        taken_on: a person accepts that it differs, as it was shown to them, so that nothing else asks how.
        shown: what they saw of it: nothing else that nobody approved is accepted.
    """
    if taken_on and (read := await _unapproved(case, action, release)) is not None:
        otherwise = Unapproved(given_back.unseen(read.back, shown), remedy=read.remedy)
        return with_released((), otherwise, release, case.parts.world.inventory), read
    found, differs = await asyncio.gather(_unapproved(case, action, release), differences(case))
    return with_released(differs, found, release, case.parts.world.inventory), found


async def _unapproved(case: Case, action: type[Action], release: Plan) -> Unapproved | None:
    """Return what of a server is not what was approved when something of it comes back; None if nobody can say."""
    known = await case.parts.given_back.current(case.parts.journal)
    try:
        asked = action.unapproved(known.beside(release), case.parts.world)
        return await within(action.timeout, asked, f"reading what {release.action} gives back")
    except LostClaim:
        raise
    except SoarError as exc:
        LOG.warning("%s: what comes back cannot be read: %s", case.id, exc)
        return None


async def differences(case: Case) -> tuple[Difference, ...]:
    """Ask how what will come back differs from what was approved; nothing if it does not.

    The playbook says which checks have to answer what: that of one that confirmed the alert too, for a gateway can go
    on handing out a poisoned definition when its server is healed already.
    """
    playbook = case.playbook
    if playbook is None:
        return ()
    found: list[Difference] = []
    for step, wanted in playbook.awaited:
        for entity in schedule.runs_for(case.state, step, case.parts.places):
            found += await _asks(case, step, entity, wanted)
    # Two checks that saw the very same in one place say it once.
    return tuple({one.said.partition(": ")[2] if one.known else one.said: one for one in found}.values())


def with_released(
    differs: Sequence[Difference], found: Unapproved | None, release: Plan, inventory: Inventory
) -> tuple[Difference, ...]:
    """Return the differences together with those of what comes back, or came beside it, of which no check speaks.

    Args:
        differs: what the checks say.
        found: what of it is not as approved, by who gives it back; None if nobody can say.
        release: the plan.
        inventory: with the pins.
    """
    server = next((target.server for target in release.targets if target.server), "")
    entry = inventory.servers[server].gateway if server in inventory.servers else None
    # As the checks name where they look.
    places = {f"{server} itself", server, *([f"gateway {entry.name}"] if entry else [])}
    told = list(differs)
    if found is None:
        # Whoever can keep us from reading it has not got it approved by that.
        unread = say("what comes back: nobody could find out whether it is what was approved")
        return (*told, Difference(unread, "what comes back", known=False))
    for thing in (*found.back, *found.beside):
        what = f"{thing.kind} {thing.name} at"
        # The whole of it: what is called *spare at night* is another thing than *spare*.
        if any(one.about in {f"{what} {place}" for place in places} for one in differs):
            continue
        pinned = inventory.pins.find(server, PinKind(thing.kind), thing.name) is not None
        said = "differs from what was approved" if pinned else "was never approved"
        if thing in found.beside:
            said += ", stays beside it, and is not what was there when this was cut"
        about = f"{what} the gateway, of {server}"
        # What was never approved does not become so by being read anew.
        remedy = found.remedy if pinned and thing in found.back else ""
        told.append(Difference(f"{about}: {said}", f"{about}\n{said}", about=about, remedy=remedy))
    return tuple(told)


async def _asks(case: Case, step: Step, entity: Resolved, wanted: Answer) -> list[Difference]:
    """Ask one check, and return what of its answer is not as wanted."""
    try:
        check: Check = calls.build(case, step.check or "", step.parameters(entity))
        if not check.askable(case.parts.world.inventory):
            # By its nature there is nothing to ask: that holds up nothing.
            return []
        verdict = await within(check.timeout, check.check(case.parts.world), f"asking {step.check}")
    except LostClaim:
        raise
    except SoarError:
        # Without what went wrong: it varies, and a question that varies with it could never be answered.
        return [Difference(f"{step.id} of {entity}: nobody could find out", step.id, known=False)]
    if verdict.answer is wanted:
        return []
    unknown = [
        Difference(f"{one.check} of {one.subject}: nobody could find out", one.subject, known=False)
        for one in verdict.findings
        if one.answer is Answer.UNKNOWN
    ]
    against = [one for one in verdict.findings if one.answer not in {wanted, Answer.UNKNOWN}]
    known = [
        Difference(
            f"{one.subject}: {_changed(one.observed)}",
            f"{one.subject}\n{one.observed}",
            about=one.subject,
            diff=parted(one.observed).diff,
            remedy=one.remedy,
        )
        for one in against
    ]
    return known or unknown or [Difference(f"{step.id} of {entity}: {verdict.answer}", step.id)]


def _changed(observed: str) -> str:
    """Return the lines of a unified diff that changed, in one, and with what all of it can be recognised if cut."""
    lines: list[str] = []
    if "+++ gone" in observed.splitlines():
        return "no longer there"
    for line in observed.splitlines():
        if line.startswith("--- approved "):
            lines.append(f"{line.removeprefix('--- approved ')}:")
        elif not line.startswith(("+++ ", "@@", " ")):
            lines.append(line)
    text = " ".join(lines) or observed
    return (
        text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters, {sha256(observed.encode())[:23]})"
    )


def mark(differs: Sequence[Difference]) -> str:
    """Return what tells one set of differences from another: an approval is bound to it."""
    return sha256(canonical(sorted(one.whole for one in differs)))


def said(differs: Sequence[Difference]) -> tuple[str, ...]:
    """Return them for people, one a line, the first few; after them what can be done about them, each once."""
    lines = [_line(one) for one in differs[:_MOST]]
    more = len(differs) - len(lines)
    then = dict.fromkeys(filter(None, (one.remedy for one in differs)))
    return (*lines, *([f"and {more} more, which `mcp-soar pins diff` shows"] if more else []), *then)


def _line(one: Difference) -> str:
    return one.said.replace("\n", " ")[:_LINE]


def diffs(differs: Sequence[Difference], reasons: Sequence[str]) -> list[Json]:
    """Return the differences that are diffs as they are, beside the reason that says each in one line.

    Args:
        differs: what differs.
        reasons: why people are asked, as they will be recorded.
    """
    found: list[Json] = []
    for one in differs[:_MOST]:
        reason = redacted(_line(one), _LINE)
        if one.diff and reason in reasons:
            found.append({"reason": reason, "about": one.about, "diff": redacted(one.diff, _WHOLE)})
    return found
