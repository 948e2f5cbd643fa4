"""The artifacts in Prefect: which are there, and putting there what changed. Keys keep their versions."""

import uuid
from collections.abc import Sequence

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey

from flows.pages.pages import Artifact
from playbooks.strict import sha256


class Shelf:
    """What the API has of us.

    Args:
        client: of the API.
    """

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self._written: dict[str, str] = {}

    async def put(self, pages: Sequence[Artifact], flow_run: uuid.UUID | None = None) -> None:
        """Publish what changed.

        Args:
            pages: in the order in which they are written.
            flow_run: that they belong to.
        """
        if unknown := [page.key for page in pages if page.key not in self._written]:
            wanted = ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=unknown))
            for one in await self._client.read_latest_artifacts(artifact_filter=wanted):
                self._written[one.key] = _stamp(one.description, one.data)
        for page in pages:
            stamp = _stamp(page.description, page.data)
            if self._written.get(page.key) != stamp:
                artifact = ArtifactCreate(
                    key=page.key, type="markdown", description=page.description, data=page.data, flow_run_id=flow_run
                )
                await self._client.create_artifact(artifact)
                self._written[page.key] = stamp


def _stamp(description: str | None, data: object) -> str:
    return sha256(f"{description}\n{data}".encode())
