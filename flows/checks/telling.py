"""What a run found, sent to the receiver: alerts of our own, and a record of the run for the journal.

Both are signed with the secret of the source `drift`, the one that a worker holds: it can say what it saw, and nothing
that a responder takes for anything else.
"""

import os
import ssl
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from flows.checks.running import Run
from flows.service import running, workers
from flows.service.settings import Configuration
from integrations.siem.sending import deliver
from integrations.siem.source import Source, read_keys
from playbooks.errors import SoarError
from playbooks.gate.corroboration import OWN_COMPARISON
from playbooks.record.check import Asked, Found, Ran, difference
from playbooks.strict import canonical, iso, now
from playbooks.taxonomy import MarkKind

SOURCE = OWN_COMPARISON
"""The source of `sources.yaml` in whose name is reported; without it, what is found is only shown."""

NOBODY = f"sources.yaml has no source {SOURCE} with a secret"

_KNOWN = frozenset({200, 202, 409})
"""Accepted, or reported before: the id is that of the difference, and the time in the message is not."""

_NAMED = 20
"""Things that one message names; what is beyond is counted in its title."""


class Message(NamedTuple):
    """An alert of ours, before it is signed.

    Args:
        number: the same one again counts once.
        about: how many findings it is about.
        alert: in our own format.
    """

    number: str
    about: int
    alert: dict[str, Any]


class Told(NamedTuple):
    """What became of a run's messages.

    Args:
        alerts: what there is to say of the alerts; empty if there was none to send.
        journal: why the journal does not have the run; empty if it has.
    """

    alerts: str
    journal: str


def tell(
    config: Configuration, run: Run, by: Literal["schedule", "hand"], before: Ran | None, beside: Sequence[Ran] = ()
) -> Told:
    """Send what was found, and then that it ran; return what became of it.

    Args:
        config: the configuration.
        run: the run.
        by: what started it.
        before: the run before, if it is known.
        beside: the last run of every other check.
    """
    alerts, source = told_of(config, run, before), _source(config)
    if source is None:
        return Told(alerts, _NOBODY)
    ran = run.ran(by, before, beside)
    number = f"ran-{ran.check}-{ran.began:%Y%m%dT%H%M%S%f}"
    return Told(alerts, _sent(config, source, "checks", number, ran.model_dump(mode="json")))


_NOBODY = f"sources.yaml has no source {SOURCE} with a secret."


def _source(config: Configuration) -> Source | None:
    source = config.sources.sources.get(SOURCE)
    return source if source is not None and source.secrets else None


def told_of(config: Configuration, run: Run, before: Ran | None) -> str:
    """Send what was found, and nothing of the run; return what became of it, empty if there was nothing to send.

    Args:
        config: the configuration.
        run: the run.
        before: the run before, if it is known.
    """
    wanted, source = messages(run, before, now()), _source(config)
    if not wanted or source is None:
        return f"Nobody was told: {_NOBODY}" if wanted else ""
    failed, accepted = "", 0
    for one in wanted:
        fault = _sent(config, source, "alerts", one.number, one.alert)
        failed, accepted = fault or failed, accepted + (0 if fault else one.about)
    said = f"{accepted} of {sum(one.about for one in wanted)} were reported to the receiver as {SOURCE}."
    return f"{said} It answered: {failed}." if failed else said


def ask(config: Configuration, check: str) -> str:
    """Ask that a check be run by who has what it takes, and return why nobody was asked; empty if it was taken.

    Args:
        config: the configuration.
        check: which.
    """
    source = config.sources.sources.get(SOURCE)
    if source is None or not source.secrets:
        return f"{NOBODY}, in whose name a worker asks"
    at = now()
    return _sent(config, source, "checks", f"ask-{check}-{at:%Y%m%dT%H%M%S%f}", Asked(asked=check).model_dump())


def messages(run: Run, before: Ran | None, at: datetime) -> list[Message]:
    """Return the alerts that tell what was found: of each finding one, or one of those that are told together.

    Args:
        run: the run.
        before: the run before, if it is known.
        at: the present moment.
    """
    together: dict[str, list[Found]] = {}
    alone = []
    for one in run.found:
        if one.tells and one.together:
            together.setdefault(one.together, []).append(one)
        elif one.tells:
            alone.append([one])
    # A message names few, and whoever makes them chooses their names: what brings in a place is named first.
    for some in together.values():
        some.sort(key=lambda one: (all(kind is not MarkKind.INDICATOR for kind, _ in one.marks), -one.severity))
    since = run.since(before)
    found = []
    for some in (*alone, *together.values()):
        which = f"{at:%Y%m%d}" if run.check.daily else f"{max(since[one.key] for one in some):%Y%m%dT%H%M%S}"
        found.append(Message(f"{run.check.name}-{which}-{difference(*some)}", len(some), alert(some, at)))
    return found


def alert(some: Sequence[Found], at: datetime) -> dict[str, Any]:
    """Return the alert about some findings, in our own format.

    Args:
        some: those that are told together.
        at: when.
    """
    one, more = some[0], len(some) - 1
    said = f"{one.subject} and {more} more are {one.observed}" if more and not one.what else one.said
    said += f", and {more} more" if more and one.what else ""
    return {
        "version": 1,
        # With what differs: to people who gave one difference back as it was, another one is news.
        "id": f"{one.id[:1900]} {difference(*some)}",
        "rule": one.rule,
        "title": f"{said}; it should be {one.expected}",
        "severity": one.severity.label,
        "detected_at": iso(at),
        "tags": list(one.tags) or [one.incident_class.value],
        "entities": [
            {"kind": thing.kind.value, "name": thing.name, **({"server": thing.server} if thing.server else {})}
            for thing in dict.fromkeys(thing for each in some for thing in each.about)
        ][:_NAMED],
        "excerpt": "\n".join(each.diff or each.remedy for each in some)[:2000],
        "marks": [{"kind": kind.value, "value": text} for each in some for kind, text in each.marks][:_NAMED],
    }


def _sent(config: Configuration, source: Source, where: str, number: str, message: dict[str, Any]) -> str:
    """Send a message, and return why it was not taken; empty if it was."""
    base, context = address(config)
    try:
        keys = read_keys(SOURCE, source)
        status, answer = deliver(f"{base}/v1/{where}/{SOURCE}", source, keys, number, canonical(message), context)
    except (SoarError, OSError) as exc:
        return str(exc)
    return "" if status in _KNOWN else f"{status} {answer.get('detail') or answer.get('title') or ''}".strip()


def address(config: Configuration) -> tuple[str, ssl.SSLContext]:
    """Return where the receiver is, and whose certificates count there.

    Args:
        config: the configuration.
    """
    receiver = config.settings.receiver
    host = f"[{receiver.host}]" if ":" in receiver.host else receiver.host
    by_file = f"{'https' if receiver.tls else 'http'}://{host}:{receiver.port}"
    base = os.environ.get(workers.RECEIVER) or running.served(config.folder).get("receiver") or by_file
    certificate = str(config.path(receiver.certificate)) if receiver.certificate else None
    return base.rstrip("/"), ssl.create_default_context(cafile=certificate)
