"""What `restore` leaves behind, and `doctor` reads."""

import json
from pathlib import Path

RESTORED = Path("state/restored.json")


def restored(folder: Path) -> str | None:
    """Return what has to be known of an installation that came from a backup; None if it did not."""
    try:
        word = json.loads((folder / RESTORED).read_text(encoding="utf-8"))
        made_at, last = str(word["made_at"]), word["last"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return f"it was restored from a backup of {made_at}, whose last incident is {last or 'none'}"
