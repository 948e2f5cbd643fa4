"""Every step that a playbook can name, one explicit list. The contract tests hold each of them to the laws."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from integrations.systems.contextforge.actions import (
    DeactivateUser,
    DisablePrompt,
    DisableResource,
    DisableServer,
    DisableTool,
    RevokeToken,
)
from integrations.systems.contextforge.captures import CaptureLogs, CapturePrincipal, CaptureState
from integrations.systems.mcp.behaviour import AnswersClean, RefusedDirectly, ResponseInjection
from integrations.systems.mcp.captures import CaptureAnswer, CaptureDefinitions
from integrations.systems.mcp.checks import DefinitionDiffers, DefinitionsMatch
from playbooks.action import Action, Capture, Check
from playbooks.errors import Misconfigured

ACTIONS: Final[tuple[type[Action], ...]] = (
    DisableTool,
    DisablePrompt,
    DisableResource,
    DisableServer,
    RevokeToken,
    DeactivateUser,
)
CAPTURES: Final[tuple[type[Capture], ...]] = (
    CaptureDefinitions,
    CaptureAnswer,
    CaptureState,
    CaptureLogs,
    CapturePrincipal,
)
CHECKS: Final[tuple[type[Check], ...]] = (
    DefinitionDiffers,
    DefinitionsMatch,
    RefusedDirectly,
    ResponseInjection,
    AnswersClean,
)

AnyStep = type[Action] | type[Capture] | type[Check]

STEPS: Final[Mapping[str, AnyStep]] = MappingProxyType(
    {
        **{action.name: action for action in ACTIONS},
        **{capture.name: capture for capture in CAPTURES},
        **{check.name: check for check in CHECKS},
    }
)


def step_named(name: str) -> AnyStep:
    """Return the step of that name.

    Raises:
        Misconfigured: if there is none; says which ones come close.
    """
    if name in STEPS:
        return STEPS[name]
    near = difflib.get_close_matches(name, STEPS) or sorted(STEPS)
    raise Misconfigured(f"there is no step {name!r}; did you mean {', '.join(near)}?")
