"""Reviews of approved definitions: taken from pins.yaml into the journal, and asked for before anything is automatic.

The file is people's and can be edited; the journal cannot. What stands in the file and was not signed for by people who
may review, or is no longer what they signed for, is compared with as before, and people are asked.
"""

import copy
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from integrations.journal.store import Journal, Tx
from integrations.sharing import Shared
from integrations.signing import fits
from playbooks.errors import Refused, SoarError
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Plan, Target
from playbooks.gate.policy import Policy
from playbooks.people.request import People, Request, SignedRequest
from playbooks.people.review import KIND, STREAM, Reviews, judged
from playbooks.record.journal import Event, Parsed
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
        # Whoever asks meanwhile is answered by one reading.
        self._shared: dict[Journal, Shared[Reviews]] = {}

    async def current(self, journal: Journal) -> Reviews:
        """Return what the journal says.

        Raises:
            SoarError: it cannot be read.
        """
        shared = self._shared.get(journal)
        if shared is None:
            shared = self._shared[journal] = Shared(lambda: self._read(journal))
        return await shared()

    async def _read(self, journal: Journal) -> Reviews:
        for entry in await journal.read(STREAM, after=self._seq):
            parsed = entry.parsed()
            _take(self._reviews, parsed)
            self._seq = parsed.seq
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
            # What this added: a decision goes by what was read, and reads the rest under the journal's lock.
            await self.current(journal)
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

    async def lacking(self, journal: Journal, inventory: Inventory, policy: Policy, plan: Plan) -> tuple[str, ...]:
        """Return which approved definitions a plan rests on that are not reviewed, each with why, for people.

        Args:
            journal: the journal, which is read.
            inventory: with the pins.
            policy: says what a review takes.
            plan: what is to be done.
        """
        try:
            return unreviewed(await self.current(journal), inventory, policy, plan)
        except SoarError as exc:
            return _unreadable(exc)

    def so_far(self, inventory: Inventory, policy: Policy, plan: Plan) -> "Lacking":
        """Return the same by what was read until now, for `in_decision` to go by.

        Args:
            inventory: with the pins.
            policy: says what a review takes.
            plan: what is to be done.
        """

        def judge(reviews: Reviews) -> tuple[str, ...]:
            return unreviewed(reviews, inventory, policy, plan)

        return Lacking(self._seq, judge(self._reviews), judge)

    async def in_decision(self, tx: Tx, so_far: "Lacking") -> tuple[str, ...]:
        """Return it as the journal stands in a transaction; what came since is read there, and remembered by nobody.

        Args:
            tx: the transaction that it is decided in.
            so_far: from `so_far`.
        """
        try:
            if await tx.tip(STREAM) == so_far.seq:
                return so_far.lacking
            # With what others of this commit write, which may yet come to nothing.
            reviews = copy.deepcopy(self._reviews)
            for entry in await tx.read(STREAM, after=self._seq):
                _take(reviews, entry.parsed())
        except SoarError as exc:
            return _unreadable(exc)
        return so_far.judge(reviews)


class Lacking(NamedTuple):
    """What is not reviewed of what a plan rests on, by what was read so far.

    Args:
        seq: the last entry of the journal's reviews that was read.
        lacking: which definitions, each with why, for people.
        judge: says the same by other reviews.
    """

    seq: int
    lacking: tuple[str, ...]
    judge: Callable[[Reviews], tuple[str, ...]]


def _take(reviews: Reviews, entry: Parsed) -> None:
    if entry.kind == KIND:
        reviews.take(SignedRequest.model_validate(entry.body["signed"]).request)


def _unreadable(exc: SoarError) -> tuple[str, ...]:
    return (say("who reviewed its approved definitions cannot be read: {a}", a=exc)[:2000],)


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
