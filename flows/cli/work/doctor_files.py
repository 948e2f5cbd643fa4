"""What `doctor` says without asking anybody: keys, secrets, people, playbooks, and room on the disk."""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.cli.work import playbooks, reachable
from flows.cli.work.restored import RESTORED, restored
from flows.service.access import responder_keys
from flows.service.settings import Configuration
from integrations.secret import secret
from integrations.siem.source import Hmac, read_keys
from integrations.signing import SigningKey
from integrations.system import Looked
from playbooks import linted
from playbooks.errors import Misconfigured, SoarError
from playbooks.estate.systems import Secret
from playbooks.gate.plan import Radius

_APPROVERS = 2


def look(config: Configuration) -> Iterator[Looked]:
    """Yield what can be said without asking anybody."""
    yield Looked("configuration", "ok", f"{config.folder.resolve()} is valid")
    if (word := restored(config.folder)) is not None:
        message = f"{word}: what is in force here may have been released since; the next `up` verifies every lease"
        yield Looked(
            "restored", "warn", message, f"`mcp-soar doctor --orphans`; then delete {config.folder / RESTORED}"
        )
    yield from _keys(config)
    yield from _secrets(config)
    yield from _people(config)
    yield from _playbooks(config)
    yield from _disk(config)
    yield from reachable.settled(config)


def _keys(config: Configuration) -> Iterator[Looked]:
    path = config.path(config.settings.key)
    try:
        key, known = SigningKey.load(path), responder_keys(config)
    except SoarError as exc:
        yield Looked("signing key", "fail", str(exc), "`mcp-soar init` in another folder shows how it should look")
        return
    if key.id in known:
        yield Looked("signing key", "ok", f"{path} signs as {key.id[:19]}, one of {len(known)} responders")
    else:
        message = f"the public half of {path} is not among `responders`"
        yield Looked("signing key", "fail", message, f"add it in {config.folder / 'mcp-soar.yaml'}: responders")


def _places(config: Configuration) -> Iterator[tuple[str, Secret]]:
    yield from config.systems.secrets(config.inventory)
    for name, source in config.sources.sources.items():
        for place in source.secrets:
            yield f"sources.{name}", place
    if config.settings.journal.password:
        yield "journal.password", config.settings.journal.password
    prefect = config.settings.prefect
    accounts = {"receiver.account": config.settings.receiver.account}
    accounts |= {"prefect.workers": prefect.workers, "prefect.readers": prefect.readers}
    for name, account in accounts.items():
        if account and account.password:
            yield f"{name}.password", account.password
    if config.settings.prefect.auth:
        yield "prefect.auth", config.settings.prefect.auth
    if (bucket := config.settings.vault.s3) is not None:
        yield from bucket.secrets.items()
    yield from config.contacts.channels.secrets.items()


def _secrets(config: Configuration) -> Iterator[Looked]:
    count = 0
    for what, place in _places(config):
        try:
            secret(place, what=what)
        except Misconfigured as exc:
            yield Looked("secrets", "fail", str(exc), "put the secret there, or mend the place")
            continue
        count += 1
        if place.file is not None:
            mode = stat.S_IMODE(Path(place.file).expanduser().stat().st_mode)
            if mode & 0o077:
                yield Looked(
                    "secrets", "warn", f"{place.file} has mode {mode:04o}: others read it", f"chmod 600 {place.file}"
                )
    for name, source in config.sources.sources.items():
        try:
            read_keys(name, source)
        except Misconfigured as exc:
            yield Looked("sources", "fail", str(exc), _NEW[isinstance(source.authentication, Hmac)])
        if not source.authenticated:
            message = f"anybody can send as {name}: its alerts never contain anything"
            yield Looked("sources", "warn", message, "give it hmac or bearer authentication")
    yield Looked("secrets", "ok", f"{count} found")


_NEW = {
    True: "write a new one: `whsec_` and the base64 of 32 random bytes",
    False: "write a new one: `openssl rand -hex 32`, and give it to the product too",
}
"""How a source's secret is made, by whether messages are signed with it; otherwise it is what they bear."""


def _people(config: Configuration) -> Iterator[Looked]:
    try:
        people = config.people().people
    except Misconfigured as exc:
        yield Looked("people", "fail", str(exc), "mend that line" if exc.line else "mend that file")
        return
    approvers = [name for name, person in people.items() if "approver" in person.roles]
    entitled = [name for name, one in people.items() if set(one.roles) & set(config.policy.approval.roles)]
    responders = [name for name, person in people.items() if "responder" in person.roles]
    if not responders:
        message = "nobody is a responder: nobody can start a response"
        yield Looked("people", "fail", message, "`mcp-soar enroll NAME --role responder`")
    most = max(config.policy.approval.needed(radius) for radius in Radius)
    if len(approvers) < _APPROVERS:
        yield _few(approvers)
    elif len(entitled) < most:
        message = f"the policy wants {most} approvals for some plans, {len(entitled)} people can give one"
        yield Looked("people", "fail", message, "enroll more people, or lower approval.quorum in policy.yaml")
    if responders and len(approvers) >= _APPROVERS:
        yield Looked(
            "people", "ok", f"{len(people)} enrolled, {len(approvers)} approvers, {len(responders)} responders"
        )


def _few(approvers: Sequence[str]) -> Looked:
    """Say what cannot be done without two people who approve: the one question has one line."""
    if not approvers:
        message = "nobody is an approver: what waits for a person's yes is denied when its time is over"
    else:
        message = f"{approvers[0]} alone is an approver: what {approvers[0]} asks for, nobody can approve"
    missing = "two people" if not approvers else "another person"
    message += "; what is automatic, and a release that one person may ask for, go on. Ending a stop takes two"
    return Looked("people", "fail", message, f"`mcp-soar enroll NAME --role approver`, for {missing}")


def _playbooks(config: Configuration) -> Iterator[Looked]:
    bad = 0
    # What ships is looked at where it is not what the tests of this release looked at.
    shipped = [] if linted.is_right() else playbooks.shipped_files()
    for file in (*shipped, *playbooks.own_files(config.folder)):
        for fault in playbooks.faults_of(file):
            drill = "has no drill" in fault.message
            bad += 1
            where = f"{file}:{fault.line}: {fault.field}: {fault.message}"
            yield Looked("playbooks", "warn" if drill else "fail", where, "`mcp-soar playbooks lint`")
    if not bad:
        yield Looked("playbooks", "ok", f"{len(config.playbooks)} in use, all right")


def _disk(config: Configuration) -> Iterator[Looked]:
    vault = config.settings.vault
    folders = {"bundles": config.path(vault.bundles)}
    if vault.s3 is None:
        folders["vault"] = config.path(vault.path)
    for what, path in folders.items():
        place = next(parent for parent in (path, *path.resolve().parents) if parent.exists())
        if not os.access(place, os.W_OK | os.X_OK):
            yield Looked(what, "fail", f"{place} cannot be written", f"chown or chmod {place} for the responder's user")
            continue
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Looked(what, "warn", f"others can look into {path}", f"chmod 700 {path}")
        free = shutil.disk_usage(place).free
        if free < 2 * vault.reserve:
            message = f"{free >> 20} MiB are free, {vault.reserve >> 20} are kept for the journal"
            yield Looked(
                what, "fail" if free < vault.reserve else "warn", message, "make room, or evidence is not kept"
            )
        else:
            yield Looked(what, "ok", f"{path}, {free >> 30} GiB free")
