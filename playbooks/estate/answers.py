"""What servers' answers were like when people approved them: the file that later ones are compared with."""

from typing import Annotated, Final, Literal

from pydantic import Field

from playbooks.strict import Digest, Line, Moment, Slug, Strict

FILE: Final = "answers.yaml"
"""Of the configuration folder."""

FORMS: Final = 300
"""Fields that are told apart in one question's answers; what has more has no form that could be compared."""

NAMED: Final = 100
"""Places, and texts, that are kept of one question's answers."""


class KnownAnswers(Strict):
    """What the answers to one question were like.

    Args:
        definition: digest of the definition that was approved then; of another one it says nothing.
        recorded: when.
        longest: characters of the longest.
        forms: the fields that they had; null where they were too many to compare.
        places: where they pointed, addresses and hosts; likewise.
        speaks: what of them speaks to the model, or hides, and is meant to.
    """

    definition: Digest
    recorded: Moment
    longest: Annotated[int, Field(ge=0)]
    forms: Annotated[tuple[Line, ...], Field(max_length=FORMS)] | None = None
    places: Annotated[tuple[Line, ...], Field(max_length=NAMED)] | None = None
    speaks: Annotated[tuple[Line, ...], Field(max_length=NAMED)] = ()


class Record(Strict):
    """`answers.yaml`.

    Args:
        version: of this format.
        servers: by server, and by what was asked: `tool get_weather`.
    """

    version: Literal[1] = 1
    servers: dict[Slug, dict[Line, KnownAnswers]] = Field(default_factory=dict)
