"""Questions about a server's definitions: is it still what was approved."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from typing_extensions import override

from integrations.catalogue import Catalogue, Held
from integrations.protocol import pins
from integrations.protocol.client import McpEndpoint
from playbooks.action import Check, World
from playbooks.errors import Misconfigured, SoarError
from playbooks.estate.pins import Pin, PinKind
from playbooks.gate.change import Brought as ChangeKind
from playbooks.gate.change import Introduction, introduced, summary
from playbooks.gate.corroboration import DEFINITION, INTRODUCES, SCREENING
from playbooks.gate.plan import Answer, Finding, Verdict
from playbooks.screening.screen import screen
from playbooks.strict import Name, Slug
from playbooks.text.sentences import say


class DefinitionDiffers(Check):
    """Whether a tool's definition differs from its approved pin, and what the change brings in.

    `established`: it differs, read by ourselves at the gateway or at the server; what nobody approved differs from
    nothing. `not_established`: both give the approved one. The gateway is asked first: that is one quick request, and
    it is what clients are given. Two more findings say what the change introduces and what of that the screening finds:
    a change that introduces nothing only describes, and by itself is no reason to act.

    Args:
        server: the server, as the inventory names it.
        tool: the tool's name at the server.
    """

    name: ClassVar[str] = "mcp.definition_differs"
    permissions: ClassVar[tuple[str, ...]] = (
        "GET /v1/tools/{id}",
        "GET /v1/tools",
        "MCP initialize, tools/list at the server",
    )

    server: Slug
    tool: Name

    @override
    def foresee(self, world: World) -> None:
        # What was screened is remembered: the approved one while the gateway looks, its own as soon as it answers.
        pin, known = (
            world.inventory.pins.find(self.server, PinKind.TOOL, self.tool),
            world.inventory.servers[self.server],
        )
        if pin is None or known.gateway is None or len(repr(pin.definition)) > _LARGE:
            return
        asked = world.reach(Catalogue, known.gateway.name).foreseen(pin.gateway_id or "")
        if asked is None or asked.done():
            return
        asyncio.get_running_loop().call_later(_ON_ITS_WAY, screen, pin.definition)
        asked.add_done_callback(_screened)

    @override
    async def check(self, world: World) -> Verdict:
        pin = world.inventory.pins.find(self.server, PinKind.TOOL, self.tool)
        if pin is None and not world.inventory.pins.of(self.server):
            raise Misconfigured(f"nothing of {self.server} is approved to compare with; `mcp-soar pins approve` it")
        known = world.inventory.servers[self.server]
        findings: list[Finding] = []
        if known.gateway is not None and (pin is None or pin.gateway_id is not None):
            gateway = world.reach(Catalogue, known.gateway.name)
            held = await _at_gateway(pin, self.tool, gateway, known.gateway.id)
            findings += await _judged(held, pin, world)
            # Where the gateway's copy shows nothing that is brought in, the server's own may: gateways strip markup.
            if not held.elsewhere and any(one.check == INTRODUCES for one in findings if _yes(one)):
                return Verdict(answer=Answer.ESTABLISHED, findings=tuple(findings))
        if known.direct:
            served = await _at_server(pin, self.tool, world.reach(McpEndpoint, self.server))
            told = await _judged(served, pin, world)
            if _yes(served.finding):
                # What the server says of itself is the whole of it.
                findings = [one for one in findings if one.check == DEFINITION]
            findings += told
        answers = {finding.answer for finding in findings if finding.check == DEFINITION}
        if Answer.ESTABLISHED in answers:
            answer = Answer.ESTABLISHED
        elif Answer.UNKNOWN in answers or not answers:
            answer = Answer.UNKNOWN
        else:
            answer = Answer.NOT_ESTABLISHED
        return Verdict(answer=answer, findings=tuple(findings))


_ON_ITS_WAY: Final = 0.003
"""Seconds after which a question that was begun is on the wire, and the answer to it not yet there."""


def _screened(asked: asyncio.Future[Held | None]) -> None:
    if asked.cancelled() or asked.exception() is not None or (held := asked.result()) is None:
        return
    # Whatever a gateway's answer does to this, the check itself says it.
    with contextlib.suppress(Exception):
        now = pins.gateway_fields(held)
        if len(repr(now)) <= _LARGE:
            screen(now)


class _Read(NamedTuple):
    """A definition as it was found.

    Args:
        finding: whether it differs from what is approved.
        now: its fields; None if it is gone, or could not be read.
        elsewhere: no field differs, and yet it is another one: where its calls go, or its name at the gateway.
    """

    finding: Finding
    now: Mapping[str, Any] | None = None
    elsewhere: bool = False


_ELSEWHERE: Final = Introduction(ChangeKind.DESTINATION, "where the gateway sends its calls, or the name it gives it")


async def _judged(read: _Read, pin: Pin | None, world: World) -> list[Finding]:
    """Return a finding with, if a definition differs, what the change introduces and what is screened of that."""
    finding = read.finding
    if finding.answer is not Answer.ESTABLISHED:
        return [finding]

    def compare() -> tuple[Introduction, ...]:
        if read.elsewhere:
            return (_ELSEWHERE,)
        before = pin.definition if pin else None
        # What is gone brings nothing in.
        return introduced(before, read.now, others=names) if read.now else ()

    names = world.inventory.pins.tool_names
    large = read.now is not None and len(repr(read.now)) > _LARGE
    # A server chooses how long its texts are; whoever else waits does not wait for that.
    found = await asyncio.to_thread(compare) if large else compare()
    told = [one for one in found if one.screened]
    return [
        finding,
        _says(finding, INTRODUCES, "the change brings something in", found),
        _says(finding, SCREENING, "what it brings in speaks to the model, hides, or reaches for secrets", told),
    ]


_LARGE: Final = 4_000


def _says(of: Finding, check: str, expected: str, found: Sequence[Introduction]) -> Finding:
    said = {
        "check": check,
        "expected": expected,
        "observed": summary(found) if found else say("nothing of the kind"),
        "remedy": "",
        "answer": Answer.ESTABLISHED if found else Answer.NOT_ESTABLISHED,
    }
    return Finding.model_validate({**of.model_dump(), **said})


def _yes(finding: Finding) -> bool:
    return finding.answer is Answer.ESTABLISHED


async def _at_gateway(pin: Pin | None, tool: str, gateway: Catalogue, entry: str) -> _Read:
    now: Mapping[str, Any] | None = None
    elsewhere = False
    try:
        if pin is None:
            offered = await gateway.held(PinKind.TOOL, entry)
            held = next((one for one in offered if one.name == tool), None)
        else:
            held = await gateway.tool(pin.gateway_id or "", entry)
    except SoarError as exc:
        observed, answer = str(exc), Answer.UNKNOWN
    else:
        now = pins.gateway_fields(held) if held else None
        if pin is None:
            observed, answer = _unapproved(now)
        elif held is not None and held.digest == pin.gateway_digest:
            observed, answer = say("the approved definition"), Answer.NOT_ESTABLISHED
        elif held is not None and held.name != pin.name:
            # Under another name it is another tool, and nobody approved that one.
            observed, answer, now = f"gone: its id stands for {held.name} now", Answer.ESTABLISHED, None
        else:
            observed, answer = pins.diff(pin, now), Answer.ESTABLISHED
            elsewhere = not observed
            observed = observed or "where its calls go, or its name"
    finding = Finding(
        check=DEFINITION,
        subject=say("tool {a} at gateway {b}", a=tool, b=gateway.name),
        asked_as=say("administrator {a}", a=gateway.administrator),
        expected="another definition than the approved one",
        observed=observed[:20_000],
        answer=answer,
        remedy=gateway.rereads(entry) if pin is not None and answer is Answer.ESTABLISHED else "",
    )
    return _Read(finding, now, elsewhere)


def _unapproved(now: Mapping[str, Any] | None) -> tuple[str, Answer]:
    if now is None:
        return say("nothing of that name, which nobody approved"), Answer.NOT_ESTABLISHED
    return say("a tool that nobody approved"), Answer.ESTABLISHED


async def _at_server(pin: Pin | None, tool: str, endpoint: McpEndpoint) -> _Read:
    now: Mapping[str, Any] | None = None
    try:
        # A cut waits for this: no more is asked than it takes.
        offered = await pins.snapshot(endpoint, frozenset({PinKind.TOOL}))
        found = [item for item in offered if item.name == tool]
    except SoarError as exc:
        observed, answer = str(exc), Answer.UNKNOWN
    else:
        # Offered twice, a name stands for whichever a client takes: the other one is looked at.
        other = (item for item in found if pin is not None and not pins.same(pin, item))
        taken = next(other, found[0] if found else None)
        now = taken.fields if taken else None
        if pin is None:
            observed, answer = _unapproved(now)
        elif pins.same(pin, taken):
            observed, answer = say("the approved definition"), Answer.NOT_ESTABLISHED
        else:
            observed, answer = pins.diff(pin, now), Answer.ESTABLISHED
    finding = Finding(
        check=DEFINITION,
        subject=f"tool {tool} at {endpoint.name}",
        asked_as=endpoint.principal,
        expected="another definition than the approved one",
        observed=observed[:20_000],
        answer=answer,
    )
    return _Read(finding, now)


class DefinitionsMatch(Check):
    """Whether everything that a server itself offers is what was approved.

    `established`: every definition equals its pin, and none is there without one, but what the inventory named and
    nobody approved, as long as the server offers it as its gateway holds it: that came by nothing that happened, and is
    named beside the answer. What of it is given back, or is not what it was when something was cut, whoever gives it
    back asks about. What the gateway holds otherwise, or has not read yet, is one that nobody approved.

    Args:
        server: the server, as the inventory names it.
    """

    name: ClassVar[str] = "mcp.definitions_match"
    permissions: ClassVar[tuple[str, ...]] = (
        "MCP initialize, */list at the server",
        "GET /v1/tools",
        "GET /v1/prompts",
        "GET /v1/resources",
    )

    server: Slug

    @override
    async def check(self, world: World) -> Verdict:
        endpoint = world.reach(McpEndpoint, self.server)
        approved = {(pin.kind, pin.name): pin for pin in world.inventory.pins.of(self.server)}

        def finding(subject: str, observed: str, answer: Answer) -> Finding:
            return Finding(
                check="definition",
                subject=subject[:2000],
                asked_as=endpoint.principal,
                expected=say("the approved definition"),
                observed=observed[:20_000],
                answer=answer,
            )

        try:
            snapshot = await pins.snapshot(endpoint)
        except SoarError as exc:
            return Verdict.of((finding(say("server {a}", a=self.server), str(exc), Answer.UNKNOWN),))
        offered = {(item.kind, item.name): item for item in snapshot}
        twice = {key for key, count in Counter((item.kind, item.name) for item in snapshot).items() if count > 1}
        findings = [
            finding(f"{kind} {name} at {self.server} itself", "is offered more than once", Answer.NOT_ESTABLISHED)
            for kind, name in sorted(twice)
        ]
        imported = {(kind, name) for kind, name, _ in world.inventory.unapproved(self.server)}
        known = imported & offered.keys() - twice
        otherwise = await self._otherwise(world, [offered[key] for key in sorted(known)])
        left = sorted(known - otherwise.keys())
        for (kind, name), (how, answer) in otherwise.items():
            findings.append(finding(f"{kind} {name} at {self.server} itself", f"was never approved, and {how}", answer))
        for kind, name in sorted((approved.keys() | offered.keys()) - known):
            pin, now = approved.get((kind, name)), offered.get((kind, name))
            if pin is None:
                findings.append(
                    finding(f"{kind} {name} at {self.server} itself", "was never approved", Answer.NOT_ESTABLISHED)
                )
            elif not pins.same(pin, now):
                difference = pins.diff(pin, now.fields if now else None)
                findings.append(finding(f"{kind} {name} at {self.server} itself", difference, Answer.NOT_ESTABLISHED))
        if not findings:
            as_it_was = f"all {len(offered) - len(left)} as approved"
            findings = [finding(say("server {a}", a=self.server), as_it_was, Answer.ESTABLISHED)]
        verdict, before = Verdict.of(tuple(findings)), "was never approved, and the inventory knew it before"
        beside = [finding(f"{kind} {name} at {self.server} itself", before, Answer.UNKNOWN) for kind, name in left]
        return verdict.model_copy(update={"findings": (*verdict.findings, *beside)})

    async def _otherwise(
        self, world: World, known: Sequence[pins.Definition]
    ) -> dict[tuple[PinKind, str], tuple[str, Answer]]:
        """Return of what was imported how the gateway holds it otherwise than the server offers it now, if it does."""
        entry = world.inventory.servers[self.server].gateway
        if not known or entry is None:
            return {(one.kind, one.name): ("no gateway says what it was", Answer.UNKNOWN) for one in known}
        try:
            catalog = await world.reach(Catalogue, entry.name).catalog(entry.id)
        except SoarError as exc:
            why = f"its gateway does not say what it was: {exc}", Answer.UNKNOWN
            return {(one.kind, one.name): why for one in known}
        # Under its name may stand another object by now: a name alone is anybody's.
        imported = world.inventory.unapproved(self.server)
        held = {(one.kind, one.name): one for one in catalog if (one.kind, one.name, one.id) in imported}

        def work() -> dict[tuple[PinKind, str], tuple[str, Answer]]:
            compared = {(one.kind, one.name): _compared(held.get((one.kind, one.name)), one) for one in known}
            return {thing: (how, Answer.NOT_ESTABLISHED) for thing, how in compared.items() if how}

        # A server chooses how long its texts are; whoever else waits does not wait for that.
        return await asyncio.to_thread(work)


def _compared(there: Held | None, now: pins.Definition) -> str:
    if there is None:
        return "its gateway does not hold what the inventory named"
    difference = pins.held_otherwise(there, now)
    return difference and f"its gateway holds another definition than it offers now:\n{difference}"
