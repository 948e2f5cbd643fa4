"""What a worker of the pool `reading` may do: read, compare, and show people what it found.

It holds no credential of a gateway, no signing key, and nothing that writes into the inbox or a stream: only a copy of
the configuration folder without its secrets (`MCP_SOAR_CONFIG`) and the journal's address under a role that reads
(`MCP_SOAR_JOURNAL`; by default what the folder says).
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prefect import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import State, StateType
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.service import workers
from flows.service.access import journal_url, made, responder_keys
from flows.service.settings import Configuration, read
from integrations.hostile import printable
from integrations.journal.store import Journal
from playbooks.errors import Misconfigured

CONFIG, JOURNAL = workers.CONFIG, workers.JOURNAL


def configuration() -> Configuration:
    """Return the configuration that the worker was given.

    Raises:
        Misconfigured: it was given none, or one with a fault.
    """
    folder = os.environ.get(CONFIG, "")
    if not folder:
        raise Misconfigured(
            f"the environment variable {CONFIG} is not set: a configuration folder, without its secrets"
        )
    return read(Path(folder))


@asynccontextmanager
async def journal(config: Configuration) -> AsyncIterator[Journal]:
    """Yield the journal, to be read.

    Raises:
        Transient: there is none yet.
    """
    url = os.environ.get(JOURNAL, "")
    if not url:
        made(config)
    keys, name = list(responder_keys(config).values()), f"reading-{os.getpid()}"
    async with await Journal.open(url or journal_url(config), signer=None, name=name, keys=keys) as opened:
        yield opened


async def show(key: str, description: str, markdown: str) -> None:
    """Publish an artifact of this run.

    Args:
        key: its versions are its course.
        description: one line.
        markdown: harmless already.
    """
    async with get_client() as client:
        artifact = ArtifactCreate(
            key=key, type="markdown", description=description[:500], data=markdown, flow_run_id=flow_run.id
        )
        await client.create_artifact(artifact)


def ended(message: str, *, good: bool) -> State[Any]:
    """Return how the run ends: green, or red with what to do.

    Args:
        message: for people.
        good: whether it found everything as it should be.
    """
    said = printable(message, 2000)
    get_run_logger().log(20 if good else 40, said)
    return State(
        type=StateType.COMPLETED if good else StateType.FAILED, name=None if good else "LookAtThis", message=said
    )
