"""What people give back though nobody approved it as it is: journalled with the release, asked for at every look."""

import logging
from collections.abc import Collection

from integrations.journal.store import Journal, Tx
from integrations.sharing import Shared
from playbooks.errors import SoarError
from playbooks.given_back import KIND, STREAM, GivenBack, body
from playbooks.journal import Event
from playbooks.plan import Beside, Plan
from playbooks.strict import Json

LOG = logging.getLogger("mcp_soar.engine")

UNAPPROVED = "unapproved"
"""The parameter of a release that says what comes back by it and is not what was approved: as it is, so that whoever
approves the release approves this and nothing that takes its place."""


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
        for entry in await journal.read(STREAM, after=self._seq):
            parsed = entry.parsed()
            self._seq = parsed.seq
            if parsed.kind == KIND:
                self._known.take(parsed.body)
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


async def record(
    tx: Tx, incident: str, lease: str, release: Plan, *, kept: Collection[str], by: Collection[str]
) -> None:
    """Journal what comes back unapproved, before it does: no look must find it there and not know of it.

    Args:
        tx: the transaction that freezes the release.
        incident: whose lease it is.
        lease: what is given back.
        release: the plan.
        kept: grips that others hold; what they are of stays off.
        by: the people who gave it back; what nobody did stays a leak.
    """
    said = release.params.get(UNAPPROVED)
    things = [Beside.model_validate(one) for one in said] if isinstance(said, list) else []
    if not by or not things:
        return
    of = {(c.target.kind, c.target.id): c.target.server for c in release.changes if c.grip not in kept}
    for server in dict.fromkeys(of.values()):
        mine = [thing for thing in things if of.get((thing.kind, thing.id), "") == server]
        if server and mine:
            await tx.append(STREAM, [Event(KIND, body(incident, lease, by, server, mine))])
