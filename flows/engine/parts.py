"""What the engine works with, handed to it from outside: journal, connections, vault, and the rules people wrote."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from flows.engine.given_back import GivenBackBook
from flows.engine.memory import Memory
from flows.engine.people.reviews import ReviewBook
from integrations.journal.store import Journal
from integrations.siem.source import Sources
from integrations.signing import PublicKey, SigningKey
from integrations.vault import Vault
from playbooks.action import Action, Capture, Check, World
from playbooks.estate.places import Places
from playbooks.gate.policy import Policy
from playbooks.people.contacts import Contact, Contacts, Way
from playbooks.people.message import Channel
from playbooks.people.request import People
from playbooks.playbook import Playbook
from playbooks.taxonomy import IncidentClass
from playbooks.text.sentences import NONE, Sentences

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take, in seconds; tests shorten nothing that the engine's safety rests on.

    Args:
        claim: how long a claim lasts without being renewed.
        fresh: for how long what was read of a change's field need not be read again before it is written.
        turn: how long a change waits at most until its system takes it.
        question: how long a verification waits at most until its system takes its questions.
        write_retries: waits between attempts after an error that may pass.
        verify_retries: waits between verifications that did not find the containment in force.
        stopped: how often a stopped incident asks whether it may go on.
    """

    claim: float = 30.0
    fresh: float = 5.0
    turn: float = 15.0
    question: float = 60.0
    write_retries: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
    verify_retries: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0)
    stopped: float = 2.0


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the engine reaches.

    Args:
        name: this responder, as custody records and claims name it.
        journal: the journal, opened with the signing key.
        world: inventory and connections.
        vault: where exhibits go.
        bundles: the folder for the signed manifests of evidence.
        signer: the responder's key; manifests are signed with it.
        keys: every responder's public key, by id.
        policy: the gate's rules.
        playbooks: by class.
        steps: every action, capture and check, by name.
        titles: what each kind of system calls itself.
        sources: the configured senders of alerts.
        checks: what each check is called, of which runs are written down.
        asked: those of them that a worker may ask for, as it lacks what they take.
        people: who may ask for what; read anew for each request.
        contacts: whom there is to tell.
        channels: what sends to a contact by a way; raises `Misconfigured` if nothing does.
        templates: the configuration's own, by name, that stand instead of shipped ones.
        words: what the systems say, in other languages than English.
        timing: waits and time-outs.
        memory: what it remembers of the incidents that alerts join.
        reviews: who reviewed the approved definitions, as the journal has it.
        given_back: what people gave back though nobody approved it so, as the journal has it.
    """

    name: str
    journal: Journal
    world: World
    vault: Vault
    bundles: Path
    signer: SigningKey
    keys: Mapping[str, PublicKey]
    policy: Policy
    playbooks: Mapping[IncidentClass, Playbook]
    steps: Mapping[str, type[Action] | type[Capture] | type[Check]]
    sources: Sources
    people: Callable[[], People]
    contacts: Contacts
    channels: Callable[[Contact, Way], Channel]
    templates: Mapping[str, str] = field(default_factory=dict)
    words: Sentences = NONE
    titles: Mapping[str, str] = field(default_factory=dict)
    checks: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    reserve: int = 0
    timing: Timing = Timing()
    memory: Memory = field(default_factory=Memory)
    reviews: ReviewBook = field(default_factory=ReviewBook)
    given_back: GivenBackBook = field(default_factory=GivenBackBook)

    @property
    def places(self) -> Places:
        """Where what incidents are about stands, as the inventory has it now."""
        return Places(self.world.inventory, self.titles)
