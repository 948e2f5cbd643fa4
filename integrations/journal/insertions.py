"""The INSERTs that say what to do about what is there: each database spells them in its own way.

SQLAlchemy keeps the compiled form of every other statement; of these it has no key to keep it by, so that compiling
takes each use longer than the database.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Dialect, LargeBinary, bindparam, func, null, select

from integrations.journal import schema
from integrations.journal.schema import clock
from playbooks.record.journal import GENESIS

_held_before = schema.hold.alias("before")
_ORIGINAL = func.coalesce(
    select(_held_before.c.original).where(_held_before.c.grip == bindparam("there")).limit(1).scalar_subquery(),
    bindparam("found", type_=LargeBinary),
)


class Insertion:
    """One INSERT, of a row or of several that give the same columns.

    Args:
        statement: as SQLAlchemy has it.
        dialect: of the engine that runs it.
    """

    def __init__(self, statement: Any, dialect: Dialect) -> None:  # noqa: ANN401  # two classes without a common one
        self._statement = statement
        self._dialect = dialect
        self._compiled: dict[tuple[str, ...], Any] = {}

    def compiled(self, values: Mapping[str, Any]) -> Any:  # noqa: ANN401  # a connection runs it, and its types do not say so
        """Return it compiled for a row that gives these columns."""
        keys = tuple(values)
        if keys not in self._compiled:
            self._compiled[keys] = self._statement.compile(dialect=self._dialect, column_keys=list(keys))
        return self._compiled[keys]


class Insertions:
    """All of them for one database; a row comes back from those that return one only if the insert happened.

    Args:
        dialect: of the engine that runs them.
    """

    def __init__(self, dialect: Dialect) -> None:
        new = schema.insertion(dialect.name)

        def made(statement: Any) -> Insertion:  # noqa: ANN401  # as above
            return Insertion(statement, dialect)

        self.next = made(
            new(schema.number)
            .values(value=1)
            .on_conflict_do_update(index_elements=["name"], set_={"value": schema.number.c.value + 1})
            .returning(schema.number.c.value)
        )
        self.open_stream = made(
            new(schema.stream)
            .values(
                name=bindparam("name"),
                seq=0,
                hash=GENESIS,
                lane=bindparam("lane"),
                owner=bindparam("owner"),
                fence=1,
                claimed_until=bindparam("until"),
                correlation=bindparam("correlation"),
                opened_at=bindparam("time"),
            )
            .on_conflict_do_nothing()
            .returning(schema.stream.c.name)
        )
        self.use = made(new(schema.used).values(at=clock()).on_conflict_do_nothing().returning(schema.used.c.nonce))
        self.reserve = made(new(schema.reservation).values(at=clock()).on_conflict_do_nothing())
        taken = new(schema.hold).values(taken_at=clock(), original=_ORIGINAL)
        self.hold = made(_replacing(taken, ["grip", "incident", "lease"], "after").returning(schema.hold.c.original))
        asked = ("incident", "verdict", "system", "severity", "took", "checked_at", "seen_at")
        watch = new(schema.watch).values(checked_at=clock(), seen_at=null())
        self.watch = made(_replacing(watch, ["lease"], *asked))
        present = new(schema.responder).values(seen_at=clock())
        self.present = made(_replacing(present, ["name"], "address", "seen_at"))


def _replacing(insertion: Any, key: list[str], *columns: str) -> Any:  # noqa: ANN401  # as above
    new = {column: insertion.excluded[column] for column in columns}
    return insertion.on_conflict_do_update(index_elements=key, set_=new)
