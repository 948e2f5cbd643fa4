"""The file system of a server's containers as tar, streamed from beside them: nothing in the server's image does it.

An ephemeral container of ours (`collector.py`) reads it through `/proc/PID/root` as the server's user, when told to,
and writes it to its standard output, to which we are attached. So it takes no `pods/exec`, and an image without a shell
or tar has its files kept too. Raw bytes survive that way, the reader's pace is the writer's, and it ends with us: its
standard input does. Through its log alone it could not be: a kubelet keeps ten MiB of one as it is.

Source: Kubernetes API reference v1.36, `pods/attach`; proc(5), `/proc/PID/root`; POSIX.1-2017 pax, "ustar".
"""

import re
from shlex import quote
from typing import Any, ClassVar, Final, NamedTuple

from typing_extensions import override

from integrations.hostile import printable
from integrations.systems.kubernetes.actions import FILES
from integrations.systems.kubernetes.collector import WITHIN, Beside, CaptureBeside, came_to, put
from integrations.systems.kubernetes.workload import PODS
from playbooks.action import Sink

_MOST: Final = 2 << 30
"""Bytes of one container's files: they pass through our container's log, for which the node's disk has to have room."""

_SHARE: Final = 4
"""What part of what a pod may hold on its node: a kubelet ends one that holds more, with all that is wanted of it."""

_QUANTITY: Final = re.compile(r"(\d+)(Ki|Mi|Gi|Ti|k|M|G|T)?")
_UNITS: Final = {letter: 1000**power for power, letter in enumerate(("", "k", "M", "G", "T"))} | {
    f"{letter}i": 1024**power for power, letter in enumerate("KMGT", 1)
}

_OUT, _ERRORS = 1, 2
_SAID: Final = 4096
"""Bytes of what tar could not read that are kept."""

_ROWS: Final = 20
_BLOCK: Final = 512
_END: Final = bytes(2 * _BLOCK)
"""How a tar ends."""

_GO: Final = b"go\n"
# What is stopped when nobody listens any more is tar: its output would go on into the node's log.
_SCRIPT: Final = """\
read go || exit 1
p={process}
cd "/proc/$p/root" || exit 1
for f in * .[!.]* ..?*; do
  case $f in proc|sys|dev) continue;; esac
  if [ -e "$f" ] || [ -L "$f" ]; then set -- "$@" "./$f"; fi
done
exec 3<&0
tar -c -f - "$@" & t=$!
{{ cat <&3 >/dev/null; kill $t; }} 2>/dev/null & wait $t
"""
_HOW: Final = (
    "read through /proc by an ephemeral container of ours, which ran in the pod as the server's user, without /proc,"
    " /sys and /dev, while the server went on: whoever has the server could see it, and could have ended or deceived it"
)


class CaptureFiles(CaptureBeside):
    """The file system of each container of a server's pods, volumes included, as tar.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.capture_files"
    exhibit: ClassVar[str] = FILES
    permissions: ClassVar[tuple[str, ...]] = (
        *PODS,
        "get pods",
        "patch pods/ephemeralcontainers",
        # A WebSocket begins with GET; since v1.35 `create` is asked for as well.
        "get pods/attach",
        "create pods/attach",
    )
    silence: ClassVar[float] = 2 * WITHIN + 30.0
    ending: ClassVar[str] = "files.tar"
    how: ClassVar[str] = _HOW

    @override
    @classmethod
    async def keep(cls, one: Beside, own: str, name: str, sink: Sink) -> list[str]:
        most = _most(one.pod)
        own = await put(one, _script(one.pod, one.container), stdin=True, stdinOnce=True)
        await came_to(one, own, "running")
        read = await _streamed(one, own, name, sink, most)
        lines = (line.strip() for line in read.errors.decode(errors="replace").splitlines())
        wrong = [printable(line, 200) for line in lines if line]
        more = [f"and more that tar says, {len(wrong)} lines at least"] if len(wrong) > _ROWS else []
        missing = wrong[:_ROWS] + more
        if read.size >= most:
            return [f"there is more of it than {most} bytes, which are the first", *missing]
        ended = await came_to(one, own, "terminated")
        if read.last != _END:
            why = ended.get("reason", "our container was ended")
            return [f"it broke off after {read.size} bytes ({why})", *missing]
        return missing or ([f"tar ended with {ended['exitCode']}"] if ended.get("exitCode") else [])


class _Read(NamedTuple):
    size: int
    last: bytes
    errors: bytes


async def _streamed(one: Beside, own: str, name: str, sink: Sink, most: int) -> _Read:
    where = one.path("attach")
    query = {"container": own, "stdin": "true", "stdout": "true", "stderr": "true"}
    size, last, errors = 0, b"", b""
    async with (
        one.api.attached(where, query, _GO) as said,
        sink.file(name, media_type="application/x-tar", origin=f"{where}?container={own}") as file,
    ):
        async for channel, data in said:
            if channel == _ERRORS:
                errors += bytes(data[: _SAID - len(errors)])
            elif channel == _OUT:
                piece = bytes(data[: most - size])
                size, last = size + len(piece), (last + piece[-len(_END) :])[-len(_END) :]
                await file.write(piece)
                if size >= most:
                    break
    return _Read(size, last, errors)


def _most(pod: dict[str, Any]) -> int:
    """Return how many bytes of a container's files are read. What a pod may hold is divided among its containers."""
    containers = pod["spec"]["containers"]
    limits = [((one.get("resources") or {}).get("limits") or {}).get("ephemeral-storage") for one in containers]
    written = [_QUANTITY.fullmatch(str(one)) for one in limits if one is not None]
    if not written:
        return _MOST
    # What we cannot read is no room at all.
    may = sum(int(one[1]) * _UNITS[one[2] or ""] if one else 0 for one in written)
    return min(_MOST, may // (_SHARE * len(containers)))


def _script(pod: dict[str, Any], container: dict[str, Any]) -> str:
    """Return what our container does: it sees its target's first process as 1, unless all of the pod share theirs."""
    process = "1"
    if pod["spec"].get("shareProcessNamespace"):
        statuses = pod.get("status", {}).get("containerStatuses") or ()
        id_ = next((one.get("containerID", "") for one in statuses if one["name"] == container["name"]), "")
        sought = quote(id_.rpartition("/")[2] or "no container")
        process = f"$(grep -l -F -e {sought} /proc/[0-9]*/cgroup | sed -n '1s,^/proc/\\([0-9]*\\)/cgroup$,\\1,p')"
    return _SCRIPT.format(process=process)


CAPTURES: Final = (CaptureFiles,)
