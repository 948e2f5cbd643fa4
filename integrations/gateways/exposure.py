"""What a gateway really lets clients have of a server: the questions behind `verify`.

The canary asks on the client side; the administrator's list only says which of the names there belong to the server,
and with which definition. Neither is the call that made the cut.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue

from integrations.catalogue import Held, Names
from integrations.gateways.clients import others
from integrations.gateways.driver import FRESH, ID, SETTLED, Asked, GatewayDriver, Question
from integrations.gateways.scene import MOST_CALLED, Scene, as_beside, control_call
from integrations.protocol.pins import NAMELESS, diff, gateway_fields
from integrations.protocol.probe import rejected_arguments
from playbooks.action import Glimpse, World
from playbooks.errors import SoarError, Unforeseen
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind
from playbooks.gate.change import introduced
from playbooks.gate.plan import EXPOSURE, LET_BE, Answer, Beside, Finding, Plan, Target, Verdict, Widening
from playbooks.strict import fingerprint
from playbooks.text.sentences import clause, made_of, named, say

LISTED: Final = 0.25
"""Share of the time between two looks that the lists may be old which all looks share."""

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


async def contained(plan: Plan, world: World) -> Verdict:
    """Ask whether what a plan takes away is out of clients' reach, and nothing else came in its place."""
    scene = Scene(plan, world)
    kinds = _kinds(scene)
    # In a burst, and in the watch, many look at one server: what was asked since our last change tells all of them.
    since = scene.driver.precedence.unchanged_for(SETTLED if scene.settled else FRESH)
    catalog, listed, pinned, *lists = await asyncio.gather(
        _settled(scene.driver.catalog(scene.entry, since)),
        scene.canary.control_by_list(PinKind.TOOL, since),
        _pinned(scene),
        *(_settled(scene.canary.names(kind, since)) for kind in kinds),
    )
    names = dict(zip(kinds, lists, strict=True))
    if isinstance(catalog, SoarError):
        findings = [listed, *(pinned.findings if pinned else ())]
        findings.append(scene.finding("exposure", scene.server, "the gateway says what it holds", str(catalog)))
        return Verdict.of(tuple(findings))
    by_id = {held.id: held for held in catalog}
    unlisted = await asyncio.gather(*(_unlisted(scene, kind, names[kind], by_id) for kind in kinds))
    asked = [pinned] if pinned else await _calls(scene, by_id)
    asked += [_unseen(scene, target, by_id[target.id]) for target in _called(scene, by_id) if target.id in by_id]
    decisive = [finding for one in asked for finding in one.findings]
    scene.driver.looked_at(target.id for target in plan.targets)
    control = await _control(scene, listed, decisive)
    clients = await _clients(scene, by_id, since)
    exposure, widen = _exposed(scene, catalog, names)
    # Doors that could not be asked are named, and so stand among what is not proven; the answer is about the others.
    beside = [finding for one in asked for finding in one.beside]
    beside += _left(scene, catalog)
    decisive += clients
    judged = _judged(scene, exposure)
    verdict = Verdict.of((control, *unlisted, *decisive, *([exposure] if judged else [])), widen)
    if not judged:
        beside.append(exposure.model_copy(update={"observed": _NOTHING_APPROVED, "answer": Answer.UNKNOWN}))
    return verdict.model_copy(update={"findings": (*verdict.findings, *beside)})


async def glanced(plan: Plan, world: World, *, but: Sequence[JsonValue] = ()) -> Glimpse:
    """See by the gateway's lists, which all that look share, whether what a plan takes away is still out of them.

    Args:
        plan: what is in force.
        world: the connections.
        but: what else was seen of it.

    Raises:
        SoarError: one of the lists cannot be had.
    """
    scene = Scene(plan, world)
    ids = (scene.entry, *(target.id for target in scene.targets))
    since = scene.driver.since(ids, world.inventory.watch_every * LISTED)
    catalog = await scene.driver.listing(scene.entry, since)
    names = {kind: await scene.canary.names(kind, since) for kind in _kinds(scene)}
    by_id = {held.id: held for held in catalog}
    findings = [await _unlisted(scene, kind, names[kind], by_id) for kind in names]
    exposure, widen = _exposed(scene, catalog, names)
    there = [by_id.get(target.id) for target in scene.targets]
    findings += [exposure] if _judged(scene, exposure) else []
    mark: list[object] = [
        list(but),
        [(*held.names, held.enabled) if held else () for held in there],
        [(finding.check, finding.subject, finding.answer.value) for finding in findings],
        [one.model_dump(mode="json") for one in widen],
        [finding.observed for finding in _left(scene, catalog)],
    ]
    gone = not any(held.enabled for held in there if held)
    return Glimpse(gone and all(finding.answer is Answer.ESTABLISHED for finding in findings), fingerprint(mark).digest)


def _kinds(scene: Scene) -> list[PinKind]:
    return sorted({PinKind(target.kind) for target in scene.targets} or {PinKind.TOOL})


def _exposed(
    scene: Scene, catalog: Sequence[Held], names: "Mapping[PinKind, frozenset[str] | SoarError]"
) -> tuple[Finding, tuple[Widening, ...]]:
    """Compare what else clients can have with what they may while a cut is in force."""
    gone = {(target.kind, target.name) for target in scene.targets}
    later = clause("came after the cut")
    return compared(scene, catalog, names, lambda held: later if scene.whole else scene.unapproved(held, gone))


def _judged(scene: Scene, exposure: Finding) -> bool:
    """Whether it can be said of the rest what ought not to be there, or is plain."""
    return scene.whole or scene.approved or exposure.answer is not Answer.ESTABLISHED


async def _clients(scene: Scene, catalog: Mapping[str, Held], since: float) -> list[Finding]:
    """Ask other clients what the canary is told; no first look waits for that, and the watch asks."""
    if not scene.settled:
        return []
    tools = [(catalog[target.id], target) for target in _called(scene, catalog) if target.kind == PinKind.TOOL]
    return await others(scene.driver.name, scene.world, {held.offered_as: str(target) for held, target in tools}, since)


async def _control(scene: Scene, listed: Finding, refusals: "list[Finding]") -> Finding:
    """Show that the canary's refusals mean something: that the gateway answers it, or that its calls get through.

    A gateway may tell whoever asks that something is inactive; *not found* is told to those as well who may not see it,
    so that there a call of another tool of the server has to get through.
    """
    strong = [finding for finding in refusals if scene.canary.exists(finding)]
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


async def _pinned(scene: Scene) -> Asked | None:
    """Ask for the one target by its pin, without waiting for the list; None if there is no such pin."""
    if scene.whole:
        return None
    (target,) = scene.targets
    pin = scene.pins.find(scene.server, PinKind(target.kind), target.name)
    if pin is None or pin.gateway_name is None or pin.gateway_id != target.id:
        return None
    original = str(pin.definition.get("name") or pin.name)
    return await _ask(scene, target, Names(pin.gateway_name, original), pin.definition)


def _called(scene: Scene, catalog: Mapping[str, Held]) -> list[Target]:
    called = [target for target in scene.targets if scene.form(target, catalog)]
    called.sort(key=lambda target: (target.kind != PinKind.TOOL, target.name != scene.notes.control_tool, target.name))
    return called[: MOST_CALLED if scene.whole else None]


async def _calls(scene: Scene, catalog: Mapping[str, Held]) -> list[Asked]:
    forms = [(target, form) for target in _called(scene, catalog) if (form := scene.form(target, catalog))]
    return await asyncio.gather(*(_ask(scene, target, names, definition) for target, (names, definition) in forms))


async def _ask(scene: Scene, target: Target, names: Names, definition: dict[str, Any]) -> Asked:
    kind = PinKind(target.kind)
    if kind is not PinKind.TOOL:
        arguments = scene.arguments(kind, target.name, definition) or {}
        return Asked([await scene.canary.call(kind, names.offered, arguments)])
    # What the schema rejects, and nothing else: arguments that people named safe would run what is under suspicion.
    rejected = rejected_arguments(definition.get("inputSchema"))
    question = Question(target, names, rejected, scene.siblings)
    return await scene.driver.ask(question, scene.world, again=scene.driver.settled((target.id,)))


def _unseen(scene: Scene, target: Target, held: Held) -> Asked:
    """Return what is in doubt because the canary may not see the tool: whatever it asks for is *not found*."""
    observed = "" if held.enabled else scene.driver.doubt(held)
    if not observed:
        return Asked()
    return Asked([scene.finding("call", f"{target} by those who may see it", "the gateway refuses it", observed)])


async def _unlisted(
    scene: Scene, kind: PinKind, names: "frozenset[str] | SoarError", catalog: dict[str, Held]
) -> Finding:
    targets = [target for target in scene.targets if target.kind == kind]
    subject = f"{len(targets)} {kind}s" if scene.whole else str(targets[0]) if targets else kind
    expected = "clients do not find it in the list"
    if isinstance(names, SoarError):
        return scene.finding("list", subject, expected, str(names))
    listed = {name for target in targets if (name := scene.offered_as(target, catalog)) in names and name}
    if not listed:
        return scene.finding(
            "list", subject, expected, say("not among the {a} listed", a=len(names)), Answer.ESTABLISHED
        )
    observed: str = say("listed: {a}", a=", ".join(sorted(listed)))
    answer = Answer.NOT_ESTABLISHED
    if kind is PinKind.RESOURCE:
        # Unlike tools, resources keep the URI that their server gave them, and two servers may give the same.
        shared = await _settled(_shared(scene, listed))
        if isinstance(shared, SoarError):
            observed, answer = str(shared), Answer.UNKNOWN
        elif shared == listed:
            observed = f"{observed}; other servers offer the same, and clients cannot tell whose they get"
            answer = Answer.ESTABLISHED if scene.whole else Answer.UNKNOWN
    return scene.finding("list", subject, expected, observed, answer)


async def _shared(scene: Scene, uris: set[str]) -> set[str]:
    """Return those of some URIs that another server has in force at the same gateway."""
    everything = await scene.driver.held(PinKind.RESOURCE)
    return {held.offered_as for held in everything if held.enabled and held.entry != scene.entry} & uris


def compared(
    scene: Scene,
    catalog: Sequence[Held],
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
    subject, expected = say("server {a}", a=scene.server), "nothing but approved definitions, less what is contained"
    if not leaks:
        return scene.finding(EXPOSURE, subject, expected, say("nothing else"), Answer.ESTABLISHED), ()
    observed = "; ".join(_leaking(held, why) for held, why in leaks[:20])
    finding = scene.finding(EXPOSURE, subject, expected, observed, Answer.NOT_ESTABLISHED)
    # What has no name or id that a step could give goes with the server's entry, or not at all.
    single = all(held.name and ID.fullmatch(held.id) for held, _ in leaks)
    if len(leaks) > _MOST_SINGLE or scene.whole or not single:
        because = say("{a} leaks: {b}", a=len(leaks), b=observed)[:2000]
        return finding, (Widening(action="gateway.disable_server", params={"server": scene.server}, because=because),)
    return finding, tuple(
        Widening(
            action=_CUTS[held.kind],
            params={"server": scene.server, held.kind.value: held.name},
            because=_leaking(held, why)[:2000],
            describes=_describes(scene, held),
        )
        for held, why in leaks
    )


def _leaking(held: Held, why: str) -> str:
    return made_of(why, lambda end: f"{{a}} {end}", a=named((f"{held.kind} ", held.name or NAMELESS)))


def _describes(scene: Scene, held: Held) -> bool:
    """Whether all that differs from an approved definition is how it is described."""
    pin = scene.pins.find(scene.server, held.kind, held.name)
    if pin is None or pin.gateway_id != held.id:
        return False
    now = gateway_fields(held)
    # Where no field differs, it is where its calls go, or its name.
    return bool(diff(pin, now)) and not introduced(pin.definition, now, others=scene.pins.tool_names)


async def beside(
    server: str, driver: GatewayDriver, inventory: Inventory, *, but: tuple[PinKind, str]
) -> tuple[Beside, ...]:
    """Return what a cut leaves alone though nobody approved it: what clients can have now, and was imported as it.

    A name alone is anybody's: under it may come another thing, another definition, or what is disabled now.

    Args:
        server: as the inventory calls it.
        driver: its gateway; asked only where something that nobody approved was imported.
        inventory: with the pins.
        but: kind and name of what is cut.
    """
    imported = {one for one in inventory.unapproved(server) if one[:2] != but}
    entry = inventory.servers[server].gateway
    if not imported or entry is None:
        return ()
    catalog = await _settled(asyncio.wait_for(driver.catalog(entry.id), _SOON))
    if isinstance(catalog, SoarError):
        # The cut does not wait for it. Nothing is left alone unseen: whatever else there is passes the gate.
        return ()
    left = [held for held in catalog if held.enabled and (held.kind, held.name, held.id) in imported]
    left.sort(key=lambda held: (tuple(PinKind).index(held.kind), held.name))
    return tuple(map(as_beside, left))


def untouched(beside: Collection[Beside]) -> str:
    """Return what a cut leaves alone though nobody approved it, empty if nothing."""
    return _named([(one.kind, one.name) for one in beside]) if beside else ""


def _left(scene: Scene, catalog: Sequence[Held]) -> list[Finding]:
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
    subject, expected = say("server {a}", a=scene.server), "nothing but approved definitions"
    return [scene.finding(EXPOSURE, subject, expected, f"{one}. {how}") for one in said]


def _named(things: Collection[tuple[str, str]]) -> str:
    each = [named((f"{kind} ", name)) for kind, name in things][:_MOST_NAMED]
    more = len(things) - len(each)
    return each[0] if len(things) == 1 else ", ".join(each) + (f" and {more} more" if more else "")


async def _settled(question: "Awaitable[Any]") -> Any:  # noqa: ANN401  # whatever it returns, or why it cannot
    try:
        return await question
    except SoarError as exc:
        return exc
    except Exception as exc:  # noqa: BLE001  # whatever was chosen to break our reading costs this question alone
        return Unforeseen(f"what came back is more than we can read ({type(exc).__name__}: {exc})")
