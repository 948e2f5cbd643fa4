"""What runs in a server's containers, as a container of ours beside them sees it on a real node."""

import re
from pathlib import Path
from typing import Any

import pytest

from integrations.systems.kubernetes import Probe, collector
from integrations.systems.kubernetes.client import PATIENCE, Api
from integrations.systems.kubernetes.collector import CaptureCheckpoint, CaptureProcesses
from integrations.systems.kubernetes.rights import Permission
from playbooks.errors import SoarError
from tests.integrations.systems.kubernetes.asking import asked
from tests.integrations.systems.kubernetes.conftest import Yard
from tests.integrations.systems.kubernetes.pretended import Pretended, pretended
from tests.lab.connected import connected
from tests.lab.exhibits import Gathered, gathered


async def test_processes_and_sockets_of_each_container_are_kept(yard: Yard) -> None:
    with asked(yard.api) as used:
        files = await gathered(CaptureProcesses(server="weather"), yard.world)
    declared = {Permission.read(one) for one in CaptureProcesses.permissions}
    assert used <= declared
    assert {one.resource for one in declared - used} == {"statefulsets"}
    assert set(files) == {"pod-1-1-processes.txt", "pod-2-1-processes.txt", "how.txt"}
    for name in ("pod-1-1-processes.txt", "pod-2-1-processes.txt"):
        text = files[name].decode()
        assert "\n# /proc/1/cmdline\n httpd\n -f\n -p\n 8000\n" in text
        assert re.search(r"\n# /proc/1/environ\n( \S*\n)* KUBERNETES_PORT=", text), "as another user it is told nothing"
        # Port 8000, listening.
        assert re.search(r"\n# /proc/net/tcp6?\n(?: .*\n)* +\d+: [0-9A-F]+:1F40 [0-9A-F:]+ 0A ", text)
        assert text.endswith("# all of it\n")
    assert "as the server's user" in files["how.txt"].decode()
    for pod in yard.cluster.pods(yard.namespace):
        (state,) = (one["state"] for one in pod["status"]["ephemeralContainerStatuses"])
        assert state["terminated"]["exitCode"] == 0, "nothing of ours goes on there"


async def test_what_cannot_be_looked_at_is_said_with_its_reason(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody listens there, so that its node is told so at once; a name that nobody knows takes it half a minute.
    absent = Probe(image=f"127.0.0.1:1/absent@sha256:{'0' * 64}")
    monkeypatch.setattr(collector, "probe_of", lambda *_: absent)
    sink = Gathered()
    await CaptureProcesses(server="weather").collect(yard.world, sink)
    assert len(sink.lacking) == 2
    assert all("ErrImagePull" in one or "ImagePullBackOff" in one for one in sink.lacking), sink.lacking
    assert set(sink.written) == {"how.txt"}


async def test_of_what_is_too_much_the_first_is_kept_and_the_rest_is_said_to_be_missing(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = collector._SCRIPT.replace(str(collector._MOST), "2000")  # noqa: SLF001  # what runs there
    monkeypatch.setattr(collector, "_SCRIPT", short)
    monkeypatch.setattr(collector, "_MOST", 2000)
    sink = Gathered()
    await CaptureProcesses(server="weather").collect(yard.world, sink)
    assert len(sink.lacking) == 2
    assert all("more of it than 2000 bytes" in one for one in sink.lacking)
    assert len(sink.written["pod-1-1-processes.txt"]) < 2100


async def test_a_checkpoint_that_is_not_to_be_had_says_what_the_kubelet_says(yard: Yard) -> None:
    capture = CaptureCheckpoint(server="weather")
    with pytest.raises(SoarError, match=r"not available: server of weather-.*403"):
        await gathered(capture, yard.world)
    # As whoever has the right: this node's runtime has no CRIU.
    admin = yard.as_user("admin")
    with pytest.raises(SoarError, match=r"not available: server of weather-.*: 500: .*[Cc][Rr][Ii][Uu]") as caught:
        await gathered(capture, admin)
    assert str(caught.value).count("not available: ") == 2
    await admin.aclose()


_CHECKPOINT = "/api/v1/nodes/node/proxy/checkpoint/mcp/weather-1/server"


def _of_pods(method: str, path: str, body: object) -> tuple[int, Any] | None:
    del method, body
    if path.endswith("/pods"):
        pod = {"metadata": {"name": "weather-1", "uid": "1", "labels": {"app": "weather"}}}
        return 200, {"items": [{**pod, "spec": {"nodeName": "node", "containers": [{"name": "server"}]}, "status": {}}]}
    if path == _CHECKPOINT:
        return 200, {"items": ["/var/lib/kubelet/checkpoints/checkpoint-weather.tar"]}
    return None


async def test_a_checkpoint_is_made_at_the_next_cluster_where_the_first_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without, having = Pretended(), Pretended()
    without.objects.clear()
    having.answers = _of_pods
    (tmp_path / "second").mkdir()
    async with pretended(without, tmp_path) as first, pretended(having, tmp_path / "second") as second:
        (settings, there), (also,) = (
            (first.inventory.systems["prod"], first.inventory.servers["weather"]),
            (second.inventory.systems["prod"],),
        )
        places = {**there.places, "second": there.places["prod"]}
        update = {
            "systems": {"prod": settings, "second": also},
            "servers": {"weather": there.model_copy(update={"places": places})},
        }
        both = connected(first.inventory.model_copy(update=update))
        sink = Gathered()
        given: dict[str, float | None] = {}
        request = Api.request

        async def noted(self: Api, method: str, path: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # as it takes
            given[path] = more.get("patience")
            return await request(self, method, path, **more)

        monkeypatch.setattr(Api, "request", noted)
        await CaptureCheckpoint(server="weather").collect(both, sink)
        await both.aclose()
    assert b"node, ['/var/lib/kubelet/checkpoints/checkpoint-weather.tar']" in bytes(sink.written["2-checkpoints.txt"])
    (lacking,) = sink.lacking
    assert "cluster prod" in lacking
    # A container's memory takes longer to write than an API server to answer.
    assert [path for path, patience in given.items() if patience and patience > 10 * PATIENCE] == [_CHECKPOINT]
