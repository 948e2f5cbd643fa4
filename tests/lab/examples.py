"""How many examples a property is tried with: all of them on CI, in between a part of them, other ones each time."""

from hypothesis import settings

OF = 100


def examples(count: int) -> int:
    """Return how many of `count` examples are tried here: as large a part as of the 100 that count elsewhere."""
    return max(1, count * settings.default.max_examples // OF) if settings.default else count
