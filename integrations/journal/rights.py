"""What PostgreSQL lets every account do beyond its part, and the lines that take it away."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, func, select

from integrations.journal.schema import quoted_role

TEMPORARY, TABLES, LOCKS, OBJECTS = (
    "make temporary tables, which fill the database's disk",
    "make tables in the schema public",
    "take advisory locks, and with the migration's keep every responder from starting",
    "make large objects, which fill the database's disk and stay",
)

MIGRATES = "pg_advisory_xact_lock(bigint)"
"""The only one of them that we call: see `migrations/env.py`."""

_ARGUMENTS = ("bigint", "integer, integer")
_FUNCTIONS = {
    LOCKS: tuple(
        f"pg_{begin}advisory_{lock}{end}({arguments})"
        for begin in ("", "try_")
        for lock in ("lock", "xact_lock")
        for end in ("", "_shared")
        for arguments in _ARGUMENTS
    ),
    # The others among lo_* need one that is there and open, or are a superuser's only.
    OBJECTS: (
        "lo_creat(integer)",
        "lo_create(oid)",
        "lo_from_bytea(oid, bytea)",
        "lo_open(oid, integer)",
        "lo_put(oid, bigint, bytea)",
        "lo_truncate(integer, integer)",
        "lo_truncate64(integer, bigint)",
        "lowrite(integer, bytea)",
    ),
}


class Excess(NamedTuple):
    """Something that accounts may do and have no use for.

    Args:
        what: as a sentence's end: they may ...
        roles: who.
        lines: the SQL that takes it from them, for the superuser of that database.
    """

    what: str
    roles: tuple[str, ...]
    lines: tuple[str, ...]


def asked(role: str) -> Select[Any]:
    """Return the query for what a role may do, whoever gave it the right: one row, a column for each right."""
    functions = [name for names in _FUNCTIONS.values() for name in names]
    return select(
        func.has_database_privilege(role, func.current_database(), "TEMPORARY").label(TEMPORARY),
        func.has_schema_privilege(role, "public", "CREATE").label(TABLES),
        *(func.has_function_privilege(role, name, "EXECUTE").label(name) for name in functions),
    )


def excess(held: Mapping[str, Mapping[str, bool]], database: str, owner: str) -> list[Excess]:
    """Return what roles may do beyond their part.

    Args:
        held: for each role the row that `asked` gives.
        database: its name.
        owner: the responders' account, which keeps what it needs.
    """
    found = []
    for what, names in {TEMPORARY: (TEMPORARY,), TABLES: (TABLES,), **_FUNCTIONS}.items():
        roles = tuple(role for role, row in held.items() if any(row[name] for name in names))
        if roles:
            ours = [name for name in names if any(row[name] for row in held.values())]
            lines = _lines(what, ours, ", ".join(["PUBLIC", *map(quoted_role, roles)]), quoted_role(owner), database)
            found.append(Excess(what, roles, lines))
    return found


def _lines(what: str, names: Sequence[str], whom: str, owner: str, database: str) -> tuple[str, ...]:
    if what == TEMPORARY:
        return (f"REVOKE TEMPORARY ON DATABASE {quoted_role(database)} FROM {whom};",)
    if what == TABLES:
        # Before version 15 the responders' account makes its own tables by PUBLIC's right.
        return (f"GRANT CREATE ON SCHEMA public TO {owner};", f"REVOKE CREATE ON SCHEMA public FROM {whom};")
    keeps = (f"GRANT EXECUTE ON FUNCTION {MIGRATES} TO {owner};",) if MIGRATES in names else ()
    return (*keeps, f"REVOKE EXECUTE ON FUNCTION {', '.join(names)} FROM {whom};")
