"""`backup`, `restore`, `watch`, `completion`: these declare the commands."""
# ruff: noqa: D301, FBT002, PLC0415, PLR0917  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import completion as completing
from flows.cli.options import Config, Json, configuration
from flows.cli.output import Usage, speaking

app = typer.Typer()

File = Annotated[Path, typer.Argument(metavar="FILE.tar", help="The backup.")]
Public = Annotated[
    Path | None, typer.Option("--key", metavar="PUBLIC.pem", help="The responder's public key, had from elsewhere.")
]


@app.command()
def backup(
    file: File,
    check: Annotated[bool, typer.Option("--check", help="Verify a backup that is there; changes nothing.")] = False,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Private keys and secrets too: the file can then act as you.")
    ] = False,
    key: Public = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Copy journal, evidence, public keys and configuration into one file, while everything runs.

    The journal is of one moment, SQLite or PostgreSQL, and restores into either. Nobody but you can read the file, and
    it appears under its name only when it is whole.

    \b
    Examples:
      mcp-soar backup /backups/monday.tar
      mcp-soar backup /backups/monday.tar --check --key responder.pub
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import backup as work

        if check and with_keys:
            raise Usage("--with-keys is for making a backup, --check for one that is there")
        if check:
            raise typer.Exit(work.check(out, file, key))
        if key is not None:
            raise Usage("--key is for --check; a backup is signed with the responder's own key")
        raise typer.Exit(work.backup(out, configuration(config, out), file, with_keys=with_keys))


@app.command()
def restore(
    file: File,
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="A new or empty folder.")],
    journal: Annotated[
        str | None,
        typer.Option(
            "--journal",
            metavar="URL",
            help="An empty database, postgresql://user@host/name (password: PGPASSWORD); by default SQLite in DIR.",
        ),
    ] = None,
    key: Public = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Take a backup that nobody signed.")] = False,
    as_json: Json = False,
) -> None:
    """Make an installation from a backup: a new configuration folder and a journal, verified before they count.

    Nothing that is there is touched. Says which incident was the last, and what to look at before `up`.

    \b
    Example:
      mcp-soar restore /backups/monday.tar --into ./mcp-soar --key responder.pub
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import restore as work

        raise typer.Exit(work.restore(out, file, into, journal=journal, key=key, unsigned=unsigned))


@app.command()
def watch(
    once: Annotated[bool, typer.Option("--once", help="Show what is there now, and end.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the open incidents as they change, worst first (as `incidents` lists them), until q or Ctrl-C.

    Without a terminal it shows what is there now, and ends. With --json it writes a line for each change.

    \b
    Examples:
      mcp-soar watch
      mcp-soar watch --json
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import watch as work

        raise typer.Exit(work.watch(out, configuration(config, out), once=once))


@app.command()
def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print what makes a shell complete commands, options and incident ids.

    \b
    Examples:
      source <(mcp-soar completion bash)        # in ~/.bashrc
      mcp-soar completion zsh > ~/.zfunc/_mcp-soar
      mcp-soar completion fish > ~/.config/fish/completions/mcp-soar.fish
    """
    with speaking(as_json=False):
        if shell not in completing.SHELLS:
            raise Usage(f"{shell} is none of {', '.join(completing.SHELLS)}")
        completing.show(shell)
