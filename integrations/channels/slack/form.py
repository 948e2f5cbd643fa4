"""The form in which a plan is answered with a one-time code. See https://docs.slack.dev/reference/views/modal-views."""

from typing import Any, Final

from integrations.channels.slack.buttons import Answer
from integrations.channels.slack.plain import sections, text
from integrations.channels.slack.words import WORDS
from integrations.hostile import printable
from playbooks.people.contacts import Language

CALLBACK: Final = "mcp_soar.answer"
CODE: Final = "code"
"""The block and the field that the code is typed into."""
LONGEST_CODE: Final = 40
_MOST_ERROR: Final = 250


def form(about: Answer, plan: str, *, fault: str = "") -> dict[str, Any]:
    """Return the form.

    Args:
        about: the plan.
        plan: what it would do, in lines.
        fault: why the last answer was not taken.
    """
    words = WORDS[about.language]
    field = {"type": "plain_text_input", "action_id": CODE, "min_length": 1, "max_length": LONGEST_CODE}
    code = {"type": "input", "block_id": CODE, "label": text(words.code), "hint": text(words.hint), "element": field}
    which = f"{about.incident} · {about.digest.removeprefix('sha256:')[:12]}"
    said = [block for part in (which, plan, words.decides, fault) for block in sections(part)]
    return {
        **_frame(about.language, [*said, code]),
        "callback_id": CALLBACK,
        "private_metadata": about.model_dump_json(),
        "submit": text(words.submit),
    }


def notice(language: Language, said: str) -> dict[str, Any]:
    """Return a window that says one thing."""
    return _frame(language, list(sections(said or "…")))


def refused(why: str) -> dict[str, Any]:
    """Return the acknowledgement that shows an error beside the field."""
    return {"response_action": "errors", "errors": {CODE: printable(why, _MOST_ERROR)}}


def instead(view: dict[str, Any]) -> dict[str, Any]:
    """Return the acknowledgement that shows something else in the form's place."""
    return {"response_action": "update", "view": view}


def _frame(language: Language, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    words = WORDS[language]
    return {"type": "modal", "title": text(words.title), "close": text(words.close), "blocks": blocks}
