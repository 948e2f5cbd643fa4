"""What people give back though nobody approved it as it is: journalled with the release, asked for at every look."""

import logging
from collections.abc import Collection, Sequence

from integrations.journal.store import Journal, Tampered, Tx
from integrations.sharing import Shared
from playbooks.errors import SoarError
from playbooks.gate.plan import Beside, Plan
from playbooks.record.given_back import KIND, OVER, STREAM, UNAPPROVED, GivenBack, body, named, unapproved
from playbooks.record.journal import INCIDENT, Event
from playbooks.strict import Json
from playbooks.text.redaction import redacted

LOG = logging.getLogger("mcp_soar.engine")


class GivenBackBook:
    """The journal's entries about it, read on from where they were read last."""

    def __init__(self) -> None:
        self._known = GivenBack()
        self._seq = 0
        # A burst of cuts asks once: each of them asks before it is verified.
        self._shared: dict[Journal, Shared[GivenBack]] = {}

    async def current(self, journal: Journal) -> GivenBack:
        """Return what the journal says now; what cannot be read counts for nothing, and is a leak again."""
        shared = self._shared.get(journal)
        if shared is None:
            shared = self._shared[journal] = Shared(lambda: self._read(journal))
        try:
            return await shared()
        except SoarError as exc:
            LOG.error("what people gave back unapproved cannot be read: %s", exc)  # noqa: TRY400  # it says what to mend
            return GivenBack()

    async def _read(self, journal: Journal) -> GivenBack:
        row = await journal.stream(STREAM)
        if row is None or row.frozen:
            # Nothing more can be said there, not even that something of it is over.
            return GivenBack()
        for entry in await journal.read(STREAM, after=self._seq):
            parsed = entry.parsed()
            self._seq = parsed.seq
            self._known.take(parsed.kind, parsed.body)
        for incident in self._known.incidents:
            where = await journal.stream(f"{INCIDENT}{incident}")
            if where is None or where.frozen or where.closed_at is not None:
                self._known.closed(incident)
        return self._known


def with_unapproved(release: Plan, things: Collection[Beside] | None, asked: Plan | None) -> Plan:
    """Return a release that says what comes back by it unapproved.

    Args:
        release: what would be given back.
        things: what of it is not as approved, as it is now; None if nobody can say.
        asked: what people were asked, if they were: where nobody can say, it is that or nothing.
    """
    if things is None:
        said: Json = asked.params.get(UNAPPROVED, []) if asked else []
    else:
        said = [thing.model_dump(mode="json") for thing in things]
    return release.model_copy(update={"params": {**release.params, UNAPPROVED: said}}) if said else release


def unseen(things: Collection[Beside], shown: Collection[tuple[str, str, str]]) -> tuple[Beside, ...]:
    """Return what is not as it was shown to those who accept it as it is: nobody accepts what they did not see.

    Args:
        things: what is not as approved, as it is now.
        shown: kind, id and digest of each thing that they signed for.
    """
    return tuple(one for one in things if (one.kind, one.id, one.digest) not in shown)


def _coming(release: Plan, kept: Collection[str]) -> tuple[Beside, ...]:
    """Return what of a release comes back unapproved, without what stays off because others hold it."""
    off = {(c.target.kind, c.target.id) for c in release.changes if c.grip in kept}
    return tuple(thing for thing in unapproved(release) if (thing.kind, thing.id) not in off)


def reasons(release: Plan, kept: Collection[str] = ()) -> tuple[str, ...]:
    """Return what of a release comes back unapproved as a question says it, a line for each.

    Args:
        release: the plan.
        kept: grips that others hold; what they are of stays off.
    """
    things = _coming(release, kept)
    lines = tuple(redacted(line, _LINE) for line in named(things))
    more = len(things) - len(lines)
    return (*lines, *([f"and {more} more that nobody approved: beside a cut they stay leaks"] if more > 0 else []))


_LINE = 1000


def signed_for(
    release: Plan,
    shown: Collection[tuple[str, str, str]],
    *,
    asked: Sequence[str],
    agreed: Collection[str],
    kept: Collection[str] = (),
) -> tuple[Beside, ...]:
    """Return what of a release people signed for as it is; of the rest they knew nothing, and it stays a leak.

    Args:
        release: the plan.
        shown: kind, id and digest of what was shown to whoever asks for it.
        asked: what the question about this very plan said.
        agreed: who said yes to that question.
        kept: grips that others hold.
    """
    things = _coming(release, kept)
    told = [one for line, one in named(things).items() if agreed and redacted(line, _LINE) in asked]
    return tuple(one for one in things if one in told or (one.kind, one.id, one.digest) in shown)


async def over(tx: Tx, incident: str, lease: str, plan: Plan) -> None:
    """Journal, with the holds of a cut, that what it takes is given back no longer: it was contained again.

    Args:
        tx: the transaction that takes the holds.
        incident: whose cut it is.
        lease: the cut.
        plan: what it takes.
    """
    row = await tx.stream(STREAM)
    if row is None or row.frozen:
        return
    known = GivenBack()
    try:
        for entry in await tx.read(STREAM):
            parsed = entry.parsed()
            known.take(parsed.kind, parsed.body)
    except Tampered as exc:
        # Then nothing of it counts for anybody, and no cut waits for that.
        LOG.error("what people gave back unapproved cannot be read: %s", exc)  # noqa: TRY400  # it says what to mend
        return
    for server, keys in known.taken(plan).items():
        things: Json = [{"kind": kind, "id": id_} for kind, id_ in keys]
        said: dict[str, Json] = {"incident": incident, "lease": lease, "server": server, "things": things}
        await tx.append(STREAM, [Event(OVER, said)])


async def record(  # what an entry says
    tx: Tx,
    incident: str,
    lease: str,
    release: Plan,
    things: Collection[Beside],
    *,
    kept: Collection[str],
    by: Collection[str],
) -> None:
    """Journal what comes back unapproved, before it does: no look must find it there and not know of it.

    Args:
        tx: the transaction that freezes the release.
        incident: whose lease it is.
        lease: what is given back.
        release: the plan.
        things: what of it people signed for as it is.
        kept: grips that others hold; what they are of stays off.
        by: the people who gave it back; what nobody did stays a leak.
    """
    if not by or not things:
        return
    of = {(c.target.kind, c.target.id): c.target.server for c in release.changes if c.grip not in kept}
    for server in dict.fromkeys(of.values()):
        mine = [thing for thing in things if of.get((thing.kind, thing.id), "") == server]
        if server and mine:
            await tx.append(STREAM, [Event(KIND, body(incident, lease, by, server, mine))])
