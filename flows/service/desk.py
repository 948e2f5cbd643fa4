"""What people press in Slack: acknowledging, and answering with a one-time code.

Slack's word on who pressed is enough to take a page up, not to decide: an answer counts by its code alone, which is
judged as if it came from anywhere else. Nothing here can approve.
"""

import asyncio
from collections.abc import Callable

from pydantic import ValidationError

from flows.engine.parts import Parts
from flows.engine.people.approvals import waiting
from flows.engine.people.telling import queue
from flows.service import codes
from integrations.journal.store import Journal, Tx
from playbooks.errors import Refused
from playbooks.people.briefing import asking
from playbooks.people.code import CodeAnswer
from playbooks.people.contacts import Language
from playbooks.people.rendering import question
from playbooks.record.journal import Event, stream_of
from playbooks.record.projection import project
from playbooks.strict import Json, now

WITHIN = 20.0
"""Seconds that a code may take to be judged while somebody looks at the form."""


class Desk:
    """Implements `integrations.channels.slack.desk.Desk` for a responder.

    Args:
        parts: returns what the engine works with now.
    """

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._now = parts

    @property
    def _parts(self) -> Parts:
        return self._now()

    @property
    def _journal(self) -> Journal:
        return self._parts.journal

    def person(self, slack_user: str) -> str:
        """Return who a Slack user is, as enrolled.

        Raises:
            Refused: if nobody enrolled has that id in contacts.yaml.
        """
        enrolled = self._parts.people().people
        found = [n for n, one in self._parts.contacts.contacts.items() if one.slack == slack_user and n in enrolled]
        if len(found) != 1:
            raise Refused("nobody who is enrolled has your Slack id in contacts.yaml: use `mcp-soar` at a terminal")
        return found[0]

    async def acknowledge(self, slack_user: str, incident: str, page: str) -> str:
        """Take up a page, and with it all that its incident paged until now, as `mcp-soar ack` does."""
        who, stream = self.person(slack_user), stream_of(incident)

        async def unit(tx: Tx) -> int:
            if await tx.stream(stream) is None:
                raise Refused(f"there is no incident {incident}")
            state = project(incident, await tx.read(stream))
            if page not in state.pages:
                raise Refused(f"{incident} has no such page")
            pages: list[Json] = [known for known in state.pages if known not in state.acknowledged]
            if pages:
                await tx.append(stream, [Event("acknowledged", {"pages": pages, "by": who, "way": "slack"}, who)])
                await queue(tx, incident)
            return len(pages)

        taken = await self._journal.submit(unit)
        return f"{who} has {incident}: nobody else is paged for it." if taken else f"{incident} was taken up before."

    async def answer(self, slack_user: str, incident: str, digest: str, code: str) -> str:
        """Hand a one-time code in and say what it decided."""
        try:
            given = CodeAnswer(incident=incident, digest=digest, actor=self.person(slack_user), code=code)
        except ValidationError as exc:
            raise Refused("a code has ten characters, as 7K3M2-QX9AB") from exc
        receipt = await codes.hand_in(self._journal, given, source="slack")
        verb = await codes.judged(self._journal, given, receipt, within=WITHIN)
        return f"Your {'yes' if verb == 'approve' else 'no'} counts, {given.actor}."

    async def describe(self, incident: str, digest: str, language: Language) -> str:
        """Return what a plan would do, why, what it would break and how it is undone, in lines."""
        state = project(incident, await self._journal.read(stream_of(incident)))
        asked = asking(state, waiting(state, digest), at=now(), inventory=self._parts.world.inventory)
        # In a thread: it takes some milliseconds, and cuts share this loop.
        return await asyncio.to_thread(question, asked, language, own=self._parts.templates, words=self._parts.words)
