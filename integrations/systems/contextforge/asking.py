"""What a contained tool meets under every name and at every door that the gateway has for it.

The first verification after a cut asks as much as proves it: the offered name as a client calls it, and whether the
one look-up behind all doors still finds the original name, at each virtual server. From the next look on every name is
asked at every door. What a look-up has remembered is asked first, by a call that goes to no server; only what that
refuses is called as a client calls it, so that nothing here runs the tool, and nothing here makes the gateway remember
a name that it had not.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from integrations import precedence
from integrations.catalogue import Names
from integrations.gateways.driver import Asked
from integrations.hostile import printable
from integrations.systems.contextforge.canary import Door, ForgeCanary
from playbooks.errors import SoarError
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer, Finding, Target
from playbooks.text.sentences import say

if TYPE_CHECKING:
    from integrations.systems.contextforge.driver import ContextForge

_MOST_SERVERS: Final = 20
"""Virtual servers that are asked; more are named."""

_MOST_AT_FIRST: Final = 3
"""Of the likely ones so many are asked at the first look; a cut is confirmed by them, and the others follow."""

_UNRELATED: Final = 2
"""Rank of a virtual server that shows tools of other servers only."""

_MOST_LINES: Final = 8
"""Connections on which one question is put at once where several processes answer."""

_LEISURE: Final = 3.0
"""Seconds for asking one after the other."""

_MARGIN: Final = 1.0
"""Seconds by which a clock of the gateway's may be late."""


@dataclass(frozen=True)
class Asking:
    """The questions about one disabled tool.

    Args:
        canary: who asks.
        forge: the same gateway's administration, which says where there are doors.
        target: the tool.
        names: its names.
        arguments: that its schema rejects; None if it rejects nothing.
        siblings: the ids of other tools of its server.
        settled: whether this is no first look any more, so that every name is asked at every door.
    """

    canary: ForgeCanary
    forge: "ContextForge"
    target: Target
    names: Names
    arguments: dict[str, Any] | None
    siblings: frozenset[str] = frozenset()
    settled: bool = True

    async def everything(self) -> Asked:
        """Ask under every name and at every door; once something gets through, the rest is not asked."""
        offered, servers = await asyncio.gather(self._offered(), self._virtual_servers())
        if offered.answer is not Answer.ESTABLISHED:
            # Where the cut is not in force, naming a virtual server would make the gateway remember the original name.
            return Asked([offered])
        named = servers[:_MOST_SERVERS] if isinstance(servers, tuple) else ()
        if not self.settled:
            named = named[:_MOST_AT_FIRST]
        looked = [await self._remembered(await self._look_up(self.names.original))] if not named else []
        looked += await asyncio.gather(*(self._original(server) for server in named))
        original = max(looked, key=lambda finding: _WORSE[finding.answer])
        asked = Asked([offered, original])
        if original.answer is Answer.UNKNOWN and self._over:
            # Whatever was looked up before the cut is forgotten by now, so that the name opens nothing of this.
            asked = Asked([offered], [original])
        if self.forge.processes > 1 and not self._over:
            asked.findings.append(self._finding("by each process of the gateway", self._waits, _LATER))
        if isinstance(servers, SoarError):
            why = say("the gateway did not say which there are ({a})", a=servers)
            asked.beside.append(self._finding("at its virtual servers", why, _DOCTOR))
        elif (left := len(servers) - len(named)) > 0:
            why, then = (
                (say("one look asks no more of them"), _TRY) if self.settled else (say("it was not asked yet"), _NEXT)
            )
            asked.beside.append(self._finding("at {c} more virtual servers", why, then, c=left))
        if original.answer is Answer.ESTABLISHED:
            if self.settled:
                await self._elsewhere(asked, named)
            if self.arguments is None:
                why = say("its schema rejects nothing, so that a call there might run it")
                asked.beside.append(self._finding("at /mcp and /servers/ID/mcp", why, _ARGUMENTS))
        return asked

    async def _original(self, server: str) -> Finding:
        return await self._remembered(await self._look_up(self.names.original, server), server)

    async def _original_at_the_root(self) -> Finding:
        return await self._remembered(await self._call(self.names.original))

    async def _virtual_servers(self) -> tuple[str, ...] | SoarError:
        """Return the virtual servers that may offer it, the likely ones first."""
        try:
            doors = await self.forge.virtual_servers()
        except SoarError as exc:
            return exc

        # A virtual server no longer says that a tool is its own once that is disabled; an empty one may have had it.
        def unlikely(server: str) -> int:
            tools = doors[server]
            return 0 if self.target.id in tools else 1 if not tools or tools & self.siblings else _UNRELATED

        ranked = sorted(doors, key=lambda server: (unlikely(server), server))
        # One that shows other servers' tools only refuses what it does not have, whatever the gateway remembers; asked
        # there, the gateway would look up that server's own tool of the name, and remember it for everybody.
        related = [server for server in ranked if unlikely(server) < _UNRELATED]
        if self.settled:
            return tuple(related)
        return tuple(server for server in related if unlikely(server) == unlikely(related[0]))

    async def _elsewhere(self, asked: Asked, servers: Iterable[str]) -> None:
        """Ask at the other doors, now that no look-up finds it; what they refuse is added to that name's finding."""
        questions = [*self._questions(servers)]
        answers: list[Finding] = []
        until, patience = time.monotonic() + _LEISURE, precedence.GIVES_WAY
        # One at a time: nobody waits for this, and what is to be cut meanwhile does not wait for all of it. What is
        # slow or silent is asked all at once, so that the whole still ends.
        while len(answers) < len(questions) and time.monotonic() < until:
            patience -= await self.forge.precedence.give_way(patience)
            answers.append(await questions[len(answers)][2]())
        answers += await asyncio.gather(*(question() for _, _, question in questions[len(answers) :]))
        doors: dict[str, list[str]] = {}
        for (name, door, _), finding in zip(questions, answers, strict=True):
            if finding.answer is Answer.ESTABLISHED:
                doors.setdefault(name, []).append(door)
            else:
                (asked.findings if finding.answer is Answer.NOT_ESTABLISHED else asked.beside).append(finding)
        for position, name in enumerate((self.names.offered, self.names.original)):
            if found := doors.get(name):
                observed = f"{asked.findings[position].observed}; likewise at {', '.join(found)}"
                asked.findings[position] = asked.findings[position].model_copy(update={"observed": observed[:20_000]})

    def _questions(self, servers: Iterable[str]) -> Iterator[tuple[str, str, Callable[[], Awaitable[Finding]]]]:
        """Yield name, door and question of what is asked beside the first two."""
        offered, original, safe = self.names.offered, self.names.original, self.arguments is not None
        for server in servers:
            yield offered, f"/rpc for server {server}", partial(self._look_up, offered, server)
            if safe:
                yield original, f"/servers/{server}/mcp", partial(self._call, original, f"/servers/{server}/mcp")
                yield offered, f"/servers/{server}/mcp", partial(self._call, offered, f"/servers/{server}/mcp")
        yield offered, "/sse", partial(self.canary.by_events, (offered, original))
        if safe:
            yield offered, "/rpc", partial(self._look_up, offered)
            yield original, "/mcp", self._original_at_the_root

    async def _offered(self) -> Finding:
        return await (self._look_up(self.names.offered) if self.arguments is None else self._call(self.names.offered))

    async def _call(self, name: str, path: str = "") -> Finding:
        at, arguments, several = self.canary.at(Door(path)), self.arguments or {}, self.forge.processes > 1
        return await self._by_all(
            lambda: self.canary.call(PinKind.TOOL, name, arguments, ahead=several, at=at, door=path)
        )

    async def _look_up(self, name: str, server: str | None = None) -> Finding:
        several = self.forge.processes > 1
        return await self._by_all(lambda: self.canary.look_up(name, server, ahead=several))

    async def _by_all(self, question: Callable[[], Awaitable[Finding]]) -> Finding:
        """Put a question so often at once that several processes answer it; the worst answer is the answer."""
        times = 1 if self.forge.processes <= 1 else min(2 * self.forge.processes, _MOST_LINES)
        answers = await asyncio.gather(*(question() for _ in range(times)))
        return max(answers, key=lambda finding: _WORSE[finding.answer])

    async def _remembered(self, found: Finding, server: str | None = None) -> Finding:
        """Tell whose tool the original name opened, if it did: several servers may have given theirs the same."""
        if found.answer is not Answer.NOT_ESTABLISHED:
            return found
        others = await self._namesakes(server)
        if isinstance(others, SoarError):
            return found.model_copy(update={"answer": Answer.UNKNOWN, "observed": f"{found.observed}; {others}"})
        if not others:
            observed = f"{found.observed}: this name still opens it; {self._waits}"
            return found.model_copy(update={"observed": observed})
        whose = f"another tool has this name ({', '.join(sorted(others)[:3])})"
        if self._over:
            observed = f"{found.observed}: {whose}, and what was looked up before the cut is forgotten"
            return found.model_copy(update={"answer": Answer.ESTABLISHED, "observed": observed})
        observed = f"{found.observed}: {whose}, and whose is called cannot be told; {self._waits}"
        return found.model_copy(update={"answer": Answer.UNKNOWN, "observed": observed})

    async def _namesakes(self, server: str | None) -> set[str] | SoarError:
        """Return the other tools that the original name can open: of a virtual server, only those that it offers."""
        try:
            everything = await self.forge.held(PinKind.TOOL)
            there = (await self.forge.virtual_servers()).get(server or "")
        except SoarError as exc:
            return exc
        return {
            printable(held.offered_as)
            for held in everything
            if held.enabled
            and held.id != self.target.id
            and (server is None or there is None or held.id in there)
            and self.names.original in {held.offered_as, str(held.fields["originalName"])}
        }

    @property
    def _over(self) -> bool:
        """Whether every process has forgotten by now what it looked up before the cut."""
        return self.forge.disabled_for(self.target.id) > self.forge.gateway.remembers + _MARGIN

    @property
    def _waits(self) -> str:
        long = f"{self.forge.gateway.remembers:g}"
        return say("each process of the gateway remembers what it looked up for {a} s", a=long)

    def _finding(self, where: str, observed: str, remedy: str, **more: object) -> Finding:
        return Finding(
            check="call",
            subject=say("tool {a} of {b} " + where, a=self.target.name, b=self.target.server, **more)[:2000],
            asked_as=self.canary.endpoint.principal,
            expected="the gateway itself refuses it",
            observed=observed[:20_000],
            answer=Answer.UNKNOWN,
            remedy=remedy,
        )


_LATER: Final = say("wait for the look after that, which asks again")
_NEXT: Final = say("the next look asks there")
_TRY: Final = say("have a client that uses one of them try it there")
_DOCTOR: Final = say("run mcp-soar doctor, which says what our account there may not read")
_ARGUMENTS: Final = say("write safe_arguments for it in inventory.yaml, and it is asked")
"""What people can do about what was not asked."""

_WORSE: Final = {Answer.ESTABLISHED: 0, Answer.UNKNOWN: 1, Answer.NOT_ESTABLISHED: 2}
