"""Who has to be told of an incident, and by when the law wants it reported: clocks from when we knew of it. Pure.

`duties.yaml` beside this file is the data, with the law's edition, article and address, and what could not be verified.
A clock runs only where the inventory says that the law binds us for the server, and class and data make it apply. That
we became aware when the incident was opened is the strictest reading: whoever says otherwise says so to the authority.
It runs on when the incident is closed, unless that was none, or is reported as another one.
"""

from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from playbooks.estate.inventory import DataKind, Inventory, Server
from playbooks.people.contacts import Contacts, Language
from playbooks.record.state import Incident
from playbooks.strict import Line, Moment, Seconds, Slug, Strict, parse_yaml
from playbooks.taxonomy import IncidentClass

_FILE = "duties.yaml"


def _in_every_language(texts: dict[Language, Line]) -> dict[Language, Line]:
    if missing := set(Language) - set(texts):
        message = f"is missing in {', '.join(sorted(missing))}"
        raise ValueError(message)
    return texts


Texts = Annotated[dict[Language, Line], AfterValidator(_in_every_language)]
"""The same in each language."""


class Role(Strict):
    """Somebody who may have to be told.

    Args:
        external: outside the house: only a person of ours writes to them.
    """

    external: bool


class Duty(Strict):
    """Something that a law wants done, and until when.

    Args:
        article: where it stands, by language.
        to: the role that is told.
        within: from when we became aware; None without a number, as in "without undue delay".
        months: instead, calendar months.
        after: instead of from when we became aware, from when this other one was fulfilled, or had to be.
        data: the server handles one of these; any data if empty.
        breach: only for a class in which data or service may have suffered.
        duty: what has to be done, by language.
        unless: when it has not, by language; a person decides that.
        counsel: ask a lawyer: something of this could not be verified, or depends on the case.
        checked: against what it was verified.
    """

    article: Texts
    to: Slug
    within: Seconds | None = None
    months: int | None = Field(default=None, ge=1, le=24)
    after: Slug | None = None
    data: tuple[DataKind, ...] = ()
    breach: bool = True
    duty: Texts
    unless: Texts
    counsel: bool
    checked: Line

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.within is not None and self.months is not None:
            message = "write `within` or `months`"
            raise ValueError(message)
        return self


class Regime(Strict):
    """A law.

    Args:
        title: what it is called.
        edition: which text.
        source: its address.
        note: what may change it.
        clocks: its duties, by id.
    """

    title: Texts
    edition: Line
    source: Annotated[str, StringConstraints(pattern=r"^https://\S+$")]
    note: Line = ""
    clocks: dict[Slug, Duty]


class Duties(Strict):
    """The whole of `duties.yaml`.

    Args:
        version: of this format.
        roles: who there is to tell.
        tell: by class.
        tell_for_data: by kind of data, for a class of `breach`.
        breach: the classes in which data may have been disclosed, altered or lost.
        regimes: the laws.
    """

    version: Literal[1]
    roles: dict[Slug, Role]
    tell: dict[IncidentClass, tuple[Slug, ...]]
    tell_for_data: dict[DataKind, tuple[Slug, ...]]
    breach: tuple[IncidentClass, ...]
    regimes: dict[Slug, Regime]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if missing := set(IncidentClass) - set(self.tell):
            message = f"tell: write who is told of {', '.join(sorted(missing))}"
            raise ValueError(message)
        clocks = [item for regime in self.regimes.values() for item in regime.clocks.items()]
        ids = [name for name, _ in clocks]
        named = {role for roles in (*self.tell.values(), *self.tell_for_data.values()) for role in roles}
        named |= {duty.to for _, duty in clocks}
        if strangers := named - set(self.roles):
            message = f"roles: there is none called {', '.join(sorted(strangers))}"
            raise ValueError(message)
        if len(ids) != len(set(ids)) or any(duty.after not in {None, *ids} for _, duty in clocks):
            message = "regimes: a clock's id is used twice, or one counts from a clock that there is not"
            raise ValueError(message)
        return self


class Clock(Strict):
    """A duty of one incident, and how it stands.

    Args:
        id: as `gdpr-33`.
        regime: as `gdpr`.
        law: the law's title, by language.
        article: where it stands.
        source: the law's address.
        to: the role that is told.
        duty: what has to be done, by language.
        unless: when it has not.
        counsel: ask a lawyer.
        servers: because of which.
        start: from when it counts.
        aware: whether that is when we became aware, which is when the incident was opened.
        due: until when; None without a number.
        fulfilled: when somebody said that it was done.
        overdue: whether its time is over and nobody said so.
    """

    id: Slug
    regime: Slug
    law: Texts
    article: Texts
    source: str
    to: Slug
    duty: Texts
    unless: Texts
    counsel: bool
    servers: tuple[Slug, ...]
    start: Moment
    aware: bool
    due: Moment | None
    fulfilled: Moment | None
    overdue: bool

    @property
    def running(self) -> bool:
        """Whether it still waits for somebody."""
        return self.fulfilled is None


@cache
def load() -> Duties:
    """Return the duties that ship with this version; they are read once per process.

    Raises:
        Misconfigured: `duties.yaml` contradicts itself.
    """
    return parse(files("playbooks.people").joinpath(_FILE).read_text(encoding="utf-8"))


def parse(text: str, *, file: str = _FILE) -> Duties:
    """Return the duties that the text of a `duties.yaml` states.

    Raises:
        Misconfigured: with line and field.
    """
    return parse_yaml(Duties, text, file=file)


def clocks(state: Incident, inventory: Inventory, duties: Duties, now: datetime) -> list[Clock]:
    """Return the duties that an incident brings with it, the one that is due first first.

    Args:
        state: the incident.
        inventory: says which laws bind us for a server, and what data it handles.
        duties: the laws.
        now: the present moment.
    """
    if state.opened_at is None:
        return []
    found: dict[str, Clock] = {}
    for name, regime in duties.regimes.items():
        for id_, duty in regime.clocks.items():
            servers = tuple(_concerned(state, inventory, duties, name, duty))
            fulfilled = state.fulfilled.get(id_)
            if not servers or (state.unfounded and fulfilled is None):
                continue
            start, aware = _start(state.opened_at, found.get(duty.after or ""))
            due = _due(start, duty)
            found[id_] = Clock(
                id=id_,
                regime=name,
                law=regime.title,
                article=duty.article,
                source=regime.source,
                to=duty.to,
                duty=duty.duty,
                unless=duty.unless,
                counsel=duty.counsel,
                servers=servers,
                start=start,
                aware=aware,
                due=due,
                fulfilled=fulfilled,
                overdue=fulfilled is None and due is not None and due < now,
            )
    return sorted(found.values(), key=lambda clock: (clock.due is None, clock.due or clock.start))


def _concerned(state: Incident, inventory: Inventory, duties: Duties, regime: str, duty: Duty) -> Iterator[str]:
    if duty.breach and state.incident_class not in duties.breach:
        return
    for name in state.servers:
        server = inventory.servers.get(name)
        if server and regime in server.regimes and (not duty.data or set(duty.data) & set(server.data)):
            yield name


def _start(opened: datetime, before: Clock | None) -> tuple[datetime, bool]:
    if before is None:
        return opened, True
    return before.fulfilled or before.due or before.start, False


def _due(start: datetime, duty: Duty) -> datetime | None:
    if duty.months is None:
        return None if duty.within is None else start + timedelta(seconds=duty.within)
    years, month = divmod(start.month - 1 + duty.months, 12)
    year, month = start.year + years, month + 1
    # The same day of a later month, or its last (Regulation (EEC, Euratom) No 1182/71, Art. 3(2)(c)).
    return start.replace(year=year, month=month, day=min(start.day, monthrange(year, month)[1]))


def stakeholders(state: Incident, inventory: Inventory, contacts: Contacts, duties: Duties) -> dict[str, str]:
    """Return who is told of an incident beside those on call: role → contact.

    A server's own contact for a role stands before that of `contacts.yaml`; a role without a contact is nobody.

    Args:
        state: the incident.
        inventory: its servers may name contacts of their own.
        contacts: the contacts for every server.
        duties: which roles a class and its data call for.
    """
    servers = [inventory.servers[name] for name in state.servers if name in inventory.servers]
    told: dict[str, str] = {}
    for role in dict.fromkeys(_roles(state.incident_class, servers, duties)):
        own = next((server.stakeholders[role] for server in servers if role in server.stakeholders), None)
        name = own or contacts.stakeholders.get(role)
        if name and name in contacts.contacts and not duties.roles[role].external:
            told[role] = name
    return told


def _roles(incident_class: IncidentClass, servers: Iterable[Server], duties: Duties) -> Iterator[str]:
    yield from duties.tell[incident_class]
    if incident_class in duties.breach:
        for kind in dict.fromkeys(kind for server in servers for kind in server.data):
            yield from duties.tell_for_data.get(kind, ())


def clock_contacts(clock: Clock, inventory: Inventory, contacts: Contacts) -> dict[str, str]:
    """Return who is told that a clock runs out: those who can do something about it, role → contact.

    Args:
        clock: the duty.
        inventory: its servers may name contacts of their own.
        contacts: the contacts for every server.
    """
    own: Mapping[str, str] = {
        role: name
        for server in reversed(clock.servers)
        if server in inventory.servers
        for role, name in inventory.servers[server].stakeholders.items()
    }
    named = {role: own.get(role) or contacts.stakeholders.get(role) for role in ("privacy", "legal", clock.to)}
    return {role: name for role, name in named.items() if name and name in contacts.contacts}
