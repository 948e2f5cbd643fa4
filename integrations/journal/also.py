"""Further correlation keys of a stream: each is a small stream of its own, whose one entry says whose key it is.

A stream's row has one key. What belongs to an incident under a second one (it was given another class, or another
incident goes on in it) is found by a row beside it, by the same look-up and under the same uniqueness.
"""

from sqlalchemy import bindparam, select

from integrations.journal import schema

_PREFIX = "also/"
_row = schema.stream.c

KEYS_OF = select(_row.name, _row.correlation).where(
    (_row.name == bindparam("stream")) | ((_row.name >= bindparam("first")) & (_row.name < bindparam("last"))),
    _row.closed_at.is_(None),
    _row.correlation.is_not(None),
)
"""The keys that a stream is found under, its own and the further ones."""


def whose(name: str) -> str:
    """Return the stream that is meant by one that a key was found with."""
    return name.removeprefix(_PREFIX).rpartition("/")[0] if name.startswith(_PREFIX) else name


_FROZEN = "|frozen:"


def given_up(key: str, stream: str) -> str:
    """Return what stands for a key that a frozen stream gave up: one and the same key may have been several's."""
    return f"{key}{_FROZEN}{stream}"


def kept(key: str) -> str:
    """Return a key without the word that its frozen stream gave it up."""
    return key.partition(_FROZEN)[0]


def gave_up(key: str) -> dict[str, str]:
    """Return between which keys those stand that frozen streams gave up for this one, for `EARLIER`."""
    first = f"{key}{_FROZEN}"
    return {"prefix": first, "end": f"{first[:-1]};"}


def family(stream: str) -> str:
    """Return how the names of a stream's further keys begin."""
    return f"{_PREFIX}{stream}/"


def bounds(stream: str) -> dict[str, str]:
    """Return between which names a stream's further keys stand, for `KEYS_OF`."""
    first = family(stream)
    return {"stream": stream, "first": first, "last": f"{first[:-1]}0"}
