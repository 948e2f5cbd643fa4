"""Ordered rules of what may be done without a person: the first that fits decides, and what fits none a person does.

A rule that says less is about more: what it does not name is any. Of a thing that belongs to no server nobody knows an
environment or how critical it is: a rule that names one makes it automatic never, and asks a person about it always.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Final, NamedTuple, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field

from playbooks.estate.inventory import Criticality, Environment, Inventory, Server
from playbooks.gate.plan import Plan, Radius
from playbooks.record.incident import Confidence, Severity
from playbooks.strict import Line, Slug, Strict
from playbooks.taxonomy import IncidentClass
from playbooks.text.sentences import say

T = TypeVar("T")


def by_name(enum: type[Severity | Confidence | Radius | Criticality]) -> BeforeValidator:
    """Return what reads a number of ours by its name, as people write it.

    Args:
        enum: the numbers, each with its name.
    """

    def read(value: object) -> object:
        if isinstance(value, str):
            if value.upper() not in enum.__members__:
                message = f"is not one of {', '.join(name.lower() for name in enum.__members__)}"
                raise ValueError(message)
            return enum[value.upper()]
        return value

    return BeforeValidator(read)


RadiusName = Annotated[Radius, by_name(Radius)]
CriticalityName = Annotated[Criticality, by_name(Criticality)]


class Mode(StrEnum):
    """What may be done without a person."""

    AUTOMATIC = "automatic"
    APPROVE = "approve"


def _listed(value: object) -> object:
    if value == []:
        # Whoever strikes the last one out of a list does not mean all there are.
        message = "name one at least, or leave it out if any is meant"
        raise ValueError(message)
    return (value,) if isinstance(value, str) else value


Some = Annotated[tuple[T, ...], BeforeValidator(_listed)]
"""One or several, as `prod` or `[test, prod]`; none is any."""


class Rule(Strict):
    """One rule: what it is about, and what that may do.

    Args:
        classes: of the incident.
        action: what would be done, as `gateway.disable_tool`.
        system: where, as an action's name begins: `gateway`.
        environment: of the server that is touched.
        criticality: likewise.
        mode: automatic, or a person is asked.
        up_to: the widest radius that it makes automatic; if None, as wide as the policy ever is.
    """

    model_config = ConfigDict(populate_by_name=True)

    classes: Some[IncidentClass] = Field(default=(), alias="class")
    action: Some[Line] = ()
    system: Some[Slug] = ()
    environment: Some[Environment] = ()
    criticality: Some[CriticalityName] = ()
    mode: Mode
    up_to: RadiusName | None = None

    @property
    def about(self) -> str:
        """What it is about, as it is written."""
        said = {
            "class": [one.value for one in self.classes],
            "action": self.action,
            "system": self.system,
            "environment": [one.value for one in self.environment],
            "criticality": [one.name.lower() for one in self.criticality],
        }
        return "; ".join(f"{name}: {', '.join(values)}" for name, values in said.items() if values) or "everything"

    @property
    def by_class_alone(self) -> bool:
        """Whether it asks for nothing but a class."""
        return bool(self.classes) and not (self.action or self.system or self.of_servers)

    @property
    def of_servers(self) -> bool:
        """Whether it asks what kind of server is touched."""
        return bool(self.environment or self.criticality)

    def of_step(self, incident_class: IncidentClass, action: str) -> bool:
        """Whether it is about an action in incidents of a class, whatever that touches."""
        return (
            _in(incident_class, self.classes)
            and _in(action, self.action)
            and _in(action.partition(".")[0], self.system)
        )

    def fits(self, incident_class: IncidentClass, action: str, server: Server | None) -> bool:
        """Whether it decides about what an action does to things of a server.

        Args:
            incident_class: of the incident.
            action: what would be done.
            server: None if the things belong to none.
        """
        if not self.of_step(incident_class, action):
            return False
        if server is None:
            return not self.of_servers or self.mode is Mode.APPROVE
        return _in(server.environment, self.environment) and _in(server.criticality, self.criticality)

    def leaves_nothing_of(self, later: "Rule") -> bool:
        """Whether all that a later one is about is decided by this one."""
        if self.of_servers and (self.mode, later.mode) == (Mode.AUTOMATIC, Mode.APPROVE):
            # What belongs to no server is left.
            return False
        inside = {one.partition(".")[0] for one in later.action}
        systems = _within(later.system, self.system) or (bool(inside) and inside <= set(self.system))
        return (
            systems
            and _within(later.classes, self.classes)
            and _within(later.action, self.action)
            and _within(later.environment, self.environment)
            and _within(later.criticality, self.criticality)
        )


def _in(one: T, those: Sequence[T]) -> bool:
    return not those or one in those


def _within(those: Sequence[T], wide: Sequence[T]) -> bool:
    return not wide or (bool(those) and set(those) <= set(wide))


def by_class(modes: Mapping[IncidentClass, Mode]) -> tuple[Rule, ...]:
    """Return the rules that say what a mode for each class says, as policies of before have it."""
    return tuple(Rule(classes=(one,), mode=mode) for one, mode in modes.items())


class Ruled(NamedTuple):
    """Which rule decides about something.

    Args:
        number: of the rule, from 1; 0 if none fits.
        rule: None if none fits.
    """

    number: int
    rule: Rule | None

    @property
    def automatic(self) -> bool:
        """Whether it may be done without a person, as far as rules go."""
        return self.rule is not None and self.rule.mode is Mode.AUTOMATIC

    def up_to(self, most: Radius) -> Radius:
        """Return the widest that it makes automatic.

        Args:
            most: the widest that anything is.
        """
        return min(self.rule.up_to or most, most) if self.rule else most

    def said(self, most: Radius) -> str:
        """Return which one it is and what it says, for people.

        Args:
            most: the widest that anything is.
        """
        if self.rule is None:
            return NONE_FITS
        says = f"automatic up to a {self.up_to(most).name.lower()}" if self.automatic else "a person decides"
        return f"rule {self.number} of policy.yaml ({self.rule.about}): {says}"


NONE_FITS: Final = say("no rule of policy.yaml fits it, so a person decides")
"""Why a person is asked about what the rules do not know."""

_UNRULED: Final = Ruled(0, None)


def ruled(rules: Sequence[Rule], plan: Plan, incident_class: IncidentClass, inventory: Inventory) -> tuple[Ruled, ...]:
    """Return which rules decide about a plan, each once: the first that fits each thing; all have to agree.

    Args:
        rules: in their order.
        plan: what would be done.
        incident_class: of the incident.
        inventory: says what kind of server is touched.
    """
    found: dict[int, Ruled] = {}
    for name in dict.fromkeys(change.target.server for change in plan.changes):
        server = inventory.servers.get(name) if name else None
        fitting = (Ruled(n, rule) for n, rule in enumerate(rules, 1) if rule.fits(incident_class, plan.action, server))
        one = next(fitting, _UNRULED)
        found[one.number] = one
    return tuple(found.values())


def unreachable(rules: Sequence[Rule]) -> Iterator[tuple[int, int]]:
    """Yield each rule that never decides anything, and the one above that does: their places from 0."""
    for later, rule in enumerate(rules):
        for above in range(later):
            if rules[above].leaves_nothing_of(rule):
                yield later, above
                break
