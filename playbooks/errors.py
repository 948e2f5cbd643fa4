"""Every way an effect, or a question, can go wrong, as types. Flows decide by type, never by string.

SoarError
├── Transient           the remote may answer later: retry with backoff
│   └── Unforeseen      our own code fell over what the remote said: that question has no answer, nothing else stops
├── Refused             the gate or the remote said no, and will say no again
├── Drifted             the world is neither at *before* nor at *after*: plan anew and ask again
│   └── Gone            the object is no longer there: there is nothing to undo, and nothing to give back
├── Unneeded            a step has nothing to do where it was sent, and nothing is missing: said and passed over
├── NotEstablished      applied, but the probe still gets through
├── PartiallyApplied    some changes are in force, some are not
├── NoSuch              nothing is called what was asked for
├── Ambiguous           several things are called that
└── Misconfigured       a file, a setting or a permission of ours is wrong: names what to mend

Each integration maps its vendor's errors once, in its `client.py`, with `raise … from exc`.
"""

from collections.abc import Sequence

from playbooks.text.redaction import mark, redacted

_ADDRESS, _MASKED = mark("e-mail"), mark("").partition(" ")[0]


class SoarError(Exception):
    """Anything mcp-soar raises on purpose.

    Args:
        message: what happened. It may quote an outside system, and ends in journals and messages: masked here, once.
        ours: nothing in it is from outside but what a person typed: names of theirs and of the inventory, addresses
            among them, which they are told as they are at their own terminal.
    """

    def __init__(self, message: str = "", *, ours: bool = False) -> None:
        masked = redacted(message)
        super().__init__(masked)
        secret = masked.replace(_ADDRESS, "").count(_MASKED) > message.replace(_ADDRESS, "").count(_MASKED)
        self.plain = message if ours and not secret else masked


class Transient(SoarError):
    """The remote may answer later.

    Args:
        message: what did not answer, and how.
        retry_after: seconds that the remote asked us to wait, if it did.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unforeseen(Transient):
    """Our own code fell over what an outside system said: there is no answer to that one question.

    Asked again like one that nobody answered: what a hostile server sends must not end the watch over it.
    """


class Refused(SoarError):
    """The gate or the remote said no, and asking again will not change it."""


class Drifted(SoarError):
    """The world is not what the plan was made for: plan anew, ask again."""


class Gone(Drifted):
    """The object that a plan means no longer exists."""


class Unneeded(SoarError):
    """There is nothing for a step to do where it was sent, and nothing is missing: another one does all of it."""


class NotEstablished(SoarError):
    """The effect was applied, but the probe still gets through."""


class PartiallyApplied(SoarError):
    """Some changes of a plan are in force and some are not; nothing is rolled back.

    Args:
        message: why it stopped.
        done: summaries of the changes in force.
        remaining: summaries of those that are not.
    """

    def __init__(self, message: str, *, done: Sequence[str], remaining: Sequence[str]) -> None:
        super().__init__(message)
        self.done = tuple(map(redacted, done))
        self.remaining = tuple(map(redacted, remaining))


class NoSuch(SoarError):
    """Nothing is called what was asked for."""


class Ambiguous(SoarError):
    """Several things are called what was asked for; the message lists them."""


class Misconfigured(SoarError):
    """Something of ours must be mended by a person.

    Args:
        message: what is wrong and what to write instead.
        file: the file it stands in, if any.
        line: 1-based line in that file, if known.
        field: dotted path of the field, if known.
    """

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, field: str | None = None
    ) -> None:
        where = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(message)
        # After masking: a field that is called `password` is no assignment of what the message starts with.
        self.args = (": ".join(part for part in (where, field, str(self)) if part),)
        self.file = file
        self.line = line
        self.field = field
