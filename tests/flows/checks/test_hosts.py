"""The check `hosts`: a machine beside its baseline, on a tree of files as Linux has them, and on this machine."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from flows.checks import hosts
from flows.checks.hosts import CHECK, KnownHost, looks
from flows.checks.running import run
from playbooks.errors import Refused, SoarError, Transient
from tests.flows.cli.world import Installation

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = "00000000:00000000 00:00000000 00000000     0        0 180 1 0 100 0 0 10 0\n"
TCP = f"{HEAD}   0: 0100007F:0016 00000000:0000 0A {REST}   1: 0100007F:C350 0100007F:0016 01 {REST}"
TCP6 = f"{HEAD}   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A {REST}"
UDP = f"{HEAD}   0: 00000000:0035 00000000:0000 07 {REST}   1: 00000000:EA60 00000000:0000 07 {REST}"
FILES = {
    "proc/sys/net/ipv4/ip_forward": "0\n",
    "proc/sys/kernel/yama/ptrace_scope": "1\n",
    "proc/modules": "veth 40960 0 - Live 0x0\nbridge 1 0 - Live 0x0\n",
    "proc/net/tcp": TCP,
    "proc/net/tcp6": TCP6,
    "proc/net/udp": UDP,
    "etc/ssh/sshd_config": "# x\nInclude /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin yes\nMatch all\nUseDNS yes\n",
    "etc/ssh/sshd_config.d/a.conf": 'permitrootlogin   "no"\nPasswordAuthentication=no\n',
    "sys/module/apparmor/parameters/enabled": "Y\n",
    "etc/systemd/system/multi-user.target.wants/ssh.service": "",
}
GOOD = KnownHost(
    version=1,
    sysctl={"net.ipv4.ip_forward": "0", "kernel.yama.ptrace_scope": "1"},
    modules=("bridge", "veth"),
    sshd={"permitrootlogin": "no", "passwordauthentication": "no"},
    mandatory="apparmor",
    listening=("tcp/127.0.0.1:22", "tcp/[::]:80", "udp/0.0.0.0:53"),
    services=("ssh.service",),
)

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the tree has addresses as such a machine has them")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine's files."""
    found = tmp_path / "root"
    for place, text in FILES.items():
        put(found, place, text)
    return found


def put(root: Path, place: str, text: str) -> None:
    """Write a file of it."""
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(text)


def found(root: Path, baseline: KnownHost = GOOD) -> list[tuple[str, str]]:
    """Return what is not as it should be."""
    return [(one.what, one.observed) for look in looks(baseline, root).values() for one in look()]


def test_a_machine_that_is_as_its_baseline_says_gives_an_empty_report(root: Path) -> None:
    assert found(root) == []
    assert len(looks(GOOD, root)) == 6
    assert found(root, KnownHost(version=1)) == [], "what a baseline leaves out is not looked at"


@pytest.mark.parametrize(
    ("place", "text", "named"),
    [
        ("proc/sys/net/ipv4/ip_forward", "1\n", ("sysctl net.ipv4.ip_forward", "1")),
        ("proc/modules", "evil 1 0 - Live 0x0\nveth 1 0 - Live 0x0\n", ("kernel module evil", "there")),
        ("etc/ssh/sshd_config.d/a.conf", "PasswordAuthentication no\n", ("sshd's permitrootlogin", "yes")),
        ("etc/ssh/sshd_config.d/a.conf", "PermitRootLogin no\n", ("sshd's passwordauthentication", "not set")),
        (
            "etc/ssh/sshd_config.d/a.conf",
            "PasswordAuthentication no\nMatch user a\nPermitRootLogin no\n",
            ("sshd's permitrootlogin", "yes"),
        ),
        ("sys/module/apparmor/parameters/enabled", "N\n", ("mandatory access control", "off")),
        ("proc/net/tcp", TCP.replace("0100007F:0016 0", "00000000:0016 0"), ("listening at tcp/0.0.0.0:22", "there")),
        ("proc/net/udp6", TCP6.replace("0A", "07"), ("listening at udp/[::]:80", "there")),
        ("etc/systemd/system/multi-user.target.wants/evil.service", "", ("service evil.service", "there")),
    ],
)
def test_each_kind_of_drift_is_named(root: Path, place: str, text: str, named: tuple[str, str]) -> None:
    put(root, place, text)
    assert found(root) == [named]


def test_selinux_counts_where_it_enforces(root: Path) -> None:
    wanted = KnownHost(version=1, mandatory="selinux")
    assert found(root, wanted) == [("mandatory access control", "apparmor")]
    put(root, "sys/fs/selinux/enforce", "1")
    assert found(root, wanted) == []


def test_what_cannot_be_read_is_unknown_and_nothing_hangs(root: Path) -> None:
    (root / "proc/modules").unlink()
    os.mkfifo(root / "proc/net/udp6")
    (root / "etc/ssh/sshd_config.d/b.conf").write_text("Include sshd_config.d/b.conf\n")
    there = looks(GOOD, root)
    with pytest.raises(Transient, match="no /proc/modules"):
        there["kernel modules"]()
    with pytest.raises(Refused, match="no ordinary file"):
        there["listening"]()
    with pytest.raises(Refused, match="include more than"):
        there["sshd"]()
    (root / "proc/sys/kernel/yama/ptrace_scope").unlink()
    (root / "proc/sys/kernel/yama/ptrace_scope").symlink_to("/etc/hostname")
    with pytest.raises(SoarError):
        there["kernel settings"]()


def test_this_machine_is_as_it_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Installation(tmp_path / "mcp-soar", tmp_path / "people")
    assert site.run("init", str(site.folder)).exit_code == 0
    before = asyncio.run(run(CHECK, site.config))
    assert (before.asked, len(before.left_out)) == (0, 1), "there is nothing to compare it with"
    # What listens comes and goes beside this test.
    monkeypatch.setattr(hosts, "listening", lambda _: ("tcp/127.0.0.1:22",))
    assert site.json("check", "hosts", "--write-baseline")["files"] == [str(site.folder / hosts.BASELINE)]
    done = asyncio.run(run(CHECK, site.config))
    assert (done.found, done.unknown, done.left_out) == ((), (), ())
    assert done.asked >= 3
    assert "already" in site.error("check", "hosts", "--write-baseline", code=4)["message"]
    (site.folder / hosts.BASELINE).write_text("version: 1\nsysctl: {net.ipv4.ip_forward: [0]}\n")
    said = site.error("check", "hosts", "--no-report", code=3)["message"]
    assert f"{hosts.BASELINE}:2: sysctl" in said
