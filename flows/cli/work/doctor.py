"""`doctor`: is everything there that a response needs, and what to do about what is not."""

import asyncio
import os
import shlex
import shutil
import socket
import ssl
import stat
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import ValidationError

from flows import running
from flows.access import responder_keys
from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, moment, span
from flows.cli.work import inventory, pins, playbooks, reachable, records, workers
from flows.cli.work.restored import RESTORED, restored
from flows.cli.work.reviewing import Difference
from flows.engine.case import PREFIX
from flows.engine.opening import FLOW
from flows.engine.reviews import ReviewBook
from flows.settings import Configuration, read
from integrations import registry
from integrations.connections import Connections
from integrations.hostile import printable
from integrations.journal.records import Hold
from integrations.journal.store import Journal
from integrations.secret import secret
from integrations.siem.source import read_keys
from integrations.signing import SigningKey
from integrations.system import Looked
from playbooks.errors import Misconfigured, SoarError, Transient
from playbooks.inventory import Inventory, PinKind, Secret
from playbooks.journal import head_content
from playbooks.plan import Radius
from playbooks.refusing import can_refuse
from playbooks.request import SignedRequest
from playbooks.review import Reviews
from playbooks.strict import now

_WITHIN = 20.0
_WRITTEN = 5.0
_CLOCKS = 2.0
_WAITED = 60.0
_APPROVERS = 2
_NAMED = 5


class Line(NamedTuple):
    """One thing that was looked at.

    Args:
        check: what.
        level: ok, warn or fail.
        message: what was found.
        remedy: what to do about it; empty if nothing has to be done.
    """

    check: str
    level: str
    message: str
    remedy: str = ""


def doctor(out: Out, folder: Path) -> Exit:
    """Look at everything and show it."""
    with out.waiting("looking at the configuration") as progress:
        lines = asyncio.run(_look(folder, progress))
    good = not any(line.level == "fail" for line in lines)
    out.document({"ok": good, "checks": [line._asdict() for line in lines]})
    rows = [
        (line.level if line.level == "ok" else line.level.upper(), line.check, _with(line.message, line.remedy))
        for line in lines
    ]
    out.table(("", "check", "found"), rows)
    bad, odd = (sum(line.level == level for line in lines) for level in ("fail", "warn"))
    out.say(f"{bad} fail, {odd} warn, {len(lines) - bad - odd} ok", "good" if good else "bad")
    return Exit.OK if good else Exit.NO


def _with(message: str, remedy: str) -> str:
    return f"{message}\n→ {remedy}" if remedy else message


async def _look(folder: Path, progress: Callable[[str], None]) -> list[Line]:
    try:
        config = read(folder)
    except Misconfigured as exc:
        what = "mend that line" if exc.line else "mend that file" if exc.file else "mend what it names"
        return [Line("configuration", "fail", str(exc), f"{what}; nothing else was looked at")]
    # What stands in files, and what listens on this machine, is looked at while the others answer.
    settled, asked, running = await asyncio.gather(
        asyncio.to_thread(lambda: list(_settled(config))),
        _ask(config, progress),
        asyncio.to_thread(lambda: list(_running(config))),
    )
    return [*settled, *asked, *running, *_read_by_whom(folder)]


def _settled(config: Configuration) -> Iterator[Line]:
    """Yield what can be said without asking anybody."""
    yield Line("configuration", "ok", f"{config.folder} is valid")
    if (word := restored(config.folder)) is not None:
        message = f"{word}: what is in force here may have been released since; the next `up` verifies every lease"
        yield Line("restored", "warn", message, f"`mcp-soar doctor --orphans`; then delete {config.folder / RESTORED}")
    yield from _keys(config)
    yield from _secrets(config)
    yield from _people(config)
    yield from _playbooks(config)
    yield from _disk(config)
    yield from (Line(*one) for one in reachable.settled(config))


_READ_ONCE = {
    "responder": frozenset({"mcp-soar.yaml"}),
    "flows": frozenset({"mcp-soar.yaml"}),
    "receiver": frozenset({"mcp-soar.yaml", "sources.yaml"}),
}
"""The files that a part reads when it starts, and not again."""


def _read_by_whom(folder: Path) -> Iterator[Line]:
    """Say where what runs is not what the files say."""
    now = running.digests(folder)
    for one in running.noted(folder):
        once = _READ_ONCE.get(one.part, frozenset())
        others = running.changed(one, now, only=once if one.part == "receiver" else None)
        late, left = [name for name in others if name in once], [name for name in others if name not in once]
        check = f"{one.part} {one.pid}"
        if late:
            message = f"it goes by an earlier {' and '.join(late)}, which it reads when it starts"
            yield Line(check, "warn", message, "restart `mcp-soar up`")
        if left:
            message = f"it goes by an earlier {' and '.join(left)}: changed this very moment, or it could not be read"
            yield Line(check, "warn", message, "look again in a second; then its log says why")
        if not others:
            yield Line(check, "ok", "it goes by the files as they are")


def _keys(config: Configuration) -> Iterator[Line]:
    path = config.path(config.settings.key)
    try:
        key, known = SigningKey.load(path), responder_keys(config)
    except SoarError as exc:
        yield Line("signing key", "fail", str(exc), "`mcp-soar init` in another folder shows how it should look")
        return
    if key.id in known:
        yield Line("signing key", "ok", f"{path} signs as {key.id[:19]}, one of {len(known)} responders")
    else:
        message = f"the public half of {path} is not among `responders`"
        yield Line("signing key", "fail", message, f"add it in {config.folder / 'mcp-soar.yaml'}: responders")


def _places(config: Configuration) -> Iterator[tuple[str, Secret]]:
    yield from registry.SYSTEMS.secrets(config.inventory)
    for name, source in config.sources.sources.items():
        for place in source.secrets:
            yield f"sources.{name}", place
    if config.settings.journal.password:
        yield "journal.password", config.settings.journal.password
    prefect = config.settings.prefect
    accounts = {"receiver.account": config.settings.receiver.account}
    accounts |= {"prefect.workers": prefect.workers, "prefect.readers": prefect.readers}
    for name, account in accounts.items():
        if account and account.password:
            yield f"{name}.password", account.password
    if config.settings.prefect.auth:
        yield "prefect.auth", config.settings.prefect.auth
    yield from config.contacts.channels.secrets.items()


def _secrets(config: Configuration) -> Iterator[Line]:
    count = 0
    for what, place in _places(config):
        try:
            secret(place, what=what)
        except Misconfigured as exc:
            yield Line("secrets", "fail", str(exc), "put the secret there, or mend the place")
            continue
        count += 1
        if place.file is not None:
            mode = stat.S_IMODE(Path(place.file).expanduser().stat().st_mode)
            if mode & 0o077:
                yield Line(
                    "secrets", "warn", f"{place.file} has mode {mode:04o}: others read it", f"chmod 600 {place.file}"
                )
    for name, source in config.sources.sources.items():
        try:
            read_keys(name, source)
        except Misconfigured as exc:
            yield Line("sources", "fail", str(exc), "write a new one: `whsec_` and the base64 of 32 random bytes")
        if not source.authenticated:
            message = f"anybody can send as {name}: its alerts never contain anything"
            yield Line("sources", "warn", message, "give it hmac or bearer authentication")
    yield Line("secrets", "ok", f"{count} found")


def _people(config: Configuration) -> Iterator[Line]:
    try:
        people = config.people().people
    except Misconfigured as exc:
        yield Line("people", "fail", str(exc), "mend that line" if exc.line else "mend that file")
        return
    approvers = [name for name, person in people.items() if "approver" in person.roles]
    entitled = [name for name, one in people.items() if set(one.roles) & set(config.policy.approval.roles)]
    responders = [name for name, person in people.items() if "responder" in person.roles]
    enroll = "`mcp-soar enroll NAME --role {}`"
    if not responders:
        yield Line("people", "fail", "nobody is a responder: nobody can start a response", f"{enroll} responder")
    most = max(config.policy.approval.needed(radius) for radius in Radius)
    if len(approvers) < _APPROVERS:
        yield _few(approvers)
    elif len(entitled) < most:
        message = f"the policy wants {most} approvals for some plans, {len(entitled)} people can give one"
        yield Line("people", "fail", message, "enroll more people, or lower approval.quorum in policy.yaml")
    if responders and len(approvers) >= _APPROVERS:
        yield Line("people", "ok", f"{len(people)} enrolled, {len(approvers)} approvers, {len(responders)} responders")


def _few(approvers: Sequence[str]) -> Line:
    """Say what cannot be done without two people who approve: the one question has one line."""
    if not approvers:
        message = "nobody is an approver: what waits for a person's yes is denied when its time is over"
    else:
        message = f"{approvers[0]} alone is an approver: what {approvers[0]} asks for, nobody can approve"
    missing = "two people" if not approvers else "another person"
    message += "; what is automatic, and a release that one person may ask for, go on. Ending a stop takes two"
    return Line("people", "fail", message, f"`mcp-soar enroll NAME --role approver`, for {missing}")


def _playbooks(config: Configuration) -> Iterator[Line]:
    bad = 0
    for file in playbooks.files(config.folder):
        for fault in playbooks.faults_of(file):
            drill = "has no drill" in fault.message
            bad += 1
            where = f"{file}:{fault.line}: {fault.field}: {fault.message}"
            yield Line("playbooks", "warn" if drill else "fail", where, "`mcp-soar playbooks lint`")
    if not bad:
        yield Line("playbooks", "ok", f"{len(config.playbooks)} in use, all right")


def _disk(config: Configuration) -> Iterator[Line]:
    vault = config.settings.vault
    for what, path in (("vault", config.path(vault.path)), ("bundles", config.path(vault.bundles))):
        place = next(parent for parent in (path, *path.resolve().parents) if parent.exists())
        if not os.access(place, os.W_OK | os.X_OK):
            yield Line(what, "fail", f"{place} cannot be written", f"chown or chmod {place} for the responder's user")
            continue
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Line(what, "warn", f"others can look into {path}", f"chmod 700 {path}")
        free = shutil.disk_usage(place).free
        if free < 2 * vault.reserve:
            message = f"{free >> 20} MiB are free, {vault.reserve >> 20} are kept for the journal"
            yield Line(what, "fail" if free < vault.reserve else "warn", message, "make room, or evidence is not kept")
        else:
            yield Line(what, "ok", f"{path}, {free >> 30} GiB free")


async def _ask(config: Configuration, progress: Callable[[str], None]) -> list[Line]:
    """Ask everybody at once, and say meanwhile who has not answered yet."""
    world, unanswered = Connections(config.inventory), list[str]()

    async def answered(check: str, lines: Awaitable[list[Line]]) -> list[Line]:
        unanswered.append(check)
        try:
            return await lines
        finally:
            unanswered.remove(check)
            progress(f"waiting for {_some(unanswered)}" if unanswered else "reading the answers")

    asked = {"journal": _within("journal", _journal(config)), "pins": _within("pins", _reviewed(config))}
    asked |= {check: _within(check, _lines(seen)) for check, seen in registry.SYSTEMS.doctor(world)}
    asked |= {
        f"server {name}": _within(f"server {name}", _server(config, world, name)) for name in config.inventory.servers
    }
    asked |= {check: _within(check, _lines(seen)) for check, seen in reachable.channels(config)}
    progress(f"waiting for {_some(list(asked))}")
    try:
        groups = await asyncio.gather(*(answered(check, lines) for check, lines in asked.items()))
    finally:
        await world.aclose()
    found = [line for lines in groups for line in lines]
    found += [Line("inventory", one.level, f"{one.subject}: {one.message}") for one in inventory.findings(config)]
    return found


async def _lines(seen: AsyncIterator[reachable.Seen | Looked]) -> AsyncIterator[Line]:
    async for one in seen:
        yield Line(*one)


async def _within(check: str, lines: AsyncIterator[Line]) -> list[Line]:
    found: list[Line] = []
    try:
        async with asyncio.timeout(_WITHIN):
            async for line in lines:
                found.append(line)  # noqa: PERF401  # what came before an error is kept
    except TimeoutError:
        found.append(Line(check, "fail", f"no answer within {_WITHIN:g} s", "see whether it runs and can be reached"))
    except Misconfigured as exc:
        found.append(Line(check, "fail", str(exc), "mend what it names"))
    except SoarError as exc:
        found.append(Line(check, "fail", str(exc), "see whether it runs, and whether our account may ask it"))
    except Exception as exc:  # noqa: BLE001  # what a hostile server sends costs its own line, not the others'
        message = f"what it says is more than we can read ({type(exc).__name__}: {printable(str(exc))})"
        found.append(Line(check, "fail", message, "look at what it offers; do not approve it"))
    return found


async def _journal(config: Configuration) -> AsyncIterator[Line]:
    url = config.journal_url.partition("@")[2] or config.journal_url
    if (path := records.missing(config)) is not None:
        yield Line("journal", "warn", f"{path} is not there yet", "`mcp-soar up` makes it when it first starts")
        return
    async with records.opened(config) as journal:
        try:
            standing = await records.standing(journal)
        except Misconfigured as exc:
            yield Line("journal", "fail", f"{url}: {exc}", "`mcp-soar up` brings its tables to this release's form")
            return
        except Transient as exc:
            yield Line("journal", "fail", f"{url}: {exc}", "see whether the database runs and can be reached")
            return
        yield await _written(journal, url)
        head = await journal.head_latest()
        if head and (key := head_content(head.data).key) not in responder_keys(config):
            message = f"key {key} signed its last entries, and none of `responders` in mcp-soar.yaml is that key"
            yield Line(
                "journal", "fail", message, "list that responder's public key; if there is none, `mcp-soar verify`"
            )
        apart = abs(await journal.clock() - now().timestamp())
        if apart > _CLOCKS:
            message = f"its clock and this machine's are {span(apart)} apart"
            yield Line("clock", "warn", message, "run NTP on both: signed requests last 10 minutes")
        for line in _standing(standing):
            yield line
        async for line in _accounts(journal, config):
            yield line
        frozen = [row for row in await journal.streams(records.PREFIX) if row.frozen]
        for row in frozen:
            name = row.name.removeprefix(records.PREFIX)
            yield Line("journal", "fail", f"{name} is frozen: {row.frozen}", f"`mcp-soar verify {name}`")
        async for line in _queue(journal):
            yield line


async def _written(journal: Journal, url: str) -> Line:
    """Return whether it can be written: one that only answers holds nothing of what is begun now."""
    try:
        async with asyncio.timeout(_WRITTEN):
            await journal.try_to_put()
    except (SoarError, TimeoutError) as exc:
        message = f"{url} cannot be written: {str(exc) or f'not within {_WRITTEN:g} s'}"
        remedy = "nothing is contained until it can: see which process keeps it locked (`fuser -v`), and end it"
        return Line("journal", "fail", message, remedy)
    return Line("journal", "ok", f"{url} answers, and can be written")


async def _account(journal: Journal, config: Configuration) -> Line:
    """Look at what whoever takes the receiver over could do in the database."""
    account, check = config.settings.receiver.account, "receiver's account"
    if account is None:
        message = (
            "the receiver, which faces the network, has the responder's account: it could write the journal's rows"
        )
        remedy = (
            f"CREATE ROLE soar_receiver LOGIN PASSWORD '...'; then receiver.account in {config.folder}/mcp-soar.yaml"
        )
        return Line(check, "warn", message, remedy)
    if await journal.writes_streams(account.user):
        message = f"{account.user} may write entries of the journal, not only put into the inbox"
        return Line(
            check, "warn", message, "use one that owns nothing and is no superuser; the next `up` gives it its rights"
        )
    return Line(check, "ok", f"{account.user} cannot write the journal")


async def _accounts(journal: Journal, config: Configuration) -> AsyncIterator[Line]:
    """Look at what whoever takes the receiver over, or commands a Prefect worker, could do in the database."""
    if journal.dialect != "postgresql":
        return
    yield await _account(journal, config)
    prefect = config.settings.prefect
    for field, account in (("prefect.workers", prefect.workers), ("prefect.readers", prefect.readers)):
        if account is None:
            continue
        if await journal.writes_streams(account.user):
            message = f"{account.user} may write entries of the journal: so may whoever reaches Prefect"
            remedy = "use one that owns nothing and is no superuser; the next `up` gives it its rights"
            yield Line(field, "warn", message, remedy)
        else:
            yield Line(field, "ok", f"{account.user} cannot write the journal")


def _standing(standing: schema.Standing) -> Iterator[Line]:
    for stop in standing["stops"]:
        asked = stop["resume_asked_by"]
        message = f"{stop['scope']} is stopped by {stop['by']} since {_at(stop['at'])}: {stop['reason']}"
        message += f"; {', '.join(asked)} asked to resume it, one more is needed" if asked else ""
        remedy = f"{'one more approver' if asked else 'two approvers'}: `mcp-soar resume {shlex.quote(stop['scope'])}`"
        yield Line("kill switch", "warn", message, remedy)
    if not standing["stops"]:
        yield Line("kill switch", "ok", "nothing is stopped")
    for quiet in standing["suppressions"]:
        yield Line("alerts", "warn", records.quiet(quiet), f"`mcp-soar unsuppress {shlex.quote(quiet['scope'])}`")
    for one in standing["undelivered"]:
        message = f"{one['pages']} of {one['incident']} reached nobody"
        yield Line("pages", "fail", message, f"{records.remedy(one)}; mend contacts.yaml or the way")


def _at(at: str | None) -> str:
    return moment(datetime.fromisoformat(at)) or "-" if at else "-"


async def _queue(journal: Journal) -> AsyncIterator[Line]:
    late = [count for count in await journal.inbox_counts() if count.oldest > _WAITED]
    for count in late:
        message = f"{count.waiting} of kind {count.kind} wait, the oldest for {span(count.oldest)}"
        yield Line("responder", "fail", message, "no responder runs: `mcp-soar up`")
    pending = [line async for line in _pending(journal)]
    for line in pending:
        yield line
    if waiting := await journal.unattended(FLOW, _WAITED):
        message = f"nobody collects evidence of {', '.join(name.removeprefix(PREFIX) for name in waiting[:5])}"
        yield Line("flows", "fail", message, "no process `flows` works: `mcp-soar up`; its log is state/logs/flows.log")
    if not late and not pending:
        yield Line("responder", "ok", "nothing waits for one")


async def _pending(journal: Journal) -> AsyncIterator[Line]:
    """Yield what people asked for and no responder has taken up: above all, a stop that is not in force."""
    for item in await journal.waiting(20, ["request"]):
        try:
            request = SignedRequest.model_validate_json(item.body).request
        except ValidationError:
            continue
        message = f"{request.actor}'s request to {request.verb} {request.subject} waits; it is NOT in force"
        yield Line("responder", "fail", message, "start a responder: `mcp-soar up`")


async def _server(config: Configuration, world: Connections, name: str) -> AsyncIterator[Line]:
    check = f"server {name}"
    for line in told_apart(world.inventory, name):
        yield line
    if not world.inventory.servers[name].direct:
        yield Line(check, "warn", "its own definitions cannot be read", f"add servers.{name}.url in inventory.yaml")
        return
    found = await pins.differences(world, name)
    for line in differing(name, found, await _held(config) if found else []):
        yield line
    if not found:
        yield Line(check, "ok", f"{len(world.inventory.pins.of(name))} definitions are as they were approved")


_DIFFERS = {
    "new": "nobody approved",
    "changed": "not what was approved:",
    "gone": "approved, and no longer offered:",
    "gateway": "not what was approved at the gateway (the server's own is):",
}


def differing(name: str, found: Sequence[Difference], held: Sequence[Hold]) -> Iterator[Line]:
    """Yield how a server differs from what is approved: a line for each way, and one for each thing that is held.

    Args:
        name: the server.
        found: the differences.
        held: what incidents hold.
    """
    check, ways = f"server {name}", dict[str, list[str]]()
    for one in found:
        if holders := sorted({hold.incident for hold in held if hold.lease.endswith(f"@{name}/{one.name}")}):
            remedy = f"{', '.join(holders)} holds it: see why before you approve it; `mcp-soar incident {holders[0]}`"
            yield Line(check, "warn", f"{_DIFFERS[one.change]} {one.kind} {one.name}", remedy)
        else:
            ways.setdefault(one.change, []).append(f"{one.kind} {one.name}")
    for change, things in ways.items():
        remedy = f"`mcp-soar pins diff {name}`; then `mcp-soar pins approve {name} ...`, or respond"
        yield Line(check, "warn", f"{_DIFFERS[change]} {_some(things)}", remedy)


def _some(things: Sequence[str]) -> str:
    """Return the first few of many, and how many more there are."""
    more = f" and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    return ", ".join(things[:_NAMED]) + more


def told_apart(inventory: Inventory, name: str) -> Iterator[Line]:
    """Yield a warning about tools of whose calls nobody can tell a refusal from a use.

    Args:
        inventory: with the pins.
        name: the server.
    """
    noted = inventory.servers[name].tools
    safe = {tool for tool, notes in noted.items() if notes.safe_arguments is not None}
    tools = [pin for pin in inventory.pins.of(name, PinKind.TOOL) if pin.name not in safe]
    taking = [pin.name for pin in tools if not can_refuse(pin.definition.get("inputSchema"))]
    if taking:
        shown = _some(taking)
        message = f"the schema of {shown} refuses no call: whether one gets through is known by the gateway's word only"
        remedy = f"write servers.{name}.tools.NAME.safe_arguments for a call that changes nothing"
        yield Line(f"server {name}", "warn", message, remedy)


async def _reviewed(config: Configuration) -> AsyncIterator[Line]:
    """Yield whether people have signed for what is approved, and whether the journal says so."""
    journalled, again = Reviews(), Reviews()
    if records.missing(config) is None:
        try:
            async with records.opened(config) as journal:
                journalled, again = await ReviewBook().current(journal), await ReviewBook().current(journal)
        except SoarError:
            return  # the journal has a line of its own
    for name in config.inventory.servers:
        if (line := _signed_for(config, name, journalled, again)) is not None:
            yield line


def _signed_for(config: Configuration, name: str, journalled: Reviews, again: Reviews) -> Line | None:
    """Return what is to be said of the reviews of a server's pins; None if it has none.

    Args:
        config: the configuration.
        name: the server.
        journalled: the reviews that the journal has.
        again: the same; those that stand in the file alone are added to it.
    """
    count, check, rules = len(config.inventory.pins.of(name)), f"pins of {name}", config.policy.review
    missing = journalled.lacking(config.inventory, rules, name)
    if not missing:
        return Line(check, "ok", f"{count} definitions, signed for and journalled") if count else None
    still = pins.lacking(config, name, again)
    if not still:
        message = f"{len(missing)} definitions are signed for, and no responder has journalled it yet"
        remedy = "`mcp-soar up`; a running one takes seconds"
        return Line(check, "warn", f"{message}: nothing is automatic on them", remedy)
    named = "; ".join(f"{kind} {one} {why}" for (kind, one), why in list(still.items())[:3])
    more = f"; and {len(still) - 3} more" if len(still) > 3 else ""  # noqa: PLR2004  # as many as were named
    said = f"nothing is automatic on {len(still)} definitions, people are asked: {named}{more}"
    remedy = f'`mcp-soar pins approve {name} --reviewed "what you looked at" --as NAME`'
    return Line(check, "warn", said, f"{remedy} (a role that reviews: {', '.join(rules.roles)})")


async def _held(config: Configuration) -> list[Hold]:
    """Return what incidents hold; nothing when the journal cannot be asked, of which it has a line of its own."""
    if records.missing(config) is not None:
        return []
    async with records.opened(config) as journal:
        try:
            return await journal.holds()
        except SoarError:
            return []


def _running(config: Configuration) -> Iterator[Line]:
    receiver, prefect = config.settings.receiver, config.settings.prefect
    if receiver.tls:
        context = ssl.create_default_context()
        try:
            context.load_cert_chain(
                config.path(receiver.certificate or Path()), config.path(receiver.key) if receiver.key else None
            )
        except (OSError, ssl.SSLError) as exc:
            yield Line(
                "receiver", "fail", f"its certificate cannot be used: {exc}", "mend receiver.certificate and .key"
            )
        else:
            yield from _expiry(config.path(receiver.certificate or Path()))
    up = "start it with `mcp-soar up`"
    running = records.running(config)
    # Where `up` says that it is counts: a port of 0 is a free one.
    port = urlsplit(running["receiver"]).port if "receiver" in running else receiver.port
    if not port:
        yield Line("receiver", "warn", "does not run; it takes a free port when it starts", up)
    elif not _listens(receiver.host, port):
        yield Line("receiver", "warn", f"nothing listens at {receiver.host}:{port}", up)
    elif receiver.tls or _says(f"http://{receiver.host}:{port}/readyz"):
        yield Line("receiver", "ok", f"listens at {receiver.host}:{port}")
    else:
        yield Line("receiver", "fail", f"{receiver.host}:{port} answers, but cannot take alerts", "see its log")
    if why := running.get("receiver_unconfined"):
        message = f"whoever takes it over reads what its user can, the responder's keys among it: {why}"
        yield Line("receiver", "warn", message, "run it as a user of its own, on another machine or in a container")
    api = running.get("prefect") or prefect.api or (f"http://127.0.0.1:{prefect.port}/api" if prefect.port else None)
    if api is None:
        yield Line("prefect", "warn", "does not run; it takes a free port when it starts", up)
    elif _says(f"{api.rstrip('/')}/health"):
        yield Line("prefect", "ok", f"answers at {api}")
        yield from (Line(*one) for one in workers.seen(config, api))
    else:
        yield Line("prefect", "warn", f"does not answer at {api}", f"containment does not wait for it; {up}")


def _expiry(certificate: Path) -> Iterator[Line]:
    from cryptography import x509  # noqa: PLC0415  # only with TLS

    end = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    left = (end - datetime.now(UTC)).total_seconds()
    if left < 14 * 86400:
        level = "fail" if left <= 0 else "warn"
        yield Line("receiver", level, f"its certificate ends {moment(end)}", "renew it, then restart the receiver")


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _says(url: str) -> bool:
    if not url.startswith(("http://", "https://")):
        return False
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return True
    except urllib.error.HTTPError as exc:
        exc.close()
        # It is there, and wants to know who asks.
        return exc.code in {401, 403}
    except OSError:
        return False
