"""`inventory upgrade`: an inventory.yaml of an earlier release, rewritten as it is written now."""

from pathlib import Path

from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work.files import differing, settled, text_of
from flows.service.settings import read_inventory
from playbooks.estate.upgrading import upgraded


def upgrade(out: Out, folder: Path, *, dry_run: bool, yes: bool) -> Exit:
    """Show how it would be written, and write it. What it says stays the same, and so does all that is signed for."""
    if not yes and not dry_run and not out.asks:
        raise Usage("there is nobody to ask: look at it with --dry-run, then write it with --yes")
    file = (folder / "inventory.yaml").resolve()
    # What nobody can act by is mended first, where its faults are told.
    read_inventory(folder)
    text = text_of(file)
    new = upgraded(text, file=str(file))
    lines = differing(text, new.text, str(file), "as it is written now")
    written = new.text != text and settled(out, file, text, new.text, lines=lines, dry_run=dry_run, yes=yes)
    out.document(
        {"written": written, "done": list(new.done), "lost": list(new.lost), "diff": "\n".join(lines)},
    )
    if new.text == text:
        out.say("inventory.yaml is written as it is written now", "good")
        return Exit.OK
    for one in new.done:
        out.say(f"{'rewritten' if written else 'would be rewritten'}: {one}")
    for remark in new.lost:
        out.say(f"this remark has no place any more, write it where it belongs: {remark}", "warn")
    out.say("It says what it said. pins.yaml, and what is signed in it, is as it was.", "good")
    return Exit.OK
