"""Reviews of approved definitions: taken from pins.yaml into the journal, and asked for before anything is automatic.

The file is people's and can be edited; the journal cannot. What stands in the file and was not signed for by people who
may review, or is no longer what they signed for, is compared with as before, and people are asked.
"""

import logging
import math
from collections.abc import Callable, Mapping

from integrations.journal.store import Journal, Tx
from integrations.sharing import Shared
from integrations.signing import fits
from playbooks.errors import Refused, SoarError
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Plan, Target
from playbooks.gate.policy import Policy
from playbooks.people.request import People, Request, SignedRequest
from playbooks.people.review import KIND, STREAM, Reviews, judged
from playbooks.record.journal import Event
from playbooks.strict import now
from playbooks.text.sentences import made_of, named, say

LOG = logging.getLogger("mcp_soar.engine")

_NAMED = 5


class ReviewBook:
    """The journal's reviews, read on from where they were read last."""

    def __init__(self) -> None:
        self._reviews = Reviews()
        self._seq = 0
        self._refused: set[str] = set()
        # A burst of cuts asks once: each of them asks before it is decided.
        self._shared: dict[Journal, Shared[Reviews]] = {}

    async def current(self, journal: Journal, since: float = math.inf) -> Reviews:
        """Return what the journal says.

        Args:
            journal: the journal.
            since: the moment, in monotonic seconds, after which it has to be read; else after this call began.

        Raises:
            SoarError: it cannot be read.
        """
        shared = self._shared.get(journal)
        if shared is None:
            shared = self._shared[journal] = Shared(lambda: self._read(journal))
        return await shared(since)

    async def _read(self, journal: Journal) -> Reviews:
        for entry in await journal.read(STREAM, after=self._seq):
            parsed = entry.parsed()
            self._seq = parsed.seq
            if parsed.kind == KIND:
                self._reviews.take(SignedRequest.model_validate(parsed.body["signed"]).request)
        return self._reviews

    async def take(self, journal: Journal, inventory: Inventory, policy: Policy, people: Callable[[], People]) -> None:
        """Journal the reviews in pins.yaml that count and are not journalled yet; what does not count is logged once.

        Args:
            journal: opened for writing.
            inventory: with the pins as the file has them.
            policy: says who may review.
            people: who is enrolled now.
        """
        try:
            for signed in sorted(inventory.pins.reviews, key=lambda one: one.request.issued_at):
                if signed.request.nonce not in (await self.current(journal)).nonces:
                    await self._judge(journal, signed, policy, people())
        except SoarError as exc:
            # Nothing is automatic until they are read; everything else goes on.
            LOG.error("reviews of approved definitions cannot be journalled: %s", exc)  # noqa: TRY400  # it says what to mend

    async def _judge(self, journal: Journal, signed: SignedRequest, policy: Policy, people: People) -> None:
        try:
            await _journalled(journal, signed, judged(signed, people, policy.review, at=now(), verify=fits))
        except Refused as exc:
            if signed.request.nonce not in self._refused:
                LOG.error("a review of %s in pins.yaml does not count: %s", signed.request.subject, exc)  # noqa: TRY400  # it says what to mend
            self._refused.add(signed.request.nonce)

    async def lacking(
        self, journal: Journal, inventory: Inventory, policy: Policy, plan: Plan, *, since: float = math.inf
    ) -> tuple[str, ...]:
        """Return which approved definitions a plan rests on that are not reviewed, each with why, for people.

        Args:
            journal: the journal.
            inventory: with the pins.
            policy: says what a review takes.
            plan: what is to be done.
            since: the moment, in monotonic seconds, after which the journal has to be read; else after this call began.
        """
        try:
            reviews = await self.current(journal, since)
        except SoarError as exc:
            return (say("who reviewed its approved definitions cannot be read: {a}", a=exc)[:2000],)
        return unreviewed(reviews, inventory, policy, plan)


def unreviewed(reviews: Reviews, inventory: Inventory, policy: Policy, plan: Plan) -> tuple[str, ...]:
    """Return which approved definitions a plan rests on that are not reviewed, each with why, for people.

    Args:
        reviews: what people signed for.
        inventory: with the pins.
        policy: says what a review takes.
        plan: what is to be done.
    """
    found: list[str] = []
    for server in sorted({target.server for target in plan.targets if target.server}):
        # A whole server rests on all of its pins, and so does what was never approved.
        mine = [target for target in plan.targets if target.server == server]
        named = {key for target in mine for key in _of(inventory, target)}
        wanted = reviews.lacking(inventory, policy.review, server, of=None if len(named) < len(mine) else named)
        found += _worded(server, wanted)
    return tuple(found)


def _of(inventory: Inventory, target: Target) -> list[tuple[str, str]]:
    pins = inventory.pins.of(target.server or "")
    return [(pin.kind.value, pin.name) for pin in pins if (pin.kind.value, pin.name) == (target.kind, target.name)]


def _worded(server: str, missing: Mapping[tuple[str, str], str]) -> list[str]:
    lines: list[str] = [
        made_of(why, lambda end: f"the approved {{a}} of {{b}} {end}", a=named((f"{kind} ", name)), b=server)
        for (kind, name), why in sorted(missing.items())
    ]
    rest = len(lines) - _NAMED
    return lines[:_NAMED] + (
        [say("{a} more of {b} are not reviewed: `mcp-soar doctor`", a=rest, b=server)] if rest > 0 else []
    )


async def _journalled(journal: Journal, signed: SignedRequest, request: Request) -> None:
    async def unit(tx: Tx) -> None:
        # Twice, by two responders at the same moment, is once.
        await tx.use_once("request", request.nonce)
        body = {"signed": signed.model_dump(mode="json")}
        await tx.append(STREAM, [Event(KIND, body, request.actor)])

    await journal.submit(unit)
    LOG.info("%s's review of %s is journalled", request.actor, request.subject)
