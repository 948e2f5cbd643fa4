"""What the guides say of playbooks, roles and permissions is what ships."""

import pytest

from tests.contract import guides


@pytest.mark.parametrize("guide", guides.PLACES)
def test_a_guide_says_what_ships(guide: str) -> None:
    text = (guides.DOCS / guide).read_text(encoding="utf-8")
    assert text == guides.written(guide), "run: python -m tests.contract.guides"
    assert "<!-- steps by class: begin -->" in text


def test_the_roles_are_in_the_guide_of_clusters() -> None:
    text = (guides.DOCS / "contain-on-kubernetes.md").read_text(encoding="utf-8")
    assert f"<!-- roles: begin -->\n{guides.roles()}\n" in text
