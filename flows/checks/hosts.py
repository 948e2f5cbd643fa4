"""The host: kernel, sshd, mandatory access control, what listens and what starts, beside a baseline; Linux only.

It reads files and starts nothing. Without a baseline there is nothing to compare with, and nothing is asked.
"""

import asyncio
import ipaddress
import re
import socket
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import yaml
from pydantic import Field

from flows.checks.inspection import Ask, Inspection
from flows.service.settings import Configuration
from integrations import machine, whole
from integrations.hostile import printable
from playbooks.action import World
from playbooks.errors import Misconfigured, Refused, Transient
from playbooks.record.check import About, Found
from playbooks.strict import Line, Strict, parse_yaml
from playbooks.taxonomy import EntityKind, IncidentClass, Severity

_T = TypeVar("_T")

BASELINE = "hosts.yaml"
"""What of this machine is as it should be: a file of the configuration folder."""

ROOT = Path("/")
"""Where the machine's files are."""

_SYSCTL: Final = (
    "fs.protected_hardlinks",
    "fs.protected_symlinks",
    "fs.suid_dumpable",
    "kernel.dmesg_restrict",
    "kernel.kptr_restrict",
    "kernel.randomize_va_space",
    "kernel.unprivileged_bpf_disabled",
    "kernel.yama.ptrace_scope",
    "net.ipv4.conf.all.accept_redirects",
    "net.ipv4.conf.all.accept_source_route",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.ip_forward",
    "net.ipv4.tcp_syncookies",
)
"""What a baseline that is written begins with."""

_SSHD: Final = ("passwordauthentication", "permitemptypasswords", "permitrootlogin", "x11forwarding")
_FILES: Final = 200
"""Files that sshd's settings may include."""

_LISTENS: Final = {"tcp": "0A", "udp": "07"}
"""The state in which the kernel says that a socket takes what comes."""

_LINES: Final = 100_000
_ROW: Final = re.compile(r"\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) ")
_EPHEMERAL: Final = 32_768


class KnownHost(Strict):
    """`hosts.yaml`; what it leaves out is not looked at.

    Args:
        version: of this format.
        sysctl: settings of the kernel, with their values.
        modules: of the kernel, that may be loaded.
        sshd: settings of sshd, in lower case, with their values.
        mandatory: the mandatory access control that is to be in force.
        listening: addresses that something may listen at, as `tcp/0.0.0.0:22`.
        services: units of systemd that may start by themselves.
    """

    version: Literal[1]
    sysctl: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[A-Za-z0-9_-]+)+$")], Line] | None = None
    modules: tuple[Line, ...] | None = None
    sshd: dict[Annotated[str, Field(pattern=r"^[a-z0-9]+$")], Line] | None = None
    mandatory: Literal["apparmor", "selinux"] | None = None
    listening: tuple[Line, ...] | None = None
    services: tuple[Line, ...] | None = None


def read(folder: Path) -> KnownHost | None:
    """Return the baseline of a configuration; None if there is none.

    Raises:
        Misconfigured: it has a mistake, with line and field.
    """
    path = folder / BASELINE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise Misconfigured("it cannot be read", file=str(path)) from exc
    return parse_yaml(KnownHost, text, file=str(path))


def _text(root: Path, place: str) -> str:
    """Return what a file of the machine holds.

    Raises:
        Transient: there is none.
        Refused: it cannot be read.
    """
    raw = machine.content(root / place, root)
    if raw is None:
        raise Transient(f"this machine has no /{place}")
    return raw.decode("utf-8", "replace")


def sysctl(root: Path, names: Collection[str]) -> dict[str, str]:
    """Return settings of the kernel; empty for what it does not have."""
    found = {}
    for name in names:
        raw = machine.content(root / "proc/sys" / name.replace(".", "/"), root / "proc/sys")
        found[name] = " ".join((raw or b"").decode("utf-8", "replace").split())
    return found


def modules(root: Path) -> tuple[str, ...]:
    """Return the modules that the kernel has loaded."""
    return tuple(sorted(line.split()[0] for line in _text(root, "proc/modules").splitlines() if line.strip()))


def sshd(root: Path) -> dict[str, str]:
    """Return sshd's settings for everybody: the first that is said counts, and none that is said of some only."""
    found: dict[str, str] = {}
    for line in _sshd(root, "etc/ssh/sshd_config", [_FILES]):
        key, _, value = line.partition(" ")
        found.setdefault(key.lower(), value.strip().strip('"').lower())
    return found


def _sshd(root: Path, place: str, left: list[int]) -> Iterator[str]:
    left[0] -= 1
    if left[0] < 0:
        raise Refused(f"sshd's settings include more than {_FILES} files")
    for raw in _text(root, place).splitlines():
        line = " ".join(raw.replace("=", " ", 1).split() if "=" in raw.split("#")[0] else raw.split())
        word = line.partition(" ")[0].lower()
        if word == "match":
            return
        if word == "include":
            for pattern in line.split()[1:]:
                inside = pattern.removeprefix("/") if pattern.startswith("/") else f"etc/ssh/{pattern}"
                for one in sorted(root.glob(inside))[:_FILES]:
                    yield from _sshd(root, one.relative_to(root).as_posix(), left)
        elif word and not word.startswith("#"):
            yield line


def mandatory(root: Path) -> str:
    """Return which mandatory access control is in force; empty for none."""
    if (machine.content(root / "sys/fs/selinux/enforce", root) or b"").strip() == b"1":
        return "selinux"
    on = (machine.content(root / "sys/module/apparmor/parameters/enabled", root) or b"").strip() == b"Y"
    return "apparmor" if on else ""


def listening(root: Path) -> tuple[str, ...]:
    """Return the addresses that something listens at; of UDP those below the ports that clients come from."""
    found = set()
    for protocol, state in _LISTENS.items():
        for version in ("", "6"):
            if version and not (root / f"proc/net/{protocol}6").exists():
                continue
            for line in _text(root, f"proc/net/{protocol}{version}").splitlines()[1:_LINES]:
                row = _ROW.match(line)
                if row is None or row[3] != state:
                    continue
                port = int(row[2], 16)
                if protocol == "tcp" or port < _EPHEMERAL:
                    found.add(f"{protocol}/{_address(row[1])}:{port}")
    return tuple(sorted(found))


def _address(text: str) -> str:
    # Each word of four bytes in the processor's order.
    words = (int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    address = ipaddress.ip_address(b"".join(words))
    return f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004  # of the protocol


def services(root: Path) -> list[str]:
    """Return the units of systemd that start by themselves."""
    wanted = root / "etc/systemd/system"
    found = set()
    for folder in (name for name in machine.names(wanted, root) if name.endswith((".wants", ".requires"))):
        found |= {one.name for one in sorted((wanted / folder).iterdir())[: machine.MOST_NAMES]}
    return sorted(found)


def _found(what: str, observed: str, *, expected: str, remedy: str, severity: Severity, together: str = "") -> Found:
    host = socket.gethostname()
    subject, what, observed = f"host {host}", printable(what, 150), printable(observed, 150)
    return Found(
        id=f"{subject}/{what}",
        subject=subject,
        what=what,
        expected=expected,
        observed=observed,
        severity=severity,
        incident_class=IncidentClass.INSECURE_CONFIGURATION,
        remedy=remedy,
        state=f"{subject}\n{what}\n{observed}",
        rule=f"Host: {together or what}"[:200],
        about=(About(EntityKind.HOST, host),),
        together=together,
    )


def _values(kind: str, wanted: Mapping[str, str], there: Mapping[str, str], mend: str) -> list[Found]:
    return [
        _found(
            f"{kind} {name}",
            there.get(name) or "not set",
            expected=value,
            remedy=mend.format(name=name, value=value),
            severity=Severity.HIGH,
        )
        for name, value in sorted(wanted.items())
        if there.get(name, "") != value
    ]


def _beside(kind: str, known: Collection[str], there: Sequence[str], mend: str) -> list[Found]:
    return [
        _found(
            f"{kind} {name}",
            "there",
            expected=f"one of {BASELINE}, or not there",
            remedy=mend,
            severity=Severity.HIGH,
            together=kind,
        )
        for name in there
        if name not in known
    ]


def _control(wanted: str, root: Path) -> list[Found]:
    there = mandatory(root)
    if there == wanted:
        return []
    return [
        _found(
            "mandatory access control",
            there or "off",
            expected=wanted,
            remedy=f"switch {wanted} on, and find out who switched it off",
            severity=Severity.HIGH,
        )
    ]


def looks(baseline: KnownHost, root: Path) -> dict[str, Callable[[], list[Found]]]:
    """Return what is looked at, by what it is; what a baseline leaves out is not.

    Args:
        baseline: what is as it should be.
        root: where the machine's files are.
    """
    found: dict[str, Callable[[], list[Found]]] = {}
    if (values := baseline.sysctl) is not None:
        mend = "see who changed it; set it with sysctl -w {name}={value}, and in /etc/sysctl.d"
        found["kernel settings"] = lambda: _values("sysctl", values, sysctl(root, values), mend)
    if (known := baseline.modules) is not None:
        mend_modules = f"see who loaded it, and unload it; or add it to {BASELINE}"
        found["kernel modules"] = lambda: _beside("kernel module", known, modules(root), mend_modules)
    if (said := baseline.sshd) is not None:
        mend_sshd = "see who changed it; write {name} {value} into /etc/ssh/sshd_config, and reload sshd"
        found["sshd"] = lambda: _values("sshd's", said, sshd(root), mend_sshd)
    if (control := baseline.mandatory) is not None:
        found["mandatory access control"] = lambda: _control(control, root)
    if (doors := baseline.listening) is not None:
        mend_doors = f"see with ss -lptun who listens, and end it; or add it to {BASELINE}"
        found["listening"] = lambda: _beside("listening at", doors, listening(root), mend_doors)
    if (units := baseline.services) is not None:
        mend_units = f"see what it starts; systemctl disable it, or add it to {BASELINE}"
        found["services"] = lambda: _beside("service", units, services(root), mend_units)
    return found


def _pieces(config: Configuration, _world: World) -> Mapping[str, Ask]:
    baseline = read(config.folder) or KnownHost(version=1, mandatory="apparmor")
    return {name: partial(asyncio.to_thread, look) for name, look in looks(baseline, ROOT).items()}


def _left_out(config: Configuration) -> dict[str, str]:
    baseline = read(config.folder)
    if sys.platform != "linux":
        return dict.fromkeys(_pieces(config, None), "only Linux is read")  # type: ignore[arg-type]  # it reaches nothing
    if baseline is None:
        why = f"there is no {BASELINE} to compare it with: `mcp-soar check hosts --write-baseline` makes one"
        return {"mandatory access control": why}
    return {}


def _there(look: Callable[[Path], _T]) -> _T | None:
    """Return what a machine has of something, None where it has nothing of the sort, as most have no sshd."""
    try:
        return look(ROOT)
    except Transient:
        return None


def write(folder: Path) -> str:
    """Write the baseline of what is there now, for people to read and to keep what they approve; return where it is.

    Args:
        folder: the configuration.

    Raises:
        SoarError: there is one, or not all can be read.
    """
    path = folder / BASELINE
    if path.exists():
        raise Refused(f"{path} is there already: move it aside, and compare")
    there = _there(sshd) or {}
    found = KnownHost(
        version=1,
        sysctl={name: value for name, value in sysctl(ROOT, _SYSCTL).items() if value},
        modules=_there(modules),
        sshd={name: there[name] for name in _SSHD if there.get(name)} or None,
        mandatory=mandatory(ROOT) or None,  # type: ignore[arg-type]  # one of the two, or nothing
        listening=_there(listening),
        services=tuple(services(ROOT)),
    )
    text = yaml.safe_dump(found.model_dump(mode="json", exclude_none=True), allow_unicode=True, sort_keys=False)
    whole.put(path, text.encode(), mode=0o600)
    return str(path)


CHECK = Inspection(
    name="hosts",
    key="hosts",
    title="Host",
    looks="compare this machine with its baseline",
    about=(
        "Compare the responder's machine with hosts.yaml: the kernel's settings and modules, sshd, mandatory access "
        "control, what listens, what starts.\n\nOn another machine, run `mcp-soar check hosts` there. Red means that "
        "something is not as it should be, or that it could not be read."
    ),
    good="as the baseline has it",
    against="the baseline",
    to_do="mend it there, or approve it in hosts.yaml; then look again with `mcp-soar check hosts`.",
    pieces=_pieces,
    left_out=_left_out,
    here=True,
    write=write,
)
