"""`playbooks`, `inventory`, `pins`, `doctor`: these declare the commands."""
# ruff: noqa: D301, FBT002, PLC0415, PLR0917  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.listing import Listing
from flows.cli.options import As, Config, Json, Key, Yes, configuration, folder
from flows.cli.output import Usage, speaking

if TYPE_CHECKING:
    from flows.cli.work.reviewing import Chosen

app = typer.Typer()
playbooks = typer.Typer(
    cls=Listing, rich_markup_mode=None, no_args_is_help=True, help="Look at playbooks, and check your own."
)
inventory = typer.Typer(
    cls=Listing, rich_markup_mode=None, no_args_is_help=True, help="Look at the inventory, check it, fill it."
)
pins = typer.Typer(
    cls=Listing, rich_markup_mode=None, no_args_is_help=True, help="Approve definitions; see what differs."
)
app.add_typer(playbooks, name="playbooks")
app.add_typer(inventory, name="inventory")
app.add_typer(pins, name="pins")

Server = Annotated[str, typer.Argument(metavar="SERVER", help="As the inventory names it.")]


@playbooks.command("list")
def list_(
    table: Annotated[bool, typer.Option("--table", help="As a table in Markdown, for a runbook.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say of every class what it contains where, what of that is automatic, and what waits for a person.

    As this configuration has it: its policy decides what is automatic, and its own playbooks stand before shipped ones.

    \b
    Example:
      mcp-soar playbooks list
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import playbooks as work

        raise typer.Exit(work.listing(out, configuration(config, out), table=table))


@playbooks.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A playbook's id or its class.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show what a playbook does, step by step, and why.

    \b
    Example:
      mcp-soar playbooks show tool_poisoning
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import playbooks as work

        raise typer.Exit(work.show(out, configuration(config, out), name))


@playbooks.command()
def lint(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="By default the shipped ones and this folder's.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check playbooks: form, the steps that they name and their parameters, and a drill for every cut.

    Each fault comes with file, line and what to write. Exit code 1 if there is one.

    \b
    Example:
      mcp-soar playbooks lint my_playbook.yaml
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import playbooks as work

        raise typer.Exit(work.lint(out, files or work.files(None if files else folder(config, out))))


@playbooks.command()
def steps(
    name: Annotated[str | None, typer.Argument(metavar="STEP", help="One of them, with all that it asks for.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show what the steps of a playbook can name: actions, captures and checks, what each does and takes.

    \b
    Examples:
      mcp-soar playbooks steps
      mcp-soar playbooks steps gateway.disable_tool
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import steps as work

        del config  # every installation has the same
        raise typer.Exit(work.steps(out, name))


@inventory.command()
def check(config: Config = None, as_json: Json = False) -> None:
    """Check the inventory: form, references, secrets, and what is missing to contain and verify.

    \b
    Example:
      mcp-soar inventory check
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import inventory as work

        raise typer.Exit(work.check(out, configuration(config, out)))


@inventory.command("show")
def show_inventory(config: Config = None, as_json: Json = False) -> None:
    """Show servers, gateways and principals, with what is pinned of each.

    \b
    Example:
      mcp-soar inventory show
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import inventory as work

        raise typer.Exit(work.show(out, configuration(config, out)))


@inventory.command("import")
def import_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the inventory calls the gateway, such as main.")],
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Its address, where inventory.yaml does not have it yet.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="EMAIL", help="The administrator to sign in as, likewise.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", help="Its product, likewise; by default contextforge."),
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            "--password",
            metavar="env:VARIABLE|file:PATH",
            help="Where the password is; by default it is asked for, and kept in secrets/NAME-password (0600).",
        ),
    ] = None,
    make_canary: Annotated[
        bool,
        typer.Option(
            "--make-canary",
            help="Make the user, role and token that we ask as, unless they are there; the token in a 0600 file.",
        ),
    ] = False,
    canary: Annotated[
        str | None,
        typer.Option("--canary", metavar="EMAIL", help="That user; by default mcp-soar-canary at USER's domain."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be added; change nothing.")] = False,
    yes: Yes = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put what a gateway has into inventory.yaml: servers and what they offer, users, tokens, each with its id.

    It is shown as a diff before it is written. What people wrote stays as it is; run again, it adds what is new and
    names what is gone or has another id. What a gateway cannot know is marked FILL IN. Nothing is approved by it.
    Exit code 1 if something differs, or could not be read to the end.

    \b
    Examples:
      mcp-soar inventory import main --url http://gw:4444 --user root@gw.example
      mcp-soar inventory import main --dry-run
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import importing as work

        wanted = work.Wanted(name, kind, url, user, password, canary, make_canary, dry_run, yes)
        raise typer.Exit(work.import_(out, folder(config, out), wanted))


@inventory.command()
def upgrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be rewritten; change nothing.")] = False,
    yes: Yes = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Rewrite an inventory.yaml of an earlier release as it is written now: gateways among systems, places.

    It is shown as a diff before it is written, and says what it said: nothing has to be approved or signed again.
    Remarks, quotes and order stay.

    \b
    Example:
      mcp-soar inventory upgrade --dry-run
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import upgrade as work

        raise typer.Exit(work.upgrade(out, folder(config, out), dry_run=dry_run, yes=yes))


Tools = Annotated[
    list[str] | None, typer.Option("--tool", metavar="NAME", help="Only this definition, or 'get_*'; repeat it.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--change", metavar="HOW", help="Only what is new, changed, gone, or other at the gateway; repeat it."
    ),
]
Flagged = Annotated[bool, typer.Option("--flagged", help="Only that in which something is pointed at.")]


def _wanted(names: list[str] | None, changes: list[str] | None, *, flagged: bool) -> "Chosen":
    from flows.cli.work.reviewing import CHANGES, Chosen

    if strange := sorted(set(changes or ()) - set(CHANGES)):
        raise Usage(f"{', '.join(strange)} is no change; write {', '.join(CHANGES)}")
    return Chosen(names or (), changes or (), flagged)


@pins.command()
def diff(
    server: Annotated[str | None, typer.Argument(metavar="SERVER", help="By default every server.")] = None,
    tool: Tools = None,
    change: Changes = None,
    flagged: Flagged = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show how what servers and gateways offer now differs from what was approved. Exit code 1 if it does.

    \b
    Example:
      mcp-soar pins diff weather --change changed
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import pins as work

        raise typer.Exit(work.diff(out, configuration(config, out), server, _wanted(tool, change, flagged=flagged)))


@pins.command()
def approve(
    server: Server,
    reviewed: Annotated[str, typer.Option("--reviewed", metavar="TEXT", help="What was looked at, and how.")],
    who: As = None,
    role: Annotated[
        str | None, typer.Option("--role", metavar="ROLE", help="In which of your roles, if several may review.")
    ] = None,
    tool: Tools = None,
    change: Changes = None,
    flagged: Flagged = False,
    key: Key = None,
    risk: Annotated[str, typer.Option("--risk", metavar="LEVEL", help="low, medium or high.")] = "medium",
    yes: Yes = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept",
            metavar="NAME",
            help="With --yes: one that something is pointed at in, which you looked at and accept.",
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Approve what a server offers now, after showing how it differs from what was approved before.

    It is read from the server itself and through its gateway, and what was shown is what is written to pins.yaml,
    with your signature. Definitions that did not change keep their pins and gain your sign-off. Changed ones are shown
    as diffs, new ones as text; what speaks to the model, hides or reaches for secrets is pointed at. What the options
    leave out is not approved. Nothing is automatic on what nobody who may review has signed for.

    Without a terminal nobody can be asked: --yes says that you looked (`pins diff` shows it), and each definition in
    which something is pointed at has to be named beside it, with --accept.

    \b
    Examples:
      mcp-soar pins approve weather --reviewed "all of it" --as kim
      mcp-soar pins approve weather --change new --reviewed "new ones" --as kim
      mcp-soar pins approve weather --reviewed "#14" --yes --accept get_weather
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import pins as work

        if risk not in {"low", "medium", "high"}:
            raise Usage(f"{risk} is no risk; write low, medium or high")
        raise typer.Exit(
            work.approve(
                out,
                configuration(config, out),
                server,
                wanted=_wanted(tool, change, flagged=flagged),
                reviewed=reviewed,
                who=work.Reviewer(who, role, key),
                risk=risk,
                said=work.Said(yes, frozenset(accept or ())),
            )
        )


@app.command()
def doctor(
    config: Config = None,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="Instead: what is disabled or revoked out there and no lease knows.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check everything that a response needs: each line ok, warn or fail, and what to do about it.

    Changes nothing. Exit code 1 if anything fails; warnings alone are 0. With --orphans it compares the gateways with
    inventory, pins and leases, both ways: what is out of use unexplained, and what is held and in use all the same.

    \b
    Examples:
      mcp-soar doctor
      mcp-soar doctor --orphans
    """
    with speaking(as_json=as_json) as out:
        if orphans:
            from flows.cli.work import orphans as strays

            raise typer.Exit(strays.orphans(out, configuration(config, out)))
        from flows.cli.work import doctor as work

        raise typer.Exit(work.doctor(out, folder(config, out)))
