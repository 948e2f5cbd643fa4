"""Every list of incidents is in the same order, and says in which."""

import pytest

from tests.flows.cli import world
from tests.flows.cli.world import Installation


def test_every_list_has_what_needs_a_person_soonest_first(site: Installation) -> None:
    names = [f"inc-2026-{number:06}" for number in range(1, 5)]
    site.append(*(make() for make in world.CONTAINED), correlation="1")
    site.append(world.opened(severity=5, triage="which class?", playbook=None), incident=names[1], correlation="2")
    site.append(world.opened(), world.alert(), world.proposed(), incident=names[2], correlation="3")
    site.append(world.opened(severity=5), world.alert(), world.proposed(), incident=names[3], correlation="4")
    wanted = [names[3], names[1], names[2], names[0]]
    assert [row["id"] for row in site.json("incidents")["incidents"]] == wanted
    for words in (("incidents",), ("watch", "--once"), ("handover",)):
        shown = site.run(*words).stdout.partition("Waits for somebody")[0]
        assert sorted(names, key=shown.index) == wanted, words


@pytest.mark.parametrize("command", ["incidents", "watch", "handover"])
def test_help_says_the_order(site: Installation, command: str) -> None:
    said = " ".join(site.run(command, "--help").stdout.split())
    assert "worst first" in said.lower()
    if command != "incidents":
        assert "as incidents lists them" in said.replace("`", "")
        return
    for words in ("for a decision or a first look", "the most severe first", "the question that runs out first"):
        assert words in said.replace("│ ", "").replace(" │", ""), words
