"""A setting of a system that is not as it should be, as the check `configuration` finds it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from playbooks.record.check import About, Found
from playbooks.taxonomy import IncidentClass, Severity

Ask = Callable[[], Awaitable[Sequence[Found]]]
"""Asks about one thing, and returns what is not as it should be; raises `SoarError` where that cannot be told."""

Asks = Mapping[str, Ask]
"""What is asked, by what it is about."""

LONGEST_ACCESS = 3600
"""Seconds that an access token may be good for: until then nobody may be able to take it back."""

LONGEST_KEY = 90
"""Days that a token may be good for that can be revoked."""


def setting(
    subject: str,
    what: str,
    observed: str,
    *,
    expected: str,
    severity: Severity,
    remedy: str,
    about: Sequence[About] = (),
) -> Found:
    """Return that a setting is not as it should be. What is of low severity is shown, and nobody is told of it.

    Args:
        subject: whose setting, as people call it.
        what: which.
        observed: what it is, after the word *is*.
        expected: what it should be.
        severity: how grave that is.
        remedy: what to do about it.
        about: what of the inventory it concerns.
    """
    return Found(
        id=f"{subject}/{what}",
        subject=subject,
        what=what,
        expected=expected,
        observed=observed,
        severity=severity,
        incident_class=IncidentClass.INSECURE_CONFIGURATION,
        remedy=remedy,
        state=f"{subject}\n{what}\n{observed}",
        rule=f"Insecure configuration: {what}"[:200],
        about=tuple(about),
        tells=severity >= Severity.MEDIUM,
    )
