"""What `doctor` says of the journal: whether it can be written, by whom, what is stopped in it, and what waits."""

import asyncio
import shlex
from collections.abc import AsyncIterator, Iterator

from pydantic import ValidationError

from flows.cli.output import moment, span
from flows.cli.work import records
from flows.engine.case import PREFIX
from flows.engine.opening import FLOW
from flows.reading.standing import Standing
from flows.reading.standing import standing as whole
from flows.service.access import missing, responder_keys
from flows.service.settings import Configuration
from integrations.journal.store import Journal
from integrations.system import Looked
from playbooks.errors import Misconfigured, SoarError, Transient
from playbooks.people.request import SignedRequest
from playbooks.record.journal import INCIDENT, head_content
from playbooks.strict import now

_WRITTEN = 5.0

_CLOCKS = 2.0

_WAITED = 60.0


async def look(config: Configuration) -> AsyncIterator[Looked]:
    """Look whether the journal is there, whose it is, and what it says that people have to know."""
    url = config.journal_url.partition("@")[2] or config.journal_url
    if (path := missing(config)) is not None:
        yield Looked("journal", "warn", f"{path} is not there yet", "`mcp-soar up` makes it when it first starts")
        return
    async with records.opened(config) as journal:
        try:
            said = await whole(journal)
        except Misconfigured as exc:
            yield Looked("journal", "fail", f"{url}: {exc}", "`mcp-soar up` brings its tables to this release's form")
            return
        except Transient as exc:
            yield Looked("journal", "fail", f"{url}: {exc}", "see whether the database runs and can be reached")
            return
        yield await _written(journal, url)
        head = await journal.head_latest()
        if head and (key := head_content(head.data).key) not in responder_keys(config):
            message = f"key {key} signed its last entries, and none of `responders` in mcp-soar.yaml is that key"
            yield Looked(
                "journal", "fail", message, "list that responder's public key; if there is none, `mcp-soar verify`"
            )
        apart = abs(await journal.clock() - now().timestamp())
        if apart > _CLOCKS:
            message = f"its clock and this machine's are {span(apart)} apart"
            yield Looked("clock", "warn", message, "run NTP on both: signed requests last 10 minutes")
        watched = [Looked("watch", "ok", line) for line in records.pace(config, await journal.watched())]
        for line in [*_standing(said), *watched]:
            yield line
        async for line in _accounts(journal, config):
            yield line
        frozen = [row for row in await journal.streams(INCIDENT) if row.frozen]
        for row in frozen:
            name = row.name.removeprefix(INCIDENT)
            yield Looked("journal", "fail", f"{name} is frozen: {row.frozen}", f"`mcp-soar verify {name}`")
        async for line in _queue(journal):
            yield line


async def _written(journal: Journal, url: str) -> Looked:
    """Return whether it can be written: one that only answers holds nothing of what is begun now."""
    try:
        async with asyncio.timeout(_WRITTEN):
            await journal.try_to_put()
            await journal.try_to_write()
    except (SoarError, TimeoutError) as exc:
        message = f"{url} cannot be written: {str(exc) or f'not within {_WRITTEN:g} s'}"
        remedy = "nothing is contained until it can: see which process keeps it locked (`fuser -v`), and end it"
        return Looked("journal", "fail", message, remedy)
    return Looked("journal", "ok", f"{url} answers, and can be written")


async def _account(journal: Journal, config: Configuration) -> Looked:
    """Look at what whoever takes the receiver over could do in the database."""
    account, check = config.settings.receiver.account, "receiver's account"
    if account is None:
        message = (
            "the receiver, which faces the network, has the responder's account: it could write the journal's rows"
        )
        remedy = (
            f"CREATE ROLE soar_receiver LOGIN PASSWORD '...'; then receiver.account in {config.folder}/mcp-soar.yaml"
        )
        return Looked(check, "warn", message, remedy)
    if await journal.writes_streams(account.user):
        message = f"{account.user} may write entries of the journal, not only put into the inbox"
        return Looked(
            check, "warn", message, "use one that owns nothing and is no superuser; the next `up` gives it its rights"
        )
    return Looked(check, "ok", f"{account.user} cannot write the journal")


async def _accounts(journal: Journal, config: Configuration) -> AsyncIterator[Looked]:
    """Look at what whoever takes the receiver over, or commands a Prefect worker, could do in the database."""
    if journal.dialect != "postgresql":
        return
    receiver, least = await _account(journal, config), []
    yield receiver
    if receiver.level == "ok" and config.settings.receiver.account:
        least.append(config.settings.receiver.account.user)
    prefect = config.settings.prefect
    for field, account in (("prefect.workers", prefect.workers), ("prefect.readers", prefect.readers)):
        if account is None:
            continue
        if await journal.writes_streams(account.user):
            message = f"{account.user} may write entries of the journal: so may whoever reaches Prefect"
            remedy = "use one that owns nothing and is no superuser; the next `up` gives it its rights"
            yield Looked(field, "warn", message, remedy)
        else:
            yield Looked(field, "ok", f"{account.user} cannot write the journal")
            least.append(account.user)
    # Once for all of them: most of it PostgreSQL gives to everybody, and one line takes it from everybody.
    for one in await journal.excess(list(dict.fromkeys(least))):
        remedy = f"as superuser, in the journal's database: {' '.join(one.lines)}"
        yield Looked("accounts", "warn", f"{', '.join(one.roles)} may {one.what}", remedy)


def _standing(standing: Standing) -> Iterator[Looked]:
    for stop in standing["stops"]:
        asked = stop.resume_asked_by
        message = f"{stop.scope} is stopped by {stop.by} since {moment(stop.since) or '-'}: {stop.reason}"
        message += f"; {', '.join(asked)} asked to resume it, one more is needed" if asked else ""
        remedy = f"{'one more approver' if asked else 'two approvers'}: `mcp-soar resume {shlex.quote(stop.scope)}`"
        yield Looked("kill switch", "warn", message, remedy)
    if not standing["stops"]:
        yield Looked("kill switch", "ok", "nothing is stopped")
    for quiet in standing["suppressions"]:
        yield Looked("alerts", "warn", records.quiet(quiet), f"`mcp-soar unsuppress {shlex.quote(quiet['scope'])}`")
    for one in standing["undelivered"]:
        message = f"{one['pages']} of {one['incident']} reached nobody"
        yield Looked("pages", "fail", message, f"{records.remedy(one)}; mend contacts.yaml or the way")


async def _queue(journal: Journal) -> AsyncIterator[Looked]:
    late = [count for count in await journal.inbox_counts() if count.oldest > _WAITED]
    for count in late:
        message = f"{count.waiting} of kind {count.kind} wait, the oldest for {span(count.oldest)}"
        yield Looked("responder", "fail", message, "no responder runs: `mcp-soar up`")
    pending = [line async for line in _pending(journal)]
    for line in pending:
        yield line
    if waiting := await journal.unattended(FLOW, _WAITED):
        message = f"nobody collects evidence of {', '.join(name.removeprefix(PREFIX) for name in waiting[:5])}"
        yield Looked(
            "flows", "fail", message, "no process `flows` works: `mcp-soar up`; its log is state/logs/flows.log"
        )
    if not late and not pending:
        yield Looked("responder", "ok", "nothing waits for one")


async def _pending(journal: Journal) -> AsyncIterator[Looked]:
    """Yield what people asked for and no responder has taken up: above all, a stop that is not in force."""
    for item in await journal.waiting(20, ["request"]):
        try:
            request = SignedRequest.model_validate_json(item.body).request
        except ValidationError:
            continue
        message = f"{request.actor}'s request to {request.verb} {request.subject} waits; it is NOT in force"
        yield Looked("responder", "fail", message, "start a responder: `mcp-soar up`")
