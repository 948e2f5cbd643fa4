"""The configuration folder: what is in it, and everything of it read and checked before anything starts.

mcp-soar.yaml    where things are kept and served; every field has a default
inventory.yaml   gateways, servers, principals
pins.yaml        approved definitions, written by `mcp-soar pins approve`
sources.yaml     who may send alerts
policy.yaml      the gate's rules
people.yaml      who may ask for what, written by `mcp-soar enroll`
contacts.yaml    whom to tell, and by which ways; optional
playbooks/       playbooks that replace shipped ones, and what they share, optional
messages/        templates of messages that replace shipped ones, optional
keys/            this responder's signing key; keys of people who keep theirs here
state/           journal, vault, bundles on the embedded defaults
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, Field

from integrations import registry
from integrations.siem.source import Sources
from integrations.system import Systems
from integrations.vault.s3 import S3
from playbooks.action import Action
from playbooks.errors import Misconfigured
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import Pins
from playbooks.estate.systems import Secret
from playbooks.gate.policy import Policy
from playbooks.gate.rules import Rule
from playbooks.people import duties
from playbooks.people.contacts import Contact, Contacts
from playbooks.people.request import People
from playbooks.playbook import SHARED, Catalog, Playbook, Shelf, parse, shelf
from playbooks.strict import Name, Slug, Strict, line_of, parse_yaml
from playbooks.taxonomy import IncidentClass

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class JournalSettings(Strict):
    """Where the journal is kept.

    Args:
        url: `sqlite:///state/journal.db` (from this folder) or `postgresql://user@host/name`.
        password: of the database user, for PostgreSQL.
    """

    url: str = "sqlite:///state/journal.db"
    password: Secret | None = None


class DatabaseAccount(Strict):
    """A user of the journal's PostgreSQL database.

    Args:
        user: its name.
        password: its password.
    """

    user: Name
    password: Secret | None = None


def _account(value: object) -> object:
    """Return an account that is written as a name alone."""
    return {"user": value} if isinstance(value, str) else value


class Receiver(Strict):
    """Where alerts arrive.

    Args:
        host: address to listen on; off loopback it needs a certificate.
        port: to listen on; 0 takes a free one.
        certificate: PEM file, for TLS.
        key: its private key, PEM.
        connections: at once; each may hold a message of 1 MiB in memory.
        per_peer: of those, how many one address may have, but for this machine's own; behind a proxy of yours on
            another machine, as many as there are.
        stamp: the file with the key by which responders know what receivers put in; made when it is not there.
        account: its own at the journal's database, which may put alerts into the inbox and do nothing else.
    """

    host: Name = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65535)
    certificate: Path | None = None
    key: Path | None = None
    connections: int = Field(default=400, ge=2, le=10_000)
    per_peer: int = Field(default=100, ge=1, le=10_000)
    stamp: Path = Path("keys/receiver.stamp")
    account: DatabaseAccount | None = None

    @property
    def tls(self) -> bool:
        """Whether it serves TLS."""
        return self.certificate is not None


class PrefectSettings(Strict):
    """Where people watch.

    Args:
        api: address of a Prefect server's API; without one `up` starts its own on loopback.
        port: of that one; 0 takes a free one.
        auth: user:password of the API; generated for our own.
        concurrency: responses at a time that go on after their cuts; 2 is what SQLite bears.
        pools: whose work `up` does: `requests`, the forms, and `reading`, the schedules. By default both at our own
            server, and none at another one.
        unconfined: run those workers even where this system cannot keep them from what our user can read, keys too.
        workers: the user at the journal's PostgreSQL database that may hand in what people sign, for the forms: a name,
            or name and password.
        readers: the user there that may only read, for the schedules; likewise.
    """

    api: str | None = None
    port: int = Field(default=4200, ge=0, le=65535)
    auth: Secret | None = None
    concurrency: int = Field(default=2, ge=1, le=64)
    pools: tuple[Literal["requests", "reading"], ...] | None = None
    unconfined: bool = False
    workers: Annotated[DatabaseAccount | None, BeforeValidator(_account)] = None
    readers: Annotated[DatabaseAccount | None, BeforeValidator(_account)] = None


class Vault(Strict):
    """Where evidence is kept.

    Args:
        path: the folder for exhibits, unless they lie in a bucket.
        bundles: the folder for signed manifests, and for what earlier releases sealed: bundles.
        reserve: bytes on the disk that evidence leaves free, for the journal.
        most: bytes of one exhibit; of what is larger that much is kept, and said to be incomplete.
        s3: the bucket for exhibits, with Object Lock, instead of the folder.
    """

    path: Path = Path("state/vault")
    bundles: Path = Path("state/bundles")
    reserve: int = Field(default=256 * 1024 * 1024, ge=0)
    # An archive's file has at most eight GiB (POSIX.1-1988): what could not be archived is not taken.
    most: int = Field(default=4 << 30, ge=1 << 20, lt=8**11)
    s3: S3 | None = None


class Settings(Strict):
    """The whole of `mcp-soar.yaml`.

    Args:
        version: of this format.
        responder: this machine's name in claims and custody records.
        key: the responder's private signing key.
        responders: public keys of all responders there are or were, by file.
        journal: the journal.
        vault: the evidence.
        receiver: where alerts arrive.
        prefect: where people watch.
    """

    version: Literal[1] = 1
    responder: Slug = "responder-1"
    key: Path = Path("keys/responder.key")
    responders: tuple[Path, ...] = (Path("keys/responder.pub"),)
    journal: JournalSettings = JournalSettings()
    vault: Vault = Vault()
    receiver: Receiver = Receiver()
    prefect: PrefectSettings = PrefectSettings()


def systems() -> Systems:
    """Return the systems there are. Whoever needs them is handed these: nothing else knows the list."""
    return registry.SYSTEMS


@dataclass(frozen=True)
class Configuration:
    """A configuration folder, read and checked.

    Args:
        folder: where it is.
        settings: of the installation.
        inventory: with its pins.
        sources: who may send alerts.
        policy: the gate's rules.
        contacts: whom to tell, and by which ways.
        playbooks: by class, those of the folder instead of the shipped ones.
        templates: of messages, those of the folder, as `ko/words.j2`; `doctor` tries them out.
        systems: what there is to act on.
    """

    folder: Path
    settings: Settings
    inventory: Inventory
    sources: Sources
    policy: Policy
    contacts: Contacts = field(default_factory=Contacts)
    playbooks: Mapping[IncidentClass, Playbook] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    systems: Systems = field(default_factory=systems)

    def path(self, relative: Path) -> Path:
        """Return a path of the settings, taken from the folder."""
        return relative if relative.is_absolute() else self.folder / relative

    def people(self) -> People:
        """Read who is enrolled now."""
        return _read(self.folder, "people.yaml", People, optional=True) or People()

    @property
    def journal_url(self) -> str:
        """The journal's address, a SQLite path taken from the folder."""
        url = self.settings.journal.url
        scheme, _, path = url.partition(":///")
        if scheme.startswith("sqlite") and not path.startswith("/"):
            return f"{scheme}:///{(self.folder / path).resolve()}"
        return url


def read(folder: Path) -> Configuration:
    """Read a configuration folder.

    Args:
        folder: made by `mcp-soar init`.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    present(folder)
    settings = _read(folder, "mcp-soar.yaml", Settings, optional=True) or Settings()
    receiver = settings.receiver
    if receiver.host not in LOOPBACK and not receiver.tls:
        raise Misconfigured(
            f"{receiver.host} can be reached from elsewhere: give a certificate and a key, or listen on 127.0.0.1",
            file=str(folder / "mcp-soar.yaml"),
            field="receiver.host",
        )
    _accounts(folder, settings)
    contacts = read_contacts(folder)
    return Configuration(
        folder=folder,
        settings=settings,
        inventory=read_inventory(folder, contacts),
        sources=read_sources(folder),
        policy=read_policy(folder),
        contacts=contacts,
        playbooks=read_playbooks(folder),
        templates=read_templates(folder),
    )


def present(folder: Path) -> None:
    """Refuse a folder that is no installation's: one that holds people's keys alone, say.

    Args:
        folder: made by `mcp-soar init`, if it is one.

    Raises:
        Misconfigured: it has no inventory.
    """
    if not folder.is_dir():
        raise Misconfigured("there is no such folder; `mcp-soar init` makes one", file=str(folder))
    if not (file := folder / "inventory.yaml").exists():
        raise Misconfigured(
            "is missing, so this is no installation's folder: name one with --config; `mcp-soar init DIR` makes one",
            file=str(file),
        )


def _accounts(folder: Path, settings: Settings) -> None:
    """Refuse accounts that there cannot be, or that two parts would share."""
    file, prefect = str(folder / "mcp-soar.yaml"), settings.prefect
    given = {
        "receiver.account": settings.receiver.account,
        "prefect.workers": prefect.workers,
        "prefect.readers": prefect.readers,
    }
    users: dict[str, str] = {}
    for name, account in given.items():
        if account is None:
            continue
        if settings.journal.url.startswith("sqlite"):
            message = "SQLite has no accounts; write journal.url for PostgreSQL, or leave this out"
            raise Misconfigured(message, file=file, field=name)
        if (other := users.setdefault(account.user, name)) != name:
            message = f"{account.user} is {other} too: whoever has it could do what both may; give each part its own"
            raise Misconfigured(message, file=file, field=name)


def read_sources(folder: Path) -> Sources:
    """Read who may send alerts; without the file it is nobody.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    return _read(folder, "sources.yaml", Sources, optional=True) or Sources(version=1)


def read_policy(folder: Path) -> Policy:
    """Read the gate's rules; without the file they are the shipped ones.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    policy = _read(folder, "policy.yaml", Policy, optional=True) or Policy(version=1)
    for number, rule in enumerate(policy.rules):
        if rule.action or rule.system:
            _acts(folder / "policy.yaml", ("rules", number), rule)
    return policy


def _acts(file: Path, where: tuple[str | int, ...], rule: Rule) -> None:
    """Refuse a rule about an action or a system that there is not: it would ask nobody about what it should."""
    actions = {name for name, step in systems().steps.items() if issubclass(step, Action)}
    sorts = {name.partition(".")[0] for name in actions}
    for what, named, known in (("action", rule.action, actions), ("system", rule.system, sorts)):
        for one in named:
            if one not in known:
                message = f"there is no {what} {one!r}; there is {', '.join(sorted(known))}"
                _misplaced(file, (*where, what), message)


def read_inventory(folder: Path, contacts: Contacts | None = None) -> Inventory:
    """Read the inventory with its pins.

    Args:
        folder: the configuration.
        contacts: of the folder, if they were read already.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    inventory = _read(folder, "inventory.yaml", Inventory, context=systems().context)
    if inventory is None:  # it is not optional; for the type checker
        raise Misconfigured("is missing", file=str(folder / "inventory.yaml"))
    pins = _read(folder, "pins.yaml", Pins, optional=True) or Pins()
    strangers = sorted(set(pins.servers) - set(inventory.servers))
    if strangers:
        raise Misconfigured(
            f"pins for servers that inventory.yaml does not have: {', '.join(strangers)}",
            file=str(folder / "pins.yaml"),
            field="servers",
        )
    _known(folder, inventory, contacts or read_contacts(folder))
    return inventory.model_copy(update={"pins": pins})


def _known(folder: Path, inventory: Inventory, contacts: Contacts) -> None:
    """Refuse a server that names a contact, a role or a law that there is not."""
    file = folder / "inventory.yaml"
    for name, server in inventory.servers.items():
        for role, contact in server.stakeholders.items():
            where = ("servers", name, "stakeholders", role)
            if contact not in contacts.contacts:
                known = ", ".join(sorted(contacts.contacts)) or "none"
                _misplaced(file, where, f"contacts.yaml has no contact {contact!r}; it has: {known}")
            _role(file, where, role)
        for number, regime in enumerate(server.regimes):
            if regime not in duties.load().regimes:
                known = ", ".join(duties.load().regimes)
                _misplaced(file, ("servers", name, "regimes", number), f"no law is called {regime!r}; there is {known}")


def _role(file: Path, where: tuple[str | int, ...], role: str) -> None:
    if role not in duties.load().roles:
        _misplaced(file, where, f"no role is called {role!r}; there is {', '.join(duties.load().roles)}")


def read_contacts(folder: Path) -> Contacts:
    """Read whom to tell; without the file it is nobody.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    contacts = _read(folder, "contacts.yaml", Contacts, optional=True)
    if contacts is None:
        return Contacts()
    file, email, slack = folder / "contacts.yaml", contacts.channels.email, contacts.channels.slack
    if email and email.security == "none" and email.host not in LOOPBACK:
        message = f"{email.host} is another machine: messages and password would go there in the clear; write starttls"
        _misplaced(file, ("channels", "email", "security"), message)
    if slack and urlsplit(slack.url).scheme != "https" and urlsplit(slack.url).hostname not in LOOPBACK:
        _misplaced(file, ("channels", "slack", "url"), "the token would go there in the clear; write https://")
    for role in contacts.stakeholders:
        _role(file, ("stakeholders", role), role)
    placed = {name: _placed(contact, folder) for name, contact in contacts.contacts.items()}
    return contacts.model_copy(update={"contacts": placed})


def _placed(contact: Contact, folder: Path) -> Contact:
    """Return a contact whose folder of messages is taken from the configuration's."""
    if contact.file is None:
        return contact
    return contact.model_copy(update={"file": str(folder.resolve() / Path(contact.file).expanduser())})


def _misplaced(file: Path, path: tuple[str | int, ...], message: str) -> NoReturn:
    line = line_of(_text(file), path)
    raise Misconfigured(message, file=str(file), line=line, field=".".join(map(str, path)))


def read_templates(folder: Path) -> dict[str, str]:
    """Return the folder's own templates of messages, by name.

    Raises:
        Misconfigured: one is no text; what it says is not looked at here.
    """
    messages = folder / "messages"
    return {file.relative_to(messages).as_posix(): _text(file) for file in sorted(messages.rglob("*.j2"))}


def read_playbooks(folder: Path) -> Mapping[IncidentClass, Playbook]:
    """Read the playbooks by class: the folder's, and else the shipped ones, each of those when it is asked for.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    return Catalog(own_in(folder / "playbooks"))


def own_in(playbooks: Path) -> dict[IncidentClass, Playbook]:
    """Read the playbooks of a folder, by class.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    own: dict[IncidentClass, Playbook] = {}
    shared = shared_in(playbooks)
    for file in sorted(playbooks.glob("*.yaml")):
        if file.name.endswith(".drill.yaml"):
            continue
        playbook = parse(_text(file), file=str(file), shared=shared)
        own[playbook.class_] = playbook
    return own


def shared_in(playbooks: Path) -> Shelf:
    """Return what reads the steps that playbooks share: those of a folder, and else the shipped ones.

    Args:
        playbooks: the folder that the playbooks lie in; what they share lies in its folder `shared`.
    """
    folder = playbooks / SHARED
    return shelf({file.stem: _text(file) for file in sorted(folder.glob("*.yaml"))}, folder=str(folder))


def _read(
    folder: Path, name: str, model: type[M], *, optional: bool = False, context: Mapping[str, Any] | None = None
) -> M | None:
    file = folder / name
    if not file.exists():
        if optional:
            return None
        raise Misconfigured("is missing; what `mcp-soar init DIR` writes has one to start from", file=str(file))
    return _rooted(parse_yaml(model, _text(file), file=str(file), context=context), folder)


def _rooted(value: T, folder: Path) -> T:
    """Return a value whose secrets' files are taken from the folder, wherever the process was started."""
    if isinstance(value, Secret):
        if value.file is None or Path(value.file).expanduser().is_absolute():
            return value
        return value.model_copy(update={"file": str(folder.resolve() / value.file)})
    if isinstance(value, BaseModel):
        changed = {name: _rooted(getattr(value, name), folder) for name in type(value).model_fields}
        return value.model_copy(update={name: new for name, new in changed.items() if new is not getattr(value, name)})
    if isinstance(value, tuple):
        items = tuple(_rooted(item, folder) for item in value)
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items  # type: ignore[return-value]
    if isinstance(value, dict):
        entries = {key: _rooted(item, folder) for key, item in value.items()}
        return value if all(entries[key] is value[key] for key in value) else entries  # type: ignore[return-value]
    return value


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as exc:
        raise Misconfigured(f"cannot be read: {exc.strerror}", file=str(file)) from exc
    except UnicodeDecodeError as exc:
        raise Misconfigured("is not UTF-8 text", file=str(file)) from exc
