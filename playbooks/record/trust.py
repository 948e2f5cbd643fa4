"""How far a server is trusted: a tier, by what checks found of it, with its reasons and its history. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from types import MappingProxyType
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from playbooks.strict import Moment, RedactedLine, Slug, Strict
from playbooks.taxonomy import IncidentClass, Severity

AUTHENTICATION: Final = "authentication"
"""The property of a server that it asks for credentials, as a finding calls it."""

LENGTH: Final = "how long its answers are"
FORM: Final = "which fields its answers have"
PLACES: Final = "where its answers point"
"""What of a server's answers may be another on another day, as a finding calls it."""

REASONS: Final = 5
"""Reasons that are kept of one tier."""

CHANGES: Final = 10
"""Earlier tiers that are kept of one server."""


class Tier(IntEnum):
    """How far, the worst first."""

    MALICIOUS = 1
    SUSPECT = 2
    EXPOSED = 3
    WEAK = 4
    SOUND = 5
    UNKNOWN = 6

    def __str__(self) -> str:
        return f"Tier {int(self)} - {self.name.lower()}" if self is not Tier.UNKNOWN else "no tier - unknown"

    @property
    def means(self) -> str:
        """What it says, in one sentence."""
        return _MEANS[self]


_MEANS: Final[Mapping[Tier, str]] = MappingProxyType(
    {
        Tier.MALICIOUS: "it behaves badly, and serves whoever asks",
        Tier.SUSPECT: "it behaves badly, or is not the one it was",
        Tier.EXPOSED: "something grave is not as it should be",
        Tier.WEAK: "something is not as it should be",
        Tier.SOUND: "all that was asked is as it should be",
        Tier.UNKNOWN: "it could not be asked",
    }
)

_MAY_BE_OURS: Final = frozenset(
    {
        ("drift", ""),
        ("probing", "certificate"),
        ("probing", "signed manifest"),
        *(("behaviour", what) for what in (LENGTH, FORM, PLACES)),
    }
)
"""What differs from what people approved: whoever runs the server may have changed it, so that alone is not bad."""


class Reason(NamedTuple):
    """Something that speaks against a server.

    Args:
        check: which found it.
        what: the property, empty for a thing of the server itself.
        said: it in one sentence; hostile.
        severity: how grave.
        incident_class: what an alert of it is.
    """

    check: str
    what: str
    said: str
    severity: Severity
    incident_class: IncidentClass

    @property
    def bad(self) -> bool:
        """Whether it is bad behaviour, and not only bad care."""
        careless = self.incident_class is IncidentClass.INSECURE_CONFIGURATION
        return not careless and (self.check, self.what) not in _MAY_BE_OURS


class Judged(NamedTuple):
    """How far a server is trusted now.

    Args:
        server: as the inventory names it.
        tier: how far.
        reasons: why, the gravest first.
    """

    server: str
    tier: Tier
    reasons: tuple[str, ...]


def judged(server: str, reasons: Iterable[Reason], *, open_to_all: bool, unknown: Sequence[str] = ()) -> Judged:
    """Return how far a server is trusted.

    Args:
        server: as the inventory names it.
        reasons: what checks found of it.
        open_to_all: it is meant to serve whoever asks.
        unknown: why something of it could not be asked; what is not known is never called sound.
    """
    known = sorted(reasons, key=lambda one: (not one.bad, -one.severity, one.said))
    bad = any(one.bad for one in known)
    if bad and (open_to_all or any(one.what == AUTHENTICATION for one in known)):
        tier = Tier.MALICIOUS
    elif bad or any(one.incident_class is IncidentClass.SERVER_SPOOFING for one in known):
        tier = Tier.SUSPECT
    elif any(one.severity >= Severity.HIGH for one in known):
        tier = Tier.EXPOSED
    elif known:
        tier = Tier.WEAK
    else:
        tier = Tier.UNKNOWN if unknown else Tier.SOUND
    said = [*(one.said for one in known), *(f"not known: {why}" for why in unknown)]
    return Judged(server, tier, tuple(said[:REASONS]))


_Tier = Annotated[int, Field(ge=min(Tier), le=max(Tier))]


class Earlier(Strict):
    """A tier that a server had, and since when."""

    tier: _Tier
    since: Moment


class KeptTrust(Strict):
    """A server's tier, as the journal keeps it.

    Args:
        server: as the inventory names it.
        tier: see `Tier`.
        since: of the first run that judged it so, without one between that did not.
        reasons: why.
        earlier: what it was before, the latest first.
    """

    server: Slug
    tier: _Tier
    since: Moment
    reasons: Annotated[tuple[Annotated[RedactedLine, Field(max_length=2000)], ...], Field(max_length=REASONS)]
    earlier: Annotated[tuple[Earlier, ...], Field(max_length=CHANGES)] = ()

    @property
    def words(self) -> str:
        """The tier, as people call it."""
        return str(Tier(self.tier))


def kept(some: Sequence[Judged], before: Iterable[KeptTrust], at: datetime, most: int) -> tuple[KeptTrust, ...]:
    """Return what the journal keeps of some servers' tiers, the worst first, with their history.

    Args:
        some: the servers.
        before: what it kept of the run before.
        at: when they were judged.
        most: servers that are kept.
    """
    known = {one.server: one for one in before}
    found = []
    for one in sorted(some, key=lambda each: (each.tier, each.server))[:most]:
        was = known.get(one.server)
        if was is not None and was.tier == one.tier:
            since, earlier = was.since, was.earlier
        elif was is not None:
            since, earlier = at, (Earlier(tier=was.tier, since=was.since), *was.earlier)[:CHANGES]
        else:
            since, earlier = at, ()
        found.append(
            KeptTrust(server=one.server, tier=int(one.tier), since=since, reasons=one.reasons, earlier=earlier)
        )
    return tuple(found)
