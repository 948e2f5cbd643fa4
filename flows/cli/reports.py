"""`report` and `handover`: these declare the commands."""
# ruff: noqa: D301, FBT002, PLC0415, PLR0917  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Config, Json, configuration
from flows.cli.output import Usage, speaking

app = typer.Typer()


class ReportForm(StrEnum):
    """What a report is written as."""

    TEXT = "text"
    MD = "md"
    HTML = "html"
    PDF = "pdf"


AsForm = Annotated[
    ReportForm | None,
    typer.Option(
        "--form",
        metavar="FORM",
        help="text, md, html or pdf; by default what --out ends in, else text; in a pipe a report is md.",
    ),
]
File = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write it there (mode 0600) and not to stdout.")
]
Force = Annotated[bool, typer.Option("--force", help="Although there is such a file.")]


@app.command()
def report(
    given: Annotated[str | None, typer.Argument(metavar="ID", help="The incident, or a unique part of its id.")] = None,
    week: Annotated[bool, typer.Option("--week", help="The report of the last seven days, and no incident's.")] = False,
    older: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="With --week: list containments in force for longer.")
    ] = "7d",
    form: AsForm = None,
    out_file: File = None,
    force: Force = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write the report of an incident, from its journal alone: for the review, and for an auditor a year later.

    It says up to which entry and head of the journal it was made. On a terminal it is plain text, as wide as that; in a
    pipe it is Markdown, whose own digest is written to stderr, as that of a file is. The HTML file needs nothing
    outside itself. What has to be known comes first, in a PDF on one page; Markdown and text have no pictures, their
    tables are there.

    \b
    Examples:
      mcp-soar report 7 --out incident-7.html
      mcp-soar report 7 --out incident-7.pdf
      mcp-soar report --week
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import reports as work

        if (given is None) is not week:
            raise Usage("write which incident, or --week")
        target = work.target(form.value if form else None, out_file, force=force)
        settings = configuration(config, out)
        if given is None:
            work.week(out, settings, target, older=work.span_of(older))
        else:
            work.incident(out, settings, target, given)


@app.command()
def handover(
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="How far back to tell what changed.")] = "12h",
    form: AsForm = None,
    out_file: File = None,
    force: Force = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say what the next shift has to know: what is in force, what runs out when, what waits for whom, what changed.

    Incidents stand worst first, as `incidents` lists them; what runs out, by when it does.

    \b
    Examples:
      mcp-soar handover --since 8h
      mcp-soar handover --out handover.html
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import reports as work

        target = work.target(form.value if form else None, out_file, force=force)
        work.handover(out, configuration(config, out), target, since=work.span_of(since))
