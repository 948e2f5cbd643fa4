"""`ack`, `answer` and `delegate`: these declare the commands."""
# ruff: noqa: D301, FBT002, PLC0415, PLR0917  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from typing import Annotated

import typer

from flows.cli.options import WAIT, As, Asked, Config, Incident, Json, NoWait, Reason, Wait, configuration, options
from flows.cli.output import Usage, speaking

app = typer.Typer()


@app.command()
@options()
def ack(
    given: Annotated[
        str, typer.Argument(metavar="ID", help="The incident; or `system`, for what is not about one incident.")
    ],
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Take up an incident's pages: nobody else on the on-call list is woken for them.

    It promises that you look at it. It decides nothing: what waits for an approval still waits. What could not be
    delivered to anybody counts as known then.

    \b
    Example:
      mcp-soar ack 1 --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import answering

        raise typer.Exit(answering.ack(out, asked.person(out), subject=given, reason=reason))


@app.command()
def answer(
    given: Incident,
    plan: Annotated[
        str | None,
        typer.Option("--digest", "--plan", metavar="DIGEST", help="The plan by its digest, if more than one waits."),
    ] = None,
    who: As = None,
    wait: Wait = WAIT,
    no_wait: NoWait = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Approve or deny with a one-time code, if your key is not at hand. Whether it is yes or no lies in the code.

    The code is asked for at the terminal, or read as one line from standard input: never written on a command line,
    where others on the machine could see it.

    \b
    Example:
      mcp-soar answer 1 --as kim
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import answering

        if not who:
            raise Usage(f"say whose code it is: `mcp-soar answer {given} --as NAME`, or set MCP_SOAR_PERSON")
        waiting = 0.0 if no_wait else wait
        raise typer.Exit(
            answering.answer(out, configuration(config, out), who, incident=given, plan=plan, wait=waiting)
        )


@app.command()
@options()
def delegate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who may use your voice; enrolled.")],
    length: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long, as 8h or 3d; at most 14d.")
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="Take it back now.")] = False,
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Lend your voice as an approver to somebody who is none. Your voice counts once, whoever uses it.

    \b
    Examples:
      mcp-soar delegate lee --for 8h --as kim --reason "on a flight"
      mcp-soar delegate lee --end --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import answering

        if (length is None) == (not end):
            raise Usage("say either how long, with --for, or --end")
        person = asked.person(out)
        raise typer.Exit(answering.delegate(out, person.config, person, name=name, length=length, reason=reason))
