"""What a receiver reports of messages that it could not read."""

from typing import Annotated, Final

from pydantic import Field

from playbooks.strict import Moment, Redacted, Strict

KIND: Final = "refused"
"""The kind of an inbox entry that holds a `Refusal`."""


class Refusal(Strict):
    """Messages of one source that were refused, and that the source proved to be its own.

    Args:
        count: how many.
        since: when the first came.
        said: what was wrong with the last one, as its sender was told.
    """

    count: Annotated[int, Field(ge=1, le=10**12)]
    since: Moment
    said: Annotated[Redacted, Field(max_length=2000)]
