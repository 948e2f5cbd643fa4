"""`inventory upgrade`: what an earlier release wrote is read as it is, and rewritten when a person says so."""

from pathlib import Path

import pytest

from tests.flows.cli.world import Installation
from tests.playbooks.test_earlier import EARLIER


@pytest.fixture
def earlier(site: Installation) -> Installation:
    (site.folder / "inventory.yaml").write_text(EARLIER.replace("    gateway:", "    # Ours.\n    gateway:"))
    return site


def warned(site: Installation) -> list[str]:
    """Return what `check` says of the file itself."""
    return [one["message"] for one in site.json("inventory", "check")["findings"] if one["subject"] == "inventory"]


def test_it_is_shown_before_it_is_written_and_says_the_same(earlier: Installation) -> None:
    file = earlier.folder / "inventory.yaml"
    before, said, pins = file.read_text(), earlier.config.inventory, (earlier.folder / "pins.yaml")
    signed = pins.read_bytes() if pins.exists() else b""
    (warning,) = warned(earlier)
    assert "mcp-soar inventory upgrade" in warning
    shown = earlier.json("inventory", "upgrade", "--dry-run")
    assert shown["written"] is False
    assert file.read_text() == before
    assert earlier.error("inventory", "upgrade", code=2), "nobody is there to say yes"
    done = earlier.json("inventory", "upgrade", "--yes")
    assert done["written"] is True
    assert done["diff"] == shown["diff"]
    assert done["done"] == [
        "gateways → systems",
        "servers.weather.gateway → servers.weather.places",
        "principals.agent.gateway → principals.agent.places",
    ]
    assert done["lost"] == []
    assert "    # Ours.\n    places: {main: {id: g-1}}\n" in file.read_text()
    assert earlier.config.inventory == said
    assert (pins.read_bytes() if pins.exists() else b"") == signed
    assert warned(earlier) == []
    again = earlier.json("inventory", "upgrade", "--yes")
    assert (again["written"], again["done"]) == (False, [])


def test_what_is_half_understood_is_not_rewritten(earlier: Installation) -> None:
    file = earlier.folder / "inventory.yaml"
    text = file.read_text().replace("gateway: main, user", "user")
    file.write_text(text)
    error = earlier.error("inventory", "upgrade", "--yes", code=3)
    assert "places: {GATEWAY: {user: ...}}" in error["message"]
    assert error["line"] == Path(file).read_text().splitlines().index(text.splitlines()[-1]) + 1
    assert file.read_text() == text
