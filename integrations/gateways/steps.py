"""Every step that is written for gateways; a driver says which of them its product has."""

from collections.abc import Collection
from typing import Final

from integrations.gateways.actions import DisablePrompt, DisableResource, DisableServer, DisableTool, StopAndDisableTool
from integrations.gateways.captures import CaptureLogs, CapturePrincipal, CaptureState
from integrations.gateways.principals import DeactivateUser, RevokeToken
from playbooks.action import Action, Capture

_ALL: Final[tuple[type[Action] | type[Capture], ...]] = (
    DisableTool,
    StopAndDisableTool,
    DisablePrompt,
    DisableResource,
    DisableServer,
    RevokeToken,
    DeactivateUser,
    CaptureState,
    CaptureLogs,
    CapturePrincipal,
)


def steps_of(names: Collection[str]) -> tuple[type[Action] | type[Capture], ...]:
    """Return the steps of these names, in their order here."""
    return tuple(step for step in _ALL if step.name in names)
