"""`purge`, `erase` and `archive`: these declare the commands."""
# ruff: noqa: D301, FBT002, PLC0415  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Asked, Config, Incident, Json, Reason, configuration, options
from flows.cli.output import speaking

app = typer.Typer()


@app.command()
@options("yes")
def purge(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is kept until when, and why.")] = False,
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Delete now the evidence that `retention` in policy.yaml lets go; the responder does so once a day by itself.

    It shows what goes, and asks. Evidence of an open incident or one under legal hold is never deleted. The journal
    keeps every digest and says what was deleted, when, by whom and why, and `mcp-soar verify` repeats it.

    \b
    Examples:
      mcp-soar purge --dry-run
      mcp-soar purge --as kim --reason "the disk is full"
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import privacy

        if dry_run:
            raise typer.Exit(privacy.foresee(out, configuration(asked.config, out)))
        raise typer.Exit(privacy.purge(out, asked.person(out), reason=reason))


@app.command()
@options()
def erase(
    given: Incident,
    exhibit: Annotated[str, typer.Option("--exhibit", metavar="X", help="Which; `mcp-soar incident ID` lists them.")],
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="Whose request it is, and by what right; it stays on record."),
    ],
    *,
    asked: Asked,
) -> None:
    """Have one exhibit of a closed incident deleted before its time, as when a person asks that their data be erased.

    It takes two people: whoever asks first, and an approver who says the same. The incident's bundles, which hold a
    copy, go with it. Under legal hold it is refused.

    \b
    Example:
      mcp-soar erase 1 --exhibit x-0000-raw-alert --reason "PIPA 36" --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import privacy

        raise typer.Exit(privacy.erase(out, asked.person(out), incident=given, exhibit=exhibit, reason=reason))


@app.command()
def archive(
    given: Incident,
    to: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new .tar.gz, or folder.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write an incident's evidence and whole journal as one signed bundle, to hand over or keep, and verify it.

    It verifies with nothing but the responder's public key, and is not deleted by retention here. Of an open incident
    it holds what there is so far, and says so.

    \b
    Example:
      mcp-soar archive 1 --out /mnt/archive/inc-2026-000001.tar.gz
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import privacy

        raise typer.Exit(privacy.archive(out, configuration(config, out), incident=given, to=to))
