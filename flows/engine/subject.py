"""The incident that a person's request is about, and the answer that goes on record with it."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from flows.engine.case import PREFIX
from integrations.journal.store import Tx
from playbooks.errors import Refused
from playbooks.people.request import Request
from playbooks.record.journal import Event
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.strict import Json, Strict
from playbooks.text.redaction import masked, redacted

M = TypeVar("M", bound=Strict)


def answer(request: Request, *, accepted: bool, reason: str) -> Event:
    """Return the entry that says what became of a request."""
    params: Mapping[str, Json] = request.params
    body: dict[str, Json] = {
        "verb": request.verb.value,
        "actor": request.actor,
        "nonce": request.nonce,
        "accepted": accepted,
        "reason": redacted(reason, 2000),
        "params": masked(dict(params)),
    }
    return Event("request", body, request.actor)


async def subject(tx: Tx, request: Request, *, closed: bool = False) -> tuple[str, Incident]:
    """Return the stream and the state of the incident that a request names.

    Args:
        tx: the transaction that it is judged in.
        request: the request.
        closed: whether a closed incident will do. What is remembered of one goes on (notes, who looks after it, a
            legal hold); what is done to the world does not.

    Raises:
        Refused: there is none, it is frozen, or it is closed.
    """
    return await open_incident_of(tx, request.subject, closed=closed)


async def open_incident_of(tx: Tx, name: str, *, closed: bool = False) -> tuple[str, Incident]:
    """Return the stream and the state of an incident by its id; see `subject`.

    Raises:
        Refused: there is none, it is frozen, or it is closed.
    """
    stream = f"{PREFIX}{name}"
    row = await tx.stream(stream)
    if row is None:
        raise Refused(f"there is no incident {name}")
    if row.frozen:
        raise _frozen(name, row.frozen)
    state = project(name, await tx.read(stream))
    if not closed:
        still_open(state)
    return stream, state


def still_open(state: Incident) -> None:
    """Refuse what is asked of an incident that is over.

    Raises:
        Refused: it is frozen, or closed.
    """
    if state.frozen:
        raise _frozen(state.id, state.frozen)
    if state.closed_at:
        raise Refused(
            f"{state.id} is closed; a closed incident never reopens: `mcp-soar contain`, or `respond` with"
            " --class, begins another about the same, linked to it"
        )


def _frozen(name: str, why: str) -> Refused:
    return Refused(f"{name} is frozen ({why}): its journal has to be looked at first")


def said(model: type[M], request: Request) -> M:
    """Return what a request says beside its verb.

    Raises:
        Refused: naming the field.
    """
    try:
        return model.model_validate(request.params)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(f"{where}: {first['msg']}") from exc
