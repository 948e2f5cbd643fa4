"""What the guides say of playbooks, roles and permissions is what ships."""

import pytest

from integrations.registry import SYSTEMS
from playbooks.action import Action
from tests.contract import guides


@pytest.mark.parametrize("guide", guides.PLACES)
def test_a_guide_says_what_ships(guide: str) -> None:
    text = (guides.DOCS / guide).read_text(encoding="utf-8")
    assert text == guides.written(guide), "run: python -m tests.contract.guides"
    assert "<!-- steps by class: begin -->" in text


def test_the_roles_among_the_manifests_are_what_the_steps_declare() -> None:
    assert guides.ROLES_FILE.read_text(encoding="utf-8") == guides.roles(), "run: python -m tests.contract.guides"


def test_every_action_has_its_undo_its_proof_and_what_it_takes_in_one_table() -> None:
    text = guides.ACTIONS_FILE.read_text(encoding="utf-8")
    assert text == guides.actions(), "run: python -m tests.contract.guides"
    assert all(f"| `{name}` |" in text for name, step in SYSTEMS.steps.items() if issubclass(step, Action))
