"""What can be pressed: a button's name and value, written by the channel and read back by the desk."""

from typing import Annotated, Any, Final

from pydantic import StringConstraints, ValidationError

from integrations.hostile import printable
from integrations.slack.words import WORDS
from playbooks.contacts import Language
from playbooks.errors import Refused
from playbooks.strict import Digest, Slug, Strict

ACKNOWLEDGE: Final = "mcp_soar.acknowledge"
ANSWER: Final = "mcp_soar.answer"
_MOST: Final = 25
"""Elements of one actions block: https://docs.slack.dev/reference/block-kit/blocks/actions-block"""


class Acknowledge(Strict):
    """The value of an acknowledge button.

    Args:
        incident: its id.
        page: the page that is acknowledged.
        language: of what is said in return.
    """

    incident: Slug
    page: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,300}$")]
    language: Language = Language.EN


class Answer(Strict):
    """The value of an "Answer…" button, and what its form remembers.

    Args:
        incident: its id.
        digest: of the plan that waits.
        language: of the form.
    """

    incident: Slug
    digest: Digest
    language: Language = Language.EN


def actions(incident: str, page: str, buttons: tuple[str, ...], language: Language) -> tuple[dict[str, Any], ...]:
    """Return the actions block of a message, or nothing if it has no buttons.

    Args:
        incident: its id.
        page: the page's id.
        buttons: `acknowledge`, `answer:<digest>`.
        language: of what is written on them.

    Raises:
        Refused: a button of another kind, or one without a proper id.
    """
    words = WORDS[language]
    several = len([name for name in buttons if name.startswith("answer:")]) > 1
    elements: list[dict[str, Any]] = []
    for name in buttons[:_MOST]:
        kind, _, digest = name.partition(":")
        if kind == "acknowledge":
            value = _value(Acknowledge, incident=incident, page=page, language=language)
            elements.append({**_button(ACKNOWLEDGE, words.acknowledge, value), "style": "primary"})
        elif kind == "answer":
            value = _value(Answer, incident=incident, digest=digest, language=language)
            # The digest's first digits tell two plans apart, as they do on the command line.
            label = f"{words.answer} {digest.removeprefix('sha256:')[:12]}" if several else words.answer
            # Slack refuses a block in which two elements have the same action_id.
            unique = f"{ANSWER}.{len(elements)}" if several else ANSWER
            elements.append(_button(unique, label, value))
        else:
            raise Refused(f"Slack: no button is called {name!r}")
    return ({"type": "actions", "elements": elements},) if elements else ()


def _value(kind: type[Strict], **fields: object) -> str:
    try:
        return kind.model_validate(fields).model_dump_json()
    except ValidationError as exc:
        raise Refused(f"Slack: a button cannot carry {printable(str(fields))}") from exc


def _button(action: str, label: str, value: str) -> dict[str, Any]:
    text = {"type": "plain_text", "text": label, "emoji": False}
    return {"type": "button", "action_id": action, "text": text, "value": value}
