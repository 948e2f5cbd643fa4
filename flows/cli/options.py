"""The options that commands share."""

import functools
import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_type_hints

import typer

from flows.cli import completion
from flows.cli.output import Out, Usage
from playbooks.errors import Misconfigured

if TYPE_CHECKING:
    from flows.cli.exits import Exit
    from flows.cli.work.asking import Person
    from flows.cli.work.away import Signer
    from flows.service.settings import Configuration

WAIT = 30.0
"""Seconds that a command waits for a responder unless something else is said."""

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="MCP_SOAR_CONFIG",
        metavar="DIR",
        help="Configuration folder; by default this folder if it is one, ./mcp-soar, then ~/.config/mcp-soar.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; errors as JSON on stderr.")]
As = Annotated[
    str | None, typer.Option("--as", envvar="MCP_SOAR_PERSON", metavar="NAME", help="Who you are, as enrolled.")
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        envvar="MCP_SOAR_KEY",
        metavar="FILE|agent",
        help="Your key; by default keys/NAME.key of DIR, ~/.config/mcp-soar/people/NAME.key, then ssh-agent (`agent`).",
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the journal.")]
Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for a responder, and for the effect."),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Hand the request in and go.")]
Print = Annotated[
    bool, typer.Option("--print", help="Print the signed request, to hand it in elsewhere, as in Prefect's form.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Incident = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The incident: its id or a unique part of it, as 1 or 000001.",
        autocompletion=completion.incidents,
    ),
]


CLASSES = (
    "tool_poisoning, unauthorized_access, data_exfiltration, server_compromise, denial_of_service, prompt_injection, "
    "tool_misuse, server_spoofing, command_and_control, supply_chain, insecure_configuration or ide_layer"
)
"""Every class that there is a response to, as help says it; a test compares it with the taxonomy."""

Class = Annotated[
    str | None,
    typer.Option("--class", metavar="CLASS", help=f"What kind of incident it is: {CLASSES}."),
]
Severity = Annotated[
    str, typer.Option("--severity", metavar="LEVEL", help="informational, low, medium, high or critical.")
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="SYSTEM",
        help="Contain it at this system of inventory.yaml alone; repeat it. By default wherever it has a place.",
    ),
]
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="One line on what it is about.")]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of a command with which a person asks for something.

    Args:
        yes: do not ask back; only of commands that do.
        who: the person.
        key: their private key's file, or `AGENT`.
        wait: seconds.
        no_wait: wait for nothing.
        prints: print the signed request; only of commands whose requests are handed in elsewhere.
        config: the configuration folder.
        as_json: answer in JSON.
    """

    yes: Yes = False
    who: As = None
    key: Key = None
    wait: Wait = WAIT
    no_wait: NoWait = False
    prints: Print = False
    config: Config = None
    as_json: Json = False

    def person(self, out: Out) -> "Person":
        """Return who asks, with the configuration, read and checked.

        Raises:
            Misconfigured: with file, line, field and what to write.
            Usage: nobody was named.
        """
        from flows.cli.work import asking  # noqa: PLC0415  # only when a command runs

        settings = configuration(self.config, out)
        return asking.person(
            settings, self.who, self.key, wait=self.wait, no_wait=self.no_wait, yes=self.yes, prints=self.prints
        )

    def away(self) -> "Signer | None":
        """Return who signs on a machine that has no installation, if this is one and it is to be printed.

        Raises:
            Usage: nobody was named.
        """
        if not self.prints or not away(self.config):
            return None
        from flows.cli.work.away import signer  # noqa: PLC0415  # only when a command runs

        return signer(self.who, self.key, yes=self.yes)

    def act(self, out: Out, *, here: "Callable[[Person], Exit]", there: "Callable[[Signer], Exit]") -> NoReturn:
        """Do what a person asks for, or sign for it where there is no installation to ask, and end with its code.

        Args:
            out: where to say things.
            here: asks this installation.
            there: signs on a machine that has none.
        """
        signer = self.away()
        raise typer.Exit(there(signer) if signer else here(self.person(out)))


@dataclass(frozen=True, kw_only=True)
class Named:
    """The options that say what something is about."""

    server: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A server it is about.")] = None
    tool: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A tool, as NAME or SERVER/NAME.")] = None
    prompt: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A prompt, likewise.")] = None
    resource: Annotated[list[str] | None, typer.Option(metavar="URI", help="A resource of the one --server.")] = None
    token: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A token of a principal.")] = None
    principal: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A user or an agent.")] = None

    def entities(self) -> list[tuple[str, str, str | None]]:
        """Return kind, name and server of each thing that was named.

        A tool or a prompt may be written SERVER/NAME; without, it belongs to the one server that was named.
        """
        home = self.server[0] if self.server and len(self.server) == 1 else None
        found: list[tuple[str, str, str | None]] = [("server", name, None) for name in self.server or ()]
        for kind, names in (("tool", self.tool), ("prompt", self.prompt)):
            for name in names or ():
                where, slash, thing = name.partition("/")
                found.append((kind, thing, where) if slash else (kind, name, home))
        found += [("resource", name, home) for name in self.resource or ()]
        found += [("token", name, None) for name in self.token or ()]
        found += [("principal", name, None) for name in self.principal or ()]
        return found


_SOME = frozenset({"yes", "prints"})
"""The options of `Asked` that not every command has."""


def options(*also: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what gives a command the options of its parameters `Asked` and `Named`, as if they were written there.

    Args:
        also: those of `Asked` that only some commands have: `yes`, `prints`.
    """
    left_out = _SOME - set(also)

    def declared(command: Callable[..., None]) -> Callable[..., None]:
        sets: dict[str, tuple[type[Any], list[str]]] = {}
        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(command).parameters.items():
            made = parameter.annotation
            if not (isinstance(made, type) and is_dataclass(made)):
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
                continue
            hints, taken = get_type_hints(made, include_extras=True), []
            for option in fields(made):
                if option.name not in left_out:
                    taken.append(option.name)
                    parameters.append(
                        inspect.Parameter(
                            option.name,
                            inspect.Parameter.KEYWORD_ONLY,
                            default=option.default,
                            annotation=hints[option.name],
                        )
                    )
            sets[name] = (made, taken)

        @functools.wraps(command)
        def run(**given: Any) -> None:  # noqa: ANN401  # each as its own option says
            for name, (made, taken) in sets.items():
                given[name] = made(**{option: given.pop(option) for option in taken})
            command(**given)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what `inspect` looks at
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return declared


def folder(given: Path | None, out: Out) -> Path:
    """Return the configuration folder that is used, and say which if nobody named it and it is another than this one.

    Args:
        given: with `--config` or MCP_SOAR_CONFIG.
        out: where to say it.

    Raises:
        Misconfigured: none was named, and there is none where one is looked for.
    """
    if away(given):
        # A person's keys are in that folder too: that it is there says nothing.
        raise Misconfigured(
            f"no configuration is here: neither this folder, ./mcp-soar nor {home()} has an inventory.yaml. Name the "
            "installation's folder with --config DIR, or MCP_SOAR_CONFIG; `mcp-soar init DIR` begins a new installation"
        )
    path, why = place(given)
    if given is None and path != Path():
        out.note(f"configuration: {path} ({why})")
    return path


def place(given: Path | None) -> tuple[Path, str]:
    """Return the configuration folder that is used, and why it is that one.

    Args:
        given: with `--config` or MCP_SOAR_CONFIG.
    """
    if given is not None:
        return given, "given"
    if _is_configuration(Path()):
        return Path(), "this folder"
    if _is_configuration(Path("mcp-soar")):
        return Path("mcp-soar"), "found here"
    return home(), "by default"


def away(given: Path | None) -> bool:
    """Return whether this machine has no installation's configuration, and none is named: a person's own, with a key.

    Args:
        given: with `--config` or MCP_SOAR_CONFIG.
    """
    return given is None and not _is_configuration(place(None)[0])


def _is_configuration(path: Path) -> bool:
    return (path / "inventory.yaml").is_file()


def configuration(given: Path | None, out: Out) -> "Configuration":
    """Return the configuration, read and checked.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    from flows.service.settings import read  # noqa: PLC0415  # only when a command runs

    return read(folder(given, out))


AGENT = Path("agent")
"""In place of a key's file: whatever ssh-agent holds."""


def home() -> Path:
    """Return where a person's own files are."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "mcp-soar"


def key_file(name: str) -> Path:
    """Return where a person's key is if nothing else is said; the first release kept it one folder higher.

    Raises:
        Usage: the name cannot be a file's.
    """
    if not re.fullmatch(r"[\w@+-][\w.@+ -]{0,99}", name):
        raise Usage(f"no file can be called after {name!r}: say where the key is with --key FILE")
    place = home() / "people" / f"{name}.key"
    earlier = home() / f"{name}.key"
    return earlier if earlier.exists() and not place.exists() else place
