"""Asking what is outside: a step by its name, each question within its time, and the verdict of one that broke off."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from flows.engine.case import Case
from playbooks.errors import Misconfigured, SoarError, Transient, Unforeseen
from playbooks.plan import Answer, Finding, Verdict

T = TypeVar("T")
LOG = logging.getLogger("mcp_soar.engine")


async def within(seconds: float, call: Awaitable[T], what: str) -> T:
    """Await an outside system, but not for longer than that.

    Raises:
        Transient: when it takes longer.
        Unforeseen: when our own code falls over what it said.
    """
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError as exc:
        raise Transient(f"{what} took longer than {seconds:g} s") from exc
    except SoarError:
        raise
    except Exception as exc:
        # Whoever chooses what is read chooses what it breaks: here it costs its own question, and nothing beside it.
        LOG.exception("%s: what came back is more than we can read", what)
        raise Unforeseen(f"{what}: what came back is more than we can read ({type(exc).__name__})") from exc


def build(case: Case, name: str, params: Sequence[tuple[str, Any]]) -> Any:  # noqa: ANN401  # an Action, a Capture or a Check, by name
    """Return the step that a name and its parameters mean.

    Raises:
        Misconfigured: if there is none of that name, or it takes other parameters.
    """
    kind = case.parts.steps.get(name)
    if kind is None:
        raise Misconfigured(f"no action, capture or check is called {name!r}")
    try:
        return kind.model_validate(dict(params))
    except ValidationError as exc:
        raise Misconfigured(f"{name} does not take these parameters: {exc.errors(include_url=False)}") from exc


def unknown(subject: str, exc: SoarError) -> Verdict:
    """Return the verdict of a question that broke off."""
    finding = Finding(
        check="probe",
        subject=subject[:500],
        asked_as="mcp-soar",
        expected="an answer",
        observed=str(exc)[:2000],
        answer=Answer.UNKNOWN,
    )
    return Verdict(answer=Answer.UNKNOWN, findings=(finding,))
