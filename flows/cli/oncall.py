"""`note`, `assign`, `extend`, `suppress`, `hold` and their kin: these declare the commands."""
# ruff: noqa: D301, FBT002, PLC0415  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from typing import Annotated

import typer

from flows.cli.options import Asked, Config, Incident, Json, Reason, configuration, options
from flows.cli.output import speaking

app = typer.Typer()

For = Annotated[str, typer.Option("--for", metavar="TIME", help="How long from now, as 30m, 12h or 3d.")]
Scope = Annotated[str, typer.Argument(metavar="SCOPE", help="source:NAME, rule:NAME or rule:SOURCE/NAME.")]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the journal, and shown.")]


@app.command()
@options()
def note(
    given: Incident,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What you want to be remembered; at most 4000 signs.")],
    fulfils: Annotated[
        str | None, typer.Option("--fulfils", metavar="CLOCK", help="The duty that is done with this, as gdpr-33.")
    ] = None,
    *,
    asked: Asked,
) -> None:
    """Write something into an incident's timeline, open or closed. It cannot be taken back.

    \b
    Examples:
      mcp-soar note 1 "the vendor confirms a stolen npm token" --as kim
      mcp-soar note 1 "reported to the authority" --fulfils gdpr-33 --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import oncall

        raise typer.Exit(oncall.note(out, asked.person(out), incident=given, text=text, fulfils=fulfils))


@app.command()
@options()
def assign(
    given: Incident,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who looks after it; enrolled.")],
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Say who looks after an incident, open or closed.

    \b
    Example:
      mcp-soar assign 1 lee --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import oncall

        raise typer.Exit(oncall.assign(out, asked.person(out), incident=given, name=name, reason=reason))


@app.command()
@options()
def extend(
    given: Incident,
    length: For,
    reason: Why,
    lease: Annotated[
        str | None, typer.Option("--lease", metavar="LEASE", help="Only this one, as `incident` names it.")
    ] = None,
    *,
    asked: Asked,
) -> None:
    """Let what is contained stay contained longer: until so long from now, at most what the policy allows (30d).

    \b
    Example:
      mcp-soar extend 1 --for 12h --reason "the fix comes on Monday" --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import oncall

        raise typer.Exit(
            oncall.extend(out, asked.person(out), incident=given, length=length, lease=lease, reason=reason)
        )


@app.command()
@options("yes")
def suppress(
    scope: Scope,
    length: For,
    reason: Why,
    *,
    asked: Asked,
) -> None:
    """Keep a source's or a rule's alerts from opening incidents, and from joining them, for a while.

    They are kept and counted, and `incidents`, `doctor` and the handover say so while it lasts (at most 7d, see
    policy.yaml). What a source that proves who it is calls critical opens an incident all the same: suppressing is no
    way to blind anybody. Of a campaign it is the rules that told of its incidents, each shown first.

    \b
    Examples:
      mcp-soar suppress source:falco --for 2h --reason "node upgrade" --as kim
      mcp-soar suppress "rule:falco/Shell" --for 1d --reason "tuning it" --as kim
      mcp-soar suppress cam-1 --for 2h --reason "the scanner" --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import oncall

        raise typer.Exit(oncall.suppress(out, asked.person(out), scope=scope, length=length, reason=reason))


@app.command()
@options()
def unsuppress(
    scope: Scope,
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """End a suppression before its time. What it set aside stays set aside.

    \b
    Example:
      mcp-soar unsuppress source:falco --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import oncall

        raise typer.Exit(oncall.unsuppress(out, asked.person(out), scope=scope, reason=reason))


@app.command()
def suppressions(config: Config = None, as_json: Json = False) -> None:
    """List what is suppressed now: until when, by whom, why, and how many alerts it has set aside.

    \b
    Example:
      mcp-soar suppressions
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import oncall

        oncall.suppressions(out, configuration(config, out))


@app.command()
@options()
def hold(
    given: Incident,
    reason: Why,
    *,
    asked: Asked,
) -> None:
    """Put an incident, open or closed, under legal hold: nothing of it is deleted, whatever retention says.

    Anybody enrolled may. A second hold is added to the first; ending them takes two approvers.

    \b
    Example:
      mcp-soar hold 1 --reason "matter 12/26" --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import oncall

        raise typer.Exit(oncall.hold(out, asked.person(out), incident=given, reason=reason))


@app.command()
@options("yes")
def unhold(
    given: Incident,
    reason: Why,
    *,
    asked: Asked,
) -> None:
    """End a legal hold. It takes two approvers: it ends when the second one runs this. It asks.

    After it evidence may be deleted, so nobody ends it alone. Whoever placed it may be one of the two.

    \b
    Example:
      mcp-soar unhold 1 --reason "matter 12/26 is settled" --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import oncall

        raise typer.Exit(oncall.unhold(out, asked.person(out), incident=given, reason=reason))
