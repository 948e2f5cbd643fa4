"""An incident ends with the playbook that it began with, whatever the configuration says by then."""

from pathlib import Path

from playbooks.record.incident import Status
from tests.flows.cli import world
from tests.lab import flags, scenes
from tests.lab.flags import CUT
from tests.playbooks.test_state import incident


async def test_an_incident_goes_on_by_its_own_playbook_after_a_restart_with_another_one(tmp_path: Path) -> None:
    first, second = (flags.flags(tmp_path / name) for name in ("first", "second"))
    began = flags.playbook(flags.step(first))
    edited = flags.playbook(flags.step(second, id="cut-others"))
    async with flags.installation(tmp_path, began, policy=flags.ASKING) as home, home.responding():
        await flags.respond(home)
        waiting = await home.reaches(Status.AWAITING_APPROVAL)
    async with flags.installation(tmp_path, edited, policy=flags.ASKING) as home, home.responding():
        await scenes.approve(home, "bob", waiting.id, waiting.steps[CUT])
        contained = await home.reaches(Status.CONTAINED)
    assert {name for name, step in contained.steps.items() if step.action} == {CUT}
    assert (flags.states(first), flags.states(second)) == ("off off off", "on on on")
    (playbook,) = began.values()
    assert contained.playbook_digest == playbook.digest
    assert contained.goes_by(edited) == playbook


def test_a_journal_of_the_first_release_goes_by_what_is_configured(tmp_path: Path) -> None:
    configured = flags.playbook(flags.step(flags.flags(tmp_path / "flags")))
    assert [incident(world.opened()).goes_by(configured)] == list(configured.values())
