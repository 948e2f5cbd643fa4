"""Which alerts a person may keep from opening incidents for a while: a source's, a rule's, or one rule's of one source.

A suppression hides what it names and nothing else, and never what an authenticated source calls critical: quieting
noise must not be the first step of an attack.
"""

from collections.abc import Collection
from typing import Annotated, NamedTuple

from pydantic import Field

from playbooks.errors import Refused
from playbooks.record.incident import Severity
from playbooks.strict import Strict

FORMS = "source:NAME, rule:NAME or rule:SOURCE/NAME"


class Scope(NamedTuple):
    """What a suppression names; at least one of the two is given.

    Args:
        source: alerts of that source only.
        rule: alerts of that rule only.
    """

    source: str | None
    rule: str | None

    def hides(self, *, source: str, rule: str, severity: Severity, authenticated: bool) -> bool:
        """Return whether an alert is among those that it names.

        Args:
            source: the alert's source, as configured.
            rule: the alert's rule, as it says.
            severity: as it says.
            authenticated: whether the source proves who it is.
        """
        if self.source is None and self.rule is None:
            return False
        if authenticated and severity >= Severity.CRITICAL:
            return False
        return self.source in {None, source} and self.rule in {None, rule}


class Suppressing(Strict):
    """What a `suppress` says.

    Args:
        seconds: how long, from when it is accepted.
    """

    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)]


def scope_of(text: str, sources: Collection[str]) -> Scope:
    """Return what a scope's text means.

    Args:
        text: in one of `FORMS`. A rule's own name may hold a slash: what stands before it is a source only if one is
            configured by that name.
        sources: the configured ones.

    Raises:
        Refused: if it means nothing.
    """
    found = meanings(text)
    if not found:
        raise Refused(f"write a scope: {FORMS}")
    known = [scope for scope in found if scope.source in {None, *sources}]
    if not known:
        raise Refused(f"there is no source {found[0].source}; sources.yaml has {', '.join(sorted(sources)) or 'none'}")
    return known[0]


def meanings(text: str) -> tuple[Scope, ...]:
    """Return everything that a scope's text can mean, the narrowest first.

    Args:
        text: as a person signed it.
    """
    kind, _, name = text.partition(":")
    if kind == "source" and name:
        return (Scope(source=name, rule=None),)
    if kind == "rule" and name:
        source, slash, rule = name.partition("/")
        one = (Scope(source=source, rule=rule),) if source and slash and rule else ()
        return (*one, Scope(source=None, rule=name))
    return ()
