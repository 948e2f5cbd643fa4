"""A playbook's own test, as data beside it: a world, an alert, and what the response to it has to come to.

The contract test of the playbooks runs each on real systems, so a playbook without a drill does not ship.
"""

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from playbooks.gate.policy import SeverityName
from playbooks.playbook import Playbook
from playbooks.record.incident import EntityKind, Phase, Severity, Status
from playbooks.record.step import Progress
from playbooks.strict import Line, Name, Slug, Strict, parse_yaml

Client = Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")]
"""One token of a principal of the lab's world, as `agent/agent`."""


class Attack(Strict):
    """How the lab's server behaves while it is attacked.

    Args:
        poisoned: tools whose description carries instructions for the model.
        described: tools whose description is another one.
        added: tools that nobody approved.
        injecting: answers carry instructions for the model.
        documents: the prompt and the resource carry instructions for the model.
    """

    poisoned: tuple[Name, ...] = ()
    described: dict[Name, Line] = Field(default_factory=dict)
    added: tuple[Name, ...] = ()
    injecting: bool = False
    documents: bool = False


class Users(Strict):
    """Who uses the lab's gateway beside its agent, which always has the token `agent`.

    Args:
        principals: each with the names of its tokens, all of which are held.
        cluster: the lab's server runs on a Kubernetes cluster too, as two pods.
        enforces: the cluster's network enforces NetworkPolicies.
        signed_in: principals that are signed in at an identity provider, each with an access token, `WHO-session`, and
            a refresh token, `WHO-laptop`, which are held.
        keycloak: that provider is a Keycloak, where each is signed in once more, offline, with a refresh token `phone`.
        listed: principals that use a JWT each, `WHO-jwt`, at a server that asks a deny list about it, which is held.
        subscribed: principals whose sessions an application keeps that listens to security events.
        clients: principals that are clients there which act for themselves, each with an access token, `WHO-session`,
            which is held.
    """

    principals: dict[Slug, tuple[Slug, ...]] = Field(default_factory=dict)
    cluster: bool = False
    enforces: bool = False
    signed_in: tuple[Slug, ...] = ()
    keycloak: bool = False
    clients: tuple[Slug, ...] = ()
    listed: tuple[Slug, ...] = ()
    subscribed: tuple[Slug, ...] = ()

    @model_validator(mode="after")
    def _clients_are_of_a_keycloak(self) -> Self:
        if self.clients and not self.keycloak:
            message = "clients: only a Keycloak has them: write `keycloak: true`"
            raise ValueError(message)
        return self


class About(Strict):
    """One thing that the alert names."""

    kind: EntityKind
    name: Name


class Given(Strict):
    """The alert.

    Args:
        tag: which the source's configuration maps to the class.
        severity: of the alert.
        server: it names the lab's server, and what it names of one is that server's.
        entities: what it names beside.
        chosen: a person names its server then, as `mcp-soar respond ID --about server:NAME` does.
    """

    tag: Slug
    severity: SeverityName = Severity.HIGH
    server: bool = True
    entities: tuple[About, ...] = ()
    chosen: bool = False

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.server and not self.entities:
            message = "entities: an alert that names nothing is nobody's incident; name something, or `server: true`"
            raise ValueError(message)
        if self.chosen and not self.server:
            message = "chosen: there is no server to choose; write `server: true`"
            raise ValueError(message)
        return self


class StepEnds(Strict):
    """How one step has to end.

    Args:
        id: of the playbook.
        phase: where it runs.
        ends: where it stands when the evidence is sealed and people have answered.
    """

    id: Slug
    phase: Phase
    ends: Progress


class Asked(Strict):
    """What a person is asked about, and says. Until then nothing of it is done, and all evidence is sealed.

    Args:
        step: of the playbook.
        because: part of the reasons that they read.
        says: their answer.
        by: who says it, one after the other.
    """

    step: Slug
    because: Line
    says: Literal["approve", "deny"] = "approve"
    by: tuple[Literal["ann", "bob"], ...] = Field(default=("bob",), min_length=1)


class Expected(Strict):
    """What the response has to come to.

    Args:
        status: of the incident.
        asked: what people are asked about; every other cut is automatic.
        steps: every step of the playbook that runs, in order; twice if it ends otherwise for another thing.
        exhibits: the kinds that are sealed, the raw alert among them.
        unusable: tools that an agent cannot use then; `prompt NAME` and `resource NAME` beside.
        usable: what it still can.
        locked_out: clients that the gateway turns away then.
        let_in: clients that it still answers.
        pods: how many there are on the cluster, in such a world.
        worthless: tokens that the identity provider takes for nothing then, and after a release; the others it takes.
        turned_away: tokens that a server which asks a deny list turns away then, and takes again after a release.
        told: principals of whose sessions an application that listens was told, once each.
        notices: what people are told of, by the first word.
    """

    status: Status
    asked: tuple[Asked, ...] = ()
    steps: tuple[StepEnds, ...] = Field(min_length=1)
    exhibits: tuple[Slug, ...]
    unusable: tuple[Name, ...] = ()
    usable: tuple[Name, ...] = ()
    locked_out: tuple[Client, ...] = ()
    let_in: tuple[Client, ...] = ()
    pods: int | None = None
    worthless: tuple[Slug, ...] = ()
    turned_away: tuple[Slug, ...] = ()
    told: tuple[Slug, ...] = ()
    notices: tuple[Slug, ...]


class Recovered(Strict):
    """What a release, once the server behaves again, has to come to.

    Args:
        refused_while_attacked: asked for before that, it waits for another person.
        approved: it waits for another person in any case, who agrees.
        status: of the incident.
        usable: what an agent can use again.
        let_in: clients that the gateway answers again.
        lost: clients that it turns away for good; beside them the gateway is byte for byte what it was before.
        pods: how many there are on the cluster again, in such a world.
    """

    refused_while_attacked: bool = True
    approved: bool = False
    status: Status = Status.RELEASED
    usable: tuple[Name, ...] = ()
    let_in: tuple[Client, ...] = ()
    lost: tuple[Client, ...] = ()
    pods: int | None = None


class Drill(Strict):
    """One exercise.

    Args:
        version: of this format.
        playbook: whose.
        title: one line.
        world: who is there.
        attack: what the server does.
        alert: what a source says of it.
        expected: what comes of that.
        release: what comes of a release; None where nothing can be given back, and then the incident can be closed.
    """

    version: Literal[1]
    playbook: Slug
    title: Line
    world: Users = Users()
    attack: Attack = Attack()
    alert: Given
    expected: Expected
    release: Recovered | None = None

    @property
    def tries(self) -> frozenset[str]:
        """The steps that it really runs: not those that people say no to, or that have no place in its world."""
        return frozenset(one.id for one in self.expected.steps if one.ends not in {Progress.SKIPPED, Progress.DENIED})

    @model_validator(mode="after")
    def _pods_are_of_a_cluster(self) -> Self:
        counted = [self.expected.pods, *([self.release.pods] if self.release else [])]
        if any((pods is None) is self.world.cluster for pods in counted):
            message = "pods: with `world: {cluster: true}`, and only there, say how many are left, and are back"
            raise ValueError(message)
        return self


def drills_of(playbook: Playbook, folder: Traversable | None = None) -> dict[str, Drill]:
    """Return the drills that lie beside a playbook, by their files' names; none if it has none.

    `NAME.drill.yaml` is the first; one playbook may have more, as `NAME.tool.drill.yaml`.

    Args:
        playbook: whose.
        folder: where it lies; with those that ship if None.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    beside = folder or resources.files("playbooks").joinpath("catalog")
    files = sorted((one for one in beside.iterdir() if belongs(one.name, playbook.id)), key=lambda one: one.name)
    return {file.name: parse_yaml(Drill, file.read_text(encoding="utf-8"), file=str(file)) for file in files}


def amiss(drill: Drill, playbook: Playbook) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield where a drill is about something else than its playbook, each with what to write.

    Args:
        drill: which was read as one.
        playbook: that it lies beside.
    """
    if drill.playbook != playbook.id:
        yield ("playbook",), f"is {drill.playbook}, and it lies beside {playbook.id}: write that"
    phases = {step.id: phase for phase, step in playbook.steps()}
    known = ", ".join(phases)
    for number, ends in enumerate(drill.expected.steps):
        place = ("expected", "steps", number)
        if ends.id not in phases:
            yield (*place, "id"), f"{playbook.id} has no step {ends.id}; it has {known}"
        elif phases[ends.id] is not ends.phase:
            yield (*place, "phase"), f"{ends.id} is a step of {phases[ends.id]}: write that"
    for number, asked in enumerate(drill.expected.asked):
        if asked.step not in phases:
            yield ("expected", "asked", number, "step"), f"{playbook.id} has no step {asked.step}; it has {known}"


def belongs(file: str, playbook: str) -> bool:
    """Whether a file's name is that of a drill of a playbook."""
    return file.startswith(f"{playbook}.") and file.endswith(".drill.yaml")
