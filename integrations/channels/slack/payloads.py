"""What Slack sends when somebody presses something, less all that we do not need. Whoever sends it is not trusted.

See https://docs.slack.dev/reference/interaction-payloads
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

M = TypeVar("M", bound=BaseModel)

LARGEST = 1_000_000
"""Characters of one envelope; a message of 50 full blocks has a fifth of that."""

_Ts = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,12}\.[0-9]{1,12}$")]


class _Payload(BaseModel):
    """Fields of the right type and length. Slack adds others as it likes."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Envelope(_Payload):
    """What comes over the socket: https://docs.slack.dev/apis/events-api/using-socket-mode."""

    type: Annotated[str, StringConstraints(max_length=100)]
    envelope_id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    payload: dict[str, Any]


class Who(_Payload):
    """Who pressed: a hint, no proof."""

    id: Annotated[str, StringConstraints(pattern=r"^[UW][A-Z0-9]{2,20}$")]


class Place(_Payload):
    """Where the message stands."""

    id: Annotated[str, StringConstraints(pattern=r"^[CGD][A-Z0-9]{2,20}$")]


class Where(_Payload):
    """Which message it was."""

    ts: _Ts
    thread_ts: _Ts | None = None


class Pressed(_Payload):
    """The button."""

    action_id: Annotated[str, StringConstraints(max_length=255)]
    value: Annotated[str, StringConstraints(max_length=2000)]


class Press(_Payload):
    """A button of a message was pressed."""

    type: Literal["block_actions"]
    user: Who
    trigger_id: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    channel: Place
    message: Where
    actions: Annotated[list[Pressed], Field(min_length=1, max_length=25)]


class Code(_Payload):
    """What was typed into the field; nothing shows it."""

    value: Annotated[SecretStr, Field(min_length=1, max_length=40)]


class CodeElement(_Payload):
    """The field, in its block."""

    code: Code


class Values(_Payload):
    """The form's blocks."""

    code: CodeElement


class State(_Payload):
    """What the form holds."""

    values: Values


class Modal(_Payload):
    """The form."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    callback_id: Annotated[str, StringConstraints(max_length=255)]
    private_metadata: Annotated[str, StringConstraints(max_length=3000)]
    state: State


class Submission(_Payload):
    """A form was sent off."""

    type: Literal["view_submission"]
    user: Who
    view: Modal


def read(model: type[M], data: object) -> M | str:
    """Return a payload, or what is wrong with it; nothing of what it holds."""
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        # Of the first fault, where it is and its kind; our own field names only, as unknown ones are never looked at.
        fault = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['type']}"
