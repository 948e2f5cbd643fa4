"""A node for the tests' cluster: kubelet, containerd and runc, in a process and mount namespace of their own.

Whoever began it takes everything along that runs there, however it ends: the namespace's first process is its child.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from flows.demo.processes import child, free_port
from tests.cluster import image

PAUSE = "registry.example/pause:1"
SERVER = "registry.example/weather:1"
PROBE = "registry.example/probe@"
"""Called by its digest, as whoever runs it has to."""

_MOST = 100
"""Nodes at once on one machine: each has a number, and by it addresses and a bridge of its own."""

_WITHIN = 300.0


def lacking() -> str:
    """Return what is missing for a node, or nothing."""
    if os.geteuid() != 0:
        return "a node takes root"
    missing = [program for program in ("busybox", "ip", "unshare") if shutil.which(program) is None]
    return f"{', '.join(missing)} is missing" if missing else ""


@contextlib.contextmanager
def node(programs: Path, kubeconfig: str, folder: Path, *, largest_log: str) -> Iterator[str]:
    """Run a node for a cluster, and yield the image that probes run.

    `lo` gets an address for it, since a kubelet takes no loopback one.

    Args:
        programs: from `tests.cluster.build`.
        kubeconfig: of an administrator.
        folder: for what it keeps; its path is short, since a socket's is.
        largest_log: after how much of a container's log it begins another; it sends the present one alone.
    """
    with _number() as number:
        address = f"10.254.{number}.1"
        _ip("address", "replace", f"{address}/32", "dev", "lo")
        probe = _write(programs, kubeconfig, folder, number, address, largest_log=largest_log)
        script = folder / "node.sh"
        script.write_text(_SCRIPT.format(folder=folder, node=address))
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "sh", str(script)]
        environment = {"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder)}
        # `unshare` heeds no SIGTERM while its child runs; killed, it takes along all that runs there.
        log, ready = folder / "node.log", (folder / "ready").exists
        try:
            with child(command, log=log, ready=ready, within=_WITHIN, env=environment, grace=0.0):
                yield probe
        finally:
            _ip("link", "delete", f"mcpsoar{number}")
            _ip("address", "delete", f"{address}/32", "dev", "lo")
            for running in folder.glob("containerd/state/*.task/k8s.io/*"):
                for empty in Path("/sys/fs/cgroup").glob(f"*/k8s.io/{running.name}"):
                    with contextlib.suppress(OSError):
                        empty.rmdir()


def bridge(node: str) -> str:
    """Return the address of a node's bridge, which its pods reach, by the node's own."""
    first, second, number, last = node.split(".")
    return f"{first}.{second}.{int(number) + _MOST}.{last}"


@contextlib.contextmanager
def _number() -> Iterator[int]:
    """Yield a number that no other node on this machine has; it is free again when whoever has it ends."""
    for number in range(_MOST):
        with socket.socket(socket.AF_UNIX) as mine:
            try:
                mine.bind(f"\0mcp-soar-node-{number}")
            except OSError:
                continue
            yield number
            return
    raise RuntimeError(f"there are {_MOST} nodes on this machine")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=False, capture_output=True)  # noqa: S603, S607  # ours


_SCRIPT = """\
set -e
containerd --config {folder}/containerd.toml >{folder}/containerd.log 2>&1 &
until ctr --address {folder}/c.sock version >/dev/null 2>&1; do sleep 0.1; done
for image in {folder}/*.tar; do ctr --address {folder}/c.sock -n k8s.io images import $image >/dev/null; done
touch {folder}/ready
exec kubernetes kubelet --config={folder}/kubelet.json --kubeconfig={folder}/kubeconfig --hostname-override=node \
  --node-ip={node} --root-dir={folder}/kubelet --cert-dir={folder}/kubelet-certificates >{folder}/kubelet.log 2>&1
"""


def _write(programs: Path, kubeconfig: str, folder: Path, number: int, address: str, *, largest_log: str) -> str:
    pods = f"10.254.{number + _MOST}.0/24"
    (folder / "kubeconfig").write_text(kubeconfig)
    image.write(folder / "pause.tar", PAUSE, ["/bin/sleep", "1000000"])
    probe = image.write(folder / "probe.tar", PROBE, ["/bin/sh"])
    image.write(folder / "server.tar", SERVER, ["/bin/sh", "-c", "echo serving; exec httpd -f -p 8000 -h /www"])
    (folder / "cni").mkdir(exist_ok=True)
    (folder / "cni" / "10-bridge.conflist").write_text(
        json.dumps(
            {
                "cniVersion": "1.0.0",
                "name": "tests",
                "plugins": [
                    {
                        "type": "bridge",
                        "bridge": f"mcpsoar{number}",
                        "isGateway": True,
                        "ipam": {"type": "host-local", "dataDir": str(folder / "addresses"), "subnet": pods},
                    }
                ],
            }
        )
    )
    (folder / "containerd.toml").write_text(
        _CONTAINERD.format(folder=folder, plugins=programs, pause=PAUSE, runc=programs / "runc")
    )
    (folder / "kubelet.json").write_text(
        json.dumps(
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "address": address,
                "port": free_port(),
                "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
                "authorization": {"mode": "AlwaysAllow"},
                "cgroupDriver": "cgroupfs",
                "cgroupsPerQOS": False,
                "enforceNodeAllocatable": [],
                "failCgroupV1": False,
                "failSwapOn": False,
                "containerRuntimeEndpoint": f"unix://{folder}/c.sock",
                # Another cluster's kubelet on this machine clears away what it does not know.
                "podLogsDir": str(folder / "logs"),
                "containerLogMaxSize": largest_log,
                "readOnlyPort": 0,
                "healthzPort": 0,
                "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "memory.available": "1Mi"},
                "imageGCHighThresholdPercent": 100,
            }
        )
    )
    return probe


_CONTAINERD = """\
version = 3
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"

[grpc]
address = "{folder}/c.sock"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{plugins}"]
conf_dir = "{folder}/cni"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
"""
