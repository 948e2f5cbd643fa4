"""The form in which a plan is answered with a one-time code.

Plain text throughout, so that nothing in a plan's words is a link or a mention. See
https://docs.slack.dev/reference/views/modal-views
"""

from typing import Any, Final

from integrations.hostile import printable
from integrations.slack.buttons import Answer
from integrations.slack.words import WORDS
from playbooks.contacts import Language

CALLBACK: Final = "mcp_soar.answer"
CODE: Final = "code"
"""The block and the field that the code is typed into."""
LONGEST_CODE: Final = 40
_MOST: Final = 2900
_MOST_ERROR: Final = 250


def form(about: Answer, sentence: str, *, fault: str = "") -> dict[str, Any]:
    """Return the form.

    Args:
        about: the plan.
        sentence: what it would do.
        fault: why the last answer was not taken.
    """
    words = WORDS[about.language]
    field = {"type": "plain_text_input", "action_id": CODE, "min_length": 1, "max_length": LONGEST_CODE}
    code = {"type": "input", "block_id": CODE, "label": _text(words.code), "hint": _text(words.hint), "element": field}
    which = f"{about.incident} · {about.digest.removeprefix('sha256:')[:12]}"
    said = [_section(text) for text in (sentence, words.decides, fault) if text]
    return {
        **_frame(about.language, [_section(which), *said, code]),
        "callback_id": CALLBACK,
        "private_metadata": about.model_dump_json(),
        "submit": _text(words.submit),
    }


def notice(language: Language, text: str) -> dict[str, Any]:
    """Return a window that says one thing."""
    return _frame(language, [_section(text)])


def refused(text: str) -> dict[str, Any]:
    """Return the acknowledgement that shows an error beside the field."""
    return {"response_action": "errors", "errors": {CODE: printable(text, _MOST_ERROR)}}


def instead(view: dict[str, Any]) -> dict[str, Any]:
    """Return the acknowledgement that shows something else in the form's place."""
    return {"response_action": "update", "view": view}


def _frame(language: Language, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    words = WORDS[language]
    return {"type": "modal", "title": _text(words.title), "close": _text(words.close), "blocks": blocks}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(printable(text, _MOST) or "…")}


def _text(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
