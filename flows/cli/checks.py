"""`check`: this declares the command."""
# ruff: noqa: D301, FBT002, PLC0415  # a parameter is an option, \b keeps an example as it is written, and what a
# command needs is imported when it runs, so that help is fast.

from typing import Annotated

import typer

from flows.cli.options import Config, Json, configuration
from flows.cli.output import speaking

app = typer.Typer()


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Such as drift; without one, the checks are listed.")
    ] = None,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Only show it: send no alert, and write nothing into the journal.")
    ] = False,
    write_baseline: Annotated[
        bool,
        typer.Option("--write-baseline", help="Write down what is there now, to be compared with: read it afterwards."),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Look now at what is looked at by schedule; nothing is changed where it looks.

    Exit code 0 if everything is as it should be, 1 if something is not, 5 if nothing is known to be wrong and something
    could not be asked. What is found is reported as the schedule reports it, and may open an incident.

    \b
    Examples:
      mcp-soar check
      mcp-soar check drift
      mcp-soar check drift --no-report --json
      mcp-soar check clients --write-baseline
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import checks as work

        settings = configuration(config, out)
        if write_baseline:
            raise typer.Exit(work.baseline(out, settings, names or []))
        if names:
            raise typer.Exit(work.run(out, settings, names, report=not no_report))
        work.listing(out, settings)
