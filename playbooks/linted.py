"""Which shipped playbooks the tests found right: `linted.yaml` beside this file, which `make linted` writes."""

from collections.abc import Iterator
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable

FILE = "linted.yaml"

CATALOG = resources.files("playbooks").joinpath("catalog")


def written(catalog: Traversable) -> str:
    """Return what the file says when a catalog was found right.

    Args:
        catalog: a folder of playbooks with their drills, and of what they share.
    """
    seen = sha256()
    for name, data in _files(catalog):
        seen.update(f"{name}\0{len(data)}\0".encode() + data)
    return f"# The catalog that lint found nothing wrong in, by `make linted`.\ncatalog: sha256:{seen.hexdigest()}\n"


def is_right(catalog: Traversable = CATALOG) -> bool:
    """Return whether a catalog is, byte for byte, the one in which the tests of this release found nothing wrong.

    Args:
        catalog: as above.
    """
    file = resources.files("playbooks").joinpath(FILE)
    return file.is_file() and file.read_text(encoding="utf-8") == written(catalog)


def _files(folder: Traversable, at: str = "") -> Iterator[tuple[str, bytes]]:
    for item in sorted(folder.iterdir(), key=lambda one: one.name):
        if item.is_dir():
            yield from _files(item, f"{at}{item.name}/")
        elif item.name.endswith(".yaml"):
            yield f"{at}{item.name}", item.read_bytes()
