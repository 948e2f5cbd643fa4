"""`mcp-soar`: the entry point, and the list of commands. Only declarations are imported here; see `flows.cli`."""
# ruff: noqa: D301, FBT002, PLC0415, PLR0917  # a parameter is an option, \b keeps an example as it is written, and
# what a command needs is imported when it runs, so that help is fast.

import atexit
import copy
import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.main import get_command_name

from flows.cli import (
    alerts,
    answering,
    checks,
    completion,
    contain,
    estate,
    exits,
    incidents,
    messages,
    oncall,
    operations,
    people,
    privacy,
    reports,
)
from flows.cli.exits import Exit
from flows.cli.lean import lean
from flows.cli.listing import Listing
from flows.cli.options import Config, configuration, folder
from flows.cli.output import Usage, speaking

_ABOUT = f"""Incident response for MCP: contains, captures, verifies, releases.

Commands find an installation by --config DIR (or MCP_SOAR_CONFIG), and all but up, demo and completion take --json.
Start with `mcp-soar init`, then `mcp-soar doctor`; `mcp-soar incidents` when something happened.

Whatever asks before it does something takes --yes; without it, and without a terminal to ask at, nothing is done.

{exits.HELP}
"""


SECTIONS = {
    "What happened": "incidents incident campaign watch leases handover report",
    "What you decide": "contain respond classify join approve deny answer release close stop resume hand-in",
    "On call": "ack note assign delegate extend suppress unsuppress suppressions message",
    "Before it happens": "init doctor check plan inventory pins playbooks alert",
    "People": "enroll unenroll people",
    "Evidence and the law": "verify archive hold unhold erase purge",
    "Running it": "up demo backup restore completion",
}
"""Every command, under what somebody looks for; a test compares."""


class Alone(StrEnum):
    """What `up` may run alone."""

    RECEIVER = "receiver"
    RESPONDER = "responder"


class Commands(Listing):
    """The commands. With --json a command that was not understood is JSON on stderr too."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # upstream's types are private
        """Write the commands under headings: some forty in one list are found by nobody."""
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl(self.rows(ctx, names.split()))

    def main(self, args: Any = None, prog_name: Any = None, *, standalone_mode: bool = True, **extra: Any) -> Any:  # type: ignore[override]  # noqa: ANN401  # the rest by name
        """Run a command line and exit with its code."""
        words = list(sys.argv[1:] if args is None else args)
        if not standalone_mode or "--json" not in words:
            return super().main(words, prog_name, standalone_mode=standalone_mode, **extra)
        try:
            code = super().main(words, prog_name, standalone_mode=False, **extra)
        except (typer.Abort, typer.TyperException) as exc:
            shown = getattr(exc, "format_message", None)
            message = shown() if shown else "aborted"
            usage = getattr(exc, "exit_code", Exit.NO)
            sys.stderr.write(json.dumps({"error": {"code": int(usage), "kind": "usage", "message": message}}) + "\n")
            sys.exit(int(usage))
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    name="mcp-soar",
    cls=Commands,
    help=_ABOUT,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:  # noqa: FBT001  # as the library calls it
    if asked:
        from importlib.metadata import version as installed

        typer.echo(f"mcp-soar {installed('mcp-soar')}")
        raise typer.Exit


@app.callback()
def _root(
    # Eager: before it is missed that no command follows.
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def up(
    config: Config = None,
    no_workers: Annotated[
        bool, typer.Option("--no-workers", help="Leave out the workers of Prefect's forms and schedules.")
    ] = False,
    only: Annotated[
        Alone | None, typer.Option("--only", help="Run that alone: where each has a machine or a pod of its own.")
    ] = None,
) -> None:
    """Run everything on this machine until Ctrl-C: receiver, responder, Prefect, and the work of its forms.

    \b
    Example:
      mcp-soar up --config ./mcp-soar
    """
    with speaking(as_json=False) as out:
        from flows.cli import up as work

        raise typer.Exit(work.run(folder(config, out), work=not no_workers, only=only or ""))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    release: Annotated[bool, typer.Option("--release", help="Go on until everything is as it was before.")] = False,
    kubernetes: Annotated[
        bool,
        typer.Option("--kubernetes", help="A server's compromise on a cluster: the tests', or that of KUBECONFIG."),
    ] = False,
    image: Annotated[
        str, typer.Option("--image", metavar="IMAGE@DIGEST", help="With KUBECONFIG: BusyBox, by its digest.")
    ] = "",
    heal: Annotated[
        bool, typer.Option("--heal", help="Instead: have the server of one that was kept behave again.")
    ] = False,
    config: Config = None,
) -> None:
    """Break into a small MCP estate and contain it.

    With --keep it ends with commands to try, in a configuration of its own; --config is for --heal.

    \b
    Examples:
      mcp-soar demo --release
      mcp-soar demo --keep
      mcp-soar demo --kubernetes
    """
    with speaking(as_json=False) as out:
        from flows.cli import demo as work

        if not heal:
            raise typer.Exit(work.run(keep=keep, release=release, kubernetes=kubernetes, image=image))
        if keep or release or kubernetes:
            raise Usage("--heal is for a demonstration that runs; write it alone")
        work.heal(configuration(config, out))


for group in (
    contain,
    incidents,
    answering,
    alerts,
    checks,
    estate,
    messages,
    oncall,
    operations,
    people,
    privacy,
    reports,
):
    app.registered_commands += group.app.registered_commands
    app.registered_groups += group.app.registered_groups


def alone(words: Sequence[str]) -> typer.Typer:
    """Return the program with the one command that a line runs: to make them all takes longer than to run most.

    Args:
        words: the command line, without the program's name.
    """
    name = words[0] if words else ""
    commands = [one for one in app.registered_commands if (one.name or _called(one.callback)) == name]
    groups = [one for one in app.registered_groups if one.name == name]
    if completion.VARIABLE in os.environ or not (commands or groups):
        return app
    program = copy.copy(app)
    program.registered_commands, program.registered_groups = commands, groups
    return program


def _called(callback: Callable[..., Any] | None) -> str:
    return get_command_name(callback.__name__) if callback else ""


def main() -> None:
    """Run the command line."""
    # What a command imports stays until it ends. To look through all of it for garbage, meanwhile and once more at its
    # end, takes a third of the time in which most commands answer.
    gc.set_threshold(400_000, 50, 100)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its number.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are TextIOWrapper here
    lean()
    completion.prepare()
    alone(sys.argv[1:])()


if __name__ == "__main__":
    main()
