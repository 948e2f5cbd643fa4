"""A journal whose end was cut off is found by what was kept elsewhere: any bundle, or a head that a message printed."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from flows.reading.verification import head_of
from flows.service.assembly import assembled
from tests.flows.cli import test_privacy as privacy
from tests.flows.cli import world
from tests.flows.cli.world import Installation


@pytest.fixture
def rolled_back(site: Installation) -> tuple[Installation, str]:
    """An installation whose database is older than its newest bundle, and the head that a message printed last."""
    site.append(world.opened(), world.alert())
    state = site.folder / "state"
    files = [path for path in state.iterdir() if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    asyncio.run(privacy._evidence(site))  # noqa: SLF001  # two exhibits and a bundle, as there

    async def printed() -> str:
        async with assembled(site.config) as parts:
            head = await parts.journal.head_latest()
            assert head is not None
            return f"{head.n}:{head.hash.hex()[:16]}"

    head = asyncio.run(printed())
    for path in [path for path in state.iterdir() if path.is_file()]:
        path.unlink()
    for path, data in before.items():
        path.write_bytes(data)
    return site, head


def journal(site: Installation, *words: str) -> str:
    result = site.run("verify", *words, "--json")
    (check,) = [check for check in json.loads(result.stdout)["checks"] if check["check"] == "journal"]
    return ("" if check["ok"] else "FAIL ") + str(check["message"])


def junk(folder: Path, number: int) -> None:
    for n in range(number):
        path = folder / f"inc-2026-{n:06d}-000001.tar.gz"
        path.write_bytes(b"nothing happened here")
        os.utime(path, (2**32, 2**32))
    os.mkfifo(folder / "inc-2026-000099-000001.tar.gz")


def test_junk_beside_a_bundle_does_not_hide_what_it_witnessed(rolled_back: tuple[Installation, str]) -> None:
    site, _ = rolled_back
    junk(site.folder / "state" / "bundles", 5)
    assert "was witnessed, and the heads end with" in journal(site)


def test_a_head_that_a_message_printed_is_a_witness(rolled_back: tuple[Installation, str]) -> None:
    site, head = rolled_back
    shutil.rmtree(site.folder / "state" / "bundles")
    said = journal(site)
    assert not said.startswith("FAIL")
    assert "nothing was kept elsewhere to compare with" in said
    assert f"head {head.partition(':')[0]} was witnessed" in journal(site, "--head", head)


def test_a_head_of_another_journal_is_found(site: Installation) -> None:
    site.append(world.opened(), world.alert())
    good = journal(site)
    assert not good.startswith("FAIL")
    assert "it is not the head that was witnessed" in journal(site, "--head", "1:0123456789abcdef")


@pytest.mark.parametrize(
    "text", ["", "1", "1:", "1:abc", "1:0123456789abcde", "x:0123456789abcdef", "-1:0123456789abcdef"]
)
def test_what_is_no_head_is_said_to_be_none(site: Installation, text: str) -> None:
    assert "N:HASH" in site.error("verify", "--head", text, code=2)["message"]


def test_what_a_notification_prints_is_taken() -> None:
    assert head_of("12:0123456789abcdef").n == 12
