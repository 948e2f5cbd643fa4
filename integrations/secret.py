"""Secrets: from where the configuration says that they are."""

import os
from pathlib import Path

from playbooks.errors import Misconfigured
from playbooks.estate.systems import Secret


def secret(place: Secret, *, what: str) -> str:
    """Return a secret's value.

    Args:
        place: where it is found.
        what: the configuration field that names the place.

    Raises:
        Misconfigured: if it is not there; names the place, never a value.
    """
    if place.env is not None:
        value = os.environ.get(place.env, "")
        where = f"the environment variable {place.env} is not set"
    else:
        path = Path(place.file or "").expanduser()
        where = f"the file {path} cannot be read or is empty"
        try:
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise Misconfigured(where, field=what) from exc
    if not value:
        raise Misconfigured(where, field=what)
    return value
