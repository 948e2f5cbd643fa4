"""`alert send` and `plan`: these declare the commands."""
# ruff: noqa: D301, FBT002, PLC0415, PLR0917  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.listing import Listing
from flows.cli.options import Class, Config, Json, Named, Severity, configuration, options
from flows.cli.output import speaking

app = typer.Typer()
alert = typer.Typer(cls=Listing, rich_markup_mode=None, no_args_is_help=True, help="Send alerts.")
app.add_typer(alert, name="alert")


@alert.callback()
def _alert() -> None:
    """Send alerts."""


@alert.command()
def send(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The message, in the source's format.")],
    source: Annotated[str, typer.Option("--source", metavar="NAME", help="The source, as sources.yaml names it.")],
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="The receiver; by default the one of mcp-soar.yaml.")
    ] = None,
    message_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The message's id; the same one again counts once.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Send an alert to the receiver, signed with the source's secret.

    \b
    Example:
      mcp-soar alert send alert.json --source generic
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import alerts as work

        settings = configuration(config, out)
        raise typer.Exit(work.send(out, settings, file, name=source, url=url, message_id=message_id))


@app.command()
@options()
def plan(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="An alert, in its source's format.")] = None,
    source: Annotated[str | None, typer.Option("--source", metavar="NAME", help="The source that sends it.")] = None,
    incident_class: Class = None,
    severity: Severity = "high",
    config: Config = None,
    as_json: Json = False,
    *,
    named: Named,
) -> None:
    """Show what would be done, as a diff, with the gate's decision. Changes nothing.

    It asks the systems themselves: what stands there before, what our own checks say. What is contained already counts.

    \b
    Examples:
      mcp-soar plan alert.json --source generic
      mcp-soar plan --class tool_poisoning --server weather --tool forecast
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import plan as work

        raise typer.Exit(
            work.foresee(
                out,
                configuration(config, out),
                alert=file,
                source=source,
                incident_class=incident_class,
                severity=severity,
                entities=named.entities(),
            )
        )
