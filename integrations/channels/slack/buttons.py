"""What can be pressed: a button's name and value, written by the channel and read back by the desk."""

import logging
from typing import Annotated, Any, Final

from pydantic import StringConstraints, ValidationError

from integrations.channels.slack.plain import text
from integrations.channels.slack.words import WORDS
from integrations.hostile import printable
from playbooks.people.contacts import Language
from playbooks.strict import Digest, Slug, Strict

LOG = logging.getLogger("mcp_soar.slack")

LONGEST: Final = 2000
"""Characters of a button's value: https://docs.slack.dev/reference/block-kit/block-elements/button-element"""

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
    page: Annotated[str, StringConstraints(max_length=LONGEST, pattern=r"^\P{Cc}+$")]
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

    A button that Slack would not take is left out: no page is lost for it, and its commands stand in the message.

    Args:
        incident: its id.
        page: the page's id.
        buttons: `acknowledge`, `answer:<digest>`.
        language: of what is written on them.
    """
    words = WORDS[language]
    several = len([name for name in buttons if name.startswith("answer:")]) > 1
    elements: list[dict[str, Any]] = []
    for number, name in enumerate(buttons[:_MOST]):
        kind, _, digest = name.partition(":")
        value = _value(kind, incident=incident, page=page, digest=digest, language=language)
        if value is None:
            LOG.warning("page %s goes without its button %s: it does not fit", printable(page), printable(name, 40))
        elif kind == "acknowledge":
            elements.append({**_button(ACKNOWLEDGE, words.acknowledge, value), "style": "primary"})
        else:
            # The digest's first digits tell two plans apart, as they do on the command line.
            label = f"{words.answer} {digest.removeprefix('sha256:')[:12]}" if several else words.answer
            # Slack refuses a block in which two elements have the same action_id.
            elements.append(_button(f"{ANSWER}.{number}" if several else ANSWER, label, value))
    return ({"type": "actions", "elements": elements},) if elements else ()


def _value(kind: str, *, incident: str, page: str, digest: str, language: Language) -> str | None:
    """Return what a button carries, None if it cannot."""
    try:
        if kind == "acknowledge":
            value = Acknowledge(incident=incident, page=page, language=language).model_dump_json()
        elif kind == "answer":
            value = Answer(incident=incident, digest=digest, language=language).model_dump_json()
        else:
            return None
    except ValidationError:
        return None
    return value if len(value) <= LONGEST else None


def _button(action: str, label: str, value: str) -> dict[str, Any]:
    return {"type": "button", "action_id": action, "text": text(label), "value": value}
