"""What to do about one class of incident: phases, and in each an ordered list of steps that name actions.

There is no expression language. A step runs once for each entity of its kind, its parameters are literals or typed
fields of that entity, and what must branch is Python inside the action. Steps that several playbooks share are
written once, in `shared/`, and stand in each by `use:`; whoever reads a playbook has them in it.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import cache, cached_property
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationInfo, WrapValidator, model_validator

from playbooks.errors import Misconfigured
from playbooks.estate.inventory import ON_SERVER, Resolved
from playbooks.gate.plan import Answer
from playbooks.record.incident import EntityKind, Phase
from playbooks.strict import Digest, JsonField, Line, Seconds, Slug, Strict, canonical, parse_yaml, sha256
from playbooks.taxonomy import IncidentClass


class Source(StrEnum):
    """The fields of an incident that a parameter can be bound to."""

    ENTITY = "entity.id"
    ENTITY_SERVER = "entity.server"
    ENTITY_PRINCIPAL = "entity.principal"


class Bound(Strict):
    """A parameter that takes its value from the entity that the step runs for."""

    from_: Source = Field(alias="from")


def _binding(value: object) -> object:
    # In YAML a parameter reads `server: {from: entity.server}`; anything else is a literal.
    return Bound.model_validate(value) if isinstance(value, dict) and set(value) == {"from"} else value


Parameter = Annotated[Bound | JsonField, BeforeValidator(_binding)]


class Parameters(NamedTuple):
    """What a step is run with.

    Args:
        said: what its `with` says.
        offered: what else is known of what it runs for, each under the name of a parameter that takes it.
    """

    said: tuple[tuple[str, Any], ...] = ()
    offered: tuple[tuple[str, Any], ...] = ()

    def of(self, kind: type[BaseModel]) -> dict[str, Any]:
        """Return what a registered step takes of it.

        What says some of them says all that it has a choice about: beside that it is given only what it needs.

        Args:
            kind: the action, capture or check.
        """
        fields = kind.model_fields
        takes = {name for name, field in fields.items() if field.is_required() or not self.said}
        return {name: value for name, value in self.offered if name in takes} | dict(self.said)


NOTHING = Parameters()
"""Of what takes no parameters."""


class When(StrEnum):
    """The one question that a step may ask before it runs.

    Every tool has a server, so a step `for: server` runs for the servers of whatever is named. What acts on a whole
    server on its own account says `named`.
    """

    ALWAYS = "always"
    LEAKING = "leaking"
    NAMED = "named"
    CHOSEN = "chosen"
    UNATTRIBUTED = "unattributed"
    CONTAINED = "contained"
    UNREFUTED = "unrefuted"


OF_TASKS = frozenset({When.UNREFUTED})
"""When a task is there; nothing that mcp-soar does waits for these."""


class Step(Strict):
    """One step of a phase; exactly one of `action`, `capture`, `check`, `task`.

    Args:
        id: its name in this playbook.
        action: a registered action that changes something.
        capture: a registered capture that makes an exhibit.
        check: a registered check that asks something.
        task: what a person does; it blocks nothing and is shown as open.
        until: what ends a task. Of a check: what it has to answer before anything is given back without a second
            person; nothing waits for one that does not say it.
        for_each: the kind of entity that it runs for, once each.
        at: a kind of system: once for each place there that the inventory gives such an entity, or its home.
        with_: its parameters, as far as they are not those of what it runs for, by their names.
        when: `leaking` runs it only while a cut of this incident does not hold; `named` only for a server that was
            named itself, and not for the server of a tool that was; `chosen` only for what a person chose;
            `unattributed` only for what was named itself, while no principal and no token is named who does it. Of a
            task: `contained` only once something of the kind that `for` says was contained; `unrefuted` only while our
            own checks have not found what was reported to be untrue. Of an action: `contained` only once all that is
            cut of the very thing holds.
        lease: how long an action stays in force before it is extended and paged.
        why: one sentence for the people who review it.
    """

    id: Slug
    action: Slug | None = None
    capture: Slug | None = None
    check: Slug | None = None
    task: Line | None = None
    until: Literal["released", "closed", "established", "not_established"] | None = None
    for_each: EntityKind = Field(default=EntityKind.SERVER, alias="for")
    # Not written where there is none: the digests of before stay what they are.
    at: Slug | None = Field(default=None, exclude_if=lambda kind: kind is None)
    with_: dict[Slug, Parameter] = Field(default_factory=dict, alias="with")
    when: When = When.ALWAYS
    lease: Seconds = 24 * 3600.0
    why: Line

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in ("action", "capture", "check", "task") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            message = f"step {self.id}: write exactly one of action, capture, check, task (it has {kinds or 'none'})"
            raise ValueError(message)
        ends = self.until in {"released", "closed"}
        if (self.task is None) == ends:
            message = f"step {self.id}: a task, and only a task, says `until: released` or `until: closed`"
            raise ValueError(message)
        if self.until and not ends and self.check is None:
            message = f"step {self.id}: only a check says `until: {self.until}`"
            raise ValueError(message)
        if self.at and self.task is not None:
            message = f"step {self.id}: a person knows where; leave `at` out of a task"
            raise ValueError(message)
        if self.when in OF_TASKS and self.task is None:
            message = f"step {self.id}: only a task says `when: {self.when}`"
            raise ValueError(message)
        if self.when is When.CONTAINED and self.task is None and self.action is None:
            message = f"step {self.id}: only a task or an action says `when: {self.when}`"
            raise ValueError(message)
        if self.when is When.NAMED and self.for_each is not EntityKind.SERVER:
            message = f"step {self.id}: only a server can be there without being named: leave `when: named` out"
            raise ValueError(message)
        return self

    @property
    def names(self) -> str | None:
        """The registered name that it refers to, None for a task."""
        return self.action or self.capture or self.check

    @property
    def kind(self) -> Literal["action", "capture", "check", "task"]:
        """Which of the four it is."""
        if self.action:
            return "action"
        if self.capture:
            return "capture"
        return "check" if self.check else "task"

    def parameters(self, entity: Resolved) -> Parameters:
        """Return what the step is run with for one entity."""
        values = {
            Source.ENTITY: entity.id,
            Source.ENTITY_SERVER: entity.server,
            Source.ENTITY_PRINCIPAL: entity.principal,
        }
        said = {name: values[value.from_] if isinstance(value, Bound) else value for name, value in self.with_.items()}
        known = {"server": entity.server, "principal": entity.principal, "system": entity.system}
        known[entity.kind.value] = entity.id
        return Parameters(
            tuple(sorted(said.items())),
            tuple((name, known[name]) for name in self.binds if known.get(name) is not None),
        )

    @property
    def binds(self) -> tuple[str, ...]:
        """The names of parameters that take what it runs for, or whose that is."""
        whose = {EntityKind.TOKEN: ("principal",), **dict.fromkeys((*ON_SERVER, EntityKind.ADDRESS), ("server",))}
        return (*whose.get(self.for_each, ()), self.for_each.value, *(("system",) if self.at else ()))


class SharedSteps(Strict):
    """Steps that several playbooks have in common; each names it where they stand in one of its phases.

    Args:
        version: of this format.
        id: its name, and its file's.
        title: one line.
        steps: the steps, in order.
    """

    version: Literal[1]
    id: Slug
    title: Line
    steps: tuple[Step, ...] = Field(min_length=1)


class Use(Strict):
    """Stands in a phase for the steps that are shared under a name."""

    use: Slug


Shelf = Callable[[str], "SharedSteps"]
"""Returns what is shared under a name; raises `ValueError` if nothing is."""

SHARED = "shared"
"""The folder beside playbooks that what they share lies in."""

_SHELF = "shelf"


def shelf(own: Mapping[str, str] = MappingProxyType({}), *, folder: str = "") -> Shelf:
    """Return what reads shared steps: somebody's own, and else those that ship with the product.

    Args:
        own: the texts of their files, by name.
        folder: where those lie, for messages.
    """
    ships = resources.files("playbooks").joinpath("catalog", SHARED)
    there = {item.name.removesuffix(".yaml") for item in ships.iterdir()} if ships.is_dir() else set[str]()

    def read(name: str) -> SharedSteps:
        file = f"{folder}/{name}.yaml" if name in own or (folder and name not in there) else f"{_SHIPPED}/{name}.yaml"
        if name not in own and name not in there:
            known = ", ".join(sorted({*own, *there})) or "none"
            message = f"use: nothing is shared as {name}, there is no {file}; there are {known}"
            raise ValueError(message)
        text = own.get(name) or ships.joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        found = parse_yaml(SharedSteps, text, file=file)
        if found.id != name:
            raise Misconfigured(f"is {found.id}, and the file is called {name}.yaml: make them the same", file=file)
        return found

    return read


_SHIPPED = f"playbooks/catalog/{SHARED}"


def _used(value: object, one: Callable[[object], Step], info: ValidationInfo) -> Step | tuple[Step, ...]:
    if not isinstance(value, Mapping) or "use" not in value:
        return one(value)
    read: Shelf = (info.context or {}).get(_SHELF) or shelf()
    return read(Use.model_validate(value).use).steps


def _in_a_row(found: tuple[Any, ...]) -> tuple[Step, ...]:
    return tuple(step for item in found for step in (item if isinstance(item, tuple) else (item,)))


Steps = Annotated[
    tuple[Annotated[Step, WrapValidator(_used, json_schema_input_type=Step | Use)], ...], AfterValidator(_in_a_row)
]
"""Steps in order; where a file says `use:`, those that are shared under that name."""


class Goals(Strict):
    """How fast it ought to be; shown beside what was measured."""

    first_effect: Seconds
    verified: Seconds


class Notice(StrEnum):
    """The moments that the notification track tells people of."""

    OPENED = "opened"
    AWAITING_APPROVAL = "awaiting_approval"
    CONTAINED = "contained"
    NOT_ESTABLISHED = "not_established"
    RELEASED = "released"
    CLOSED = "closed"


class Playbook(Strict):
    """The response to one class.

    Args:
        version: of this format.
        id: its name, and its file's.
        class_: the class of the taxonomy that it answers.
        title: one line.
        summary: what it does, in plain sentences.
        goals: how fast it ought to be.
        contain_first: why volatile evidence may be lost to a cut, if that was decided.
        confirm: checks whose `established` confirms an alert by something of our own. It may be a fact of the past,
            which stays so: then no `until` is written.
        phases: the steps, by phase, in order.
        notify: what people are told, beside all of it.
    """

    version: Literal[2]
    id: Slug
    class_: IncidentClass = Field(alias="class")
    title: Line
    summary: Line
    goals: Goals
    contain_first: Line | None = None
    confirm: Steps = ()
    phases: dict[Phase, Steps]
    notify: tuple[Notice, ...]

    @model_validator(mode="before")
    @classmethod
    def _first_format(cls, value: object) -> object:
        """Read a playbook of the first format, whose releases waited for what its phases said.

        Journals have its text, and configurations their own; nothing of what it meant changes.
        """
        if not isinstance(value, dict) or value.get("version") != 1:
            return value
        phases = value.get("phases")
        read = {**value, "version": 2, "confirm": _waited_for(value.get("confirm", ()), "not_established")}
        if isinstance(phases, dict):
            eradicate = Phase.ERADICATE.value
            read["phases"] = {**phases, eradicate: _waited_for(phases.get(eradicate, ()), "established")}
        return read

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = [phase.value for phase in Phase if phase not in self.phases]
        if missing:
            message = f"phases: write every phase, an empty one as []; missing: {missing}"
            raise ValueError(message)
        ids = [step.id for _, step in self.steps()] + [step.id for step in self.confirm]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            message = f"step ids must be unique in a playbook; given twice: {twice}"
            raise ValueError(message)
        if any(step.check is None for step in self.confirm):
            message = "confirm: only checks can confirm"
            raise ValueError(message)
        if placed := [step.id for step in self.confirm if step.at]:
            message = f"confirm: what confirms is asked about what an alert names; leave `at` out of {placed}"
            raise ValueError(message)
        if early := [step.id for step in self.confirm if step.when is not When.ALWAYS]:
            message = f"confirm: what confirms is asked of whatever is named; leave `when` out of {early}"
            raise ValueError(message)
        return self

    @property
    def awaited(self) -> Iterator[tuple[Step, Answer]]:
        """The checks that a release waits for, each with what it has to answer."""
        for step in (*(step for _, step in self.steps()), *self.confirm):
            if step.check and step.until:
                yield step, Answer(step.until)

    def steps(self) -> Iterator[tuple[Phase, Step]]:
        """Yield every step with its phase, in the order of a response."""
        for phase in Phase:
            for step in self.phases.get(phase, ()):
                yield phase, step

    @cached_property
    def text(self) -> str:
        """Its canonical JSON: what an incident records, to end with the playbook that it began with."""
        return canonical(self.model_dump(mode="json", by_alias=True)).decode()

    @cached_property
    def digest(self) -> Digest:
        """What tells it from every other one."""
        return sha256(self.text.encode())

    def goals_of(self, began_with: Digest | None) -> Goals | None:
        """Return the goals of an incident that began with a digest; None if that was of another playbook than this."""
        return self.goals if began_with == self.digest else None


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a playbook's YAML, for editors; `catalog/playbook.schema.json` is this."""
    schema = Playbook.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def parse(text: str, *, file: str, shared: Shelf | None = None) -> Playbook:
    """Read a playbook's YAML.

    Args:
        text: of the file.
        file: its name, for the error.
        shared: what reads the steps that it shares with others; those that ship if None.

    Raises:
        Misconfigured: with file, line, field and what to write; of what it shares, with both files.
    """
    try:
        return parse_yaml(Playbook, text, file=file, context={_SHELF: shared or shelf()})
    except Misconfigured as exc:
        if exc.file == file:
            raise
        at = f"{exc.file}:{exc.line}" if exc.line else str(exc.file)
        message = str(exc).removeprefix(f"{at}: ").removeprefix(f"{exc.field}: ")
        raise Misconfigured(f"{message} ({file} uses it)", file=exc.file, line=exc.line, field=exc.field) from exc


def _waited_for(steps: object, answer: str) -> object:
    if not isinstance(steps, list | tuple):
        return steps
    return [
        {**step, "until": answer} if isinstance(step, dict) and step.get("check") and not step.get("until") else step
        for step in steps
    ]


class Catalog(Mapping[IncidentClass, Playbook]):
    """Playbooks by class: somebody's own, and else those that ship with the product, each read when it is asked for.

    Args:
        own: which stand before the shipped ones.
    """

    def __init__(self, own: Mapping[IncidentClass, Playbook] = MappingProxyType({})) -> None:
        self._read = dict(own)
        self._files = {
            IncidentClass(item.name.removesuffix(".yaml")): item
            for item in sorted(resources.files("playbooks").joinpath("catalog").iterdir(), key=lambda item: item.name)
            if item.name.endswith(".yaml") and not item.name.endswith(".drill.yaml")
        }

    def __getitem__(self, incident_class: IncidentClass) -> Playbook:
        if incident_class not in self._read:
            self._read[incident_class] = _ships(self._files[incident_class].name)
        return self._read[incident_class]

    def __iter__(self) -> Iterator[IncidentClass]:
        return iter({**self._files, **self._read})

    def __len__(self) -> int:
        return len(self._files.keys() | self._read.keys())


@cache
def _ships(name: str) -> Playbook:
    """Return the playbook of a file of the catalog, read once: what ships does not change while a process runs."""
    text = resources.files("playbooks").joinpath("catalog", name).read_text(encoding="utf-8")
    playbook = parse(text, file=f"playbooks/catalog/{name}")
    if playbook.class_.value != name.removesuffix(".yaml"):
        raise Misconfigured(f"a playbook's file is called after its class, {playbook.class_}", file=name)
    return playbook


def shipped() -> dict[IncidentClass, Playbook]:
    """Return the playbooks that come with the product, by class."""
    return dict(Catalog())
