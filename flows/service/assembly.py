"""From a configuration folder to a working engine: journal, connections, vault, keys, put together once."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.checks.every import CHECKS
from flows.engine.parts import Parts
from flows.engine.response import check_steps
from flows.service import running
from flows.service.access import open_journal, open_vault, responder_keys
from flows.service.settings import (
    Configuration,
    read_contacts,
    read_inventory,
    read_playbooks,
    read_policy,
    read_sources,
    read_templates,
)
from integrations.channels.ways import Channels
from integrations.connections import Connections
from integrations.signing import SigningKey
from integrations.vault.s3 import VARIABLES
from playbooks import taxonomy
from playbooks.errors import Misconfigured
from playbooks.playbook import Playbook
from playbooks.screening import rules
from playbooks.strict import build
from playbooks.taxonomy import IncidentClass

LOG = logging.getLogger("mcp_soar.responder")


def secret_variables(config: Configuration) -> tuple[set[str], set[str]]:
    """Return the environment variables that hold secrets: those that only a responder needs, those of the doors."""
    targets = {place.env for _, place in config.systems.secrets(config.inventory)}
    targets |= {place.env for place in config.contacts.channels.secrets.values()}
    if (bucket := config.settings.vault.s3) is not None:
        targets |= {place.env for place in bucket.secrets.values()} or VARIABLES
    for one in (config.settings.prefect.workers, config.settings.prefect.readers):
        targets |= {one.password.env} if one and one.password else set()
    places = [place for source in config.sources.sources.values() for place in source.secrets]
    journal, account = config.settings.journal.password, config.settings.receiver.account
    if account is not None:
        # The journal's own is then none of the receiver's.
        targets |= {journal.env} if journal else set()
        journal = account.password
    places += [place for place in (journal, config.settings.prefect.auth) if place]
    return {name for name in targets if name}, {place.env for place in places if place.env}


@asynccontextmanager
async def assembled(config: Configuration, *, name: str | None = None) -> AsyncIterator[Parts]:
    """Yield everything that a responder works with, and close it afterwards.

    Args:
        config: the configuration.
        name: of this responder; by default that of the settings.

    Raises:
        Misconfigured: naming what has to be mended.
    """
    # Now: the first cut does not wait for it.
    build()
    taxonomy.load()
    name = name or config.settings.responder
    settings = config.settings
    signer = SigningKey.load(config.path(settings.key))
    keys = responder_keys(config)
    if signer.id not in keys:
        file = str(config.folder / "mcp-soar.yaml")
        raise Misconfigured("the public key of `key` is not among them; add it", file=file, field="responders")
    # Read now, to refuse to start with a file that nobody could act by.
    config.people()
    bundles = config.path(settings.vault.bundles)
    bundles.mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.vault.s3 is None:
        config.path(settings.vault.path).mkdir(parents=True, exist_ok=True, mode=0o700)
    vault = open_vault(config)
    journal = await open_journal(config, name=name, writing=True)
    world, channels = Connections(config.inventory, config.systems), Channels(config.contacts)
    try:
        parts = Parts(
            name=name,
            journal=journal,
            world=world,
            vault=vault,
            bundles=bundles,
            signer=signer,
            keys=keys,
            policy=config.policy,
            playbooks=dict(config.playbooks),
            steps=config.systems.steps,
            sources=config.sources,
            people=config.people,
            contacts=config.contacts,
            channels=channels,
            templates=config.templates,
            words=config.systems.words,
            titles=config.systems.titles,
            checks=frozenset(CHECKS),
            asked=frozenset(name for name, check in CHECKS.items() if check.here),
            reserve=settings.vault.reserve,
        )
        # Read now, which takes a moment: the first cut does not wait for it.
        await asyncio.to_thread(rules.load)
        await parts.reviews.take(journal, config.inventory, config.policy, config.people)
        yield parts
    finally:
        await world.aclose()
        await channels.aclose()
        await journal.aclose()
        await asyncio.to_thread(vault.close)


def reloading(
    parts: Parts, config: Configuration, began_with: Mapping[str, str] | None = None, *, part: str = "responder"
) -> Callable[[], Parts | None]:
    """Return what tells a responder that its configuration changed, with the parts to go on with.

    What can be read anew is: inventory, pins, policy, sources, contacts, playbooks and templates, each for itself. A
    file that became invalid is left alone: the responder goes on with what it has of it, says so, and `doctor` names
    the fault. Incidents that are open keep the playbook that they began with. `mcp-soar.yaml` is read at the start.

    Args:
        parts: what the responder begins with.
        config: what they were made of.
        began_with: the files' digests when that was read; what changed since is read at the first question.
        part: which part of `up` it is.
    """
    folder, said = config.folder, ""
    current, uses = parts, dict(running.digests(folder) if began_with is None else began_with)
    seen: list[tuple[str, int, int] | None] | None = None if began_with is not None else _now(folder)
    running.note(folder, part, uses)

    def changed() -> Parts | None:
        nonlocal seen, current, uses, said
        stamps = _now(folder)
        if stamps == seen:
            return None
        seen = stamps
        now = running.digests(folder)
        current, faults = _anew(current, folder)
        if faults and (told := "; ".join(faults.values())) != said:
            LOG.error("not read, so what was read before is what counts: %s", told)
        said = "; ".join(faults.values())
        # What could not be read, and what is read at the start only, is as it was.
        kept = {name for name in uses.keys() | now.keys() if name.split("/")[0] in faults or name == "mcp-soar.yaml"}
        news = sorted(name for name in uses.keys() | now.keys() if name not in kept and uses.get(name) != now.get(name))
        uses = {**{name: now[name] for name in now if name not in kept}, **{n: uses[n] for n in kept if n in uses}}
        running.note(folder, part, uses)
        if not news:
            return None
        LOG.warning("read anew: %s", ", ".join(news))
        return current

    return changed


def _anew(parts: Parts, folder: Path) -> tuple[Parts, dict[str, str]]:
    """Return parts with what a folder says now, and what of it cannot be used: the file or folder, and why."""
    faults: dict[str, str] = {}

    def attempt(names: tuple[str, ...], read: Callable[[Path], Any]) -> Any:  # noqa: ANN401  # each reader has a type of its own
        try:
            return read(folder)
        except Misconfigured as exc:
            faults.update(dict.fromkeys(names, str(exc)))
            return None

    inventory = attempt(("inventory.yaml", "pins.yaml"), read_inventory)
    contacts = attempt(("contacts.yaml",), read_contacts)
    news = {
        "policy": attempt(("policy.yaml",), read_policy),
        "sources": attempt(("sources.yaml",), read_sources),
        "playbooks": attempt(("playbooks",), _usable(parts)),
        "templates": attempt(("messages",), read_templates),
    }
    fresh = replace(parts, **{name: value for name, value in news.items() if value is not None})
    if inventory is not None and isinstance(parts.world, Connections):
        fresh = replace(fresh, world=parts.world.with_inventory(inventory))
    if contacts is not None and contacts != parts.contacts and isinstance(parts.channels, Channels):
        parts.channels.reread(contacts)
        fresh = replace(fresh, contacts=contacts)
    return fresh, faults


def _usable(parts: Parts) -> Callable[[Path], Mapping[IncidentClass, Playbook]]:
    def read(folder: Path) -> Mapping[IncidentClass, Playbook]:
        playbooks = dict(read_playbooks(folder))
        check_steps(replace(parts, playbooks=playbooks))
        return playbooks

    return read


def _now(folder: Path) -> list[tuple[str, int, int] | None]:
    """Return what tells a configuration's files from other ones, without reading them: it is asked every second."""
    stamps: list[tuple[str, int, int] | None] = []
    for file in running.files(folder):
        try:
            status = file.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((str(file), status.st_mtime_ns, status.st_size))
    return stamps
