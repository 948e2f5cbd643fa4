"""What an incident holds and what it gave back, as far as whoever joins alerts has to know it. Pure.

Read on from entry to entry, so that a flood reads none twice. `playbooks.record.projection` says how an incident
stands; this says only whether an alert about something finds it contained there, or asked about.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from playbooks.estate.inventory import Resolved
from playbooks.gate.plan import Plan
from playbooks.gate.policy import Purpose
from playbooks.record.given_back import ACCEPTS, UNAPPROVED
from playbooks.record.incident import Entity, EntityKind
from playbooks.record.step import about_of

KINDS = ("proposed", "intended", "release_intended", "released")
"""The kinds of entries that it is made of."""

_About = dict[str, frozenset[str]]
"""Cut → keys of what it is about."""


class Holding:
    """What an incident holds and what it gave back."""

    def __init__(self) -> None:
        self._asked: _About = {}
        """What people were asked about, and nothing was done of yet."""
        self._held: _About = {}
        self._for_good: _About = {}
        """What cannot be taken back: once it is confirmed, there is nothing of it to give back."""
        self._back: _About = {}
        self.as_found = False
        """Whether something came back that is not as it was approved: people knew that it differs."""

    def copy(self) -> "Holding":
        """Return one that goes its own way from here."""
        other = Holding()
        other._asked, other._held = self._asked.copy(), self._held.copy()
        other._for_good, other._back = self._for_good.copy(), self._back.copy()
        other.as_found = self.as_found
        return other

    def take(self, kind: str, body: Mapping[str, Any]) -> None:
        """Take in an entry of one of `KINDS`."""
        instance = str(body["instance"])
        if kind in {"proposed", "intended"}:
            plan = Plan.model_validate(body["plan"])
            # The first release did not say what a step was about.
            about = about_of(body.get("entity", ""), plan)
            if kind == "intended":
                self._asked.pop(instance, None)
                self._back.pop(instance, None)
                (self._for_good if plan.irreversible else self._held)[instance] = about
            elif body["purpose"] == Purpose.CONTAIN:
                self._asked[instance] = about
            return
        if kind == "release_intended":
            self.as_found = self.as_found or not {ACCEPTS, UNAPPROVED}.isdisjoint(body["plan"]["params"])
        # From the moment that it is decided: nothing of it is cut there again, whatever comes.
        for held in (self._held, self._for_good):
            if instance in held:
                self._back[instance] = held.pop(instance)

    def gave_back(self, known: Collection[Resolved], unknown: Iterable[Entity], named: Collection[str]) -> bool:
        """Return whether something that an alert is about was given back, so that it is contained there no longer.

        What was given back at one place and is held at another counts as given back.

        Args:
            known: what the alert is about, of what the inventory knows.
            unknown: what it names beside.
            named: keys of the servers that it names themselves, and not as the home of something.
        """
        if not self._back:
            return False
        back, held, asked = (frozenset[str]().union(*about.values()) for about in (self._back, self._held, self._asked))
        homes = {thing.server for thing in known if thing.server}
        things = {thing.key for thing in known if thing.kind is not EntityKind.SERVER}
        things |= {f"{one.kind}:{home}/{one.name}" for one in unknown for home in (one.server, *homes) if home}
        servers = {Resolved(kind=EntityKind.SERVER, id=home, server=home).key for home in homes} & back
        if things & back or servers & set(named):
            return True
        # Of what else it is about: whoever names a server only to say whose a thing is speaks of the thing.
        seen_to = bool(things) and things <= held | asked
        return not seen_to and bool(servers or not self._held)
