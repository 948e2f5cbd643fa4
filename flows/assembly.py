"""From a configuration folder to a working engine: journal, connections, vault, keys, put together once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from flows.access import open_journal, responder_keys
from flows.engine.parts import Parts
from flows.settings import Configuration, read_contacts, read_inventory
from integrations.channels import Channels
from integrations.connections import Connections
from integrations.registry import STEPS
from integrations.signing import SigningKey
from integrations.vault.local import LocalVault
from playbooks.errors import Misconfigured
from playbooks.screening import rules


def secret_variables(config: Configuration) -> tuple[set[str], set[str]]:
    """Return the environment variables that hold secrets: those that only a responder needs, those of the doors."""
    gateways = config.inventory.gateways.values()
    targets = {place.env for gateway in gateways for place in (gateway.password, gateway.canary.token)}
    targets |= {place.env for who in config.inventory.principals.values() for place in who.held.values()}
    targets |= {place.env for place in config.contacts.channels.secrets.values()}
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
    vault = config.path(settings.vault.path)
    vault.mkdir(parents=True, exist_ok=True, mode=0o700)
    journal = await open_journal(config, name=name, writing=True)
    world, channels = Connections(config.inventory), Channels(config.contacts)
    try:
        parts = Parts(
            name=name,
            journal=journal,
            world=world,
            vault=LocalVault(vault, reserve=settings.vault.reserve),
            bundles=bundles,
            signer=signer,
            keys=keys,
            policy=config.policy,
            playbooks=config.playbooks,
            steps=STEPS,
            sources=config.sources,
            people=config.people,
            contacts=config.contacts,
            channels=channels,
            templates=config.templates,
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


def reloading(parts: Parts, config: Configuration) -> Callable[[], Parts | None]:
    """Return what tells a responder that inventory, pins or contacts changed, with the parts to go on with.

    A file that became invalid is left alone: the responder goes on with what it has, and `doctor` names the fault.
    """
    files = [config.folder / name for name in ("inventory.yaml", "pins.yaml", "contacts.yaml")]
    seen = _stamps(files)
    current = parts

    def changed() -> Parts | None:
        nonlocal seen, current
        stamps = _stamps(files)
        if stamps == seen:
            return None
        seen = stamps
        try:
            inventory, contacts = read_inventory(config.folder), read_contacts(config.folder)
        except Misconfigured:
            return None
        world = current.world
        if not isinstance(world, Connections):
            return None
        current = replace(current, world=world.with_inventory(inventory))
        if contacts != current.contacts and isinstance(current.channels, Channels):
            current.channels.reread(contacts)
            current = replace(current, contacts=contacts)
        return current

    return changed


def _stamps(files: list[Path]) -> list[tuple[int, int] | None]:
    stamps: list[tuple[int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_mtime_ns, status.st_size))
    return stamps
