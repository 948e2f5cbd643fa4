"""Times as tools write them: RFC 3339 and what is near it, and numbers whose unit is recognised, never guessed."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator

from integrations.siem.decoding import Unreadable
from integrations.siem.reading import Fields, absent, single
from playbooks.strict import Moment

# Beside RFC 3339: an offset without its colon or minutes, a decimal comma, the zone's name.
_WRITTEN: Final = re.compile(
    r"(?P<when>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:[.,](?P<part>\d{1,12}))?"
    r"\s?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
_NUMBER: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,12})?", re.ASCII)
_YEARS: Final = range(1970, 9999)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FORM: Final = "as RFC 3339 has it, 2026-01-31T12:00:00Z or 2026-01-31T12:00:00-03:00"

# What a number since 1970 counts, by its size: each unit covers 1973 to 5138, and none of it another one's.
_UNITS: Final = ((1e11, "seconds"), (1e14, "milliseconds"), (1e17, "microseconds"), (float("inf"), "nanoseconds"))


def written(value: object) -> datetime:
    """Return the moment that a text says.

    Args:
        value: as `2026-01-31T12:00:00Z`, with any precision, and with an offset with or without its colon.

    Raises:
        ValueError: it is none, or without its zone; says how to write it.
    """
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        # An integer may be larger than any float.
        unit = _unit(float(value) if isinstance(value, str) else value)
        raise ValueError(f"is a number ({unit} since 1970?); write the time {_FORM}")
    found = _WRITTEN.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"must be a time {_FORM}")
    zone = found["zone"]
    if zone is None:
        raise ValueError(f"has no zone; write the time {_FORM}")
    zone = "+00:00" if zone.upper() in {"Z", "UTC", "GMT"} else zone
    part = f".{found['part'][:6]:0<6}" if found["part"] else ""
    try:
        moment = datetime.fromisoformat(f"{found['when'].upper().replace(' ', 'T')}{part}{zone}")
    except ValueError as exc:
        raise ValueError(f"is no time that there is; write it {_FORM}") from exc
    # Outside these years a zone could push it out of what a datetime can hold.
    if moment.year not in _YEARS:
        raise ValueError("must be a time between 1970 and 9998")
    return moment


def since_1970(value: object) -> datetime:
    """Return the moment that a number of milliseconds since 1970 stands for.

    Args:
        value: the number, or its digits as text; a text may also be a time that says its own zone.

    Raises:
        ValueError: it is in another unit, which is named, or none that there is.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value) if "." in value else int(value)
    if isinstance(value, str):
        return written(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("must be a whole number of milliseconds since 1970")  # noqa: TRY004  # a fault of the field
    if value <= 0:
        raise ValueError("is no time: milliseconds since 1970 are a large positive number")
    unit = _unit(value)
    if unit != "milliseconds":
        raise ValueError(f"looks like {unit} since 1970; write it in milliseconds")
    return _EPOCH + timedelta(milliseconds=int(value))


def _unit(number: float) -> str:
    return next(unit for below, unit in _UNITS if abs(number) < below or below == float("inf"))


def needed(fields: Fields, *keys: str, numbers: bool = False) -> datetime:
    """Return the time in the first field that holds one; what is wrong is noted in `fields`, and epoch returned.

    Args:
        fields: the object.
        keys: of the fields; the first is the one that is named when there is none.
        numbers: whether milliseconds since 1970 are such a time.
    """
    key = next((key for key in keys if fields.value(key) is not None), keys[0])
    value = single(fields.value(key))
    if isinstance(value, Unreadable):
        fields.fault(key, value.why)
    elif absent(value):
        fields.fault(key, "is missing")
    else:
        try:
            return since_1970(value) if numbers else written(value)
        except ValueError as exc:
            fields.fault(key, str(exc))
    return _EPOCH


def _instant(value: object) -> datetime:
    return written(single(value))


Instant = Annotated[Moment, BeforeValidator(_instant)]
"""A moment that `written` reads, in a model."""
