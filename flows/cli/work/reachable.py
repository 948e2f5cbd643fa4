"""Can people be told: channels that answer, contacts that exist there, templates that work. For `doctor`."""

import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flows.service.settings import LOOPBACK, Configuration
from integrations.secret import secret
from integrations.system import Looked
from playbooks.errors import Misconfigured, SoarError
from playbooks.people.contacts import Way
from playbooks.strict import line_of

if TYPE_CHECKING:
    from integrations.channels.ways import Channels


def settled(config: Configuration) -> Iterator[Looked]:
    """Yield what can be said without asking anybody: people, laws, templates."""
    found = [*_people(config), *_shared(config), *_laws(config), *_folders(config), *_templates(config)]
    yield from found
    contacts = config.contacts
    if contacts.contacts and not any(one.level == "fail" for one in found):
        message = f"{len(contacts.contacts)} contacts, {len(contacts.on_call)} on call"
        yield Looked("contacts", "ok", message)


def _at(config: Configuration, name: str, *path: str | int) -> str:
    """Return file and line of a field, for people."""
    file = config.folder / name
    try:
        line = line_of(file.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError):
        line = None
    return f"{file}:{line}: {'.'.join(map(str, path))}" if line else str(file)


def _people(config: Configuration) -> Iterator[Looked]:
    contacts = config.contacts
    try:
        people = config.people().people
    except Misconfigured:  # named by the check of people
        return
    if not contacts.on_call:
        where = "the room" if contacts.room else "the log"
        remedy = f"write on_call in {config.folder / 'contacts.yaml'}"
        yield Looked("contacts", "warn", f"nobody is on call: pages go to {where}, and nobody is asked again", remedy)
    for number, step in enumerate(contacts.on_call):
        if step.contact not in people:
            message = f"{_at(config, 'contacts.yaml', 'on_call', number)}: nobody is enrolled as {step.contact}"
            remedy = f"`mcp-soar enroll {step.contact}`, or whoever answers acknowledges under a name of their own"
            yield Looked("contacts", "warn", message, remedy)
        if not contacts.contacts[step.contact].order:
            message = f"{_at(config, 'contacts.yaml', 'contacts', step.contact)}: is on call and cannot be reached"
            yield Looked("contacts", "fail", message, "give slack, email, webhook or file")
    roles = set(config.policy.approval.roles)
    silent = [name for name, one in people.items() if set(one.roles) & roles and name not in contacts.contacts]
    if silent and contacts.contacts:
        message = f"{', '.join(sorted(silent))} may approve and has no contact, so is not told when it is needed"
        yield Looked("contacts", "warn", message, f"add them in {config.folder / 'contacts.yaml'}: contacts")
    unreachable = [name for name, one in contacts.contacts.items() if not one.order]
    for name in sorted(set(unreachable) - {step.contact for step in contacts.on_call}):
        message = f"{_at(config, 'contacts.yaml', 'contacts', name)}: has no way to be reached"
        yield Looked("contacts", "fail", message, "give slack, email, webhook or file")
    for name, webhook in contacts.channels.webhooks.items():
        address = urlsplit(webhook.url)
        if address.scheme == "http" and address.hostname not in LOOPBACK:
            message = f"{_at(config, 'contacts.yaml', 'channels', 'webhooks', name, 'url')}: goes in the clear"
            yield Looked("contacts", "warn", message, "write https://")


def _shared(config: Configuration) -> Iterator[Looked]:
    """Yield the addresses that would bring one approver's codes to another one as well."""
    contacts, roles = config.contacts.contacts, set(config.policy.approval.roles)
    try:
        people = config.people().people
    except Misconfigured:  # named by the check of people
        return
    approvers = [name for name, one in people.items() if set(one.roles) & roles and name in contacts]
    for name in approvers:
        for way in contacts[name].private:
            also = [one for one in approvers if one != name and contacts[name].shares(way, contacts[one])]
            if also:
                where = _at(config, "contacts.yaml", "contacts", name, way.value)
                message = f"{where}: {', '.join(also)} may approve and reads it too, so no one-time codes go there"
                yield Looked("contacts", "warn", message, "give each approver an address of their own")


def _laws(config: Configuration) -> Iterator[Looked]:
    for name, server in config.inventory.servers.items():
        if not server.regimes:
            continue
        where = _at(config, "inventory.yaml", "servers", name, "regimes")
        if not server.data and set(server.regimes) - {"nis2"}:
            message = f"{where}: laws on personal data, but no `data`, so their clocks never run"
            yield Looked("duties", "warn", message, f"write servers.{name}.data: personal, health, payment, secret")
        told = {**config.contacts.stakeholders, **server.stakeholders}
        if not {"privacy", "legal"} & set(told):
            message = f"{where}: clocks run, and neither privacy nor legal has a contact to be told"
            yield Looked("duties", "warn", message, "write stakeholders.privacy or .legal in contacts.yaml")


def _folders(config: Configuration) -> Iterator[Looked]:
    for name, contact in config.contacts.contacts.items():
        folder = Path(contact.file) if contact.file else None
        if folder and folder.exists():
            where = _at(config, "contacts.yaml", "contacts", name, "file")
            if not folder.is_dir():
                yield Looked("contacts", "fail", f"{where}: {folder} is no folder", "name another one")
            elif stat.S_IMODE(folder.stat().st_mode) & 0o077:
                message = f"{where}: others can look into {folder}, and one-time codes are written there"
                yield Looked("contacts", "warn", message, f"chmod 700 {folder}")


def _templates(config: Configuration) -> Iterator[Looked]:
    if not config.templates:
        return
    # What writes messages takes long to import.
    from playbooks.people.rendering import faults  # noqa: PLC0415
    from playbooks.people.samples import briefings  # noqa: PLC0415

    found = faults(config.templates, briefings())
    for fault in found:
        yield Looked("messages", "fail", f"{config.folder}/{fault}", "mend it; until then the shipped one speaks")
    if not found:
        yield Looked("messages", "ok", f"{len(config.templates)} templates of your own, all right")


def channels(config: Configuration) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
    """Yield what asks each channel whether it would take a message, by the name of the check; nothing is sent."""
    found = config.contacts.channels
    if found.email:
        yield "e-mail", _email(config)
    if found.slack:
        yield "slack", _slack(config)
    for name in found.webhooks:
        yield f"webhook {name}", _webhook(config, name)


def _ways(config: Configuration) -> "Channels":
    from integrations.channels.ways import Channels  # noqa: PLC0415  # for those alone who have a channel

    return Channels(config.contacts)


async def _email(config: Configuration) -> AsyncIterator[Looked]:
    channel = _ways(config).email()
    try:
        yield Looked("e-mail", "ok", await channel.server.check())
    except SoarError as exc:
        remedy = "see whether it runs and lets us in; `mcp-soar message test CONTACT` sends one"
        yield Looked("e-mail", "fail", f"{_at(config, 'contacts.yaml', 'channels', 'email')}: {exc}", remedy)


async def _webhook(config: Configuration, name: str) -> AsyncIterator[Looked]:
    channel = _ways(config).webhook(name)
    try:
        yield Looked(f"webhook {name}", "ok", await channel.check())
    except SoarError as exc:
        where = _at(config, "contacts.yaml", "channels", "webhooks", name)
        yield Looked(f"webhook {name}", "fail", f"{where}: {exc}", "see whether it runs and can be reached")
    finally:
        await channel.aclose()


async def _slack(config: Configuration) -> AsyncIterator[Looked]:
    settings = config.contacts.channels.slack
    if settings is None:
        return
    channel = _ways(config).slack()
    try:
        try:
            yield Looked("slack", "ok", f"signed in as {await channel.check()}")
        except SoarError as exc:
            where = _at(config, "contacts.yaml", "channels", "slack")
            yield Looked("slack", "fail", f"{where}: {exc}", "mend what it names; messages go by the next way")
            return
        for name, contact in config.contacts.contacts.items():
            if Way.SLACK in contact.order:
                try:
                    yield Looked("slack", "ok", f"{name} is {await channel.look(contact)}")
                except SoarError as exc:
                    where = _at(config, "contacts.yaml", "contacts", name, "slack")
                    yield Looked("slack", "fail", f"{where}: {exc}", "mend what it names; messages go by the next way")
        if settings.app_token:
            yield await _buttons(config)
    finally:
        await channel.aclose()


async def _buttons(config: Configuration) -> Looked:
    """Return whether what people press can reach us."""
    from integrations.channels.slack import desk  # noqa: PLC0415  # aiohttp takes long to import

    settings = config.contacts.channels.slack
    if settings is None or settings.app_token is None:
        return Looked("slack", "warn", "no app token: messages have no buttons", "add channels.slack.app_token")
    try:
        await desk.check(secret(settings.app_token, what="channels.slack.app_token"), settings.url)
    except SoarError as exc:
        where = _at(config, "contacts.yaml", "channels", "slack", "app_token")
        return Looked("slack", "fail", f"{where}: {exc}", "mend what it names; until then nobody can press a button")
    return Looked("slack", "ok", "buttons can be pressed")
