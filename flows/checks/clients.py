"""Clients: what editors and assistants of this machine run, by their own files; each file is asked for by itself.

Where they lie is data, `FILES` and `EXTENSIONS`; what is said of every file is what it names: servers, hooks, what is
switched on, and keys in the clear, of which only the place is ever said.
"""

import asyncio
import hashlib
import os
import re
import socket
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import yaml
from pydantic import Field

from flows.checks.inspection import Ask, Inspection
from flows.service.settings import Configuration
from integrations import machine, whole
from integrations.hostile import printable
from playbooks.action import World
from playbooks.errors import Misconfigured, Refused, SoarError
from playbooks.estate.inventory import Inventory
from playbooks.record.check import About, Found
from playbooks.strict import Line, Strict, canonical, parse_yaml
from playbooks.taxonomy import EntityKind, IncidentClass, Severity
from playbooks.text.redaction import redacted

BASELINE = "clients.yaml"
"""What of a machine's clients is as it should be: a file of the configuration folder."""

_CONFIG: Final = {"linux": ".config", "darwin": "Library/Application Support", "win32": "AppData/Roaming"}
_LOCAL: Final = {"linux": ".config", "darwin": ".config", "win32": "AppData/Local"}
_PLUGINS: Final = {
    "linux": ".local/share/JetBrains",
    "darwin": "Library/Application Support/JetBrains",
    "win32": "AppData/Roaming/JetBrains",
}

FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "Cursor": (".cursor/mcp.json", ".cursor/hooks.json", "{config}/Cursor/User/settings.json"),
    "VS Code": ("{config}/Code/User/mcp.json", "{config}/Code/User/settings.json"),
    "Claude Desktop": ("{config}/Claude/claude_desktop_config.json",),
    "Claude Code": (".claude.json", ".claude/settings.json"),
    "Windsurf": (
        ".codeium/windsurf/mcp_config.json",
        ".codeium/windsurf/hooks.json",
        "{config}/Windsurf/User/settings.json",
    ),
    "JetBrains": (".junie/mcp/mcp.json", "{local}/github-copilot/intellij/mcp.json"),
}
"""Where each client keeps what it runs, from a home."""

WORKSPACE: Final = (
    ".cursor/mcp.json",
    ".cursor/hooks.json",
    ".vscode/mcp.json",
    ".vscode/settings.json",
    ".mcp.json",
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".junie/mcp/mcp.json",
)
"""Where a folder that people work in says it: these come with a repository."""

EXTENSIONS: Final[Mapping[str, str]] = {
    "Cursor": ".cursor/extensions",
    "VS Code": ".vscode/extensions",
    "Windsurf": ".windsurf/extensions",
    "JetBrains": "{plugins}/*",
}

_FLAGS: Final[Mapping[tuple[str, ...], tuple[object, ...]]] = {
    ("chat.tools.autoApprove",): (True,),
    ("chat.tools.global.autoApprove",): (True,),
    ("security.workspace.trust.enabled",): (False,),
    ("task.allowAutomaticTasks",): ("on",),
    ("enableAllProjectMcpServers",): (True,),
    ("permissions", "defaultMode"): ("bypassPermissions",),
}
"""Settings by which something runs that nobody was asked about, with the values by which it does."""

_APPROVES: Final = ("autoApprove", "alwaysAllow", "trust")
"""Fields of a server by which its tools run unasked."""

_REFERS: Final = re.compile(r"\$\{[^}]{1,200}\}|\$[A-Za-z_]\w{0,200}|%[A-Za-z_]\w{0,200}%|\{\{[^}]{1,200}\}\}")
_MOST = 500
"""Things of one file that are looked at."""


_Folder = Annotated[Line, Field(pattern=r"^(/|~|[A-Za-z]:)")]
"""From the root: whoever runs it is anywhere."""


class Approved(Strict):
    """Something that is as it should be.

    Args:
        what: it is.
        name: where, and what it is called there.
        digest: of what it runs, or of all its files.
    """

    what: Literal["server", "hook", "extension"]
    name: Line
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class KnownClients(Strict):
    """`clients.yaml`.

    Args:
        version: of this format.
        homes: folders of users whose clients are looked at; by default that of whoever runs it.
        folders: those that people work in, whose own files count, too.
        approved: what is as it should be.
    """

    version: Literal[1]
    homes: tuple[_Folder, ...] = ()
    folders: tuple[_Folder, ...] = ()
    approved: tuple[Approved, ...] = ()


class Thing(NamedTuple):
    """Something that a client runs.

    Args:
        what: server, hook or extension.
        name: where, and what it is called there; hostile.
        runs: what it runs, without secrets; hostile.
        digest: of that.
    """

    what: Literal["server", "hook", "extension"]
    name: str
    runs: str
    digest: str


def read(folder: Path) -> KnownClients | None:
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
    return parse_yaml(KnownClients, text, file=str(path))


def files(platform: str) -> dict[str, str]:
    """Return where clients keep what they run, from a home: the place → whose it is.

    Args:
        platform: as `sys.platform` says it.
    """
    roots = {"config": _CONFIG[platform], "local": _LOCAL[platform]}
    return {place.format(**roots): client for client, places in FILES.items() for place in places}


def extensions(home: Path, platform: str) -> Iterator[tuple[str, Path]]:
    """Yield the extensions that lie in a home, with whose they are.

    Raises:
        Refused: a folder of them cannot be listed.
    """
    for client, place in EXTENSIONS.items():
        folder, _, each = place.format(plugins=_PLUGINS[platform]).partition("/*")
        roots = [home / folder] if each == "" and "*" not in place else []
        if "*" in place:
            below = "plugins" if platform != "linux" else ""
            roots = [home / folder / one / below for one in machine.names(home / folder, home)]
        for root in roots:
            for name in machine.names(root, home):
                yield client, root / name


def things(where: str, said: Any) -> Iterator[Thing]:  # noqa: ANN401  # whatever JSON it is
    """Yield the servers and hooks that a file of settings names.

    Args:
        where: the file, for names.
        said: what it holds; hostile.
    """
    for name, one in _servers(where, said):
        runs = redacted(" ".join(_runs(one)))
        # What is given to it decides what it does, too; of a secret it is enough that there is one.
        given = (redacted(f"{key}: {value}") for key, value in _given(one))
        digest = _digest("server", runs, *sorted(given))
        yield Thing("server", _name(where, name), runs[:300], digest)
    for event, command in _hooks(_at(said, "hooks")):
        text = redacted(command)
        yield Thing("hook", _name(where, event), text[:300], _digest("hook", event, text))


def _name(where: str, name: str) -> str:
    return f"{where}: {printable(redacted(name), 100)}"


def _servers(where: str, said: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:  # noqa: ANN401  # likewise
    lists = [_at(said, "mcpServers"), _at(said, "mcp", "servers")]
    lists += [_at(said, "servers")] if where.endswith("mcp.json") else []
    projects = _at(said, "projects")
    lists += [_at(one, "mcpServers") for one in projects.values()] if isinstance(projects, dict) else []
    found = ((str(name), one) for some in lists if isinstance(some, dict) for name, one in some.items())
    for number, (name, one) in enumerate(found):
        if number >= _MOST:
            raise Misconfigured(f"names more than {_MOST} servers: not all were looked at", file=where)
        yield name, one if isinstance(one, dict) else {}


def _runs(server: Mapping[str, Any]) -> list[str]:
    url = server.get("url") or server.get("serverUrl") or server.get("httpUrl")
    args = server.get("args")
    command = [server.get("command"), *(args if isinstance(args, list) else [])]
    return [str(url)] if url else [str(part) for part in command if part is not None]


def _given(server: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field in ("env", "headers"):
        held = server.get(field)
        yield from ((str(key), str(value)) for key, value in held.items()) if isinstance(held, dict) else ()


def _hooks(said: Any, event: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401  # likewise
    """Yield the events of hooks, with what each runs, however they are nested; bounded by what was read."""
    waiting: list[tuple[str, Any]] = [(event, said)]
    while waiting:
        name, one = waiting.pop()
        if isinstance(one, dict):
            if isinstance(command := one.get("command"), str):
                yield name, command
            waiting += [(name or str(key), each) for key, each in one.items() if isinstance(each, dict | list)]
        elif isinstance(one, list):
            waiting += [(name, each) for each in one]


def _at(said: Any, *path: str) -> Any:  # noqa: ANN401  # likewise
    for key in path:
        said = said.get(key) if isinstance(said, dict) else None
    return said


def _digest(*parts: str) -> str:
    return hashlib.sha256(canonical(list(parts))).hexdigest()


def switched(where: str, said: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401  # likewise
    """Yield what runs unasked by a file of settings: the setting, and its value."""
    for path, values in _FLAGS.items():
        value = _at(said, *path)
        if any(value is bad or (isinstance(bad, str) and value == bad) for bad in values):
            yield ".".join(path), str(value)
    for name, one in _servers(where, said):
        for field in _APPROVES:
            if (value := one.get(field)) and (value is True or isinstance(value, list)):
                yield f"{field} of the server {name}", "on" if value is True else f"on for {len(value)} tools"


def keys(where: str, said: Any) -> Iterator[str]:  # noqa: ANN401  # likewise
    """Yield the places where a file of settings has a key in the clear; never the key."""
    for name, one in _servers(where, said):
        for key, value in _given(one):
            if _secret(f"{key}: ", value):
                yield f"{redacted(key, 100)} of the server {name}"
        if _secret("", " ".join(_runs(one))):
            yield f"what starts the server {name}"


def _secret(before: str, value: str) -> bool:
    bare = _REFERS.sub("", value)
    text = before + bare
    # What only refers to a key holds none; what is left of `Bearer ${KEY}` neither.
    return bool(bare.strip()) and bare.strip().casefold() not in {"bearer", "basic", "token"} and redacted(text) != text


def _found(where: str, subject: str, what: str, observed: str, **more: Any) -> Found:  # noqa: ANN401  # fields of it
    shown, what, observed = (printable(redacted(text), 200) for text in (subject, what, observed))
    told: dict[str, Any] = {
        "severity": Severity.HIGH,
        "incident_class": IncidentClass.IDE_LAYER,
        "about": (About(EntityKind.HOST, socket.gethostname()),),
        **more,
    }
    return Found(
        id=f"{where}/{shown}/{what}",
        subject=shown,
        what=what,
        observed=observed,
        state=f"{shown}\n{what}\n{observed}",
        rule=f"Client: {what}"[:200],
        **told,
    )


def _known(thing: Thing, runs: Sequence[str], inventory: Inventory, approved: Collection[tuple[str, str, str]]) -> bool:
    urls = {str(one.url).rstrip("/") for one in inventory.servers.values() if one.url}
    commands = {tuple(one.command) for one in inventory.servers.values() if one.command}
    mine = len(runs) == 1 and runs[0].rstrip("/") in urls
    return mine or tuple(runs) in commands or (thing.what, thing.name, thing.digest) in approved


def looked_at(where: str, said: Any, inventory: Inventory, approved: Collection[tuple[str, str, str]]) -> list[Found]:  # noqa: ANN401  # likewise
    """Return what is not as it should be in a file of settings.

    Args:
        where: the file, as people call it.
        said: what it holds; hostile.
        inventory: what there is.
        approved: the baseline.
    """
    found: list[Found] = []
    runs = [_runs(one) for _, one in _servers(where, said)]
    for number, thing in enumerate(things(where, said)):
        if thing.what == "server":
            if not _known(thing, runs[number], inventory, approved):
                found.append(
                    _found(
                        where,
                        thing.name,
                        "server",
                        f"one that the inventory does not know: {printable(thing.runs, 150) or 'it names none'}",
                        expected="one of the inventory, or of the baseline",
                        remedy=f"remove it there, or add it to inventory.yaml, or to {BASELINE}",
                    )
                )
        elif (thing.what, thing.name, thing.digest) not in approved:
            found.append(
                _found(
                    where,
                    thing.name,
                    "hook",
                    f"one that nobody approved: it runs {printable(thing.runs, 150)}",
                    expected=f"one of {BASELINE}, or none",
                    remedy=f"read what it runs; remove it there, or add it to {BASELINE}",
                )
            )
    unasked = {"expected": "off: people are asked before something runs", "remedy": "switch it off there"}
    found += [
        _found(where, where, printable(setting, 100), printable(value, 100), **unasked)
        for setting, value in switched(where, said)
    ]
    clear = {
        "expected": "a reference, as ${env:NAME} or ${input:NAME}",
        "remedy": "revoke that key, and write a reference to the new one there",
    }
    found += [_found(where, where, printable(place, 200), "a key in the clear", **clear) for place in keys(where, said)]
    return found


class _Places(NamedTuple):
    """What is looked at: files with the folder that they may lie in, and extensions."""

    files: dict[str, tuple[Path, Path]]
    extensions: dict[str, Path]
    unlisted: dict[str, SoarError]


def places(baseline: KnownClients | None, platform: str = sys.platform, home: Path | None = None) -> _Places:
    """Return what there is to look at.

    Args:
        baseline: says whose, and where people work.
        platform: as `sys.platform` says it; one that nobody knows has what Linux has.
        home: of whoever runs it.
    """
    kind = platform if platform in _CONFIG else "linux"
    named = {one: Path(one).expanduser() for one in baseline.homes} if baseline else {}
    homes, found = named or {"~": home or Path.home()}, _Places({}, {}, {})
    for label, one in homes.items():
        if not os.path.isdir(one):  # noqa: PTH112  # what may not be looked into is no error here
            found.unlisted[f"home {label}"] = Misconfigured("there is no such folder", file=BASELINE, field="homes")
            continue
        for place, client in files(kind).items():
            found.files[f"{client}: {label}/{place}"] = (one / place, one)
        try:
            for client, path in extensions(one, kind):
                below = printable(path.relative_to(one).as_posix(), 200)
                found.extensions[f"{client}: {label}/{below}"] = path
        except SoarError as exc:
            found.unlisted[f"extensions of {label}"] = exc
    for label in baseline.folders if baseline else ():
        folder = Path(label).expanduser()
        if not os.path.isdir(folder):  # noqa: PTH112  # likewise
            found.unlisted[f"folder {label}"] = Misconfigured("there is no such folder", file=BASELINE, field="folders")
            continue
        for place in WORKSPACE:
            found.files[f"workspace {label}: {place}"] = (folder / place, folder)
    return found


async def _file(
    where: str, path: Path, inside: Path, inventory: Inventory, baseline: KnownClients | None
) -> list[Found]:
    said = await asyncio.to_thread(machine.settings, path, inside)
    return looked_at(where, said, inventory, _approved(baseline))


async def _extension(where: str, path: Path, baseline: KnownClients) -> list[Found]:
    now, approved = await asyncio.to_thread(machine.digest, path), _approved(baseline)
    if ("extension", where, now) in approved:
        return []
    before = any((what, name) == ("extension", where) for what, name, _ in approved)
    return [
        _found(
            where,
            where,
            "extension",
            "other files than were approved" if before else "one that nobody approved",
            expected=f"as {BASELINE} has it",
            remedy=f"see who published it; remove it, or write {BASELINE} anew",
            severity=Severity.HIGH if before else Severity.MEDIUM,
        )
    ]


async def _unlisted(exc: SoarError) -> list[Found]:
    raise exc


def _approved(baseline: KnownClients | None) -> frozenset[tuple[str, str, str]]:
    return frozenset((one.what, one.name, one.digest) for one in baseline.approved) if baseline else frozenset()


def _pieces(config: Configuration, _world: World) -> Mapping[str, Ask]:
    baseline = read(config.folder)
    there = places(baseline)
    asks: dict[str, Ask] = {
        where: partial(_file, where, path, inside, config.inventory, baseline)
        for where, (path, inside) in there.files.items()
    }
    if baseline is not None:
        asks |= {where: partial(_extension, where, path, baseline) for where, path in there.extensions.items()}
    else:
        # Left out; named so that it is counted.
        asks |= {
            where: partial(_unlisted, Refused("there is nothing to compare it with")) for where in there.extensions
        }
    return asks | {where: partial(_unlisted, exc) for where, exc in there.unlisted.items()}


def _left_out(config: Configuration) -> dict[str, str]:
    if (baseline := read(config.folder)) is not None:
        return {}
    why = f"there is no {BASELINE} to compare it with: `mcp-soar check clients --write-baseline` makes one"
    return dict.fromkeys(places(baseline).extensions, why)


def write(folder: Path) -> str:
    """Write the baseline of what is there now, for people to read and to keep what they approve; return where it is.

    Args:
        folder: the configuration. A baseline there may say where to look, and approve nothing yet.

    Raises:
        SoarError: there is one that approves something, or not all can be read.
    """
    path, before = folder / BASELINE, read(folder) or KnownClients(version=1)
    if before.approved:
        raise Refused(f"{path} approves something already: move it aside, but for its homes and folders, and compare")
    there, found = places(before), list[Approved]()
    for exc in there.unlisted.values():
        raise exc
    for where, (file, inside) in there.files.items():
        some = things(where, machine.settings(file, inside))
        found += [Approved(what=one.what, name=one.name, digest=one.digest) for one in some]
    found += [
        Approved(what="extension", name=where, digest=machine.digest(one)) for where, one in there.extensions.items()
    ]
    now = before.model_copy(update={"approved": tuple(dict.fromkeys(found))})
    text = yaml.safe_dump(now.model_dump(mode="json"), allow_unicode=True, sort_keys=False)
    whole.put(path, text.encode(), mode=0o600, over=True)
    return str(path)


CHECK = Inspection(
    name="clients",
    key="clients",
    title="Clients",
    looks="look at what editors and assistants of this machine run",
    about=(
        "Look at what the editors and assistants of the responder's machine run: servers that the inventory does not "
        "know, hooks, what runs unasked, keys in the clear, extensions.\n\nOn another machine, run `mcp-soar check "
        "clients` there. Red means that something is not as it should be, or that it could not be read."
    ),
    good="nothing runs there that nobody approved",
    against="what was approved",
    to_do="mend it in that file, or approve it in clients.yaml; then look again with `mcp-soar check clients`.",
    pieces=_pieces,
    left_out=_left_out,
    here=True,
    write=write,
)
