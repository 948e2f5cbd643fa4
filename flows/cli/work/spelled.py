"""What is masked of our own principals, spelled out at the responder's own terminal.

A principal whose name is an e-mail address is masked wherever personal data may leave the house. Whoever is asked at
their own terminal about the principal that stands in their own inventory has to know which one it is. Only whole
phrases of mcp-soar's own are spelled out, and only where they can mean but one: an address in somebody else's text
stays masked. Documents (`--json`, `report`) are masked as they are everywhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from pydantic import BaseModel

from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Plan, undoing
from playbooks.record.proof import Fact
from playbooks.record.state import Incident
from playbooks.text.redaction import mark, redacted

T = TypeVar("T")

_MARK = mark("e-mail")


class Spelling:
    """Phrases of ours as they are masked, and what they say.

    Args:
        phrases: what they say; of two that are masked alike neither is spelled out.
    """

    def __init__(self, phrases: Iterable[str] = ()) -> None:
        found: dict[str, set[str]] = {}
        for phrase in phrases:
            masked = redacted(phrase)
            # The mark alone could be anybody.
            if masked not in {phrase, _MARK}:
                found.setdefault(masked, set()).add(phrase)
        clear = {masked: said.pop() for masked, said in found.items() if len(said) == 1}
        self._clear = dict(sorted(clear.items(), key=lambda pair: len(pair[0]), reverse=True))

    def __call__(self, text: str) -> str:
        """Return a text with the phrases in it spelled out."""
        if _MARK not in text:
            return text
        for masked, said in self._clear.items():
            text = text.replace(masked, said)
        return text

    def whole(self, value: T) -> T:
        """Return what is shown with its texts spelled out, but for a plan: its digest is that of what it says."""
        return self._whole(value)  # type: ignore[return-value]  # of the same shape

    def _whole(self, value: object) -> object:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Fact):
            # Its phrase goes over its fields: of what it is says what was asked.
            said = self(f"{value.check} of {value.subject}: ").removeprefix(f"{value.check} of ").removesuffix(": ")
            return value.model_copy(update={"subject": said, "observed": self(value.observed)})
        if isinstance(value, BaseModel):
            names = (name for name in type(value).model_fields if name != "plan")
            return value.model_copy(update={name: self._whole(getattr(value, name)) for name in names})
        if isinstance(value, Mapping):
            return {key: one if key == "plan" else self._whole(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._whole(one) for one in value]
        return tuple(self._whole(one) for one in value) if isinstance(value, tuple) else value


def of(state: Incident, inventory: Inventory) -> Spelling:
    """Return what can be spelled out of an incident."""
    return Spelling(_phrases(state, inventory))


def _phrases(state: Incident, inventory: Inventory) -> Iterator[str]:
    things = [thing for thing in state.entities.values() if thing.principal in inventory.principals]
    yield from map(str, things)
    if state.requested_by:
        chosen = ", ".join(str(thing) for key, thing in state.entities.items() if key in state.chosen)
        yield f"{state.requested_by} contains {chosen}"
    for thing in things:
        name = thing.principal
        yield f"principal of principal {name}: "
        at = (inventory.principals[name or ""].gateway or ("GATEWAY",))[0]
        # What an earlier release wrote named another place.
        for place in (f"principals.{name}.places.{at}.held", f"principals.{name}.held"):
            yield f"not asked as {name} itself: no such token is held; name its place in {place}"
    plans = [step.plan for step in state.steps.values()] + [lease.plan for lease in state.leases.values()]
    for plan in plans:
        if plan is not None:
            yield from of_plan(plan, inventory)


def of_plan(plan: Plan, inventory: Inventory) -> Iterator[str]:
    """Yield the phrases of a plan that name a principal of the inventory."""
    named = {str(value) for value in plan.params.values()}
    named |= {value for target in plan.targets for value in (target.name, target.id)}
    masked = {value for value in named if redacted(value) != value}
    if len(masked) != 1:
        # Which of them a mark stands for cannot be told.
        return
    (who,) = masked
    if who not in inventory.principals and all(who not in one.users for one in inventory.principals.values()):
        # It is a stranger's.
        return
    for text in (plan.summary, undoing(plan.summary), plan.breaks):
        yield text.replace(_MARK, who)
    for end in (": ", ", asked as "):
        yield f"user of user {who}{end}"
    yield f"user {who}: it does"
