"""What libraries import beside what a command needs, left out: whoever waits for the answer waits for all of it."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_UNUSED = ("httpx._main", "h2")
"""What httpx brings along wherever it is installed: a command line of its own, with rich and pygments; HTTP/2."""

_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"
"""Without it pydantic reads what every installed package says of itself, for plugins that no command has."""

_PACKAGE = "sqlalchemy.ext.asyncio"
_PARTS = ("engine", "result", "base", "exc", "session", "scoping")
"""Where that package has its names; the last two import the object-relational half of SQLAlchemy."""


class _ByPart:
    """Makes SQLAlchemy's asyncio package one of which a part is imported when a name of it is asked for."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, _target: object = None) -> ModuleSpec | None:
        """Return how that package is made; None for every other module."""
        if name != _PACKAGE or path is None:
            return None
        spec = ModuleSpec(name, _ByPart, is_package=True)  # type: ignore[arg-type]  # it has what a loader has
        spec.submodule_search_locations = [str(Path(place) / "asyncio") for place in path]
        return spec

    @staticmethod
    def create_module(_spec: ModuleSpec) -> None:
        """Leave it to the import system."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Have it look for its names when they are asked for."""

        def name_of(name: str) -> Any:  # noqa: ANN401  # whatever that package has
            if not name.startswith("__"):
                for part in _PARTS:
                    if hasattr(found := import_module(f"{_PACKAGE}.{part}"), name):
                        return getattr(found, name)
            raise AttributeError(name)

        module.__getattr__ = name_of  # type: ignore[method-assign]  # PEP 562


def lean() -> None:
    """Leave out of this process what no command needs."""
    os.environ.setdefault(_PLUGINS, "__all__")
    for name in _UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None says that it is not to be had
    sys.meta_path.insert(0, _ByPart)
