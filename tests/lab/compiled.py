"""Statements compiled once for a whole session of tests: each engine compiles all of its own, and each journal has two.

A process of ours opens a journal once; the tests open thousands, and compiled the same hundred statements for each.
"""

from typing import Any

from sqlalchemy import Engine


class _OfAll(dict[tuple[Any, ...], Any]):
    """Looked up by dialect, statement and columns: here dialects of one kind and version are the same."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:  # noqa: ANN401  # as the original
        return super().get(_alike(key), default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:  # noqa: ANN401  # as the original
        super().__setitem__(_alike(key), compiled)


def _alike(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dialect, *statement = key
    return type(dialect), dialect.server_version_info, *statement


def share() -> None:
    """Have all engines of this process share what they compile."""
    made, compiled = Engine.__init__, _OfAll()

    def engine(self: Engine, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as the original
        made(self, *args, **kwargs)
        self._compiled_cache = compiled

    Engine.__init__ = engine  # type: ignore[method-assign]
