"""What cannot be taken back is intended, written, verified, done: nothing is watched, extended or paged after that."""

from pathlib import Path

from playbooks.people.request import Verb
from playbooks.record.incident import Status
from tests.lab import flags, scenes
from tests.lab.flags import CUT, BurnFlags


async def test_what_cannot_be_taken_back_keeps_no_incident_open(tmp_path: Path) -> None:
    folder = flags.flags(tmp_path / "flags")
    book = flags.playbook(flags.step(folder, action=BurnFlags.name, lease=0.1))
    async with flags.installation(tmp_path, book, watch_every=0.1) as home, home.responding():
        await flags.respond(home)
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        await scenes.approve(home, "bob", name, await scenes.proposed(home, name, CUT))
        incident = await home.reaches(Status.CONTAINED, name)
        assert flags.states(folder) == "off off off"
        assert not incident.leases[CUT].open
        assert await home.journal.holds() == []
        # Somebody turns it on again: nobody watches it, so nothing is put back; and its time is over, which is nothing.
        (folder / "a.flag").write_text("on")
        await home.ask("ann", Verb.CLOSE, name, reason="done", params={"as": "resolved"})
        await home.reaches(Status.CLOSED, name)
        kinds = {entry.kind for entry in await scenes.entries(home, name)}
        assert not kinds & {"lease_checked", "lease_extended", "release_intended"}
        assert await home.journal.watched() == []
