"""What runs in a server's containers, as a container of ours beside them sees it on a real node."""

import re

import pytest

from integrations.systems.kubernetes import Probe, collector
from integrations.systems.kubernetes.collector import CaptureCheckpoint, CaptureProcesses
from playbooks.errors import SoarError
from tests.integrations.systems.kubernetes.conftest import Yard
from tests.lab.exhibits import Gathered, gathered


async def test_processes_and_sockets_of_each_container_are_kept(yard: Yard) -> None:
    files = await gathered(CaptureProcesses(server="weather"), yard.world)
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
    absent = Probe(image=f"registry.example/absent@sha256:{'0' * 64}")
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
