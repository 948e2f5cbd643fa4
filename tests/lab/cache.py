"""Where what is fetched or built once is kept, outside the repository, so that another checkout finds it there."""

import hashlib
import os
from pathlib import Path


def place(name: str, of: bytes) -> Path:
    """Return the folder of something in the cache; it need not be there.

    Args:
        name: what it is called.
        of: what it is made from: where that is another, so is the folder.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mcp-soar" / f"{name}-{hashlib.sha256(of).hexdigest()[:16]}"
