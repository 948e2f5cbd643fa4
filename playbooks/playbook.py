"""What to do about one class of incident: phases, and in each an ordered list of steps that name actions.

There is no expression language. A step runs once for each entity of its kind, its parameters are literals or typed
fields of that entity, and what must branch is Python inside the action.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from playbooks.errors import Misconfigured
from playbooks.incident import EntityKind, Phase
from playbooks.inventory import Resolved
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


OF_TASKS = frozenset({When.CONTAINED, When.UNREFUTED})
"""When a task is there; nothing that mcp-soar does waits for these."""


class Step(Strict):
    """One step of a phase; exactly one of `action`, `capture`, `check`, `task`.

    Args:
        id: its name in this playbook.
        action: a registered action that changes something.
        capture: a registered capture that makes an exhibit.
        check: a registered check that asks something.
        task: what a person does; it blocks nothing and is shown as open.
        until: what ends a task.
        for_each: the kind of entity that it runs for, once each.
        with_: its parameters.
        when: `leaking` runs it only while a cut of this incident does not hold; `named` only for a server that was
            named itself, and not for the server of a tool that was; `chosen` only for what a person chose;
            `unattributed` only for what was named itself, while no principal and no token is named who does it. Of a
            task: `contained` only once something of the kind that `for` says was contained; `unrefuted` only while our
            own checks have not found what was reported to be untrue.
        lease: how long an action stays in force before it is extended and paged.
        why: one sentence for the people who review it.
    """

    id: Slug
    action: Slug | None = None
    capture: Slug | None = None
    check: Slug | None = None
    task: Line | None = None
    until: Literal["released", "closed"] | None = None
    for_each: EntityKind = Field(default=EntityKind.SERVER, alias="for")
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
        if (self.task is None) != (self.until is None):
            message = f"step {self.id}: a task, and only a task, says `until: released` or `until: closed`"
            raise ValueError(message)
        if self.when in OF_TASKS and self.task is None:
            message = f"step {self.id}: only a task says `when: {self.when}`"
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

    def parameters(self, entity: Resolved) -> dict[str, Any]:
        """Return the step's parameters for one entity."""
        values = {
            Source.ENTITY: entity.id,
            Source.ENTITY_SERVER: entity.server,
            Source.ENTITY_PRINCIPAL: entity.principal,
        }
        return {name: values[value.from_] if isinstance(value, Bound) else value for name, value in self.with_.items()}


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
        confirm: checks whose `established` confirms an alert by something of our own.
        phases: the steps, by phase, in order.
        notify: what people are told, beside all of it.
    """

    version: Literal[1]
    id: Slug
    class_: IncidentClass = Field(alias="class")
    title: Line
    summary: Line
    goals: Goals
    contain_first: Line | None = None
    confirm: tuple[Step, ...] = ()
    phases: dict[Phase, tuple[Step, ...]]
    notify: tuple[Notice, ...]

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
        if early := [step.id for step in self.confirm if step.when is not When.ALWAYS]:
            message = f"confirm: what confirms is asked of whatever is named; leave `when` out of {early}"
            raise ValueError(message)
        return self

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


def parse(text: str, *, file: str) -> Playbook:
    """Read a playbook's YAML.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    return parse_yaml(Playbook, text, file=file)


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
            item = self._files[incident_class]
            playbook = parse(item.read_text(encoding="utf-8"), file=f"playbooks/catalog/{item.name}")
            if playbook.class_ is not incident_class:
                raise Misconfigured(f"a playbook's file is called after its class, {playbook.class_}", file=item.name)
            self._read[incident_class] = playbook
        return self._read[incident_class]

    def __iter__(self) -> Iterator[IncidentClass]:
        return iter({**self._files, **self._read})

    def __len__(self) -> int:
        return len(self._files.keys() | self._read.keys())


def shipped() -> dict[IncidentClass, Playbook]:
    """Return the playbooks that come with the product, by class."""
    return dict(Catalog())
