"""What our own probes run is not kept off a cluster; without a cluster."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from integrations import registry
from integrations.systems.kubernetes.admission import DenyImage
from playbooks.errors import Gone, Refused
from playbooks.estate.inventory import Inventory
from playbooks.strict import parse_yaml
from tests.integrations.systems.kubernetes.conftest import INVENTORY
from tests.lab.connected import connected

INTENT = DenyImage(server="weather")


class Pretended:
    """A cluster that has one deployment and, but for that, nothing."""

    def __init__(self, *images: str) -> None:
        self.template = {"spec": {"containers": [{"name": f"c{n}", "image": one} for n, one in enumerate(images)]}}

    async def request(self, method: str, path: str, **_: object) -> dict[str, Any]:
        if path.endswith("/deployments/weather"):
            metadata = {"uid": "weather", "name": "weather", "namespace": "mcp"}
            return {"metadata": metadata, "spec": {"selector": {}, "template": self.template}}
        if method == "GET" and "mcp-soar-deny" in path:
            raise Gone("there is none")
        return {}

    async def together(self, _what: object, ask: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401  # the answer
        return await ask()

    async def raw(self, path: str, **_: object) -> bytes:
        del path
        return b"{}"

    def read(self, raw: bytes, what: str) -> dict[str, Any]:
        del raw, what
        return {}


async def test_the_image_that_our_own_probe_runs_is_never_kept_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = f"registry.example/busybox@sha256:{'a' * 64}"
    (tmp_path / "kubeconfig").touch(mode=0o600)
    text = INVENTORY.format(namespace="mcp", kubeconfig=tmp_path / "kubeconfig", probe=image)
    world = connected(parse_yaml(Inventory, text, file="inventory.yaml", context=registry.SYSTEMS.context))
    elsewhere = f"mirror.example/box@sha256:{'a' * 64}"
    monkeypatch.setattr(world, "reach", lambda *_: Pretended("nginx:1.25", image, elsewhere))
    plan = await INTENT.plan(world)
    assert [change.target.name for change in plan.changes] == ["nginx:1.25"]
    assert plan.breaks.endswith(f"{elsewhere}, {image} is let in still: our own probe runs it.")
    monkeypatch.setattr(world, "reach", lambda *_: Pretended(image))
    with pytest.raises(Refused, match="which our own probe runs there"):
        await INTENT.plan(world)
