"""`init`, `enroll`, `unenroll` and `people`: these declare the commands."""
# ruff: noqa: D301, FBT002, PLC0415, PLR0917  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Config, Json, away, configuration, folder
from flows.cli.output import speaking

app = typer.Typer()


@app.command()
def init(
    where: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")] = Path("mcp-soar"),
    as_json: Json = False,
) -> None:
    """Write a configuration folder to start from.

    It is valid as it is: commented settings, inventory, sources, policy and people, a signing key, and a source with
    a generated secret. A folder that is not empty is refused.

    \b
    Example:
      mcp-soar init ./mcp-soar
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import init

        raise typer.Exit(init.init(out, where))


@app.command()
def enroll(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who; the name stands in journals and approvals.")],
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="responder, approver, auditor, reviewer; repeat it."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="The private key; made (0600) if it is not there yet."),
    ] = None,
    public: Annotated[
        Path | None,
        typer.Option(
            "--public", metavar="FILE", help="An existing Ed25519 public key instead: PEM, or OpenSSH's id_ed25519.pub."
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the person's old key and roles away.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Enroll a person: make a key, or take a public one, into people.yaml.

    Without --key the key is ~/.config/mcp-soar/people/NAME.key, where the other commands look for it. A key that lives
    in ssh-agent is enrolled by its public half; hardware keys (sk-ssh-ed25519) sign other bytes, and are refused.
    On a person's own machine, without a configuration, it makes the key and prints the line that enrolls it, to be run
    where the installation is.

    \b
    Examples:
      mcp-soar enroll kim --role responder --role approver
      mcp-soar enroll lee --role approver --public ~/.ssh/id_ed25519.pub
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import people

        if public is None and away(config):
            from flows.cli.work import away as elsewhere

            raise typer.Exit(elsewhere.key(out, name, key, roles=role or [], replace=replace))
        where = folder(config, out)
        raise typer.Exit(people.enroll(out, where, name, roles=role or [], key=key, public=public, replace=replace))


@app.command()
def unenroll(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take a person out of people.yaml: from then on they are nobody.

    Approvals of theirs that had no effect yet do not count any more, nor do suppressions and lent voices.

    \b
    Example:
      mcp-soar unenroll kim
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import people

        raise typer.Exit(people.unenroll(out, folder(config, out), name))


@app.command("people")
def people_(config: Config = None, as_json: Json = False) -> None:
    """List who is enrolled: roles, since when, which key, and for whom they may speak.

    \b
    Example:
      mcp-soar people
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import people

        people.listing(out, configuration(config, out))
