"""What a gateway really lets clients have of a server: the questions behind `verify`.

The canary asks on the client side; the administrator's list only says which of the names there belong to the server,
and with which definition. Neither is the call that made the cut.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from integrations.catalogue import Names
from integrations.hostile import own_name
from integrations.protocol.pins import NAMELESS, diff, gateway_fields
from integrations.protocol.probe import rejected_arguments
from integrations.systems.contextforge.asking import Asked, Asking
from integrations.systems.contextforge.canary import Canary
from integrations.systems.contextforge.client import FRESH, ID, SETTLED, ContextForge, Held
from playbooks.action import World
from playbooks.change import introduced
from playbooks.errors import SoarError, Unforeseen
from playbooks.inventory import Inventory, PinKind, Server
from playbooks.plan import EXPOSURE, LET_BE, Answer, Beside, Finding, Plan, Target, Unapproved, Verdict, Widening
from playbooks.strict import digest

_MOST_CALLED: Final = 3
"""Of a whole server's tools this many are called; all are looked for in the list."""

_MOST_SINGLE: Final = 3
"""More leaks than this are not stopped one by one but with the server's entry."""

_NOTHING_APPROVED: Final = (
    "nothing of this server was ever approved, so nobody can say what of the rest ought not to be there; "
    "`mcp-soar pins approve` does"
)

_MOST_NAMED: Final = 5
"""Things in one sentence; more are counted."""

_SOON: Final = 2.0
"""Seconds that planning a cut waits for what else its server offers."""

_CUTS: Final = {
    PinKind.TOOL: "gateway.disable_tool",
    PinKind.PROMPT: "gateway.disable_prompt",
    PinKind.RESOURCE: "gateway.disable_resource",
}


class _Scene:
    """One server behind one gateway, while a plan about it is verified."""

    def __init__(self, plan: Plan, world: World) -> None:
        first = plan.changes[0].target
        gateway = first.system.removeprefix("gateway/")
        self.server = first.server or ""
        self.inventory = world.inventory
        self.notes: Server = world.inventory.servers[self.server]
        self.pins = world.inventory.pins
        self.entry = self.notes.gateway.id if self.notes.gateway else ""
        self.forge = world.reach(ContextForge, gateway)
        self.canary = world.reach(Canary, gateway)
        self.targets = [target for target in plan.targets if target.kind != "entry"]
        self.beside = frozenset(one.thing if isinstance(one, Beside) else one for one in plan.beside)
        self.given_back = {
            one.thing: one.given_back
            for one in plan.beside
            # What was approved of its name since then is what people decided last.
            if isinstance(one, Beside) and one.given_back and one.approved == self._approved(one.kind, one.name)
        }
        self.imported = self.inventory.unapproved(self.server)
        self.whole = first.kind == "entry"
        self.settled = settled(plan, self.forge)
        self.approved = bool(self.pins.of(self.server))
        self.siblings = frozenset(pin.gateway_id for pin in self.pins.of(self.server) if pin.gateway_id)

    def _approved(self, kind: str, name: str) -> str:
        """Return the digest of what is approved of a name now, pin and all; empty if nothing is."""
        pin = self.pins.find(self.server, PinKind(kind), name)
        return digest(pin) if pin else ""

    def as_given_back(self, held: Held) -> Beside:
        """Return a thing as it is now, with what is approved of its name."""
        one = _beside(held)
        return one.model_copy(update={"approved": self._approved(one.kind, one.name)})

    def arguments(self, kind: PinKind, name: str, definition: dict[str, Any]) -> dict[str, Any] | None:
        """Return what a probe may send."""
        return _arguments(self.notes, kind, name, definition)

    def was_beside(self, held: Held) -> bool:
        """Whether it is what the plan leaves alone, and nothing that came later under the same name."""
        if _thing(held) in self.beside:
            return True
        # A plan of before says neither id nor definition; the inventory has at least the id.
        return (held.kind, held.name) in self.beside and (held.kind, held.name, held.id) in self.imported

    def back(self, held: Held) -> str:
        """Return who gave it back as it is, and where; empty if nobody did, or it is another thing by now."""
        return self.given_back.get(_thing(held), "")

    def is_approved(self, held: Held) -> bool:
        """Whether it is what people approved."""
        pin = self.pins.find(self.server, held.kind, held.name)
        return pin is not None and pin.gateway_digest == held.digest

    def offered_as(self, target: Target, catalog: dict[str, Held]) -> str | None:
        """Return the name that clients use for a target."""
        held = catalog.get(target.id)
        pin = self.pins.find(self.server, PinKind(target.kind), target.name)
        return held.offered_as if held else pin.gateway_name if pin else None


def _arguments(notes: Server, kind: PinKind, name: str, definition: dict[str, Any]) -> dict[str, Any] | None:
    if kind is not PinKind.TOOL:
        asked = definition.get("arguments")
        names = [item.get("name") for item in asked] if isinstance(asked, list) else []
        return {str(name): "mcp-soar probe" for name in names}
    noted = notes.tools.get(name)
    if noted is not None and noted.safe_arguments is not None:
        return dict(noted.safe_arguments)
    return rejected_arguments(definition.get("inputSchema"))


async def control_call(canary: Canary, inventory: Inventory, server: str) -> Finding | None:
    """Call a server's control tool as a client would; None if it has none that is pinned and harmless to call.

    Args:
        canary: of the server's gateway.
        inventory: with the pins.
        server: as the inventory calls it.
    """
    notes = inventory.servers[server]
    pin = inventory.pins.find(server, PinKind.TOOL, notes.control_tool) if notes.control_tool else None
    if pin is None or pin.gateway_name is None:
        return None
    arguments = _arguments(notes, PinKind.TOOL, pin.name, pin.definition)
    return None if arguments is None else await canary.control(pin.gateway_name, arguments)


def settled(plan: Plan, forge: ContextForge) -> bool:
    """Return whether a plan was verified some time ago, so that whoever asks again is the watch."""
    return forge.settled(target.id for target in plan.targets if target.kind != "entry")


async def contained(plan: Plan, world: World) -> Verdict:
    """Ask whether what a plan takes away is out of clients' reach, and nothing else came in its place."""
    scene = _Scene(plan, world)
    kinds = sorted({PinKind(target.kind) for target in scene.targets} or {PinKind.TOOL})
    # In a burst, and in the watch, many look at one server: what was asked since our last change tells all of them.
    since = scene.forge.precedence.unchanged_for(SETTLED if scene.settled else FRESH)
    catalog, listed, pinned, *lists = await asyncio.gather(
        _settled(scene.forge.catalog(scene.entry, since)),
        scene.canary.control_by_list(PinKind.TOOL, since),
        _pinned(scene),
        *(_settled(scene.canary.names(kind, since)) for kind in kinds),
    )
    names = dict(zip(kinds, lists, strict=True))
    if isinstance(catalog, SoarError):
        findings = [listed, *(pinned.findings if pinned else ())]
        findings.append(_finding(scene, "exposure", scene.server, "the gateway says what it holds", str(catalog)))
        return Verdict.of(tuple(findings))
    by_id = {held.id: held for held in catalog}
    unlisted = await asyncio.gather(*(_unlisted(scene, kind, names[kind], by_id) for kind in kinds))
    asked = [pinned] if pinned else await _calls(scene, by_id)
    asked = [*asked, *(_unseen(scene, target, by_id[target.id]) for target in _called(scene, by_id))]
    decisive = [finding for one in asked for finding in one.findings]
    scene.forge.looked_at(target.id for target in plan.targets)
    control = await _control(scene, listed, decisive)
    gone = {(target.kind, target.name) for target in scene.targets}
    exposure, widen = _exposure(
        scene, catalog, names, lambda held: "came after the cut" if scene.whole else _unapproved(scene, held, gone)
    )
    # Doors that could not be asked are named, and so stand among what is not proven; the answer is about the others.
    beside = [finding for one in asked for finding in one.beside]
    beside += _left(scene, catalog)
    judged = scene.whole or scene.approved or exposure.answer is not Answer.ESTABLISHED
    verdict = Verdict.of((control, *unlisted, *decisive, *([exposure] if judged else [])), widen)
    if not judged:
        beside.append(exposure.model_copy(update={"observed": _NOTHING_APPROVED, "answer": Answer.UNKNOWN}))
    return verdict.model_copy(update={"findings": (*verdict.findings, *beside)})


async def _control(scene: _Scene, listed: Finding, refusals: "list[Finding]") -> Finding:
    """Show that the canary's refusals mean something: that the gateway answers it, or that its calls get through.

    That something is inactive is told to whoever asks; *not found* is told to those as well who may not see it, so that
    there a call of another tool of the server has to get through.
    """
    strong = [finding for finding in refusals if "exists but is inactive" in finding.observed]
    weak = [finding for finding in refusals if finding.answer is Answer.ESTABLISHED and finding not in strong]
    tool = scene.notes.control_tool
    taken = scene.whole or tool in {target.name for target in scene.targets if target.kind == PinKind.TOOL}
    if listed.answer is not Answer.ESTABLISHED or taken or strong or not weak:
        return listed
    called = await control_call(scene.canary, scene.inventory, scene.server)
    if called is None or called.answer is Answer.ESTABLISHED:
        return called or listed
    if called.answer is Answer.UNKNOWN:
        return called
    # The control tool is contained as well: the refusals are by name, and the gateway answers this principal.
    return listed.model_copy(update={"observed": f"{listed.observed}; called {tool}: {called.observed}"})


async def _pinned(scene: _Scene) -> Asked | None:
    """Ask for the one target by its pin, without waiting for the list; None if there is no such pin."""
    if scene.whole:
        return None
    (target,) = scene.targets
    pin = scene.pins.find(scene.server, PinKind(target.kind), target.name)
    if pin is None or pin.gateway_name is None or pin.gateway_id != target.id:
        return None
    original = str(pin.definition.get("name") or pin.name)
    return await _ask(scene, target, Names(pin.gateway_name, original), pin.definition)


def _called(scene: _Scene, catalog: Mapping[str, Held]) -> list[Target]:
    called = [target for target in scene.targets if target.id in catalog]
    called.sort(key=lambda target: (target.kind != PinKind.TOOL, target.name != scene.notes.control_tool, target.name))
    return called[: _MOST_CALLED if scene.whole else None]


async def _calls(scene: _Scene, catalog: Mapping[str, Held]) -> list[Asked]:
    held = [(target, catalog[target.id]) for target in _called(scene, catalog)]
    return await asyncio.gather(*(_ask(scene, target, one.names, one.definition) for target, one in held))


async def _ask(scene: _Scene, target: Target, names: Names, definition: dict[str, Any]) -> Asked:
    kind = PinKind(target.kind)
    if kind is not PinKind.TOOL:
        arguments = scene.arguments(kind, target.name, definition) or {}
        return Asked([await scene.canary.call(kind, names.offered, arguments)])
    # What the schema rejects, and nothing else: arguments that people named safe would run what is under suspicion.
    rejected = rejected_arguments(definition.get("inputSchema"))
    again = scene.forge.settled((target.id,))
    return await Asking(scene.canary, scene.forge, target, names, rejected, scene.siblings, again).everything()


def _unseen(scene: _Scene, target: Target, held: Held) -> Asked:
    """Return what is in doubt because the canary may not see the tool: whatever it asks for is *not found*."""
    visibility = held.fields.get("visibility")
    if held.kind is not PinKind.TOOL or visibility in {None, "public"} or held.enabled:
        return Asked()
    remembers = scene.forge.gateway.remembers
    if scene.forge.disabled_for(held.id) > remembers + 1:
        return Asked()
    observed = (
        f"its visibility is {visibility}: what the gateway remembers of it for {remembers:g} s is not the canary's"
    )
    return Asked([_finding(scene, "call", f"{target} by those who may see it", "the gateway refuses it", observed)])


async def _unlisted(
    scene: _Scene, kind: PinKind, names: "frozenset[str] | SoarError", catalog: dict[str, Held]
) -> Finding:
    targets = [target for target in scene.targets if target.kind == kind]
    subject = f"{len(targets)} {kind}s" if scene.whole else str(targets[0]) if targets else kind
    expected = "clients do not find it in the list"
    if isinstance(names, SoarError):
        return _finding(scene, "list", subject, expected, str(names))
    listed = {name for target in targets if (name := scene.offered_as(target, catalog)) in names and name}
    if not listed:
        return _finding(scene, "list", subject, expected, f"not among the {len(names)} listed", Answer.ESTABLISHED)
    observed, answer = f"listed: {', '.join(sorted(listed))}", Answer.NOT_ESTABLISHED
    if kind is PinKind.RESOURCE:
        # Unlike tools, resources keep the URI that their server gave them, and two servers may give the same.
        shared = await _settled(_shared(scene, listed))
        if isinstance(shared, SoarError):
            observed, answer = str(shared), Answer.UNKNOWN
        elif shared == listed:
            observed = f"{observed}; other servers offer the same, and clients cannot tell whose they get"
            answer = Answer.ESTABLISHED if scene.whole else Answer.UNKNOWN
    return _finding(scene, "list", subject, expected, observed, answer)


async def _shared(scene: _Scene, uris: set[str]) -> set[str]:
    """Return those of some URIs that another server has in force at the same gateway."""
    everything = await scene.forge.held(PinKind.RESOURCE)
    return {held.offered_as for held in everything if held.enabled and held.entry != scene.entry} & uris


def _exposure(
    scene: _Scene,
    catalog: tuple[Held, ...],
    names: "Mapping[PinKind, frozenset[str] | SoarError]",
    judge: "Callable[[Held], str | None]",
) -> tuple[Finding, tuple[Widening, ...]]:
    """Compare everything else that clients can have of the server with what they may; `judge` says why not."""
    ours = {target.id for target in scene.targets}
    leaks: list[tuple[Held, str]] = []
    for held in catalog:
        listed = names.get(held.kind)
        # A resource's URI may be listed for another server's sake.
        seen = isinstance(listed, frozenset) and held.offered_as in listed and held.kind is not PinKind.RESOURCE
        if not held.enabled and not seen:
            continue
        if held.id in ours:
            continue  # the question about the target itself has its own finding
        if why := judge(held):
            leaks.append((held, why))
    subject, expected = f"server {scene.server}", "nothing but approved definitions, less what is contained"
    if not leaks:
        return _finding(scene, EXPOSURE, subject, expected, "nothing else", Answer.ESTABLISHED), ()
    observed = "; ".join(f"{held.kind} {held.name or NAMELESS} {why}" for held, why in leaks[:20])
    finding = _finding(scene, EXPOSURE, subject, expected, observed, Answer.NOT_ESTABLISHED)
    # What has no name or id that a step could give goes with the server's entry, or not at all.
    named = all(held.name and ID.fullmatch(held.id) for held, _ in leaks)
    if len(leaks) > _MOST_SINGLE or scene.whole or not named:
        because = f"{len(leaks)} leaks: {observed}"[:2000]
        return finding, (Widening(action="gateway.disable_server", params={"server": scene.server}, because=because),)
    return finding, tuple(
        Widening(
            action=_CUTS[held.kind],
            params={"server": scene.server, held.kind.value: held.name},
            because=f"{held.kind} {held.name} {why}"[:2000],
            describes=_describes(scene, held),
        )
        for held, why in leaks
    )


def _describes(scene: _Scene, held: Held) -> bool:
    """Whether all that differs from an approved definition is how it is described."""
    pin = scene.pins.find(scene.server, held.kind, held.name)
    if pin is None or pin.gateway_id != held.id:
        return False
    now = gateway_fields(held)
    # Where no field differs, it is where its calls go, or its name.
    return bool(diff(pin, now)) and not introduced(pin.definition, now, others=scene.pins.tool_names)


def _unapproved(scene: _Scene, held: Held, gone: set[tuple[str, str]]) -> str | None:
    if (held.kind, held.name) in gone:
        return "is back under another id"
    if not scene.approved or scene.is_approved(held) or scene.back(held):
        return None
    if scene.pins.find(scene.server, held.kind, held.name) is not None:
        return "differs from its approved definition"
    return None if scene.was_beside(held) else "was never approved"


async def beside(
    server: str, forge: ContextForge, inventory: Inventory, *, but: tuple[PinKind, str]
) -> tuple[Beside, ...]:
    """Return what a cut leaves alone though nobody approved it: what clients can have now, and was imported as it.

    A name alone is anybody's: under it may come another thing, another definition, or what is disabled now.

    Args:
        server: as the inventory calls it.
        forge: its gateway; asked only where something that nobody approved was imported.
        inventory: with the pins.
        but: kind and name of what is cut.
    """
    imported = {one for one in inventory.unapproved(server) if one[:2] != but}
    entry = inventory.servers[server].gateway
    if not imported or entry is None:
        return ()
    catalog = await _settled(asyncio.wait_for(forge.catalog(entry.id), _SOON))
    if isinstance(catalog, SoarError):
        # The cut does not wait for it. Nothing is left alone unseen: whatever else there is passes the gate.
        return ()
    left = [held for held in catalog if held.enabled and (held.kind, held.name, held.id) in imported]
    left.sort(key=lambda held: (tuple(PinKind).index(held.kind), held.name))
    return tuple(map(_beside, left))


def _thing(held: Held) -> tuple[str, str, str, str]:
    """Return what it is, as `Beside.thing`, of whatever a server or its gateway calls things."""
    return held.kind.value, held.name, own_name(held.id), held.digest


def _beside(held: Held) -> Beside:
    kind, name, id_, digest = _thing(held)
    return Beside(kind=kind, name=name, id=id_, digest=digest)


async def unapproved(release: Plan, world: World) -> Unapproved:
    """Return what is not what people approved of what clients get back by a release, and of what they have beside it.

    Args:
        release: the plan that restores what was there.
        world: the connections.
    """
    scene = _Scene(release, world)
    ours = {target.id for target in scene.targets}
    back = {change.target.id for change in release.changes if change.after is True}
    imported = {(kind, name) for kind, name, _ in scene.imported}
    other = [held for held in await scene.forge.catalog(scene.entry) if not scene.is_approved(held)]
    # What came, and was imported by nobody, its server's own comparison names.
    came = [held for held in other if held.enabled and held.id not in ours and (held.kind, held.name) in imported]
    return Unapproved(
        back=tuple(scene.as_given_back(held) for held in other if held.id in back),
        beside=tuple(_beside(held) for held in came if _unapproved(scene, held, set())),
    )


def untouched(beside: Collection[Beside]) -> str:
    """Return the sentence that says beforehand what a cut leaves alone though nobody approved it, empty if nothing."""
    return (
        f" Not touched, though nobody approved it: {_named([(one.kind, one.name) for one in beside])}."
        if beside
        else ""
    )


def _left(scene: _Scene, catalog: tuple[Held, ...]) -> list[Finding]:
    """Return what is named because clients can still have it: it was there before, and nobody decided on it."""
    if scene.whole or not scene.approved:
        # Of a server of which nothing was ever approved that is said as a whole.
        return []
    offered = [held for held in catalog if held.enabled and not scene.is_approved(held)]
    back = [held for held in offered if scene.back(held)]
    left = [held for held in offered if scene.was_beside(held) and not scene.back(held)]
    left = [held for held in left if scene.pins.find(scene.server, held.kind, held.name) is None]
    said = []
    if left:
        said.append(
            f"not touched, as the plan said: {_named([(held.kind, held.name) for held in left])}; nobody ever approved "
            "it, and the inventory knew it before"
        )
    if back:
        who = " and ".join(dict.fromkeys(map(scene.back, back)))
        said.append(
            f"{LET_BE}{who} gave it back as it is: {_named([(held.kind, held.name) for held in back])}; "
            "nobody approved it so"
        )
    how = "`mcp-soar contain` cuts it too, `mcp-soar pins approve` takes it in"
    subject, expected = f"server {scene.server}", "nothing but approved definitions"
    return [_finding(scene, EXPOSURE, subject, expected, f"{one}. {how}") for one in said]


def _named(things: Collection[tuple[str, str]]) -> str:
    named = [f"{kind} {name}" for kind, name in things][:_MOST_NAMED]
    more = len(things) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


async def released(plan: Plan, world: World) -> Verdict:
    """Ask whether clients can use again what a plan took away, and whether it is what was approved.

    Args:
        plan: the plan that took it away.
        world: the connections.
    """
    scene = _Scene(plan, world)
    taken = [c.target for c in plan.changes if c.before is True and c.target.kind != "entry"]
    left = [c.target for c in plan.changes if c.before is not True and c.target.kind != "entry"]
    kinds = sorted({PinKind(target.kind) for target in taken + left})
    try:
        catalog, lists = await asyncio.gather(
            scene.forge.catalog(scene.entry), asyncio.gather(*(scene.canary.names(kind) for kind in kinds))
        )
    except SoarError as exc:
        return Verdict.of((_finding(scene, "list", scene.server, "clients find it in the list", str(exc)),))
    by_id = {held.id: held for held in catalog}
    names = dict(zip(kinds, lists, strict=True))
    findings = [
        _found_again(scene, target, by_id, names, back=True) if target.id in by_id else _not_there(scene, target)
        for target in taken
    ]
    findings += [_found_again(scene, target, by_id, names, back=False) for target in left]
    findings += [_as_approved(scene, by_id[target.id]) for target in taken if target.id in by_id]
    present = [target for target in taken if target.id in by_id]
    findings += await asyncio.gather(
        *(_reach(scene, target, by_id[target.id]) for target in present[: _MOST_CALLED if scene.whole else None])
    )
    # What came meanwhile has to be approved like anything else.
    exposure, widen = _exposure(scene, catalog, names, lambda held: _unapproved(scene, held, set()))
    return Verdict.of((*findings, exposure), widen)


def _found_again(
    scene: _Scene, target: Target, catalog: dict[str, Held], names: Mapping[PinKind, frozenset[str]], *, back: bool
) -> Finding:
    name = scene.offered_as(target, catalog)
    listed = name in names[PinKind(target.kind)]
    expected = "clients find it in the list" if back else "it is disabled, as it was before"
    observed = "listed" if listed else "not listed"
    answer = Answer.ESTABLISHED if listed is back else Answer.NOT_ESTABLISHED
    return _finding(scene, "list", str(target), expected, observed, answer)


def _not_there(scene: _Scene, target: Target) -> Finding:
    # Whatever has its name by now is another object: it is not what was taken away.
    expected, observed = "clients find it in the list", f"the gateway holds nothing of the id {target.id} any more"
    return _finding(scene, "list", str(target), expected, observed, Answer.NOT_ESTABLISHED)


def _as_approved(scene: _Scene, held: Held) -> Finding:
    pin, same = scene.pins.find(scene.server, held.kind, held.name), scene.is_approved(held)
    observed = "the same" if same else "another" if pin else "never approved"
    answer = Answer.ESTABLISHED if same else Answer.NOT_ESTABLISHED
    return _finding(scene, "definition", f"{held.kind} {held.name}", "the approved definition", observed, answer)


async def _reach(scene: _Scene, target: Target, held: Held) -> Finding:
    kind = PinKind(target.kind)
    arguments = scene.arguments(kind, target.name, held.definition)
    if arguments is not None:
        return await scene.canary.call(kind, held.offered_as, arguments, refused=False)
    # Its schema rejects nothing, so that a call would run it: whether the gateway finds it again is asked all the same.
    return await scene.canary.look_up(held.offered_as, refused=False)


async def canary_control(target: Target, world: World) -> Finding:
    """Show that the gateway answers a client whom nobody cut off."""
    return await world.reach(Canary, target.system.removeprefix("gateway/")).control_by_list(PinKind.TOOL)


async def administrator_says(
    *, check: str, subject: str, expected: str, forge: ContextForge, holds: Callable[[], Awaitable[bool]]
) -> Finding:
    """Read back what nobody here can ask as the affected principal: we hold no secret of theirs."""
    try:
        held = await holds()
    except SoarError as exc:
        observed, answer = str(exc), Answer.UNKNOWN
    else:
        # What was read there, in whole words: nobody tried the credential itself, and this must not sound like it.
        observed = expected if held else f"it is not so that {expected}"
        answer = Answer.ESTABLISHED if held else Answer.NOT_ESTABLISHED
    return Finding(
        check=check,
        subject=subject[:2000],
        asked_as=f"administrator {forge.gateway.user}",
        expected=expected,
        observed=observed,
        answer=answer,
    )


def _finding(  # noqa: PLR0917  # a finding has this many parts
    scene: _Scene, check: str, subject: str, expected: str, observed: str, answer: Answer = Answer.UNKNOWN
) -> Finding:
    return Finding(
        check=check,
        subject=subject[:2000],
        asked_as=scene.canary.endpoint.principal,
        expected=expected,
        observed=observed[:20_000],
        answer=answer,
    )


async def _settled(question: "Awaitable[Any]") -> Any:  # noqa: ANN401  # whatever it returns, or why it cannot
    try:
        return await question
    except SoarError as exc:
        return exc
    except Exception as exc:  # noqa: BLE001  # whatever was chosen to break our reading costs this question alone
        return Unforeseen(f"what came back is more than we can read ({type(exc).__name__}: {exc})")
