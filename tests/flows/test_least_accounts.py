"""The accounts of docs/production.md at a real PostgreSQL: each does its part, and what everybody may is not theirs."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine

from flows.engine.intake import intake
from flows.service.access import responder_keys
from flows.service.assembly import assembled
from flows.service.settings import Configuration, read
from integrations.journal import Journal
from integrations.journal.client import address
from tests.flows.cli.world import Installation
from tests.flows.test_part_receiver import proof, serving
from tests.flows.test_up import configuration
from tests.lab.house import alert

ROOT = Path(__file__).parents[2]
PASSWORD = "of-the-accounts"  # noqa: S105  # of a database that is gone after the test
PARTS = ("receiver", "worker", "reader")
WEATHER = alert("weather")

BEFORE_15 = ("ALTER SCHEMA public OWNER TO postgres", "GRANT ALL ON SCHEMA public TO PUBLIC")
"""What version 15 changed, undone."""

NOT_THEIRS = (
    "CREATE TEMPORARY TABLE mine (i integer)",
    "CREATE TABLE mine (i integer)",
    "SELECT pg_advisory_lock(7627)",
    "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
    "SELECT lo_creat(-1)",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_import('/etc/hostname')",
)

LEFT = r"""
SELECT rolname, p.oid::regprocedure::text FROM pg_roles r, pg_proc p
WHERE has_function_privilege(r.oid, p.oid, 'EXECUTE') AND rolname ~ '_(receiver|worker|reader)$' AND
(proname ~ '^pg_(try_)?advisory_(xact_)?lock'
OR proname ~ '^(lo_(creat|create|from_bytea|import|export|open|put|truncate|truncate64)|lowrite)$')
"""
"""Every function of the kind that this version of PostgreSQL has, by account that may call it."""


def documented() -> list[str]:
    """Return the statements that docs/production.md has a superuser run."""
    (block,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "production.md").read_text(), re.DOTALL)
    bare = re.sub(r"--.*", "", block.replace("\\connect soar", ""))
    return [statement.strip() for statement in bare.split(";") if statement.strip()]


class Site(NamedTuple):
    """A database with its accounts, made by nobody but the superuser."""

    folder: Path
    name: str
    superuser: str

    @property
    def config(self) -> Configuration:
        """Its configuration."""
        return read(self.folder)

    def url(self, part: str) -> str:
        """Return the address under the account of a part."""
        of = make_url(self.config.journal_url).set(username=f"{self.name}_{part}", password=PASSWORD)
        return of.render_as_string(hide_password=False)


async def run(url: str, *statements: str) -> list[Any]:
    """Run statements each by itself, as psql does; return the rows of the last one, if it has any."""
    engine, rows = create_async_engine(address(url), isolation_level="AUTOCOMMIT"), []
    try:
        async with engine.connect() as connection:
            for statement in statements:
                result = await connection.exec_driver_sql(statement)
                rows = list(result) if result.returns_rows else []
    finally:
        await engine.dispose()
    return rows


async def made(url: str, tmp_path: Path, statements: list[str], first: tuple[str, ...] = ()) -> Site:
    """Run documented statements at a fresh server's database, under names of their own."""
    name = f"soar_{make_url(url).database}"
    here = [re.sub(r"\bsoar\b|\bsoar(?=_)", name, each).replace("'...'", f"'{PASSWORD}'") for each in statements]
    apart = next(n for n, each in enumerate(here, 1) if each.startswith("CREATE DATABASE"))
    await run(url, *here[:apart])
    inside = make_url(url).set(database=name)
    superuser = inside.render_as_string(hide_password=False)
    if rest := [*first, *here[apart:]]:
        await run(superuser, *rest)
    (tmp_path / "password").write_text(PASSWORD)
    secret = {"file": str(tmp_path / "password")}
    bare = inside.set(username=name, drivername="postgresql")._replace(password=None).render_as_string()
    workers = {"workers": {"user": f"{name}_worker", "password": {**secret}}}
    readers = {"readers": {"user": f"{name}_reader", "password": {**secret}}}
    folder = configuration(
        tmp_path / "config",
        journal={"url": bare, "password": {**secret}},
        receiver={"port": 0, "account": {"user": f"{name}_receiver", "password": {**secret}}},
        prefect={"port": 0, **workers, **readers},
    )
    return Site(folder, name, superuser)


@pytest.fixture
async def cleared(postgres_url: str) -> AsyncIterator[str]:
    """Give a server's address, and take away afterwards what `made` made there."""
    yield postgres_url
    name = f"soar_{make_url(postgres_url).database}"
    await run(postgres_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await run(postgres_url, *(f"DROP ROLE IF EXISTS {role}" for role in (name, *(f"{name}_{part}" for part in PARTS))))


async def works(site: Site) -> None:
    """Start a responder twice and let every account do its part."""
    config = site.config
    for _ in range(2):
        async with assembled(config) as parts, serving(site.folder) as client:
            answer = await client.post("/v1/alerts/siem", content=WEATHER, headers=proof(config, "one", WEATHER))
            assert answer.is_success
            await intake(parts)
            (row,) = await parts.journal.streams("incident/")
            async with await Journal.open(site.url("worker"), signer=None, name="worker") as worker:
                await worker.put(kind="request", source="prefect", nonce="n", body=b"{}", headers={})
            keys = list(responder_keys(config).values())
            async with await Journal.open(site.url("reader"), signer=None, name="reader", keys=keys) as reader:
                (seen,) = await reader.streams("incident/")
                assert (seen.name, seen.seq) == (row.name, row.seq)
                assert await reader.read(row.name)


@pytest.mark.parametrize("first", [(), BEFORE_15], ids=["from 15 on", "before 15"])
async def test_under_the_documented_accounts_all_works_and_none_takes_locks_or_fills_the_disk(
    cleared: str, tmp_path: Path, first: tuple[str, ...]
) -> None:
    site = await made(cleared, tmp_path, documented(), first)
    await works(site)
    for part in PARTS:
        for statement in NOT_THEIRS:
            with pytest.raises(ProgrammingError, match="permission denied"):
                await run(site.url(part), statement)
    assert await run(site.superuser, LEFT) == []


def said(site: Site) -> list[dict[str, str]]:
    """Return what `doctor` says of what the accounts may do beyond their part."""
    checks = Installation(site.folder, site.folder.parent / "home").json("doctor", code=1)["checks"]
    assert [check["level"] for check in checks if "cannot write the journal" in check["message"]] == ["ok"] * 3
    return [check for check in checks if check["check"] == "accounts"]


@pytest.mark.parametrize("first", [(), BEFORE_15], ids=["from 15 on", "before 15"])
async def test_doctor_names_what_accounts_may_beyond_their_part_and_its_own_lines_mend_it(
    cleared: str, tmp_path: Path, first: tuple[str, ...]
) -> None:
    until = [each for each in documented() if each.startswith("CREATE")]
    site = await made(cleared, tmp_path, until, first)
    if first:
        await run(site.superuser, f"GRANT CREATE ON SCHEMA public TO {site.name}")
    await works(site)
    warned = await asyncio.to_thread(said, site)
    words = ["temporary tables", *(["schema public"] if first else []), "advisory locks", "large objects"]
    assert len(warned) == len(words)
    for check, word in zip(warned, words, strict=True):
        assert word in check["message"]
        assert check["message"].startswith(", ".join(f"{site.name}_{part}" for part in PARTS))
        lines = check["remedy"].partition("database: ")[2]
        await run(site.superuser, *(line for line in lines.split(";") if line.strip()))
    assert await asyncio.to_thread(said, site) == []
    await works(site)


async def test_doctor_says_nothing_of_accounts_made_as_documented_and_names_the_one_that_was_given_more(
    cleared: str, tmp_path: Path
) -> None:
    site = await made(cleared, tmp_path, documented())
    await works(site)
    assert await asyncio.to_thread(said, site) == []
    await run(site.superuser, f"GRANT EXECUTE ON FUNCTION lo_create(oid) TO {site.name}_worker")
    (warned,) = await asyncio.to_thread(said, site)
    assert warned["message"].startswith(f"{site.name}_worker may make large objects")
    assert f'REVOKE EXECUTE ON FUNCTION lo_create(oid) FROM PUBLIC, "{site.name}_worker";' in warned["remedy"]
