"""The files of a server's containers, as a container of ours beside them reads them on a real node."""

import io
import signal
import tarfile
from typing import Any

import pytest

from integrations.systems.kubernetes import filesystem
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.filesystem import CaptureFiles
from integrations.systems.kubernetes.rights import Permission
from playbooks.errors import SoarError
from tests.integrations.systems.kubernetes.asking import asked
from tests.integrations.systems.kubernetes.conftest import Yard
from tests.lab.exhibits import Gathered

RAW = bytes(range(256)) * 300 + b"\r\n\r\n\0"
"""What a log, a terminal or a text would change."""
TMP = "/tmp"  # noqa: S108  # of a container
UNPRIVILEGED: dict[str, Any] = {
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


async def _as_written(yard: Yard, script: str, own: dict[str, Any] | None = None, **more: object) -> None:
    """Have the server run something else, as one pod."""
    container = {"name": "server", "command": ["/bin/sh", "-c", f"{script}; exec httpd -f -p 8000 -h /"]}
    spec = {"containers": [{**container, **(own or {})}], **more}
    change = {
        "spec": {"replicas": 1, "strategy": {"type": "Recreate", "rollingUpdate": None}, "template": {"spec": spec}}
    }
    yard.cluster.ask("PATCH", yard.path, change, kind="application/strategic-merge-patch+json")

    def changed() -> bool:
        there = yard.cluster.pods(yard.namespace)
        return len(there) == 1 and there[0]["spec"]["containers"][0].get("command") == container["command"]

    yard.cluster.until(changed, "its pod is the new one")
    await yard.ready(1)


def _files(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {one.name: tar.extractfile(one) for one in tar if one.isreg()}
        return {name: file.read() if file else b"" for name, file in found.items()}


async def test_files_of_each_container_are_kept_as_they_are(yard: Yard) -> None:
    octal = "".join(f"\\{byte:03o}" for byte in range(256))
    script = f"for i in $(seq 300); do printf '{octal}'; done >/tmp/raw; printf '\\r\\n\\r\\n\\000' >>/tmp/raw"
    await _as_written(yard, f"{script}; echo -n >/--checkpoint; ln -s /etc/passwd /tmp/link; echo x >/.hidden")
    sink = Gathered()
    with asked(yard.api) as used:
        await CaptureFiles(server="weather").collect(yard.world, sink)
    declared = {Permission.read(one) for one in CaptureFiles.permissions}
    assert used <= declared
    assert {one.resource for one in declared - used} == {"statefulsets", "pods/attach"}, "the latter is no `ask`"
    assert set(sink.written) == {"pod-1-1-files.tar", "how.txt"}
    assert sink.lacking == ()
    found = _files(bytes(sink.written["pod-1-1-files.tar"]))
    assert found["./tmp/raw"] == RAW
    assert {"./--checkpoint", "./.hidden", "./bin/busybox"} <= set(found)
    assert not [name for name in found if name.startswith(("./proc", "./sys", "./dev"))]
    assert "as the server's user" in sink.written["how.txt"].decode()
    (pod,) = yard.cluster.pods(yard.namespace)
    (state,) = (one["state"] for one in pod["status"]["ephemeralContainerStatuses"])
    assert state["terminated"]["exitCode"] == 0, "nothing of ours goes on there"


async def test_under_restricted_pod_security_what_the_server_may_read_is_kept_and_the_rest_said(
    yard: Yard,
) -> None:
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    path = f"/api/v1/namespaces/{yard.namespace}"
    yard.cluster.ask("PATCH", path, labels, kind="application/merge-patch+json")
    script = "mkdir /tmp/shut && echo x >/tmp/shut/inside && chmod 0 /tmp/shut && echo mine >/tmp/mine"
    volumes = {"volumes": [{"name": "tmp", "emptyDir": {}}]}
    own = {"securityContext": UNPRIVILEGED, "volumeMounts": [{"name": "tmp", "mountPath": TMP}]}
    # All of the pod in one process namespace: the first process there is not the server's.
    await _as_written(yard, script, own, shareProcessNamespace=True, **volumes)
    sink = Gathered()
    await CaptureFiles(server="weather").collect(yard.world, sink)
    assert _files(bytes(sink.written["pod-1-1-files.tar"]))["./tmp/mine"] == b"mine\n"
    (lacking,) = [one for one in sink.lacking if f"{TMP}/shut" in one]
    assert "ermission denied" in lacking
    assert lacking in sink.written["how.txt"].decode()


async def test_of_too_many_files_the_first_are_kept_and_nothing_is_read_on(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _as_written(yard, "busybox truncate -s 200M /0-large")
    monkeypatch.setattr(filesystem, "_MOST", 100_000)
    sink = Gathered()
    await CaptureFiles(server="weather").collect(yard.world, sink)
    (lacking,) = sink.lacking
    assert "more of it than 100000 bytes" in lacking
    assert len(sink.written["pod-1-1-files.tar"]) == 100_000

    def ended() -> list[int]:
        (pod,) = yard.cluster.pods(yard.namespace)
        states = [one["state"] for one in pod["status"]["ephemeralContainerStatuses"]]
        return [one["terminated"]["exitCode"] for one in states if "terminated" in one]

    yard.cluster.until(ended, "nothing of ours goes on there")
    assert ended() == [128 + signal.SIGTERM], "it read on for nobody, into the log"


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ((None, None), 2 << 30),
        (("1Gi", None), 1 << 27),
        (("1M", "512Ki"), (1_000_000 + 524_288) // 8),
        (("100Gi",), 2 << 30),
        (("some",), 0),
    ],
)
def test_no_pod_is_ended_by_what_is_read_of_it(limits: tuple[str | None, ...], most: int) -> None:
    containers = [{"resources": {"limits": {"ephemeral-storage": one}}} if one else {} for one in limits]
    assert filesystem._most({"spec": {"containers": containers}}) == most  # noqa: SLF001  # what a kubelet goes by


async def test_a_cut_stream_and_a_missing_right_are_said(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_SCRIPT", "read go; echo half; exit 3 # {process}")
    sink = Gathered()
    await CaptureFiles(server="weather").collect(yard.world, sink)
    assert len(sink.lacking) == 2
    assert all("broke off after 5 bytes" in one for one in sink.lacking), sink.lacking
    where = f"/api/v1/namespaces/{yard.namespace}/pods/{yard.cluster.pods(yard.namespace)[0]['metadata']['name']}"
    stranger = yard.as_user("stranger")
    with pytest.raises(SoarError, match="403"):
        async with stranger.reach(Api, "prod").attached(f"{where}/attach", {"container": "server"}, b"go\n"):
            raise AssertionError
    with pytest.raises(SoarError, match="403"):
        async with yard.api.attached(f"{where}/exec", {"command": "sh", "stdin": "true"}, b"go\n"):
            raise AssertionError
    await stranger.aclose()
