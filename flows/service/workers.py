"""What a Prefect worker of each pool is given: an environment, a folder, a copy of the configuration without keys."""

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from flows.service import running
from flows.service.access import journal_url
from flows.service.needed import laid_open
from flows.service.settings import Configuration, DatabaseAccount, read
from integrations import landlock, yara
from integrations.identity.provider import Provider
from playbooks.estate.answers import FILE
from playbooks.estate.inventory import Inventory
from playbooks.gate.corroboration import OWN_COMPARISON

REQUESTS, READING = "requests", "reading"
POOLS = (REQUESTS, READING)
"""The forms, whose runs may hand in what people signed; and the schedules, whose runs may read."""

INBOX = "MCP_SOAR_INBOX"
CONFIG = "MCP_SOAR_CONFIG"
JOURNAL = "MCP_SOAR_JOURNAL"
RECEIVER = "MCP_SOAR_RECEIVER"
CONFINED = "MCP_SOAR_CONFINED"
"""Set where a worker is confined, and starts no program."""

OWN_SERVER = "MCP_SOAR_OWN_SERVER"
"""Set where Prefect's server is our own, and its pools are made as we want them."""

DEPLOYMENTS = Path(__file__).resolve().parents[2] / "prefect.yaml"
"""What people start in Prefect, and what it starts by itself."""

EVERY = {REQUESTS: 5, READING: 30}
"""Seconds between two questions whether there is work: somebody waits for a form, nobody for a schedule."""

_BEGUN = "begun.json"
"""In a worker's folder: which process does its work."""

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432}
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What a worker gets of the environment that `up` was started in; anything else may be a secret."""


@dataclass(frozen=True)
class Worker:
    """A worker that is to run.

    Args:
        home: its folder, the only one that it may write.
        environment: all of it.
    """

    home: Path
    environment: Mapping[str, str]


def wanted(config: Configuration) -> tuple[str, ...]:
    """Return the pools whose work `up` is to do."""
    prefect = config.settings.prefect
    if prefect.pools is not None:
        return tuple(pool for pool in POOLS if pool in prefect.pools)
    return () if prefect.api else POOLS


def lacking(config: Configuration, pool: str) -> str:
    """Return why a worker of that pool cannot run here with its least rights, and what to do; nothing if it can."""
    settings = config.settings
    if not landlock.version() and not settings.prefect.unconfined:
        return (
            "this system has no Landlock (Linux 5.13): whoever reaches Prefect could read the responder's keys by it:"
            " run it as a user of its own (docs/production.md), or write prefect.unconfined: true"
        )
    if not settings.prefect.unconfined and (why := laid_open(config)):
        return f"whoever reaches Prefect could read what is to be kept from it: {why}"
    field = "workers" if pool == REQUESTS else "readers"
    if not settings.journal.url.startswith("sqlite") and _account(config, pool) is None:
        return f"on PostgreSQL it needs an account of its own: prefect.{field} in mcp-soar.yaml"
    return ""


def _account(config: Configuration, pool: str) -> DatabaseAccount | None:
    prefect = config.settings.prefect
    return prefect.workers if pool == REQUESTS else prefect.readers


def worker(config: Configuration, pool: str, state: Path, *, receiver: str, reporting: Mapping[str, str]) -> Worker:
    """Return a worker of a pool, its folder made and filled.

    Args:
        config: the configuration.
        pool: whose work.
        state: the folder where workers have theirs.
        receiver: the receiver's address.
        reporting: the settings of Prefect's client.

    Raises:
        Misconfigured: a password is not to be found.
    """
    home = state / "workers" / pool
    for folder in (home, home / "tmp"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    account = _account(config, pool)
    url = journal_url(config, account) if account else config.journal_url
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {
        **reporting,
        "HOME": str(home),
        # Nothing that a run leaves there is taken for a module, or run by Python as it starts: before it is confined.
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "TMPDIR": str(home / "tmp"),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_PROFILES_PATH": str(home / "prefect" / "profiles.toml"),
        "PREFECT_WORKER_QUERY_SECONDS": str(EVERY[pool]),
        "PREFECT_WORKER_HEARTBEAT_SECONDS": "60",
        "PREFECT_LOGGING_LEVEL": "INFO",
    }
    if config.settings.prefect.api is None:
        environment[OWN_SERVER] = "1"
    if pool == REQUESTS:
        return Worker(home, {**environment, INBOX: url})
    copied = state / "workers" / "configuration"
    copy(config, copied)
    environment |= {CONFIG: str(copied), JOURNAL: url, RECEIVER: receiver}
    if (source := config.sources.sources.get(OWN_COMPARISON)) is not None:
        # In whose name differences are reported: the one secret that it has.
        names = [place.env for place in source.secrets if place.env]
        environment |= {name: os.environ[name] for name in names if name in os.environ}
    return Worker(home, environment)


def name_of(pool: str) -> str:
    """Return what this machine's worker of a pool is called in Prefect, whichever process it is."""
    return f"mcp-soar up at {socket.gethostname()}, {pool}"


def begins(home: Path) -> None:
    """Leave word that this process does a pool's work: Prefect takes one that died for alive, for a while.

    Args:
        home: the worker's folder.
    """
    said = {"pid": os.getpid(), "since": datetime.now(UTC).isoformat()}
    fresh = home / f"{_BEGUN}.new"
    fresh.write_text(json.dumps(said), encoding="utf-8")
    fresh.replace(home / _BEGUN)


def begun(folder: Path, pool: str) -> tuple[bool, datetime] | None:
    """Return whether this machine's worker of a pool runs, and since when; None if none left word.

    Args:
        folder: of the configuration.
        pool: whose.
    """
    try:
        said = json.loads((folder / "state" / "workers" / pool / _BEGUN).read_text(encoding="utf-8"))
        since = datetime.fromisoformat(said["since"])
        return running.alive(str(said["pid"])), since if since.tzinfo else since.replace(tzinfo=UTC)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def copy(config: Configuration, into: Path) -> None:
    """Write what the schedules need of a configuration, without keys and secrets; what is gone there goes here.

    Args:
        config: the configuration.
        into: the folder, which may be there.
    """
    fresh = into.with_name(into.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    keys = fresh / "keys"
    keys.mkdir(parents=True, mode=0o700)
    for path in _copied(config.folder):
        name = path.relative_to(config.folder)
        if name.as_posix() not in {"mcp-soar.yaml", "sources.yaml"} and path.is_file():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, fresh / name)
    documents = {"mcp-soar.yaml": _settings(config, keys), "sources.yaml": _sources(config, keys)}
    for file, document in documents.items():
        (fresh / file).write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    # A fault of ours is found here, not by a schedule at night.
    read(fresh)
    # What the folder holds is replaced, not the folder: a confined worker was let into that one.
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in into.iterdir():
        if not (fresh / old.name).exists():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for new in fresh.iterdir():
        place = into / new.name
        if new.is_dir() and place.exists():
            shutil.rmtree(place)
        new.replace(place)
    fresh.rmdir()


def _copied(folder: Path) -> Iterator[Path]:
    """Yield what a worker may read of a configuration, beside what is made anew for it; some of it may not be there."""
    yield from running.files(folder)
    yield from (folder / "people.yaml", folder / FILE)
    yield from yara.files(folder)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what tells a configuration's files from other ones, without reading them."""
    found = {}
    for path in _copied(folder):
        with contextlib.suppress(OSError):
            status = path.stat()
            found[str(path)] = (status.st_mtime_ns, status.st_size)
    return found


def renew(folder: Path, state: Path) -> bool:
    """Copy a configuration that has changed, and return whether its servers are reached by other ports now.

    Args:
        folder: the configuration.
        state: the folder where workers have theirs.

    Raises:
        Misconfigured: it is not valid, and the copy is left as it was.
    """
    into = state / "workers" / "configuration"
    before, config = read(into).inventory, read(folder)
    copy(config, into)
    return ports(urls(before)) != ports(urls(config.inventory))


def urls(inventory: Inventory) -> list[str]:
    """Return the addresses that the schedules ask: of servers, of what is probed with them, and of our own ranges."""
    servers = [server.url for server in inventory.servers.values() if server.url]
    signed_in = any(server.probing and server.probing.sign_in for server in inventory.servers.values())
    providers = [one.issuer for one in inventory.systems.values() if isinstance(one, Provider)] if signed_in else []
    ranges = [f"tcp://any:{port}" for one in inventory.ranges for port in one.ports]
    return [*servers, *providers, *ranges]


def ports(addresses: Iterable[str]) -> set[int]:
    """Return the TCP ports of addresses."""
    parts = [urlsplit(address) for address in addresses]
    return {port for one in parts if (port := one.port or _PORTS.get(one.scheme.partition("+")[0], 0))}


def _settings(config: Configuration, keys: Path) -> dict[str, Any]:
    """Return the settings as the schedules need them: no account, no private key, and where things really are."""
    settings, public = config.settings, []
    for number, key in enumerate(settings.responders, 1):
        shutil.copyfile(config.path(key), keys / f"responder-{number}.pub")
        public.append(f"keys/responder-{number}.pub")
    receiver: dict[str, Any] = {"host": settings.receiver.host, "port": settings.receiver.port}
    if settings.receiver.certificate is not None:
        shutil.copyfile(config.path(settings.receiver.certificate), keys / "receiver.crt")
        receiver["certificate"] = "keys/receiver.crt"
    vault = settings.vault
    return {
        "version": 1,
        "responder": settings.responder,
        "responders": public,
        "journal": {"url": config.journal_url},
        "vault": {
            "path": str(config.path(vault.path).resolve()),
            "bundles": str(config.path(vault.bundles).resolve()),
            # That evidence lies there, and no credentials for it.
            **(
                {"s3": vault.s3.model_dump(exclude={"access_key", "secret_key"}, exclude_none=True)} if vault.s3 else {}
            ),
        },
        "receiver": receiver,
    }


def _sources(config: Configuration, keys: Path) -> dict[str, Any]:
    """Return the one source in whose name the schedules report, if there is one, with its secret."""
    source = config.sources.sources.get(OWN_COMPARISON)
    if source is None:
        return {"version": 1}
    # As it is written: what was read of it does not say where the files are from there.
    written = yaml.safe_load((config.folder / "sources.yaml").read_text(encoding="utf-8"))
    document = {"version": 1, "sources": {OWN_COMPARISON: written["sources"][OWN_COMPARISON]}}
    for number, place in enumerate(_places(document), 1):
        if "file" in place:
            copied = keys / f"drift-{number}"
            copied.touch(mode=0o600)
            copied.write_bytes(config.path(Path(place["file"]).expanduser()).read_bytes())
            place["file"] = f"keys/drift-{number}"
    return document


def _places(document: Any) -> list[dict[str, str]]:  # noqa: ANN401  # of YAML
    """Return where a document says that secrets are: mappings of `env` or `file` and nothing else."""
    if isinstance(document, dict):
        if document.keys() in ({"env"}, {"file"}):
            return [document]
        return [place for value in document.values() for place in _places(value)]
    if isinstance(document, list | tuple):
        return [place for value in document for place in _places(value)]
    return []
